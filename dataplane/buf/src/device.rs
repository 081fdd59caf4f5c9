//! Where packets come from and go to.

use crate::batch::Batch;

/// A link-layer address as bytes on the wire.
pub type MacBytes = [u8; 6];

/// What a device can do, as far as the stack asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// Fills in IPv4 header checksums on transmission.
    pub tx_ipv4_checksum: bool,
    /// Fills in TCP and UDP checksums on transmission.
    pub tx_l4_checksum: bool,
    /// Segments TCP on transmission: the largest packet it takes, in bytes; 0 for none.
    pub tx_segmentation_max: u32,
    /// Tells good from bad checksums on reception.
    pub rx_checksum: bool,
    /// Sends packets of several segments. Where it is false the stack linearises.
    pub multi_segment: bool,
}

/// Totals since start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeviceStatistics {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets lost before we saw them.
    pub rx_missed: u64,
    /// Packets received in error.
    pub rx_errors: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the device could not send.
    pub tx_errors: u64,
}

/// One receive and one transmit queue of an interface, owned by one worker.
///
/// Calls never block. One virtual call moves a burst.
pub trait Device: Send {
    /// Appends the packets that have arrived to `into`, as many as it has room for; returns how
    /// many. Each has 192 contiguous bytes in its first segment, or all of its bytes.
    fn rx_burst(&mut self, into: &mut Batch) -> usize;

    /// Sends packets from the front of `packets` and removes them; what stays was not sent.
    ///
    /// A packet that the device can never send (too long, bad offload request) is removed, dropped
    /// and counted in `tx_errors`.
    fn tx_burst(&mut self, packets: &mut Batch) -> usize;

    /// How many packets `tx_burst` would take now. At least a good estimate: a segment is built only
    /// when there is room for it.
    fn tx_room(&mut self) -> usize;

    /// What the device can do.
    fn capabilities(&self) -> Capabilities;

    /// Its link-layer address.
    fn mac(&self) -> MacBytes;

    /// A file descriptor that becomes readable when packets have arrived, where there is one.
    fn wake_fd(&self) -> Option<i32> {
        None
    }

    /// Whether something waits in memory that the wake-up descriptor does not tell of; asked once
    /// more before sleeping.
    fn has_pending(&self) -> bool {
        false
    }

    /// Whether the link is up.
    fn link_up(&self) -> bool {
        true
    }

    /// Whether no packet will ever arrive again (an input file has ended).
    fn exhausted(&self) -> bool {
        false
    }

    /// Totals since start.
    fn statistics(&self) -> DeviceStatistics;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        (**self).rx_burst(into)
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        (**self).tx_burst(packets)
    }

    fn tx_room(&mut self) -> usize {
        (**self).tx_room()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn mac(&self) -> MacBytes {
        (**self).mac()
    }

    fn wake_fd(&self) -> Option<i32> {
        (**self).wake_fd()
    }

    fn has_pending(&self) -> bool {
        (**self).has_pending()
    }

    fn link_up(&self) -> bool {
        (**self).link_up()
    }

    fn exhausted(&self) -> bool {
        (**self).exhausted()
    }

    fn statistics(&self) -> DeviceStatistics {
        (**self).statistics()
    }
}
