//! One request and its response in flight, or a relay until its endpoint is up.
//!
//! ```text
//!                    no idle connection                connected
//!            +-------> Connecting(token) ---------------------+
//!            |           |  failed: retry                     v        response head
//!  routed ---+-----------|------------------- idle ---------> Sent -----------------> Responding
//!            |           v                                    |  |  101, or a 2xx to     |
//!            +-------> Queued ---- a connection is free ------+  |  CONNECT              | end
//!             max_connections                                 |  +------> Relaying       |
//!                                   reset before any byte:    |             | both ends  |
//!                                   back to the start <-------+             v            v
//!  local reply, failure, client gone: from any state to ------------------------------> (gone)
//!  the endpoint of a tcp listener's client connected: a relay without an exchange ----> (gone)
//! ```

mod fold;
mod folded;

use sluice_base::{ClusterId, ConnId, EndpointId, Instant, SlabKey};
use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, Head, PackedHead, StreamId};
use sluice_l7_filter::FilterStates;

use crate::address::Address;
use crate::call::Call;
use crate::flags::ResponseFlags;
use crate::limits::REPLAY_BYTES_MAX;
use crate::pins::Pin;
use crate::plan::{Plan, Tried};
use crate::tunnel::Tunnel;
use folded::Folded;

pub(crate) use fold::Way;
pub(crate) use folded::{is_folded, slot_of};

/// Names an exchange; a stale one names nothing.
pub(crate) type ExchangeKey = SlabKey;

/// What the exchange waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Not routed yet, or answered by us.
    Local,
    /// In the pending queue of its cluster.
    Queued,
    /// For the connection with this token.
    Connecting(u32),
    /// For what the endpoint takes, on the connection in this slot.
    Settling(u32),
    /// For the time to be sent again; `fresh`: to another endpoint, or on a new connection.
    BackingOff { fresh: bool },
    /// For the response.
    Sent,
    /// For the end of the response.
    Responding,
    /// For the relay that it has become to end: its session of the client has timer and counts.
    Relaying,
}

/// What is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A request and its response.
    Http,
    /// Opaque bytes: until the endpoint is up.
    Tcp,
    /// A CONNECT that ends here: a request whose answer is that a TCP connection is up.
    Connect,
}

/// The upstream side of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    pub(crate) conn: ConnId,
    pub(crate) stream: StreamId,
}

/// End of the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// All exchanges of a worker, by index and generation. A slot is used again where it lies: what an
/// exchange knows is a few hundred bytes, too much to be moved in and out for every request. Those
/// that rest are [folded], and have other keys then.
pub(crate) struct Exchanges {
    slots: Vec<Exchange>,
    folded: Folded,
    free: u32,
    /// Of both.
    used: u32,
    limit: u32,
    /// Of the newest snapshot.
    version: u64,
}

/// What an exchange that is over leaves to be given back.
pub(crate) struct Ended {
    pub(crate) pin: Option<Pin>,
    pub(crate) head: Option<Box<Head>>,
    pub(crate) trailers: Option<Box<Head>>,
    pub(crate) downstream: ConnId,
    pub(crate) stream: StreamId,
    /// Bytes of the request that its client was not given back.
    pub(crate) owed: u32,
}

impl Exchanges {
    /// Room for `limit` exchanges; memory is touched when a slot is first used.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            slots: Vec::with_capacity(limit as usize),
            folded: Folded::new(limit),
            free: NO_SLOT,
            used: 0,
            limit,
            version: 0,
        }
    }

    /// What begins from now on names ids of this version.
    pub(crate) fn adopt(&mut self, version: u64) {
        self.version = version;
    }

    /// Begins an exchange; None: the table is full. Its plan is the caller's to set.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        kind: Kind,
        downstream: ConnId,
        stream: StreamId,
        now: Instant,
    ) -> Option<(ExchangeKey, &mut Exchange)> {
        if self.used >= self.limit {
            return None;
        }
        self.used += 1;
        let version = self.version;
        let (index, exchange) = self.take_slot();
        exchange.begin(kind, downstream, stream, now);
        exchange.named = version;
        Some((ExchangeKey { index, generation: exchange.generation }, exchange))
    }

    #[inline]
    fn take_slot(&mut self) -> (u32, &mut Exchange) {
        if self.free == NO_SLOT {
            self.add_slot();
        }
        let index = self.free;
        let exchange = &mut self.slots[index as usize];
        self.free = exchange.next_free;
        (index, exchange)
    }

    /// There are fewer of them than exchanges may be.
    #[cold]
    fn add_slot(&mut self) {
        self.free = self.slots.len() as u32;
        self.slots.push(Exchange::vacant());
    }

    /// The exchange is over; its key is dead from now on.
    // Inlined always, into its few callers: what ended is too large to be handed on.
    #[inline(always)]
    pub(crate) fn end(&mut self, key: ExchangeKey) -> Option<Ended> {
        let free = self.free;
        let exchange = self.get_mut(key)?;
        exchange.generation = exchange.generation.wrapping_add(1);
        exchange.next_free = free;
        exchange.replay.clear();
        exchange.early.clear();
        let ended = Ended {
            pin: exchange.pin.take(),
            head: exchange.head.take(),
            trailers: exchange.trailers.take(),
            downstream: exchange.downstream,
            stream: exchange.stream,
            owed: exchange.request_owed,
        };
        self.free = key.index;
        self.used -= 1;
        Some(ended)
    }

    /// The exchange that `key` names, if it is still there: keys are of slots in use.
    #[inline]
    pub(crate) fn get(&self, key: ExchangeKey) -> Option<&Exchange> {
        self.slots.get(key.index as usize).filter(|slot| slot.generation == key.generation)
    }

    /// The exchange that `key` names, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: ExchangeKey) -> Option<&mut Exchange> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)
    }

    /// The key of the exchange in slot `index`, if there is one.
    pub(crate) fn key_at(&self, index: u32) -> Option<ExchangeKey> {
        let generation = self.slots.get(index as usize)?.generation;
        (generation % 2 == 1).then_some(ExchangeKey { index, generation })
    }

    /// Slots that have ever been used.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.used as usize
    }
}

/// One request and its response.
pub(crate) struct Exchange {
    /// How often the slot was taken and given up; odd while it is in use.
    generation: u32,
    /// The next free slot, if this one is.
    next_free: u32,
    pub(crate) state: State,
    pub(crate) kind: Kind,
    /// No more of the request will come.
    pub(crate) request_ended: bool,
    /// The request's end was written upstream.
    pub(crate) request_forwarded: bool,
    /// A byte of a response arrived from the current endpoint.
    pub(crate) response_begun: bool,
    /// The final head went downstream.
    pub(crate) head_sent: bool,
    /// A pending permit of the cluster is held.
    pub(crate) pending_permit: bool,
    /// A permit of the cluster to be sent again is held.
    pub(crate) retry_permit: bool,
    /// The request body went past what a retry could repeat.
    pub(crate) replay_lost: bool,
    /// The request has been retried.
    pub(crate) retried: bool,
    /// It was refused unprocessed and has been sent again without being asked to.
    pub(crate) resent: bool,
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) downstream: ConnId,
    pub(crate) stream: StreamId,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) endpoint: Option<EndpointId>,
    /// While it is queued: whose connection it waits for, if another request has asked for one that
    /// will carry both.
    pub(crate) awaits: Option<EndpointId>,
    /// Of the endpoint, for the log.
    pub(crate) remote: Option<Address>,
    pub(crate) pin: Option<Pin>,
    pub(crate) head: Option<Box<Head>>,
    /// The same while the exchange rests.
    pub(crate) packed: Option<PackedHead>,
    pub(crate) body: BodyLength,
    pub(crate) filters: FilterStates,
    /// Body bytes already sent, by reference, for a retry; or what came before a relay was up.
    pub(crate) replay: Chain,
    /// Body bytes, and what follows the body, that came before there was anybody to send them to:
    /// from a client's connection that cannot wait for one request.
    pub(crate) early: Chain,
    pub(crate) trailers: Option<Box<Head>>,
    /// Of connections with many exchanges: body bytes received and not credited, of the client's and
    /// of the endpoint's.
    pub(crate) request_owed: u32,
    pub(crate) response_owed: u32,
    /// Whether it becomes a tunnel of one stream.
    pub(crate) tunnel: Tunnel,
    /// What gRPC adds, if it is a call.
    pub(crate) call: Call,
    pub(crate) plan: Plan,
    /// Version of the snapshot whose ids it names, or of a newer one that has them all.
    pub(crate) named: u64,
    pub(crate) tried: Tried,
    pub(crate) started: Instant,
    pub(crate) last_activity: Instant,
    /// Of the route's timeout once the request is here, and of a call from its beginning.
    pub(crate) route_deadline: Instant,
    /// While it is backing off: until when.
    pub(crate) retry_at: Instant,
    pub(crate) sent_at: Instant,
    pub(crate) head_at: Instant,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Neighbours in the pending queue, or among those that wait for the same connection.
    pub(crate) queue_next: Option<ExchangeKey>,
    pub(crate) queue_prev: Option<ExchangeKey>,
}

impl Exchange {
    fn vacant() -> Self {
        Self {
            generation: 0,
            next_free: NO_SLOT,
            state: State::Local,
            kind: Kind::Http,
            request_ended: false,
            request_forwarded: false,
            response_begun: false,
            head_sent: false,
            pending_permit: false,
            retry_permit: false,
            replay_lost: false,
            retried: false,
            resent: false,
            status: 0,
            flags: ResponseFlags::NONE,
            downstream: ConnId { index: 0, generation: 0 },
            stream: StreamId::CONNECTION,
            upstream: None,
            endpoint: None,
            awaits: None,
            remote: None,
            pin: None,
            head: None,
            packed: None,
            body: BodyLength::None,
            filters: FilterStates::default(),
            replay: Chain::new(),
            early: Chain::new(),
            trailers: None,
            request_owed: 0,
            response_owed: 0,
            tunnel: Tunnel::No,
            call: Call::NONE,
            plan: Plan::default(),
            named: 0,
            tried: Tried::default(),
            started: Instant::ZERO,
            last_activity: Instant::ZERO,
            route_deadline: Instant::NEVER,
            retry_at: Instant::NEVER,
            sent_at: Instant::NEVER,
            head_at: Instant::NEVER,
            request_bytes: 0,
            response_bytes: 0,
            queue_next: None,
            queue_prev: None,
        }
    }

    /// Begins where it lies: every field is set here or by the caller, and none is moved.
    #[inline]
    fn begin(&mut self, kind: Kind, downstream: ConnId, stream: StreamId, now: Instant) {
        // By name, so that a new field cannot be forgotten.
        let Self {
            generation,
            next_free: _,
            state,
            kind: its_kind,
            request_ended,
            request_forwarded,
            response_begun,
            head_sent,
            pending_permit,
            retry_permit,
            replay_lost,
            retried,
            resent,
            status,
            flags,
            downstream: its_downstream,
            stream: its_stream,
            upstream,
            endpoint,
            awaits,
            remote,
            pin,
            head,
            packed,
            body,
            filters,
            replay,
            early,
            trailers,
            request_owed,
            response_owed,
            tunnel,
            call,
            plan: _,
            named: _,
            tried,
            started,
            last_activity,
            route_deadline,
            retry_at: _,
            sent_at,
            head_at,
            request_bytes,
            response_bytes,
            queue_next,
            queue_prev,
        } = self;
        debug_assert!(
            pin.is_none()
                && head.is_none()
                && packed.is_none()
                && trailers.is_none()
                && replay.is_empty()
                && early.is_empty(),
            "what an exchange holds is given back at its end"
        );
        *generation = generation.wrapping_add(1);
        (*state, *its_kind, *status, *flags) = (State::Local, kind, 0, ResponseFlags::NONE);
        (*request_ended, *request_forwarded, *response_begun) = (false, false, false);
        (*head_sent, *pending_permit, *replay_lost, *retried) = (false, false, false, false);
        (*resent, *retry_permit, *request_owed, *response_owed) = (false, false, 0, 0);
        (*its_downstream, *its_stream) = (downstream, stream);
        (*upstream, *endpoint, *awaits, *remote) = (None, None, None, None);
        *tunnel = Tunnel::No;
        call.clear();
        *body = BodyLength::None;
        *filters = FilterStates::default();
        tried.clear();
        (*started, *last_activity) = (now, now);
        (*route_deadline, *sent_at, *head_at) = (Instant::NEVER, Instant::NEVER, Instant::NEVER);
        (*request_bytes, *response_bytes) = (0, 0);
        (*queue_next, *queue_prev) = (None, None);
    }

    /// Keeps a reference to body bytes that are to be sent, as long as they may be sent once more;
    /// `refusable`: on a stream, which may be refused and is sent again whatever the route says.
    #[inline]
    pub(crate) fn copy_for_replay(&mut self, bytes: &Chain, refusable: bool) {
        if self.is_kept_for_replay(bytes.len(), refusable) {
            self.replay.append(&mut bytes.clone_range(0, bytes.len()));
        }
    }

    /// The same of bytes that have been sent as a copy.
    #[inline]
    pub(crate) fn keep_for_replay(&mut self, mut bytes: Chain, refusable: bool) {
        if self.is_kept_for_replay(bytes.len(), refusable) {
            self.replay.append(&mut bytes);
        }
    }

    /// Whether so many bytes more are kept, or none any more.
    #[inline]
    fn is_kept_for_replay(&mut self, count: usize, refusable: bool) -> bool {
        if self.replay_lost {
            return false;
        }
        let may_be = self.plan.retries_left > 0 || (!self.resent && refusable);
        let repeatable = may_be && !self.response_begun;
        let is_kept = repeatable && self.replay.len() + count <= REPLAY_BYTES_MAX;
        if !is_kept {
            self.replay_lost = true;
            self.replay = Chain::new();
        }
        is_kept
    }

    /// Whether body bytes of the request can go upstream now.
    #[inline]
    pub(crate) fn takes_request_body(&self) -> bool {
        match self.state {
            State::Sent | State::Responding => !self.request_forwarded && !self.tunnel.is_asked(),
            State::Relaying => true,
            State::Local
            | State::Queued
            | State::Connecting(_)
            | State::Settling(_)
            | State::BackingOff { .. } => false,
        }
    }

    /// Whether there is an endpoint to come whom the request can be sent to.
    #[inline]
    pub(crate) fn waits_for_connection(&self) -> bool {
        match self.state {
            State::Queued
            | State::Connecting(_)
            | State::Settling(_)
            | State::BackingOff { .. } => true,
            State::Local | State::Sent | State::Responding | State::Relaying => false,
        }
    }

    /// What was sent of the request is not repeated any more.
    #[inline]
    pub(crate) fn forget_replay(&mut self) {
        if !self.replay.is_empty() {
            self.replay = Chain::new();
            self.replay_lost = true;
        }
    }

    /// Whether what comes of the request is kept until there is somebody to send it to.
    #[inline]
    pub(crate) fn keeps_early_parts(&self) -> bool {
        self.waits_for_connection() || self.tunnel.is_asked()
    }

    /// Whether parts of the request came before there was anybody to send them to.
    #[inline]
    pub(crate) fn has_early_parts(&self) -> bool {
        !self.early.is_empty() || self.trailers.is_some()
    }

    /// When the exchange must have ended or moved.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        let idle = match self.plan.idle_timeout {
            Some(timeout) => self.last_activity + timeout,
            None => Instant::NEVER,
        };
        idle.min(self.route_deadline)
    }

    /// The request is here: the route's time for the response runs from `from` on. A call may have
    /// a deadline of its own.
    #[inline]
    pub(crate) fn await_response(&mut self, from: Instant) {
        let by_route = self.plan.timeout.map_or(Instant::NEVER, |timeout| from + timeout);
        self.route_deadline = by_route.min(self.call.deadline());
    }

    /// The cluster it goes to, once routed.
    #[inline]
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.plan.cluster
    }

    /// What must be true between any two calls.
    pub(crate) fn invariants(&self) {
        debug_assert_eq!(
            self.upstream.is_some(),
            matches!(self.state, State::Sent | State::Responding | State::Relaying),
            "an upstream connection is held exactly while something was sent on it"
        );
        debug_assert!(
            !self.pending_permit || self.waits_for_connection(),
            "only who waits holds a pending permit"
        );
        debug_assert!(
            !self.retry_permit || (self.retried && !self.head_sent),
            "only who was sent again and is not answered holds a permit for it"
        );
        debug_assert!(!self.head_sent || self.status != 0, "a head that was sent has a status");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_key_names_nothing_and_full_is_an_answer() {
        let conn = ConnId { index: 3, generation: 1 };
        let mut table = Exchanges::new(1);
        let now = Instant::from_millis(7);
        let (first, exchange) =
            table.begin(Kind::Http, conn, StreamId::new(5), now).expect("room for one");
        exchange.status = 200;
        exchange.request_bytes = 9;
        exchange.tried.push(EndpointId(4));
        assert_eq!(table.key_at(0), Some(first));
        assert!(table.begin(Kind::Http, conn, StreamId::new(6), now).is_none());
        assert_eq!(table.end(first).map(|ended| ended.downstream), Some(conn));
        assert!(table.end(first).is_none() && table.get(first).is_none());
        assert_eq!((table.len(), table.key_at(0)), (0, None));
        let (second, exchange) =
            table.begin(Kind::Tcp, conn, StreamId::CONNECTION, now).expect("room again");
        assert_eq!((exchange.status, exchange.request_bytes), (0, 0), "nothing is left over");
        assert!(exchange.tried.as_slice().is_empty() && exchange.kind == Kind::Tcp);
        assert_eq!(second.index, first.index, "the slot is used again");
        assert!(table.get_mut(first).is_none() && table.get_mut(second).is_some());
    }
}
