//! ICMP: answering pings, sending errors, hearing errors (RFC 792; RFC 1122, 3.2.2).

use std::net::Ipv4Addr;

use sluice_base::{Instant, SlabKey};
use sluice_buf::{Packet, TxOffload};
use sluice_tcp::CloseReason;
use sluice_wire::icmp::{self, IcmpMessage, Unreachable};
use sluice_wire::{Checksum, IcmpView, IpProtocol, Ipv4Header, Quote, ipv4};

use crate::addresses::{is_group, is_host};
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::forward::view_at;
use crate::ipv4_input::{Ipv4Info, add_packet};
use crate::stack::Stack;
use crate::tuple::Tuple;

/// Hops that what we send may take.
const TTL: u8 = 64;

impl Stack {
    pub(crate) fn icmp_input(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: Ipv4Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        let at = usize::from(frame.l2_len) + usize::from(info.header_len);
        let mut sum = Checksum::new();
        add_packet(&mut sum, &packet, at);
        let view = IcmpView::parse(packet.head().get(at..).unwrap_or_default())?;
        if !sum.is_valid() {
            return Err(DropReason::IcmpChecksum);
        }
        if matches!(view.message(), IcmpMessage::EchoRequest { .. }) {
            return self.echo(packet, frame, info, now);
        }
        match self.hear(&view, now) {
            Err(reason @ (DropReason::IcmpUnsolicited | DropReason::IcmpIgnored)) => {
                self.unowned(frame.interface, packet, reason)
            }
            heard => heard,
        }
    }

    /// What is no question.
    fn hear(&mut self, view: &IcmpView<'_>, now: Instant) -> Result<(), DropReason> {
        match view.message() {
            IcmpMessage::EchoRequest { .. } => Ok(()),
            IcmpMessage::EchoReply { .. } => Err(DropReason::IcmpUnsolicited),
            IcmpMessage::DestinationUnreachable(why) => {
                let quote = view.quote()?;
                self.handle_unreachable(&quote, why, now)
            }
            IcmpMessage::TimeExceeded(_) | IcmpMessage::ParameterProblem(_) => {
                let quote = view.quote()?;
                match quote.header.protocol {
                    IpProtocol::Udp => drop(self.quoted_flow(&quote)?),
                    _ => drop(self.quoted_connection(&quote)?),
                }
                self.counters.icmp_errors_in.increment();
                Ok(())
            }
            IcmpMessage::Other { .. } => Err(DropReason::IcmpIgnored),
        }
    }

    /// RFC 1122, 3.2.2.6: the reply is the request, with the addresses swapped, in its own buffer.
    fn echo(
        &mut self,
        mut packet: Packet,
        frame: Frame,
        info: Ipv4Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        if matches!(self.fib.find(info.source), Some(NextHop::Local { .. })) {
            return Err(DropReason::Ipv4SourceOwn);
        }
        if !self.echo_limit.take(now) {
            return Err(DropReason::IcmpEchoLimited);
        }
        let (interface, next_hop) = self.route(info.source.into())?;
        if !packet.trim_front(usize::from(frame.l2_len)) {
            return Err(DropReason::Ipv4Truncated);
        }
        let header_len = usize::from(info.header_len);
        let Some((header, message)) = packet.head_mut().split_at_mut_checked(header_len) else {
            return Err(DropReason::Ipv4Truncated);
        };
        if !icmp::reply_in_place(message) {
            return Err(DropReason::IcmpIgnored);
        }
        header[12..16].copy_from_slice(&info.destination.octets());
        header[16..20].copy_from_slice(&info.source.octets());
        header[ipv4::TTL_OFFSET] = TTL;
        header[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].fill(0);
        let mut sum = Checksum::new();
        sum.add_bytes(header);
        let checksum = sum.finish().to_be_bytes();
        header[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].copy_from_slice(&checksum);
        packet.set_tx_offload(TxOffload::default());
        self.counters.icmp_echoes.increment();
        if info.total_len() > usize::from(self.interfaces[usize::from(interface)].mtu) {
            // The question came in fragments, and so does the answer.
            return self.send_fragmented(packet, 0, &info, (interface, next_hop), now);
        }
        self.send_ip(packet, interface, next_hop, now)
    }

    /// Sends an error about the IP packet that starts at `at`, unless RFC 1122, 3.2.2 forbids it or
    /// too many were sent lately.
    #[cold]
    pub(crate) fn icmp_error(
        &mut self,
        about: &Packet,
        at: usize,
        message: IcmpMessage,
        now: Instant,
    ) {
        let Some(header) = self.may_answer(about, at) else { return };
        let Ok((interface, next_hop)) = self.route(header.src.into()) else { return };
        let is_to_us = matches!(self.fib.find(header.dst), Some(NextHop::Local { .. }));
        let source = if is_to_us {
            header.dst
        } else {
            let next_hop = next_hop.v4().unwrap_or(header.src);
            match self.interfaces[usize::from(interface)].source_for(next_hop) {
                Some(source) => source,
                None => return,
            }
        };
        if !self.icmp_limit.take(now) {
            return self.counters.icmp_errors_limited.increment();
        }
        let sent = self.build_error(about, at, message, source, header.src).and_then(|packet| {
            self.counters.icmp_errors_out.increment();
            self.send_ip(packet, interface, next_hop, now)
        });
        self.note(sent);
    }

    /// The header of a packet that an error may be sent about.
    fn may_answer(&self, about: &Packet, at: usize) -> Option<Ipv4Header> {
        let view = view_at(about, at)?;
        let header = view.header();
        let is_group_packet = is_group(header.dst)
            || matches!(self.fib.find(header.dst), Some(NextHop::Broadcast { .. }));
        let is_from_one_host = is_host(header.src)
            && !matches!(
                self.fib.find(header.src),
                Some(NextHop::Local { .. } | NextHop::Broadcast { .. })
            );
        if is_group_packet || !is_from_one_host || header.fragment_offset != 0 {
            return None;
        }
        let is_error = header.protocol == IpProtocol::Icmp
            // What cannot be read might be one.
            && IcmpView::parse(view.payload()).map_or(true, |view| view.message().is_error());
        (!is_error).then_some(header)
    }

    fn build_error(
        &self,
        about: &Packet,
        at: usize,
        message: IcmpMessage,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<Packet, DropReason> {
        let quoted = icmp::quote_len(about.len() - at);
        let len = icmp::HEADER_LEN + quoted;
        let mut packet = self.tx_pool.alloc().map_err(|_| DropReason::TxPoolEmpty)?;
        let room = packet.append(len).ok_or(DropReason::TxHeadroom)?;
        message.emit(room);
        about.copy_to(at, &mut room[icmp::HEADER_LEN..]);
        icmp::fill_checksum(room);
        // RFC 1812, 4.3.2.5: precedence of internetwork control is left to those who configure it.
        let header = Ipv4Header {
            dont_fragment: false,
            ..Ipv4Header::new(source, destination, IpProtocol::Icmp, len as u16)
        };
        header.emit(packet.prepend(ipv4::HEADER_LEN).ok_or(DropReason::TxHeadroom)?);
        Ok(packet)
    }

    /// RFC 1122, 4.2.3.9, as RFC 5927, 5 narrows it: an error ends a connection that is not open
    /// yet, and is no more than a note to one that is.
    fn handle_unreachable(
        &mut self,
        quote: &Quote,
        why: Unreachable,
        now: Instant,
    ) -> Result<(), DropReason> {
        if quote.header.protocol == IpProtocol::Udp {
            let flow = self.quoted_flow(quote)?;
            self.counters.icmp_errors_in.increment();
            // What we send may be cut on its way: nobody has to say that it is too large.
            if why.mtu().is_none() {
                self.flow_unreachable(flow);
            }
            return Ok(());
        }
        let index = self.quoted_connection(quote)?;
        self.counters.icmp_errors_in.increment();
        if let Some(mtu) = why.mtu() {
            // RFC 5927, 7.2: an error about a packet that fits is not true.
            if quote.header.total_len() > mtu {
                self.drive(index, now, |tcp, cx| tcp.handle_path_mtu(mtu, cx));
            }
            return Ok(());
        }
        self.fail_connecting(index, CloseReason::Refused, now);
        Ok(())
    }

    /// The UDP flow that a quoted packet is of: its ports are all that can be checked.
    fn quoted_flow(&self, quote: &Quote) -> Result<SlabKey, DropReason> {
        let (local_port, remote_port) = quote.ports().ok_or(DropReason::IcmpUnsolicited)?;
        let (local, remote) = (quote.header.src.into(), quote.header.dst.into());
        let tuple = Tuple { local, remote, local_port, remote_port };
        self.find_flow(&tuple).ok_or(DropReason::IcmpUnsolicited)
    }

    /// The connection that a quoted packet is of, if its sequence number is one that is on its way
    /// (RFC 5927, 4.1).
    fn quoted_connection(&self, quote: &Quote) -> Result<u32, DropReason> {
        let ports = quote.ports().filter(|_| quote.header.protocol == IpProtocol::Tcp);
        let (local_port, remote_port) = ports.ok_or(DropReason::IcmpUnsolicited)?;
        let seq = quote.seq().ok_or(DropReason::IcmpUnsolicited)?;
        let (local, remote) = (quote.header.src.into(), quote.header.dst.into());
        let tuple = Tuple { local, remote, local_port, remote_port };
        let index = self.find_connection(&tuple).ok_or(DropReason::IcmpUnsolicited)?;
        if self.is_in_flight(index, seq) { Ok(index) } else { Err(DropReason::IcmpUnsolicited) }
    }
}
