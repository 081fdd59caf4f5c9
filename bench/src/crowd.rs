//! A million peers of twelve bytes each: just enough TCP to open, ask, acknowledge and close.
//!
//! A [`Crowd`] plays all clients of a server. Who it is that a segment is for follows from its
//! addresses, so nothing is looked up, and what a client must remember is where both sequence
//! spaces are. An [`Echo`] plays all origins behind a proxy and remembers nothing at all: what it
//! says follows from the segment that it answers.
//!
//! Neither retransmits: on a wire that loses nothing there is no need. A client that stopped
//! getting answers never becomes idle ([`Crowd::is_idle`]).

use std::net::Ipv4Addr;

use sluice_base::Instant;
use sluice_buf::{L4Checksum, Packet, Pool, RxChecksum, TxOffload};
use sluice_wire::{
    ArpOperation, ArpPacket, ArpView, EtherType, EthernetHeader, EthernetView, Flags, IpProtocol,
    Ipv4Header, Ipv4View, MacAddress, SeqNumber, TcpHeader, TcpOptions, TcpView, Timestamps,
    VlanTags,
};

/// Ports of one address, from [`FIRST_PORT`].
const PORTS: u32 = 32_768;
const FIRST_PORT: u32 = 1_024;
/// The first address of the crowd, behind its router.
const FIRST_ADDRESS: u32 = Ipv4Addr::new(10, 128, 0, 0).to_bits();
/// Where a flood says that it comes from.
const FIRST_SPOOFED: u32 = Ipv4Addr::new(172, 16, 0, 0).to_bits();
const WINDOW: u16 = 0xffff;
const WINDOW_SCALE: u8 = 4;
const MSS: u16 = 1460;
/// Bytes of an exchange, each way.
pub const EXCHANGE: usize = 64;
const PAYLOAD: [u8; EXCHANGE] = [b'e'; EXCHANGE];
const IP_AT: usize = 14;
const TCP_AT: usize = 34;

/// Who closes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closer {
    /// The client, once its answer is there.
    Client,
    /// The server, which then keeps the TIME-WAIT record.
    Server,
}

/// What a client remembers.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// What it sends next.
    next: SeqNumber,
    /// What it expects next.
    expected: SeqNumber,
    /// The last timestamp of its peer.
    stamp: u32,
}

/// How far a client is; only those on their way are listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Opening,
    Open,
    Asked,
    Closing,
    Closed,
}

/// All clients of one server.
pub struct Crowd {
    members: Vec<Member>,
    phases: Vec<Phase>,
    server: (Ipv4Addr, u16),
    macs: [MacAddress; 2],
    /// Whether a client that has its answer ends its connection, and who begins.
    closes: Option<Closer>,
    /// SYNs that were sent.
    pub begun: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Answers that came.
    pub answered: u64,
    /// Connections that ended, both ways.
    pub closed: u64,
    /// Resets, and segments that nobody expected.
    pub failures: u64,
    /// Segments to addresses of which nobody is here: what answers to spoofed ones come to.
    pub strangers: u64,
}

/// One segment, as its sender sees it.
struct Segment<'a> {
    macs: [MacAddress; 2],
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    header: TcpHeader,
    payload: &'a [u8],
}

impl Segment<'_> {
    fn build(&self, pool: &Pool) -> Option<Packet> {
        let mut packet = pool.alloc().ok()?;
        let header_len = self.header.header_len();
        let frame = packet.append(TCP_AT + header_len + self.payload.len())?;
        let ethernet = EthernetHeader {
            destination: self.macs[1],
            source: self.macs[0],
            tags: VlanTags::None,
            ether_type: EtherType::Ipv4,
        };
        ethernet.emit(frame);
        let len = (header_len + self.payload.len()) as u16;
        Ipv4Header::new(self.from.0, self.to.0, IpProtocol::Tcp, len).emit(&mut frame[IP_AT..]);
        self.header.emit(&mut frame[TCP_AT..]);
        frame[TCP_AT + header_len..].copy_from_slice(self.payload);
        left_open(&mut packet, header_len);
        Some(packet)
    }
}

/// The checksum is left to the device, on either end of a wire.
fn left_open(packet: &mut Packet, header_len: usize) {
    packet.set_tx_offload(TxOffload {
        l2_len: IP_AT as u8,
        l3_len: (TCP_AT - IP_AT) as u16,
        l4_len: header_len as u8,
        l4_checksum: L4Checksum::Tcp,
        ..TxOffload::default()
    });
}

/// What arrives without a wire between: the checksum is known to be good.
pub fn vouch(packet: &mut Packet) {
    packet.set_tx_offload(TxOffload::default());
    packet.set_rx_checksum(RxChecksum::Good);
}

/// A segment that arrived.
struct Arrived {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    header: TcpHeader,
    payload_len: u32,
}

impl Arrived {
    fn parse(frame: &[u8]) -> Option<Self> {
        let ip = Ipv4View::parse_with_len(frame.get(IP_AT..)?, frame.len() - IP_AT).ok()?;
        let ip = ip.header();
        let tcp = TcpView::parse(frame.get(TCP_AT..)?).ok()?;
        let header = tcp.header().ok()?;
        let payload_len = ip.payload_len as usize - tcp.header_len();
        Some(Self {
            from: (ip.src, header.src_port),
            to: (ip.dst, header.dst_port),
            header,
            payload_len: payload_len as u32,
        })
    }

    fn stamp(&self) -> u32 {
        self.header.options.timestamps.map_or(0, |stamps| stamps.value)
    }

    /// Numbers that it takes.
    fn len(&self) -> u32 {
        let flags = self.header.flags;
        let flags = [Flags::SYN, Flags::FIN].map(|flag| u32::from(flags.contains(flag)));
        self.payload_len + flags[0] + flags[1]
    }
}

fn plain(seq: SeqNumber, ack: SeqNumber, flags: Flags, stamps: (u32, u32)) -> TcpHeader {
    TcpHeader {
        seq,
        ack,
        flags,
        window: WINDOW,
        options: TcpOptions::with_timestamps(stamps.0, stamps.1),
        ..TcpHeader::default()
    }
}

fn opening(seq: SeqNumber, ack: SeqNumber, flags: Flags, stamps: (u32, u32)) -> TcpHeader {
    let mut header = plain(seq, ack, flags, stamps);
    header.options = TcpOptions {
        mss: Some(MSS),
        window_scale: Some(WINDOW_SCALE),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: stamps.0, echo: stamps.1 }),
        ..TcpOptions::NONE
    };
    header
}

/// The timestamp clock of all peers.
fn stamp_of(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// The answer to an ARP request, from whoever was asked for.
#[must_use]
pub fn answer_arp(frame: &[u8], mac: MacAddress, pool: &Pool) -> Option<Packet> {
    let view = EthernetView::parse(frame).ok()?;
    if view.ether_type() != EtherType::Arp {
        return None;
    }
    let request = ArpView::parse(view.payload()).ok()?.packet();
    if request.operation != ArpOperation::Request || request.is_gratuitous() || request.is_probe() {
        return None;
    }
    let answer = ArpPacket {
        operation: ArpOperation::Reply,
        sender_mac: mac,
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
    };
    let mut packet = pool.alloc().ok()?;
    let frame = packet.append(60)?;
    frame.fill(0);
    let ethernet = EthernetHeader {
        destination: request.sender_mac,
        source: mac,
        tags: VlanTags::None,
        ether_type: EtherType::Arp,
    };
    ethernet.emit(frame);
    answer.emit(&mut frame[IP_AT..]);
    Some(packet)
}

impl Crowd {
    /// `count` clients of `server`, all behind the station `macs[0]`; `macs[1]` is the server's.
    #[must_use]
    pub fn new(count: u32, server: (Ipv4Addr, u16), macs: [MacAddress; 2]) -> Self {
        Self {
            // Not zeros: a crowd's memory is there from the start, and never part of a slope.
            members: vec![Member { stamp: 1, ..Member::default() }; count as usize],
            phases: vec![Phase::Closed; count as usize],
            server,
            macs,
            closes: None,
            begun: 0,
            opened: 0,
            answered: 0,
            closed: 0,
            failures: 0,
            strangers: 0,
        }
    }

    /// From now on a client that has its answer ends its connection.
    pub fn close_after_answer(&mut self, closer: Closer) {
        self.closes = Some(closer);
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.members.len() as u32
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a client has no connection.
    #[must_use]
    pub fn is_closed(&self, index: u32) -> bool {
        self.phases[index as usize] == Phase::Closed
    }

    /// Whether a client can [`ask`](Self::ask).
    #[must_use]
    pub fn is_idle(&self, index: u32) -> bool {
        self.phases[index as usize] == Phase::Open
    }

    /// The first segment of a client's connection.
    pub fn open(&mut self, index: u32, now: Instant, pool: &Pool) -> Option<Packet> {
        self.begun += 1;
        // Behind where the last connection of that client ended, as RFC 6528 has it.
        let iss = SeqNumber((self.begun as u32).wrapping_mul(4_096));
        self.members[index as usize] = Member { next: iss + 1, ..Member::default() };
        self.phases[index as usize] = Phase::Opening;
        let header = opening(iss, SeqNumber::ZERO, Flags::SYN, (stamp_of(now), 0));
        self.say(index, header, &[], pool)
    }

    /// Sends what a client asks.
    pub fn ask(&mut self, index: u32, now: Instant, pool: &Pool) -> Option<Packet> {
        self.phases[index as usize] = Phase::Asked;
        self.send(index, Flags::ACK | Flags::PSH, &PAYLOAD, now, pool)
    }

    fn send(
        &mut self,
        index: u32,
        flags: Flags,
        payload: &[u8],
        now: Instant,
        pool: &Pool,
    ) -> Option<Packet> {
        let Member { next, expected, stamp } = self.members[index as usize];
        let header = plain(next, expected, flags, (stamp_of(now), stamp));
        let fin = u32::from(flags.contains(Flags::FIN));
        self.members[index as usize].next = next + (payload.len() as u32 + fin);
        self.say(index, header, payload, pool)
    }

    fn say(
        &self,
        index: u32,
        mut header: TcpHeader,
        payload: &[u8],
        pool: &Pool,
    ) -> Option<Packet> {
        let from = place_of(index);
        (header.src_port, header.dst_port) = (from.1, self.server.1);
        Segment { macs: self.macs, from, to: self.server, header, payload }.build(pool)
    }

    /// A SYN with somebody else's address, number `count` of a flood.
    #[must_use]
    pub fn spoofed(&self, count: u32, now: Instant, pool: &Pool) -> Option<Packet> {
        let from = (Ipv4Addr::from_bits(FIRST_SPOOFED + count / 60_000), (count % 60_000) as u16);
        let from = (from.0, from.1 + FIRST_PORT as u16);
        let seq = SeqNumber(count.wrapping_mul(0x9e37_79b1));
        let mut header = opening(seq, SeqNumber::ZERO, Flags::SYN, (stamp_of(now), 0));
        (header.src_port, header.dst_port) = (from.1, self.server.1);
        Segment { macs: self.macs, from, to: self.server, header, payload: &[] }.build(pool)
    }

    /// A frame from the server; gives what a client says to it.
    pub fn handle(&mut self, frame: &[u8], now: Instant, pool: &Pool) -> Option<Packet> {
        let Some(arrived) = Arrived::parse(frame) else {
            return answer_arp(frame, self.macs[0], pool);
        };
        let index = index_of(arrived.to).filter(|index| (*index as usize) < self.members.len());
        let Some(index) = index else {
            self.strangers += 1;
            return None;
        };
        let (flags, phase) = (arrived.header.flags, self.phases[index as usize]);
        let member = &mut self.members[index as usize];
        if phase == Phase::Closed && arrived.len() == 0 && !flags.contains(Flags::RST) {
            // The ACK of the last FIN.
            return None;
        }
        let is_next = phase == Phase::Opening || arrived.header.seq == member.expected;
        if flags.contains(Flags::RST) || phase == Phase::Closed || !is_next {
            self.failures += 1;
            return None;
        }
        member.stamp = arrived.stamp();
        member.expected = arrived.header.seq + arrived.len();
        match phase {
            Phase::Opening => {
                self.opened += 1;
                self.phases[index as usize] = Phase::Open;
                if self.closes.is_some() {
                    // The third segment brings the question.
                    return self.ask(index, now, pool);
                }
                self.send(index, Flags::ACK, &[], now, pool)
            }
            Phase::Asked if arrived.payload_len > 0 => {
                self.answered += 1;
                self.phases[index as usize] = Phase::Open;
                match self.closes {
                    None => self.send(index, Flags::ACK, &[], now, pool),
                    Some(Closer::Client) => {
                        self.phases[index as usize] = Phase::Closing;
                        self.send(index, Flags::ACK | Flags::FIN, &[], now, pool)
                    }
                    Some(Closer::Server) if flags.contains(Flags::FIN) => {
                        self.end(index, now, pool)
                    }
                    Some(Closer::Server) => {
                        self.phases[index as usize] = Phase::Closing;
                        None
                    }
                }
            }
            Phase::Closing if flags.contains(Flags::FIN) => {
                if self.closes == Some(Closer::Server) {
                    return self.end(index, now, pool);
                }
                self.closed += 1;
                self.phases[index as usize] = Phase::Closed;
                self.send(index, Flags::ACK, &[], now, pool)
            }
            Phase::Open | Phase::Asked | Phase::Closing | Phase::Closed => {
                if arrived.len() == 0 {
                    return None;
                }
                self.send(index, Flags::ACK, &[], now, pool)
            }
        }
    }

    /// The server closed first.
    fn end(&mut self, index: u32, now: Instant, pool: &Pool) -> Option<Packet> {
        self.closed += 1;
        self.phases[index as usize] = Phase::Closed;
        self.send(index, Flags::ACK | Flags::FIN, &[], now, pool)
    }
}

/// The address and port of a client.
#[must_use]
pub fn place_of(index: u32) -> (Ipv4Addr, u16) {
    let address = Ipv4Addr::from_bits(FIRST_ADDRESS + index / PORTS);
    (address, (FIRST_PORT + index % PORTS) as u16)
}

fn index_of((address, port): (Ipv4Addr, u16)) -> Option<u32> {
    let address = address.to_bits().checked_sub(FIRST_ADDRESS)?;
    let port = u32::from(port).checked_sub(FIRST_PORT).filter(|port| *port < PORTS)?;
    address.checked_mul(PORTS)?.checked_add(port)
}

/// All origins behind a proxy: every byte comes back, a FIN is answered with one.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// Whose station they are.
    pub mac: MacAddress,
}

impl Echo {
    /// What is said to a frame.
    #[must_use]
    pub fn handle(&self, frame: &[u8], now: Instant, pool: &Pool) -> Option<Packet> {
        let Some(arrived) = Arrived::parse(frame) else {
            return answer_arp(frame, self.mac, pool);
        };
        let (asked, len) = (arrived.header, arrived.len());
        if len == 0 || asked.flags.contains(Flags::RST) {
            return None;
        }
        let stamps = (stamp_of(now), arrived.stamp());
        let ack = asked.seq + len;
        let mut header = if asked.flags.contains(Flags::SYN) {
            // Any number will do, as long as it is not the same for all.
            let iss = SeqNumber(u32::from(arrived.from.1).wrapping_mul(0x85eb_ca6b));
            opening(iss, ack, Flags::SYN | Flags::ACK, stamps)
        } else {
            let fin = if asked.flags.contains(Flags::FIN) { Flags::FIN } else { Flags::NONE };
            plain(asked.ack, ack, Flags::ACK | fin, stamps)
        };
        (header.src_port, header.dst_port) = (arrived.to.1, arrived.from.1);
        let view = EthernetView::parse(frame).ok()?;
        let macs = [self.mac, view.source()];
        let payload = &PAYLOAD[..(arrived.payload_len as usize).min(EXCHANGE)];
        Segment { macs, from: arrived.to, to: arrived.from, header, payload }.build(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_a_place_of_its_own() {
        for index in [0, 1, PORTS - 1, PORTS, 1_000_000] {
            assert_eq!(index_of(place_of(index)), Some(index));
        }
        assert_eq!(place_of(PORTS).0, Ipv4Addr::new(10, 128, 0, 1));
        assert_eq!(index_of((Ipv4Addr::new(10, 127, 255, 255), 2_000)), None);
        assert_eq!(index_of((Ipv4Addr::new(10, 128, 0, 0), 80)), None);
    }
}
