//! Links that lose, delay, reorder, duplicate and corrupt.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluice_base::{Instant, Rng};
use sluice_buf::{
    Batch, Device, Impairment, Judge, L4Checksum, LinkPeer, Pool, RxChecksum, TxOffload, Verdict,
};

use crate::pcap::Capture;

/// What a host's cable does to frames.
#[derive(Clone, Debug, Default)]
pub struct Cable {
    /// To what the host sends.
    pub up: Impairment,
    /// To what it receives.
    pub down: Impairment,
    /// When nothing passes, either way: from, until.
    pub partitions: Vec<(Instant, Instant)>,
}

impl Cable {
    /// Leaves nothing but the time that it takes.
    pub fn calm(&mut self) {
        for way in [&mut self.up, &mut self.down] {
            *way = Impairment { latency_nanos: way.latency_nanos, ..Impairment::default() };
        }
        self.partitions.clear();
    }
}

/// Whose checksum was left open; no extension header stands in front of such a segment.
fn open_checksum(frame: &[u8]) -> L4Checksum {
    const UDP: u8 = 17;
    let is_v6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
    let protocol = frame.get(if is_v6 { 20 } else { 23 });
    if protocol == Some(&UDP) { L4Checksum::Udp } else { L4Checksum::Tcp }
}

/// Bytes of an Ethernet header.
const LINK_HEADER: usize = 14;

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
    up: Judge,
    down: Judge,
    partitions: Vec<(Instant, Instant)>,
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
    pub fn plug(&mut self, peer: LinkPeer, cable: Cable, name: &str) {
        let mac = peer.mac();
        let up = Judge::new(cable.up, self.rng.fork(1));
        let down = Judge::new(cable.down, self.rng.fork(2));
        let (capture, partitions) = (Capture::new(name), cable.partitions);
        self.ports.push(Port { peer, mac, up, down, partitions, capture });
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

    /// Through the sender's cable, then through the receiver's.
    fn send(&mut self, (from, to): (usize, usize), frame: &[u8], open: bool, now: Instant) {
        self.calm_down(now);
        let bytes = frame.len() as u32;
        let mut copies = vec![(frame.to_vec(), now)];
        for (port, is_up) in [(from, true), (to, false)] {
            let port = &mut self.ports[port];
            let mut passed = Vec::with_capacity(copies.len());
            for (frame, sent) in copies {
                if port.partitions.iter().any(|(from, until)| (*from..*until).contains(&sent)) {
                    continue;
                }
                let judge = if is_up { &mut port.up } else { &mut port.down };
                let Verdict::Arrives { at, flip, again } = judge.judge(bytes, sent) else {
                    continue;
                };
                if let Some(again) = again {
                    passed.push((frame.clone(), again));
                }
                let mut frame = frame;
                if let Some(bit) = flip {
                    frame[LINK_HEADER + bit as usize / 8] ^= 1 << (bit % 8);
                }
                passed.push((frame, at));
            }
            copies = passed;
        }
        for (bytes, arrives) in copies {
            self.sequence += 1;
            let frame = Frame { arrives, sequence: self.sequence, to, bytes, open };
            self.in_flight.push(Reverse(frame));
        }
    }

    /// From `until` on cables only take their time.
    fn calm_down(&mut self, now: Instant) {
        if self.until.is_none_or(|until| now < until) {
            return;
        }
        self.until = None;
        for port in &mut self.ports {
            for judge in [&mut port.up, &mut port.down] {
                let latency_nanos = judge.plan().latency_nanos;
                judge.set_plan(Impairment { latency_nanos, ..Impairment::default() });
            }
            port.partitions.clear();
        }
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
                    let l4_checksum = open_checksum(&frame.bytes);
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
