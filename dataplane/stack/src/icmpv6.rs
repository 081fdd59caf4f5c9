//! ICMPv6: answering pings, sending errors, hearing errors (RFC 4443).

use std::net::Ipv6Addr;

use sluice_base::{Instant, SlabKey};
use sluice_buf::{Packet, TxOffload};
use sluice_tcp::CloseReason;
use sluice_wire::icmpv6::{self, Icmpv6Message};
use sluice_wire::ipv6::{self, extension};
use sluice_wire::{Icmpv6View, IpProtocol, Ipv6Header, Ipv6View, QuoteV6, ndp};

use crate::addresses::is_host_v6;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::family::path_mtu_v6;
use crate::fib::NextHop;
use crate::host::zone_of;
use crate::ipv6_input::{Ipv6Info, transport_sum_v6};
use crate::stack::Stack;
use crate::tuple::Tuple;

/// Hops that what we send may take.
const HOP_LIMIT: u8 = 64;
/// Multicast listener discovery (RFC 2710, RFC 3810): a host answers queries, routers alone count.
const MLD: std::ops::RangeInclusive<u8> = 130..=132;
const MLD_V2_REPORT: u8 = 143;

impl Stack {
    pub(crate) fn icmpv6_input(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        let at = usize::from(frame.l2_len) + info.headers_len();
        let view = Icmpv6View::parse(packet.head().get(at..).unwrap_or_default())?;
        if !transport_sum_v6(&packet, at, &info).is_valid() {
            return Err(DropReason::IcmpChecksum);
        }
        let kind = view.kind();
        if (ndp::KIND_ROUTER_SOLICITATION..=ndp::KIND_REDIRECT).contains(&kind) {
            let heard = self.nd_input(&packet, &frame, &info, now);
            return match kind {
                ndp::KIND_NEIGHBOR_ADVERTISEMENT | ndp::KIND_ROUTER_ADVERTISEMENT
                    if self.has_twin(frame.interface) =>
                {
                    self.tell_twin(packet, &frame, heard)
                }
                _ => heard,
            };
        }
        if MLD.contains(&kind) || kind == MLD_V2_REPORT {
            return self.unowned(frame.interface, packet, DropReason::MldIgnored);
        }
        // What follows is answered or looked for by the source's address.
        if info.source.is_unspecified() {
            return Err(DropReason::Ipv6Source);
        }
        if matches!(view.message(), Icmpv6Message::EchoRequest { .. }) {
            return self.echo_v6(packet, frame, info, now);
        }
        match self.hear_v6(&view, frame.interface, now) {
            Err(reason @ (DropReason::IcmpUnsolicited | DropReason::IcmpIgnored)) => {
                self.unowned(frame.interface, packet, reason)
            }
            heard => heard,
        }
    }

    /// What is no question.
    fn hear_v6(
        &mut self,
        view: &Icmpv6View<'_>,
        zone: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        match view.message() {
            Icmpv6Message::EchoRequest { .. } => Ok(()),
            Icmpv6Message::EchoReply { .. } => Err(DropReason::IcmpUnsolicited),
            Icmpv6Message::PacketTooBig { mtu } => {
                let quote = view.quote()?;
                // RFC 8201, 4 and RFC 5927, 7.2: a link carries 1280 bytes, and an error about a
                // packet that fits is not true.
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                let is_true = mtu >= ipv6::MTU_MIN && quote.header.total_len() > usize::from(mtu);
                if quote.protocol == IpProtocol::Udp {
                    let flow = self.quoted_flow_v6(&quote, zone)?;
                    self.counters.icmp_errors_in.increment();
                    if is_true {
                        self.set_flow_mtu(flow, mtu);
                    }
                    return Ok(());
                }
                let index = self.quoted_connection_v6(&quote, zone)?;
                self.counters.icmp_errors_in.increment();
                if is_true {
                    self.drive(index, now, |tcp, cx| tcp.handle_path_mtu(path_mtu_v6(mtu), cx));
                }
                Ok(())
            }
            Icmpv6Message::DestinationUnreachable(_) => {
                let quote = view.quote()?;
                if quote.protocol == IpProtocol::Udp {
                    let flow = self.quoted_flow_v6(&quote, zone)?;
                    self.counters.icmp_errors_in.increment();
                    self.flow_unreachable(flow);
                    return Ok(());
                }
                let index = self.quoted_connection_v6(&quote, zone)?;
                self.counters.icmp_errors_in.increment();
                // RFC 5927, 5: an open connection goes on.
                self.fail_connecting(index, CloseReason::Refused, now);
                Ok(())
            }
            Icmpv6Message::TimeExceeded(_) | Icmpv6Message::ParameterProblem(_) => {
                let quote = view.quote()?;
                match quote.protocol {
                    IpProtocol::Udp => drop(self.quoted_flow_v6(&quote, zone)?),
                    _ => drop(self.quoted_connection_v6(&quote, zone)?),
                }
                self.counters.icmp_errors_in.increment();
                Ok(())
            }
            Icmpv6Message::Other { .. } => Err(DropReason::IcmpIgnored),
        }
    }

    /// RFC 4443, 4.2: the reply is the request, in its own buffer, from the address that was asked,
    /// or, if that was a group, from the one that its sender is spoken to from.
    fn echo_v6(
        &mut self,
        mut packet: Packet,
        frame: Frame,
        info: Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        if matches!(self.lookup_v6(frame.interface, info.source), Some(NextHop::Local { .. })) {
            return Err(DropReason::Ipv6SourceOwn);
        }
        if !self.echo_limit.take(now) {
            return Err(DropReason::IcmpEchoLimited);
        }
        // Extension headers were the asker's wish; RFC 8200 has none of them repeated.
        if info.extensions_len > 0 {
            return Err(DropReason::IcmpIgnored);
        }
        let is_group = info.destination.is_multicast();
        let source = if is_group {
            let link = &self.interfaces[usize::from(frame.interface)];
            link.source_for_v6(info.source).ok_or(DropReason::NoRoute)?.address
        } else {
            info.destination
        };
        if !packet.trim_front(usize::from(frame.l2_len)) {
            return Err(DropReason::Ipv6Truncated);
        }
        let Some((header, message)) = packet.head_mut().split_at_mut_checked(ipv6::HEADER_LEN)
        else {
            return Err(DropReason::Ipv6Truncated);
        };
        if !icmpv6::reply_in_place(message) {
            return Err(DropReason::IcmpIgnored);
        }
        header[8..24].copy_from_slice(&source.octets());
        header[24..40].copy_from_slice(&info.source.octets());
        header[ipv6::HOP_LIMIT_OFFSET] = HOP_LIMIT;
        if is_group {
            let field = icmpv6::CHECKSUM_OFFSET..icmpv6::CHECKSUM_OFFSET + 2;
            message[field.clone()].fill(0);
            let swapped = Ipv6Info { source, destination: info.source, ..info };
            let checksum = transport_sum_v6(&packet, ipv6::HEADER_LEN, &swapped).finish();
            packet.head_mut()[ipv6::HEADER_LEN..][field].copy_from_slice(&checksum.to_be_bytes());
        }
        packet.set_tx_offload(TxOffload::default());
        self.counters.icmp_echoes.increment();
        self.with_host(frame.interface, info.source, |stack, host| {
            let (interface, next_hop) = stack.route(host)?;
            let mtu = stack.interfaces[usize::from(interface)].mtu_v6;
            if packet.len() > usize::from(mtu) {
                // The question came in fragments, and so does the answer.
                return stack.send_fragmented_v6(&packet, mtu, (interface, next_hop), now);
            }
            stack.send_ip(packet, interface, next_hop, now)
        })
    }

    /// Sends an error about the IPv6 packet that starts at `at`, unless RFC 4443, 2.4 (e) forbids it
    /// or too many were sent lately.
    #[cold]
    pub(crate) fn icmpv6_error(
        &mut self,
        about: &Packet,
        at: usize,
        message: Icmpv6Message,
        now: Instant,
    ) {
        self.icmpv6_error_on(0, about, at, message, now);
    }

    /// As [`Stack::icmpv6_error`], about a packet that came in by `interface`, which matters where
    /// its source is link-local.
    #[cold]
    pub(crate) fn icmpv6_error_on(
        &mut self,
        interface: u16,
        about: &Packet,
        at: usize,
        message: Icmpv6Message,
        now: Instant,
    ) {
        let Some(header) = self.may_answer_v6(about, at, &message) else { return };
        let destination = header.src;
        let route = self.with_host(interface, destination, |stack, host| {
            let (interface, _) = stack.route(host)?;
            Ok(interface)
        });
        let Ok(interface) = route else { return };
        let link = &self.interfaces[usize::from(interface)];
        let is_to_us = matches!(self.lookup_v6(interface, header.dst), Some(NextHop::Local { .. }));
        let source = match link.source_for_v6(destination) {
            _ if is_to_us => header.dst,
            Some(own) => own.address,
            None => return,
        };
        if !self.icmp_limit.take(now) {
            return self.counters.icmp_errors_limited.increment();
        }
        let built = self.build_error_v6(about, at, message, source, destination);
        let sent = built.and_then(|packet| {
            self.counters.icmp_errors_out.increment();
            self.with_host(interface, destination, |stack, host| {
                let (interface, next_hop) = stack.route(host)?;
                stack.send_ip(packet, interface, next_hop, now)
            })
        });
        self.note(sent);
    }

    /// The header of a packet that an error may be sent about.
    fn may_answer_v6(
        &self,
        about: &Packet,
        at: usize,
        message: &Icmpv6Message,
    ) -> Option<Ipv6Header> {
        let view = Ipv6View::parse_quoted(about.head().get(at..)?).ok()?;
        let header = view.header();
        // RFC 4443, 2.4 (e.3): about a packet to a group, only that it is too big, or an option.
        let is_exempt = matches!(
            message,
            Icmpv6Message::PacketTooBig { .. }
                | Icmpv6Message::ParameterProblem(icmpv6::ParameterProblemV6::Option(_))
        );
        if (header.dst.is_multicast() && !is_exempt) || !is_host_v6(header.src) {
            return None;
        }
        if let Ok(upper) = extension::walk(header.next_header, view.payload()) {
            let is_later = upper.fragment.is_some_and(|fragment| fragment.offset != 0);
            let payload = view.payload().get(usize::from(upper.offset)..).unwrap_or_default();
            let is_error = upper.protocol == IpProtocol::Icmpv6
                // What cannot be read might be one.
                && Icmpv6View::parse(payload).map_or(true, |view| view.message().is_error());
            // RFC 8200, 4.5 has a fragment's own fault said, whichever it is.
            let is_fault = matches!(
                message,
                Icmpv6Message::ParameterProblem(icmpv6::ParameterProblemV6::Field(_))
            );
            if (is_later && !is_fault) || is_error {
                return None;
            }
        }
        Some(header)
    }

    fn build_error_v6(
        &self,
        about: &Packet,
        at: usize,
        message: Icmpv6Message,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<Packet, DropReason> {
        let quoted = icmpv6::quote_len(about.len() - at);
        let len = icmpv6::HEADER_LEN + quoted;
        let mut packet = self.tx_pool.alloc().map_err(|_| DropReason::TxPoolEmpty)?;
        let room = packet.append(len).ok_or(DropReason::TxHeadroom)?;
        message.emit(room);
        about.copy_to(at, &mut room[icmpv6::HEADER_LEN..]);
        icmpv6::fill_checksum(source, destination, room);
        let header = Ipv6Header::new(source, destination, IpProtocol::Icmpv6, len as u16);
        header.emit(packet.prepend(ipv6::HEADER_LEN).ok_or(DropReason::TxHeadroom)?);
        Ok(packet)
    }

    /// The UDP flow that a quoted packet is of: its ports are all that can be checked.
    fn quoted_flow_v6(&self, quote: &QuoteV6, interface: u16) -> Result<SlabKey, DropReason> {
        let ports = quote.ports().ok_or(DropReason::IcmpUnsolicited)?;
        let tuple = self.quoted_tuple_v6(quote, ports, interface)?;
        self.find_flow(&tuple).ok_or(DropReason::IcmpUnsolicited)
    }

    fn quoted_tuple_v6(
        &self,
        quote: &QuoteV6,
        (local_port, remote_port): (u16, u16),
        interface: u16,
    ) -> Result<Tuple, DropReason> {
        let host = |address| self.hosts.find(address, zone_of(address, interface));
        match (host(quote.header.src), host(quote.header.dst)) {
            (Some(local), Some(remote)) => Ok(Tuple { local, remote, local_port, remote_port }),
            _ => Err(DropReason::IcmpUnsolicited),
        }
    }

    /// The connection that a quoted packet is of, if its sequence number is one that is on its way
    /// (RFC 5927, 4.1).
    fn quoted_connection_v6(&self, quote: &QuoteV6, interface: u16) -> Result<u32, DropReason> {
        let ports = quote.ports().filter(|_| quote.protocol == IpProtocol::Tcp);
        let ports = ports.ok_or(DropReason::IcmpUnsolicited)?;
        let seq = quote.seq().ok_or(DropReason::IcmpUnsolicited)?;
        let tuple = self.quoted_tuple_v6(quote, ports, interface)?;
        let index = self.find_connection(&tuple).ok_or(DropReason::IcmpUnsolicited)?;
        if self.is_in_flight(index, seq) { Ok(index) } else { Err(DropReason::IcmpUnsolicited) }
    }
}
