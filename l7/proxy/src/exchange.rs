//! One request and its response in flight, or one relay.
//!
//! ```text
//!                    no idle connection                connected
//!            +-------> Connecting(token) ---------------------+
//!            |           |  failed: retry                     v        response head
//!  routed ---+-----------|------------------- idle ---------> Sent -----------------> Responding
//!            |           v                                    |  |  101, or a relay's    |
//!            +-------> Queued ---- a connection is free ------+  |  endpoint connected   | end
//!             max_connections                                 |  +------> Relaying       |
//!                                   reset before any byte:    |             | both ends  |
//!                                   back to the start <-------+             v            v
//!  local reply, failure, client gone: from any state to ------------------------------> (gone)
//! ```

use std::net::SocketAddrV4;

use sluice_base::{ClusterId, ConnId, EndpointId, Instant, Slab, SlabKey};
use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, Head, StreamId};
use sluice_l7_filter::FilterStates;

use crate::flags::ResponseFlags;
use crate::pins::Pin;
use crate::plan::{Plan, Tried};

/// Names an exchange; a stale one names nothing.
pub(crate) type ExchangeKey = SlabKey;

/// All exchanges of a worker.
pub(crate) type Exchanges = Slab<Exchange>;

/// What the exchange waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Not routed yet, or answered by us.
    Local,
    /// In the pending queue of its cluster.
    Queued,
    /// For the connection with this token.
    Connecting(u32),
    /// For the response.
    Sent,
    /// For the end of the response.
    Responding,
    /// For both ends to close.
    Relaying,
}

/// What is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A request and its response.
    Http,
    /// Opaque bytes.
    Tcp,
}

/// The upstream side of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    pub(crate) conn: ConnId,
    pub(crate) stream: StreamId,
}

/// One request and its response.
pub(crate) struct Exchange {
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
    /// The request body went past what a retry could repeat.
    pub(crate) replay_lost: bool,
    /// The request has been retried.
    pub(crate) retried: bool,
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) downstream: ConnId,
    pub(crate) stream: StreamId,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) endpoint: Option<EndpointId>,
    /// Of the endpoint, for the log.
    pub(crate) remote: Option<SocketAddrV4>,
    pub(crate) pin: Option<Pin>,
    pub(crate) head: Option<Box<Head>>,
    pub(crate) body: BodyLength,
    pub(crate) filters: FilterStates,
    /// Body bytes already sent, by reference, for a retry.
    pub(crate) replay: Chain,
    pub(crate) plan: Plan,
    pub(crate) tried: Tried,
    pub(crate) started: Instant,
    pub(crate) last_activity: Instant,
    pub(crate) route_deadline: Instant,
    pub(crate) sent_at: Instant,
    pub(crate) head_at: Instant,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Neighbours in the pending queue.
    pub(crate) queue_next: Option<ExchangeKey>,
    pub(crate) queue_prev: Option<ExchangeKey>,
}

impl Exchange {
    pub(crate) fn new(kind: Kind, downstream: ConnId, stream: StreamId, now: Instant) -> Self {
        Self {
            state: State::Local,
            kind,
            request_ended: false,
            request_forwarded: false,
            response_begun: false,
            head_sent: false,
            pending_permit: false,
            replay_lost: false,
            retried: false,
            status: 0,
            flags: ResponseFlags::NONE,
            downstream,
            stream,
            upstream: None,
            endpoint: None,
            remote: None,
            pin: None,
            head: None,
            body: BodyLength::None,
            filters: FilterStates::default(),
            replay: Chain::new(),
            plan: Plan::default(),
            tried: Tried::default(),
            started: now,
            last_activity: now,
            route_deadline: Instant::NEVER,
            sent_at: Instant::NEVER,
            head_at: Instant::NEVER,
            request_bytes: 0,
            response_bytes: 0,
            queue_next: None,
            queue_prev: None,
        }
    }

    /// Whether body bytes of the request can go upstream now.
    #[inline]
    pub(crate) fn takes_request_body(&self) -> bool {
        match self.state {
            State::Sent | State::Responding => !self.request_forwarded,
            State::Relaying => true,
            State::Local | State::Queued | State::Connecting(_) => false,
        }
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
            !self.pending_permit || matches!(self.state, State::Queued | State::Connecting(_)),
            "only who waits holds a pending permit"
        );
        debug_assert!(!self.head_sent || self.status != 0, "a head that was sent has a status");
    }
}
