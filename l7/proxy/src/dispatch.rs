//! From a routed request to a connection: an idle one, a new one, or a place in the queue.

use std::net::SocketAddr;

use sluice_base::{ClusterId, ConnId, EndpointId, Instant};
use sluice_config_model::HttpVersion;
use sluice_l7_core::EncodeError;

use crate::exchange::{self, ExchangeKey, Kind, State};
use crate::limits::PENDING_POLL;
use crate::pool::Attempt;
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::retry::Failure;
use crate::sessions::{NO_SESSION, Upstream};
use crate::tunnel::Tunnel;
use crate::verbs::Verb;
use crate::websocket;

/// The balancer's choice for an exchange.
struct Picked {
    /// A request, not a relay.
    http: bool,
    /// To be sent on a connection of HTTP/2.
    http2: bool,
    /// The request has not been sent there.
    untried: bool,
    /// It is for HTTP/2 and asks in the words of HTTP/1.1 to speak something else.
    upgrades: bool,
    cluster: ClusterId,
    endpoint: EndpointId,
    address: SocketAddr,
}

impl Proxy {
    /// Sends the request to an endpoint: on an idle connection unless `fresh`, else on a new one,
    /// else it waits.
    pub(crate) fn dispatch(&mut self, key: ExchangeKey, fresh: bool) {
        let Some(picked) = self.pick(key) else { return };
        let Picked { http, http2, untried, upgrades, cluster, endpoint, address } = picked;
        if upgrades && !self.begin_upgrade(key) {
            return;
        }
        // One that carries others as well is known to work, if it did not fail this very request.
        if http && (!fresh || (http2 && untried)) {
            let idle = self.pools.idle_at(endpoint, http2);
            if let Some(conn) = self.take_idle(idle) {
                self.send_request(key, conn);
                return;
            }
        }
        if http2 && self.pools.is_connecting(endpoint) {
            self.queue(key, cluster, Some(endpoint));
            return;
        }
        let Some(state) = self.pools.cluster_mut(cluster) else { return };
        if state.connections.try_take() {
            if self.draw_pending(key, cluster) {
                self.connect(key, cluster, endpoint, address, http2);
            } else {
                self.give_connection_back(cluster);
            }
            return;
        }
        state.counters.upstream_cx_overflow.increment();
        if http && let Some(conn) = self.take_idle(self.pools.idle_of(cluster, http2)) {
            // Another endpoint than the balancer's choice, but one that can answer now.
            self.send_request(key, conn);
            return;
        }
        self.queue(key, cluster, None);
    }

    /// The request waits for a connection of its cluster; for one to a certain endpoint, if it would
    /// have had that as well.
    fn queue(&mut self, key: ExchangeKey, cluster: ClusterId, awaits: Option<EndpointId>) {
        if !self.draw_pending(key, cluster) {
            return;
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.state = State::Queued;
            exchange.awaits = awaits;
        }
        self.pools.enqueue(cluster, key, &mut self.exchanges);
        self.poll_at = self.poll_at.min(self.wires.now + PENDING_POLL);
    }

    /// The endpoint to try; None: the request has been answered.
    #[inline]
    fn pick(&mut self, key: ExchangeKey) -> Option<Picked> {
        let exchange = self.exchanges.get(key)?;
        let http = exchange.kind == Kind::Http;
        let snapshot = exchange.pin.as_ref().and_then(|pin| self.pins.get(pin));
        let cluster = exchange.cluster();
        let Some(compiled) = cluster.and_then(|id| snapshot?.cluster(id)) else {
            self.reply(key, Reply::NO_CLUSTER);
            return None;
        };
        let cluster = compiled.id;
        let http2 = http
            && match compiled.http {
                HttpVersion::Http11 => false,
                HttpVersion::Http2 => true,
                // Whoever speaks both takes WebSockets in HTTP/1.1 for certain.
                HttpVersion::Same => {
                    exchange.tunnel == Tunnel::No && self.is_multiplexed(exchange.downstream)
                }
            };
        let upgrades = http2
            && exchange.tunnel == Tunnel::No
            && exchange.head.as_ref().is_some_and(|head| head.is_upgrade());
        let idle_to_check = self.pools.sync(cluster, compiled);
        let tried = exchange.tried.as_slice();
        let picked = compiled.endpoints.pick(&mut self.load, &mut self.rng, tried);
        let picked = picked.map(|endpoint| Picked {
            http,
            http2,
            untried: !tried.contains(&endpoint.id),
            upgrades,
            cluster,
            endpoint: endpoint.id,
            address: endpoint.address,
        });
        if idle_to_check {
            self.close_unkept(cluster);
        }
        if picked.is_none() {
            if let Some(state) = self.pools.cluster(cluster) {
                state.counters.upstream_cx_none_healthy.increment();
            }
            self.reply(key, Reply::NO_HEALTHY_UPSTREAM);
        }
        picked
    }

    /// A permit to wait; without one the request has been answered.
    pub(crate) fn draw_pending(&mut self, key: ExchangeKey, cluster: ClusterId) -> bool {
        let Some(state) = self.pools.cluster_mut(cluster) else { return false };
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        if exchange.pending_permit {
            return true;
        }
        if !state.pending.try_take() {
            state.counters.upstream_rq_pending_overflow.increment();
            self.reply(key, Reply::OVERFLOW);
            return false;
        }
        state.counters.upstream_rq_pending_total.increment();
        state.counters.upstream_rq_pending_active.increment();
        exchange.pending_permit = true;
        true
    }

    /// The request waits no more.
    pub(crate) fn give_pending_back(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        if !std::mem::take(&mut exchange.pending_permit) {
            return;
        }
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster_mut(id)) {
            state.pending.give_back();
            state.counters.upstream_rq_pending_active.subtract(1);
        }
    }

    /// Takes an idle connection, by session index.
    #[inline]
    fn take_idle(&mut self, index: u32) -> Option<ConnId> {
        if index == NO_SESSION {
            return None;
        }
        let conn = self.sessions.at(index)?;
        // One that carries many stays where it is found.
        if !self.is_multiplexed(conn) {
            self.pools.unpark(conn, &mut self.sessions);
        }
        Some(conn)
    }

    /// Asks for a new connection; the caller holds a connection permit for it.
    fn connect(
        &mut self,
        key: ExchangeKey,
        cluster: ClusterId,
        endpoint: EndpointId,
        remote: SocketAddr,
        http2: bool,
    ) {
        let made_with = self.pools.cluster(cluster).map_or(0, |state| state.made_with);
        let named = self.exchanges.get(key).map_or(0, |exchange| exchange.named);
        self.named.note(named);
        let exchange = Some(key);
        let attempt = Attempt { exchange, cluster, endpoint, remote, made_with, http2, named };
        let Ok(attempt) = self.pools.attempts.insert(attempt) else {
            self.give_connection_back(cluster);
            self.fail_upstream(key, Failure::Connect);
            return;
        };
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_cx_total.increment();
            state.counters.upstream_cx_active.increment();
        }
        if http2 {
            self.pools.count_connecting(endpoint, true);
        }
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.state = State::Connecting(attempt.index);
            exchange.endpoint = Some(endpoint);
            exchange.remote = Some(remote.into());
            exchange.tried.push(endpoint);
        }
        let token = attempt.index;
        self.wires.verbs.push_back(Verb::Connect { token, remote, cluster });
    }

    /// Writes the request, as far as it is here, to a connection that is up and free.
    pub(crate) fn send_request(&mut self, key: ExchangeKey, conn: ConnId) {
        let now = self.wires.now;
        let Some(exchange) = self.exchanges.get_mut(key) else {
            self.offer(conn);
            return;
        };
        if exchange.pending_permit {
            self.give_pending_back(key);
            self.send_request(key, conn);
            return;
        }
        if matches!(exchange.tunnel, Tunnel::Asked(_)) {
            if self.word_tunnel(key, conn) {
                self.send_request(key, conn);
            }
            return;
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(&Upstream { cluster, endpoint, remote, .. }) = session.upstream() else { return };
        let Some(stream) = session.codec.open_stream() else {
            // It could not carry another request after all.
            exchange.state = State::Local;
            if self.is_multiplexed(conn) {
                self.pools.unpark(conn, &mut self.sessions);
                self.settle_multiplexed(conn);
            } else {
                self.close_upstream(conn);
            }
            self.dispatch(key, true);
            return;
        };
        session.attach(stream, key);
        exchange.upstream = Some(exchange::Upstream { conn, stream });
        exchange.state = State::Sent;
        exchange.sent_at = now;
        exchange.last_activity = now;
        if exchange.endpoint != Some(endpoint) || exchange.tried.as_slice().is_empty() {
            exchange.endpoint = Some(endpoint);
            exchange.remote = Some(remote);
            exchange.tried.push(endpoint);
        }
        self.load.begin(endpoint);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_rq_total.increment();
            state.counters.upstream_rq_active.increment();
            if state.life.max_requests.is_some_and(|most| stream.number() >= most)
                && !session.codec.is_multiplexed()
            {
                state.counters.upstream_cx_max_requests.increment();
                session.drain_codec(&mut self.wires);
            }
        }
        if exchange.call.deadline() != Instant::NEVER {
            exchange.call.say_time_left(exchange.head.as_deref_mut(), now);
        }
        let Some(head) = &exchange.head else { return };
        let mut written = session.encode_head(stream, head, exchange.body, &mut self.wires);
        if written.is_ok() && !exchange.replay.is_empty() {
            let len = exchange.replay.len();
            let mut again = exchange.replay.clone_range(0, len);
            written = session.encode_body(stream, &mut again, &mut self.wires).map(drop);
        }
        let (more, downstream) = (!exchange.request_ended, exchange.downstream);
        let multiplexed = session.codec.is_multiplexed();
        if let Tunnel::Worded(form) = exchange.tunnel {
            // What the client says to the other end waits until there is one.
            exchange.tunnel = Tunnel::Asked(form);
            exchange.head.as_deref_mut().map(websocket::ask_by_get);
        } else if written.is_ok() && exchange.has_early_parts() {
            written = self.send_early_parts(key);
        } else if written.is_ok() && !more {
            exchange.request_forwarded = true;
            if !exchange.body.is_none() {
                written = session.encode_end(stream, None, &mut self.wires);
            }
        }
        if written.is_err() {
            self.fail_local(key);
            return;
        }
        if multiplexed {
            self.request_sent(conn);
        } else if more {
            // Mostly the body is here already, and leaves with the head in one piece.
            self.touch_output(conn);
        } else {
            self.flush(conn);
        }
        if more && !self.is_multiplexed(downstream) {
            self.make_ready(downstream);
        }
    }

    /// Writes what came of the request before there was anybody to send it to.
    #[cold]
    fn send_early_parts(&mut self, key: ExchangeKey) -> Result<(), EncodeError> {
        let Some(exchange) = self.exchanges.get_mut(key) else { return Ok(()) };
        let early = std::mem::take(&mut exchange.early);
        if !early.is_empty() && !self.forward_request_body(key, early) {
            // It has been answered.
            return Ok(());
        }
        let Some(exchange) = self.exchanges.get_mut(key) else { return Ok(()) };
        let Some(upstream) = exchange.upstream.filter(|_| exchange.request_ended) else {
            return Ok(());
        };
        exchange.request_forwarded = true;
        let trailers = exchange.trailers.take();
        let Some(session) = self.sessions.get_mut(upstream.conn) else { return Ok(()) };
        let written = session.encode_end(upstream.stream, trailers.as_deref(), &mut self.wires);
        if let Some(head) = trailers {
            self.wires.put_head(head);
        }
        written
    }

    /// Connections became free or permits came back: serves who has waited longest.
    pub(crate) fn serve_queue(&mut self, cluster: ClusterId) {
        while let Some(key) = self.pools.first_waiting(cluster) {
            let is_idle = |http2| self.pools.idle_of(cluster, http2) != NO_SESSION;
            let idle = is_idle(false) || is_idle(true);
            let Some(state) = self.pools.cluster_mut(cluster) else { return };
            if state.connections.try_take() {
                state.connections.give_back();
            } else if !idle {
                return;
            }
            self.pools.dequeue(cluster, key, &mut self.exchanges);
            if let Some(exchange) = self.exchanges.get_mut(key) {
                exchange.state = State::Local;
            }
            self.dispatch(key, false);
            if self.exchanges.get(key).is_some_and(|exchange| exchange.state == State::Queued) {
                // Another worker was faster; time brings us back.
                return;
            }
        }
    }
}

/// Requests that waited for a connection which did not come about.
impl Proxy {
    /// Takes those that waited for the endpoint out of the queue, unless another connection to it is
    /// on its way: what happened to the request that asked has happened to all.
    pub(crate) fn take_disappointed(
        &mut self,
        cluster: ClusterId,
        endpoint: EndpointId,
    ) -> Vec<ExchangeKey> {
        let mut disappointed = Vec::new();
        if self.pools.is_connecting(endpoint) {
            return disappointed;
        }
        let mut next = self.pools.first_waiting(cluster);
        while let Some(key) = next {
            let Some(exchange) = self.exchanges.get_mut(key) else { break };
            next = exchange.queue_next;
            if exchange.awaits == Some(endpoint) {
                exchange.state = State::Local;
                exchange.endpoint = Some(endpoint);
                exchange.tried.push(endpoint);
                disappointed.push(key);
                self.pools.dequeue(cluster, key, &mut self.exchanges);
            }
        }
        disappointed
    }

    /// Lets them fail, each by its own route's rules.
    pub(crate) fn disappoint(&mut self, disappointed: Vec<ExchangeKey>) {
        for key in disappointed {
            self.fail_upstream(key, Failure::Connect);
        }
    }
}
