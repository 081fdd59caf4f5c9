//! A vector of packets.

use std::collections::VecDeque;

use crate::packet::Packet;

/// How many packets one receive call yields at most: the knee of the batching curve is at 16 to 32.
pub const BURST: usize = 32;

/// Up to a fixed number of packets in order, allocated once.
#[derive(Debug)]
pub struct Batch {
    packets: VecDeque<Packet>,
    limit: usize,
}

impl Batch {
    /// Room for `limit` packets.
    #[must_use]
    pub fn with_capacity(limit: usize) -> Self {
        Self { packets: VecDeque::with_capacity(limit), limit }
    }

    /// Room for one [`BURST`].
    #[must_use]
    pub fn burst() -> Self {
        Self::with_capacity(BURST)
    }

    /// Appends a packet; when the batch is full the packet is dropped and the answer is false.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> bool {
        if self.is_full() {
            return false;
        }
        self.packets.push_back(packet);
        true
    }

    /// Takes the first packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// Puts a packet back in front.
    #[inline]
    pub fn unpop(&mut self, packet: Packet) {
        self.packets.push_front(packet);
    }

    /// How many packets there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether no more fits.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.packets.len() >= self.limit
    }

    /// How many more fit.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit - self.packets.len()
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter()
    }

    /// The packets in order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Packet> {
        self.packets.iter_mut()
    }

    /// Takes every packet, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Packet> + '_ {
        self.packets.drain(..)
    }

    /// Drops every packet.
    pub fn clear(&mut self) {
        self.packets.clear();
    }
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
