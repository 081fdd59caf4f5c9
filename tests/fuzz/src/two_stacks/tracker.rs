//! What sequence numbers are in use, as seen on the wire, and whether the attacker hit them by chance.
//!
//! The attacker is blind: its numbers come from the program. Some may be right all the same, above all
//! since they may be said relative to the true ones, and a segment that cannot be told from a good one
//! is taken. What is asked here is whether a segment of the attacker's may be taken at all (RFC 5961);
//! bounds are generous, because ends may know more than was on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_wire::ipv6::extension;
use sluice_wire::{
    EtherType, EthernetView, Flags, IcmpView, Icmpv6View, IpProtocol, Ipv4View, Ipv6View,
    SeqNumber, TcpHeader, TcpView,
};

use super::host::{PORT_WEB, side_of};

/// A connection, by who began it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key {
    pub(super) is_v6: bool,
    pub(super) client: usize,
    pub(super) port: u16,
}

/// One end's numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Half {
    /// Of its SYN, once that was sent.
    pub(super) iss: Option<SeqNumber>,
    /// Behind the last number that it sent.
    pub(super) sent: SeqNumber,
    /// What it acknowledged last; none before it knows the other's numbers.
    pub(super) acked: Option<SeqNumber>,
    /// Behind the last number that it would take.
    edge: SeqNumber,
    shift: u8,
    window_max: u32,
}

pub(super) struct Flow {
    pub(super) key: Key,
    /// By side.
    pub(super) halves: [Half; 2],
    had_luck: bool,
}

#[derive(Default)]
pub(super) struct Tracker {
    flows: Vec<Flow>,
}

/// A TCP segment between the hosts.
struct Seen {
    from: IpAddr,
    to: IpAddr,
    header: TcpHeader,
    payload_len: u32,
}

impl Tracker {
    pub(super) fn flows(&self) -> &[Flow] {
        &self.flows
    }

    pub(super) fn had_luck(&self, key: Key) -> bool {
        self.flows.iter().any(|flow| flow.key == key && flow.had_luck)
    }

    /// A host sent a frame.
    pub(super) fn observe(&mut self, side: usize, frame: &[u8]) {
        let Some(seen) = read(frame) else { return };
        let Some(flow) = self.flow(side, &seen) else { return };
        let (header, half) = (seen.header, &mut flow.halves[side]);
        let end = header.seq + header.segment_len(seen.payload_len);
        if header.flags.contains(Flags::SYN) && half.iss != Some(header.seq) {
            *half = Half { iss: Some(header.seq), sent: end, ..Half::default() };
            half.shift = header.options.window_scale.unwrap_or(0);
        }
        // A reset for nobody's segment says what that segment said.
        if half.iss.is_none() || header.flags.contains(Flags::RST) {
            return;
        }
        half.sent = half.sent.max(end);
        if header.flags.contains(Flags::ACK) {
            let is_syn = header.flags.contains(Flags::SYN);
            let window = u32::from(header.window) << if is_syn { 0 } else { half.shift };
            half.acked = Some(half.acked.map_or(header.ack, |acked| acked.max(header.ack)));
            let edge = header.ack + window;
            half.edge = if half.window_max == 0 { edge } else { half.edge.max(edge) };
            half.window_max = half.window_max.max(window);
        }
    }

    /// The attacker sends a frame to a host: may that take it?
    pub(super) fn note_luck(&mut self, victim: usize, frame: &[u8]) {
        if let Some(seen) = read(frame) {
            if let Some(flow) = self.flow(1 - victim, &seen) {
                flow.had_luck |= flow.may_take(victim, &seen.header, seen.payload_len);
            }
        } else if let Some((ports, seq)) = quoted(frame) {
            for flow in &mut self.flows {
                let is_it = ports.0 == flow.key.port || ports.1 == flow.key.port;
                // RFC 5927, 4.1: what quotes a SYN that is on its way is believed.
                flow.had_luck |= is_it && flow.halves[victim].iss == Some(seq);
            }
        }
    }

    fn flow(&mut self, from: usize, seen: &Seen) -> Option<&mut Flow> {
        let is_between = side_of(seen.from) == Some(from) && side_of(seen.to) == Some(1 - from);
        let (client, port) = match (seen.header.src_port, seen.header.dst_port) {
            (port, PORT_WEB) => (from, port),
            (PORT_WEB, port) => (1 - from, port),
            _ => return None,
        };
        let key = Key { is_v6: seen.from.is_ipv6(), client, port };
        if !is_between {
            return None;
        }
        let at = self.flows.iter().position(|flow| flow.key == key).unwrap_or_else(|| {
            self.flows.push(Flow { key, halves: Default::default(), had_luck: false });
            self.flows.len() - 1
        });
        self.flows.get_mut(at)
    }
}

impl Flow {
    /// Whether RFC 9293 and 5961 let `victim` act on a segment.
    fn may_take(&self, victim: usize, header: &TcpHeader, payload_len: u32) -> bool {
        let (own, other) = (&self.halves[victim], &self.halves[1 - victim]);
        let end = header.seq + header.segment_len(payload_len);
        let Some(iss) = own.iss else {
            // It knows nothing of the connection yet and refuses what is no SYN, by a reset that says
            // the other's number if this one does (RFC 9293, 3.10.7.1).
            let is_of = |iss: SeqNumber| end.after(iss) && end.at_or_before(other.sent);
            return !header.flags.contains(Flags::ACK) && other.iss.is_some_and(is_of);
        };
        let is_ours = |ack: SeqNumber| ack.after(iss) && ack.at_or_before(own.sent);
        let Some(low) = own.acked else {
            // SYN-SENT: the answer, a refusal, or a SYN at the same time.
            let is_syn = header.flags.contains(Flags::SYN);
            return if header.flags.contains(Flags::ACK) { is_ours(header.ack) } else { is_syn };
        };
        if header.flags.contains(Flags::RST) {
            let high = if other.iss.is_some() { low.max(other.sent) } else { low };
            return header.seq.at_or_after(low) && header.seq.at_or_before(high);
        }
        let is_near = header.seq.at_or_before(own.edge) && end.at_or_after(low);
        let oldest = iss - other.window_max;
        is_near
            && header.flags.contains(Flags::ACK)
            && header.ack.since(oldest) <= own.sent.since(oldest)
    }
}

fn read(frame: &[u8]) -> Option<Seen> {
    let ethernet = EthernetView::parse(frame).ok()?;
    let packet = ethernet.payload();
    let (from, to, segment): (IpAddr, IpAddr, _) = match ethernet.ether_type() {
        EtherType::Ipv4 => {
            let view = Ipv4View::parse(packet).ok()?;
            (view.protocol() == IpProtocol::Tcp).then_some(())?;
            (view.src().into(), view.dst().into(), view.payload())
        }
        EtherType::Ipv6 => {
            let view = Ipv6View::parse(packet).ok()?;
            let upper = extension::walk(view.next_header(), view.payload()).ok()?;
            (upper.protocol == IpProtocol::Tcp).then_some(())?;
            let segment = view.payload().get(usize::from(upper.offset)..)?;
            (view.src().into(), view.dst().into(), segment)
        }
        EtherType::Arp | EtherType::Other(_) => return None,
    };
    let view = TcpView::parse(segment).ok()?;
    let header = view.header().ok()?;
    Some(Seen { from, to, header, payload_len: (segment.len() - view.header_len()) as u32 })
}

/// Ports and sequence number of a segment that an ICMP error quotes.
fn quoted(frame: &[u8]) -> Option<((u16, u16), SeqNumber)> {
    let ethernet = EthernetView::parse(frame).ok()?;
    match ethernet.ether_type() {
        EtherType::Ipv4 => {
            let view = Ipv4View::parse(ethernet.payload()).ok()?;
            let quote = IcmpView::parse(view.payload()).ok()?.quote().ok()?;
            Some((quote.ports()?, quote.seq()?))
        }
        EtherType::Ipv6 => {
            let view = Ipv6View::parse(ethernet.payload()).ok()?;
            let upper = extension::walk(view.next_header(), view.payload()).ok()?;
            let message = view.payload().get(usize::from(upper.offset)..)?;
            let quote = Icmpv6View::parse(message).ok()?.quote().ok()?;
            Some((quote.ports()?, quote.seq()?))
        }
        EtherType::Arp | EtherType::Other(_) => None,
    }
}

/// The addresses of a host.
pub(super) fn addresses(side: usize) -> (Ipv4Addr, Ipv6Addr) {
    let last = side as u8 + 1;
    (Ipv4Addr::new(10, 0, 0, last), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, last.into()))
}
