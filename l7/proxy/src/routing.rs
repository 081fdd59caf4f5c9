//! From a request head to a route, and what filters and the route do to the heads.

use sluice_config_model::{Connect, Scheme};
use sluice_l7_core::{BodyLength, Head, Looked, Method, NameId, NameSet, Runs, Span};
use sluice_l7_filter::{FilterContext, FilterResult};
use sluice_l7_route::{Action, Path, PathError, PathScratch};

use crate::call::is_call;
use crate::exchange::{ExchangeKey, Kind};
use crate::proxy::Proxy;
use crate::responses::{Reply, ReplyParts};
use crate::sessions::Session;
use crate::tunnel::{self, Form, Tunnel};
use crate::websocket;

/// Normalises the path and looks what the request is; not again, where the same was seen before.
#[inline]
fn look_at(
    head: &mut Head,
    scratch: &mut PathScratch,
    runs: &mut Runs,
) -> Result<Looked, PathError> {
    let run = head.run(NameSet::EMPTY).filter(|run| run.starts);
    match run.and_then(|run| runs.get(run.id)?.looked) {
        Some(looked) => Ok(looked),
        None => look_closer(head, scratch, runs),
    }
}

#[inline(always)]
fn look_closer(
    head: &mut Head,
    scratch: &mut PathScratch,
    runs: &mut Runs,
) -> Result<Looked, PathError> {
    let path_len = Path::normalize_len(head, scratch)? as u32;
    // A request without content is no call, and most requests have none.
    let looked = Looked { path_len, is_call: head.method() == Method::Post && is_call(head) };
    // It still says that it starts so: nothing was changed.
    if let Some(run) = head.run(NameSet::EMPTY).filter(|run| run.starts)
        && (run.contains(NameId::CONTENT_TYPE) || head.method() != Method::Post)
        && let Some(run) = runs.get_mut(run.id)
    {
        run.looked = Some(looked);
    }
    Ok(looked)
}

/// What becomes of a request.
enum Decision {
    Forward,
    Reply(Reply),
    /// Status of a redirect; the Location is in the proxy's text.
    Redirect(u16),
    /// Status of a direct response; its body is in the proxy's text.
    Direct(u16),
}

impl Proxy {
    /// Filters and routes the request, then sends it on or answers it.
    pub(crate) fn route(&mut self, key: ExchangeKey) {
        let decision = self.decide(key);
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let listener = exchange.plan.listener;
        if matches!(decision, Decision::Forward) {
            if exchange.request_ended || exchange.tunnel.is_asked() {
                exchange.await_response(exchange.started);
            } else {
                exchange.route_deadline = exchange.call.deadline();
            }
        }
        self.exchange_timers
            .set(key.index, exchange.deadline().min(exchange.started.plus_nanos(self.rest_nanos)));
        if exchange.call.is_call() {
            self.place_call(key);
        }
        match decision {
            Decision::Forward => self.dispatch(key, false),
            Decision::Reply(reply) => {
                if let Some(state) = self.listener(listener) {
                    match reply.status {
                        404 => state.counters.no_route.increment(),
                        413 => state.counters.downstream_rq_too_large.increment(),
                        _ => {}
                    }
                }
                self.reply(key, reply);
            }
            Decision::Redirect(status) => {
                if let Some(state) = self.listener(listener) {
                    state.counters.rq_redirect.increment();
                }
                self.reply_from_text(key, status, true);
            }
            Decision::Direct(status) => {
                if let Some(state) = self.listener(listener) {
                    state.counters.rq_direct_response.increment();
                }
                self.reply_from_text(key, status, false);
            }
        }
    }

    /// Answers with what [`Proxy::decide`] wrote to the text.
    fn reply_from_text(&mut self, key: ExchangeKey, status: u16, location: bool) {
        let text = std::mem::take(&mut self.text);
        let flags = crate::ResponseFlags::NONE;
        let parts = if location {
            ReplyParts { status, flags, body: &[], location: Some(&text) }
        } else {
            ReplyParts { status, flags, body: &text, location: None }
        };
        self.reply_with(key, &parts);
        self.text = text;
    }

    #[inline]
    fn decide(&mut self, key: ExchangeKey) -> Decision {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return Decision::Reply(Reply::OVERLOAD);
        };
        let Some(head) = exchange.head.as_deref_mut() else {
            return Decision::Reply(Reply::OVERLOAD);
        };
        let snapshot = exchange.pin.as_ref().and_then(|pin| self.pins.get(pin));
        let Some(listener) = snapshot.and_then(|s| s.listener(exchange.plan.listener)) else {
            return Decision::Reply(Reply::NO_ROUTE);
        };
        if let BodyLength::Known(length) = exchange.body
            && length > exchange.plan.body_max
        {
            return Decision::Reply(Reply::BODY_TOO_LARGE);
        }
        let mut connects = head.method() == Method::Connect;
        if connects && !head.protocol().is_empty() {
            let state = self.listeners.get(exchange.plan.listener.index()).and_then(Option::as_ref);
            let allowed = state.is_some_and(|state| state.http2.config.connect_protocol);
            if !allowed || !websocket::begin(head) {
                return Decision::Reply(Reply::NO_TUNNEL);
            }
            exchange.body = BodyLength::None;
            exchange.tunnel = Tunnel::Asked(Form::WebSocket { accept: Span::EMPTY });
            connects = false;
        } else if connects {
            if !tunnel::is_connect(head, exchange.body) {
                return Decision::Reply(Reply::BAD_CONNECT);
            }
            (exchange.body, exchange.tunnel) = (BodyLength::None, Tunnel::Asked(Form::Connect));
        }
        let looked = look_at(head, &mut self.scratch, self.wires.heads.runs());
        let Ok(Looked { path_len, is_call }) = looked else {
            return Decision::Reply(Reply::BAD_PATH);
        };
        let path = Path::with_len(head, path_len as usize);
        let routes = &listener.routes;
        let found = if connects { routes.find_connect(head) } else { routes.find(head, &path) };
        let Ok(route) = found else {
            return Decision::Reply(Reply::NO_ROUTE);
        };
        if connects && route.connect() == Some(Connect::Terminate) {
            exchange.kind = Kind::Connect;
        }
        let plan = &mut exchange.plan;
        plan.route = Some(route.id);
        plan.virtual_host = Some(route.virtual_host);
        plan.timeout = route.timeout;
        plan.retries_left = route.retries;
        if is_call {
            exchange.call.begin(exchange.started, head, route, plan);
            if exchange.call.is_over(self.wires.now) {
                return Decision::Reply(Reply::CALL_DEADLINE);
            }
        }
        match &route.action {
            Action::Cluster(cluster) => plan.cluster = Some(*cluster),
            Action::Weighted(clusters) => plan.cluster = Some(clusters.pick(self.rng.next_u32())),
            Action::Redirect(redirect) => {
                self.text.clear();
                redirect.location(head, Scheme::Http, &mut self.text);
                return Decision::Redirect(redirect.status);
            }
            Action::Direct(direct) => {
                self.text.clear();
                self.text.extend_from_slice(&direct.body);
                return Decision::Direct(direct.status);
            }
        }
        if route.rewrites_path() {
            self.text.clear();
            self.text.extend_from_slice(head.path());
        }
        if route.rewrite(head, &mut self.scratch).is_err() {
            return Decision::Reply(Reply::BAD_PATH);
        }
        if route.rewrites_path() {
            head.set(NameId::X_ENVOY_ORIGINAL_PATH, &self.text);
        }
        let session = self.sessions.get_mut(exchange.downstream);
        let Some((peer, said)) = session.and_then(Session::peer_and_said) else {
            return Decision::Reply(Reply::OVERLOAD);
        };
        let mut context = FilterContext {
            peer: peer.into(),
            scheme: Scheme::Http,
            request_edits: Some(&route.request_edits),
            response_edits: None,
            rng: &mut self.rng,
            scratch: &mut self.filter_text,
            said: said.map(|said| (said, self.wires.heads.runs())),
        };
        match listener.filters.decode_head(&mut exchange.filters, head, exchange.body, &mut context)
        {
            FilterResult::Continue => Decision::Forward,
            FilterResult::StopWithReply(reply) => Decision::Reply(Reply::of_filter(reply)),
        }
    }

    /// What filters and the route do to a response, of an endpoint or our own.
    pub(crate) fn filter_response(
        &mut self,
        key: ExchangeKey,
        head: &mut Head,
        body: BodyLength,
    ) -> FilterResult {
        let Some(exchange) = self.exchanges.get_mut(key) else { return FilterResult::Continue };
        let snapshot = exchange.pin.as_ref().and_then(|pin| self.pins.get(pin));
        let listener = snapshot.and_then(|s| s.listener(exchange.plan.listener));
        let session = self.sessions.get(exchange.downstream);
        let downstream = session.and_then(|session| session.downstream());
        let Some((listener, downstream)) = listener.zip(downstream) else {
            return FilterResult::Continue;
        };
        let editor = exchange.plan.route.and_then(|id| listener.response_editor(id));
        let mut context = FilterContext {
            peer: downstream.peer.into(),
            scheme: Scheme::Http,
            request_edits: None,
            response_edits: editor.map(|route| &route.response_edits),
            rng: &mut self.rng,
            scratch: &mut self.filter_text,
            said: None,
        };
        listener.filters.encode_head(&mut exchange.filters, head, body, &mut context)
    }
}
