//! How many packets a transmit queue would take now.

use sluice_buf::BURST;
use sluice_dpdk_sys as sys;

use crate::port::PortInner;
use crate::queue::queue_data;

/// The best source that the driver offers.
#[derive(Debug)]
pub(crate) enum Room {
    /// The ring it writes to can be asked.
    Ring(*const sys::rte_ring),
    /// Descriptors can be asked whether they are free.
    Descriptors,
    /// Nothing can be asked. It took everything so far, or else the window it is being tried with.
    Window(usize),
}

// SAFETY: the ring outlives the port, which outlives this; asking it is safe on every thread.
unsafe impl Send for Room {}

/// RTE_ETH_TX_DESC_DONE.
const DESCRIPTOR_FREE: i32 = 1;

impl Room {
    pub(crate) fn new(port: &PortInner, queue: u16) -> Self {
        if let Some(ring) = port.tx_ring(queue) {
            return Self::Ring(ring);
        }
        // SAFETY: the port is started and the queue configured; a driver that cannot say so does.
        let answer = unsafe { sys::sluice_tx_descriptor_status(port.number, queue, 0) };
        if answer >= 0 { Self::Descriptors } else { Self::Window(BURST) }
    }

    #[inline]
    pub(crate) fn now(&self, ops: *const sys::rte_eth_fp_ops, queue: u16) -> usize {
        match self {
            // SAFETY: the ring outlives the port.
            Self::Ring(ring) => (unsafe { sys::sluice_ring_free_count(*ring) }) as usize,
            Self::Descriptors => free_descriptors(ops, queue),
            Self::Window(window) => *window,
        }
    }

    /// A short burst closes the window to one packet, each full one doubles it again.
    #[inline]
    pub(crate) fn learn(&mut self, offered: usize, sent: usize) {
        if let Self::Window(window) = self {
            *window = match sent < offered {
                true => 1,
                false => (*window * 2).min(BURST),
            };
        }
    }
}

/// Descriptors free in a row from the next one on, to the power of two below.
fn free_descriptors(ops: *const sys::rte_eth_fp_ops, queue: u16) -> usize {
    // SAFETY: the port is started, so its row is filled in.
    let Some(status) = (unsafe { (*ops).tx_descriptor_status }) else { return BURST };
    // SAFETY: as above.
    let queues = unsafe { (*ops).txq.data };
    let data = queue_data(queues, queue);
    let mut count = BURST;
    while count > 0 {
        // SAFETY: the queue is ours; an offset beyond the ring is answered with an error.
        if unsafe { status(data, count as u16 - 1) } == DESCRIPTOR_FREE {
            return count;
        }
        count /= 2;
    }
    0
}
