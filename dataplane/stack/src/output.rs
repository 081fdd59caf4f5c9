//! Packets out: what waits for an interface, and what is built now.

use sluice_base::{Instant, InterfaceId, WorkerId};
use sluice_buf::{Batch, Packet};

use crate::drop_reason::DropReason;
use crate::message::{Message, Target};
use crate::stack::Stack;

impl Stack {
    /// Gives out at most `room` packets for an interface: first control and forwarded ones, then
    /// segments, round robin, built now. `now` is what they carry as the time.
    ///
    /// A quarter of the room is kept for segments that wait, or every second place where there is one
    /// at a time: who forwards at line rate still speaks.
    pub fn transmit(&mut self, interface: InterfaceId, room: usize, out: &mut Batch, now: Instant) {
        if interface.index() >= self.interfaces.len() {
            return;
        }
        let (before, limit) = (out.len(), out.len() + room.min(out.room()));
        if self.interfaces[interface.index()].children.is_empty() {
            self.transmit_own(interface, limit - before, out, now);
        } else {
            // Half is for the interface itself, and what its VLANs leave.
            self.transmit_own(interface, (limit - before).div_ceil(2), out, now);
            self.transmit_vlans(interface, limit, out, now);
            self.transmit_own(interface, limit - out.len(), out, now);
        }
        self.counters.packets_out.add((out.len() - before) as u64);
    }

    /// As [`Stack::transmit`], without the VLANs of the interface.
    #[inline]
    pub(crate) fn transmit_own(
        &mut self,
        interface: InterfaceId,
        room: usize,
        out: &mut Batch,
        now: Instant,
    ) {
        let (before, limit) = (out.len(), out.len() + room);
        let room = limit - before;
        let port = &mut self.interfaces[interface.index()];
        let kept = match (port.output.len(), room) {
            (0, _) | (_, 0) => 0,
            (_, 1) => {
                port.segment_next = !port.segment_next;
                usize::from(port.segment_next)
            }
            _ => (room / 4).max(1),
        };
        self.transmit_control(interface, limit - kept, out);
        if out.len() < limit {
            self.transmit_segments(interface.0, limit - out.len(), out, now);
            // A segment whose next hop is unknown made us ask for it; and what was kept may be left.
            self.transmit_control(interface, limit, out);
        }
    }

    fn transmit_control(&mut self, interface: InterfaceId, limit: usize, out: &mut Batch) {
        out.take_from(&mut self.interfaces[interface.index()].control, limit - out.len());
    }

    /// Whether a call of [`Stack::transmit`] would give out something.
    #[must_use]
    pub fn has_output(&self, interface: InterfaceId) -> bool {
        let Some(known) = self.interfaces.get(interface.index()) else { return false };
        self.has_own_output(interface.0)
            || known.children.iter().any(|child| self.has_own_output(*child))
    }

    pub(crate) fn has_own_output(&self, interface: u16) -> bool {
        let interface = &self.interfaces[usize::from(interface)];
        !interface.control.is_empty() || interface.output.len() > 0
    }

    /// Puts a packet with all headers on an interface's queue.
    #[inline]
    pub(crate) fn push_control(
        &mut self,
        interface: u16,
        mut packet: Packet,
    ) -> Result<(), DropReason> {
        let interface = &mut self.interfaces[usize::from(interface)];
        let is_linear = packet.segment_count() == 1 || interface.capabilities.multi_segment;
        if !is_linear && !packet.linearise() {
            return Err(DropReason::TxLinearise);
        }
        interface.control.try_push(packet).map_err(|_| DropReason::EgressFull)
    }

    /// The next packet for another worker.
    pub fn pop_handoff(&mut self) -> Option<(WorkerId, InterfaceId, Packet)> {
        self.handoff.pop()
    }

    /// Takes back a packet that the ring to its owner had no room for.
    #[cold]
    pub fn handoff_failed(&mut self, packet: Packet) {
        drop(packet);
        self.counters.drops.count(DropReason::HandoffFull);
    }

    /// The next message for other workers.
    pub fn pop_message(&mut self) -> Option<(Target, Message)> {
        self.messages.pop()
    }

    pub(crate) fn send_message(&mut self, target: Target, message: Message) {
        if self.workers == 1 {
            return;
        }
        if self.messages.push((target, message)).is_err() {
            self.counters.drops.count(DropReason::MessageFull);
        }
    }

    /// Counts what did not go further.
    #[inline]
    pub(crate) fn note(&self, result: Result<(), DropReason>) {
        if let Err(reason) = result {
            self.counters.drops.count(reason);
        }
    }
}
