//! `[interface.impairment]`: a bad cable, on purpose.

use std::time::Duration;

/// What happens to packets of an interface. Rates are per million packets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Impairment {
    /// Which packets it happens to.
    pub direction: Direction,
    /// Lost, on average.
    pub loss: u32,
    /// How many are lost in a row, on average; 1: each by itself.
    pub loss_burst: u32,
    /// Arriving twice.
    pub duplicate: u32,
    /// With a flipped bit.
    pub corrupt: u32,
    /// Overtaking: without `latency`.
    pub reorder: u32,
    /// What every packet takes.
    pub latency: Duration,
    /// Up to this much more, drawn per packet.
    pub jitter: Duration,
    /// Bits per second of the bottleneck, if there is one.
    pub rate: Option<u64>,
    /// Bytes that may wait for the bottleneck.
    pub queue_bytes: u32,
    /// Packets with a longer IP packet inside vanish, if set.
    pub black_hole_mtu: Option<u16>,
    /// Same seed, same faults.
    pub seed: u64,
}

/// Which packets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Direction {
    /// Those that are received and those that are sent, each way by itself.
    #[default]
    Both,
    /// Those that are received.
    Receive,
    /// Those that are sent.
    Transmit,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            direction: Direction::Both,
            loss: 0,
            loss_burst: 1,
            duplicate: 0,
            corrupt: 0,
            reorder: 0,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            queue_bytes: 256 * 1_024,
            black_hole_mtu: None,
            seed: 1,
        }
    }
}
