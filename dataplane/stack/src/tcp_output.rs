//! Segments are built when there is room for them, never before.
//!
//! ```text
//!   headroom | ethernet 14 | IPv4 20 | TCP 20..60 | payload copy <= 256   -> linked payload slices
//! ```

use sluice_base::{Instant, SlabKey};
use sluice_buf::{Batch, Capabilities, L4Checksum, Packet, Pool, TxOffload};
use sluice_tcp::{Connection, Outgoing};
use sluice_wire::{Checksum, IpProtocol, Ipv4Header, TcpHeader, ipv4, tcp};

use crate::connection::{Queued, context};
use crate::drop_reason::DropReason;
use crate::ipv4_input::add_packet;
use crate::neighbor::{Reach, TEMPLATE_LEN};
use crate::stack::Stack;
use crate::tuple::Tuple;

/// Segments of one connection before it is the next one's turn: its cache lines are paid for once.
const TURN: usize = 4;
/// Connections that are passed over for want of a buffer before the rest waits for better times:
/// behind them may be some whose segments the reserve is for.
const PASSED_OVER_MAX: usize = 32;
/// The most that IPv4 and the largest TCP header take of a unit of segmentation.
const HEADERS_MAX: u32 = ipv4::HEADER_LEN as u32 + tcp::HEADER_LEN_MAX as u32;

const _: () = assert!(
    TEMPLATE_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN_MAX <= sluice_buf::HEADROOM,
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
            let Some(index) = output.pop(&mut self.output_links) else { break };
            self.unqueued(index);
            let Some(key) = self.connections.key_at(index) else { continue };
            let (used, again) = self.transmit_connection(key, left.min(TURN), out, now);
            left -= used;
            match again {
                Again::No => self.settle(key, now),
                Again::Later => self.want_output(index),
                Again::PoolEmpty => {
                    self.want_output(index);
                    passed_over += 1;
                }
            }
        }
    }

    /// One connection's turn: how many packets it gave out, and what becomes of it.
    fn transmit_connection(
        &mut self,
        key: SlabKey,
        room: usize,
        out: &mut Batch,
        now: Instant,
    ) -> (usize, Again) {
        let template = match self.reach_for(key, now) {
            Ok((neighbor, Reach::Usable)) => {
                let neighbor = self.neighbors.get(neighbor);
                neighbor.map(|neighbor| neighbor.template).ok_or(DropReason::NeighborEvicted)
            }
            Ok((_, Reach::Failed)) => Err(DropReason::NeighborFailed),
            Err(reason) => Err(reason),
            Ok((neighbor, Reach::Waiting)) => {
                if let Some(entry) = self.connections.get_mut(key) {
                    entry.queued = Queued::Neighbor(neighbor);
                    self.neighbors.wait(neighbor, &mut self.output_links, key.index);
                }
                return (0, Again::No);
            }
        };
        let Some(entry) = self.connections.get_mut(key) else { return (0, Again::No) };
        let capabilities = self.interfaces[usize::from(entry.interface)].capabilities;
        let max_payload = match capabilities.tx_segmentation_max {
            0 => 0,
            max => max.min(u32::from(u16::MAX)).saturating_sub(HEADERS_MAX + TEMPLATE_LEN as u32),
        };
        let cx = context!(self, entry.config, now);
        let tcp = &mut entry.tcp;
        let mut used = 0;
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
            let template = match &template {
                Ok(template) => template,
                Err(reason) => {
                    // The next hop is silent. The segment counts as sent and lost, so that the
                    // connection's own timers decide what becomes of it.
                    self.counters.drops.count(*reason);
                    continue;
                }
            };
            let wire = Wire { template, tuple: &entry.tuple, capabilities: &capabilities };
            match wire.build(packet, tcp, &outgoing, &self.tx_pool) {
                Ok(packet) => {
                    self.counters.tcp_segments_out.increment();
                    out.push(packet);
                }
                // Lost like on a wire; it will be sent again.
                Err(reason) => self.counters.drops.count(reason),
            }
            if matches!(again, Again::PoolEmpty) {
                break;
            }
        }
        let deadline = tcp.next_deadline();
        self.timers.arm(key.index, deadline);
        (used, again)
    }

    /// The neighbour through which a connection's segments go.
    #[inline]
    fn reach_for(&mut self, key: SlabKey, now: Instant) -> Result<(SlabKey, Reach), DropReason> {
        let entry = self.connections.get(key).ok_or(DropReason::TcpNoConnection)?;
        let cached = entry.neighbor.filter(|neighbor| self.neighbors.get(*neighbor).is_some());
        let neighbor = match cached {
            Some(neighbor) => neighbor,
            None => {
                let (interface, next_hop) = (entry.interface, entry.next_hop);
                let found = self.neighbor(interface, next_hop, now);
                let neighbor = found.ok_or(DropReason::NeighborTable)?;
                if let Some(entry) = self.connections.get_mut(key) {
                    entry.neighbor = Some(neighbor);
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
        tcp::fill_checksum(tuple.local, tuple.remote, segment);
        let ip = Ipv4Header::new(tuple.local, tuple.remote, IpProtocol::Tcp, len as u16);
        ip.emit(packet.prepend(ipv4::HEADER_LEN).ok_or(DropReason::TxHeadroom)?);
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

/// What turns a segment into a frame.
struct Wire<'a> {
    template: &'a [u8; TEMPLATE_LEN],
    tuple: &'a Tuple,
    capabilities: &'a Capabilities,
}

impl Wire<'_> {
    #[inline]
    fn build(
        &self,
        mut packet: Packet,
        tcp: &Connection,
        outgoing: &Outgoing,
        pool: &Pool,
    ) -> Result<Packet, DropReason> {
        let (offset, payload_len) = (outgoing.payload_offset, outgoing.payload_len);
        if payload_len > 0 {
            let attached = packet.attach(tcp.send_queue(), offset, payload_len, pool);
            attached.map_err(|_| DropReason::TxPoolEmpty)?;
        }
        let header = TcpHeader {
            src_port: self.tuple.local_port,
            dst_port: self.tuple.remote_port,
            ..outgoing.header
        };
        let l4_len = header.header_len();
        let transport_len = l4_len + payload_len;
        const L4_AT: usize = TEMPLATE_LEN + ipv4::HEADER_LEN;
        let head = packet.prepend(L4_AT + l4_len).ok_or(DropReason::TxHeadroom)?;
        let (l2, rest) = head.split_at_mut(TEMPLATE_LEN);
        let (l3, l4) = rest.split_at_mut(ipv4::HEADER_LEN);
        l2.copy_from_slice(self.template);
        let (local, remote) = (self.tuple.local, self.tuple.remote);
        Ipv4Header::new(local, remote, IpProtocol::Tcp, transport_len as u16).emit(l3);
        header.emit(l4);
        if packet.segment_count() > 1 && !self.capabilities.multi_segment && !packet.linearise() {
            return Err(DropReason::TxLinearise);
        }
        let protocol = IpProtocol::Tcp.number();
        let mut sum = Checksum::pseudo_header_v4(local, remote, protocol, transport_len as u32);
        let is_offloaded = self.capabilities.tx_l4_checksum || outgoing.segment_size > 0;
        let field = if is_offloaded {
            packet.set_tx_offload(TxOffload {
                l2_len: TEMPLATE_LEN as u8,
                l3_len: ipv4::HEADER_LEN as u16,
                l4_len: l4_len as u8,
                segment_size: outgoing.segment_size,
                // The header's checksum is there; who cuts the packet must correct it.
                ipv4_checksum: outgoing.segment_size > 0 && self.capabilities.tx_ipv4_checksum,
                l4_checksum: L4Checksum::Tcp,
            });
            sum.sum()
        } else {
            add_packet(&mut sum, &packet, L4_AT);
            sum.finish()
        };
        let at = L4_AT + tcp::CHECKSUM_OFFSET;
        packet.head_mut()[at..at + 2].copy_from_slice(&field.to_be_bytes());
        Ok(packet)
    }
}
