//! IPv4 fragments: those for us are put together, what is too large for a link is cut (RFC 791,
//! 2.3 and 3.2; RFC 1812, 4.2.2.7).

use sluice_base::Instant;
use sluice_buf::{Packet, Pressure, RxChecksum};
use sluice_wire::icmp::{IcmpMessage, TimeExceeded};
use sluice_wire::icmpv6::{Icmpv6Message, TimeExceededV6};
use sluice_wire::{Ipv4View, checksum, ipv4};

use crate::drop_reason::DropReason;
use crate::ethernet_input::{Arrival, Frame};
use crate::forward::complete_checksum;
use crate::host::Host;
use crate::ipv4_input::Ipv4Info;
use crate::reassembly::{Fragment, FragmentKey, Whole};
use crate::stack::Stack;

/// Fields of an IPv4 header.
const TOTAL_LEN_AT: usize = 2;
const IDENTIFICATION_AT: usize = 4;
const FLAGS_AT: usize = 6;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET_MASK: u16 = 0x1fff;
/// The bit of an option that every fragment carries (RFC 791, 3.1).
const OPTION_COPIED: u8 = 0x80;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
/// What headers behind IP may be read of in one piece: the largest of TCP.
pub(crate) const TRANSPORT_HEADER_MAX: usize = 60;

impl Stack {
    /// Takes in a fragment of a packet for us, and the packet once it is whole: it then belongs to
    /// whoever owns its ports.
    #[cold]
    pub(crate) fn fragment_input(
        &mut self,
        mut packet: Packet,
        frame: Frame,
        info: Ipv4Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.pressure >= Pressure::Scarce {
            return Err(DropReason::FragmentLimit);
        }
        let l2_len = usize::from(frame.l2_len);
        // Short frames are padded.
        packet.truncate(l2_len + info.total_len());
        let header = packet.head().get(l2_len..).unwrap_or_default();
        let field = half(header, FLAGS_AT);
        let fragment = Fragment {
            key: FragmentKey {
                source: info.source.into(),
                destination: info.destination.into(),
                protocol: info.protocol.number(),
                identification: half(header, IDENTIFICATION_AT).into(),
            },
            offset: (field & OFFSET_MASK) << 3,
            payload_at: frame.l2_len + info.header_len,
            payload_len: info.payload_len,
            has_more: field & MORE_FRAGMENTS != 0,
            headers_len: info.header_len,
            interface: frame.interface,
            l2_len: frame.l2_len,
        };
        self.counters.fragments_in.increment();
        match self.reassembly.insert(packet, fragment, now, &self.counters)? {
            Some(whole) => self.whole_input(whole, &info, now),
            None => Ok(()),
        }
    }

    fn whole_input(
        &mut self,
        whole: Whole,
        info: &Ipv4Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Whole { mut packet, first, payload_len } = whole;
        self.counters.reassembled.increment();
        let header_len = first.payload_at - first.l2_len;
        let head = packet.head_mut().get_mut(usize::from(first.l2_len)..).unwrap_or_default();
        let header = head.get_mut(..usize::from(header_len)).ok_or(DropReason::Ipv4Truncated)?;
        // The first fragment may have more options than the last one, which was looked at.
        let total_len = header_len.checked_add(payload_len).ok_or(DropReason::FragmentMalformed)?;
        put(header, TOTAL_LEN_AT, total_len);
        put(header, FLAGS_AT, 0);
        fill_checksum(header);
        // What the device said was about the first fragment.
        packet.set_rx_checksum(RxChecksum::Unknown);
        let head_max = usize::from(first.payload_at) + TRANSPORT_HEADER_MAX;
        if packet.head().len() < head_max && packet.segment_count() > 1 {
            // Headers are read in one piece. Where they cannot be, they count as cut off.
            packet.linearise();
        }
        let Fragment { interface, l2_len, .. } = first;
        // Whoever owned the fragments need not own the packet.
        let frame = Frame { interface, l2_len, is_group: false, arrival: Arrival::Device };
        let info = Ipv4Info { header_len, payload_len, is_fragment: false, ..*info };
        self.local_input(packet, frame, info, now)
    }

    /// Lets go of datagrams that were not completed in time; their senders hear of it, if the first
    /// fragment is there to be quoted (RFC 792; RFC 1122, 3.3.2).
    pub(crate) fn handle_reassembly_timers(&mut self, now: Instant) {
        if now < self.reassembly.next_deadline() {
            return;
        }
        while let Some(expired) = self.reassembly.expire(now, &self.counters) {
            let Some((packet, first)) = expired.first else { continue };
            let l2_len = usize::from(first.l2_len);
            if first.key.source.is_ipv6() {
                let why = Icmpv6Message::TimeExceeded(TimeExceededV6::Reassembly);
                self.icmpv6_error(&packet, l2_len, why, now);
            } else {
                let why = IcmpMessage::TimeExceeded(TimeExceeded::Reassembly);
                self.icmp_error(&packet, l2_len, why, now);
            }
        }
    }

    /// Sends the IP packet that starts at `at` in fragments that fit `mtu`. What is left to be done
    /// about its transport checksum is done first: no device can do it over several packets.
    #[cold]
    pub(crate) fn send_fragmented(
        &mut self,
        mut whole: Packet,
        at: usize,
        info: &Ipv4Info,
        (interface, next_hop): (u16, Host),
        now: Instant,
    ) -> Result<(), DropReason> {
        if whole.rx_checksum() == RxChecksum::Partial {
            let field = match info.protocol {
                sluice_wire::IpProtocol::Tcp => sluice_wire::tcp::CHECKSUM_OFFSET,
                sluice_wire::IpProtocol::Udp => sluice_wire::udp::CHECKSUM_OFFSET,
                _ => return Err(DropReason::ForwardHeader),
            };
            complete_checksum(&mut whole, at + usize::from(info.header_len), info, field)?;
        }
        let mtu = self.interfaces[usize::from(interface)].mtu;
        let mut first_header = [0; 60];
        let header_len = usize::from(info.header_len).min(first_header.len());
        whole.copy_to(at, &mut first_header[..header_len]);
        let (later_header, later_len) = header_of_later(&first_header[..header_len]);
        let field = half(&first_header, FLAGS_AT);
        let base = usize::from(field & OFFSET_MASK) << 3;
        let payload_len = usize::from(info.payload_len);
        let mut sent = 0;
        while sent < payload_len {
            let header = match sent {
                0 => &first_header[..header_len],
                _ => &later_header[..later_len],
            };
            let mut packet = self.tx_pool.alloc().map_err(|_| DropReason::TxPoolEmpty)?;
            let room = usize::from(mtu).min(packet.tailroom()).saturating_sub(header.len()) & !7;
            let len = room.min(payload_len - sent);
            let bytes = packet.append(header.len() + len).filter(|_| len > 0);
            let (l3, payload) = bytes.ok_or(DropReason::TxHeadroom)?.split_at_mut(header.len());
            l3.copy_from_slice(header);
            whole.copy_to(at + usize::from(info.header_len) + sent, payload);
            let has_more = sent + len < payload_len || field & MORE_FRAGMENTS != 0;
            let offset = ((base + sent) >> 3) as u16;
            put(l3, TOTAL_LEN_AT, (header.len() + len) as u16);
            put(l3, FLAGS_AT, offset | if has_more { MORE_FRAGMENTS } else { 0 });
            l3[0] = 0x40 | (header.len() / 4) as u8;
            fill_checksum(l3);
            sent += len;
            self.counters.fragments_out.increment();
            self.send_ip(packet, interface, next_hop, now)?;
        }
        Ok(())
    }
}

/// Whether the header allows its packet to be cut.
pub(crate) fn may_fragment(header: &[u8]) -> bool {
    header.len() >= ipv4::HEADER_LEN && half(header, FLAGS_AT) & DONT_FRAGMENT == 0
}

/// The header of all fragments but the first: only options that say so are copied.
fn header_of_later(header: &[u8]) -> ([u8; 60], usize) {
    let mut later = [OPTION_END; 60];
    later[..ipv4::HEADER_LEN].copy_from_slice(&header[..ipv4::HEADER_LEN]);
    let mut len = ipv4::HEADER_LEN;
    let options = Ipv4View::parse_quoted(header).map_or(&[][..], |view| view.options());
    let mut rest = options;
    while let [kind, behind @ ..] = rest {
        match *kind {
            OPTION_END => break,
            OPTION_NOP => rest = behind,
            kind => {
                let option_len = usize::from(behind.first().copied().unwrap_or(0));
                let Some((option, behind)) = rest.split_at_checked(option_len) else { break };
                if option.len() < 2 {
                    break;
                }
                if kind & OPTION_COPIED != 0 {
                    later[len..len + option.len()].copy_from_slice(option);
                    len += option.len();
                }
                rest = behind;
            }
        }
    }
    (later, len.next_multiple_of(4))
}

fn half(header: &[u8], at: usize) -> u16 {
    header.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn put(header: &mut [u8], at: usize, value: u16) {
    header[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn fill_checksum(header: &mut [u8]) {
    put(header, ipv4::CHECKSUM_OFFSET, 0);
    let sum = !checksum::ones_complement_sum(header);
    put(header, ipv4::CHECKSUM_OFFSET, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 791, 3.1: a record of the route is in the first fragment alone, a security label in all.
    #[test]
    fn later_fragments_carry_only_what_says_so() {
        let mut header = [0; 36];
        header[0] = 0x49;
        header[3] = 36;
        header[20..35].copy_from_slice(&[7, 7, 4, 0, 0, 0, 0, 1, 0x88, 4, 1, 2, 0, 0, 0]);
        let (later, len) = header_of_later(&header);
        assert_eq!((len, &later[20..24]), (24, &[0x88, 4, 1, 2][..]));
        header[28] = 0x82;
        header[29] = 3;
        assert_eq!(header_of_later(&header).1, 24, "padded to words");
        header[29] = 0;
        assert_eq!(header_of_later(&header).1, 20, "a length that lies ends the list");
    }
}
