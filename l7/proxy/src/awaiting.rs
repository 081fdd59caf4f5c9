//! Requests that wait for an endpoint's first word on a connection of HTTP/2: whether it takes
//! WebSockets there. Nobody may ask it for one before (RFC 8441, 3).

use sluice_base::{ConnId, SlabKey};

use crate::codec::{Multiplexed, SessionCodec};
use crate::exchange::{ExchangeKey, State};
use crate::proxy::Proxy;
use crate::responses::Reply;
use crate::retry::Failure;
use crate::tunnel::{Form, Tunnel};
use crate::websocket;

impl Proxy {
    /// The request asks for a tunnel: puts it into the words of the connection that it is about to
    /// be sent on. False: not yet, or never; it waits or has been answered.
    #[cold]
    pub(crate) fn word_tunnel(&mut self, key: ExchangeKey, conn: ConnId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        let Tunnel::Asked(form) = exchange.tunnel else { return false };
        let Some(head) = exchange.head.as_deref_mut() else { return false };
        if form == Form::Connect {
            exchange.tunnel = Tunnel::Worded(form);
            return true;
        }
        let SessionCodec::Http2(coded) = &mut session.codec else {
            websocket::ask_one(head, &mut self.rng);
            exchange.tunnel = Tunnel::Worded(form);
            return true;
        };
        match coded.codec.takes_protocols() {
            Some(true) => {
                websocket::ask_two(head);
                exchange.tunnel = Tunnel::Worded(form);
                true
            }
            Some(false) => {
                exchange.state = State::Local;
                self.reply(key, Reply::NO_WEBSOCKET);
                false
            }
            None => {
                let behind = std::mem::replace(&mut coded.more.awaiting, key);
                session.start(&mut self.wires);
                exchange.state = State::Settling(conn.index);
                exchange.queue_prev = None;
                exchange.queue_next = Some(behind).filter(|key| *key != SlabKey::NONE);
                let next = exchange.queue_next.and_then(|next| self.exchanges.get_mut(next));
                if let Some(next) = next {
                    next.queue_prev = Some(key);
                }
                self.touch_output(conn);
                false
            }
        }
    }

    /// The request waits no more.
    pub(crate) fn unawait(&mut self, key: ExchangeKey, index: u32) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.state = State::Local;
        let (prev, next) = (exchange.queue_prev.take(), exchange.queue_next.take());
        if let Some(behind) = next.and_then(|next| self.exchanges.get_mut(next)) {
            behind.queue_prev = prev;
        }
        if let Some(before) = prev {
            if let Some(before) = self.exchanges.get_mut(before) {
                before.queue_next = next;
            }
        } else if let Some(more) =
            self.sessions.by_index(index).and_then(|it| more_of(&mut it.codec))
        {
            more.awaiting = next.unwrap_or(SlabKey::NONE);
        }
    }

    /// The first of those that wait for this connection, taken off its list.
    fn pop_awaiting(&mut self, conn: ConnId) -> Option<ExchangeKey> {
        let key = more_of(&mut self.sessions.get_mut(conn)?.codec)?.awaiting;
        self.exchanges.get(key)?;
        self.unawait(key, conn.index);
        Some(key)
    }

    /// Something came from an endpoint: perhaps what is waited for.
    #[inline]
    pub(crate) fn look_for_awaiting(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get(conn)
            && let SessionCodec::Http2(coded) = &session.codec
            && coded.more.awaiting != SlabKey::NONE
            && coded.codec.takes_protocols().is_some()
        {
            self.endpoint_known(conn);
        }
    }

    /// The endpoint has said what it takes.
    #[cold]
    fn endpoint_known(&mut self, conn: ConnId) {
        while let Some(key) = self.pop_awaiting(conn) {
            self.send_request(key, conn);
        }
    }

    /// The connection ends: they have been sent nowhere.
    pub(crate) fn fail_awaiting(&mut self, conn: ConnId) {
        while let Some(key) = self.pop_awaiting(conn) {
            self.fail_upstream(key, Failure::Connect);
        }
    }
}

fn more_of(codec: &mut SessionCodec) -> Option<&mut Multiplexed> {
    match codec {
        SessionCodec::Http2(coded) => Some(&mut coded.more),
        SessionCodec::Http1(_) | SessionCodec::Opaque => None,
    }
}
