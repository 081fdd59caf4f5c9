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
    /// Who was first: 0 for the lender, else a borrower.
    turn: usize,
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
    (LentQueue { device, borrowers: lent, scratch, lost: 0, turn: 0 }, borrowed)
}

impl LentQueue {
    /// Sends what borrowers want sent, into at most half of the device's room: the other half is the
    /// lender's. They take turns at being first, the lender as one of them where there is room for a
    /// single packet only.
    fn pump(&mut self) {
        let Self { device, borrowers, scratch, lost, turn } = self;
        if !borrowers.iter().any(Device::has_pending) {
            return;
        }
        let room = device.tx_room();
        let parties = borrowers.len() + 1;
        *turn = (*turn + 1) % parties;
        let mut share = if room == 1 { usize::from(*turn > 0) } else { room / 2 };
        let first = turn.saturating_sub(1);
        for at in (first..borrowers.len()).chain(0..first) {
            let borrower = &mut borrowers[at];
            if share == 0 {
                break;
            }
            if borrower.has_pending() {
                let mut taken = 0;
                let left = scratch.with(|batch| {
                    taken = borrower.take_frames(share, batch);
                    device.tx_burst(batch);
                });
                share -= taken;
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

    /// A ring of a few places carries everybody's packets: nobody waits for room that never comes.
    #[test]
    fn a_short_ring_serves_all_borrowers_and_the_lender() {
        for depth in [1, 2, 16] {
            let (lender, wire) = (Pool::heap(256), Pool::heap(256));
            let pools = [Pool::heap(256), Pool::heap(256)];
            let short = LinkConfig { depth, ..LinkConfig::default() };
            let ends = ((MAC, lender.share()), (MAC, wire.share()));
            let (device, mut far) = link(short, ends.0, ends.1);
            let waker = Arc::new(Waker::new().expect("an eventfd"));
            let shared: Vec<_> = pools.iter().map(Pool::share).collect();
            let (mut lent, mut borrowed) = lend_queue(Box::new(device), &lender, &waker, &shared);
            let mut batch = Batch::burst();
            let mut arrived = [0; 3];
            for _ in 0..600 {
                for (number, (queue, pool)) in borrowed.iter_mut().zip(&pools).enumerate() {
                    if queue.tx_room() == 0 {
                        continue;
                    }
                    let Ok(mut packet) = pool.alloc() else { continue };
                    assert!(packet.append_bytes(&[number as u8]));
                    batch.push(packet);
                    assert_eq!(queue.tx_burst(&mut batch), 1);
                }
                lent.rx_burst(&mut batch);
                if lent.tx_room() > 0 {
                    let mut packet = lender.alloc().expect("a buffer");
                    assert!(packet.append_bytes(&[2]));
                    batch.push(packet);
                    lent.tx_burst(&mut batch);
                }
                far.rx_burst(&mut batch);
                for packet in batch.drain() {
                    arrived[usize::from(packet.head()[0])] += 1;
                }
            }
            assert!(arrived.iter().all(|count| *count >= 150), "{depth}: {arrived:?}");
            assert_eq!(lent.statistics().tx_errors, 0);
        }
    }
}
