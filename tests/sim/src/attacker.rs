//! A hostile host: it speaks without listening, and never truthfully.

use std::net::Ipv4Addr;

use sluice_base::{Instant, Rng};
use sluice_buf::{Batch, Device, LinkConfig, LinkHost, LinkPeer, Pool, link};
use sluice_wire::checksum::ones_complement_sum;

use crate::app::mac_of;
use crate::backend::ECHO_PORT;
use crate::sluice::FRONT;

/// Where the attacker is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 250);
const BUFFERS: u32 = 512;
/// Frames that it sends in all.
const FRAMES_MAX: u32 = 1_500;

/// A host on the clients' side that floods, forges and mangles.
pub struct Attacker {
    device: LinkHost,
    pool: Pool,
    rng: Rng,
    next: Instant,
    left: u32,
    to_send: Batch,
    received: Batch,
}

impl Attacker {
    /// An attacker, and the network's end of its port.
    #[must_use]
    pub fn new(rng: Rng, wire: &Pool, link_config: LinkConfig) -> (Self, LinkPeer) {
        let pool = Pool::heap(BUFFERS);
        let mac = mac_of(ADDRESS).0;
        let (device, peer) = link(link_config, (mac, pool.share()), (mac, wire.share()));
        let next = Instant::from_millis(5);
        let batches = (Batch::burst(), Batch::burst());
        let (to_send, received) = batches;
        (Self { device, pool, rng, next, left: FRAMES_MAX, to_send, received }, peer)
    }

    /// Sends what is due; true if there was something.
    pub fn step(&mut self, now: Instant) -> bool {
        self.device.rx_burst(&mut self.received);
        self.received.clear();
        if now < self.next || self.left == 0 {
            return false;
        }
        for _ in 0..=self.rng.below(20) {
            let frame = self.frame();
            let Ok(mut packet) = self.pool.alloc() else { break };
            if packet.append_bytes(&frame) && self.to_send.push(packet) {
                self.left = self.left.saturating_sub(1);
            }
        }
        self.device.tx_burst(&mut self.to_send);
        self.to_send.clear();
        self.next = now.plus_nanos(1_000_000 + self.rng.next_u64() % 60_000_000);
        true
    }

    /// When it attacks next.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        if self.left == 0 { Instant::NEVER } else { self.next }
    }

    /// Its pool, to be counted when it is gone.
    #[must_use]
    pub fn census(&self) -> Pool {
        self.pool.share()
    }

    fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.rng.below(8) {
            0 | 1 => self.forged_segment(SYN),
            2 => {
                let flags = [RST, RST | ACK, ACK, FIN | ACK, SYN | ACK, 0, 0xff];
                let flags = flags[self.rng.below(flags.len() as u32) as usize];
                self.forged_segment(flags)
            }
            3 => self.fragment(),
            4 => self.lie_about_mtu(),
            5 => self.ping(),
            6 => self.arp(),
            _ => self.noise(),
        };
        // Every fourth frame is damaged: a flipped byte, or cut.
        match self.rng.below(8) {
            0 => {
                let at = self.rng.below(frame.len() as u32) as usize;
                frame[at] ^= self.rng.next_u32() as u8;
            }
            1 => frame.truncate(self.rng.below(frame.len() as u32) as usize),
            _ => {}
        }
        frame
    }

    /// A segment from a client that exists, or from an address where nobody is.
    fn forged_segment(&mut self, flags: u8) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(60);
        tcp.extend_from_slice(&(self.rng.next_u32() as u16).to_be_bytes());
        let port = [80, ECHO_PORT, 22, 0][self.rng.below(4) as usize];
        tcp.extend_from_slice(&port.to_be_bytes());
        tcp.extend_from_slice(&self.rng.next_u64().to_be_bytes());
        let words = self.rng.below(11) as u8;
        tcp.extend_from_slice(&[(5 + words) << 4, flags]);
        tcp.extend_from_slice(&(self.rng.next_u32() as u16).to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        // Options: kinds and lengths as they come.
        tcp.extend((0..words * 4).map(|_| (self.rng.below(12)) as u8));
        tcp.extend((0..self.rng.below(40)).map(|_| b'G'));
        let source = self.somebody();
        self.ipv4(source, 6, 0, &tcp)
    }

    fn somebody(&mut self) -> Ipv4Addr {
        let last = [2, 3, 4, 100 + self.rng.below(30) as u8][self.rng.below(4) as usize];
        Ipv4Addr::new(10, 1, 0, last)
    }

    /// A piece of a datagram whose other pieces never come.
    fn fragment(&mut self) -> Vec<u8> {
        let fragment = (self.rng.next_u32() as u16) & 0x3fff | 0x2000;
        let payload = vec![7; 8 * (1 + self.rng.below(20) as usize)];
        let source = self.somebody();
        self.ipv4(source, 17, fragment, &payload)
    }

    /// ICMP: a packet to somebody was too large for a link of a few bytes.
    fn lie_about_mtu(&mut self) -> Vec<u8> {
        let mut icmp = vec![3, 4, 0, 0, 0, 0];
        icmp.extend_from_slice(&(self.rng.below(1_500) as u16).to_be_bytes());
        let mut quote = vec![0x45, 0, 5, 220, 0, 1, 0x40, 0, 64, 6, 0, 0];
        quote.extend_from_slice(&FRONT.octets());
        quote.extend_from_slice(&self.somebody().octets());
        quote.extend_from_slice(&80_u16.to_be_bytes());
        quote.extend_from_slice(&(self.rng.next_u32() as u16).to_be_bytes());
        quote.extend_from_slice(&self.rng.next_u32().to_be_bytes());
        icmp.extend_from_slice(&quote);
        let sum = internet_checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        self.ipv4(ADDRESS, 1, 0, &icmp)
    }

    fn ping(&mut self) -> Vec<u8> {
        let mut icmp = vec![8, 0, 0, 0];
        icmp.extend((0..self.rng.below(1_200)).map(|at| at as u8));
        let sum = internet_checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let source = self.somebody();
        self.ipv4(source, 1, 0, &icmp)
    }

    /// Who has, and is at, for addresses where nobody is.
    fn arp(&mut self) -> Vec<u8> {
        let mut frame = self.ethernet(0x0806);
        let operation = 1 + self.rng.below(2) as u8;
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend_from_slice(&mac_of(ADDRESS).0);
        frame.extend_from_slice(&[10, 1, 0, 100 + self.rng.below(150) as u8]);
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&[10, 1, 0, 1 + self.rng.below(200) as u8]);
        frame
    }

    fn noise(&mut self) -> Vec<u8> {
        let ethertype = [0x0800, 0x0806, 0x86dd, 0x8100, 5][self.rng.below(5) as usize];
        let mut frame = self.ethernet(ethertype);
        frame.extend((0..self.rng.below(200)).map(|_| self.rng.next_u32() as u8));
        frame
    }

    fn ethernet(&mut self, ethertype: u16) -> Vec<u8> {
        let to = if self.rng.chance(100_000) { [0xff; 6] } else { mac_of(FRONT).0 };
        [&to[..], &mac_of(ADDRESS).0[..], &ethertype.to_be_bytes()[..]].concat()
    }

    fn ipv4(&mut self, source: Ipv4Addr, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        if protocol == 6 {
            // Right checksums, or nothing would get past the first check.
            let mut pseudo = [source.octets(), FRONT.octets()].concat();
            pseudo.extend_from_slice(&[0, 6]);
            pseudo.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            pseudo.extend_from_slice(&payload);
            let sum = internet_checksum(&pseudo);
            payload[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        let mut header = vec![0x45, 0];
        header.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        header.extend_from_slice(&(self.rng.next_u32() as u16).to_be_bytes());
        header.extend_from_slice(&fragment.to_be_bytes());
        header.extend_from_slice(&[64, protocol, 0, 0]);
        header.extend_from_slice(&source.octets());
        header.extend_from_slice(&FRONT.octets());
        let sum = internet_checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = self.ethernet(0x0800);
        frame.extend_from_slice(&header);
        frame.extend_from_slice(&payload);
        frame
    }
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    !ones_complement_sum(bytes)
}
