//! Packets that wait for a neighbour's address, in lists of bounded length.

use sluice_buf::Packet;

const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Place {
    packet: Option<Packet>,
    next: u32,
}

/// Places for a fixed number of packets.
#[derive(Debug)]
pub(crate) struct Parked {
    places: Vec<Place>,
    free: u32,
}

/// One neighbour's packets, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParkedList {
    head: u32,
    tail: u32,
    len: u32,
}

impl ParkedList {
    pub(crate) const fn new() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }
}

impl Parked {
    pub(crate) fn new(places: u32) -> Self {
        let place = |index: u32| {
            let next = if index + 1 < places { index + 1 } else { NIL };
            Place { packet: None, next }
        };
        let free = if places == 0 { NIL } else { 0 };
        Self { places: (0..places).map(place).collect(), free }
    }

    /// Appends a packet. When the list is at `len_max` or no place is free, a packet comes back to
    /// be dropped: the list's oldest (RFC 1122, 2.3.2.2 wants the latest kept), or, if the list is
    /// empty, this one.
    pub(crate) fn push(
        &mut self,
        list: &mut ParkedList,
        packet: Packet,
        len_max: u32,
    ) -> Option<Packet> {
        let is_full = list.len >= len_max || self.free == NIL;
        let dropped = if is_full { self.pop(list) } else { None };
        let at = self.free;
        if at == NIL {
            return Some(packet);
        }
        let place = &mut self.places[at as usize];
        self.free = place.next;
        *place = Place { packet: Some(packet), next: NIL };
        match list.tail {
            NIL => list.head = at,
            tail => self.places[tail as usize].next = at,
        }
        list.tail = at;
        list.len += 1;
        dropped
    }

    /// Takes the oldest packet.
    pub(crate) fn pop(&mut self, list: &mut ParkedList) -> Option<Packet> {
        if list.head == NIL {
            return None;
        }
        let at = list.head;
        let place = &mut self.places[at as usize];
        list.head = place.next;
        if list.head == NIL {
            list.tail = NIL;
        }
        list.len -= 1;
        place.next = self.free;
        self.free = at;
        place.packet.take()
    }
}

#[cfg(test)]
mod tests {
    use sluice_buf::Pool;

    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let pool = Pool::heap(8);
        let packet = |byte: u8| {
            let mut packet = pool.alloc().expect("a buffer");
            assert!(packet.append_bytes(&[byte]));
            packet
        };
        let first = |packet: Option<Packet>| packet.map(|packet| packet.head()[0]);
        let mut parked = Parked::new(3);
        let (mut one, mut two) = (ParkedList::new(), ParkedList::new());
        assert!(parked.push(&mut one, packet(1), 2).is_none());
        assert!(parked.push(&mut one, packet(2), 2).is_none());
        assert_eq!(first(parked.push(&mut one, packet(3), 2)), Some(1), "the list is full");
        assert!(parked.push(&mut two, packet(4), 2).is_none());
        assert_eq!(first(parked.push(&mut two, packet(5), 2)), Some(4), "no place is free");
        let mut three = ParkedList::new();
        assert_eq!(first(parked.push(&mut three, packet(6), 2)), Some(6));
        assert_eq!(first(parked.pop(&mut one)), Some(2));
        assert_eq!(first(parked.pop(&mut one)), Some(3));
        assert_eq!((first(parked.pop(&mut one)), one.len(), two.len()), (None, 0, 1));
        drop(parked);
        assert_eq!(pool.in_use(), 0, "every buffer is home");
    }
}
