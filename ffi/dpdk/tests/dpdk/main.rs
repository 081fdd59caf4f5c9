//! DPDK for real: memory, every kind of device, and the kernel at the other end.
//!
//! The tests of `kernel` and the one that makes interfaces need root; the rest run for any user.

mod devices;
mod kernel;
mod memory;
mod support;
