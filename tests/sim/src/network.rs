//! Links that lose, delay, reorder, duplicate and corrupt.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluice_base::{Instant, Rng};
use sluice_buf::{Batch, Device, L4Checksum, LinkPeer, Pool, RxChecksum, TxOffload};

use crate::pcap::Capture;

/// What one link does to frames, each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Nanoseconds that every frame takes.
    pub latency_nanos: u64,
    /// Up to this many more, drawn per frame: this is what reorders.
    pub jitter_nanos: u64,
    /// Frames lost, per million.
    pub loss: u32,
    /// Frames that arrive twice, per million.
    pub duplication: u32,
    /// Frames with a flipped bit, per million.
    pub corruption: u32,
}

/// One segment: every port hears what is addressed to it, or to all.
pub struct Network {
    ports: Vec<Port>,
    in_flight: BinaryHeap<Reverse<Frame>>,
    sequence: u64,
    rng: Rng,
    pool: Pool,
    batch: Batch,
    until: Option<Instant>,
}

struct Port {
    peer: LinkPeer,
    mac: [u8; 6],
    faults: Faults,
    capture: Capture,
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Frame {
    arrives: Instant,
    sequence: u64,
    to: usize,
    bytes: Vec<u8>,
    /// The checksum was left open by a sender that knows its receiver to be in the same memory.
    open: bool,
}

impl Network {
    /// An empty segment. Faults end at `until`, if given, so that a run can end too.
    #[must_use]
    pub fn new(rng: Rng, pool: Pool, until: Option<Instant>) -> Self {
        Self {
            ports: Vec::new(),
            in_flight: BinaryHeap::new(),
            sequence: 0,
            rng,
            pool,
            batch: Batch::burst(),
            until,
        }
    }

    /// Plugs a host in.
    pub fn plug(&mut self, peer: LinkPeer, faults: Faults, name: &str) {
        let mac = peer.mac();
        self.ports.push(Port { peer, mac, faults, capture: Capture::new(name) });
    }

    /// The captures of all ports.
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        self.ports.iter().map(|port| &port.capture)
    }

    /// Takes what hosts have sent; true if there was something.
    pub fn collect(&mut self, now: Instant) -> bool {
        let mut worked = false;
        for from in 0..self.ports.len() {
            while self.ports[from].peer.rx_burst(&mut self.batch) > 0 {
                worked = true;
                let frames: Vec<(Vec<u8>, bool)> = self
                    .batch
                    .drain()
                    .map(|packet| {
                        let open = packet.rx_checksum() == RxChecksum::Partial;
                        (packet.segments().flatten().copied().collect(), open)
                    })
                    .collect();
                for (frame, open) in frames {
                    self.ports[from].capture.note(now, &frame);
                    self.route(from, &frame, open, now);
                }
            }
        }
        worked
    }

    fn route(&mut self, from: usize, frame: &[u8], open: bool, now: Instant) {
        let Some(destination) = frame.get(..6) else { return };
        let to_all = destination[0] & 1 == 1;
        for to in 0..self.ports.len() {
            if to != from && (to_all || self.ports[to].mac == destination) {
                self.send((from, to), frame, open, now);
            }
        }
    }

    fn send(&mut self, (from, to): (usize, usize), frame: &[u8], open: bool, now: Instant) {
        // A host's faults are those of its cable: what it sends and what it receives.
        for faults in [self.ports[from].faults, self.ports[to].faults] {
            if !self.faulty(now) {
                break;
            }
            if self.rng.chance(faults.loss) {
                return;
            }
        }
        let copies = 1 + u32::from(self.hits(from, to, now, |faults| faults.duplication));
        for _ in 0..copies {
            let mut bytes = frame.to_vec();
            if self.hits(from, to, now, |faults| faults.corruption) && bytes.len() > 14 {
                let at = 14 + self.rng.below(bytes.len() as u32 - 14) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
            }
            let mut delay = 0;
            for faults in [self.ports[from].faults, self.ports[to].faults] {
                delay += faults.latency_nanos;
                if self.faulty(now) && faults.jitter_nanos > 0 {
                    delay += self.rng.next_u64() % faults.jitter_nanos;
                }
            }
            self.sequence += 1;
            let arrives = now.plus_nanos(delay);
            let frame = Frame { arrives, sequence: self.sequence, to, bytes, open };
            self.in_flight.push(Reverse(frame));
        }
    }

    fn faulty(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn hits(&mut self, from: usize, to: usize, now: Instant, of: fn(&Faults) -> u32) -> bool {
        let rates = [of(&self.ports[from].faults), of(&self.ports[to].faults)];
        self.faulty(now) && rates.into_iter().any(|rate| self.rng.chance(rate))
    }

    /// Delivers what is due; true if there was something.
    pub fn deliver(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some(Reverse(frame)) = self.in_flight.peek() {
            if frame.arrives > now {
                break;
            }
            let Some(Reverse(frame)) = self.in_flight.pop() else { break };
            worked = true;
            let port = &mut self.ports[frame.to];
            port.capture.note(now, &frame.bytes);
            let Ok(mut packet) = self.pool.alloc() else { continue };
            packet.set_headroom(0);
            if packet.append_bytes(&frame.bytes) {
                if frame.open {
                    let l4_checksum = L4Checksum::Tcp;
                    packet.set_tx_offload(TxOffload { l4_checksum, ..TxOffload::default() });
                }
                self.batch.push(packet);
                // A port without posted buffers loses the frame, as a NIC would.
                port.peer.tx_burst(&mut self.batch);
                self.batch.clear();
            }
        }
        worked
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Instant {
        self.in_flight.peek().map_or(Instant::NEVER, |Reverse(frame)| frame.arrives)
    }
}
