//! Answers that pass in one piece: all of them is here, they are like earlier ones, and all that
//! anybody here does with them is to count them.
//!
//! Whether that is so is found out before anything is taken or written. If not, the answer is
//! decoded and goes its usual way (`response.rs`), head, body and end one after the other; what
//! becomes of it, and what is counted, is the same.

use sluice_base::ConnId;
use sluice_l7_core::{CodecContext, NameId, NameSet, Run};
use sluice_l7_grpc::Status;
use sluice_l7_http2::Answer;

use crate::codec::SessionCodec;
use crate::exchange::{Exchange, Kind, State};
use crate::proxy::Proxy;
use crate::sessions::{Role, key_of};
use crate::tunnel::Tunnel;
use crate::wires::Wires;

/// Names that a codec says in its own way, or that mean something to who passes an answer on.
const NOT_AS_THEY_ARE: NameSet = NameSet::of(&[
    NameId::CONNECTION,
    NameId::CONTENT_LENGTH,
    NameId::EXPECT,
    NameId::HOST,
    NameId::HTTP2_SETTINGS,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::TE,
    NameId::TRAILER,
    NameId::TRANSFER_ENCODING,
    NameId::UPGRADE,
]);

/// What an answer says, beside its status.
struct Said {
    /// The names in its head and its trailers.
    head: NameSet,
    trailers: NameSet,
    /// What became of the call, if it answers one.
    status: Option<Status>,
}

impl Proxy {
    /// Passes the answer on that is next on an endpoint's connection, if all of it can be passed at
    /// once; whether it was. Else nothing has happened.
    #[inline]
    pub(crate) fn pass_answer(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        let SessionCodec::Http2(coded) = &mut session.codec else { return false };
        let (limits, heads) = (&self.wires.response_limits, &mut self.wires.heads);
        match coded.codec.find_answer(&coded.input, limits, heads) {
            Some(answer) => self.pass_found(conn, &answer),
            None => false,
        }
    }

    fn pass_found(&mut self, conn: ConnId, answer: &Answer) -> bool {
        let Some(key) = key_of(answer.token) else { return false };
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        if !exchange.awaits_answer() || self.draining {
            return false;
        }
        let Some(said) = self.wires.said(answer) else { return false };
        let snapshot = exchange.pin.as_ref().and_then(|pin| self.pins.get(pin));
        let listener = snapshot.and_then(|it| it.listener(exchange.plan.listener));
        let is_left = listener.is_some_and(|listener| {
            let edits = exchange.plan.route.and_then(|id| listener.response_editor(id));
            edits.is_none() && listener.filters.leaves(said.head)
        });
        if !is_left || said.head.or(said.trailers).meets(NOT_AS_THEY_ARE) {
            return false;
        }
        let Some((from, to)) = self.sessions.pair(conn, exchange.downstream) else { return false };
        let (SessionCodec::Http2(coded), SessionCodec::Http2(to)) =
            (&mut from.codec, &mut to.codec)
        else {
            return false;
        };
        let Wires { pool, heads, now, response_limits: limits, .. } = &mut self.wires;
        let (now, body) = (*now, answer.body(&coded.input));
        let output = &mut to.output;
        let cx = &mut CodecContext { output, pool, heads, limits, now };
        if !to.codec.write_answer(exchange.stream, answer, body, cx) {
            return false;
        }
        exchange.response_bytes += body.len() as u64;
        if exchange.call.is_call() {
            exchange.call.response.pass_whole(body);
            exchange.call.status = said.status;
        }
        let output = &mut coded.output;
        let cx = &mut CodecContext { output, pool, heads, limits, now };
        coded.codec.take_answer(answer, &mut coded.input, cx);
        if let Role::Upstream(upstream) = &mut from.role {
            upstream.used = true;
        }
        exchange.forget_replay();
        (exchange.response_begun, exchange.head_sent) = (true, true);
        (exchange.last_activity, exchange.head_at) = (now, now);
        (exchange.status, exchange.state) = (answer.status, State::Responding);
        if let Some(pin) = exchange.pin.take() {
            self.pins.unpin(pin);
        }
        exchange.invariants();
        if let Some(state) = exchange.cluster().and_then(|id| self.pools.cluster(id)) {
            state.counters.count_status(answer.status);
        }
        self.complete(key);
        #[cfg(test)]
        PASSED.with(|passed| passed.set(passed.get() + 1));
        true
    }
}

impl Wires {
    /// What the runs say that an answer is made of.
    #[inline]
    fn said(&mut self, answer: &Answer) -> Option<Said> {
        let runs = self.heads.runs();
        let head = runs.get(answer.head)?;
        let (names, by_head) = (head.names, status_said(head));
        let trailers = runs.get(answer.trailers)?;
        // The last who speaks is right.
        let said = status_said(trailers).or(by_head);
        let by_http = || (answer.status != 200).then(|| Status::of_http(answer.status));
        let status = said.or_else(by_http);
        Some(Said { head: names, trailers: trailers.names, status })
    }
}

/// What the first field of grpc-status says.
#[inline]
fn status_said(run: &Run) -> Option<Status> {
    if !run.names.contains(NameId::GRPC_STATUS) {
        return None;
    }
    let field = run.fields.iter().find(|field| field.id == NameId::GRPC_STATUS)?;
    let value = run.text.get(field.value.start()..field.value.end())?;
    Some(Status::parse(value).unwrap_or(Status::Unknown))
}

impl Exchange {
    /// Whether the answer may pass in one piece: nothing of it was heard before, the request is
    /// complete, and nothing is done again for what the answer says.
    #[inline]
    fn awaits_answer(&self) -> bool {
        self.state == State::Sent
            && self.kind == Kind::Http
            && self.tunnel == Tunnel::No
            && self.request_ended
            && self.request_forwarded
            && !self.retried
            && self.packed.is_none()
            && self.plan.retry_on.is_empty()
    }
}

#[cfg(test)]
thread_local! {
    /// Answers that passed in one piece.
    pub(crate) static PASSED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}
