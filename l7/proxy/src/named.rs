//! The oldest snapshot whose ids something here still names.
//!
//! A request lets go of its snapshot with the response head and lives on its plan; a connection
//! lives in its pool over many snapshots; both name endpoints, routes and virtual hosts by id. So a
//! snapshot that went home says nothing about its ids. What begins is stamped with the version of
//! its snapshot, one store, and a walk over both tables after each adoption finds the oldest stamp:
//! ids that no newer snapshot names are then free for others, as far as this worker is concerned.
//!
//! Nothing is counted up and down per request, so nothing can be counted wrong: what a walk does not
//! find is not there. While an old stamp is left the walk comes again, [`NAMED_POLL`] later.
//!
//! Sessions of datagrams need no walk: the sweep before it has ended those that the newest snapshot
//! does not name, and new ones begin with that one.
//!
//! A walk takes many calls, and what it has passed may change behind it. Exchanges begin with the
//! newest stamp and keep their slot, or are noted when they are folded or unfolded. A connection that is opened meanwhile for an old exchange has
//! that one's stamp and is noted when it is ([`Named::note`]). Other stamps only grow: what the
//! newest snapshot names too is stamped anew.

use std::net::SocketAddr;

use sluice_base::{EndpointId, Instant};

use crate::limits::{NAMED_POLL, SWEEP_PER_CALL};
use crate::proxy::Proxy;
use crate::sessions::Role;

/// How far the walk has come, and what it found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    /// Of the newest snapshot.
    version: u64,
    /// The oldest stamp that this walk has met.
    lowest: u64,
    running: bool,
    exchange: u32,
    folded: u32,
    session: u32,
    /// When the next walk begins.
    again_at: Instant,
}

impl Named {
    pub(crate) fn new() -> Self {
        let (version, lowest, again_at) = (0, 0, Instant::NEVER);
        Self { version, lowest, running: false, exchange: 0, folded: 0, session: 0, again_at }
    }

    /// A snapshot was adopted; what the walk has found so far is forgotten.
    pub(crate) fn adopt(&mut self, version: u64) {
        self.version = version;
        self.start();
    }

    fn start(&mut self) {
        let again_at = Instant::NEVER;
        *self = Self {
            lowest: self.version,
            running: true,
            exchange: 0,
            folded: 0,
            session: 0,
            again_at,
            ..*self
        };
    }

    /// Something with this stamp was made, maybe where the walk has been.
    #[inline]
    pub(crate) fn note(&mut self, stamp: u64) {
        self.lowest = self.lowest.min(stamp);
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        if self.running { Instant::ZERO } else { self.again_at }
    }
}

impl Proxy {
    /// A part of the walk, once the sweep is through: pools then know the newest snapshot.
    pub(crate) fn walk_named(&mut self) {
        if self.sweep.is_running() {
            return;
        }
        if !self.named.running {
            if self.wires.now < self.named.again_at {
                return;
            }
            self.named.start();
        }
        for _ in 0..SWEEP_PER_CALL {
            if self.named.exchange < self.exchanges.slots() {
                self.look_at_exchange(self.named.exchange);
                self.named.exchange += 1;
            } else if self.named.folded < self.exchanges.folded_slots() {
                self.look_at_folded(self.named.folded);
                self.named.folded += 1;
            } else if self.named.session < self.sessions.slots() {
                self.look_at_session(self.named.session);
                self.named.session += 1;
            } else {
                self.end_walk();
                return;
            }
        }
    }

    fn look_at_exchange(&mut self, index: u32) {
        let Some(key) = self.exchanges.key_at(index) else { return };
        let Some(exchange) = self.exchanges.get(key) else { return };
        self.named.note(exchange.named);
    }

    fn look_at_folded(&mut self, index: u32) {
        let Some(key) = self.exchanges.folded_at(index) else { return };
        if let Some(named) = self.exchanges.folded_named(key) {
            self.named.note(named);
        }
    }

    fn look_at_session(&mut self, index: u32) {
        // A relay may outlive any number of snapshots, and names its listener beside.
        let kept = self.is_kept(index) && self.is_listener_kept(index);
        let newest = self.named.version;
        let Some(session) = self.sessions.by_index(index) else { return };
        let Role::Upstream(upstream) = &mut session.role else { return };
        if kept {
            upstream.named = newest;
        }
        self.named.note(upstream.named);
    }

    /// Whether the newest snapshot names what the connection names: its cluster has the endpoint.
    fn is_kept(&mut self, index: u32) -> bool {
        let session = self.sessions.by_index(index).filter(|session| !session.status.lingering);
        let Some(upstream) = session.and_then(|session| session.upstream()).copied() else {
            return false;
        };
        self.pools.keeps(upstream.cluster, upstream.endpoint, upstream.made_with)
    }

    /// Whether the newest snapshot has the listener of the relay that the connection is a side of.
    fn is_listener_kept(&mut self, index: u32) -> bool {
        let session = self.sessions.by_index(index);
        let Some(client) = session.and_then(|session| session.partner()) else { return true };
        let downstream = self.sessions.get(client).and_then(|session| session.downstream());
        downstream.is_some_and(|part| self.compiled_listener(part.listener).is_some())
    }

    fn end_walk(&mut self) {
        // Nearly always there is none: the stack answers at once.
        if !self.pools.attempts.is_empty() {
            for (_, attempt) in self.pools.attempts.iter() {
                self.named.note(attempt.named);
            }
        }
        self.named.running = false;
        // Relaxed, as every counter: who reads it publishes what it decides through the mailbox.
        self.counters.snapshot_oldest_named.set(self.named.lowest);
        if self.named.lowest < self.named.version {
            self.named.again_at = self.wires.now + NAMED_POLL;
        }
    }

    /// Endpoints that requests, relays and connections name, with the address that each meant when
    /// it was named: no newer snapshot may mean another by it. Folded exchanges name what their
    /// connection names.
    pub fn named_endpoints(&self) -> impl Iterator<Item = (EndpointId, SocketAddr)> + '_ {
        let exchanges = (0..self.exchanges.slots()).filter_map(|index| {
            let exchange = self.exchanges.get(self.exchanges.key_at(index)?)?;
            exchange.endpoint.zip(exchange.remote.map(SocketAddr::from))
        });
        let sessions = (0..self.sessions.slots()).filter_map(|index| {
            let session = self.sessions.get(self.sessions.at(index)?)?;
            session.upstream().map(|upstream| (upstream.endpoint, upstream.remote.into()))
        });
        let datagrams = self.udp.sessions.iter().map(|(_, session)| session.named());
        exchanges.chain(sessions).chain(datagrams)
    }
}
