//! Datagrams between clients and endpoints.
//!
//! A *session* is what one address and port of a client sends to one listener, and what comes back.
//! All of it goes to one endpoint, from a source port of its own, so that answers name their session.
//!
//! ```text
//!   client ── flow, token 2n ──> session n ── flow, token 2n + 1 ──> endpoint
//! ```
//!
//! Both flows are the stack's; it finds them by their addresses and says their token, and a token
//! names session and side. So a datagram costs one look-up, and leaves in the buffer in which it came.
//!
//! # Order of calls
//!
//! For what the stack says: [`Proxy::handle_datagram`], whose answer is sent at once;
//! [`Proxy::handle_stranger`]; [`Proxy::handle_unreachable`]. After the latter two, and after timers,
//! [`Proxy::pop_udp_verb`] until None, where `Accept` and `Connect` are answered by
//! [`Proxy::udp_result`]. What could not be sent is told by [`Proxy::datagram_dropped`].
//!
//! # How a session ends
//!
//! Nothing happened for `idle_timeout`; its listener, cluster or endpoint is gone from the
//! configuration, or its listener sends elsewhere now; one of its ends is unreachable. What the
//! client sends next begins another session. The access log has a line of each at its end. An
//! endpoint that was unreachable is passed over for [`AVOIDED`] if there is another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_base::{ClusterId, EndpointId, Instant, ListenerId, Slab, UdpId};
use sluice_buf::Packet;
use sluice_config_model::Protocol;
use sluice_l7_balance::{Lease, WorkerLease, hash_source};

use crate::events::ConnectRefused;
use crate::flags::ResponseFlags;
use crate::limits::{AVOIDED, AVOIDED_MAX, SWEEP_PER_CALL};
use crate::proxy::Proxy;
use crate::timers::Wheel;

/// What the stack is asked to do with datagrams.
#[derive(Debug)]
pub enum UdpVerb {
    /// Make a flow of what `peer` sends to `local`; answered by [`Proxy::udp_result`].
    Accept {
        /// What the flow's datagrams are to carry.
        token: u32,
        /// Our address.
        local: SocketAddr,
        /// The client.
        peer: SocketAddr,
    },
    /// Make a flow to an endpoint; answered by [`Proxy::udp_result`].
    Connect {
        /// What the flow's datagrams are to carry.
        token: u32,
        /// The endpoint.
        remote: SocketAddr,
    },
    /// Send the first datagram; a failure is told by [`Proxy::datagram_dropped`].
    Send {
        /// Of the session's side that it came from.
        token: u32,
        /// To whom.
        flow: UdpId,
        /// What.
        payload: Packet,
    },
    /// End a flow.
    Close {
        /// Which one.
        flow: UdpId,
    },
}

/// Which end of a session a token names.
const CLIENT: u32 = 0;
const ENDPOINT: u32 = 1;

/// One session.
#[derive(Debug)]
pub(crate) struct UdpSession {
    pub(crate) listener: ListenerId,
    pub(crate) cluster: ClusterId,
    endpoint: EndpointId,
    /// The listener's address when it began.
    local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) remote: SocketAddr,
    client: Option<UdpId>,
    upstream: Option<UdpId>,
    /// The datagram that began it, until there is a way to the endpoint.
    first: Option<Packet>,
    idle_timeout: Duration,
    pub(crate) started: Instant,
    /// Payload bytes from the client, and to it.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// All sessions of a worker.
pub(crate) struct Udp {
    pub(crate) sessions: Slab<UdpSession>,
    pub(crate) timers: Wheel,
    verbs: std::collections::VecDeque<UdpVerb>,
    /// `max_sessions` of each listener.
    leases: Vec<Option<WorkerLease>>,
    /// Endpoints that did not answer, and until when others are preferred; the newest replaces the
    /// oldest.
    avoided: Vec<(EndpointId, Instant)>,
    avoided_next: usize,
}

impl Udp {
    pub(crate) fn new(sessions_max: u32) -> Self {
        Self {
            sessions: Slab::new(sessions_max, sessions_max),
            timers: Wheel::with_capacity(sessions_max as usize),
            verbs: std::collections::VecDeque::with_capacity(4 * SWEEP_PER_CALL),
            leases: Vec::new(),
            avoided: Vec::with_capacity(AVOIDED_MAX),
            avoided_next: 0,
        }
    }

    /// Takes over the limit of a listener.
    pub(crate) fn sync(&mut self, listener: ListenerId, sessions: &Arc<Lease>) {
        if self.leases.len() <= listener.index() {
            self.leases.resize_with(listener.index() + 1, || None);
        }
        let slot = &mut self.leases[listener.index()];
        // The id may have a new owner: the old one has no session left.
        if slot.as_ref().is_none_or(|lease| !Arc::ptr_eq(lease.lease(), sessions)) {
            *slot = Some(WorkerLease::new(Arc::clone(sessions)));
        }
    }

    fn lease(&mut self, listener: ListenerId) -> Option<&mut WorkerLease> {
        self.leases.get_mut(listener.index())?.as_mut()
    }

    fn avoid(&mut self, endpoint: EndpointId, until: Instant) {
        if let Some(entry) = self.avoided.iter_mut().find(|(id, _)| *id == endpoint) {
            entry.1 = until;
        } else if self.avoided.len() < AVOIDED_MAX {
            self.avoided.push((endpoint, until));
        } else {
            self.avoided[self.avoided_next] = (endpoint, until);
            self.avoided_next = (self.avoided_next + 1) % AVOIDED_MAX;
        }
    }

    /// Whom the next session is not sent to if there is another.
    fn avoided(&self, now: Instant, out: &mut [EndpointId; AVOIDED_MAX]) -> usize {
        let mut count = 0;
        let current = self.avoided.iter().filter(|(_, until)| *until > now);
        for (slot, (endpoint, _)) in out.iter_mut().zip(current) {
            *slot = *endpoint;
            count += 1;
        }
        count
    }
}

impl Proxy {
    /// A datagram of a session: to whom it goes on. None: it is dropped, and counted.
    #[inline]
    pub fn handle_datagram(
        &mut self,
        token: u32,
        payload: Packet,
        now: Instant,
    ) -> Option<(UdpId, Packet)> {
        let (index, bytes) = (token >> 1, payload.len() as u64);
        let Some(session) = self.udp.sessions.at_mut(index) else {
            self.counters.stale_event.increment();
            return None;
        };
        self.udp.timers.set(index, now + session.idle_timeout);
        let listener = self.listeners.get(session.listener.index()).and_then(Option::as_ref);
        let cluster = self.pools.cluster(session.cluster);
        let (Some(listener), Some(cluster)) = (listener, cluster) else {
            self.counters.stale_event.increment();
            return None;
        };
        let (listener, cluster) = (&*listener.counters, &*cluster.counters);
        let to = if token & 1 == CLIENT {
            listener.downstream_sess_rx_datagrams.increment();
            listener.downstream_sess_rx_bytes.add(bytes);
            cluster.udp_sess_tx_datagrams.increment();
            cluster.upstream_cx_tx_bytes_total.add(bytes);
            session.received += bytes;
            session.upstream
        } else {
            cluster.udp_sess_rx_datagrams.increment();
            cluster.upstream_cx_rx_bytes_total.add(bytes);
            listener.downstream_sess_tx_datagrams.increment();
            listener.downstream_sess_tx_bytes.add(bytes);
            session.sent += bytes;
            session.client
        };
        to.map(|flow| (flow, payload))
    }

    /// What [`Proxy::handle_datagram`] gave for `token` could not be sent.
    #[cold]
    pub fn datagram_dropped(&mut self, token: u32) {
        let Some(session) = self.udp.sessions.at_mut(token >> 1) else { return };
        let (listener, cluster) = (session.listener, session.cluster);
        if token & 1 == CLIENT {
            if let Some(state) = self.pools.cluster(cluster) {
                state.counters.udp_sess_tx_errors.increment();
            }
        } else if let Some(state) = self.listener(listener) {
            state.counters.downstream_sess_tx_errors.increment();
        }
    }

    /// A datagram to a listener from somebody without a session: the beginning of one.
    pub fn handle_stranger(
        &mut self,
        listener: ListenerId,
        local: SocketAddr,
        peer: SocketAddr,
        payload: Packet,
        now: Instant,
    ) {
        self.wires.now = now;
        let Some(state) = self.listener(listener) else {
            self.counters.unknown_listener.increment();
            return;
        };
        let counters = Arc::clone(&state.counters);
        counters.downstream_sess_rx_datagrams.increment();
        counters.downstream_sess_rx_bytes.add(payload.len() as u64);
        let compiled = self.pins.current().and_then(|snapshot| {
            let compiled = snapshot.listener(listener)?;
            let Protocol::Udp { cluster, .. } = compiled.listener.protocol else { return None };
            Some((compiled, cluster, snapshot.cluster(cluster)?))
        });
        let Some((compiled, cluster, endpoints)) = compiled.filter(|_| !self.draining) else {
            return counters.downstream_sess_no_route.increment();
        };
        let idle_timeout = compiled.listener.idle_timeout.unwrap_or(Duration::MAX);
        self.pools.sync(cluster, endpoints);
        let mut avoided = [EndpointId(0); AVOIDED_MAX];
        let count = self.udp.avoided(now, &mut avoided);
        let hash = hash_source(peer.ip());
        let picked = endpoints.endpoints.pick_by_hash(
            hash,
            &mut self.load,
            &mut self.rng,
            &avoided[..count],
        );
        let Some(endpoint) = picked.copied() else {
            endpoints_missing(self, cluster);
            return counters.downstream_sess_no_route.increment();
        };
        if !self.udp.lease(listener).is_some_and(WorkerLease::try_take) {
            return counters.downstream_sess_overflow.increment();
        }
        let received = payload.len() as u64;
        let session = UdpSession {
            listener,
            cluster,
            endpoint: endpoint.id,
            local,
            peer,
            remote: endpoint.address,
            client: None,
            upstream: None,
            first: Some(payload),
            idle_timeout,
            started: now,
            received,
            sent: 0,
        };
        let Ok(key) = self.udp.sessions.insert(session) else {
            self.counters.udp_session_table_full.increment();
            if let Some(lease) = self.udp.lease(listener) {
                lease.give_back();
            }
            return counters.downstream_sess_overflow.increment();
        };
        counters.downstream_sess_total.increment();
        counters.downstream_sess_active.increment();
        self.load.begin(endpoint.id);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_total.increment();
            state.counters.upstream_cx_active.increment();
        }
        self.udp.timers.set(key.index, now + idle_timeout);
        let token = key.index << 1 | CLIENT;
        self.udp.verbs.push_back(UdpVerb::Accept { token, local, peer });
    }

    /// The answer to [`UdpVerb::Accept`] and [`UdpVerb::Connect`].
    pub fn udp_result(&mut self, token: u32, result: Result<UdpId, ConnectRefused>, now: Instant) {
        self.wires.now = now;
        let index = token >> 1;
        let Some(session) = self.udp.sessions.at_mut(index) else {
            if let Ok(flow) = result {
                self.udp.verbs.push_back(UdpVerb::Close { flow });
            }
            return;
        };
        match (result, token & 1) {
            (Ok(flow), CLIENT) => {
                session.client = Some(flow);
                let (token, remote) = (index << 1 | ENDPOINT, session.remote);
                self.udp.verbs.push_back(UdpVerb::Connect { token, remote });
            }
            (Ok(flow), _) => {
                session.upstream = Some(flow);
                let first = session.first.take().map(|payload| (payload, session.cluster));
                if let Some((payload, cluster)) = first {
                    if let Some(state) = self.pools.cluster(cluster) {
                        state.counters.udp_sess_tx_datagrams.increment();
                        state.counters.upstream_cx_tx_bytes_total.add(payload.len() as u64);
                    }
                    let token = index << 1 | CLIENT;
                    self.udp.verbs.push_back(UdpVerb::Send { token, flow, payload });
                }
            }
            (Err(_), CLIENT) => {
                let listener = session.listener;
                if let Some(state) = self.listener(listener) {
                    state.counters.downstream_sess_rx_errors.increment();
                }
                self.end_udp_session(index, ResponseFlags::OVERLOAD);
            }
            (Err(_), _) => {
                let cluster = session.cluster;
                if let Some(state) = self.pools.cluster(cluster) {
                    state.counters.upstream_cx_connect_fail.increment();
                }
                self.end_udp_session(index, ResponseFlags::UPSTREAM_CONNECT_FAILURE);
            }
        }
    }

    /// What a session sent to one of its ends did not arrive.
    pub fn handle_unreachable(&mut self, token: u32, now: Instant) {
        self.wires.now = now;
        let Some(session) = self.udp.sessions.at_mut(token >> 1) else { return };
        let (listener, cluster, endpoint) = (session.listener, session.cluster, session.endpoint);
        let why = if token & 1 == ENDPOINT {
            if let Some(state) = self.pools.cluster(cluster) {
                state.counters.udp_sess_rx_errors.increment();
            }
            self.udp.avoid(endpoint, now + AVOIDED);
            ResponseFlags::UPSTREAM_TERMINATION
        } else {
            if let Some(state) = self.listener(listener) {
                state.counters.downstream_sess_tx_errors.increment();
            }
            ResponseFlags::DOWNSTREAM_TERMINATION
        };
        self.end_udp_session(token >> 1, why);
    }

    /// The next thing for the stack to do about datagrams.
    #[inline]
    pub fn pop_udp_verb(&mut self) -> Option<UdpVerb> {
        self.udp.verbs.pop_front()
    }

    /// Ends sessions on which nothing happened; a part of them per call.
    pub(crate) fn handle_udp_timers(&mut self, now: Instant) {
        for _ in 0..SWEEP_PER_CALL {
            let Some(index) = self.udp.timers.pop_due(now) else { return };
            let Some(session) = self.udp.sessions.at_mut(index) else { continue };
            let listener = session.listener;
            if let Some(state) = self.listener(listener) {
                state.counters.idle_timeout.increment();
            }
            self.end_udp_session(index, ResponseFlags::NONE);
        }
    }

    /// After a snapshot was adopted, or when a drain began: whether the session goes on.
    pub(crate) fn sweep_udp_session(&mut self, index: u32) {
        let now = self.wires.now;
        let Some(session) = self.udp.sessions.at_mut(index) else { return };
        let compiled = self.pins.current().and_then(|snapshot| snapshot.listener(session.listener));
        let kept = compiled.filter(|compiled| {
            let protocol = &compiled.listener.protocol;
            compiled.listener.address.port() == session.local.port()
                && matches!(protocol, Protocol::Udp { cluster, .. } if *cluster == session.cluster)
                && self.pools.has_endpoint(session.cluster, session.endpoint)
        });
        let Some(compiled) = kept else { return self.end_udp_session(index, ResponseFlags::NONE) };
        session.idle_timeout = compiled.listener.idle_timeout.unwrap_or(Duration::MAX);
        if self.draining {
            // Answers that are on their way still come; who goes on talking has until the end.
            session.idle_timeout = session.idle_timeout.min(crate::limits::DRAIN_IDLE);
        }
        self.udp.timers.set_earlier(index, now + session.idle_timeout);
    }

    fn end_udp_session(&mut self, index: u32, flags: ResponseFlags) {
        let Some(key) = self.udp.sessions.key_at(index) else { return };
        let Some(session) = self.udp.sessions.remove(key) else { return };
        self.record_udp_session(&session, flags);
        self.udp.timers.clear(index);
        for flow in [session.client, session.upstream].into_iter().flatten() {
            self.udp.verbs.push_back(UdpVerb::Close { flow });
        }
        self.load.end(session.endpoint);
        if let Some(lease) = self.udp.lease(session.listener) {
            lease.give_back();
        }
        if let Some(state) = self.listener(session.listener) {
            state.counters.downstream_sess_active.subtract(1);
        }
        if let Some(state) = self.pools.cluster(session.cluster) {
            state.counters.upstream_cx_active.subtract(1);
        }
    }

    /// Sessions of datagrams.
    #[must_use]
    pub fn udp_sessions(&self) -> usize {
        self.udp.sessions.len()
    }
}

#[cold]
fn endpoints_missing(proxy: &Proxy, cluster: ClusterId) {
    if let Some(state) = proxy.pools.cluster(cluster) {
        state.counters.upstream_cx_none_healthy.increment();
    }
}

impl UdpSession {
    /// What it names, with the address that the endpoint had.
    pub(crate) fn named(&self) -> (EndpointId, SocketAddr) {
        (self.endpoint, self.remote)
    }
}
