//! What the control thread sees of a worker's queues.

use sluice_base::{Counter, InterfaceId};
use sluice_buf::{Device, DeviceStatistics};

/// Totals of one queue, copied now and then by its worker.
#[derive(Debug)]
pub struct PortCounters {
    /// Which interface it is a queue of.
    pub interface: InterfaceId,
    /// 1 while the link is up.
    pub link_up: Counter,
    /// Packets received, and their bytes.
    pub rx: [Counter; 2],
    /// Packets lost before Sluice saw them.
    pub rx_missed: Counter,
    /// Packets received in error.
    pub rx_errors: Counter,
    /// Packets sent, and their bytes.
    pub tx: [Counter; 2],
    /// Packets that the device could not send.
    pub tx_errors: Counter,
}

impl PortCounters {
    pub(crate) fn new(interface: InterfaceId) -> Self {
        Self {
            interface,
            link_up: Counter::new(),
            rx: Default::default(),
            rx_missed: Counter::new(),
            rx_errors: Counter::new(),
            tx: Default::default(),
            tx_errors: Counter::new(),
        }
    }

    /// Asks the device; only the worker may call it.
    pub(crate) fn copy(&self, device: &dyn Device) {
        let DeviceStatistics {
            rx_packets,
            rx_bytes,
            rx_missed,
            rx_errors,
            tx_packets,
            tx_bytes,
            tx_errors,
        } = device.statistics();
        self.link_up.set(u64::from(device.link_up()));
        self.rx[0].set(rx_packets);
        self.rx[1].set(rx_bytes);
        self.rx_missed.set(rx_missed);
        self.rx_errors.set(rx_errors);
        self.tx[0].set(tx_packets);
        self.tx[1].set(tx_bytes);
        self.tx_errors.set(tx_errors);
    }
}
