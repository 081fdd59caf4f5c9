//! The packet that only passes through: an untagged frame, nothing to finish, a next hop that
//! answers. It keeps its buffer, and its link header is written over. What is rarer takes the steps
//! of `forward`, which would do the same.

use std::net::Ipv4Addr;

use sluice_base::Instant;
use sluice_buf::{Packet, TxOffload};
use sluice_wire::ipv4;

use crate::addresses::is_link_local;
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib::NextHop;
use crate::ipv4_input::Ipv4Info;
use crate::neighbor::TEMPLATE_LEN;
use crate::stack::Stack;

const HEADERS_LEN: usize = TEMPLATE_LEN + ipv4::HEADER_LEN;

impl Stack {
    /// Sends the packet on if it is of this kind, else gives it back as it was.
    #[inline]
    pub(crate) fn pass(
        &mut self,
        mut packet: Packet,
        frame: &Frame,
        info: &Ipv4Info,
        route: Option<NextHop>,
        now: Instant,
    ) -> Result<(), Packet> {
        let (interface, next_hop): (u16, Ipv4Addr) = match route {
            Some(NextHop::Connected { interface }) => (interface, info.destination),
            Some(NextHop::Via { interface, gateway }) => (interface, gateway),
            Some(NextHop::Local { .. } | NextHop::Broadcast { .. }) | None => return Err(packet),
        };
        let out = &self.interfaces[usize::from(interface)];
        let is_common = usize::from(frame.l2_len) == TEMPLATE_LEN
            && self.forwarding
            && !packet.is_unfinished()
            && info.total_len() <= usize::from(out.mtu)
            && (packet.segment_count() == 1 || out.capabilities.multi_segment)
            && !is_link_local(info.source)
            && !is_link_local(info.destination);
        if !is_common {
            return Err(packet);
        }
        let Some(template) = self.neighbors.known(interface, next_hop, now) else {
            return Err(packet);
        };
        let Some(head) = packet.head_mut().first_chunk_mut::<HEADERS_LEN>() else {
            return Err(packet);
        };
        let (l2, l3) = head.split_at_mut(TEMPLATE_LEN);
        if ipv4::decrement_ttl(l3).is_none() {
            return Err(packet);
        }
        l2.copy_from_slice(template);
        let len = TEMPLATE_LEN + info.total_len();
        if packet.len() != len {
            packet.truncate(len);
        }
        packet.set_tx_offload(TxOffload::default());
        self.counters.forwarded.increment();
        if let Err(packet) = self.interfaces[usize::from(interface)].control.push(packet) {
            drop(packet);
            self.counters.drops.count(DropReason::EgressFull);
        }
        Ok(())
    }
}
