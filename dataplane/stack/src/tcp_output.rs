//! Segments are built when there is room for them, never before.
//!
//! ```text
//!   headroom | ethernet 14 | IPv4 20 or IPv6 40 | TCP 20..60 | payload copy <= 512   -> linked payload slices
//! ```

use std::net::Ipv6Addr;

use sluice_base::{Instant, SlabKey};
use sluice_buf::{Batch, Capabilities, L4Checksum, Packet, Pool, TxOffload};
use sluice_tcp::{Connection, Context, Outgoing, fast_open_cookie};
use sluice_wire::{
    Checksum, FastOpenCookie, Flags, IpProtocol, Ipv4Header, Ipv6Header, TcpHeader, TcpOptions,
    ipv4, ipv6, tcp,
};

use crate::connection::{Queued, context};
use crate::drop_reason::DropReason;
use crate::fast_open::client_words;
use crate::host::Hosts;
use crate::ipv4_input::add_packet;
use crate::neighbor::{Reach, TEMPLATE_LEN};
use crate::stack::Stack;
use crate::tuple::Tuple;

/// Segments of one connection before it is the next one's turn: its cache lines are paid for once.
const TURN: usize = 4;
/// Connections that are passed over for want of a buffer before the rest waits for better times:
/// behind them may be some whose segments the reserve is for.
const PASSED_OVER_MAX: usize = 32;
/// The most that IPv6 and the largest TCP header take of a unit of segmentation.
const HEADERS_MAX: u32 = ipv6::HEADER_LEN as u32 + tcp::HEADER_LEN_MAX as u32;

const _: () = assert!(
    TEMPLATE_LEN + ipv6::HEADER_LEN + tcp::HEADER_LEN_MAX <= sluice_buf::HEADROOM,
    "all headers fit into the headroom"
);

impl Stack {
    pub(crate) fn transmit_segments(
        &mut self,
        interface: u16,
        mut left: usize,
        out: &mut Batch,
        now: Instant,
    ) {
        let mut passed_over = 0;
        while left > 0 && passed_over < PASSED_OVER_MAX {
            let output = &mut self.interfaces[usize::from(interface)].output;
            let Some(index) = output.peek() else { break };
            let room = left.min(TURN);
            let (used, again) = self.transmit_connection(interface, index, room, out, now);
            left -= used;
            match again {
                Again::No => {}
                Again::Later => self.want_output(index),
                Again::PoolEmpty => {
                    self.want_output(index);
                    passed_over += 1;
                }
            }
        }
    }

    /// The turn of the first connection of an interface's list: how many packets it gave out, and
    /// what becomes of it. Data towards a neighbour that answers is sent here, the rest by
    /// `transmit_any`.
    #[inline]
    fn transmit_connection(
        &mut self,
        interface: u16,
        index: u32,
        room: usize,
        out: &mut Batch,
        now: Instant,
    ) -> (usize, Again) {
        let port = &mut self.interfaces[usize::from(interface)];
        let Some(entry) = self.connections.at_mut(index) else {
            port.output.pop(&mut self.connections);
            return (0, Again::No);
        };
        port.output.pass(&mut entry.behind);
        if entry.queued == Queued::Gone {
            self.free_slot(index);
            return (0, Again::No);
        }
        entry.queued = Queued::No;
        let Some(template) = self.neighbors.template(entry.neighbor, now) else {
            return self.transmit_any(index, room, out, now);
        };
        let capabilities = &port.capabilities;
        let max_payload = max_payload(capabilities);
        let cx = context!(self, entry.config, now);
        let tcp = &mut entry.tcp;
        let (mut used, mut sent) = (0, 0);
        let mut sendable = tcp.sendable();
        while sendable > 0 && used < room {
            let Ok(packet) = self.tx_pool.alloc() else { break };
            let outgoing = tcp.poll_data(sendable, max_payload, &cx);
            used += 1;
            let wire = Wire { template, tuple: &entry.tuple, hosts: &self.hosts, capabilities };
            let built = if outgoing.has_more_options || entry.tuple.remote.is_v6() {
                // Copies, so that in the straight line both stay in registers.
                let (wire, outgoing) = (wire, outgoing);
                wire.build_any(packet, tcp, &outgoing, &cx, &self.tx_pool)
            } else {
                wire.build_plain::<IPV4>(packet, tcp, &outgoing, &self.tx_pool)
            };
            match built {
                Ok(packet) => {
                    sent += 1;
                    out.push(packet);
                }
                // Lost like on a wire; it will be sent again.
                Err(reason) => self.counters.drops.count(reason),
            }
            sendable = tcp.sendable();
        }
        self.counters.tcp_segments_out.add(sent);
        let has_output = sendable > 0 || tcp.owes_more_than_data();
        let has_moved = tcp.deadline_moved();
        let deadline = tcp.next_deadline();
        let is_settled = !entry.has_news() && !entry.is_over();
        if has_moved {
            self.timers.arm(&mut self.connections, index, deadline);
        }
        if has_output {
            if used == room {
                return (used, Again::Later);
            }
            // An ACK alone, a FIN, something urgent; or no buffer.
            let (more, again) = self.transmit_any(index, room - used, out, now);
            return (used + more, again);
        }
        if !is_settled {
            self.settle_at(index, now);
        }
        (used, Again::No)
    }

    /// A turn of any kind: how many packets were given out, and what becomes of the connection.
    #[cold]
    fn transmit_any(
        &mut self,
        index: u32,
        room: usize,
        out: &mut Batch,
        now: Instant,
    ) -> (usize, Again) {
        let way = self.find_way(index, now);
        let Some(entry) = self.connections.at_mut(index) else { return (0, Again::No) };
        if let Way::Awaited = way {
            return (0, Again::No);
        }
        let capabilities = &self.interfaces[usize::from(entry.interface)].capabilities;
        let max_payload = max_payload(capabilities);
        let cx = context!(self, entry.config, now);
        let tcp = &mut entry.tcp;
        let (mut used, mut sent) = (0, 0);
        let mut again = Again::Later;
        while used < room {
            if !tcp.has_output(now) {
                again = Again::No;
                break;
            }
            let Some((packet, is_reserved)) = alloc(&self.tx_pool, tcp) else {
                self.counters.drops.count(DropReason::TxPoolEmpty);
                again = Again::PoolEmpty;
                break;
            };
            // New data waits for a buffer of its own, the ACK that it would carry does not.
            let next = if is_reserved && !tcp.may_use_reserve() {
                again = Again::PoolEmpty;
                tcp.poll_ack(&cx)
            } else {
                tcp.poll_output(max_payload, &cx)
            };
            let Some(outgoing) = next else {
                again = Again::No;
                break;
            };
            used += 1;
            let template = match &way {
                Way::Open(template) => template,
                Way::Awaited => break,
                Way::Closed(reason) => {
                    // The next hop is silent. The segment counts as sent and lost, so that the
                    // connection's own timers decide what becomes of it.
                    self.counters.drops.count(*reason);
                    continue;
                }
            };
            let wire = Wire { template, tuple: &entry.tuple, hosts: &self.hosts, capabilities };
            let built = if outgoing.header.flags.contains(Flags::SYN) && tcp.grants_cookie() {
                let client = client_words(entry.tuple.remote, &self.hosts);
                let cookie = fast_open_cookie(&self.number_key, client, now);
                wire.build_granting(packet, tcp, &outgoing, cookie, &cx)
            } else {
                wire.build_any(packet, tcp, &outgoing, &cx, &self.tx_pool)
            };
            match built {
                Ok(packet) => {
                    sent += 1;
                    out.push(packet);
                }
                // Lost like on a wire; it will be sent again.
                Err(reason) => self.counters.drops.count(reason),
            }
            if matches!(again, Again::PoolEmpty) {
                break;
            }
        }
        self.counters.tcp_segments_out.add(sent);
        let deadline = tcp.next_deadline();
        self.timers.arm(&mut self.connections, index, deadline);
        if matches!(again, Again::No) {
            self.settle_sent(index, now);
        }
        (used, again)
    }

    /// Does what follows from a turn after which nothing is owed.
    #[inline]
    fn settle_sent(&mut self, index: u32, now: Instant) {
        let Some(entry) = self.connections.at_mut(index) else { return };
        if entry.has_news() || entry.is_over() {
            self.settle_at(index, now);
        }
    }

    /// The way of a connection's segments when its neighbour is not the one it was, or must be
    /// asked for; a connection that has to wait for the answer is put on the neighbour's list.
    #[cold]
    fn find_way(&mut self, index: u32, now: Instant) -> Way {
        let Some(key) = self.connections.key_at(index) else { return Way::Awaited };
        match self.reach_for(key, now) {
            Ok((neighbor, Reach::Usable)) => match self.neighbors.get(neighbor) {
                Some(neighbor) => Way::Open(neighbor.template),
                None => Way::Closed(DropReason::NeighborEvicted),
            },
            Ok((_, Reach::Failed)) => {
                self.reroute(key);
                Way::Closed(DropReason::NeighborFailed)
            }
            Err(reason) => Way::Closed(reason),
            Ok((neighbor, Reach::Waiting)) => {
                if let Some(entry) = self.connections.get_mut(key) {
                    debug_assert!(entry.neighbor == neighbor, "it waits for its own");
                    entry.queued = Queued::Neighbor;
                    self.neighbors.wait(neighbor, &mut self.connections, key.index);
                }
                Way::Awaited
            }
        }
    }

    /// The neighbour through which a connection's segments go.
    fn reach_for(&mut self, key: SlabKey, now: Instant) -> Result<(SlabKey, Reach), DropReason> {
        let entry = self.connections.get(key).ok_or(DropReason::TcpNoConnection)?;
        let neighbor = match self.neighbors.get(entry.neighbor) {
            Some(_) => entry.neighbor,
            None => {
                let had_one = entry.neighbor != SlabKey::NONE;
                if had_one && !self.learned.is_empty() {
                    self.reroute(key);
                }
                let entry = self.connections.get(key).ok_or(DropReason::TcpNoConnection)?;
                let (interface, next_hop) = (entry.interface, entry.next_hop);
                let found = self.neighbor(interface, next_hop, now);
                let neighbor = found.ok_or(DropReason::NeighborTable)?;
                if let Some(entry) = self.connections.get_mut(key) {
                    entry.neighbor = neighbor;
                }
                neighbor
            }
        };
        let reach = self.reach(neighbor, now);
        Ok((neighbor, reach))
    }

    /// Answers a segment that no connection wants, unless too many were answered lately.
    #[cold]
    pub(crate) fn reset(
        &mut self,
        header: &TcpHeader,
        tuple: &Tuple,
        payload_len: usize,
        now: Instant,
    ) {
        let Some(answer) = sluice_tcp::reset_for(header, payload_len as u32) else { return };
        if !self.reset_limit.take(now) {
            return self.counters.tcp_resets_limited.increment();
        }
        self.counters.tcp_resets_out.increment();
        let sent = self.send_bare(&answer, tuple, now);
        self.note(sent);
    }

    /// Sends a segment without data that belongs to no connection.
    pub(crate) fn send_bare(
        &mut self,
        header: &TcpHeader,
        tuple: &Tuple,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (interface, next_hop) = self.route(tuple.remote)?;
        let mut packet = self.tx_pool.alloc_reserved().map_err(|_| DropReason::TxPoolEmpty)?;
        let header =
            TcpHeader { src_port: tuple.local_port, dst_port: tuple.remote_port, ..*header };
        let len = header.header_len();
        let segment = packet.append(len).ok_or(DropReason::TxHeadroom)?;
        header.emit(segment);
        match (tuple.local.v4(), tuple.remote.v4()) {
            (Some(local), Some(remote)) => {
                tcp::fill_checksum(local, remote, segment);
                let ip = Ipv4Header::new(local, remote, IpProtocol::Tcp, len as u16);
                ip.emit(packet.prepend(ipv4::HEADER_LEN).ok_or(DropReason::TxHeadroom)?);
            }
            _ => {
                let (local, remote) = addresses_v6(&self.hosts, tuple)?;
                tcp::fill_checksum(local, remote, segment);
                let ip = Ipv6Header::new(local, remote, IpProtocol::Tcp, len as u16);
                ip.emit(packet.prepend(ipv6::HEADER_LEN).ok_or(DropReason::TxHeadroom)?);
            }
        }
        self.send_ip(packet, interface, next_hop, now)
    }
}

/// What becomes of a connection after its turn.
enum Again {
    /// It owes nothing now, or waits for its neighbour.
    No,
    /// It goes to the tail.
    Later,
    /// No buffer: nobody goes on.
    PoolEmpty,
}

/// Where a connection's segments go.
enum Way {
    /// To a neighbour, behind this link header.
    Open([u8; TEMPLATE_LEN]),
    /// Nowhere yet: the neighbour was asked.
    Awaited,
    /// Nowhere.
    Closed(DropReason),
}

/// A buffer for the next segment, and whether it is of the reserve, which is for those who have no
/// new data to send, or an ACK beside it.
#[inline]
fn alloc(pool: &Pool, tcp: &Connection) -> Option<(Packet, bool)> {
    match pool.alloc() {
        Ok(packet) => Some((packet, false)),
        Err(_) if tcp.may_use_reserve() || tcp.owes_ack() => {
            pool.alloc_reserved().ok().map(|packet| (packet, true))
        }
        Err(_) => None,
    }
}

/// How much payload the device cuts into segments by itself.
#[inline]
fn max_payload(capabilities: &Capabilities) -> u32 {
    match capabilities.tx_segmentation_max {
        0 => 0,
        max => max.min(u32::from(u16::MAX)).saturating_sub(HEADERS_MAX + TEMPLATE_LEN as u32),
    }
}

/// Puts a segment's payload into its packet.
#[inline]
fn attach(
    packet: &mut Packet,
    tcp: &Connection,
    outgoing: &Outgoing,
    pool: &Pool,
) -> Result<(), DropReason> {
    let (offset, len) = (outgoing.payload_offset, outgoing.payload_len);
    if len == 0 {
        return Ok(());
    }
    packet.attach(tcp.send_queue(), offset, len, pool).map_err(|_| DropReason::TxPoolEmpty)
}

/// A network header's length, which says whose it is.
const IPV4: usize = ipv4::HEADER_LEN;
const IPV6: usize = ipv6::HEADER_LEN;

/// What turns a segment into a frame.
#[derive(Clone, Copy)]
struct Wire<'a> {
    template: &'a [u8; TEMPLATE_LEN],
    tuple: &'a Tuple,
    hosts: &'a Hosts,
    capabilities: &'a Capabilities,
}

impl Wire<'_> {
    /// A segment of either family with any options.
    #[inline(never)]
    fn build_any(
        &self,
        packet: Packet,
        tcp: &mut Connection,
        outgoing: &Outgoing,
        cx: &Context<'_>,
        pool: &Pool,
    ) -> Result<Packet, DropReason> {
        if self.tuple.remote.is_v6() {
            self.build::<IPV6>(packet, tcp, outgoing, cx, pool)
        } else {
            self.build::<IPV4>(packet, tcp, outgoing, cx, pool)
        }
    }

    /// `L3` is the length of the network header, and so says which one it is.
    fn build<const L3: usize>(
        &self,
        mut packet: Packet,
        tcp: &mut Connection,
        outgoing: &Outgoing,
        cx: &Context<'_>,
        pool: &Pool,
    ) -> Result<Packet, DropReason> {
        if !outgoing.has_more_options {
            return self.build_plain::<L3>(packet, tcp, outgoing, pool);
        }
        attach(&mut packet, tcp, outgoing, pool)?;
        self.build_with::<L3>(packet, outgoing, tcp.options_of(outgoing, cx))
    }

    /// A SYN+ACK with a cookie (RFC 7413).
    #[cold]
    fn build_granting(
        &self,
        packet: Packet,
        tcp: &mut Connection,
        outgoing: &Outgoing,
        cookie: FastOpenCookie,
        cx: &Context<'_>,
    ) -> Result<Packet, DropReason> {
        let options = TcpOptions { fast_open: Some(cookie), ..tcp.options_of(outgoing, cx) };
        if self.tuple.remote.is_v6() {
            self.build_with::<IPV6>(packet, outgoing, options)
        } else {
            self.build_with::<IPV4>(packet, outgoing, options)
        }
    }

    /// The rest of `build`: the payload is attached.
    fn build_with<const L3: usize>(
        &self,
        mut packet: Packet,
        outgoing: &Outgoing,
        options: TcpOptions,
    ) -> Result<Packet, DropReason> {
        let ports = (self.tuple.local_port, self.tuple.remote_port);
        let header = TcpHeader { options, ..outgoing.header.with_ports(ports.0, ports.1) };
        let l4_len = header.header_len();
        let (seed, l4) = self.headers::<L3>(&mut packet, l4_len, outgoing.is_ect)?;
        header.emit(l4);
        l4[tcp::CHECKSUM_OFFSET..][..2].copy_from_slice(&seed.to_be_bytes());
        self.finish::<L3>(packet, outgoing, l4_len)
    }

    /// As `build`, for a header without rare options.
    #[inline]
    fn build_plain<const L3: usize>(
        &self,
        mut packet: Packet,
        tcp: &Connection,
        outgoing: &Outgoing,
        pool: &Pool,
    ) -> Result<Packet, DropReason> {
        attach(&mut packet, tcp, outgoing, pool)?;
        let l4_len = outgoing.header.header_len();
        let (seed, l4) = self.headers::<L3>(&mut packet, l4_len, outgoing.is_ect)?;
        outgoing.header.emit(self.tuple.local_port, self.tuple.remote_port, seed, l4);
        self.finish::<L3>(packet, outgoing, l4_len)
    }

    /// Makes room for all headers, fills in those of link and network; gives the sum of the pseudo
    /// header and the room for the TCP header.
    #[inline]
    fn headers<'p, const L3: usize>(
        &self,
        packet: &'p mut Packet,
        l4_len: usize,
        is_ect: bool,
    ) -> Result<(u16, &'p mut [u8]), DropReason> {
        let transport_len = l4_len + packet.len();
        let head = packet.prepend(TEMPLATE_LEN + L3 + l4_len).ok_or(DropReason::TxHeadroom)?;
        let Some((l2, rest)) = head.split_first_chunk_mut::<TEMPLATE_LEN>() else {
            return Err(DropReason::TxHeadroom);
        };
        let Some((l3, l4)) = rest.split_first_chunk_mut::<L3>() else {
            return Err(DropReason::TxHeadroom);
        };
        *l2 = *self.template;
        let (len, protocol) = (transport_len as u16, IpProtocol::Tcp);
        if let Some(l3) = l3.first_chunk_mut().filter(|_| L3 == IPV4) {
            let (Some(local), Some(remote)) = (self.tuple.local.v4(), self.tuple.remote.v4())
            else {
                return Err(DropReason::NoRoute);
            };
            let sum = Ipv4Header::emit_new(local, remote, protocol, len, l3);
            if is_ect {
                let header = Ipv4Header::new(local, remote, protocol, len);
                Ipv4Header { dscp_ecn: ipv4::ECT_0, ..header }.emit(l3);
            }
            return Ok((sum, l4));
        }
        let (local, remote) = addresses_v6(self.hosts, self.tuple)?;
        let traffic_class = if is_ect { ipv4::ECT_0 } else { 0 };
        let header = Ipv6Header::new(local, remote, protocol, len);
        Ipv6Header { traffic_class, ..header }.emit(l3);
        let number = protocol.number();
        let sum = Checksum::pseudo_header_v6(local, remote, number, transport_len as u32);
        Ok((sum.sum(), l4))
    }

    /// What is left to be done by the device, or here: the checksum, of which the pseudo header's
    /// part is in its field.
    #[inline]
    fn finish<const L3: usize>(
        &self,
        mut packet: Packet,
        outgoing: &Outgoing,
        l4_len: usize,
    ) -> Result<Packet, DropReason> {
        if packet.segment_count() > 1 && !self.capabilities.multi_segment && !packet.linearise() {
            return Err(DropReason::TxLinearise);
        }
        if self.capabilities.tx_l4_checksum || outgoing.segment_size > 0 {
            packet.set_tx_offload(TxOffload {
                l2_len: TEMPLATE_LEN as u8,
                l3_len: L3 as u16,
                l4_len: l4_len as u8,
                segment_size: outgoing.segment_size,
                is_v6: L3 == IPV6,
                // The header's checksum is there; who cuts the packet must correct it.
                ipv4_checksum: L3 == IPV4
                    && outgoing.segment_size > 0
                    && self.capabilities.tx_ipv4_checksum,
                l4_checksum: L4Checksum::Tcp,
            });
        } else {
            complete_checksum(&mut packet, TEMPLATE_LEN + L3);
        }
        Ok(packet)
    }
}

/// Completes a checksum in whose field the pseudo header's sum lies.
fn complete_checksum(packet: &mut Packet, l4_at: usize) {
    let mut sum = Checksum::new();
    add_packet(&mut sum, packet, l4_at);
    let at = l4_at + tcp::CHECKSUM_OFFSET;
    packet.head_mut()[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Both ends of a connection over IPv6.
fn addresses_v6(hosts: &Hosts, tuple: &Tuple) -> Result<(Ipv6Addr, Ipv6Addr), DropReason> {
    match (hosts.v6(tuple.local), hosts.v6(tuple.remote)) {
        (Some((local, _)), Some((remote, _))) => Ok((local, remote)),
        _ => Err(DropReason::NoRoute),
    }
}
