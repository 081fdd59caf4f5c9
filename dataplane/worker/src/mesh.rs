//! Rings between all workers.
//!
//! A queue is only a hint: whichever worker receives a packet asks `owner(packet)`, and if another
//! worker owns it, the packet goes over that worker's ring. The rings always exist, so there is one
//! path to test and not two.

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_arch::Waker;
use sluice_base::{InterfaceId, WorkerId};
use sluice_buf::{Packet, SendPacket};
use sluice_stack::Message;

/// Packets and messages in flight from one worker to another before the next is dropped.
const RING_LEN: usize = 1_024;

/// What one worker sends another.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A packet that arrived on an interface and belongs to the receiver.
    Packet(InterfaceId, SendPacket),
    /// A word about neighbours, path MTU or addresses.
    Message(Message),
}

/// One worker's ends of all rings.
pub struct Mesh {
    me: WorkerId,
    out: Vec<Option<(Producer<Parcel>, Arc<Waker>)>>,
    inbox: Vec<Option<Consumer<Parcel>>>,
    /// Whom to wake at the end of the heartbeat: once per heartbeat, not per packet.
    pending: Vec<bool>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mesh({} of {})", self.me, self.out.len())
    }
}

impl Mesh {
    /// The rings between workers, one mesh per waker, in the order of their numbers.
    #[must_use]
    pub fn for_workers(wakers: &[Arc<Waker>]) -> Vec<Self> {
        let count = wakers.len();
        let mut meshes: Vec<Self> = (0..count)
            .map(|me| Self {
                me: WorkerId(me as u16),
                out: (0..count).map(|_| None).collect(),
                inbox: (0..count).map(|_| None).collect(),
                pending: vec![false; count],
            })
            .collect();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let (producer, consumer) = RingBuffer::new(RING_LEN);
                meshes[from].out[to] = Some((producer, wakers[to].clone()));
                meshes[to].inbox[from] = Some(consumer);
            }
        }
        meshes
    }

    /// Sends a packet to its owner; gives it back if the ring is full or somebody else still
    /// refers to it.
    pub(crate) fn send(
        &mut self,
        to: WorkerId,
        interface: InterfaceId,
        packet: Packet,
    ) -> Result<(), Packet> {
        let packet = packet.try_into_send()?;
        match self.push(to, Parcel::Packet(interface, packet)) {
            Ok(()) => Ok(()),
            Err(Parcel::Packet(_, packet)) => Err(packet.into_packet()),
            Err(Parcel::Message(_)) => Ok(()),
        }
    }

    /// Tells one worker; false if its ring is full.
    pub(crate) fn tell(&mut self, to: WorkerId, message: Message) -> bool {
        self.push(to, Parcel::Message(message)).is_ok()
    }

    /// Tells every other worker; returns how many could not be told.
    pub(crate) fn tell_all(&mut self, message: Message) -> usize {
        let (me, count) = (self.me.index(), self.out.len());
        (0..count).filter(|to| *to != me && !self.tell(WorkerId(*to as u16), message)).count()
    }

    fn push(&mut self, to: WorkerId, parcel: Parcel) -> Result<(), Parcel> {
        let Some((producer, _)) = self.out.get_mut(to.index()).and_then(Option::as_mut) else {
            debug_assert!(false, "{to} is a worker, and not this one");
            return Err(parcel);
        };
        self.pending[to.index()] = true;
        producer.push(parcel).map_err(|rtrb::PushError::Full(parcel)| parcel)
    }

    /// Takes what arrived from any worker.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Parcel> {
        self.inbox.iter_mut().flatten().find_map(|ring| ring.pop().ok())
    }

    /// Whether something waits.
    pub(crate) fn has_mail(&self) -> bool {
        self.inbox.iter().flatten().any(|ring| !ring.is_empty())
    }

    /// Wakes everybody who was sent something since the last call.
    #[inline]
    pub(crate) fn wake_receivers(&mut self) {
        for (pending, out) in self.pending.iter_mut().zip(&self.out) {
            if std::mem::take(pending)
                && let Some((_, waker)) = out
            {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_buf::Pool;

    use super::*;

    fn meshes(count: usize) -> Vec<Mesh> {
        let wakers: Vec<_> =
            (0..count).map(|_| Arc::new(Waker::new().expect("an eventfd"))).collect();
        Mesh::for_workers(&wakers)
    }

    #[test]
    fn a_full_ring_gives_the_packet_back() {
        let pool = Pool::heap(RING_LEN as u32 + 1);
        let mut meshes = meshes(2);
        let interface = InterfaceId(3);
        for _ in 0..RING_LEN {
            let packet = pool.alloc().expect("a buffer");
            meshes[0].send(WorkerId(1), interface, packet).expect("room in the ring");
        }
        let last = pool.alloc().expect("a buffer");
        assert!(meshes[0].send(WorkerId(1), interface, last).is_err());
        assert!(meshes[1].has_mail() && !meshes[0].has_mail());
        let mut received = 0;
        while let Some(Parcel::Packet(on, packet)) = meshes[1].pop() {
            assert_eq!(on, interface);
            drop(packet);
            received += 1;
        }
        assert_eq!((received, pool.in_use()), (RING_LEN, 0));
    }
}
