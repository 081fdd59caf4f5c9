//! What a route changes about a request on its way upstream.

use sluice_config_model::{PathMatch, Route};
use sluice_l7_core::{Head, HeaderEdits};

use crate::matcher::PathPattern;
use crate::{CompiledRoute, Path, PathError, PathScratch};

/// Which part of a path its route matched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Matched {
    /// So many bytes from the start.
    Prefix(usize),
    /// All of it.
    Whole,
}

impl Matched {
    pub(crate) fn by(pattern: &PathPattern) -> Self {
        match pattern {
            PathPattern::Prefix(prefix) => Self::Prefix(prefix.len()),
            PathPattern::Exact(_) | PathPattern::Regex(_) | PathPattern::Connect(_) => Self::Whole,
        }
    }

    /// What follows the matched part.
    #[inline]
    pub(crate) fn rest(self, path: &[u8]) -> &[u8] {
        match self {
            Self::Prefix(len) => path.get(len..).unwrap_or_default(),
            Self::Whole => &[],
        }
    }
}

/// Replaces the matched part of a path.
#[derive(Clone, Debug)]
pub(crate) struct PrefixRewrite {
    matched: Matched,
    with: Box<[u8]>,
}

impl PrefixRewrite {
    pub(crate) fn compile(route: &Route, matched: Matched) -> Option<Self> {
        let with = route.prefix_rewrite.as_deref()?;
        debug_assert!(
            !matches!(route.matcher.path, PathMatch::Regex(_) | PathMatch::Connect(_)),
            "see Route::prefix_rewrite"
        );
        Some(Self { matched, with: with.as_bytes().into() })
    }
}

impl CompiledRoute {
    /// Whether [`CompiledRoute::rewrite`] changes the path.
    #[inline]
    #[must_use]
    pub const fn rewrites_path(&self) -> bool {
        self.prefix_rewrite.is_some()
    }

    /// Rewrites path and authority of a request that goes upstream; the path of `head` is
    /// normalised, and is the one that this route matched.
    ///
    /// # Errors
    /// [`PathError::RewriteMakesDotSegment`]: answer 400. The prefix `/a` also takes `/a../b`, and
    /// with `/c/` in its place that would be `/c/../b`, outside of what the route leads to.
    #[inline]
    pub fn rewrite(&self, head: &mut Head, scratch: &mut PathScratch) -> Result<(), PathError> {
        if let Some(rewrite) = &self.prefix_rewrite {
            let path = Path::of(head);
            let text = scratch.begin();
            text.extend_from_slice(&rewrite.with);
            text.extend_from_slice(rewrite.matched.rest(path.path()));
            if text.first() != Some(&b'/') {
                text.insert(0, b'/');
            }
            if has_dot_segment(text) {
                return Err(PathError::RewriteMakesDotSegment);
            }
            text.extend_from_slice(&path.target()[path.path().len()..]);
            head.set_path(text);
        }
        if let Some(host) = &self.host_rewrite {
            head.set_authority(host);
        }
        Ok(())
    }
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."))
}

/// The two sets of header edits of a route: request's and response's.
pub(crate) fn header_edits(route: &Route) -> (HeaderEdits, HeaderEdits) {
    let edits = |remove: &[String], add: &[sluice_config_model::HeaderValue]| {
        let add: Vec<_> = add.iter().map(|field| (&*field.name, &*field.value)).collect();
        HeaderEdits::new(remove.iter().map(String::as_str), add)
    };
    (
        edits(&route.request_headers_remove, &route.request_headers_add),
        edits(&route.response_headers_remove, &route.response_headers_add),
    )
}
