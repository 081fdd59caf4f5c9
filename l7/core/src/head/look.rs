//! Looking at a head.

use std::fmt;

use super::{Head, Scheme, Start};
use crate::{Field, Method, Span, Version};

impl Head {
    /// What it starts with.
    #[inline]
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// Whether it is a request's.
    #[inline]
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The version it was received with.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Whether the sender asks, with Connection and Upgrade, to change the protocol.
    #[inline]
    #[must_use]
    pub const fn is_upgrade(&self) -> bool {
        self.upgrade
    }

    /// The request's method; `Other` for what is no request.
    #[inline]
    #[must_use]
    pub const fn method(&self) -> Method {
        match self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } | Start::Trailers => Method::Other,
        }
    }

    /// The method's name.
    #[inline]
    #[must_use]
    pub fn method_text(&self) -> &[u8] {
        match self.start {
            Start::Request { method: Method::Other, method_text, .. } => self.text(method_text),
            Start::Request { method, .. } => method.as_str().as_bytes(),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The request's path and query; `*` for OPTIONS of a whole server; empty for CONNECT.
    #[inline]
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self.start {
            Start::Request { path, .. } => self.text(path),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The request's host and port, as sent; empty if it named none.
    #[inline]
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        match self.start {
            Start::Request { authority, .. } => self.text(authority),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The scheme that the request's target named.
    #[inline]
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self.start {
            Start::Request { scheme, .. } => scheme,
            Start::Response { .. } | Start::Trailers => Scheme::Implied,
        }
    }

    /// The protocol that an extended CONNECT asks for (RFC 8441); empty otherwise.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> &[u8] {
        match self.start {
            Start::Request { protocol, .. } => self.text(protocol),
            Start::Response { .. } | Start::Trailers => &[],
        }
    }

    /// The response's status; 0 for what is no response.
    #[inline]
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.start {
            Start::Response { status, .. } => status,
            Start::Request { .. } | Start::Trailers => 0,
        }
    }

    /// The response's reason phrase, as received.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Response { reason, .. } => self.text(reason),
            Start::Request { .. } | Start::Trailers => &[],
        }
    }

    /// Whether text was added that a line of HTTP/1.1 cannot carry: an end of line, NUL, a name that
    /// is no token, white space in a target.
    #[inline]
    #[must_use]
    pub const fn is_unprintable(&self) -> bool {
        self.unprintable
    }

    /// A field's name.
    #[inline]
    #[must_use]
    pub fn name(&self, field: &Field) -> &[u8] {
        name_of(self.received.as_deref(), &self.own, field)
    }

    /// The text of a span of this head.
    #[inline]
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        bytes(self.received.as_deref(), &self.own, span)
    }

    /// The whole received text (empty if there is none), for a reader of many spans.
    #[inline]
    #[must_use]
    pub fn received_text(&self) -> &[u8] {
        self.received.as_deref().unwrap_or_default()
    }

    /// The whole own text, for a reader of many spans.
    #[inline]
    #[must_use]
    pub fn own_text(&self) -> &[u8] {
        &self.own
    }

    pub(crate) fn own_mut(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    pub(crate) fn fields_capacity(&self) -> usize {
        self.fields.capacity()
    }
}

impl fmt::Debug for Head {
    /// The head as HTTP/1.1 would write it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            Start::Request { .. } => write!(
                f,
                "{} {} host={}",
                self.method_text().escape_ascii(),
                self.path().escape_ascii(),
                self.authority().escape_ascii()
            )?,
            Start::Response { status, .. } => write!(f, "{status}")?,
            Start::Trailers => f.write_str("trailers")?,
        }
        for (name, value) in self.iter() {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

#[inline]
pub(super) fn bytes<'a>(received: Option<&'a [u8]>, own: &'a [u8], span: Span) -> &'a [u8] {
    let text = if span.is_own() { own } else { received.unwrap_or_default() };
    let text = text.get(span.start()..span.end());
    debug_assert!(text.is_some() || span.is_empty(), "a span lies in its head's text");
    text.unwrap_or_default()
}

#[inline]
pub(super) fn name_of<'a>(received: Option<&'a [u8]>, own: &'a [u8], field: &Field) -> &'a [u8] {
    if field.name.is_empty() {
        field.id.as_str().as_bytes()
    } else {
        bytes(received, own, field.name)
    }
}
