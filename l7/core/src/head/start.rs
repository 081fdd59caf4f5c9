//! What a head starts with.

use crate::{Method, Span};

/// What a head starts with; text by [`Head::text`](super::Head::text).
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// A request line, or the pseudo-header fields of a request.
    Request {
        /// The method.
        method: Method,
        /// Its name; empty for a known method that was set here.
        method_text: Span,
        /// Path and query, `*`, or nothing (CONNECT).
        path: Span,
        /// Host and port.
        authority: Span,
        /// The target's scheme, if it said one.
        scheme: Scheme,
        /// `:protocol` of an extended CONNECT (RFC 8441).
        protocol: Span,
    },
    /// A status line.
    Response {
        /// 100 to 999.
        status: u16,
        /// The phrase as received.
        reason: Span,
    },
    /// A trailer section has no start line.
    Trailers,
}

/// The scheme a request's target named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// None: origin-form. The connection decides.
    Implied,
    /// `http`
    Http,
    /// `https`
    Https,
}
