//! WebSockets through one stream of HTTP/2 (RFC 8441), to endpoints that speak HTTP/1.1.
//!
//! ```text
//!   CONNECT, :protocol = websocket --> GET, Upgrade: websocket, a key of ours
//!                              200 <-- 101
//!                             DATA <-> bytes
//!                       END_STREAM <-> FIN
//! ```
//!
//! The stream stays an exchange whose two bodies end when they end: windows, timeouts and counters
//! are those of any other.

use sluice_base::Rng;
use sluice_l7_core::{Head, Method, NameId, Span, Start};

use crate::exchange::{ExchangeKey, State};
use crate::proxy::Proxy;
use crate::retry::Failure;
use crate::verbs::Verb;

/// How far an exchange is with becoming a tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tunnel {
    /// It does not.
    No,
    /// The endpoint has been asked, or will be: what the client says already waits.
    Asked,
    /// It is one.
    Open,
}

/// What is spoken through it.
const PROTOCOL: &[u8] = b"websocket";
const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// Turns an extended CONNECT into the request that HTTP/1.1 has for it; false: it asks for something
/// else.
pub(crate) fn begin(head: &mut Head, rng: &mut Rng) -> bool {
    let Start::Request { path, authority, scheme, .. } = *head.start() else { return false };
    if head.protocol() != PROTOCOL {
        return false;
    }
    let (method, protocol) = (Method::Get, Span::EMPTY);
    let start =
        Start::Request { method, method_text: Span::EMPTY, path, authority, scheme, protocol };
    let version = head.version();
    head.set_start(start, version);
    head.set_upgrade(true);
    head.remove(NameId::CONTENT_LENGTH);
    head.set(NameId::UPGRADE, PROTOCOL);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
    head.set(KEY, &base64(&bytes));
    true
}

/// 16 bytes as text (RFC 4648, 4).
fn base64(bytes: &[u8; 16]) -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; 24];
    for (three, four) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // As many digits as there are bytes, and one.
        for (at, digit) in four.iter_mut().enumerate().take(three.len() + 1) {
            *digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
        }
    }
    text
}

impl Proxy {
    /// The endpoint has answered who asked for a tunnel. False: that was no answer to it, and the
    /// exchange has failed.
    pub(crate) fn tunnel_answered(&mut self, key: ExchangeKey, head: &mut Head) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        match head.status() {
            101 => {
                exchange.tunnel = Tunnel::Open;
                let listener = exchange.plan.listener;
                head.set_status(200);
                head.remove(NameId::UPGRADE);
                head.remove(ACCEPT);
                if let Some(state) = self.listener(listener) {
                    state.counters.downstream_cx_upgrades_total.increment();
                }
                true
            }
            // To the client it would mean that there is one.
            200..300 => {
                self.release_upstream(key, false);
                self.fail_upstream(key, Failure::Protocol);
                false
            }
            _ => {
                exchange.tunnel = Tunnel::No;
                exchange.request_forwarded = true;
                true
            }
        }
    }

    /// The tunnel is open: what the client said before goes first.
    pub(crate) fn tunnel_opened(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let early = std::mem::take(&mut exchange.early);
        if !early.is_empty() && !self.forward_request_body(key, early) {
            return;
        }
        if self.exchanges.get(key).is_some_and(|exchange| exchange.request_ended) {
            self.end_tunnel(key);
        }
    }

    /// The client says nothing more.
    pub(crate) fn end_tunnel(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let Some(upstream) = exchange.upstream.filter(|_| exchange.state != State::Local) else {
            return;
        };
        exchange.request_forwarded = true;
        let conn = upstream.conn;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.encode_end(upstream.stream, None, &mut self.wires).is_err() {
            return self.fail_local(key);
        }
        let already = std::mem::replace(&mut session.status.closed, true);
        self.flush(conn);
        if !already {
            self.wires.verbs.push_back(Verb::Close { conn });
        }
    }
}

#[cfg(test)]
mod tests {
    /// RFC 6455, 1.3: the key of the example.
    #[test]
    fn a_key_as_text() {
        assert_eq!(&super::base64(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }
}
