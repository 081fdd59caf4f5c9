//! What an exchange knows while it rests, as bytes: every field once, for both ways.
//!
//! ```text
//!   oldest ids | bits | both sides | times since it began | counts | plan | call | head | replay
//! ```
//!
//! Numbers take 7 bits per byte, and most of what an exchange could know it does not. What cannot be
//! while it rests ([`Exchange::is_foldable`]) is not written.

use std::time::Duration;

use sluice_base::{ClusterId, ConnId, EndpointId, Instant, RouteId, VirtualHostId};
use sluice_l7_core::{BodyLength, StreamId};
use sluice_l7_filter::FilterStates;
use sluice_l7_grpc::Statuses;

use super::{Exchange, Kind, State, Upstream};
use crate::flags::ResponseFlags;
use crate::limits::FOLDED_REPLAY_MAX;
use crate::pins::Pin;
use crate::plan::{Plan, Tried};
use crate::tunnel::Tunnel;

/// One way over the fields: each number is written, or becomes what was written.
pub(crate) trait Way {
    /// The next number.
    fn number(&mut self, value: u64) -> u64;

    /// The next few truths.
    fn bits<const N: usize>(&mut self, bits: [&mut bool; N]) {
        let together = bits.iter().rev().fold(0, |sum, bit| sum << 1 | u64::from(**bit));
        let together = self.number(together);
        for (at, bit) in bits.into_iter().enumerate() {
            *bit = together >> at & 1 == 1;
        }
    }

    /// A number of 32 bits, or of fewer.
    fn short<T: Copy + Into<u64> + TryFrom<u64> + Default>(&mut self, value: &mut T) {
        *value = T::try_from(self.number((*value).into())).unwrap_or_default();
    }

    /// A number that may not be.
    fn maybe<T>(&mut self, value: &mut Option<T>, from: impl Fn(&T) -> u64, to: impl Fn(u64) -> T) {
        let number = self.number(value.as_ref().map_or(0, |value| from(value).saturating_add(1)));
        *value = number.checked_sub(1).map(to);
    }

    /// A time at or after `base`, or never.
    fn time(&mut self, base: Instant, time: &mut Instant) {
        let mut since = (*time != Instant::NEVER).then(|| time.nanos_since(base));
        self.maybe(&mut since, |nanos| *nanos, |nanos| nanos);
        *time = since.map_or(Instant::NEVER, |nanos| base.plus_nanos(nanos));
    }

    /// A span of time, if there is one.
    fn span(&mut self, span: &mut Option<Duration>) {
        let nanos = |span: &Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.maybe(span, nanos, Duration::from_nanos);
    }
}

/// Writes.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Way for Writer<'_> {
    fn number(&mut self, value: u64) -> u64 {
        let mut rest = value;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        value
    }
}

/// Reads what a [`Writer`] wrote.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Way for Reader<'_> {
    fn number(&mut self, _value: u64) -> u64 {
        let (mut value, mut shift) = (0, 0);
        while let Some((&byte, behind)) = self.0.split_first() {
            self.0 = behind;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}

impl Exchange {
    /// Whether it waits for nothing but what its two streams will bring, and holds nothing that bytes
    /// could not say.
    pub(crate) fn is_foldable(&self) -> bool {
        let is_sent = matches!(self.state, State::Sent | State::Responding);
        is_sent
            && self.kind == Kind::Http
            && !self.tunnel.is_asked()
            && self.upstream.is_some()
            && self.head.is_none()
            && self.replay.len() <= FOLDED_REPLAY_MAX
            && self.early.is_empty()
            && self.trailers.is_none()
            && !self.pending_permit
    }

    /// Goes over the fields; what its endpoint is, its stream there knows.
    pub(super) fn walk(&mut self, way: &mut impl Way) {
        // By name, so that a new field cannot be forgotten.
        let Self {
            generation: _,
            next_free: _,
            state,
            kind: _,
            request_ended,
            request_forwarded,
            response_begun,
            head_sent,
            pending_permit: _,
            retry_permit,
            replay_lost,
            retried,
            resent,
            status,
            flags,
            downstream,
            stream,
            upstream,
            endpoint: _,
            awaits: _,
            remote: _,
            pin,
            head: _,
            packed: _,
            body,
            filters,
            replay: _,
            early: _,
            trailers: _,
            request_owed,
            response_owed,
            tunnel,
            call,
            plan,
            named,
            tried,
            started,
            last_activity,
            route_deadline,
            retry_at: _,
            sent_at,
            head_at,
            request_bytes,
            response_bytes,
            queue_next: _,
            queue_prev: _,
        } = self;
        // In front, where it is found without the rest.
        *named = way.number(*named);
        let mut responding = *state == State::Responding;
        let (mut open, mut answered) = (*tunnel == Tunnel::Open, *tunnel == Tunnel::Answered);
        let mut call_too = call.is_call();
        way.bits([
            request_ended,
            request_forwarded,
            response_begun,
            head_sent,
            replay_lost,
            retried,
            resent,
            retry_permit,
            &mut responding,
            &mut open,
            &mut answered,
            &mut call_too,
        ]);
        *state = if responding { State::Responding } else { State::Sent };
        *tunnel = match (open, answered) {
            (true, _) => Tunnel::Open,
            (false, true) => Tunnel::Answered,
            (false, false) => Tunnel::No,
        };
        let nowhere = Upstream { conn: ConnId::default(), stream: StreamId::CONNECTION };
        let upstream = upstream.get_or_insert(nowhere);
        for (conn, stream) in [(downstream, stream), (&mut upstream.conn, &mut upstream.stream)] {
            way.short(&mut conn.index);
            way.short(&mut conn.generation);
            let mut number = stream.number();
            way.short(&mut number);
            *stream = StreamId::new(number);
        }
        *started = Instant::from_nanos(way.number(started.as_nanos()));
        for time in [last_activity, route_deadline, sent_at, head_at] {
            way.time(*started, time);
        }
        way.short(status);
        *flags = ResponseFlags::from_bits(way.number(flags.bits().into()) as u16);
        way.maybe(pin, |pin| pin.number().into(), |number| Pin::numbered(number as u8));
        *body = body_of(way.number(number_of(*body)));
        *filters = FilterStates::from_bits(way.number(filters.bits().into()) as u8);
        for count in [request_owed, response_owed] {
            way.short(count);
        }
        for count in [request_bytes, response_bytes] {
            *count = way.number(*count);
        }
        plan.walk(way);
        tried.walk(way);
        if call_too {
            call.walk(*started, way);
        }
    }
}

const BODY_NONE: u64 = 0;
const BODY_CHUNKED: u64 = 1;
const BODY_UNTIL_CLOSE: u64 = 2;
const BODY_KNOWN: u64 = 3;

fn number_of(body: BodyLength) -> u64 {
    match body {
        BodyLength::None => BODY_NONE,
        BodyLength::Chunked => BODY_CHUNKED,
        BodyLength::UntilClose => BODY_UNTIL_CLOSE,
        BodyLength::Known(length) => length.saturating_add(BODY_KNOWN),
    }
}

fn body_of(number: u64) -> BodyLength {
    match number {
        BODY_NONE => BodyLength::None,
        BODY_CHUNKED => BodyLength::Chunked,
        BODY_UNTIL_CLOSE => BodyLength::UntilClose,
        known => BodyLength::Known(known - BODY_KNOWN),
    }
}

impl Plan {
    fn walk(&mut self, way: &mut impl Way) {
        let Self {
            listener,
            virtual_host,
            route,
            cluster,
            timeout,
            idle_timeout,
            retries_left,
            retry_on,
            body_max,
        } = self;
        way.short(&mut listener.0);
        way.maybe(virtual_host, |id| id.0.into(), |id| VirtualHostId(id as u32));
        way.maybe(route, |id| id.0.into(), |id| RouteId(id as u32));
        way.maybe(cluster, |id| id.0.into(), |id| ClusterId(id as u32));
        way.span(timeout);
        way.span(idle_timeout);
        way.short(retries_left);
        *retry_on = Statuses::from_bits(way.number(retry_on.bits().into()) as u32);
        // Usually there is no bound.
        *body_max = way.number(body_max.wrapping_add(1)).wrapping_sub(1);
    }
}

impl Tried {
    fn walk(&mut self, way: &mut impl Way) {
        let before = *self;
        let count = way.number(before.as_slice().len() as u64);
        self.clear();
        for at in 0..count as usize {
            let endpoint = before.as_slice().get(at).map_or(0, |endpoint| endpoint.0);
            self.push(EndpointId(way.number(endpoint.into()) as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_base::{ListenerId, RouteId, VirtualHostId};
    use sluice_buf::{Chain, Pool};
    use sluice_l7_grpc::Status;

    use super::super::{ExchangeKey, Exchanges, is_folded};
    use super::*;
    use crate::wires::Wires;

    /// Every field with a value of its own: what is not written down comes back as nothing.
    fn full(table: &mut Exchanges, pool: &Pool) -> ExchangeKey {
        let conn = |index| ConnId { index, generation: 77 };
        let now = Instant::from_millis(86_400_000);
        let begun = table.begin(Kind::Http, conn(3), StreamId::new(301), now);
        let (key, exchange) = begun.expect("room for one");
        let later = |millis: u64| now.plus_nanos(millis * 1_000_000 + 1);
        exchange.upstream = Some(Upstream { conn: conn(u32::MAX - 2), stream: StreamId::new(5) });
        (exchange.state, exchange.tunnel) = (State::Responding, Tunnel::Answered);
        (exchange.request_ended, exchange.retried, exchange.head_sent) = (true, true, true);
        exchange.retry_permit = true;
        (exchange.status, exchange.flags) = (206, ResponseFlags::RETRY_LIMIT);
        exchange.pin = Some(Pin::numbered(63));
        exchange.body = BodyLength::Known(u64::MAX - 9);
        exchange.filters = FilterStates::from_bits(0b1000_0001);
        exchange.replay = Chain::copy_from(b"body", pool).expect("room");
        (exchange.request_owed, exchange.response_owed) = (65_535, u32::MAX);
        (exchange.request_bytes, exchange.response_bytes) = (4, u64::MAX);
        exchange.plan = Plan {
            listener: ListenerId(1),
            virtual_host: Some(VirtualHostId(2)),
            route: Some(RouteId(u32::MAX)),
            cluster: Some(ClusterId(0)),
            timeout: Some(Duration::from_millis(15_000)),
            idle_timeout: None,
            retries_left: 3,
            retry_on: Statuses::NONE.with(Status::Unavailable),
            body_max: 1 << 40,
        };
        exchange.named = 9;
        (1..=8).for_each(|id| exchange.tried.push(EndpointId(id)));
        (exchange.last_activity, exchange.sent_at) = (later(5), later(1));
        (exchange.head_at, exchange.route_deadline) = (later(4), later(3_600_000));
        key
    }

    #[test]
    fn what_was_folded_comes_out_as_it_went_in() {
        let pool = Pool::heap(64);
        let (mut table, mut scratch) = (Exchanges::new(2), Vec::new());
        let mut wires = Wires::new(Pool::heap(64), 4);
        let key = full(&mut table, &pool);
        let exchange = table.get(key).expect("it is there");
        let (plan, tried) = (format!("{:?}", exchange.plan), exchange.tried);
        let folded = table.fold(key, &mut scratch).expect("it is there");
        assert!(is_folded(folded) && table.get(key).is_none() && table.get(folded).is_none());
        assert_eq!((table.len(), table.folded_named(folded), scratch.len()), (1, Some(9), 0));
        let bytes = table.folded.get(folded).expect("it is there").to_vec();
        let (again, exchange) = table.unfold(folded, &mut wires).expect("it is there");
        assert_eq!(again.index, key.index, "the slot was free for others");
        assert_eq!(format!("{:?}", exchange.plan), plan);
        assert_eq!(exchange.tried.as_slice(), tried.as_slice());
        assert_eq!(exchange.filters.bits(), 0b1000_0001);
        assert!(exchange.retry_permit);
        assert_eq!((exchange.state, exchange.tunnel), (State::Responding, Tunnel::Answered));
        assert_eq!(exchange.pin, Some(Pin::numbered(63)));
        assert_eq!((exchange.replay.to_vec(), exchange.endpoint), (b"body".to_vec(), None));
        let folded = table.fold(again, &mut scratch).expect("it is there");
        assert_eq!(table.folded.get(folded), Some(&*bytes), "and as often as one likes");
        assert!(
            table.unfold(again, &mut wires).is_none() && table.unfold(key, &mut wires).is_none()
        );
    }

    #[test]
    fn those_that_are_folded_count_as_well() {
        let pool = Pool::heap(64);
        let (mut table, mut scratch) = (Exchanges::new(2), Vec::new());
        let mut wires = Wires::new(Pool::heap(64), 4);
        let conn = ConnId { index: 0, generation: 1 };
        let mut folded = Vec::new();
        for _ in 0..2 {
            let key = full(&mut table, &pool);
            folded.extend(table.fold(key, &mut scratch));
        }
        assert_eq!((table.slots(), table.folded_slots(), table.len()), (1, 2, 2));
        let begin = |table: &mut Exchanges| {
            table.begin(Kind::Http, conn, StreamId::new(1), Instant::ZERO).is_some()
        };
        assert!(!begin(&mut table));
        for key in folded {
            let (key, exchange) = table.unfold(key, &mut wires).expect("there is always room");
            exchange.replay.clear();
            table.end(key);
        }
        assert!(begin(&mut table) && begin(&mut table) && !begin(&mut table));
        assert_eq!((table.slots(), table.len()), (2, 2));
    }
}
