//! A connection's place in the stack: the slab entry, its lists, its beginning and its end.
//!
//! An entry lives until three things are true: the connection is over and read empty, the
//! application was told `CLOSED` (a half-open one of a peer is known to nobody), and nothing is
//! owed. What remains of a connection in TIME-WAIT is a record in another table.

use sluice_arch::prefetch_read;
use sluice_base::{CacheLine, Instant, ListenerId, Slab, SlabKey};
use sluice_tcp::{CloseReason, Connection, Context, Signals, State};
use sluice_wire::SeqNumber;

use crate::host::Host;
use crate::line::{Behind, Links};
use crate::ready::ReadySignals;
use crate::stack::Stack;
use crate::time_wait::TIME_WAIT;
use crate::tuple::Tuple;
use crate::wheel::{Timer, Timers};

/// Signals that end a handshake.
const OPEN: Signals = Signals::CONNECTED.with(Signals::ACKNOWLEDGED);

/// Which list of connections that owe segments an entry is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Queued {
    /// None.
    No,
    /// Its interface's.
    Output,
    /// The one of those that wait for its neighbour.
    Neighbor,
    /// One of both, and it is over: who takes it off the list frees the slot.
    Gone,
}

/// All connections, each in five cache lines of its own.
pub(crate) type Connections = Slab<Entry, CacheLine>;

/// One connection of the slab, what a segment touches first in front.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    /// Looked at first, to see whether a segment belongs here.
    pub(crate) tuple: Tuple,
    /// Interned TCP configuration.
    pub(crate) config: u16,
    /// Where segments leave.
    pub(crate) interface: u16,
    pub(crate) next_hop: Host,
    /// The next hop's entry when it was last looked for, or the name of nothing.
    pub(crate) neighbor: SlabKey,
    /// The listener it came to, or what [`Stack::connect`] was given: see [`Entry::origin`].
    from: u32,
    pub(crate) ready: ReadySignals,
    /// Whether it is on the list of those that have something to tell.
    pub(crate) in_ready: bool,
    /// Whether the application knows of it.
    pub(crate) is_known: bool,
    /// Whether the application was told that it is over: its id is dead.
    pub(crate) closed_said: bool,
    pub(crate) queued: Queued,
    /// Why it ended, where the stack knows better than the connection.
    pub(crate) reason: Option<CloseReason>,
    /// Whether we began it.
    is_ours: bool,
    /// Whether its listener counts it as half-open.
    pub(crate) is_half_open: bool,
    /// Its place in the stack's wheel.
    pub(crate) timer: Timer,
    pub(crate) behind: Behind,
    pub(crate) tcp: Connection,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// A peer, at this listener.
    Peer(ListenerId),
    /// We, with this token.
    Us(u32),
}

impl Origin {
    pub(crate) const fn listener(self) -> Option<ListenerId> {
        match self {
            Self::Peer(listener) => Some(listener),
            Self::Us(_) => None,
        }
    }

    pub(crate) const fn token(self) -> u32 {
        match self {
            Self::Peer(_) => 0,
            Self::Us(token) => token,
        }
    }
}

const _: () = assert!(
    Connections::slot_len() == 320,
    "with its place in the flow table and on the wheel an idle connection stays under 400 bytes"
);

impl Timers for Connections {
    #[inline]
    fn timer(&mut self, index: u32) -> Option<&mut Timer> {
        self.at_mut(index).map(|entry| &mut entry.timer)
    }

    #[inline]
    fn prefetch(&self, index: u32) {
        if let Some(address) = self.address_of(index) {
            prefetch_read(address);
        }
    }
}

impl Links for Connections {
    #[inline]
    fn behind(&self, index: u32) -> Option<&Behind> {
        self.at(index).map(|entry| &entry.behind)
    }

    #[inline]
    fn behind_mut(&mut self, index: u32) -> Option<&mut Behind> {
        self.at_mut(index).map(|entry| &mut entry.behind)
    }
}

impl Entry {
    pub(crate) fn new(
        origin: Origin,
        tuple: Tuple,
        config: u16,
        (interface, next_hop): (u16, Host),
        tcp: Connection,
    ) -> Self {
        let (from, is_ours) = match origin {
            Origin::Peer(listener) => (listener.0, false),
            Origin::Us(token) => (token, true),
        };
        Self {
            tuple,
            config,
            interface,
            next_hop,
            neighbor: SlabKey::NONE,
            from,
            ready: ReadySignals::NONE,
            in_ready: false,
            // A peer's connection is half-open, and nobody's yet.
            is_known: is_ours,
            closed_said: false,
            queued: Queued::No,
            reason: None,
            is_ours,
            is_half_open: false,
            timer: Timer::UNARMED,
            behind: Behind::NOBODY,
            tcp,
        }
    }

    /// Who began it.
    pub(crate) fn origin(&self) -> Origin {
        if self.is_ours { Origin::Us(self.from) } else { Origin::Peer(ListenerId(self.from)) }
    }

    /// The listener that counted it as half-open until now, if one did.
    fn take_half_open(&mut self) -> Option<ListenerId> {
        let was_half_open = std::mem::take(&mut self.is_half_open);
        self.origin().listener().filter(|_| was_half_open)
    }

    /// Whether it has something to tell and is not yet on the list of those.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.in_ready && !self.ready.is_empty() && self.is_known && !self.closed_said
    }

    /// Whether it belongs on the list of those with something to tell and is on it from now on: the
    /// caller puts it there.
    #[inline]
    fn join_ready(&mut self) -> bool {
        let has_news = self.has_news();
        self.in_ready |= has_news;
        has_news
    }

    /// The interface to whose list it belongs after these signals; on none so far, it is on that from
    /// now on: the caller puts it there.
    #[inline]
    pub(crate) fn join_output(&mut self, signals: Signals) -> Option<u16> {
        if !signals.contains(Signals::OUTPUT) || self.queued != Queued::No {
            return None;
        }
        self.queued = Queued::Output;
        Some(self.interface)
    }

    /// Whether its id names it: the application knows of it, and not that it is over.
    #[inline]
    pub(crate) fn is_living(&self) -> bool {
        self.is_known && !self.closed_said
    }

    /// Whether nothing will be read from it any more.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.tcp.state(), State::Closed | State::TimeWait) && self.tcp.readable() == 0
    }
}

/// The world that the stack lends to a connection; borrows single fields, so that the connection
/// itself can be borrowed beside it.
macro_rules! context {
    ($stack:ident, $config:expr, $now:expr) => {
        sluice_tcp::Context {
            config: $stack.configs.get($config),
            pool: &$stack.rx_pool,
            pressure: $stack.pressure,
            counters: &$stack.counters.tcp,
            spares: &$stack.spares,
            challenges: &$stack.challenges,
            now: $now,
        }
    };
}

pub(crate) use context;

impl Stack {
    /// Lets a connection do something, and does what follows from it.
    #[inline]
    pub(crate) fn drive(
        &mut self,
        index: u32,
        now: Instant,
        verb: impl FnOnce(&mut Connection, &Context<'_>) -> Signals,
    ) {
        let Some(entry) = self.connections.at_mut(index) else { return };
        let cx = context!(self, entry.config, now);
        let signals = verb(&mut entry.tcp, &cx);
        // All that is to be known of the entry, while it is in hand; then the lists.
        let output = entry.join_output(signals);
        let deadline = entry.tcp.next_deadline();
        let mut is_open = false;
        if !signals.without(Signals::OUTPUT).without(Signals::TIMER).is_empty() {
            entry.ready |= ReadySignals::of(signals);
            is_open = signals.intersects(OPEN) && (!entry.is_known || entry.is_half_open);
        }
        let is_over = entry.is_over();
        let is_ready = !is_open && !is_over && entry.join_ready();
        if signals.contains(Signals::TIMER) {
            self.timers.arm(&mut self.connections, index, deadline);
        }
        if let Some(interface) = output {
            self.interfaces[usize::from(interface)].output.push(&mut self.connections, index);
        }
        if is_ready {
            self.ready.push(&mut self.connections, index);
        } else if is_open {
            self.accepted(index, now);
        } else if is_over {
            self.settle_at(index, now);
        }
    }

    /// A peer's connection is open: from now on the application knows of it, if not before.
    #[cold]
    fn accepted(&mut self, index: u32, now: Instant) {
        let Some(key) = self.connections.key_at(index) else { return };
        let Some(entry) = self.connections.get_mut(key) else { return };
        let is_fast_open = entry.is_known;
        if !is_fast_open {
            entry.is_known = true;
            entry.ready |= ReadySignals::ACCEPTED;
        }
        let listener = entry.take_half_open();
        self.not_half_open(listener);
        if is_fast_open {
            self.end_fast_open(listener, None, now);
        }
        self.settle(key, now);
    }

    /// Tells the application what there is to tell, and frees the entry when everything is over.
    #[inline]
    pub(crate) fn settle(&mut self, key: SlabKey, now: Instant) {
        let Some(entry) = self.connections.get_mut(key) else { return };
        if entry.is_over() {
            if !entry.is_known {
                entry.closed_said = true;
            } else if !entry.closed_said {
                entry.ready |= ReadySignals::CLOSED;
            }
            if entry.closed_said && !entry.tcp.has_output(now) {
                return self.free(key, now);
            }
        }
        if entry.join_ready() {
            self.ready.push(&mut self.connections, key.index);
        }
    }

    /// As [`Stack::settle`], for the connection in a slot.
    #[cold]
    pub(crate) fn settle_at(&mut self, index: u32, now: Instant) {
        if let Some(key) = self.connections.key_at(index) {
            self.settle(key, now);
        }
    }

    /// Puts a connection on its interface's list, unless it is on one.
    #[inline]
    pub(crate) fn want_output(&mut self, index: u32) {
        let Some(entry) = self.connections.at_mut(index) else { return };
        if let Some(interface) = entry.join_output(Signals::OUTPUT) {
            self.interfaces[usize::from(interface)].output.push(&mut self.connections, index);
        }
    }

    /// Notes that a connection was taken off its list. False if it was over, and is gone now.
    #[inline]
    pub(crate) fn unqueued(&mut self, index: u32) -> bool {
        let Some(entry) = self.connections.at_mut(index) else { return false };
        if entry.queued == Queued::Gone {
            self.free_slot(index);
            return false;
        }
        entry.queued = Queued::No;
        true
    }

    #[cold]
    pub(crate) fn free_slot(&mut self, index: u32) {
        if let Some(key) = self.connections.key_at(index) {
            self.connections.remove(key);
        }
    }

    fn not_half_open(&mut self, listener: Option<ListenerId>) {
        let Some(listener) = listener else { return };
        self.counters.tcp_half_open.subtract(1);
        // One that has come in its place with its id counts too few for as long as a handshake takes.
        if let Some(listener) = self.listeners.by_id_mut(listener) {
            listener.half_open = listener.half_open.saturating_sub(1);
        }
    }

    /// The connection with this tuple.
    pub(crate) fn find_connection(&self, tuple: &Tuple) -> Option<u32> {
        let hash = tuple.hash(&self.flow_key);
        self.flows.find(hash, |value| self.is_connection(value, tuple))
    }

    /// Whether a value of the flow table is the connection, or its record, with this tuple.
    #[inline]
    pub(crate) fn is_flow(&self, value: u32, tuple: &Tuple) -> bool {
        match value & TIME_WAIT {
            0 => self.is_connection(value, tuple),
            _ => self.time_waits.is_tuple(value & !TIME_WAIT, tuple),
        }
    }

    /// Whether a value of the flow table is the connection with this tuple.
    #[inline]
    pub(crate) fn is_connection(&self, value: u32, tuple: &Tuple) -> bool {
        let entry = self.connections.key_at(value).and_then(|key| self.connections.get(key));
        entry.is_some_and(|entry| entry.tuple == *tuple)
    }

    /// Whether the sequence number is one of a segment on its way (RFC 5927, 4.1).
    pub(crate) fn is_in_flight(&self, index: u32, seq: SeqNumber) -> bool {
        let entry = self.connections.key_at(index).and_then(|key| self.connections.get(key));
        entry.is_some_and(|entry| entry.tcp.is_in_flight(seq))
    }

    /// Ends a connection that is not open yet; one that is open goes on.
    pub(crate) fn fail_connecting(&mut self, index: u32, reason: CloseReason, now: Instant) {
        let Some(key) = self.connections.key_at(index) else { return };
        let Some(entry) = self.connections.get_mut(key) else { return };
        if entry.tcp.state() == State::SynSent {
            entry.reason = Some(reason);
            self.drive(index, now, Connection::abort);
        }
    }

    /// Frees an entry: nobody can name it and nothing is owed. One that is on a list keeps its slot
    /// until it is taken off.
    fn free(&mut self, key: SlabKey, now: Instant) {
        let Some(entry) = self.connections.get_mut(key) else { return };
        debug_assert!(!entry.in_ready, "who was told all has nothing to tell");
        if entry.queued == Queued::Gone {
            return;
        }
        let tuple = entry.tuple;
        let listener = entry.take_half_open();
        if listener.is_some() && entry.tcp.is_fast_open() {
            let reason = entry.tcp.close_reason();
            self.end_fast_open(listener, reason, now);
        }
        self.timers.disarm(&mut self.connections, key.index);
        self.not_half_open(listener);
        let Some(entry) = self.connections.get_mut(key) else { return };
        self.counters.tcp_connections.subtract(1);
        let hash = tuple.hash(&self.flow_key);
        let removed = self.flows.remove(hash, key.index);
        debug_assert!(removed, "every connection is in the flow table");
        let (config, next_hop) = (entry.config, entry.next_hop);
        let is_time_wait = entry.tcp.state() == State::TimeWait;
        let time_wait = is_time_wait.then(|| entry.tcp.time_wait(self.configs.get(config), now));
        if entry.queued == Queued::No {
            self.connections.remove(key);
        } else {
            entry.queued = Queued::Gone;
        }
        if let Some(time_wait) = time_wait {
            self.begin_time_wait(tuple, hash, time_wait, now);
        }
        self.configs.release(config);
        if next_hop.is_v6() {
            self.forget_hosts(&tuple);
            self.hosts.release(next_hop);
        }
    }

    /// A connection or its record is a user of both hosts; IPv4's need none.
    #[inline]
    pub(crate) fn keep_hosts(&mut self, tuple: &Tuple) {
        self.hosts.retain(tuple.local);
        self.hosts.retain(tuple.remote);
    }

    #[inline]
    pub(crate) fn forget_hosts(&mut self, tuple: &Tuple) {
        self.hosts.release(tuple.local);
        self.hosts.release(tuple.remote);
    }
}
