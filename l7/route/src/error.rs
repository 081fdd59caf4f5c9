//! What can go wrong, at compile time and per request.

use std::fmt;

/// Why a request has no route; the answer is 404 either way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoMatch {
    /// No virtual host answers for the request's host.
    NoVirtualHost,
    /// The virtual host has no route for the request.
    NoRoute,
}

impl NoMatch {
    /// The reason, for counters and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoVirtualHost => "no-virtual-host",
            Self::NoRoute => "no-route",
        }
    }
}

/// Why a request target cannot be normalised; the answer is 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathError {
    /// A `%` without two hexadecimal digits (RFC 3986, 2.1).
    BadPercentEncoding,
    /// NUL, as it is or as `%00`: where strings end for much of the software behind us.
    Nul,
    /// A blank or a control character, which no target contains.
    ControlCharacter,
    /// A `#`: a fragment stays with the client (RFC 9110, 7.1), and servers differ on what it cuts.
    Fragment,
    /// Neither `*`, nor empty, nor a path that begins with `/`.
    NotAbsolute,
    /// A prefix rewrite would have put a segment `.` or `..` into the path.
    RewriteMakesDotSegment,
}

impl PathError {
    /// The reason, for counters and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadPercentEncoding => "path-bad-percent-encoding",
            Self::Nul => "path-nul",
            Self::ControlCharacter => "path-control-character",
            Self::Fragment => "path-fragment",
            Self::NotAbsolute => "path-not-absolute",
            Self::RewriteMakesDotSegment => "path-rewrite-makes-dot-segment",
        }
    }
}

/// Why a listener's routes cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CompileError {
    /// A domain stands in two virtual hosts, or twice in one.
    DuplicateDomain {
        /// The second virtual host that names it.
        virtual_host: String,
        /// As configuration writes it.
        domain: String,
    },
    /// A regular expression does not compile or would take too much memory.
    Regex {
        /// The virtual host.
        virtual_host: String,
        /// Name of the route, or its position (`#3`, from 1 on).
        route: String,
        /// The expression.
        text: String,
        /// The compiler's reason.
        reason: String,
    },
    /// The weights of a route add up to nothing, or to more than 2^32 - 1.
    Weights {
        /// The virtual host.
        virtual_host: String,
        /// Name of the route, or its position.
        route: String,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateDomain { virtual_host, domain } => {
                write!(f, "virtual host `{virtual_host}`: domain \"{domain}\" is taken")
            }
            Self::Regex { virtual_host, route, text, reason } => write!(
                f,
                "virtual host `{virtual_host}`, route `{route}`: \
                 \"{text}\" is not a usable regular expression: {reason}"
            ),
            Self::Weights { virtual_host, route } => write!(
                f,
                "virtual host `{virtual_host}`, route `{route}`: \
                 the weights must add up to 1 to 4,294,967,295"
            ),
        }
    }
}

impl std::error::Error for CompileError {}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for NoMatch {}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for PathError {}
