//! Response flags: why a request ended as it did, in Envoy's letters.

use std::fmt;

/// A set of reasons; empty for a request that simply worked.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct ResponseFlags(u16);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

flags! {
    /// No route matched.
    NO_ROUTE = 0, "NR";
    /// The cluster has no endpoint that may be tried.
    NO_HEALTHY_UPSTREAM = 1, "UH";
    /// The connection to the endpoint failed.
    UPSTREAM_CONNECT_FAILURE = 2, "UF";
    /// The endpoint ended the connection before its response was complete.
    UPSTREAM_TERMINATION = 3, "UC";
    /// A limit of the cluster was reached.
    UPSTREAM_OVERFLOW = 4, "UO";
    /// The route's timeout.
    UPSTREAM_TIMEOUT = 5, "UT";
    /// The endpoint answered what is not HTTP.
    UPSTREAM_PROTOCOL_ERROR = 6, "UPE";
    /// All retries were used.
    RETRY_LIMIT = 7, "URX";
    /// The client ended the connection first.
    DOWNSTREAM_TERMINATION = 8, "DC";
    /// The client sent what is not HTTP.
    DOWNSTREAM_PROTOCOL_ERROR = 9, "DPE";
    /// No byte moved for too long.
    STREAM_IDLE_TIMEOUT = 10, "SI";
    /// The cluster of the route is not known.
    NO_CLUSTER = 11, "NC";
    /// We were out of packet memory.
    OVERLOAD = 12, "OM";
}

impl ResponseFlags {
    /// No reason.
    pub const NONE: Self = Self(0);

    /// As a number, which [`Self::from_bits`] takes back.
    pub(crate) const fn bits(self) -> u16 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is no reason.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ResponseFlags {
    /// As in Envoy's access log: `UF,URX`, or `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.contains(*flag) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_envoy() {
        let flags = ResponseFlags::UPSTREAM_CONNECT_FAILURE.with(ResponseFlags::RETRY_LIMIT);
        assert_eq!(flags.to_string(), "UF,URX");
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
    }
}
