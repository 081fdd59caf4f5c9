//! The operator's changes to header fields.

use sluice_l7_core::{BodyLength, Head};

use crate::filter::{Filter, FilterContext, FilterResult, FilterState};

/// Applies the header edits of the route, which the context carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteEdits;

impl Filter for RouteEdits {
    #[inline]
    fn decode_head(
        &self,
        _state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        if let Some(edits) = cx.request_edits {
            edits.apply(head);
        }
        FilterResult::Continue
    }

    #[inline]
    fn encode_head(
        &self,
        _state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        if let Some(edits) = cx.response_edits {
            edits.apply(head);
        }
        FilterResult::Continue
    }
}
