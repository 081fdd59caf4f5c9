//! Linux TAP as a [`Device`](sluice_buf::Device), without DPDK.
//!
//! What `device = "tap:NAME"` means and what a newcomer runs. [`TapInterface::open`] creates the
//! interface (or attaches to an idle persistent one), with one queue per worker;
//! [`TapInterface::configure`] sets up the kernel's end; [`TapInterface::into_queues`] yields the
//! devices.
//!
//! * Frames carry a virtio-net header (virtio 1.2, 5.1.6), so checksums and segmentation are left
//!   to whoever needs them: the kernel hands us up to 64 KiB at once and takes the same.
//! * The kernel sends a flow to the queue that last sent on it, but forgets flows after 3 s of
//!   idleness. A queue is a hint; who owns a packet is decided elsewhere.
//! * It needs `CAP_NET_ADMIN` in its network namespace, which `unshare -Urn` gives to anybody, or a
//!   TAP that root made for this user.
//!
//! One system call moves one frame: the price of a kernel device.

#![expect(unsafe_code, reason = "ioctl, readv and writev")]

mod address_v6;
mod configure;
mod error;
mod open;
mod queue;
mod virtio;

pub use error::TapError;
pub use open::TapInterface;
pub use queue::TapQueue;
