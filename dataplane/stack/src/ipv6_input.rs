//! IPv6 packets: is it one, is it ours, whose is it (RFC 8200, 3 and 4; RFC 4291, 2).

use std::net::Ipv6Addr;

use sluice_base::Instant;
use sluice_buf::{Packet, RxChecksum};
use sluice_wire::icmpv6::{Icmpv6Message, ParameterProblemV6};
use sluice_wire::ipv6::extension::{self, ExtensionError, OptionAction};
use sluice_wire::{
    Checksum, Icmpv6View, IpProtocol, Ipv6View, PlainHeader, TcpView, UdpView, ipv4, ipv6, ndp,
};

use crate::addresses::is_host_v6;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::host::zone_of;
use crate::ipv4_input::add_packet;
use crate::owner::Subject;
use crate::stack::Stack;
use crate::tcp_input::Segment;
use crate::tuple::Tuple;

/// A header that was found to be good, and where it leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv6Info {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hop_limit: u8,
    /// Bytes behind the IPv6 header, in all segments.
    pub(crate) payload_len: u16,
    /// A router says that it is congested (RFC 3168, 5).
    pub(crate) is_marked: bool,
    /// What the header names next.
    pub(crate) next_header: u8,
    /// Bytes of extension headers; known when they were walked.
    pub(crate) extensions_len: u16,
    /// What lies behind them.
    pub(crate) protocol: IpProtocol,
}

impl Ipv6Info {
    pub(crate) const fn total_len(&self) -> usize {
        ipv6::HEADER_LEN + self.payload_len as usize
    }

    /// Bytes of all headers in front of the transport's.
    pub(crate) const fn headers_len(&self) -> usize {
        ipv6::HEADER_LEN + self.extensions_len as usize
    }

    /// Bytes of the transport's header and payload.
    pub(crate) const fn transport_len(&self) -> usize {
        self.payload_len as usize - self.extensions_len as usize
    }
}

impl Stack {
    pub(crate) fn ipv6_input(
        &mut self,
        packet: Packet,
        frame: Frame,
        now: Instant,
    ) -> Result<(), DropReason> {
        let link = &self.interfaces[usize::from(frame.interface)];
        if link.addresses_v6.is_empty() {
            return Err(DropReason::Ipv6Off);
        }
        let info = check_header(&packet, usize::from(frame.l2_len))?;
        if info.destination.is_multicast() {
            return match link.is_in_group(info.destination, self.forwarding) {
                true if frame.is_group => self.local_v6(packet, frame, info, now),
                _ => self.unowned(frame.interface, packet, DropReason::Ipv6Multicast),
            };
        }
        // RFC 4291, 2.5.2: the unspecified address asks a group, never a host.
        if info.source.is_unspecified() {
            return Err(DropReason::Ipv6Source);
        }
        if frame.is_group {
            return Err(DropReason::Ipv6LinkMulticast);
        }
        match self.lookup_v6(frame.interface, info.destination) {
            Some(NextHop::Local { interface }) => {
                let link = &self.interfaces[usize::from(interface)];
                match link.own_v6(info.destination) {
                    Some(own) if own.is_usable() => self.local_v6(packet, frame, info, now),
                    _ => Err(DropReason::Ipv6Duplicate),
                }
            }
            route => self.forward_v6(packet, frame, info, route, now),
        }
    }

    /// A packet to an address or a group of ours.
    fn local_v6(
        &mut self,
        mut packet: Packet,
        frame: Frame,
        mut info: Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        let l2_len = usize::from(frame.l2_len);
        // Short frames are padded; extension headers must not reach into that.
        packet.truncate(l2_len + info.total_len());
        let mut pointer = 6;
        let (mut fragment, mut has_fragment_header) = (None, false);
        if extension::is_extension(info.next_header) {
            let payload = packet.head().get(l2_len + ipv6::HEADER_LEN..).unwrap_or_default();
            let upper = match extension::walk(info.next_header, payload) {
                Ok(upper) => upper,
                Err(error) => return self.bad_extension(&packet, l2_len, &info, error, now),
            };
            info.extensions_len = upper.offset;
            info.protocol = upper.protocol;
            pointer = upper.pointer;
            fragment = upper.fragment.filter(|fragment| !fragment.is_atomic());
            has_fragment_header = upper.fragment.is_some();
        }
        if self.workers > 1 {
            let subject = subject_of(&packet, l2_len, &info, fragment.is_some());
            match self.steer(&subject, packet, &frame) {
                Some(ours) => packet = ours,
                None => return Ok(()),
            }
        }
        if let Some(fragment) = fragment {
            return self.fragment_input_v6(packet, frame, &info, fragment, now);
        }
        match info.protocol {
            IpProtocol::Tcp if info.destination.is_multicast() => Err(DropReason::Ipv6Multicast),
            IpProtocol::Tcp => self.tcp_enqueue_v6(packet, frame, info),
            IpProtocol::Icmpv6 if has_fragment_header && is_discovery(&packet, l2_len, &info) => {
                Err(DropReason::NdFragmented)
            }
            IpProtocol::Icmpv6 => self.icmpv6_input(packet, frame, info, now),
            IpProtocol::Udp if info.destination.is_multicast() => {
                self.unowned(frame.interface, packet, DropReason::Ipv6Multicast)
            }
            IpProtocol::Udp => self.udp_input_v6(packet, frame, info),
            // RFC 8200, 4.7: nothing follows, and that is that.
            IpProtocol::Other(extension::NO_NEXT) => Err(DropReason::Ipv6NoNext),
            IpProtocol::Icmp | IpProtocol::Other(_) if self.has_twin(frame.interface) => {
                self.unowned(frame.interface, packet, DropReason::Ipv6NextHeader)
            }
            IpProtocol::Icmp | IpProtocol::Other(_) => {
                let problem = ParameterProblemV6::NextHeader(pointer.into());
                let why = Icmpv6Message::ParameterProblem(problem);
                self.icmpv6_error(&packet, l2_len, why, now);
                Err(DropReason::Ipv6NextHeader)
            }
        }
    }

    /// RFC 8200, 4: what the sender of a header that cannot be passed hears.
    #[cold]
    fn bad_extension(
        &mut self,
        packet: &Packet,
        l2_len: usize,
        info: &Ipv6Info,
        error: ExtensionError,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (problem, reason) = match error {
            ExtensionError::Truncated => (None, DropReason::Ipv6Extension),
            ExtensionError::TooMany => (None, DropReason::Ipv6ExtensionLimit),
            ExtensionError::HopByHopPlace { pointer } => {
                (Some(ParameterProblemV6::NextHeader(pointer)), DropReason::Ipv6Extension)
            }
            ExtensionError::Routing { pointer } => {
                (Some(ParameterProblemV6::Field(pointer)), DropReason::Ipv6Routing)
            }
            ExtensionError::Option { pointer, action } => {
                let is_said = match action {
                    OptionAction::Discard => false,
                    OptionAction::Report => true,
                    OptionAction::ReportUnicast => !info.destination.is_multicast(),
                };
                let problem = ParameterProblemV6::Option(pointer);
                (is_said.then_some(problem), DropReason::Ipv6Option)
            }
        };
        if let Some(problem) = problem {
            self.icmpv6_error(packet, l2_len, Icmpv6Message::ParameterProblem(problem), now);
        }
        Err(reason)
    }

    /// Checks a segment and puts it on the list of those whose connections are looked up together.
    fn tcp_enqueue_v6(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv6Info,
    ) -> Result<(), DropReason> {
        let at = usize::from(frame.l2_len) + info.headers_len();
        let view = TcpView::parse(packet.head().get(at..).unwrap_or_default())?;
        let payload_len =
            info.transport_len().checked_sub(view.header_len()).ok_or(DropReason::TcpMalformed)?;
        let payload_at = at + view.header_len();
        let header = view.header()?;
        let is_plain = !info.is_marked && PlainHeader::len_in(&packet.head()[at..]).is_some();
        let is_good = match packet.rx_checksum() {
            RxChecksum::Good | RxChecksum::Partial => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => transport_sum_v6(&packet, at, &info).is_valid(),
        };
        if !is_good {
            return Err(DropReason::TcpChecksum);
        }
        let interface = frame.interface;
        // An address of ours has its number for as long as it is ours.
        let local = self
            .hosts
            .find(info.destination, zone_of(info.destination, interface))
            .ok_or(DropReason::Ipv6Duplicate)?;
        // The segment is a user until it was worked on.
        let remote = self
            .hosts
            .acquire(info.source, zone_of(info.source, interface))
            .ok_or(DropReason::HostTable)?;
        let tuple =
            Tuple { local, remote, local_port: header.dst_port, remote_port: header.src_port };
        let hash = tuple.hash(&self.flow_key);
        self.flows.prefetch(hash);
        self.counters.tcp_segments_in.increment();
        self.segments.push(Segment {
            packet: Some(packet),
            hash,
            tuple,
            is_plain,
            is_marked: info.is_marked,
            interface,
            // Headers lie in the first piece of a packet, the rest is at most what IP can say.
            header_at: at as u16,
            payload_at: payload_at as u16,
            payload_len: payload_len as u16,
            candidate: None,
        });
        Ok(())
    }
}

/// Everything about the header that does not depend on us.
fn check_header(packet: &Packet, at: usize) -> Result<Ipv6Info, DropReason> {
    let head = packet.head().get(at..).unwrap_or_default();
    let view = Ipv6View::parse_with_len(head, packet.len() - at)?;
    let (source, destination) = (view.src(), view.dst());
    if !is_host_v6(source) && !source.is_unspecified() {
        return Err(DropReason::Ipv6Source);
    }
    // RFC 4291, 2.7: the scope of interface-local groups, 1, ends before the wire; 0 is reserved.
    let scope = destination.octets()[1] & 0x0f;
    let is_group = destination.is_multicast() && scope > 1;
    if !is_host_v6(destination) && !is_group {
        return Err(DropReason::Ipv6Destination);
    }
    Ok(Ipv6Info {
        source,
        destination,
        hop_limit: view.hop_limit(),
        payload_len: view.payload_len(),
        is_marked: view.header().traffic_class & ipv4::CE == ipv4::CE,
        next_header: view.next_header(),
        extensions_len: 0,
        protocol: IpProtocol::from_number(view.next_header()),
    })
}

/// What decides who owns a packet to us.
fn subject_of(packet: &Packet, l2_len: usize, info: &Ipv6Info, is_fragment: bool) -> Subject {
    let addresses = Subject::AddressesV6 { source: info.source, destination: info.destination };
    if is_fragment {
        return addresses;
    }
    let payload = packet.head().get(l2_len + info.headers_len()..).unwrap_or_default();
    let (local, remote) = (info.destination, info.source);
    let flow = |local_port, remote_port| Subject::FlowV6 { local, local_port, remote, remote_port };
    match info.protocol {
        IpProtocol::Tcp => match TcpView::parse(payload) {
            Ok(view) => flow(view.dst_port(), view.src_port()),
            Err(_) => addresses,
        },
        IpProtocol::Udp => match UdpView::parse_with_len(payload, info.transport_len()) {
            Ok(view) => flow(view.dst_port(), view.src_port()),
            Err(_) => addresses,
        },
        IpProtocol::Icmpv6 => icmpv6_subject(payload).unwrap_or(addresses),
        IpProtocol::Icmp | IpProtocol::Other(_) => addresses,
    }
}

/// RFC 6980, 5: neighbour discovery has no fragment header, not even one that says that nothing was
/// cut.
fn is_discovery(packet: &Packet, l2_len: usize, info: &Ipv6Info) -> bool {
    let kind = packet.head().get(l2_len + info.headers_len());
    kind.is_some_and(|kind| (ndp::KIND_ROUTER_SOLICITATION..=ndp::KIND_REDIRECT).contains(kind))
}

/// Neighbour discovery belongs to whom ARP belongs, an error to whom the packet belongs that it
/// quotes.
fn icmpv6_subject(payload: &[u8]) -> Option<Subject> {
    let view = Icmpv6View::parse(payload).ok()?;
    if (ndp::KIND_ROUTER_SOLICITATION..=ndp::KIND_REDIRECT).contains(&view.kind()) {
        return Some(Subject::Arp);
    }
    let quote = view.message().is_error().then(|| view.quote().ok())??;
    let (local_port, remote_port) = quote.ports()?;
    let (local, remote) = (quote.header.src, quote.header.dst);
    Some(Subject::FlowV6 { local, local_port, remote, remote_port })
}

/// The sum of pseudo header, transport header and data, wherever they lie.
pub(crate) fn transport_sum_v6(packet: &Packet, at: usize, info: &Ipv6Info) -> Checksum {
    let (protocol, len) = (info.protocol.number(), info.transport_len() as u32);
    let mut sum = Checksum::pseudo_header_v6(info.source, info.destination, protocol, len);
    add_packet(&mut sum, packet, at);
    sum
}
