//! The filters of one listener.

use sluice_buf::Chain;
use sluice_config_model::HttpListener;
use sluice_l7_core::{BodyLength, Head};

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
}

/// What the filters of a chain remember of one exchange; by the filter's place in the chain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FilterStates {
    states: [FilterState; FILTERS_MAX],
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
        Self { filters: STOCK.into() }
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
    pub fn has_body_filters(&self) -> bool {
        // No stock filter does.
        false
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
        run(self.filters.iter().zip(&mut states.states), |(filter, state)| {
            filter.decode_head(state, head, body, cx)
        })
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
    results.find(|result| *result != FilterResult::Continue).unwrap_or(FilterResult::Continue)
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
