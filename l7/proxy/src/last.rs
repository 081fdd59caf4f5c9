//! Ends of requests that pass in one piece, with the few bytes of body that there are: what most
//! calls are, behind their head.
//!
//! As with answers (`answers.rs`), whether that can be is found out before anything is taken or
//! written; if not, they go their usual way (`request.rs`), and the same is counted.

use sluice_base::ConnId;
use sluice_l7_core::CodecContext;
use sluice_l7_http2::Last;

use crate::call::LASTING;
use crate::codec::SessionCodec;
use crate::exchange::{Exchange, Kind, State};
use crate::proxy::Proxy;
use crate::sessions::key_of;
use crate::tunnel::Tunnel;
use crate::wires::Wires;

impl Proxy {
    /// Passes the end of a request on that is next on a client's connection, if all of it can be
    /// passed at once; whether it was. Else nothing has happened.
    #[inline]
    pub(crate) fn pass_last(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        let SessionCodec::Http2(coded) = &mut session.codec else { return false };
        if coded.more.lasts_off > 0 {
            coded.more.lasts_off -= 1;
            return false;
        }
        match coded.codec.find_last(&coded.input) {
            Some(last) => self.pass_found_last(conn, &last),
            None => false,
        }
    }

    fn pass_found_last(&mut self, conn: ConnId, last: &Last) -> bool {
        let Some(key) = key_of(last.token) else { return false };
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let Some(upstream) = exchange.upstream.filter(|_| exchange.awaits_last()) else {
            return false;
        };
        let Some((from, to)) = self.sessions.pair(conn, upstream.conn) else { return false };
        let SessionCodec::Http2(from) = &mut from.codec else { return false };
        let SessionCodec::Http2(to) = &mut to.codec else {
            from.more.lasts_off = u8::MAX;
            return false;
        };
        let Wires { pool, heads, now, response_limits: limits, .. } = &mut self.wires;
        let (now, body) = (*now, last.body(&from.input));
        let request_bytes = exchange.request_bytes + body.len() as u64;
        let is_lasting = exchange.call.is_call() && exchange.started + LASTING < now;
        if request_bytes > exchange.plan.body_max || is_lasting {
            return false;
        }
        let output = &mut to.output;
        let cx = &mut CodecContext { output, pool, heads, limits, now };
        if !to.codec.write_last(upstream.stream, body, cx) {
            return false;
        }
        if exchange.call.is_call() {
            exchange.call.request.pass_whole(body);
        }
        let output = &mut from.output;
        let cx = &mut CodecContext { output, pool, heads, limits, now };
        let bytes = from.codec.take_last(last, &mut from.input, cx);
        exchange.keep_for_replay(bytes, true);
        exchange.request_bytes = request_bytes;
        exchange.last_activity = now;
        (exchange.request_ended, exchange.request_forwarded) = (true, true);
        exchange.await_response(now);
        self.exchange_timers.set_earlier(key.index, exchange.route_deadline);
        self.touch_output(upstream.conn);
        #[cfg(test)]
        PASSED.with(|passed| passed.set(passed.get() + 1));
        true
    }
}

impl Exchange {
    /// Whether the end of the request may pass in one piece: its head did, and nobody has answered.
    #[inline]
    fn awaits_last(&self) -> bool {
        self.state == State::Sent
            && self.kind == Kind::Http
            && self.tunnel == Tunnel::No
            && !self.request_forwarded
    }
}

#[cfg(test)]
thread_local! {
    /// Ends of requests that passed in one piece.
    pub(crate) static PASSED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}
