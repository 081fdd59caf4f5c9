//! Packet memory.
//!
//! Three types that are never mixed:
//!
//! * [`Packet`]: exclusively owned. What receiving yields and transmitting takes. Its first
//!   segment may be written.
//! * [`Slice`]: a counted reference to bytes that nobody writes any more.
//! * [`Chain`]: slices; the only one in the chain itself, several in 16-byte nodes of a worker-local
//!   slab. Reassembly, retransmission and
//!   relay queues are chains; cutting one is arithmetic, and body bytes are never copied.
//!
//! A received packet becomes slices with [`Packet::into_chain`]. A packet to send is built late,
//! from a fresh head plus [`Packet::attach`]ed slices.
//!
//! ```text
//!   Header (128, laid out like rte_mbuf) | Private (64) | headroom | data ........ | tailroom
//!                                        ^ ops, trace    ^buf_addr  ^ + data_off
//! ```
//!
//! A DPDK buffer *is* our buffer; [`Pool::heap`] serves the same layout from ordinary memory for
//! the simulator, tests, Miri, and devices that need no DPDK. [`Device`] is where packets come from
//! and go to; devices are made elsewhere (`ffi/*`) and used as `Box<dyn Device>`, one virtual call
//! per burst.
//!
//! Reference counts are plain loads and stores. Therefore `Packet`, `Slice` and `Chain` stay on the
//! thread that made them; what may cross is a [`SendPacket`], which has checked that nobody else
//! refers to its segments.

#![expect(unsafe_code, reason = "packet memory is shared with drivers by raw pointer")]

mod batch;
mod chain;
mod device;
mod header;
mod heap;
mod impairment;
mod link;
mod meta;
mod nodes;
mod packet;
mod pool;
mod slice;

pub use batch::{BURST, Batch, ScratchBatch, Taken};
pub use chain::{Chain, Pieces};
pub use device::{Capabilities, Device, DeviceStatistics, MacBytes};
pub use header::{DATA_ROOM, HEADER_SIZE, HEADROOM, Header, PRIVATE_SIZE, Private, flags};
pub use impairment::{ImpairedDevice, Impairment, Judge, Loss, Verdict, WAITING_MAX};
pub use link::{LinkConfig, LinkHost, LinkPeer, link};
pub use meta::{Gso, L4Checksum, RxChecksum, TxOffload};
pub use nodes::{chain_nodes_in_use, reserve_chain_nodes};
pub use packet::{COPY_MANY_MAX, COPY_MAX, Packet, SendPacket};
pub use pool::{Pool, PoolEmpty, PoolOps, Pressure};
pub use slice::Slice;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some of these tests are about threads")]
mod tests;
