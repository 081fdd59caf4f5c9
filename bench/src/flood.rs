//! Packets to be forwarded or proxied, and where they end.

use std::net::Ipv4Addr;

use sluice_base::ConnId;
use sluice_buf::{Batch, Device, LinkPeer, Pool};
use sluice_stack::Ready;
use sluice_wire::checksum::ones_complement_sum;

use crate::host::{App, Io, mac_of};
use crate::sluice::FRONT;

/// Flows of a flood, as many as the fair comparison with l3fwd has.
const FLOWS: u32 = 256;
/// Packets kept in flight: a burst, as a receive queue under load yields.
const BURST: usize = 32;
/// Bytes of a packet without its checksum trailer: the smallest frame there is.
const FRAME: usize = 60;

/// Sends UDP packets of 60 bytes from 256 flows, one burst per step, without a stack.
pub struct Flood {
    frames: Vec<[u8; FRAME]>,
    next: usize,
    pool: Pool,
    batch: Batch,
    device: LinkPeer,
}

impl Flood {
    /// A flood out of `device`, with buffers of `pool`; to Sluice itself if `is_for_us`, else through it.
    #[must_use]
    pub fn new(pool: &Pool, device: LinkPeer, is_for_us: bool) -> Self {
        let frames = (0..FLOWS).map(|flow| frame(flow, is_for_us)).collect();
        Self { frames, next: 0, pool: pool.share(), batch: Batch::with_capacity(BURST), device }
    }

    /// Sends one burst.
    pub fn step(&mut self) {
        // What the router says to us (its address announcements) goes nowhere.
        self.device.rx_burst(&mut self.batch);
        self.batch.clear();
        while !self.batch.is_full() {
            let Ok(mut packet) = self.pool.alloc() else { break };
            packet.append_bytes(&self.frames[self.next]);
            self.next = (self.next + 1) % self.frames.len();
            self.batch.push(packet);
        }
        self.device.tx_burst(&mut self.batch);
        self.batch.clear();
    }
}

/// A host that ignores what arrives.
pub struct Sink;

impl App for Sink {
    fn handle(&mut self, _conn: ConnId, _ready: Ready, _io: &mut Io<'_>) {}

    fn poll(&mut self, _io: &mut Io<'_>) {}
}

/// One packet of flow number `flow` to Sluice, or to 10.99.0.0/16, which is behind the sink.
fn frame(flow: u32, is_for_us: bool) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&mac_of(FRONT).0);
    frame[6..12].copy_from_slice(&mac_of(Ipv4Addr::new(10, 1, 0, 2)).0);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let length = (FRAME - 14) as u16;
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[22] = 64;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&Ipv4Addr::new(10, 1, 0, 2).octets());
    let behind = Ipv4Addr::from_bits(Ipv4Addr::new(10, 99, 0, 0).to_bits() + flow * 17);
    let to = if is_for_us { FRONT } else { behind };
    frame[30..34].copy_from_slice(&to.octets());
    let checksum = !ones_complement_sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    // A datagram without a checksum (RFC 768).
    frame[34..36].copy_from_slice(&(40_000 + flow as u16).to_be_bytes());
    frame[36..38].copy_from_slice(&9u16.to_be_bytes());
    frame[38..40].copy_from_slice(&(length - 20).to_be_bytes());
    frame
}
