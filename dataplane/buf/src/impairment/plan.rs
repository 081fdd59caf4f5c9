//! What one direction of a cable does.

/// What one direction of a cable does to packets. The default does nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Impairment {
    /// Packets lost, per million, on average.
    pub loss: u32,
    /// How many are lost in a row, on average (Gilbert's model of a channel with two states); 0
    /// and 1: each by itself.
    pub loss_burst: u32,
    /// Packets that arrive twice, per million.
    pub duplication: u32,
    /// Packets with a flipped bit behind the link-layer header, per million.
    pub corruption: u32,
    /// Packets that do not wait for `latency_nanos` and so overtake others, per million.
    pub reordering: u32,
    /// Nanoseconds that every packet takes.
    pub latency_nanos: u64,
    /// Up to this many nanoseconds more, drawn per packet; reorders too.
    pub jitter_nanos: u64,
    /// What the bottleneck carries; 0 for no bottleneck.
    pub bits_per_second: u64,
    /// Bytes that may wait for the bottleneck; what comes when it is full is lost.
    pub queue_bytes: u32,
    /// Packets with more bytes vanish without a word (an MTU black hole); 0 for none.
    pub bytes_max: u32,
}

impl Impairment {
    /// Whether it does nothing at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self
            == Self {
                loss_burst: self.loss_burst,
                queue_bytes: self.queue_bytes,
                ..Self::default()
            }
    }
}
