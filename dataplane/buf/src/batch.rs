//! A vector of packets.

use crate::packet::Packet;

/// How many packets one receive call yields at most: the knee of the batching curve is at 16 to 32.
pub const BURST: usize = 32;

/// Up to a fixed number of packets in order, allocated once.
///
/// They lie in one piece, so that a stage walks over them and a whole vector moves at once. There
/// are twice as many slots as packets: who takes in front and appends behind moves the rest down
/// only once in as many packets as the batch may hold.
#[derive(Debug)]
pub struct Batch {
    /// `head..tail` hold packets, the others none.
    slots: Box<[Option<Packet>]>,
    head: usize,
    tail: usize,
    limit: usize,
}

impl Batch {
    /// Room for `limit` packets.
    #[must_use]
    pub fn with_capacity(limit: usize) -> Self {
        let slots = std::iter::repeat_with(|| None).take(2 * limit).collect();
        Self { slots, head: 0, tail: 0, limit }
    }

    /// Room for one [`BURST`].
    #[must_use]
    pub fn burst() -> Self {
        Self::with_capacity(BURST)
    }

    /// Appends a packet; when the batch is full the packet is dropped and the answer is false.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> bool {
        self.try_push(packet).is_ok()
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// Gives the packet back when the batch is full.
    #[inline(always)]
    pub fn try_push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.is_full() {
            return Err(packet);
        }
        if self.tail == self.slots.len() {
            self.move_down();
        }
        let Some(slot) = self.slots.get_mut(self.tail) else { return Err(packet) };
        put(slot, packet);
        self.tail += 1;
        Ok(())
    }

    /// Appends the packets that `from` gives, as many as there is room for; says how many.
    #[inline]
    pub fn extend(&mut self, from: impl Iterator<Item = Packet>) -> usize {
        let room = self.room();
        if self.tail + room > self.slots.len() {
            self.move_down();
        }
        let mut count = 0;
        for (slot, packet) in self.slots[self.tail..].iter_mut().zip(from).take(room) {
            put(slot, packet);
            count += 1;
        }
        self.tail += count;
        count
    }

    /// Takes the first packet.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.slots.get_mut(self.head)?.take()?;
        self.head += 1;
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
        Some(packet)
    }

    /// Puts a packet back in front, where one was taken before.
    pub fn unpop(&mut self, packet: Packet) {
        debug_assert!(!self.is_full(), "what is put back was taken");
        if self.is_empty() {
            (self.head, self.tail) = (self.limit, self.limit);
        } else if self.head == 0 {
            self.slots[..=self.tail].rotate_right(1);
            (self.head, self.tail) = (1, self.tail + 1);
        }
        self.head -= 1;
        put(&mut self.slots[self.head], packet);
    }

    /// Takes the first packets of `other`, at most `max` and what there is room for; says how many.
    #[inline]
    pub fn take_from(&mut self, other: &mut Self, max: usize) -> usize {
        let count = other.len().min(max).min(self.room());
        if count == 0 {
            return 0;
        }
        if self.tail + count > self.slots.len() {
            self.move_down();
        }
        let (to, from) = (self.tail..self.tail + count, other.head..other.head + count);
        for (slot, packet) in self.slots[to].iter_mut().zip(&mut other.slots[from]) {
            std::mem::swap(slot, packet);
        }
        self.tail += count;
        other.head += count;
        if other.head == other.tail {
            (other.head, other.tail) = (0, 0);
        }
        count
    }

    /// How many packets there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Whether no more fits.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// How many more fit.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit - self.len()
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        self.slots[self.head..self.tail].iter().flatten()
    }

    /// The packets in order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Packet> {
        self.slots[self.head..self.tail].iter_mut().flatten()
    }

    /// Takes every packet, in order; those that are not asked for are dropped.
    pub fn drain(&mut self) -> Taken<'_> {
        self.take(self.len())
    }

    /// Takes the first packets, at most `count`, in order; those that are not asked for are dropped.
    #[inline]
    pub fn take(&mut self, count: usize) -> Taken<'_> {
        let count = count.min(self.len());
        let from = self.head;
        self.head += count;
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
        Taken(self.slots[from..from + count].iter_mut())
    }

    /// Drops every packet.
    pub fn clear(&mut self) {
        while let Some(packet) = self.pop() {
            drop(packet);
        }
    }

    #[cold]
    fn move_down(&mut self) {
        self.slots[..self.tail].rotate_left(self.head);
        (self.head, self.tail) = (0, self.tail - self.head);
    }
}

/// Packets on their way out of a batch.
#[derive(Debug)]
pub struct Taken<'a>(std::slice::IterMut<'a, Option<Packet>>);

impl Iterator for Taken<'_> {
    type Item = Packet;

    #[inline]
    fn next(&mut self) -> Option<Packet> {
        self.0.next()?.take()
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        for packet in self.by_ref() {
            drop(packet);
        }
    }
}

/// Fills a slot that holds nothing.
#[inline]
fn put(slot: &mut Option<Packet>, packet: Packet) {
    debug_assert!(slot.is_none(), "only slots from head to tail hold packets");
    std::mem::forget(slot.replace(packet));
}

/// A vector of packets that is only used within one call and empty otherwise, so that its owner may
/// change threads.
#[derive(Debug)]
pub struct ScratchBatch(Batch);

// SAFETY: packets are what keeps a `Batch` on its thread, and `with` leaves none behind.
unsafe impl Send for ScratchBatch {}

impl ScratchBatch {
    /// Room for `limit` packets.
    #[must_use]
    pub fn with_capacity(limit: usize) -> Self {
        Self(Batch::with_capacity(limit))
    }

    /// Runs `f` on the empty batch; packets that it leaves in there are dropped and their number
    /// comes back.
    pub fn with(&mut self, f: impl FnOnce(&mut Batch)) -> usize {
        let empty = Emptied(&mut self.0);
        f(empty.0);
        empty.0.len()
    }
}

/// Empties the batch even if a panic passes.
struct Emptied<'a>(&'a mut Batch);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}
