//! What the caller lends to each verb.

use std::cell::Cell;

use sluice_base::{HashKey, Instant};
use sluice_buf::{Pool, Pressure};

use crate::config::Config;
use crate::counters::TcpCounters;
use crate::limits;
use crate::spares::Spares;

/// The world around a connection, as of one heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Settings of this connection's listener or cluster.
    pub config: &'a Config,
    /// Where copies of small payloads go: receive memory, since a peer decides how long they stay.
    pub pool: &'a Pool,
    /// How scarce receive memory is.
    pub pressure: Pressure,
    /// The worker's counters.
    pub counters: &'a TcpCounters,
    /// Scoreboards and reassembly queues for whom a loss meets.
    pub spares: &'a Spares,
    /// The stack's permits for challenge ACKs.
    pub challenges: &'a ChallengeAcks,
    /// The clock.
    pub now: Instant,
}

/// Permits for challenge ACKs of one stack (RFC 5961, 7).
#[derive(Debug)]
pub struct ChallengeAcks {
    key: HashKey,
    second: Cell<u64>,
    left: Cell<u32>,
}

impl ChallengeAcks {
    /// A limiter whose limits differ under `key`.
    #[must_use]
    pub fn new(key: HashKey) -> Self {
        Self { key, second: Cell::new(u64::MAX), left: Cell::new(0) }
    }

    /// Takes a permit, if this second has one left.
    pub fn take(&self, now: Instant) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if self.second.replace(second) != second {
            // Between half and one and a half times the limit.
            let half = limits::CHALLENGE_ACKS_PER_SECOND / 2;
            let spread = u64::from(limits::CHALLENGE_ACKS_PER_SECOND);
            self.left.set(half + (self.key.hash_word(second) % spread) as u32);
        }
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}
