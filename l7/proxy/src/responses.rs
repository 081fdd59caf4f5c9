//! Answers of our own: one table of status codes, flags and bodies, and how they are written.

use sluice_base::ConnId;
use sluice_buf::Chain;
use sluice_l7_core::{BodyLength, NameId, ProtocolError, ResetReason, StreamId};
use sluice_l7_filter::{FilterResult, LocalReply};

use crate::exchange::{ExchangeKey, Kind, State};
use crate::flags::ResponseFlags;
use crate::grpc::GRPC_REPLY_STATUS;
use crate::limits::REPLY_BYTES_MAX;
use crate::proxy::Proxy;

/// One answer of our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) body: &'static str,
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $flags:ident, $body:literal;)*) => {
        impl Reply {
            $($(#[$doc])*
            pub(crate) const $name: Self =
                Self { status: $status, flags: ResponseFlags::$flags, body: $body };)*
        }
    };
}

// Bodies as Envoy has them where it has one: people search for them.
replies! {
    /// The path is none (RFC 3986), or leaves the root.
    BAD_PATH = 400, DOWNSTREAM_PROTOCOL_ERROR, "";
    /// A WebSocket is asked for without a key.
    BAD_WEBSOCKET = 400, DOWNSTREAM_PROTOCOL_ERROR, "";
    /// A CONNECT that names no port, or has a body.
    BAD_CONNECT = 400, DOWNSTREAM_PROTOCOL_ERROR, "";
    /// No virtual host, or none of its routes.
    NO_ROUTE = 404, NO_ROUTE, "";
    /// The head did not arrive in time.
    HEADER_TIMEOUT = 408, NONE, "request header timeout";
    /// The request stopped arriving.
    REQUEST_IDLE = 408, STREAM_IDLE_TIMEOUT, "stream timeout";
    /// Beyond the listener's `max_body`.
    BODY_TOO_LARGE = 413, NONE, "Payload Too Large";
    /// A tunnel that is not allowed, or for what is not known (RFC 9220, 3).
    NO_TUNNEL = 501, NONE, "";
    /// The endpoint has not said that it takes extended CONNECT (RFC 8441, 3).
    NO_WEBSOCKET = 501, NONE, "the endpoint takes no WebSockets in HTTP/2";
    /// The endpoint does not speak HTTP.
    UPSTREAM_GARBAGE = 502, UPSTREAM_PROTOCOL_ERROR,
        "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
    /// No endpoint could be connected to.
    CONNECT_FAILURE = 503, UPSTREAM_CONNECT_FAILURE,
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure";
    /// The endpoint ended the connection before it answered.
    UPSTREAM_RESET = 503, UPSTREAM_TERMINATION,
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
    /// The cluster has no endpoints.
    NO_HEALTHY_UPSTREAM = 503, NO_HEALTHY_UPSTREAM, "no healthy upstream";
    /// `max_connections` and `max_pending` are reached.
    OVERFLOW = 503, UPSTREAM_OVERFLOW,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow";
    /// The route's cluster is not configured.
    NO_CLUSTER = 503, NO_CLUSTER, "";
    /// We are out of memory for it.
    OVERLOAD = 503, OVERLOAD, "overload";
    /// The deadline that a call named.
    CALL_DEADLINE = 504, UPSTREAM_TIMEOUT, "deadline exceeded";
    /// The route's timeout.
    UPSTREAM_TIMEOUT = 504, UPSTREAM_TIMEOUT, "upstream request timeout";
    /// The response stopped arriving.
    RESPONSE_IDLE = 504, STREAM_IDLE_TIMEOUT, "stream timeout";
}

impl Reply {
    /// What a filter answers with.
    pub(crate) const fn of_filter(reply: LocalReply) -> Self {
        Self { status: reply.status, flags: ResponseFlags::NONE, body: reply.body }
    }
}

/// What a reply says besides its status.
pub(crate) struct ReplyParts<'a> {
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) body: &'a [u8],
    pub(crate) location: Option<&'a [u8]>,
}

impl Proxy {
    /// Answers the request ourselves and ends the exchange.
    pub(crate) fn reply(&mut self, key: ExchangeKey, reply: Reply) {
        let parts = ReplyParts {
            status: reply.status,
            flags: reply.flags,
            body: reply.body.as_bytes(),
            location: None,
        };
        self.reply_with(key, &parts);
    }

    /// As [`Proxy::reply`], for any content.
    pub(crate) fn reply_with(&mut self, key: ExchangeKey, parts: &ReplyParts<'_>) {
        self.wake(key);
        self.detach(key);
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        debug_assert_eq!(exchange.state, State::Local, "an exchange is detached before its reply");
        let (conn, stream) = (exchange.downstream, exchange.stream);
        if exchange.kind == Kind::Tcp {
            self.abort_downstream(conn, parts.flags);
            return;
        }
        exchange.status = parts.status;
        exchange.head_sent = true;
        let grpc = self.grpc_status(key, parts);
        let whole = self.discard_request(key);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let multiplexed = session.codec.is_multiplexed();
        if self.draining || !(whole || multiplexed) {
            session.drain_codec(&mut self.wires);
        }
        let written = match grpc {
            Some(status) => self.write_grpc_reply(conn, stream, key, status, parts),
            None => self.write_reply(conn, stream, Some(key), parts),
        };
        if let Some(exchange) = self.exchanges.get_mut(key) {
            match grpc {
                Some(_) => exchange.status = GRPC_REPLY_STATUS,
                None => exchange.response_bytes = parts.body.len() as u64,
            }
        }
        let flags = parts.flags;
        if !written && multiplexed {
            self.finish(key, flags.with(ResponseFlags::OVERLOAD));
            return self.reset_downstream(conn, stream, ResetReason::Internal);
        }
        if !written {
            self.abort_downstream(conn, flags.with(ResponseFlags::OVERLOAD));
            return;
        }
        self.finish(key, flags);
        if multiplexed {
            return self.stream_over(conn, stream, whole);
        }
        if whole {
            self.next_request(conn);
        } else {
            self.settle_credit(conn);
            self.close_downstream(conn);
        }
    }

    /// An answer where there is no exchange: the connection closes after it.
    pub(crate) fn reply_without_exchange(&mut self, conn: ConnId, stream: StreamId, reply: Reply) {
        let parts = ReplyParts {
            status: reply.status,
            flags: reply.flags,
            body: reply.body.as_bytes(),
            location: None,
        };
        self.last_words(conn, stream, &parts);
    }

    /// The client broke the protocol: it is told once, then the connection closes.
    pub(crate) fn downstream_protocol_error(&mut self, conn: ConnId, error: ProtocolError) {
        let listener = self.sessions.get(conn).and_then(|s| s.downstream()).map(|d| d.listener);
        if let Some(state) = listener.and_then(|id| self.listener(id)) {
            state.counters.downstream_cx_protocol_error.increment();
        }
        let flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
        if let Some(key) = self.exchange_of(conn) {
            // In mid-body. An answer makes sense only while none has begun.
            if self.exchanges.get(key).is_some_and(|exchange| exchange.head_sent) {
                self.abort_downstream(conn, flags);
            } else {
                let parts = ReplyParts {
                    status: error.status(),
                    flags,
                    body: error.reason.as_bytes(),
                    location: None,
                };
                self.reply_with(key, &parts);
            }
            return;
        }
        let parts = ReplyParts {
            status: error.status(),
            flags,
            body: error.reason.as_bytes(),
            location: None,
        };
        if let Some(state) = listener.and_then(|id| self.listener(id)) {
            state.counters.downstream_rq_total.increment();
            state.counters.count_status(parts.status);
            state.counters.downstream_rq_completed.increment();
        }
        self.last_words(conn, StreamId::new(1), &parts);
    }

    fn last_words(&mut self, conn: ConnId, stream: StreamId, parts: &ReplyParts<'_>) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.drain_codec(&mut self.wires);
        if self.write_reply(conn, stream, None, parts) {
            self.record_without_exchange(conn, parts);
            self.settle_credit(conn);
            self.close_downstream(conn);
        } else {
            self.abort_downstream(conn, parts.flags);
        }
    }

    fn write_reply(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        key: Option<ExchangeKey>,
        parts: &ReplyParts<'_>,
    ) -> bool {
        let text = &parts.body[..parts.body.len().min(REPLY_BYTES_MAX)];
        let Ok(mut body) = Chain::copy_from(text, &self.wires.pool) else { return false };
        let mut head = self.wires.heads.take();
        head.reset_to_response(parts.status);
        if let Some(location) = parts.location {
            head.append(NameId::LOCATION, location);
        }
        if !text.is_empty() {
            head.append(NameId::CONTENT_TYPE, b"text/plain");
        }
        let length = BodyLength::Known(text.len() as u64);
        if let Some(key) = key {
            // A filter that stops an answer of ours would be answered by another one: it is not
            // asked again.
            let (FilterResult::Continue | FilterResult::StopWithReply(_)) =
                self.filter_response(key, &mut head, length);
        }
        let Some(session) = self.sessions.get_mut(conn) else {
            self.wires.put_head(head);
            return false;
        };
        let mut written = session.encode_head(stream, &head, length, &mut self.wires);
        if written.is_ok() && !text.is_empty() {
            written = session
                .encode_body(stream, &mut body, &mut self.wires)
                .and_then(|_| session.encode_end(stream, None, &mut self.wires));
        }
        self.wires.put_head(head);
        self.flush(conn);
        written.is_ok()
    }
}
