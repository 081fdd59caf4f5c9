//! DPDK behind safe types.
//!
//! ```text
//!   Eal::start ──> Eal ──pool()──> MbufPool ──handle()──> sluice_buf::Pool     (per worker)
//!                   │                  │
//!                   └── Port::open(spec, options, pools) ──take_queues()──> QueuePair: Device
//! ```
//!
//! 1. [`Eal::start`] once, from the control thread, with what the configuration says about memory
//!    and NICs. Print [`Eal::memory`] if it is a fallback.
//! 2. [`Eal::pool`] for each worker: receive, and transmit. The buffers are `sluice_buf`'s (see
//!    `layout.rs`: the header *is* an mbuf), so packets, slices and chains work on them as on heap
//!    buffers, and drivers free them.
//! 3. [`Port::open`] for each interface; a [`QueuePair`] is the `Device` of one worker. Or
//!    [`ring_link()`] for two ports in one process tied by rings.
//! 4. Each worker pins itself and calls [`Eal::register_thread`], which gives it mempool caches.
//!
//! Teardown is by dropping, in any order: a port closes when it and its queue pairs are gone, a pool
//! is freed after the ports that use it. A pool with buffers still out is not freed, and EAL runs until
//! the process ends.
//!
//! What DPDK logs is kept in memory: errors quote it, [`Eal::take_log`] hands over the rest. Every
//! error's `Display` says what happened and what to do.
//!
//! All buffers of a process with DPDK ports should come from DPDK pools; one from a heap pool is
//! copied when it is sent.

#![expect(unsafe_code, reason = "DPDK is C")]

mod admit;
mod eal;
mod hugepages;
mod layout;
mod log;
mod pcap;
mod pci;
mod plan;
mod pool;
mod port;
mod port_error;
mod probe;
mod queue;
mod ring_link;
mod room;
mod spec;
mod worker;

pub use admit::TxDrops;
pub use eal::{Eal, EalError, EalOptions, version};
pub use hugepages::{Hugepages, Memory};
pub use pcap::PcapError;
pub use pci::{PciAddress, PciError};
pub use pool::{MbufPool, PoolError};
pub use port::{Port, PortOptions, PortStatistics};
pub use port_error::PortError;
pub use queue::{QueuePair, RxQueue, TxQueue};
pub use ring_link::ring_link;
pub use spec::{DeviceSpec, MemifRole, SpecError};
pub use worker::{RegisterError, RegisteredThread};
