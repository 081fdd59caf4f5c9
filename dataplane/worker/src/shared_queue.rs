//! One device queue for several workers.
//!
//! A device may have fewer queues than there are workers (AF_XDP on a veth has one). Every worker
//! still owns flows on it: what arrives is steered over the mesh like everything else, and what a
//! worker without a queue of its own sends goes through a link to the worker that has one. The
//! lender copies, since buffers that slices refer to cannot change threads.

use std::sync::Arc;

use sluice_arch::Waker;
use sluice_buf::{
    BURST, Batch, Capabilities, Device, DeviceStatistics, LinkConfig, LinkHost, LinkPeer, MacBytes,
    Pool, ScratchBatch, link,
};

/// A queue whose owner also sends for others.
pub struct LentQueue {
    device: Box<dyn Device>,
    borrowers: Vec<LinkPeer>,
    scratch: ScratchBatch,
    /// Frames of borrowers that the device did not take after all.
    lost: u64,
}

/// The sending half of a queue that another worker polls.
pub struct BorrowedQueue {
    link: LinkHost,
    lender: Arc<Waker>,
    capabilities: Capabilities,
}

/// Lends `device`, polled by the worker that allocates from `pool` and is woken by `lender`, to one
/// further worker per pool in `borrowers`.
#[must_use]
pub fn lend_queue(
    device: Box<dyn Device>,
    pool: &Pool,
    lender: &Arc<Waker>,
    borrowers: &[Pool],
) -> (LentQueue, Vec<BorrowedQueue>) {
    let (mac, capabilities) = (device.mac(), device.capabilities());
    let (mut lent, mut borrowed) = (Vec::new(), Vec::new());
    for borrower in borrowers {
        let ends = ((mac, borrower.share()), (mac, pool.share()));
        let (host, peer) = link(LinkConfig::default(), ends.0, ends.1);
        lent.push(peer);
        borrowed.push(BorrowedQueue { link: host, lender: lender.clone(), capabilities });
    }
    let scratch = ScratchBatch::with_capacity(BURST);
    (LentQueue { device, borrowers: lent, scratch, lost: 0 }, borrowed)
}

impl LentQueue {
    /// Sends what borrowers want sent.
    fn pump(&mut self) {
        let Self { device, borrowers, scratch, lost } = self;
        for borrower in borrowers {
            // Frames stay on the link until the device has room for a burst of them.
            if borrower.has_pending() && device.tx_room() >= BURST {
                let left = scratch.with(|batch| {
                    borrower.take_frames(batch);
                    device.tx_burst(batch);
                });
                *lost += left as u64;
            }
        }
    }
}

impl Device for LentQueue {
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        self.pump();
        self.device.rx_burst(into)
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        self.device.tx_burst(packets)
    }

    fn tx_room(&mut self) -> usize {
        self.device.tx_room()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn mac(&self) -> MacBytes {
        self.device.mac()
    }

    fn wake_fd(&self) -> Option<i32> {
        self.device.wake_fd()
    }

    fn has_pending(&self) -> bool {
        self.device.has_pending() || self.borrowers.iter().any(Device::has_pending)
    }

    fn link_up(&self) -> bool {
        self.device.link_up()
    }

    fn exhausted(&self) -> bool {
        self.device.exhausted() && !self.has_pending()
    }

    fn statistics(&self) -> DeviceStatistics {
        let statistics = self.device.statistics();
        DeviceStatistics { tx_errors: statistics.tx_errors + self.lost, ..statistics }
    }
}

impl Device for BorrowedQueue {
    /// Nothing arrives here: the lender receives, and its worker steers.
    fn rx_burst(&mut self, _into: &mut Batch) -> usize {
        0
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        let sent = self.link.tx_burst(packets);
        if sent > 0 {
            self.lender.wake();
        }
        sent
    }

    fn tx_room(&mut self) -> usize {
        self.link.tx_room()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn mac(&self) -> MacBytes {
        self.link.mac()
    }

    /// The mesh wakes this worker; a descriptor would never be readable.
    fn wake_fd(&self) -> Option<i32> {
        Some(-1)
    }

    fn exhausted(&self) -> bool {
        true
    }

    fn statistics(&self) -> DeviceStatistics {
        self.link.statistics()
    }
}

#[cfg(test)]
mod tests {
    use sluice_buf::{L4Checksum, TxOffload};

    use super::*;

    const MAC: MacBytes = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_borrower_sends_through_the_lender_with_its_requests() {
        let (lender, borrower, wire) = (Pool::heap(64), Pool::heap(64), Pool::heap(64));
        let offload = LinkConfig { checksum_offload: true, ..LinkConfig::default() };
        let ends = ((MAC, lender.share()), (MAC, wire.share()));
        let (device, mut far) = link(offload, ends.0, ends.1);
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let (mut lent, mut borrowed) =
            lend_queue(Box::new(device), &lender, &waker, &[borrower.share()]);
        let mut borrowed = borrowed.pop().expect("one borrower");
        assert!(borrowed.capabilities().tx_l4_checksum, "it can what the device can");

        let mut packet = borrower.alloc().expect("a buffer");
        assert!(packet.append_bytes(b"through another worker"));
        packet.set_tx_offload(TxOffload { l4_checksum: L4Checksum::Tcp, ..Default::default() });
        let mut batch = Batch::burst();
        batch.push(packet);
        assert_eq!(borrowed.tx_burst(&mut batch), 1);
        assert!(lent.has_pending() && !lent.exhausted());
        assert_eq!(lent.rx_burst(&mut batch), 0);
        assert_eq!(far.rx_burst(&mut batch), 1);
        let arrived = batch.pop().expect("one arrived");
        assert_eq!(arrived.head(), b"through another worker");
        assert_eq!(arrived.rx_checksum(), sluice_buf::RxChecksum::Partial);
        assert_eq!((borrowed.rx_burst(&mut batch), borrowed.tx_room()), (0, 256));
        drop((arrived, far, lent, borrowed));
        assert_eq!((lender.in_use(), borrower.in_use(), wire.in_use()), (0, 0, 0));
    }
}
