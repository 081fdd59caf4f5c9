//! VLAN sub-interfaces (IEEE 802.1Q, 802.1ad): interfaces that share a device and are told apart by
//! tags.
//!
//! A sub-interface has addresses, neighbours, queues and rules as any other; only its frames pass its
//! parent's device. So the stack knows of tags in two places alone: where a tagged frame comes in,
//! and where packets leave for the device.

use sluice_base::{Counter, InterfaceId};
use sluice_buf::{Batch, Packet, TxOffload};
use sluice_wire::{EthernetView, VlanId, VlanTags, ethernet, vlan};

use crate::drop_reason::DropReason;
use crate::stack::Stack;

/// TPIDs: of the customer's tag, and of a provider's around it.
const CUSTOMER: [u8; 2] = [0x81, 0x00];
const SERVICE: [u8; 2] = [0x88, 0xa8];
/// Bytes of the two addresses in front of the tags.
const ADDRESSES_LEN: usize = 12;
/// The tag of a frame behind the addresses: type and control.
const TAG_LEN: usize = vlan::TAG_LEN;

/// Which VLAN an interface is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vlan {
    /// The interface that has the device.
    pub parent: InterfaceId,
    /// The only tag, or the outer one of two.
    pub outer: VlanId,
    /// The inner tag, if there are two (QinQ): then the outer one is a provider's.
    pub inner: Option<VlanId>,
}

/// Packets and bytes of a VLAN, in and out.
#[derive(Debug, Default)]
pub struct VlanCounters {
    /// Packets received.
    pub rx_packets: Counter,
    /// Bytes received, tags included.
    pub rx_bytes: Counter,
    /// Packets sent.
    pub tx_packets: Counter,
    /// Bytes sent, tags included.
    pub tx_bytes: Counter,
}

impl Stack {
    /// Makes an interface a VLAN of another one's device. For the start.
    ///
    /// # Panics
    /// When an interface is not there, or the parent is a VLAN itself: only our own code can cause
    /// that.
    pub fn set_vlan(&mut self, interface: InterfaceId, vlan: Vlan) {
        let parent = &mut self.interfaces[vlan.parent.index()];
        assert!(parent.vlan.is_none(), "a VLAN's parent has a device");
        parent.children.push(interface.0);
        self.interfaces[interface.index()].vlan = Some(vlan);
    }

    /// The interface that a frame with these tags belongs to.
    pub(crate) fn vlan_of(&self, interface: u16, tags: VlanTags) -> Option<u16> {
        let known = &self.interfaces[usize::from(interface)];
        let (outer, inner) = match tags {
            VlanTags::None => return Some(interface),
            // Priority alone names no VLAN (802.1Q, 9.6).
            VlanTags::One(tag) if tag.id() == VlanId::PRIORITY_ONLY => return Some(interface),
            // Another worker has looked already.
            _ if known.vlan.is_some() => return Some(interface),
            VlanTags::One(tag) => (tag.id(), None),
            VlanTags::Two(outer, inner) => (outer.id(), Some(inner.id())),
        };
        known.children.iter().copied().find(|child| {
            let vlan = self.interfaces[usize::from(*child)].vlan;
            vlan.is_some_and(|vlan| (vlan.outer, vlan.inner) == (outer, inner))
        })
    }

    /// The interface whose rules a frame is subject to: a tagged one's is its VLAN's.
    #[inline]
    pub(crate) fn filtering_interface(&self, interface: u16, packet: &Packet) -> u16 {
        if self.interfaces[usize::from(interface)].children.is_empty() {
            return interface;
        }
        let tags = EthernetView::parse(packet.head()).map_or(VlanTags::None, |view| view.tags());
        self.vlan_of(interface, tags).unwrap_or(interface)
    }

    /// Counts a frame that came in by a VLAN.
    pub(crate) fn count_vlan_input(&self, interface: u16, packet: &Packet) {
        if let Some(counters) = self.counters.vlans.get(usize::from(interface)) {
            counters.rx_packets.increment();
            counters.rx_bytes.add(packet.len() as u64);
        }
    }

    /// Gives out what the VLANs of a device have to send: each an equal share of the room, and what
    /// is left of that to the first that want more.
    #[cold]
    pub(crate) fn transmit_vlans(
        &mut self,
        parent: InterfaceId,
        limit: usize,
        out: &mut Batch,
        now: sluice_base::Instant,
    ) {
        let count = self.interfaces[parent.index()].children.len();
        let first = self.vlan_turn;
        self.vlan_turn = self.vlan_turn.wrapping_add(1);
        let wanting = |stack: &Self| {
            let children = &stack.interfaces[parent.index()].children;
            children.iter().filter(|child| stack.has_own_output(**child)).count()
        };
        for _ in 0..2 {
            let share = (limit.saturating_sub(out.len()) / wanting(self).max(1)).max(1);
            for at in 0..count {
                let at = (first + at) % count;
                let child = self.interfaces[parent.index()].children[at];
                let room = share.min(limit.saturating_sub(out.len())).min(self.vlan_batch.room());
                if room == 0 || !self.has_own_output(child) {
                    continue;
                }
                let mut batch = std::mem::replace(&mut self.vlan_batch, Batch::with_capacity(0));
                self.transmit_own(InterfaceId(child), room, &mut batch, now);
                self.tag_all(child, &mut batch, out);
                self.vlan_batch = batch;
            }
        }
    }

    fn tag_all(&self, child: u16, batch: &mut Batch, out: &mut Batch) {
        let Some(vlan) = self.interfaces[usize::from(child)].vlan else { return };
        for mut packet in batch.drain() {
            if !push_tags(&mut packet, &vlan) {
                self.counters.drops.count(DropReason::TxHeadroom);
                continue;
            }
            if let Some(counters) = self.counters.vlans.get(usize::from(child)) {
                counters.tx_packets.increment();
                counters.tx_bytes.add(packet.len() as u64);
            }
            out.push(packet);
        }
    }
}

/// Puts the tags of a VLAN behind the addresses of an untagged frame.
fn push_tags(packet: &mut Packet, vlan: &Vlan) -> bool {
    let len = if vlan.inner.is_some() { 2 * TAG_LEN } else { TAG_LEN };
    if packet.head().len() < ethernet::HEADER_LEN || packet.prepend(len).is_none() {
        return false;
    }
    let head = packet.head_mut();
    head.copy_within(len..len + ADDRESSES_LEN, 0);
    let tags = [(vlan.outer, vlan.inner.map_or(CUSTOMER, |_| SERVICE))];
    let tags = tags.into_iter().chain(vlan.inner.map(|inner| (inner, CUSTOMER)));
    for ((id, protocol), tag) in tags.zip(head[ADDRESSES_LEN..].chunks_exact_mut(TAG_LEN)) {
        tag[..2].copy_from_slice(&protocol);
        tag[2..].copy_from_slice(&id.number().to_be_bytes());
    }
    let offload = packet.tx_offload();
    if offload != TxOffload::default() {
        packet.set_tx_offload(TxOffload { l2_len: offload.l2_len + len as u8, ..offload });
    }
    true
}
