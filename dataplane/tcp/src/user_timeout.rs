//! How long what was sent may go unanswered: the user timeout, and its option (RFC 5482).
//!
//! `user_timeout` of the configuration is ADV_UTO and L_LIMIT of RFC 5482, 3.1, and enables the
//! option; `user_timeout_max` is U_LIMIT. What is used is `min(U_LIMIT, max(ADV_UTO, REMOTE_UTO))`,
//! REMOTE_UTO being rounded up to ours doubled so often: there is room for three bits. So a peer makes
//! us wait longer, if we are willing, and never shorter: it cannot end its own connections early, nor
//! those of somebody whose segments it forges.
//!
//! The option travels on SYN and SYN+ACK and on the first segment behind them that carries no data,
//! in case the peer keeps nothing of a SYN (RFC 5482, 3.2). It is never sent reliably.

use std::time::Duration;

use sluice_wire::TcpHeader;

use crate::config::{Config, nanos};
use crate::connection::Connection;
use crate::context::Context;

/// In the option: the unit is minutes instead of seconds.
const MINUTES: u16 = 1 << 15;
/// The largest number of either unit.
const NUMBER_MAX: u64 = (MINUTES - 1) as u64;
/// Doublings that are remembered at most.
pub(crate) const DOUBLINGS_MAX: u8 = 7;

/// A time as the option says it, rounded up.
fn encode(time: Duration) -> u16 {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    if seconds <= NUMBER_MAX {
        seconds.max(1) as u16
    } else {
        MINUTES | seconds.div_ceil(60).min(NUMBER_MAX) as u16
    }
}

/// What the option says.
fn decode(raw: u16) -> Duration {
    let number = u64::from(raw & !MINUTES);
    Duration::from_secs(if raw & MINUTES == 0 { number } else { 60 * number })
}

impl Config {
    /// What SYNs say of the user timeout; nothing unless there is one.
    pub(crate) fn user_timeout_option(&self) -> Option<u16> {
        self.user_timeout.map(encode)
    }
}

impl Connection {
    /// RFC 5482, 3.1: what the peer says of its own user timeout.
    pub(crate) fn take_user_timeout(&mut self, header: &TcpHeader, config: &Config) {
        let (Some(raw), Some(ours)) = (header.options.user_timeout, config.user_timeout) else {
            return;
        };
        let remote = decode(raw);
        if remote.is_zero() {
            // RFC 5482, 3.2: reserved.
            return;
        }
        let doubled = |n: &u8| ours.saturating_mul(1 << n) >= remote;
        let doublings = (0..DOUBLINGS_MAX).find(doubled).unwrap_or(DOUBLINGS_MAX);
        self.opening.set_doublings(doublings);
    }

    /// USER_TIMEOUT of RFC 5482, 3.1.
    fn user_timeout(&self, config: &Config) -> Option<Duration> {
        let ours = config.user_timeout?;
        let wanted = ours.saturating_mul(1 << self.opening.doublings());
        Some(wanted.min(config.user_timeout_max.max(ours)))
    }

    /// Whether what was sent has gone unanswered for too long: for the user timeout, where there is
    /// one, else as often as `data_retries` say. The time is that of the time-outs so far, each twice
    /// the one before.
    pub(crate) fn is_given_up(&self, cx: &Context<'_>) -> bool {
        let Some(limit) = self.user_timeout(cx.config) else {
            return self.retries >= cx.config.data_retries;
        };
        let waited: u64 = (0..=self.retries).map(|n| self.rtt.backed_off_ns(n, cx.config)).sum();
        waited >= nanos(limit) || self.retries == u8::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_has_two_units_and_rounds_up() {
        let seconds = Duration::from_secs;
        assert_eq!(encode(Duration::from_millis(1)), 1);
        assert_eq!(encode(seconds(32_767)), 32_767);
        assert_eq!(encode(seconds(32_768)), MINUTES | 547);
        assert_eq!(encode(Duration::MAX), u16::MAX);
        assert_eq!(decode(30), seconds(30));
        assert_eq!(decode(MINUTES | 2), seconds(120));
    }
}
