//! What gRPC adds to an exchange: a deadline, how often it was tried, and what is counted by method.

use std::time::Duration;

use sluice_base::Instant;
use sluice_buf::Chain;
use sluice_config_model::{GrpcTimeout, RetryOn};
use sluice_l7_core::{Head, Method, NameId};
use sluice_l7_grpc::{Messages, Status, is_grpc, timeout};
use sluice_l7_route::CompiledRoute;

use crate::exchange::{Exchange, ExchangeKey, Way};
use crate::flags::ResponseFlags;
use crate::methods::Place;
use crate::plan::Plan;
use crate::proxy::Proxy;

/// How often a call was made before, as who makes it again says (gRPC's proposal A6).
const PREVIOUS_ATTEMPTS: &[u8] = b"grpc-previous-rpc-attempts";

/// Whether a request is a call of gRPC.
pub(crate) fn is_call(head: &Head) -> bool {
    head.method() == Method::Post && head.get(NameId::CONTENT_TYPE).is_some_and(is_grpc)
}

/// A call of gRPC; of any other request, nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// It is one.
    is_call: bool,
    /// How it ended, as far as is known.
    pub(crate) status: Option<Status>,
    /// Where its method is counted, if it was when the call began.
    pub(crate) place: Option<Place>,
    /// When its caller stops waiting.
    deadline: Instant,
    /// What has passed of the messages, and how many of them have not been counted.
    pub(crate) request: Passed,
    pub(crate) response: Passed,
}

/// Messages of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    messages: Messages,
    count: u32,
}

impl Passed {
    const NONE: Self = Self { messages: Messages::new(), count: 0 };

    /// Body bytes have passed. What is no message is not counted, and is the other side's to refuse.
    pub(crate) fn pass(&mut self, bytes: &Chain) {
        self.count = self.count.saturating_add(self.messages.pass(bytes).unwrap_or(0));
    }

    /// The same of bytes in one piece.
    #[inline]
    pub(crate) fn pass_whole(&mut self, bytes: &[u8]) {
        self.count = self.count.saturating_add(self.messages.pass_whole(bytes).unwrap_or(0));
    }

    /// Whether the last one that has begun has passed whole.
    pub(crate) fn is_between(&self) -> bool {
        self.messages.is_between()
    }

    /// How many have passed since the last time.
    pub(crate) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.count)
    }

    fn walk(&mut self, way: &mut impl Way) {
        self.messages = Messages::from_bits(way.number(self.messages.bits()));
        way.short(&mut self.count);
    }
}

impl Call {
    /// No call.
    pub(crate) const NONE: Self = Self {
        is_call: false,
        status: None,
        place: None,
        deadline: Instant::NEVER,
        request: Passed::NONE,
        response: Passed::NONE,
    };

    /// Nothing, from here on. What only a call uses is set when one begins.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.is_call = false;
        self.deadline = Instant::NEVER;
    }

    /// Goes over what a call of an exchange that began at `started` knows.
    pub(crate) fn walk(&mut self, started: Instant, way: &mut impl Way) {
        let Self { is_call, status, place, deadline, request, response } = self;
        *is_call = true;
        way.maybe(status, |status| status.code().into(), Status::of_code);
        way.maybe(place, |place| place.0.into(), |place| Place(place as u16));
        way.time(started, deadline);
        request.walk(way);
        response.walk(way);
    }

    /// Whether it is one.
    #[inline]
    pub(crate) fn is_call(&self) -> bool {
        self.is_call
    }

    /// A call has found its route: takes over what the route says about calls.
    pub(crate) fn begin(
        &mut self,
        started: Instant,
        head: &Head,
        route: &CompiledRoute,
        plan: &mut Plan,
    ) {
        *self = Self { is_call: true, ..Self::NONE };
        plan.retry_on = route.retry_on.iter().map(|condition| status_of(*condition)).collect();
        // What cannot be read is the endpoint's to refuse.
        let Some(wanted) = head.get(NameId::GRPC_TIMEOUT).and_then(timeout::parse) else { return };
        let allowed = match route.grpc_timeout {
            GrpcTimeout::Besides => wanted,
            GrpcTimeout::Instead(max) => {
                plan.timeout = None;
                max.map_or(wanted, |max| wanted.min(max))
            }
        };
        self.deadline = started + allowed;
    }

    /// When its caller stops waiting; never, if it did not say.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its caller has stopped waiting.
    #[inline]
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now
    }

    /// Tells the endpoint how long it has, which is less than the caller said. What a filter took
    /// out stays out.
    pub(crate) fn say_time_left(&self, head: Option<&mut Head>, now: Instant) {
        let Some(head) = head.filter(|head| head.contains(NameId::GRPC_TIMEOUT)) else { return };
        let mut text = [0; timeout::TEXT_MAX];
        let len = timeout::write(Duration::from_nanos(self.deadline.nanos_since(now)), &mut text);
        head.set(NameId::GRPC_TIMEOUT, &text[..len]);
    }

    /// Tells the next endpoint that it is not the first.
    pub(crate) fn count_attempt(&self, head: Option<&mut Head>) {
        let Some(head) = head else { return };
        let before = head.find(PREVIOUS_ATTEMPTS).and_then(|text| {
            let digits = text.len() <= 4 && text.iter().all(u8::is_ascii_digit);
            digits
                .then(|| text.iter().fold(0, |sum: u32, digit| sum * 10 + u32::from(digit - b'0')))
        });
        let mut count = before.unwrap_or(0) + 1;
        let mut text = [0; 10];
        let mut at = text.len();
        while count > 0 {
            at -= 1;
            text[at] = b'0' + (count % 10) as u8;
            count /= 10;
        }
        head.set(PREVIOUS_ATTEMPTS, &text[at..]);
    }
}

const fn status_of(condition: RetryOn) -> Status {
    match condition {
        RetryOn::Cancelled => Status::Cancelled,
        RetryOn::DeadlineExceeded => Status::DeadlineExceeded,
        RetryOn::Internal => Status::Internal,
        RetryOn::ResourceExhausted => Status::ResourceExhausted,
        RetryOn::Unavailable => Status::Unavailable,
    }
}

/// From how old on the messages of a call are counted as they pass, and not when it ends.
pub(crate) const LASTING: Duration = Duration::from_secs(1);

/// One direction of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// Statistics.
impl Proxy {
    /// A call goes to its cluster: where its method is counted there.
    pub(crate) fn place_call(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let state = exchange.cluster().and_then(|id| self.pools.cluster(id));
        if let Some((state, head)) = state.zip(exchange.head.as_deref()) {
            exchange.call.place = state.counters.methods.find(head.path());
        }
    }

    /// A call that nobody made before was answered, and lasts: its method gets its place now.
    pub(crate) fn place_answered(&mut self, key: ExchangeKey, path: &[u8]) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let known = exchange.call.status != Some(Status::Unimplemented);
        if let Some(state) = exchange.plan.cluster.and_then(|id| self.pools.cluster(id)) {
            let methods = &state.counters.methods;
            methods.entry(path, known);
            exchange.call.place = methods.find(path);
        }
    }

    /// Counts the messages that have passed of a call that lasts, so that it is seen while it does.
    #[cold]
    pub(crate) fn count_messages(&mut self, key: ExchangeKey, direction: Direction) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let passed = match direction {
            Direction::Request => &mut exchange.call.request,
            Direction::Response => &mut exchange.call.response,
        };
        let Some(place) = exchange.call.place else { return };
        let Some(state) = exchange.plan.cluster.and_then(|id| self.pools.cluster(id)) else {
            return;
        };
        let Some(method) = state.counters.methods.at(place) else { return };
        let messages = match direction {
            Direction::Request => &method.request_messages,
            Direction::Response => &method.response_messages,
        };
        messages.add(passed.take().into());
    }

    /// The status that a head or trailers of the answer to a call say.
    pub(crate) fn note_status(&mut self, key: ExchangeKey, head: &Head) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let said = head.get(NameId::GRPC_STATUS).map(|value| {
            // What is no number says nothing.
            Status::parse(value).unwrap_or(Status::Unknown)
        });
        let by_http = || {
            let has_failed = !matches!(head.status(), 0 | 200);
            has_failed.then(|| Status::of_http(head.status()))
        };
        exchange.call.status = said.or_else(by_http).or(exchange.call.status);
    }

    /// A call is over.
    #[inline(never)]
    pub(crate) fn count_call(&mut self, key: ExchangeKey, flags: ResponseFlags) {
        let now = self.wires.now;
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let status = exchange.call.status.unwrap_or_else(|| guessed(exchange, flags, now));
        let Some(state) = exchange.plan.cluster.and_then(|id| self.pools.cluster(id)) else {
            return;
        };
        let path = exchange.head.as_deref().map(Head::path).unwrap_or_default();
        let methods = &state.counters.methods;
        let method = match exchange.call.place.and_then(|place| methods.at(place)) {
            Some(method) => method,
            // Who made an answer knew what was asked for, unless it says that it did not.
            None => {
                let known = exchange.head_at != Instant::NEVER && status != Status::Unimplemented;
                methods.entry(path, known)
            }
        };
        method.request_messages.add(exchange.call.request.take().into());
        method.response_messages.add(exchange.call.response.take().into());
        method.count(status, now.nanos_since(exchange.started));
    }
}

/// The status of a call that ended without one.
fn guessed(exchange: &Exchange, flags: ResponseFlags, now: Instant) -> Status {
    if exchange.call.is_over(now) {
        Status::DeadlineExceeded
    } else if flags.contains(ResponseFlags::DOWNSTREAM_TERMINATION) {
        Status::Cancelled
    } else if flags.contains(ResponseFlags::UPSTREAM_TERMINATION) {
        Status::Unavailable
    } else {
        Status::Unknown
    }
}
