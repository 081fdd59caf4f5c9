//! A device behind a bad cable.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use sluice_base::Instant;

use super::judge::{Judge, Verdict};
use crate::batch::{BURST, Batch, ScratchBatch};
use crate::device::{Capabilities, Device, DeviceStatistics, MacBytes};
use crate::meta::RxChecksum;
use crate::packet::{Packet, SendPacket};
use crate::pool::Pool;

/// How many packets are on their way in one direction at most; more are lost, and counted.
pub const WAITING_MAX: usize = 8_192;

/// A [`Device`] whose packets go through two [`Judge`]s, one each way.
///
/// It offers no offload, since what the device would fill in later could not be corrupted now, and
/// what it would cut later would be lost as a whole. Packets that wait are looked at whenever the
/// worker polls, and `has_pending` keeps it polling. What a judge loses is counted as `rx_missed`
/// and `tx_errors`.
pub struct ImpairedDevice<C> {
    inner: Box<dyn Device>,
    clock: C,
    /// Where duplicates, and copies of what is shared with a send queue, come from.
    pool: Pool,
    receive: Direction,
    transmit: Direction,
    scratch: ScratchBatch,
}

struct Direction {
    judge: Judge,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    lost: u64,
}

struct Waiting {
    due: Instant,
    /// Equal times keep their order.
    order: u64,
    packet: SendPacket,
}

impl<C: FnMut() -> Instant + Send> ImpairedDevice<C> {
    /// `inner` behind a cable that `receive` and `transmit` judge, by the time that `clock` tells.
    /// `pool` is the transmit pool of the worker that polls.
    #[must_use]
    pub fn new(
        inner: Box<dyn Device>,
        receive: Judge,
        transmit: Judge,
        pool: Pool,
        clock: C,
    ) -> Self {
        Self {
            inner,
            clock,
            pool,
            receive: Direction::new(receive),
            transmit: Direction::new(transmit),
            scratch: ScratchBatch::with_capacity(BURST),
        }
    }

    /// Hands the inner device what is due.
    fn flush(&mut self, now: Instant) {
        let Self { inner, transmit, scratch, .. } = self;
        while transmit.is_due(now) {
            let mut moved = 0;
            scratch.with(|batch| {
                transmit.pop_due(now, batch);
                let before = batch.len();
                inner.tx_burst(batch);
                moved = before - batch.len();
                while let Some(packet) = batch.pop() {
                    // Before all that waits, and in its order.
                    transmit.wait(packet, Instant::ZERO);
                }
            });
            if moved == 0 {
                return;
            }
        }
    }
}

impl<C: FnMut() -> Instant + Send> Device for ImpairedDevice<C> {
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        let now = (self.clock)();
        self.flush(now);
        let Self { inner, receive, scratch, pool, .. } = self;
        scratch.with(|batch| {
            inner.rx_burst(batch);
            while let Some(packet) = batch.pop() {
                receive.admit(packet, now, pool);
            }
        });
        receive.pop_due(now, into)
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        let now = (self.clock)();
        let mut taken = 0;
        while let Some(packet) = packets.pop() {
            self.transmit.admit(packet, now, &self.pool);
            taken += 1;
        }
        self.flush(now);
        taken
    }

    fn tx_room(&mut self) -> usize {
        WAITING_MAX - self.transmit.waiting.len().min(WAITING_MAX)
    }

    fn capabilities(&self) -> Capabilities {
        let multi_segment = self.inner.capabilities().multi_segment;
        Capabilities { multi_segment, ..Capabilities::default() }
    }

    fn mac(&self) -> MacBytes {
        self.inner.mac()
    }

    fn wake_fd(&self) -> Option<i32> {
        self.inner.wake_fd()
    }

    fn has_pending(&self) -> bool {
        !self.receive.waiting.is_empty()
            || !self.transmit.waiting.is_empty()
            || self.inner.has_pending()
    }

    fn link_up(&self) -> bool {
        self.inner.link_up()
    }

    fn exhausted(&self) -> bool {
        self.inner.exhausted() && !self.has_pending()
    }

    fn statistics(&self) -> DeviceStatistics {
        let mut statistics = self.inner.statistics();
        statistics.rx_missed += self.receive.lost;
        statistics.tx_errors += self.transmit.lost;
        statistics
    }
}

impl Direction {
    fn new(judge: Judge) -> Self {
        // Grows to its working size in the first seconds and stays there.
        Self { judge, waiting: BinaryHeap::new(), order: 0, lost: 0 }
    }

    fn admit(&mut self, packet: Packet, now: Instant, pool: &Pool) {
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let Verdict::Arrives { at, flip, again } = self.judge.judge(len, now) else {
            self.lost += 1;
            return;
        };
        // A wrong bit under an open checksum would never be noticed; a real cable has none.
        if flip.is_some() && packet.rx_checksum() == RxChecksum::Partial {
            self.lost += 1;
            return;
        }
        if let Some(again) = again
            && let Some(twin) = copy(&packet, pool)
        {
            self.wait(twin, again);
        }
        let packet = match packet.try_into_send() {
            Ok(packet) => Some(packet.into_packet()),
            // A send queue still refers to the bytes.
            Err(shared) => copy(&shared, pool),
        };
        let Some(mut packet) = packet else {
            self.lost += 1;
            return;
        };
        if let Some(bit) = flip {
            let (at, mask) = (LINK_HEADER + bit as usize / 8, 1 << (bit % 8));
            // What the device found out about the checksum was about other bytes.
            packet.set_rx_checksum(RxChecksum::Unknown);
            packet.linearise();
            if let Some(byte) = packet.head_mut().get_mut(at) {
                *byte ^= mask;
            }
        }
        self.wait(packet, at);
    }

    fn wait(&mut self, packet: Packet, due: Instant) {
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            return;
        }
        match packet.try_into_send() {
            Ok(packet) => {
                self.order += 1;
                self.waiting.push(Reverse(Waiting { due, order: self.order, packet }));
            }
            Err(_) => self.lost += 1,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.waiting.peek().is_some_and(|Reverse(first)| first.due <= now)
    }

    fn pop_due(&mut self, now: Instant, into: &mut Batch) -> usize {
        let mut count = 0;
        while !into.is_full() && self.is_due(now) {
            let Some(Reverse(first)) = self.waiting.pop() else { break };
            into.push(first.packet.into_packet());
            count += 1;
        }
        count
    }
}

const LINK_HEADER: usize = 14;

/// The same bytes and metadata in buffers of their own; `None` when the pool is empty.
fn copy(packet: &Packet, pool: &Pool) -> Option<Packet> {
    let mut twin = copy_from(packet, 0, pool)?;
    while twin.len() < packet.len() {
        let more = copy_from(packet, twin.len(), pool)?;
        twin.append_packet(more);
    }
    match packet.rx_checksum() {
        RxChecksum::Unknown => twin.set_tx_offload(packet.tx_offload()),
        known => twin.set_rx_checksum(known),
    }
    Some(twin)
}

/// As many bytes from `offset` on as fit into one buffer.
fn copy_from(packet: &Packet, offset: usize, pool: &Pool) -> Option<Packet> {
    let mut segment = pool.alloc().ok()?;
    let count = (packet.len() - offset).min(segment.tailroom());
    packet.copy_to(offset, segment.append(count)?);
    Some(segment)
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use sluice_base::Rng;

    use super::*;
    use crate::impairment::Impairment;
    use crate::link::{LinkConfig, LinkPeer, link};

    struct World {
        device: ImpairedDevice<Box<dyn FnMut() -> Instant + Send>>,
        peer: LinkPeer,
        now: Arc<AtomicU64>,
        pool: Pool,
        batch: Batch,
    }

    impl World {
        fn new(receive: Impairment, transmit: Impairment) -> Self {
            let pool = Pool::heap(256);
            let ends = ([2; 6], pool.share());
            let (host, peer) = link(LinkConfig::default(), ends, ([4; 6], Pool::heap(256)));
            let now = Arc::new(AtomicU64::new(0));
            let time = now.clone();
            let clock = move || Instant::from_nanos(time.load(Ordering::Relaxed));
            let judges = (Judge::new(receive, Rng::new(3)), Judge::new(transmit, Rng::new(4)));
            let clock: Box<dyn FnMut() -> Instant + Send> = Box::new(clock);
            let device =
                ImpairedDevice::new(Box::new(host), judges.0, judges.1, pool.share(), clock);
            Self { device, peer, now, pool, batch: Batch::burst() }
        }

        fn send(&mut self, bytes: &[u8]) {
            let mut packet = self.pool.alloc().expect("a buffer");
            assert!(packet.append_bytes(bytes));
            self.batch.push(packet);
            assert_eq!(self.device.tx_burst(&mut self.batch), 1);
        }

        /// What the peer has at `nanos`.
        fn arrived(&mut self, nanos: u64) -> Vec<Vec<u8>> {
            self.now.store(nanos, Ordering::Relaxed);
            self.device.rx_burst(&mut self.batch);
            self.peer.rx_burst(&mut self.batch);
            let packets: Vec<Packet> = self.batch.drain().collect();
            packets.iter().map(|packet| packet.segments().flatten().copied().collect()).collect()
        }
    }

    const LATE: Impairment = Impairment {
        latency_nanos: 1_000,
        loss: 0,
        loss_burst: 0,
        duplication: 0,
        corruption: 0,
        reordering: 0,
        jitter_nanos: 0,
        bits_per_second: 0,
        queue_bytes: 0,
        bytes_max: 0,
    };

    #[test]
    fn what_is_sent_arrives_late_in_order_and_whole() {
        let mut world = World::new(Impairment::default(), LATE);
        for byte in 1..=3 {
            world.send(&[byte; 80]);
        }
        assert!(world.device.has_pending());
        assert!(world.arrived(999).is_empty());
        assert_eq!(world.arrived(1_000), [vec![1; 80], vec![2; 80], vec![3; 80]]);
        assert!(!world.device.has_pending());
    }

    #[test]
    fn what_is_received_arrives_late() {
        let mut world = World::new(LATE, Impairment::default());
        world.device.rx_burst(&mut world.batch);
        let wire = Pool::heap(1);
        let mut packet = wire.alloc().expect("a buffer");
        assert!(packet.append_bytes(&[7; 60]));
        let mut sent = Batch::burst();
        sent.push(packet);
        assert_eq!(world.peer.tx_burst(&mut sent), 1);
        assert_eq!(world.device.rx_burst(&mut world.batch), 0, "it waits");
        world.now.store(1_000, Ordering::Relaxed);
        assert_eq!(world.device.rx_burst(&mut world.batch), 1);
        world.batch.clear();
    }

    #[test]
    fn bytes_that_a_send_queue_refers_to_are_copied() {
        let mut world = World::new(Impairment::default(), LATE);
        let mut body = world.pool.alloc().expect("a buffer");
        assert!(body.append_bytes(&[9; 1_400]));
        let mut queue = crate::chain::Chain::new();
        body.into_chain(0, 1_400, &mut queue);
        let mut packet = world.pool.alloc().expect("a buffer");
        assert!(packet.append_bytes(&[1; 54]));
        packet.attach(&queue, 0, 1_400, &world.pool).expect("buffers");
        world.batch.push(packet);
        assert_eq!(world.device.tx_burst(&mut world.batch), 1);
        drop(queue);
        let arrived = world.arrived(1_000);
        assert_eq!(arrived, [[vec![1; 54], vec![9; 1_400]].concat()]);
    }

    #[test]
    fn duplicates_and_wrong_bits_and_losses_are_as_judged() {
        let plan = Impairment { duplication: 1_000_000, corruption: 1_000_000, ..LATE };
        let mut world = World::new(Impairment::default(), plan);
        world.send(&[0; 60]);
        let arrived = world.arrived(1_000);
        assert_eq!(arrived.len(), 2);
        let wrong: Vec<u32> = arrived
            .iter()
            .map(|packet| packet.iter().map(|byte| byte.count_ones()).sum())
            .collect();
        assert_eq!(wrong.iter().sum::<u32>(), 1, "one bit of one of them: {wrong:?}");
        assert!(arrived.iter().all(|packet| packet[..14] == [0; 14]));
        let plan = Impairment { loss: 1_000_000, ..LATE };
        let mut world = World::new(Impairment::default(), plan);
        world.send(&[0; 60]);
        assert!(world.arrived(5_000).is_empty());
        assert_eq!(world.device.statistics().tx_errors, 1);
        drop(world.batch);
    }

    /// A device that is full takes the rest later, in order.
    #[test]
    fn a_full_device_gets_the_rest_in_order() {
        let mut world = World::new(Impairment::default(), LATE);
        let depth = LinkConfig::default().depth;
        let sent: Vec<u8> = (0..=255).cycle().take(200.min(depth + 40)).collect();
        for byte in &sent {
            world.send(&[*byte; 60]);
        }
        let mut arrived = Vec::new();
        for round in 0..40 {
            arrived.extend(world.arrived(1_000 + round).into_iter().map(|packet| packet[0]));
        }
        assert_eq!(arrived, sent);
    }
}
