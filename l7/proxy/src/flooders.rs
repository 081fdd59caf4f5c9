//! Attackers who come again: which sources floods came from, and how often those may connect.
//!
//! A flood ends its connection by a budget of that connection, and the next one begins with a full one.
//! So who comes again at once would take as much of a worker as it has. Here its source owes for each
//! flood, a second of time; one that owes more than it may is held back: of its new connections so many
//! a second are served, and the others are reset before anything is taken for them.
//!
//! ```text
//!   a flood ends a connection ──> charge: owes a second more, at most twice what it may
//!   a connection is accepted  ──> nobody owes anything: served, after one comparison
//!                                 owes no more than it may: served
//!                                 held back: served if its last one was long enough ago, else refused
//! ```
//!
//! Only sources that completed a handshake are here, so nobody can be accused by a forged address. Those
//! of IPv6 are networks of 64 bits: a host has all addresses of its link to choose from. Sources
//! compete for eight places by a keyed hash, and the one that owes least gives way.

use std::net::{IpAddr, SocketAddr};

use sluice_base::{ConnId, HashKey, Instant, ListenerId, Rng};
use sluice_config_model::Http2Settings;

use crate::codec::SessionCodec;
use crate::limits::{FLOOD_CHARGED, FLOOD_SOURCES};
use crate::proxy::Proxy;

const WAYS: usize = 8;
const SETS: usize = FLOOD_SOURCES / WAYS;
/// A flood, or a budget that was used up altogether; less is a part of it.
const FLOOD: u16 = 256;
/// What a source owes for a flood.
const FLOOD_NS: u64 = 1_000_000_000;
/// Of the fork of the seed.
const SALT: u64 = 0x666c_6f6f_6465_7273;

#[derive(Clone, Copy, Debug)]
struct Place {
    source: u128,
    /// When all its floods are forgiven.
    owes_until: Instant,
    /// When its next connection is served, while it is held back.
    next_at: Instant,
}

const NOBODY: Place = Place { source: 0, owes_until: Instant::ZERO, next_at: Instant::ZERO };

/// Sources of floods, of one worker.
#[derive(Debug)]
pub(crate) struct Flooders {
    sets: Box<[[Place; WAYS]]>,
    key: HashKey,
    /// Connections of a source are spread among so many workers, each of which sees its share.
    workers: u64,
    /// When nobody will owe anything any more.
    until: Instant,
}

impl Flooders {
    pub(crate) fn new(workers: u16, seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork(SALT);
        Self {
            sets: vec![[NOBODY; WAYS]; SETS].into(),
            key: HashKey::new([rng.next_u64(), rng.next_u64()]),
            workers: u64::from(workers.max(1)),
            until: Instant::ZERO,
        }
    }

    /// Whether any source owes anything: for all others the only question that is asked.
    #[inline]
    pub(crate) fn any(&self, now: Instant) -> bool {
        now < self.until
    }

    /// A source has made so many 256ths of a flood, of which it may make `floods_max`. True: another one
    /// that still owed something had to give way.
    pub(crate) fn charge(
        &mut self,
        source: IpAddr,
        amount: u16,
        floods_max: u16,
        now: Instant,
    ) -> bool {
        let owed_max = self.owed_max(floods_max);
        let cost = FLOOD_NS * self.workers * u64::from(amount) / u64::from(FLOOD);
        let source = key_of(source);
        let set = self.set_of(source);
        let known = set.iter().position(|place| place.source == source);
        let least = || (0..WAYS).min_by_key(|at| set[*at].owes_until);
        let Some(place) = known.or_else(least).map(|at| &mut set[at]) else { return false };
        let forgotten = place.source != source && place.owes_until > now;
        if place.source != source {
            *place = Place { source, ..NOBODY };
        }
        let owes_until = place.owes_until.max(now).plus_nanos(cost);
        place.owes_until = owes_until.min(now.plus_nanos(2 * owed_max));
        self.until = self.until.max(owes_until);
        forgotten
    }

    /// Whether a new connection of a source is served.
    pub(crate) fn serves(&mut self, source: IpAddr, floods_max: u16, now: Instant) -> bool {
        let owed_max = self.owed_max(floods_max);
        let pause = FLOOD_NS * self.workers / u64::from(floods_max.max(1));
        let source = key_of(source);
        let set = self.set_of(source);
        let Some(place) = set.iter_mut().find(|place| place.source == source) else { return true };
        if place.owes_until <= now.plus_nanos(owed_max) {
            return true;
        }
        if place.next_at > now {
            return false;
        }
        place.next_at = now.plus_nanos(pause);
        true
    }

    /// Nanoseconds that a source may owe; at least a flood, however many workers share them.
    fn owed_max(&self, floods_max: u16) -> u64 {
        FLOOD_NS * u64::from(floods_max).max(self.workers)
    }

    fn set_of(&mut self, source: u128) -> &mut [Place; WAYS] {
        let hash = self.key.hash_pair((source >> 64) as u64, source as u64);
        &mut self.sets[(hash >> 32) as usize % SETS]
    }
}

/// An address as one number; of IPv6 its network.
fn key_of(source: IpAddr) -> u128 {
    match source {
        IpAddr::V4(address) => u128::from(address.to_bits()) | 0xffff << 32,
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

/// What floods cost those who send them.
impl Proxy {
    /// Whether too many floods have come from where this connection comes from.
    #[cold]
    pub(crate) fn refuse_flooder(&mut self, listener: ListenerId, peer: SocketAddr) -> bool {
        let Some((floods_max, now)) = self.floods_max(listener, peer.ip()) else { return false };
        if self.flooders.serves(peer.ip(), floods_max, now) {
            return false;
        }
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_flood_reject.increment();
        }
        true
    }

    /// A flood ended this connection of a client.
    #[cold]
    pub(crate) fn flooded(&mut self, conn: ConnId) {
        if self.charge_as(conn, FLOOD)
            && let Some(listener) = self.sessions.get(conn).and_then(|it| it.downstream())
            && let Some(state) = self.listener(listener.listener)
        {
            state.counters.downstream_cx_flood_close.increment();
        }
    }

    /// A connection ends: its source owes for what it used up of budgets against floods.
    #[inline]
    pub(crate) fn charge(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        if let SessionCodec::Http2(coded) = &session.codec
            && !coded.more.charged
            && session.downstream().is_some()
        {
            self.charge_used(conn);
        }
    }

    #[inline(never)]
    fn charge_used(&mut self, conn: ConnId) {
        let now = self.wires.now;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let SessionCodec::Http2(coded) = &mut session.codec else { return };
        let used = coded.codec.flooded(now).min(FLOOD);
        if used < FLOOD_CHARGED {
            coded.more.charged = true;
        } else if self.charge_as(conn, used)
            && let Some(listener) = self.sessions.get(conn).and_then(|it| it.downstream())
            && let Some(state) = self.listener(listener.listener)
        {
            state.counters.downstream_cx_flood_suspect.increment();
        }
    }

    /// The source of this connection owes for so much of a flood; false: it was charged before.
    #[cold]
    fn charge_as(&mut self, conn: ConnId, amount: u16) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        let Some(downstream) = session.downstream().copied() else { return false };
        let SessionCodec::Http2(coded) = &mut session.codec else { return false };
        if std::mem::replace(&mut coded.more.charged, true) {
            return false;
        }
        coded.more.flooded = true;
        let cycles = std::mem::take(&mut coded.more.cycles);
        if let Some(state) = self.listener(downstream.listener) {
            state.counters.downstream_cx_flood_cycles.add(cycles);
        }
        let source = SocketAddr::from(downstream.peer).ip();
        if let Some((floods_max, now)) = self.floods_max(downstream.listener, source)
            && self.flooders.charge(source, amount, floods_max, now)
        {
            self.counters.flood_source_forgotten.increment();
        }
        true
    }

    /// How many floods may come from a source, and what time it is; none: any number.
    fn floods_max(&self, listener: ListenerId, source: IpAddr) -> Option<(u16, Instant)> {
        let http = self.compiled_listener(listener)?.listener.http()?;
        let Http2Settings { max_floods_per_source, flood_exempt_sources, .. } = &http.http2;
        let exempt = flood_exempt_sources.iter().any(|network| network.contains(source));
        (*max_floods_per_source > 0 && !exempt).then_some((*max_floods_per_source, self.wires.now))
    }

    /// So many cycles were spent on a connection: estimates, since only some turns are timed. They
    /// decide nothing, and are counted when it turns out to flood.
    pub fn note_cycles(&mut self, conn: ConnId, cycles: u64) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let listener = session.downstream().map(|downstream| downstream.listener);
        let SessionCodec::Http2(coded) = &mut session.codec else { return };
        if !coded.more.flooded {
            coded.more.cycles += cycles;
        } else if let Some(state) = listener.and_then(|id| self.listener(id)) {
            state.counters.downstream_cx_flood_cycles.add(cycles);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn served(flooders: &mut Flooders, source: IpAddr, now: Instant) -> usize {
        (0..100).filter(|_| flooders.serves(source, 10, now)).count()
    }

    /// The 256ths of floods of a source until it is held back.
    fn until_held_back(flooders: &mut Flooders, source: IpAddr, amount: u16, now: Instant) -> u32 {
        let mut floods = 0;
        while served(flooders, source, now) == 100 {
            flooders.charge(source, amount, 10, now);
            floods += 1;
            assert!(floods < 100, "it is never held back");
        }
        floods
    }

    #[test]
    fn a_source_is_held_back_and_forgiven_by_the_second() {
        let mut flooders = Flooders::new(1, 1);
        let start = Instant::from_millis(5);
        assert!(!flooders.any(start));
        assert_eq!(served(&mut flooders, source(1), start), 100);
        assert_eq!(until_held_back(&mut flooders, source(1), FLOOD, start), 11);
        assert!(flooders.any(start));
        assert_eq!(served(&mut flooders, source(2), start), 100, "another one is not held back");
        // One was served in finding out: the next comes a tenth of a second later.
        assert_eq!(served(&mut flooders, source(1), start.plus_nanos(SECOND / 10 - 1)), 0);
        assert_eq!(served(&mut flooders, source(1), start.plus_nanos(SECOND / 10)), 1);
        // The one flood too many is forgiven.
        assert_eq!(served(&mut flooders, source(1), start.plus_nanos(SECOND)), 100);
        assert!(flooders.any(start.plus_nanos(11 * SECOND - 1)));
        assert!(!flooders.any(start.plus_nanos(11 * SECOND)));
        // However many there were, it is over in ten seconds.
        for _ in 0..1_000 {
            flooders.charge(source(1), FLOOD, 10, start);
        }
        assert_eq!(served(&mut flooders, source(1), start.plus_nanos(10 * SECOND - 1)), 1);
        assert_eq!(served(&mut flooders, source(1), start.plus_nanos(10 * SECOND)), 100);
    }

    #[test]
    fn parts_of_floods_add_up() {
        let mut flooders = Flooders::new(1, 1);
        let now = Instant::from_millis(5);
        assert_eq!(until_held_back(&mut flooders, source(1), FLOOD / 4, now), 41);
    }

    /// Connections of a source are spread among workers, and so are its floods.
    #[test]
    fn workers_share_what_a_source_may() {
        let now = Instant::from_millis(5);
        for (workers, floods) in [(2, 6), (5, 3), (16, 2)] {
            let mut flooders = Flooders::new(workers, 1);
            let found = until_held_back(&mut flooders, source(1), FLOOD, now);
            assert_eq!(found, floods, "{workers} workers");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut flooders = Flooders::new(1, 1);
        let now = Instant::from_millis(5);
        let at =
            |link: u16, host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, link, 0, 0, 0, host));
        for host in 0..11 {
            flooders.charge(at(0, host), FLOOD, 10, now);
        }
        assert_eq!(served(&mut flooders, at(0, 99), now), 1);
        assert_eq!(served(&mut flooders, at(1, 0), now), 100);
    }

    /// More sources than there are places: those that owe most keep theirs, and who gives way is told.
    #[test]
    fn a_full_table_forgets_who_owes_least() {
        let mut flooders = Flooders::new(1, 1);
        let now = Instant::from_millis(5);
        for _ in 0..20 {
            flooders.charge(source(0), FLOOD, 10, now);
        }
        let forgotten = |flooders: &mut Flooders, now: Instant| {
            (1..20_000).filter(|at| flooders.charge(source(*at), FLOOD, 10, now)).count()
        };
        assert_eq!(forgotten(&mut flooders, now), 19_999 - (FLOOD_SOURCES - 1));
        assert_eq!(served(&mut flooders, source(0), now), 1, "it is still known");
        // Places of the forgiven are free.
        let later = now.plus_nanos(60 * SECOND);
        assert!(!flooders.any(later));
        let first = (1..=100).filter(|at| flooders.charge(source(*at), FLOOD, 10, later)).count();
        assert_eq!(first, 0);
    }
}
