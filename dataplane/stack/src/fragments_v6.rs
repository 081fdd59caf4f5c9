//! IPv6 fragments for us are put together, and large answers of ours cut (RFC 8200, 4.5); routers do
//! not cut IPv6.

use sluice_base::Instant;
use sluice_buf::{Packet, Pressure, RxChecksum};
use sluice_wire::icmpv6::{Icmpv6Message, ParameterProblemV6};
use sluice_wire::ipv6::{self, extension};
use sluice_wire::{IpProtocol, ndp};

use crate::drop_reason::DropReason;
use crate::ethernet_input::{Arrival, Frame};
use crate::fragments::TRANSPORT_HEADER_MAX;
use crate::host::Host;
use crate::ipv6_input::Ipv6Info;
use crate::reassembly::{Fragment, FragmentKey};
use crate::stack::Stack;

/// Bytes of a fragment header, and where offset and flag lie in it.
const HEADER_LEN: usize = 8;
const OFFSET_AT: usize = 2;
/// Where payload length and next header lie in an IPv6 header.
const PAYLOAD_LEN_AT: usize = 4;
const NEXT_HEADER_AT: usize = 6;

impl Stack {
    /// Takes in a fragment of a packet for us. The packet, once it is whole, takes the way of all
    /// packets from its start, without the fragment header or, where others stand in front of that,
    /// with one that says that nothing was cut (RFC 6946).
    #[cold]
    pub(crate) fn fragment_input_v6(
        &mut self,
        packet: Packet,
        frame: Frame,
        info: &Ipv6Info,
        said: extension::Fragment,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.pressure >= Pressure::Scarce {
            return Err(DropReason::FragmentLimit);
        }
        let payload_at =
            usize::from(frame.l2_len) + ipv6::HEADER_LEN + usize::from(info.extensions_len);
        let payload_len = info.payload_len.checked_sub(info.extensions_len);
        if let Some(pointer) = bad_cut(info, said) {
            let why = Icmpv6Message::ParameterProblem(ParameterProblemV6::Field(pointer));
            let l2_len = usize::from(frame.l2_len);
            self.icmpv6_error_on(frame.interface, &packet, l2_len, why, now);
            return Err(DropReason::FragmentMalformed);
        }
        let fragment = Fragment {
            key: FragmentKey {
                source: info.source.into(),
                destination: info.destination.into(),
                protocol: 0,
                identification: said.identification,
            },
            offset: said.offset << 3,
            payload_at: payload_at as u16,
            payload_len: payload_len.ok_or(DropReason::FragmentMalformed)?,
            has_more: said.more,
            // The payload length that is left to say does not count the IPv6 header.
            headers_len: info.extensions_len,
            interface: frame.interface,
            l2_len: frame.l2_len,
        };
        self.counters.fragments_in.increment();
        let Some(whole) = self.reassembly.insert(packet, fragment, now, &self.counters)? else {
            return Ok(());
        };
        self.counters.reassembled.increment();
        let (mut packet, first) = (whole.packet, whole.first);
        let (l2_len, payload_at) = (usize::from(first.l2_len), usize::from(first.payload_at));
        let len = first.headers_len.checked_add(whole.payload_len);
        let mut len = len.ok_or(DropReason::FragmentMalformed)?;
        let headers = packet.head_mut().get_mut(..payload_at).ok_or(DropReason::Ipv6Truncated)?;
        let fragment_at = payload_at - HEADER_LEN;
        let next_header = headers[fragment_at];
        if is_discovery(next_header, packet.head().get(payload_at..).unwrap_or_default()) {
            return Err(DropReason::NdFragmented);
        }
        let headers = packet.head_mut().get_mut(..payload_at).ok_or(DropReason::Ipv6Truncated)?;
        if usize::from(first.headers_len) == HEADER_LEN {
            // The only extension header: the ones in front of it move up to the payload.
            headers[l2_len + NEXT_HEADER_AT] = headers[fragment_at];
            headers.copy_within(..fragment_at, HEADER_LEN);
            packet.trim_front(HEADER_LEN);
            len -= HEADER_LEN as u16;
        } else {
            headers[fragment_at + OFFSET_AT..fragment_at + OFFSET_AT + 2].fill(0);
        }
        let length =
            packet.head_mut().get_mut(l2_len + PAYLOAD_LEN_AT..l2_len + PAYLOAD_LEN_AT + 2);
        length.ok_or(DropReason::Ipv6Truncated)?.copy_from_slice(&len.to_be_bytes());
        packet.set_rx_checksum(RxChecksum::Unknown);
        if packet.head().len() < payload_at + TRANSPORT_HEADER_MAX && packet.segment_count() > 1 {
            packet.linearise();
        }
        let Fragment { interface, l2_len, .. } = first;
        let frame = Frame { interface, l2_len, arrival: Arrival::Device, ..frame };
        self.ipv6_input(packet, frame, now)
    }

    /// Sends a packet of ours without extension headers in fragments that fit the path.
    #[cold]
    pub(crate) fn send_fragmented_v6(
        &mut self,
        whole: &Packet,
        mtu: u16,
        (interface, next_hop): (u16, Host),
        now: Instant,
    ) -> Result<(), DropReason> {
        const HEADERS_LEN: usize = ipv6::HEADER_LEN + HEADER_LEN;
        let mut headers = [0; HEADERS_LEN];
        whole.copy_to(0, &mut headers[..ipv6::HEADER_LEN]);
        let next_header = std::mem::replace(&mut headers[NEXT_HEADER_AT], extension::FRAGMENT);
        headers[ipv6::HEADER_LEN] = next_header;
        headers[HEADERS_LEN - 4..].copy_from_slice(&self.rng.next_u32().to_be_bytes());
        let mtu = usize::from(mtu);
        let payload_len = whole.len().saturating_sub(ipv6::HEADER_LEN);
        let mut sent = 0;
        while sent < payload_len {
            let mut packet = self.tx_pool.alloc().map_err(|_| DropReason::TxPoolEmpty)?;
            let room = mtu.min(packet.tailroom()).saturating_sub(HEADERS_LEN) & !7;
            let len = room.min(payload_len - sent);
            let bytes = packet.append(HEADERS_LEN + len).filter(|_| len > 0);
            let (front, payload) = bytes.ok_or(DropReason::TxHeadroom)?.split_at_mut(HEADERS_LEN);
            front.copy_from_slice(&headers);
            whole.copy_to(ipv6::HEADER_LEN + sent, payload);
            let total = (HEADER_LEN + len) as u16;
            front[PAYLOAD_LEN_AT..PAYLOAD_LEN_AT + 2].copy_from_slice(&total.to_be_bytes());
            let has_more = u16::from(sent + len < payload_len);
            let offset_at = ipv6::HEADER_LEN + OFFSET_AT;
            // Units of eight bytes, three bits to the left: bytes.
            front[offset_at..offset_at + 2]
                .copy_from_slice(&(sent as u16 | has_more).to_be_bytes());
            sent += len;
            self.counters.fragments_out.increment();
            self.send_ip(packet, interface, next_hop, now)?;
        }
        Ok(())
    }
}

/// RFC 8200, 4.5: where a fragment says what none can be, from the start of its IPv6 header: one that is
/// not the last and has no whole units of eight bytes, or one that makes its packet too long.
fn bad_cut(info: &Ipv6Info, said: extension::Fragment) -> Option<u32> {
    let len = info.payload_len.saturating_sub(info.extensions_len);
    if said.more && !len.is_multiple_of(8) {
        return Some(PAYLOAD_LEN_AT as u32);
    }
    // What stands in front of the fragment header belongs to the packet as well.
    let before = u32::from(info.extensions_len).saturating_sub(HEADER_LEN as u32);
    let end = before + (u32::from(said.offset) << 3) + u32::from(len);
    let field = ipv6::HEADER_LEN + usize::from(info.extensions_len) - HEADER_LEN + OFFSET_AT;
    (end > u32::from(u16::MAX)).then_some(field as u32)
}

/// RFC 6980, 5: neighbour discovery never comes in fragments, in which guards on the way could not
/// look.
fn is_discovery(next_header: u8, payload: &[u8]) -> bool {
    let Ok(upper) = extension::walk(next_header, payload) else { return false };
    let kind = payload.get(usize::from(upper.offset));
    let kinds = ndp::KIND_ROUTER_SOLICITATION..=ndp::KIND_REDIRECT;
    upper.protocol == IpProtocol::Icmpv6 && kind.is_some_and(|kind| kinds.contains(kind))
}
