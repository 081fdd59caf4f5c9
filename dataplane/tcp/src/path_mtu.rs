//! The largest segment that the path takes.
//!
//! ```text
//!   a router says (RFC 1191)   -> as large as it says;   10 minutes later: look for more
//!   two time-outs in a row     -> 1,260 byte packets,
//!   four                       -> 552 byte packets;      looks for more as soon as data flows again
//! ```
//!
//! To look for more is to send one segment of a larger size in the middle of others (RFC 4821): the
//! first time as large as the SYNs allow, then half way between what fits and what does not. That it
//! is lost alone is no congestion. Only with SACK: without it, one loss looks like another.
//!
//! Out of line, since most paths take what the links at both ends take.

use std::time::Duration;

use sluice_base::Instant;
use sluice_wire::SeqNumber;

use crate::config::nanos;
use crate::connection::Connection;
use crate::context::Context;
use crate::limits;
use crate::output::Outgoing;
use crate::recovery::Phase;
use crate::signals::Signals;

/// Time-outs in a row, and the packets that are tried then, as if of IPv4. What IPv6 guarantees
/// (1,280 bytes with its longer header, RFC 8200, 5) passes nearly everywhere; RFC 4821, 7.2 would
/// begin with 1,024.
const STEPS_DOWN: [(u8, u16); 2] = [(2, 1260), (4, limits::PATH_MTU_MIN)];
/// RFC 8201, 4; RFC 1191, 6.3: how long a size is believed before a larger one is tried.
const BELIEVED: Duration = Duration::from_secs(600);
/// RFC 4821, 7.6.3: after a loss that may have had another reason.
const INCONCLUSIVE: Duration = Duration::from_secs(1);
/// Probes of one size that must be lost alone before it is given up; losses by chance are rare.
const LOSSES_MAX: u8 = 2;
/// What is not worth a probe, bytes.
const STEP_MIN: u16 = 16;
/// Segments that must follow a probe, so that its loss is seen by what the peer has behind it.
const FOLLOWERS: u32 = 3;

/// A connection whose segments are smaller than the SYNs allow. Sizes are bytes of payload.
#[derive(Debug)]
pub(crate) struct PathSearch {
    /// What the SYNs allow.
    ceiling: u16,
    /// The least that does not fit; above `ceiling` as long as nothing is known.
    too_large: u16,
    /// The one under way; 0: none.
    probe: u16,
    /// How often this size was lost alone.
    losses: u8,
    /// Behind the probe.
    probe_end: SeqNumber,
    look_at: Instant,
}

impl PathSearch {
    /// What to try next; none when what fits is known well enough.
    fn candidate(&self, fits: u16) -> Option<u16> {
        if self.too_large > self.ceiling {
            return Some(self.ceiling);
        }
        let open = self.too_large.saturating_sub(fits + 1);
        (open >= 2 * STEP_MIN).then_some(fits + open.div_ceil(2))
    }

    /// Everything is open again, but not yet.
    fn rest_until(&mut self, at: Instant) {
        (self.too_large, self.losses, self.look_at) = (self.ceiling + 1, 0, at);
    }
}

impl Connection {
    /// RFC 1191, 6.4: a router refused a segment on its way for being larger than `mtu`. What is on
    /// its way is sent again in smaller ones; nothing was congested.
    ///
    /// The caller checked that the refused packet was larger than that, and [`is_in_flight`].
    ///
    /// [`is_in_flight`]: Self::is_in_flight
    #[cold]
    pub fn handle_path_mtu(&mut self, mtu: u16, cx: &Context<'_>) -> Signals {
        let told = self.options.mss_for(mtu);
        if told >= self.options.mss {
            if let Some(search) = self.path_search.as_deref_mut()
                && told < search.probe
            {
                // It is the probe that was refused, and what was looked for is told.
                search.rest_until(cx.now.plus_nanos(nanos(BELIEVED)));
                self.options.mss = told;
            }
            return Signals::NONE;
        }
        cx.counters.path_mtu.increment();
        self.shrink_segments(told, cx.now.plus_nanos(nanos(BELIEVED)));
        if self.send.in_flight() > 0 && self.state.may_transmit() {
            self.rtt.on_retransmitted();
            if self.options.has_sack() && self.has_flight(cx) {
                self.lose_flight();
            } else {
                self.send_all_again();
            }
        }
        self.settle_send_timers(cx);
        self.finish(Signals::NONE, cx)
    }

    /// RFC 4821, 7.7: the same was lost again and again, and no router said why. Called before the
    /// time-out is counted.
    pub(crate) fn suspect_path(&mut self, cx: &Context<'_>) {
        if let Some(search) = self.path_search.as_deref_mut() {
            (search.probe, search.look_at) = (0, cx.now.plus_nanos(nanos(INCONCLUSIVE)));
        }
        let step = STEPS_DOWN.iter().find(|(retries, _)| *retries == self.retries + 1);
        let Some(&(_, mtu)) = step else { return };
        let mss = self.options.mss_for(mtu);
        // Small ones are not lost for their size.
        let sent = self.send.max.since(self.send.unacknowledged);
        if mss < self.options.mss && sent > mss.into() {
            cx.counters.path_mtu_black_holes.increment();
            self.shrink_segments(mss, cx.now);
        }
    }

    fn shrink_segments(&mut self, mss: u16, look_at: Instant) {
        let search = self.path_search.get_or_insert_with(|| {
            let ceiling = self.options.mss;
            let (probe_end, too_large) = (self.send.unacknowledged, ceiling + 1);
            Box::new(PathSearch { ceiling, too_large, probe: 0, losses: 0, probe_end, look_at })
        });
        search.probe = 0;
        search.rest_until(look_at);
        self.options.mss = mss;
    }

    /// A segment that finds out whether a larger one passes, if it is time for that and `allowed`
    /// bytes are enough to see what becomes of it.
    #[cold]
    pub(crate) fn emit_path_probe(&mut self, allowed: u32, cx: &Context<'_>) -> Option<Outgoing> {
        let mss = self.options.mss;
        let search = self.path_search.as_deref_mut()?;
        if search.probe != 0 {
            if search.probe_end.after(self.send.unacknowledged) {
                return None;
            }
            let arrived = std::mem::take(&mut search.probe);
            (search.losses, self.options.mss) = (0, arrived);
            cx.counters.path_mtu_raised.increment();
            if arrived == search.ceiling {
                self.path_search = None;
            }
            return None;
        }
        let is_calm = self.recovery.phase == Phase::Open
            && self.options.has_sack()
            && self.receive.reassembly.is_none()
            && self.send.next == self.send.max;
        if !is_calm || cx.now < search.look_at {
            return None;
        }
        let Some(size) = search.candidate(mss) else {
            search.rest_until(cx.now.plus_nanos(nanos(BELIEVED)));
            return None;
        };
        // A window that is nearly used up opens by two segments at a time: better a small step.
        let size = size.min(u16::try_from(allowed).unwrap_or(u16::MAX));
        let followers = FOLLOWERS * u32::from(mss);
        let is_seen = self.send.unsent() >= u32::from(size) + followers
            && self.send.usable_window() + self.send.in_flight() >= u32::from(size) + followers;
        if size < mss + STEP_MIN.min(search.ceiling - mss) || !is_seen {
            return None;
        }
        search.probe = size;
        search.probe_end = self.send.next + u32::from(size);
        cx.counters.path_mtu_probes.increment();
        Some(self.emit_range(size.into(), 0, cx))
    }

    /// RFC 4821, 7.6.2: whether the probe of a larger size, and nothing else, was found lost:
    /// `lost` bytes. That is no sign of congestion.
    #[cold]
    pub(crate) fn is_probe_lost_alone(&mut self, lost: u32, cx: &Context<'_>) -> bool {
        let Some(search) = self.path_search.as_deref_mut() else { return false };
        if search.probe == 0 {
            return false;
        }
        let size = std::mem::take(&mut search.probe);
        let first = self.flight.get().and_then(|flight| flight.board.first_lost());
        let whole = (search.probe_end - u32::from(size), search.probe_end);
        if lost != size.into() || first != Some(whole) {
            search.look_at = cx.now.plus_nanos(nanos(INCONCLUSIVE));
            return false;
        }
        search.losses += 1;
        if search.losses >= LOSSES_MAX || size >= search.too_large {
            (search.too_large, search.losses) = (search.too_large.min(size), 0);
        }
        true
    }
}
