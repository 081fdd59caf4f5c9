//! The session table: what the proxy knows of each connection, parallel to the stack's slab.
//!
//! One index, two tables: `ConnId::index` is the slot here and there, so the worker can prefetch
//! both at once. A stale generation matches nothing. A slot is plain data and chains: no pointer
//! into another slot, no closure.

use sluice_arch::{huge_capacity, prefetch_bytes, prefetch_read};
use sluice_base::{ClusterId, ConnId, EndpointId, Instant, ListenerId, SlabKey};
use sluice_l7_core::{Role as CodecRole, StreamId};
use sluice_l7_filter::Said;
use sluice_l7_http1::Http1;
use sluice_l7_http2::{Config as Http2Config, Http2};

use crate::address::Address;
use crate::codec::{Coded, Multiplexed, PingPong, SessionCodec};
use crate::exchange::ExchangeKey;
use crate::http2::Http2Plan;
use crate::relay::Relay;

/// End of an intrusive list of sessions.
pub(crate) const NO_SESSION: u32 = u32::MAX;

/// Generation of a free slot. The stack's are odd, so that no connection's id matches it and a
/// look-up compares one number.
const VACANT: u32 = u32::MAX - 1;

/// One side of the proxy.
#[derive(Debug)]
pub(crate) enum Role {
    /// The slot is free.
    Vacant,
    /// A client's connection.
    Downstream(Downstream),
    /// A connection to an endpoint.
    Upstream(Upstream),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Downstream {
    pub(crate) listener: ListenerId,
    pub(crate) peer: Address,
    /// What is known of the relay that it is one side of.
    pub(crate) relay: Relay,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    pub(crate) cluster: ClusterId,
    pub(crate) endpoint: EndpointId,
    pub(crate) remote: Address,
    /// What the connection was made with; a pool takes back only its own kind.
    pub(crate) made_with: u32,
    /// HTTP/2 is spoken on it.
    pub(crate) http2: bool,
    /// Version of the snapshot whose ids it names, or of a newer one that has them all.
    pub(crate) named: u64,
    /// A response has been received on it: it is a connection that was reused from then on.
    pub(crate) used: bool,
    /// The neighbours in the endpoint's idle list.
    pub(crate) endpoint_links: Links,
    /// The neighbours in the cluster's idle list.
    pub(crate) cluster_links: Links,
}

/// Neighbours in an intrusive list, by session index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) next: u32,
    pub(crate) prev: u32,
}

impl Links {
    pub(crate) const NONE: Self = Self { next: NO_SESSION, prev: NO_SESSION };
}

/// What is true of a connection right now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    /// The handshake is done.
    pub(crate) connected: bool,
    /// One side of a relay: bytes go to the other side as they are.
    pub(crate) relayed: bool,
    /// The peer sends no more.
    pub(crate) peer_closed: bool,
    /// We said `Close`.
    pub(crate) closed: bool,
    /// Done with: what still arrives is dropped.
    pub(crate) lingering: bool,
    /// The session's timer holds the time for a head that has begun.
    pub(crate) head_begun: bool,
    /// On the list of sessions to run.
    pub(crate) queued: bool,
    /// In the idle lists.
    pub(crate) idle: bool,
}

/// What the proxy knows of one connection.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Session {
    pub(crate) generation: u32,
    /// Received, passed on to the other side, and still charged here until that side has room; of
    /// a relay that is not up yet, received. While lingering: bytes that were dropped.
    pub(crate) owed: u32,
    pub(crate) status: Status,
    /// The exchange, or the other side of a relay, or the name of nothing.
    link: SlabKey,
    pub(crate) codec: SessionCodec,
    pub(crate) role: Role,
}

const _: () = assert!(size_of::<Session>() <= 112, "what a relay has two of");

impl Session {
    const fn vacant() -> Self {
        Self {
            generation: VACANT,
            status: Status {
                connected: false,
                relayed: false,
                peer_closed: false,
                closed: false,
                lingering: false,
                head_begun: false,
                queued: false,
                idle: false,
            },
            owed: 0,
            link: SlabKey::NONE,
            codec: SessionCodec::Opaque,
            role: Role::Vacant,
        }
    }

    /// The exchange that it belongs to.
    #[inline]
    pub(crate) fn exchange(&self) -> Option<ExchangeKey> {
        let is_one = !self.status.relayed && self.link.index != SlabKey::NONE.index;
        is_one.then_some(self.link)
    }

    /// From now on it belongs to this exchange, or to none.
    #[inline]
    pub(crate) fn set_exchange(&mut self, key: Option<ExchangeKey>) {
        self.link = key.unwrap_or(SlabKey::NONE);
        self.status.relayed = false;
    }

    /// It belongs to no exchange any more; to which one it did.
    #[inline]
    pub(crate) fn take_exchange(&mut self) -> Option<ExchangeKey> {
        let key = self.exchange();
        self.set_exchange(None);
        key
    }

    /// The exchange that a stream carries.
    #[inline]
    pub(crate) fn exchange_on(&self, stream: StreamId) -> Option<ExchangeKey> {
        match &self.codec {
            SessionCodec::Http2(coded) => coded.codec.token(stream).and_then(key_of),
            SessionCodec::Http1(_) | SessionCodec::Opaque => self.exchange(),
        }
    }

    /// The books of its streams agree; without any, nothing is owed to the peer.
    #[inline]
    pub(crate) fn assert_books(&self, is_idle: bool) {
        if cfg!(debug_assertions)
            && let SessionCodec::Http2(coded) = &self.codec
        {
            debug_assert_eq!(coded.codec.check(), Ok(()));
            debug_assert!(!is_idle || coded.codec.uncredited() == 0, "a window leaked");
        }
    }

    /// From now on a stream carries this exchange.
    #[inline]
    pub(crate) fn attach(&mut self, stream: StreamId, key: ExchangeKey) {
        match &mut self.codec {
            SessionCodec::Http2(coded) => coded.codec.set_token(stream, token_of(key)),
            SessionCodec::Http1(_) | SessionCodec::Opaque => self.set_exchange(Some(key)),
        }
    }

    /// The other side of the relay that it is one side of.
    #[inline]
    pub(crate) fn partner(&self) -> Option<ConnId> {
        self.status
            .relayed
            .then_some(ConnId { index: self.link.index, generation: self.link.generation })
    }

    /// From now on it is one side of a relay; `to` is the other.
    pub(crate) fn relay_to(&mut self, to: ConnId) {
        self.link = SlabKey { index: to.index, generation: to.generation };
        self.status.relayed = true;
    }

    #[inline]
    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        match &self.role {
            Role::Upstream(upstream) => Some(upstream),
            Role::Vacant | Role::Downstream(_) => None,
        }
    }

    #[inline]
    pub(crate) fn downstream(&self) -> Option<&Downstream> {
        match &self.role {
            Role::Downstream(downstream) => Some(downstream),
            Role::Vacant | Role::Upstream(_) => None,
        }
    }

    /// A client's address, and what filters say about its requests.
    #[inline]
    pub(crate) fn peer_and_said(&mut self) -> Option<(Address, Option<&mut Said>)> {
        let Role::Downstream(downstream) = &self.role else { return None };
        Some((downstream.peer, self.codec.said_mut()))
    }
}

/// An exchange as the number that a stream carries. Generations of exchanges are odd: 0 is none.
fn token_of(key: ExchangeKey) -> u64 {
    u64::from(key.generation) << 32 | u64::from(key.index)
}

/// The other way round.
pub(crate) fn key_of(token: u64) -> Option<ExchangeKey> {
    let key = ExchangeKey { index: token as u32, generation: (token >> 32) as u32 };
    (token != 0).then_some(key)
}

/// There were never as many HTTP connections before.
#[cold]
fn new_http1(role: CodecRole) -> SessionCodec {
    SessionCodec::Http1(Box::new(Coded::new(Http1::new(role))))
}

/// The same for HTTP/2.
#[cold]
fn new_http2(role: CodecRole, config: &Http2Config) -> Box<Coded<Http2, Multiplexed>> {
    Box::new(Coded::new(Http2::new(role, config)))
}

/// Codecs of HTTP/2 that are kept for connections to come; each has tables of some kilobytes.
const HTTP2_KEPT: usize = 256;

/// All sessions of a worker.
pub(crate) struct Sessions {
    slots: Vec<Session>,
    /// Codecs of sessions that are gone, for those to come.
    #[expect(clippy::vec_box, reason = "a session takes the box as it is")]
    codecs: Vec<Box<Coded<Http1, PingPong>>>,
    #[expect(clippy::vec_box, reason = "a session takes the box as it is")]
    http2_codecs: Vec<Box<Coded<Http2, Multiplexed>>>,
    used: usize,
    limit: usize,
}

impl Sessions {
    /// Room for `limit` sessions; memory is touched when a slot is first used.
    pub(crate) fn new(limit: u32) -> Self {
        let limit = limit as usize;
        Self {
            slots: huge_capacity(limit),
            codecs: Vec::new(),
            http2_codecs: Vec::new(),
            used: 0,
            limit,
        }
    }

    /// A codec for a fresh connection.
    #[inline]
    pub(crate) fn http1(&mut self, role: CodecRole) -> SessionCodec {
        let Some(mut codec) = self.codecs.pop() else { return new_http1(role) };
        (codec.codec, codec.more) = (Http1::new(role), PingPong::default());
        SessionCodec::Http1(codec)
    }

    /// A codec for a fresh connection of HTTP/2.
    pub(crate) fn http2(
        &mut self,
        role: CodecRole,
        plan: &Http2Plan,
        now: Instant,
    ) -> SessionCodec {
        let mut coded = match self.http2_codecs.pop() {
            Some(mut coded) => {
                coded.codec.recycle(role, &plan.config);
                coded
            }
            None => new_http2(role, &plan.config),
        };
        coded.more.ends_at = plan.duration_max.map_or(Instant::NEVER, |lasts| now + lasts);
        coded.more.requests_left = plan.requests_max.unwrap_or(u32::MAX);
        SessionCodec::Http2(coded)
    }

    /// Takes back a codec that is done with.
    #[inline]
    pub(crate) fn put_codec(&mut self, codec: SessionCodec) {
        match codec {
            SessionCodec::Http1(mut codec) => {
                codec.clear();
                self.codecs.push(codec);
            }
            SessionCodec::Http2(coded) => self.put_http2(coded),
            SessionCodec::Opaque => {}
        }
    }

    fn put_http2(&mut self, mut coded: Box<Coded<Http2, Multiplexed>>) {
        if self.http2_codecs.len() < HTTP2_KEPT {
            coded.clear();
            coded.more = Multiplexed::default();
            coded.codec.recycle(CodecRole::Server, &Http2Config::default());
            self.http2_codecs.push(coded);
        }
    }

    /// Occupies the slot of `conn`; false: beyond the limit. The slot must be vacant.
    pub(crate) fn insert(&mut self, conn: ConnId, role: Role, codec: SessionCodec) -> bool {
        debug_assert!(conn.generation != VACANT, "no connection has the generation of a free slot");
        let index = conn.index as usize;
        if index >= self.limit {
            return false;
        }
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Session::vacant);
        }
        let slot = &mut self.slots[index];
        debug_assert!(matches!(slot.role, Role::Vacant), "a slot is freed before it is used again");
        *slot = Session { generation: conn.generation, role, codec, ..Session::vacant() };
        self.used += 1;
        true
    }

    /// Frees the slot. What comes back has no codec any more.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Session> {
        let slot = self.get_mut(conn)?;
        let mut session = std::mem::replace(slot, Session::vacant());
        self.used -= 1;
        self.put_codec(std::mem::take(&mut session.codec));
        Some(session)
    }

    #[inline]
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Session> {
        let slot = self.slots.get(conn.index as usize)?;
        (slot.generation == conn.generation).then_some(slot)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        let slot = self.slots.get_mut(conn.index as usize)?;
        (slot.generation == conn.generation).then_some(slot)
    }

    /// Both sessions of an exchange.
    #[inline]
    pub(crate) fn pair(
        &mut self,
        one: ConnId,
        other: ConnId,
    ) -> Option<(&mut Session, &mut Session)> {
        let slots = [one.index as usize, other.index as usize];
        let [first, second] = self.slots.get_disjoint_mut(slots).ok()?;
        let both = first.generation == one.generation && second.generation == other.generation;
        both.then_some((first, second))
    }

    /// Asks for the lines of these slots: for one of each first, as walks through page tables go on
    /// side by side then.
    #[inline]
    pub(crate) fn prefetch(&self, slots: &[u32]) {
        let at = |slot: &u32| self.slots.get(*slot as usize);
        for session in slots.iter().filter_map(at) {
            prefetch_read(session);
        }
        for session in slots.iter().filter_map(at) {
            prefetch_bytes(std::ptr::from_ref(session).cast(), size_of::<Session>());
        }
    }

    /// The other side of the relay that slot `index` is one side of.
    #[inline]
    pub(crate) fn partner_of(&self, index: u32) -> Option<u32> {
        Some(self.slots.get(index as usize)?.partner()?.index)
    }

    /// Who is in slot `index`.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<ConnId> {
        let slot = self.slots.get(index as usize)?;
        let vacant = matches!(slot.role, Role::Vacant);
        (!vacant).then_some(ConnId { index, generation: slot.generation })
    }

    /// The session in slot `index`, if there is one; for list neighbours.
    #[inline]
    pub(crate) fn by_index(&mut self, index: u32) -> Option<&mut Session> {
        self.slots.get_mut(index as usize).filter(|slot| !matches!(slot.role, Role::Vacant))
    }

    /// Slots that have ever been used.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Sessions that exist.
    pub(crate) fn len(&self) -> usize {
        self.used
    }
}
