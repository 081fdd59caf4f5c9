//! A client's connection: requests in, and the connection's own life.

use std::net::SocketAddr;

use sluice_base::{ConnId, ListenerId};
use sluice_buf::Chain;
use sluice_l7_core::{Event, Role as CodecRole};

use sluice_l7_http2::frame::PREFACE;

use crate::codec::SessionCodec;
use crate::events::CloseReason;
use crate::flags::ResponseFlags;
use crate::limits::LINGER;
use crate::proxy::Proxy;
use crate::relay::Relay;
use crate::sessions::{Downstream, Role, Status};
use crate::verbs::Verb;

/// Events of a client's connection.
impl Proxy {
    pub(crate) fn accept(&mut self, conn: ConnId, listener: ListenerId, peer: SocketAddr) {
        if let Some(old) = self.sessions.at(conn.index) {
            // The stack uses the slot again, so the old connection is dead whatever we believed.
            self.handle_closed(old, CloseReason::Aborted);
        }
        let known = self.compiled_listener(listener).is_some();
        let Some(state) = self.listener(listener).filter(|_| known) else {
            self.counters.unknown_listener.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        };
        let (http, idle_timeout) = (state.http, state.idle_timeout);
        let ends_at = self.after(state.life.max_duration);
        if self.flooders.any(self.wires.now) && http && self.refuse_flooder(listener, peer) {
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        }
        let mut codec =
            if http { self.sessions.http1(CodecRole::Server) } else { SessionCodec::Opaque };
        codec.set_end(ends_at);
        let role = Role::Downstream(Downstream { listener, peer: peer.into(), relay: Relay::NONE });
        if !self.sessions.insert(conn, role, codec) {
            self.counters.session_table_full.increment();
            self.wires.verbs.push_back(Verb::Abort { conn });
            return;
        }
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_total.increment();
            state.counters.downstream_cx_active.increment();
        }
        if let Some(session) = self.sessions.get_mut(conn) {
            session.status.connected = true;
        }
        self.session_timers.set(conn.index, self.after(idle_timeout).min(ends_at));
        if !http {
            self.begin_relay(conn, listener);
        }
    }

    /// Bytes on any connection.
    pub(crate) fn handle_data(&mut self, conn: ConnId, mut bytes: Chain) {
        let count = bytes.len();
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        if session.status.lingering {
            self.drop_lingering(conn, count);
            return;
        }
        match &mut session.codec {
            SessionCodec::Opaque => return self.relay_data(conn, bytes),
            SessionCodec::Http1(coded) => {
                coded.input.append(&mut bytes);
                if !coded.more.told_apart && !self.tell_apart(conn) {
                    return self.settle_downstream(conn);
                }
            }
            SessionCodec::Http2(coded) => coded.input.append(&mut bytes),
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let multiplexed = session.codec.is_multiplexed();
        // What comes meanwhile does not bring one that is interrupted another turn.
        let queued = session.status.queued;
        match &session.role {
            Role::Downstream(downstream) => {
                let listener = downstream.listener;
                if let Some(listener) = self.listener(listener) {
                    listener.counters.downstream_cx_rx_bytes_total.add(count as u64);
                }
                if !multiplexed {
                    self.run_downstream(conn);
                }
            }
            Role::Upstream(upstream) => {
                let cluster = upstream.cluster;
                if let Some(cluster) = self.pools.cluster(cluster) {
                    cluster.counters.upstream_cx_rx_bytes_total.add(count as u64);
                }
                if !multiplexed {
                    self.run_upstream(conn);
                }
            }
            Role::Vacant => {}
        }
        if multiplexed && !queued {
            self.run_multiplexed(conn);
        }
    }

    /// Which protocol a client speaks, by its first bytes: HTTP/2 begins with what is no request
    /// (RFC 9113, 3.4). False: they are too few to tell.
    #[cold]
    fn tell_apart(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return true };
        let listener = session.downstream().map(|downstream| downstream.listener);
        let SessionCodec::Http1(coded) = &mut session.codec else { return true };
        let mut first = [0; PREFACE.len()];
        let there = coded.input.copy_to(0, &mut first);
        if first[..there] != PREFACE[..there] || listener.is_none() {
            coded.more.told_apart = true;
            return true;
        }
        if there < PREFACE.len() {
            return false;
        }
        let input = std::mem::take(&mut coded.input);
        let plan = listener.and_then(|id| self.listener(id)).map(|state| state.http2);
        let plan = plan.unwrap_or_default();
        let mut codec = self.sessions.http2(CodecRole::Server, &plan, self.wires.now);
        if let SessionCodec::Http2(coded) = &mut codec {
            coded.input = input;
        }
        let Some(session) = self.sessions.get_mut(conn) else { return true };
        let http1 = std::mem::replace(&mut session.codec, codec);
        session.status.head_begun = false;
        self.sessions.put_codec(http1);
        if let Some(state) = listener.and_then(|id| self.listener(id)) {
            state.counters.downstream_cx_http2_total.increment();
        }
        true
    }

    /// Decodes what the client sent, as far as the exchange in progress allows.
    pub(crate) fn run_downstream(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let Some(listener) = session.downstream().map(|downstream| downstream.listener) else {
            return;
        };
        let limits = self.listener(listener).map(|state| state.limits).unwrap_or_default();
        loop {
            let Some(session) = self.sessions.get_mut(conn) else { return };
            if session.status.lingering || session.codec.is_opaque() {
                return;
            }
            if let Some(key) = session.exchange()
                && let Some(exchange) = self.exchanges.get(key)
                && (exchange.request_ended || !exchange.takes_request_body())
            {
                break;
            }
            if session.exchange().is_none() && self.budget == 0 {
                self.interrupt(conn);
                break;
            }
            match session.decode(&limits, &mut self.wires) {
                Ok(None) => break,
                Ok(Some(event)) => self.request_event(conn, event),
                Err(error) => {
                    self.settle_credit(conn);
                    self.downstream_protocol_error(conn, error);
                    return;
                }
            }
        }
        self.settle_downstream(conn);
    }

    pub(crate) fn request_event(&mut self, conn: ConnId, event: Event) {
        match event {
            Event::Head { stream, head, body } => self.begin_request(conn, stream, head, body),
            Event::Body { stream, bytes } => self.request_body(conn, stream, bytes),
            Event::End { stream, trailers } => self.end_request(conn, stream, trailers),
            Event::Informational { head, .. } => self.wires.put_head(head),
            Event::Reset { stream, .. } => {
                if let Some(key) = self.exchange_on(conn, stream) {
                    self.cancel(key, ResponseFlags::DOWNSTREAM_TERMINATION);
                }
            }
            Event::GoAway { .. } => {}
        }
    }

    /// After decoding: credit, timers, and what an end of input means.
    // Inlined always: its second caller is a rare one.
    #[inline(always)]
    pub(crate) fn settle_downstream(&mut self, conn: ConnId) {
        let now = self.wires.now;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let credit = session.codec.take_credit();
        self.wires.credit(conn, credit);
        let unsent = !session.codec.is_output_empty();
        let partner = match session.exchange() {
            Some(key) => {
                let exchange = self.exchanges.get(key);
                let partner = exchange.and_then(|exchange| exchange.upstream);
                let waits = exchange.is_some_and(|e| !e.request_ended && e.takes_request_body());
                if session.status.peer_closed && waits {
                    self.end_of_input(conn);
                    return;
                }
                partner.map(|upstream| upstream.conn)
            }
            None => {
                if session.status.peer_closed && !session.status.queued {
                    self.end_of_input(conn);
                    return;
                }
                if !session.codec.is_input_empty() && !session.status.head_begun {
                    session.status.head_begun = true;
                    let listener = session.downstream().map(|d| d.listener);
                    let timeout = listener.and_then(|id| self.listener(id)?.header_timeout);
                    if let Some(timeout) = timeout {
                        self.session_timers.set_earlier(conn.index, now + timeout);
                    }
                }
                None
            }
        };
        if unsent {
            self.flush(conn);
        }
        if let Some(partner) = partner {
            self.flush(partner);
        }
    }

    /// The client sends nothing more and everything it sent has been decoded.
    pub(crate) fn end_of_input(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        match session.handle_end_of_input(&mut self.wires) {
            Ok(Some(event)) => self.request_event(conn, event),
            Ok(None) => self.close_downstream(conn),
            Err(error) => {
                if self.exchange_of(conn).is_some() {
                    // Half a request: nothing that an answer could be about.
                    self.abort_downstream(conn, ResponseFlags::DOWNSTREAM_TERMINATION);
                } else {
                    self.downstream_protocol_error(conn, error);
                }
            }
        }
    }

    /// Gives back what the codec is done with.
    #[inline]
    pub(crate) fn settle_credit(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(conn) {
            let bytes = session.codec.take_credit();
            self.wires.credit(conn, bytes);
        }
    }

    pub(crate) fn handle_peer_closed(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        session.status.peer_closed = true;
        if session.status.lingering {
            return;
        }
        let (opaque, upstream) = (session.codec.is_opaque(), session.upstream().is_some());
        if opaque {
            self.relay_end_of_input(conn);
        } else if session.codec.is_multiplexed() {
            self.run_multiplexed(conn);
        } else if upstream {
            self.upstream_peer_closed(conn);
        } else {
            self.run_downstream(conn);
        }
    }

    pub(crate) fn handle_writable(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        if session.status.lingering {
            self.session_timers.set(conn.index, self.wires.now + LINGER);
            return;
        }
        if let Some(partner) = session.partner() {
            self.touch_relay(conn, partner);
            self.relay_has_room(partner);
        } else if let Some(key) = session.exchange() {
            self.touch(key);
            self.release_credit_of_partner(conn, key);
        } else if session.codec.is_multiplexed() {
            self.multiplexed_wrote(conn, 1);
            self.settle_multiplexed(conn);
        }
    }

    /// The connection is gone.
    pub(crate) fn handle_closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(session) = self.sessions.get(conn) else {
            self.counters.stale_event.increment();
            return;
        };
        let Status { lingering, connected, .. } = session.status;
        match &session.role {
            Role::Vacant => {}
            Role::Downstream(downstream) => {
                let listener = self.listener(downstream.listener);
                if let Some(listener) = listener.filter(|_| !lingering) {
                    listener.counters.downstream_cx_destroy_remote.increment();
                }
                let relayed = session.status.relayed;
                let multiplexed = session.codec.is_multiplexed();
                if let Some(key) = session.exchange() {
                    self.cancel(key, ResponseFlags::DOWNSTREAM_TERMINATION);
                } else if relayed {
                    self.cancel_relay(conn, ResponseFlags::DOWNSTREAM_TERMINATION);
                } else if multiplexed {
                    self.cancel_all(conn, ResponseFlags::DOWNSTREAM_TERMINATION);
                }
                self.forget(conn);
            }
            Role::Upstream(_) if lingering => self.forget(conn),
            Role::Upstream(_) => self.upstream_gone(conn, connected, reason),
        }
    }
}
