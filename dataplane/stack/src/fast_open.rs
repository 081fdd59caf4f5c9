//! Fast Open at a listener (RFC 7413): who gets a cookie, whose data is taken, and how many of those
//! whose data was taken may wait for the end of their handshake.
//!
//! Who has a good cookie makes us work for a SYN alone. A limit for each listener bounds what somebody
//! can do who has the cookies of many hosts; beyond it a SYN is an ordinary one. A reset does not make
//! room at once: the owner of an address that somebody else uses resets what it did not begin, and
//! that somebody must gain nothing by it (RFC 7413, 5.1).

use std::collections::VecDeque;
use std::time::Duration;

use sluice_base::{Instant, ListenerId, SlabKey};
use sluice_buf::Chain;
use sluice_tcp::{CloseReason, Connection, Context, FastOpen};
use sluice_wire::TcpHeader;

use crate::connection::Entry;
use crate::host::{Host, Hosts};
use crate::ready::ReadySignals;
use crate::stack::Stack;

/// For how long a connection that was reset counts as pending (Linux's time).
const RESET_COUNTS: Duration = Duration::from_secs(60);

/// A listener's connections whose data was taken before the end of their handshake.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Those that are there.
    count: usize,
    /// When those stop to count that were reset.
    resets: VecDeque<Instant>,
}

impl Pending {
    /// Whether `max` are pending.
    fn is_full(&mut self, max: u32, now: Instant) -> bool {
        while self.resets.front().is_some_and(|until| *until <= now) {
            self.resets.pop_front();
        }
        self.count + self.resets.len() >= max as usize
    }

    fn begin(&mut self) {
        self.count += 1;
    }

    fn end(&mut self, was_reset: bool, now: Instant) {
        self.count = self.count.saturating_sub(1);
        if was_reset {
            // Never more than may be pending: each was.
            self.resets.push_back(now + RESET_COUNTS);
        }
    }
}

impl Stack {
    /// What becomes of the Fast Open option of a SYN.
    pub(crate) fn judge_fast_open(
        &mut self,
        listener: SlabKey,
        syn: &TcpHeader,
        client: Host,
        has_data: bool,
        now: Instant,
    ) -> FastOpen {
        let option = syn.options.fast_open;
        if option.is_none() {
            return FastOpen::Ignore;
        }
        let Some(listener) = self.listeners.get_mut(listener) else { return FastOpen::Ignore };
        let max = self.configs.get(listener.config).fast_open_max;
        if max == 0 {
            return FastOpen::Ignore;
        }
        let client = client_words(client, &self.hosts);
        let judged = FastOpen::judge(option, &self.number_key, client, now);
        let FastOpen::Take { is_old } = judged else {
            if judged == FastOpen::Refuse {
                self.counters.tcp_fast_open_refused.increment();
            }
            return judged;
        };
        if has_data && !listener.fast_open.is_full(max, now) {
            return judged;
        }
        if has_data {
            self.counters.tcp_fast_open_limited.increment();
        }
        if is_old { FastOpen::Grant } else { FastOpen::Ignore }
    }

    /// A connection was begun for a SYN that was judged so.
    #[cold]
    pub(crate) fn begin_fast_open(&mut self, key: SlabKey, judged: FastOpen, now: Instant) {
        if grants(judged) {
            self.counters.tcp_fast_open_cookies.increment();
        }
        let Some(entry) = self.connections.get(key).filter(|entry| entry.tcp.is_fast_open()) else {
            return;
        };
        self.counters.tcp_fast_open_accepts.increment();
        self.counters.tcp_fast_open_pending.increment();
        let listener = entry.origin().listener().and_then(|id| self.listeners.by_id_mut(id));
        if let Some(listener) = listener {
            listener.fast_open.begin();
        }
        self.settle(key, now);
    }

    /// The handshake of such a connection of `listener` is over, or it ended before, for `reason`.
    pub(crate) fn end_fast_open(
        &mut self,
        listener: Option<ListenerId>,
        reason: Option<CloseReason>,
        now: Instant,
    ) {
        let was_reset = reason == Some(CloseReason::Reset);
        self.counters.tcp_fast_open_pending.subtract(1);
        if was_reset {
            self.counters.tcp_fast_open_resets.increment();
        }
        if let Some(listener) = listener.and_then(|id| self.listeners.by_id_mut(id)) {
            listener.fast_open.end(was_reset, now);
        }
    }
}

/// A client's address as cookies are made of it.
pub(crate) fn client_words(client: Host, hosts: &Hosts) -> [u64; 2] {
    match hosts.v6(client) {
        Some((address, _)) => {
            let bits = address.to_bits();
            [(bits >> 64) as u64, bits as u64]
        }
        None => [0, client.bits().into()],
    }
}

/// Does to a new connection what was judged of its SYN; true if the application may have the data.
pub(crate) fn apply(
    judged: FastOpen,
    tcp: &mut Connection,
    payload: Chain,
    cx: &Context<'_>,
) -> bool {
    if grants(judged) {
        tcp.grant_cookie();
    }
    if matches!(judged, FastOpen::Take { .. }) {
        // What it owes is found when it is put on its lists.
        let _ = tcp.take_early(payload, cx);
    }
    tcp.is_fast_open()
}

fn grants(judged: FastOpen) -> bool {
    match judged {
        FastOpen::Grant | FastOpen::Refuse | FastOpen::Take { is_old: true } => true,
        FastOpen::Ignore | FastOpen::Take { is_old: false } => false,
    }
}

impl Entry {
    /// The application knows of it, although its handshake is not over.
    pub(crate) fn open_early(&mut self) {
        self.is_known = true;
        self.ready = ReadySignals::ACCEPTED | ReadySignals::CONNECTED | ReadySignals::READABLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_counts_for_a_minute() {
        let (mut pending, mut now) = (Pending::default(), Instant::from_millis(5));
        pending.begin();
        assert!(!pending.is_full(2, now));
        pending.begin();
        assert!(pending.is_full(2, now));
        pending.end(false, now);
        assert!(!pending.is_full(2, now));
        pending.end(true, now);
        assert!(!pending.is_full(2, now));
        assert!(pending.is_full(1, now));
        now += RESET_COUNTS - Duration::from_millis(1);
        assert!(pending.is_full(1, now));
        now += Duration::from_millis(1);
        assert!(!pending.is_full(1, now));
    }
}
