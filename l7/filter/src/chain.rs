//! The filters of one listener.

use sluice_buf::Chain;
use sluice_config_model::HttpListener;
use sluice_l7_core::{BodyLength, Head, NameSet};

use crate::filter::{Filter, FilterContext, FilterResult, FilterState};
use crate::{Forwarded, HopByHop, RequestId, RouteEdits};

/// Filters of a chain at most: the states of an exchange are an array in it.
pub const FILTERS_MAX: usize = 8;

/// The filters of one listener, in decode order; immutable.
///
/// Filters are an enum: a call is a jump and not a virtual call, and what it does can be inlined.
#[derive(Clone, Debug, Default)]
pub struct FilterChain {
    filters: Box<[StockFilter]>,
    looks_at_bodies: bool,
    /// Names of which a response must have one for any filter to change it.
    concerned: NameSet,
}

/// What the filters of a chain remember of one exchange; by the filter's place in the chain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FilterStates {
    states: [FilterState; FILTERS_MAX],
}

const _: () = assert!(FILTERS_MAX <= 8, "a bit per state");

impl FilterStates {
    /// A bit per state.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.states.iter().rev().fold(0, |sum, state| {
            sum << 1
                | match state {
                    FilterState::None => 0,
                    FilterState::Upgrade => 1,
                }
        })
    }

    /// The other way round.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        let state = |at: usize| match bits >> at & 1 {
            0 => FilterState::None,
            _ => FilterState::Upgrade,
        };
        Self { states: std::array::from_fn(state) }
    }
}

#[derive(Clone, Copy, Debug)]
enum StockFilter {
    HopByHop(HopByHop),
    Forwarded(Forwarded),
    RequestId(RequestId),
    RouteEdits(RouteEdits),
}

/// In this order: first what concerned the hop before us goes, then we say who asked, and last the
/// operator's edits, which may overrule all of it.
const STOCK: [StockFilter; 4] = [
    StockFilter::HopByHop(HopByHop),
    StockFilter::Forwarded(Forwarded),
    StockFilter::RequestId(RequestId),
    StockFilter::RouteEdits(RouteEdits),
];

const _: () = assert!(STOCK.len() <= FILTERS_MAX);

macro_rules! each {
    ($self:ident, $filter:ident => $call:expr) => {
        match $self {
            Self::HopByHop($filter) => $call,
            Self::Forwarded($filter) => $call,
            Self::RequestId($filter) => $call,
            Self::RouteEdits($filter) => $call,
        }
    };
}

impl FilterChain {
    /// The filters of `listener`: the stock ones, since configuration names no others yet.
    #[must_use]
    pub fn compile(_listener: &HttpListener) -> Self {
        Self::of(&STOCK)
    }

    fn of(filters: &[StockFilter]) -> Self {
        debug_assert!(filters.len() <= FILTERS_MAX, "every filter has a state in the exchange");
        Self {
            filters: filters.into(),
            looks_at_bodies: filters.iter().any(StockFilter::looks_at_bodies),
            concerned: filters.iter().fold(NameSet::EMPTY, |all, it| all.or(it.concerned())),
        }
    }

    /// The states of a new exchange.
    #[inline]
    #[must_use]
    pub fn start(&self) -> FilterStates {
        FilterStates::default()
    }

    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether any filter looks at bodies; if not, the body hooks need not be called.
    #[inline]
    #[must_use]
    pub const fn looks_at_bodies(&self) -> bool {
        self.looks_at_bodies
    }

    /// Whether a final response whose fields have these names passes every filter as it is, where the
    /// route edits none: then it need not be shown to them.
    #[inline]
    #[must_use]
    pub const fn leaves(&self, names: NameSet) -> bool {
        !self.looks_at_bodies && !names.meets(self.concerned)
    }

    /// A request's head, through the filters in order.
    #[inline]
    pub fn decode_head(
        &self,
        states: &mut FilterStates,
        head: &mut Head,
        body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        for (filter, state) in self.filters.iter().zip(&mut states.states) {
            let result = filter.decode_head(state, head, body, cx);
            if !matches!(result, FilterResult::Continue) {
                return result;
            }
        }
        FilterResult::Continue
    }

    /// Some of a request's body, through the filters in order.
    #[inline]
    pub fn decode_body(
        &self,
        states: &mut FilterStates,
        bytes: &mut Chain,
        end: bool,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        run(self.filters.iter().zip(&mut states.states), |(filter, state)| {
            filter.decode_body(state, bytes, end, cx)
        })
    }

    /// A response's final head (or 101), through the filters in reverse order.
    #[inline]
    pub fn encode_head(
        &self,
        states: &mut FilterStates,
        head: &mut Head,
        body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        let pairs = self.filters.iter().zip(&mut states.states);
        run(pairs.rev(), |(filter, state)| filter.encode_head(state, head, body, cx))
    }

    /// Some of a response's body, through the filters in reverse order.
    #[inline]
    pub fn encode_body(
        &self,
        states: &mut FilterStates,
        bytes: &mut Chain,
        end: bool,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        let pairs = self.filters.iter().zip(&mut states.states);
        run(pairs.rev(), |(filter, state)| filter.encode_body(state, bytes, end, cx))
    }
}

/// Until the first filter that stops.
#[inline]
fn run<T>(filters: impl Iterator<Item = T>, hook: impl FnMut(T) -> FilterResult) -> FilterResult {
    let mut results = filters.map(hook);
    results
        .find(|result| !matches!(result, FilterResult::Continue))
        .unwrap_or(FilterResult::Continue)
}

impl StockFilter {
    /// Names of which a final response must have one for the filter to change it, beside what its
    /// route asks for.
    const fn concerned(&self) -> NameSet {
        match self {
            Self::HopByHop(_) => HopByHop::CONCERNED,
            Self::Forwarded(_) | Self::RequestId(_) | Self::RouteEdits(_) => NameSet::EMPTY,
        }
    }

    const fn looks_at_bodies(&self) -> bool {
        match self {
            Self::HopByHop(_) | Self::Forwarded(_) | Self::RequestId(_) | Self::RouteEdits(_) => {
                false
            }
        }
    }
}

impl Filter for StockFilter {
    #[inline]
    fn decode_head(
        &self,
        state: &mut FilterState,
        head: &mut Head,
        body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        each!(self, filter => filter.decode_head(state, head, body, cx))
    }

    #[inline]
    fn decode_body(
        &self,
        state: &mut FilterState,
        bytes: &mut Chain,
        end: bool,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        each!(self, filter => filter.decode_body(state, bytes, end, cx))
    }

    #[inline]
    fn encode_head(
        &self,
        state: &mut FilterState,
        head: &mut Head,
        body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        each!(self, filter => filter.encode_head(state, head, body, cx))
    }

    #[inline]
    fn encode_body(
        &self,
        state: &mut FilterState,
        bytes: &mut Chain,
        end: bool,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        each!(self, filter => filter.encode_body(state, bytes, end, cx))
    }
}

#[cfg(test)]
mod tests {
    use sluice_buf::Pool;
    use sluice_l7_core::{HeaderEdits, NameId};

    use super::*;
    use crate::filter::tests::{Harness, head};

    fn stock() -> FilterChain {
        FilterChain::of(&STOCK)
    }

    /// Another order would let a client remove what we add by nominating it in Connection, or
    /// keep the operator from overruling a stock filter.
    #[test]
    fn what_concerns_the_hop_goes_first_and_the_operator_speaks_last() {
        let (chain, mut harness) = (stock(), Harness::default());
        let mut head = head(&[
            ("Connection", "x-forwarded-for, x-forwarded-proto, x-request-id, x-team"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-request-id", "mine"),
            ("x-team", "red"),
        ]);
        let edits = HeaderEdits::new(["x-request-id"], [("x-team", "blue")]);
        let mut cx = FilterContext { request_edits: Some(&edits), ..harness.context() };
        let mut states = chain.start();
        let result = chain.decode_head(&mut states, &mut head, BodyLength::None, &mut cx);
        assert_eq!(result, FilterResult::Continue);
        assert_eq!(
            Harness::fields(&head),
            "x-forwarded-for: 192.0.2.7 | x-forwarded-proto: http | x-team: blue"
        );
    }

    #[test]
    fn a_response_loses_its_hop_and_gets_the_routes_fields() {
        let (chain, mut harness) = (stock(), Harness::default());
        let mut head = Head::new();
        head.reset_to_response(200);
        head.append(NameId::CONNECTION, b"close, x-secret");
        head.append("x-secret", b"1");
        head.append(NameId::SERVER, b"s");
        let edits = HeaderEdits::new(["server"], [("x-served-by", "sluice")]);
        let mut cx = FilterContext { response_edits: Some(&edits), ..harness.context() };
        let mut states = chain.start();
        let result = chain.encode_head(&mut states, &mut head, BodyLength::Chunked, &mut cx);
        assert_eq!(result, FilterResult::Continue);
        assert_eq!(Harness::fields(&head), "x-served-by: sluice");
    }

    #[test]
    fn a_filter_that_stops_is_the_last_to_be_asked() {
        let (chain, mut harness) = (stock(), Harness::default());
        let mut head = head(&[("Connection", &vec!["x"; 100].join(","))]);
        let (mut states, mut cx) = (chain.start(), harness.context());
        let result = chain.decode_head(&mut states, &mut head, BodyLength::None, &mut cx);
        assert!(matches!(result, FilterResult::StopWithReply(reply) if reply.status == 400));
        assert!(!head.contains(NameId::X_REQUEST_ID));
    }

    #[test]
    fn bodies_pass_untouched() {
        let (chain, mut harness, pool) = (stock(), Harness::default(), Pool::heap(2));
        assert!(!chain.looks_at_bodies());
        let mut bytes = Chain::copy_from(b"body", &pool).expect("room");
        let (mut states, mut cx) = (chain.start(), harness.context());
        let result = chain.decode_body(&mut states, &mut bytes, false, &mut cx);
        assert_eq!(result, FilterResult::Continue);
        let result = chain.encode_body(&mut states, &mut bytes, true, &mut cx);
        assert_eq!((result, bytes.len()), (FilterResult::Continue, 4));
        drop(bytes);
        assert_eq!(pool.in_use(), 0);
    }

    /// After the first request, the text that filters write reuses what is there.
    #[test]
    fn nothing_grows_after_warm_up() {
        let (chain, mut harness) = (stock(), Harness::default());
        let mut own = None;
        for _ in 0..100 {
            let mut head = head(&[("x-forwarded-for", "198.51.100.1, 10.0.0.1")]);
            let mut states = chain.start();
            let mut cx = harness.context();
            let result = chain.decode_head(&mut states, &mut head, BodyLength::None, &mut cx);
            assert_eq!(result, FilterResult::Continue);
            let now = (cx.scratch.capacity(), head.own_text().len());
            assert_eq!(*own.get_or_insert(now), now);
        }
    }
}
