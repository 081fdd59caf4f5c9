//! A wire in memory between two hosts or threads that behaves like a NIC.
//!
//! The *host* end has descriptor rings and never copies: it posts empty receive buffers and hands
//! over frames to send, which come back late, as completions. The *peer* end plays NIC and wire:
//! its thread copies, out of the host's frames into its own buffers and out of its own frames into
//! the buffers that the host posted. So a measurement of the host's core sees what a NIC would
//! leave it to do.
//!
//! ```text
//!   host thread                                   peer thread
//!   tx_burst --- frames ------------------------> rx_burst (copies)
//!            <-- completions -------------------- (frames, to be freed by the host)
//!   rx_burst <-- filled buffers ----------------- tx_burst (copies)
//!            --- empty buffers ----------------->
//! ```

use std::mem::ManuallyDrop;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::batch::{BURST, Batch};
use crate::device::{Capabilities, Device, DeviceStatistics, MacBytes};
use crate::header::{DATA_ROOM, HEADROOM};
use crate::meta::{Gso, L4Checksum, RxChecksum};
use crate::packet::{Packet, SendPacket};
use crate::pool::Pool;

/// How a link is made.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// Frames in flight in each direction.
    pub depth: usize,
    /// Whether checksums are left out and marked good, as between two virtual machines.
    pub checksum_offload: bool,
    /// The largest frame with segmentation left to the receiver; 0 for none.
    pub segmentation_max: u32,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { depth: 256, checksum_offload: false, segmentation_max: 0 }
    }
}

/// A frame that the host lent to the wire; only the host's thread may free it.
struct Lent(ManuallyDrop<Packet>);

// SAFETY: while a frame is lent, the host touches nothing of it (`next`, offset and length stay
// until the count is back to 1, and the count itself is read by the host alone); the peer only
// reads bytes, offsets and lengths, and hands the frame back instead of freeing it.
unsafe impl Send for Lent {}

/// The end of the host that is measured or under test.
pub struct LinkHost {
    mac: MacBytes,
    capabilities: Capabilities,
    frames: Producer<Lent>,
    completions: Consumer<Lent>,
    filled: Consumer<SendPacket>,
    empty: Producer<SendPacket>,
    in_flight: usize,
    depth: usize,
    /// How many receive buffers must be missing before more are posted.
    post_at: usize,
    statistics: DeviceStatistics,
    /// Last, so that the rings give their buffers back first.
    pool: Pool,
}

/// The end that plays NIC and wire.
pub struct LinkPeer {
    mac: MacBytes,
    capabilities: Capabilities,
    frames: Consumer<Lent>,
    completions: Producer<Lent>,
    filled: Producer<SendPacket>,
    empty: Consumer<SendPacket>,
    statistics: DeviceStatistics,
    /// Last, so that the rings give their buffers back first.
    pool: Pool,
}

/// A link; each end allocates from the pool of its own side.
#[must_use]
pub fn link(
    config: LinkConfig,
    host: (MacBytes, Pool),
    peer: (MacBytes, Pool),
) -> (LinkHost, LinkPeer) {
    let depth = config.depth.max(1);
    let capabilities = Capabilities {
        tx_ipv4_checksum: false,
        tx_l4_checksum: config.checksum_offload,
        tx_segmentation_max: config.segmentation_max,
        rx_checksum: config.checksum_offload,
        multi_segment: true,
    };
    let (frames_in, frames_out) = RingBuffer::new(depth);
    let (completions_in, completions_out) = RingBuffer::new(depth);
    let (filled_in, filled_out) = RingBuffer::new(depth);
    let (empty_in, empty_out) = RingBuffer::new(depth);
    let host = LinkHost {
        pool: host.1,
        mac: host.0,
        capabilities,
        frames: frames_in,
        completions: completions_out,
        filled: filled_out,
        empty: empty_in,
        in_flight: 0,
        depth,
        post_at: (depth / 4).clamp(1, BURST),
        statistics: DeviceStatistics::default(),
    };
    let peer = LinkPeer {
        pool: peer.1,
        mac: peer.0,
        capabilities,
        frames: frames_out,
        completions: completions_in,
        filled: filled_in,
        empty: empty_out,
        statistics: DeviceStatistics::default(),
    };
    (host, peer)
}

impl LinkHost {
    fn reclaim(&mut self) {
        let count = self.completions.slots();
        if count == 0 {
            return;
        }
        if let Ok(completed) = self.completions.read_chunk(count) {
            for lent in completed {
                drop(ManuallyDrop::into_inner(lent.0));
            }
            self.in_flight -= count;
        }
    }

    fn post_buffers(&mut self) {
        while self.empty.slots() >= self.post_at {
            let count = self.empty.slots().min(BURST);
            let Ok(mut empty) = self.empty.write_chunk_uninit(count) else { return };
            let (first, second) = empty.as_mut_slices();
            let mut posted = self.pool.alloc_to_send(first);
            if posted == first.len() {
                posted += self.pool.alloc_to_send(second);
            }
            // SAFETY: so many places were filled, from the front.
            unsafe { empty.commit(posted) };
            if posted < count {
                return;
            }
        }
    }
}

impl Device for LinkHost {
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        let count = self.filled.slots().min(into.room());
        if count > 0
            && let Ok(filled) = self.filled.read_chunk(count)
        {
            let mut bytes = 0;
            into.extend(filled.into_iter().map(|packet| {
                let packet = packet.into_packet();
                bytes += packet.len() as u64;
                packet
            }));
            self.statistics.rx_packets += count as u64;
            self.statistics.rx_bytes += bytes;
        }
        self.post_buffers();
        count
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        self.reclaim();
        let count = packets.len().min(self.depth - self.in_flight);
        let Ok(mut frames) = self.frames.write_chunk_uninit(count) else {
            debug_assert!(false, "the ring is as deep as what may be in flight");
            return 0;
        };
        let (first, second) = frames.as_mut_slices();
        let places = first.iter_mut().chain(second);
        let mut bytes = 0;
        for (place, packet) in places.zip(packets.take(count)) {
            bytes += packet.len() as u64;
            place.write(Lent(ManuallyDrop::new(packet)));
        }
        // SAFETY: the chunk has `count` places, and as many packets were put there.
        unsafe { frames.commit_all() };
        self.statistics.tx_packets += count as u64;
        self.statistics.tx_bytes += bytes;
        self.in_flight += count;
        count
    }

    fn tx_room(&mut self) -> usize {
        self.reclaim();
        self.depth - self.in_flight
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn mac(&self) -> MacBytes {
        self.mac
    }

    fn statistics(&self) -> DeviceStatistics {
        self.statistics
    }
}

impl LinkPeer {
    /// As `rx_burst`, but at most `max` frames, and they keep the host's requests to the device, for
    /// a peer that sends them on.
    pub fn take_frames(&mut self, max: usize, into: &mut Batch) -> usize {
        self.copy_out(max, into, |frame, copy| copy.set_tx_offload(frame.tx_offload()))
    }

    fn copy_out(
        &mut self,
        max: usize,
        into: &mut Batch,
        carry: impl Fn(&Packet, &mut Packet),
    ) -> usize {
        let before = into.len();
        let limit = before + max.min(into.room());
        while into.len() < limit && self.completions.slots() > 0 {
            let Ok(frame) = self.frames.pop() else { break };
            match copy_frame(&frame.0, || self.pool.alloc().ok()) {
                Some(mut packet) => {
                    carry(&frame.0, &mut packet);
                    self.statistics.rx_packets += 1;
                    self.statistics.rx_bytes += packet.len() as u64;
                    into.push(packet);
                }
                None => self.statistics.rx_missed += 1,
            }
            let returned = self.completions.push(frame);
            debug_assert!(returned.is_ok(), "a place for the completion was seen above");
        }
        into.len() - before
    }
}

impl Device for LinkPeer {
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        self.copy_out(BURST, into, carry_meaning)
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        let mut sent = 0;
        while self.filled.slots() > 0 {
            let Some(packet) = packets.pop() else { break };
            let needed = packet.len().div_ceil(PIECE);
            if needed > self.empty.buffer().capacity() {
                self.statistics.tx_errors += 1;
                continue;
            }
            if needed > self.empty.slots() {
                packets.unpop(packet);
                break;
            }
            let copy = copy_frame(&packet, || self.empty.pop().ok().map(SendPacket::into_packet));
            let copy = copy.map(|mut copy| {
                carry_meaning(&packet, &mut copy);
                copy
            });
            let Some(Ok(copy)) = copy.map(Packet::try_into_send) else {
                debug_assert!(false, "enough buffers were seen above, and they are nobody else's");
                continue;
            };
            self.statistics.tx_packets += 1;
            self.statistics.tx_bytes += packet.len() as u64;
            let pushed = self.filled.push(copy);
            debug_assert!(pushed.is_ok(), "a place was seen above");
            sent += 1;
        }
        sent
    }

    fn tx_room(&mut self) -> usize {
        self.filled.slots().min(self.empty.slots())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn mac(&self) -> MacBytes {
        self.mac
    }

    fn has_pending(&self) -> bool {
        !self.frames.is_empty()
    }

    fn statistics(&self) -> DeviceStatistics {
        self.statistics
    }
}

impl Drop for LinkHost {
    fn drop(&mut self) {
        self.reclaim();
    }
}

impl Drop for LinkPeer {
    /// Hands the frames on the wire back. Drop this end first: frames that come back to a host
    /// that is gone are leaked, because no other thread may free them.
    fn drop(&mut self) {
        while let Ok(frame) = self.frames.pop() {
            if self.completions.push(frame).is_err() {
                return;
            }
        }
    }
}

/// Bytes of a frame that one fresh buffer takes.
const PIECE: usize = DATA_ROOM - HEADROOM;

/// A frame's bytes in fresh buffers; None when those run out.
fn copy_frame(frame: &Packet, mut fresh: impl FnMut() -> Option<Packet>) -> Option<Packet> {
    let mut copy = fresh()?;
    let mut offset = frame.copy_to(0, copy.append(frame.len().min(PIECE))?);
    while offset < frame.len() {
        let mut piece = fresh()?;
        offset += frame.copy_to(offset, piece.append((frame.len() - offset).min(PIECE))?);
        copy.append_packet(piece);
    }
    Some(copy)
}

/// What was left to the sender's device is known to the receiver as left open.
fn carry_meaning(frame: &Packet, copy: &mut Packet) {
    let request = frame.tx_offload();
    if request.l4_checksum != L4Checksum::None {
        copy.set_rx_checksum(RxChecksum::Partial);
    }
    if request.segment_size > 0 {
        copy.set_gso(Gso { segment_size: request.segment_size });
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests are about threads")]
mod tests {
    use super::*;
    use crate::Chain;

    fn ends(config: LinkConfig) -> (LinkHost, LinkPeer, Pool, Pool) {
        let (near, far) = (Pool::heap(64), Pool::heap(64));
        let (host, peer) = link(config, ([2; 6], near.share()), ([4; 6], far.share()));
        (host, peer, near, far)
    }

    fn frame(pool: &Pool, bytes: &[u8]) -> Packet {
        let mut packet = pool.alloc().expect("room");
        assert!(packet.append_bytes(bytes));
        packet
    }

    #[test]
    fn frames_come_back_late_and_buffers_are_posted_first() {
        let (mut host, mut peer, near, far) = ends(LinkConfig { depth: 4, ..Default::default() });
        let (mut out, mut into) = (Batch::burst(), Batch::burst());
        for _ in 0..6 {
            out.push(frame(&near, b"ping"));
        }
        assert_eq!((host.tx_burst(&mut out), out.len(), host.tx_room()), (4, 2, 0));
        assert_eq!(near.in_use(), 6, "lent frames are still the host's");
        assert_eq!((peer.rx_burst(&mut into), host.tx_room()), (4, 4));
        into.clear();
        out.clear();

        out.push(frame(&far, b"pong"));
        assert_eq!(peer.tx_burst(&mut out), 0, "the host has posted no buffer yet");
        assert_eq!(host.rx_burst(&mut into), 0);
        assert_eq!((peer.tx_burst(&mut out), host.rx_burst(&mut into)), (1, 1));
        assert_eq!(into.pop().expect("one arrived").head(), b"pong");
        drop((host, peer));
        assert_eq!((near.in_use(), far.in_use()), (0, 0));
    }

    #[test]
    fn a_merged_frame_keeps_its_meaning() {
        let config = LinkConfig { checksum_offload: true, segmentation_max: 65_535, depth: 8 };
        let (mut host, mut peer, near, _far) = ends(config);
        let body = Chain::copy_from(&[7; 6_000], &near).expect("room");
        let mut packet = frame(&near, &[1; 54]);
        packet.attach(&body, 0, 6_000, &near).expect("room");
        packet.set_tx_offload(crate::TxOffload {
            segment_size: 1_448,
            l4_checksum: L4Checksum::Tcp,
            ..Default::default()
        });
        let (mut out, mut into) = (Batch::burst(), Batch::burst());
        out.push(packet);
        assert_eq!((host.tx_burst(&mut out), peer.rx_burst(&mut into)), (1, 1));
        let arrived = into.pop().expect("one arrived");
        assert_eq!((arrived.len(), arrived.rx_checksum()), (6_054, RxChecksum::Partial));
        assert_eq!(arrived.gso(), Some(Gso { segment_size: 1_448 }));
        let all: Vec<u8> = arrived.segments().flatten().copied().collect();
        assert_eq!(all, [&[1; 54][..], &[7; 6_000]].concat());
    }

    #[test]
    fn two_threads_share_a_link() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let (mut host, mut peer, near, far) = ends(LinkConfig { depth: 8, ..Default::default() });
        drop((near, far));
        let echo = std::thread::spawn(move || {
            let mut batch = Batch::burst();
            let mut seen = 0;
            while seen < rounds {
                seen += peer.rx_burst(&mut batch);
                while !batch.is_empty() {
                    peer.tx_burst(&mut batch);
                    std::hint::spin_loop();
                }
                std::thread::yield_now();
            }
        });
        let near = Pool::heap(32);
        let (mut out, mut into) = (Batch::burst(), Batch::burst());
        let (mut sent, mut received) = (0u32, 0u32);
        while received < rounds as u32 {
            if sent < rounds as u32
                && out.is_empty()
                && let Ok(mut packet) = near.alloc()
            {
                packet.append_bytes(&sent.to_be_bytes());
                out.push(packet);
                sent += 1;
            }
            host.tx_burst(&mut out);
            host.rx_burst(&mut into);
            for packet in into.drain() {
                assert_eq!(packet.head(), received.to_be_bytes());
                received += 1;
            }
            std::thread::yield_now();
        }
        echo.join().expect("the echo ends");
        // It may still hold buffers of `near`, which must not go first.
        drop(host);
    }
}
