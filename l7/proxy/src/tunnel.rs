//! Exchanges that become tunnels: WebSockets where one of the two connections speaks HTTP/2, and
//! CONNECT.
//!
//! ```text
//!                           client             Sluice               endpoint
//!   CONNECT, :protocol = websocket --> 2 -- GET, Upgrade --> 1 --> GET, Upgrade: websocket
//!          GET, Upgrade: websocket --> 1 --              --> 2 --> CONNECT, :protocol = websocket
//!                         200, 101 <--                       <-- 101, 200
//!                            bytes <-> as the body of request and response <-> bytes
//!                  END_STREAM, FIN <-> each direction by itself            <-> FIN, END_STREAM
//!
//!         CONNECT authority (1, 2) -->    "forward": as it is    --> CONNECT authority (1, 2)
//!         CONNECT authority (1, 2) -->   "terminate": SYN, 200   --> TCP
//! ```
//!
//! Routes and filters see the GET that HTTP/1.1 has for it; what it is said with is decided when the
//! connection to the endpoint is known ([`websocket`]). A tunnel stays an exchange whose two bodies
//! end when they end: windows, timeouts and counters are those of any other. Only between two
//! connections of HTTP/1.1 it becomes a [relay](crate::relay).

use sluice_base::{ConnId, Instant};
use sluice_l7_core::{BodyLength, Head, Role as CodecRole, Span, StreamId};
use sluice_l7_http1::Http1;

use crate::codec::SessionCodec;
use crate::exchange::{self, ExchangeKey, State};
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::retry::Failure;
use crate::sessions::Upstream;
use crate::verbs::Verb;
use crate::websocket;

/// How far an exchange is with becoming a tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tunnel {
    /// It does not.
    No,
    /// The endpoint has been asked, or will be: what the client says already waits.
    Asked(Form),
    /// The same, while the request is being written in the words of its connection.
    Worded(Form),
    /// It is one.
    Open,
    /// It is one, and the endpoint says nothing more.
    Answered,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// A WebSocket (RFC 6455, RFC 8441).
    WebSocket {
        /// What a client of HTTP/1.1 expects in answer to its key: text of the request's head.
        accept: Span,
    },
    /// A CONNECT, which goes on or ends here.
    Connect,
}

impl Tunnel {
    /// Whether the endpoint has been asked, or will be.
    #[inline]
    pub(crate) fn is_asked(self) -> bool {
        matches!(self, Self::Asked(_) | Self::Worded(_))
    }

    /// Whether bytes go through it.
    #[inline]
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Answered)
    }
}

/// Whether a CONNECT is one: it names host and port, and has no body but the tunnel (RFC 9110, 9.3.6;
/// RFC 9113, 8.5).
pub(crate) fn is_connect(head: &Head, body: BodyLength) -> bool {
    let authority = head.authority();
    let port = authority.iter().rposition(|byte| *byte == b':').map(|at| &authority[at + 1..]);
    let is_port = |port: &[u8]| !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    port.is_some_and(is_port) && matches!(body, BodyLength::None | BodyLength::UntilClose)
}

impl Proxy {
    /// A request of HTTP/1.1 asks to speak something else, and goes to an endpoint of HTTP/2, which
    /// knows of nothing but WebSockets. False: it has been answered.
    #[cold]
    pub(crate) fn begin_upgrade(&mut self, key: ExchangeKey) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let Some(head) = exchange.head.as_deref_mut() else { return false };
        // RFC 9110, 7.8: what is not understood may be ignored.
        if !websocket::is_asked(head) || !exchange.body.is_none() {
            return true;
        }
        let Some(accept) = websocket::accept_of(head) else {
            self.reply(key, Reply::BAD_WEBSOCKET);
            return false;
        };
        exchange.tunnel = Tunnel::Asked(Form::WebSocket { accept });
        true
    }

    /// The TCP connection is up to which a CONNECT leads that ends here: its client is told.
    pub(crate) fn tunnel_connected(&mut self, key: ExchangeKey, conn: ConnId) {
        self.give_pending_back(key);
        let now = self.wires.now;
        let mut codec = self.sessions.http1(CodecRole::Client);
        if let SessionCodec::Http1(coded) = &mut codec {
            coded.codec = Http1::tunnel(CodecRole::Client);
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.codec = codec;
        let Some(&Upstream { cluster, endpoint, .. }) = session.upstream() else { return };
        let Some(exchange) = self.exchanges.get_mut(key) else {
            self.close_upstream(conn);
            return;
        };
        let stream = StreamId::CONNECTION;
        session.attach(stream, key);
        exchange.upstream = Some(exchange::Upstream { conn, stream });
        exchange.state = State::Sent;
        (exchange.sent_at, exchange.last_activity) = (now, now);
        // It has a client's word from now on, and is led nowhere else.
        exchange.response_begun = true;
        let client = exchange.downstream;
        self.load.begin(endpoint);
        if let Some(state) = self.pools.cluster(cluster) {
            state.counters.upstream_rq_total.increment();
            state.counters.upstream_rq_active.increment();
        }
        let mut head = self.wires.heads.take();
        head.reset_to_response(200);
        self.response_head(conn, key, head, BodyLength::UntilClose);
        self.touch_output(client);
    }

    /// The endpoint has answered who asked for a tunnel. False: that was no answer to it, and the
    /// exchange has failed.
    pub(crate) fn tunnel_answered(&mut self, key: ExchangeKey, head: &mut Head) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let Tunnel::Asked(form) = exchange.tunnel else { return true };
        let Some(upstream) = exchange.upstream else { return false };
        let to_one = self.sessions.get(exchange.downstream);
        let to_one = to_one.is_none_or(|session| !session.codec.is_multiplexed());
        let from = self.sessions.get_mut(upstream.conn).filter(|it| it.codec.is_multiplexed());
        match (head.status(), form, from) {
            (200..300, Form::Connect, from) => {
                if to_one && from.is_none() {
                    // Both sides of it will be a relay.
                    exchange.tunnel = Tunnel::No;
                    return true;
                }
            }
            (101, Form::WebSocket { .. }, None) => websocket::answer_to_two(head),
            (200..300, Form::WebSocket { accept }, Some(_)) if to_one => {
                let accept = exchange.head.as_ref().map_or(&[][..], |asked| asked.text(accept));
                websocket::answer_to_one(head, accept);
            }
            (200..300, Form::WebSocket { .. }, Some(_)) => {}
            // To the client it would mean that there is one.
            (200..300, Form::WebSocket { .. }, None) => {
                self.release_upstream(key, false);
                self.fail_upstream(key, Failure::Protocol);
                return false;
            }
            (_, _, from) => {
                exchange.tunnel = Tunnel::No;
                exchange.request_forwarded = true;
                if let Some(session) = from {
                    // Its stream waits for bytes that will not come.
                    let _over = session.encode_end(upstream.stream, None, &mut self.wires);
                    self.touch_output(upstream.conn);
                }
                return true;
            }
        }
        exchange.tunnel = Tunnel::Open;
        let listener = exchange.plan.listener;
        if let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_upgrades_total.increment();
        }
        true
    }

    /// The tunnel is open: what the client said before goes first. `answered`: the endpoint has
    /// said all already.
    pub(crate) fn tunnel_opened(&mut self, key: ExchangeKey, answered: bool) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let client = exchange.downstream;
        // Limits of a request's body and time are not those of a tunnel.
        exchange.plan.body_max = u64::MAX;
        exchange.route_deadline = Instant::NEVER;
        let early = std::mem::take(&mut exchange.early);
        if !self.is_multiplexed(client) {
            // The request was complete, and the tunnel begins behind it.
            if let Some(exchange) = self.exchanges.get_mut(key) {
                exchange.request_ended = false;
            }
            if let Some(session) = self.sessions.get_mut(client).filter(|_| answered) {
                let _over = session.encode_end(StreamId::CONNECTION, None, &mut self.wires);
            }
            self.make_ready(client);
        } else if !early.is_empty() && !self.forward_request_body(key, early) {
            return;
        }
        self.touch_output(client);
        if self.exchanges.get(key).is_some_and(|exchange| exchange.request_ended) {
            self.end_tunnel(key);
        }
        if answered {
            self.complete(key);
        }
    }

    /// The client says nothing more.
    pub(crate) fn end_tunnel(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream.filter(|_| exchange.state != State::Local) else {
            return;
        };
        exchange.request_forwarded = true;
        exchange.route_deadline = Instant::NEVER;
        let is_over = exchange.tunnel == Tunnel::Answered;
        let Some(session) = self.sessions.get_mut(upstream.conn) else { return };
        if session.encode_end(upstream.stream, None, &mut self.wires).is_err() {
            return self.fail_local(key);
        }
        self.end_of_tunnel_written(upstream.conn);
        if is_over {
            self.complete(key);
        }
    }

    /// The endpoint says nothing more, and the client has been told; it may go on.
    pub(crate) fn tunnel_half_over(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.tunnel = Tunnel::Answered;
        let client = exchange.downstream;
        self.end_of_tunnel_written(client);
    }

    /// One direction is over. Where a connection carries nothing else, a FIN says so.
    fn end_of_tunnel_written(&mut self, conn: ConnId) {
        if self.is_multiplexed(conn) {
            return self.touch_output(conn);
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let already = std::mem::replace(&mut session.status.closed, true);
        self.flush(conn);
        if !already {
            self.wires.verbs.push_back(Verb::Close { conn });
        }
    }
}
