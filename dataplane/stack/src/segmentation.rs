//! Cutting a merged TCP packet into segments, for a device that cannot.
//!
//! A kernel's TAP gives us up to 64 kB as one packet. Where such a packet is forwarded to a device
//! without segmentation offload, it is cut here, by copying: the one place where forwarded bytes
//! are touched.

use std::net::IpAddr;

use sluice_base::Instant;
use sluice_buf::Packet;
use sluice_wire::ipv6::{self, extension};
use sluice_wire::{Flags, Ipv4View, Ipv6View, SeqNumber, TcpView, ipv4, tcp};

use crate::drop_reason::DropReason;
use crate::host::Host;
use crate::stack::Stack;

/// Where the sequence number and the control bits lie in a TCP header.
const SEQ_OFFSET: usize = 4;
const FLAGS_OFFSET: usize = 13;
/// Where total length and identification lie in an IPv4 header.
const TOTAL_LEN_OFFSET: usize = 2;
const IDENTIFICATION_OFFSET: usize = 4;

/// What is the same for all segments of a packet.
struct Plan {
    l3_len: usize,
    headers_len: usize,
    payload_len: usize,
    segment_size: usize,
    seq: SeqNumber,
    flags: Flags,
    /// IPv4's; IPv6 has none outside fragments.
    identification: Option<u16>,
    /// Source and destination.
    addresses: (IpAddr, IpAddr),
}

impl Stack {
    /// Sends the IP packet `whole` as segments of `segment_size` bytes of data.
    #[cold]
    pub(crate) fn send_segmented(
        &mut self,
        whole: &Packet,
        segment_size: u16,
        interface: u16,
        next_hop: Host,
        now: Instant,
    ) -> Result<(), DropReason> {
        let plan = plan(whole, segment_size).ok_or(DropReason::ForwardHeader)?;
        for offset in (0..plan.payload_len.max(1)).step_by(plan.segment_size) {
            let packet = self.cut(whole, &plan, offset)?;
            self.send_ip(packet, interface, next_hop, now)?;
        }
        Ok(())
    }

    fn cut(&self, whole: &Packet, plan: &Plan, offset: usize) -> Result<Packet, DropReason> {
        let len = plan.segment_size.min(plan.payload_len - offset);
        let is_last = offset + len == plan.payload_len;
        let mut packet = self.tx_pool.alloc().map_err(|_| DropReason::TxPoolEmpty)?;
        let room = packet.append(plan.headers_len + len).ok_or(DropReason::TxHeadroom)?;
        let (headers, payload) = room.split_at_mut(plan.headers_len);
        whole.copy_to(0, headers);
        whole.copy_to(plan.headers_len + offset, payload);
        let (l3, l4) = headers.split_at_mut(plan.l3_len);
        let total_len = (plan.headers_len + len) as u16;
        match plan.identification {
            Some(first) => {
                put(l3, TOTAL_LEN_OFFSET, &total_len.to_be_bytes());
                let index = (offset / plan.segment_size) as u16;
                put(l3, IDENTIFICATION_OFFSET, &first.wrapping_add(index).to_be_bytes());
                put(l3, ipv4::CHECKSUM_OFFSET, &[0; 2]);
                let checksum = !sluice_wire::checksum::ones_complement_sum(l3);
                put(l3, ipv4::CHECKSUM_OFFSET, &checksum.to_be_bytes());
            }
            None => {
                let payload_len = total_len - ipv6::HEADER_LEN as u16;
                put(l3, ipv6::PAYLOAD_LEN_OFFSET, &payload_len.to_be_bytes());
            }
        }
        put(l4, SEQ_OFFSET, &(plan.seq + offset as u32).0.to_be_bytes());
        let mut flags = plan.flags;
        if !is_last {
            flags = flags.without(Flags::FIN | Flags::PSH);
        }
        if offset > 0 {
            // RFC 3168, 6.1.2: the window was reduced once.
            flags = flags.without(Flags::CWR);
        }
        put(l4, FLAGS_OFFSET, &[flags.0]);
        let (source, destination) = plan.addresses;
        tcp::fill_checksum(source, destination, &mut room[plan.l3_len..]);
        Ok(packet)
    }
}

fn plan(whole: &Packet, segment_size: u16) -> Option<Plan> {
    let head = whole.head();
    let (l3_len, identification, addresses) = match head.first()? >> 4 {
        6 => {
            let ip = Ipv6View::parse_quoted(head).ok()?;
            let upper = extension::walk(ip.next_header(), ip.payload()).ok()?;
            let l3_len = ipv6::HEADER_LEN + usize::from(upper.offset);
            (l3_len, None, (IpAddr::from(ip.src()), IpAddr::from(ip.dst())))
        }
        _ => {
            let ip = Ipv4View::parse_quoted(head).ok()?;
            let identification = ip.header().identification;
            (ip.header_len(), Some(identification), (ip.src().into(), ip.dst().into()))
        }
    };
    let view = TcpView::parse(head.get(l3_len..)?).ok()?;
    let headers_len = l3_len + view.header_len();
    Some(Plan {
        l3_len,
        headers_len,
        payload_len: whole.len().checked_sub(headers_len)?,
        segment_size: usize::from(segment_size.max(1)),
        seq: view.seq(),
        flags: view.flags(),
        identification,
        addresses,
    })
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
