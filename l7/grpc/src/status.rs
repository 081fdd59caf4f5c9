//! How a call ended.

use std::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// A status code of gRPC.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum Status {
            $($(#[$doc])* $name = $code,)*
        }

        impl Status {
            /// All of them, by code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// In kebab-case, as Envoy's retry conditions and labels of metrics have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

statuses! {
    /// It worked.
    Ok = 0, "ok";
    /// The caller gave it up.
    Cancelled = 1, "cancelled";
    /// What does not say more.
    Unknown = 2, "unknown";
    /// Wrong whatever the state of the system.
    InvalidArgument = 3, "invalid-argument";
    /// It took too long.
    DeadlineExceeded = 4, "deadline-exceeded";
    /// What was asked for is not there.
    NotFound = 5, "not-found";
    /// What was to be made is there.
    AlreadyExists = 6, "already-exists";
    /// The caller is known and may not.
    PermissionDenied = 7, "permission-denied";
    /// A quota, or room, is used up.
    ResourceExhausted = 8, "resource-exhausted";
    /// Wrong in the state that the system is in.
    FailedPrecondition = 9, "failed-precondition";
    /// A conflict with somebody else.
    Aborted = 10, "aborted";
    /// Beyond a valid range.
    OutOfRange = 11, "out-of-range";
    /// There is no such method.
    Unimplemented = 12, "unimplemented";
    /// An invariant is broken.
    Internal = 13, "internal";
    /// Not now; another try may work.
    Unavailable = 14, "unavailable";
    /// Data was lost for good.
    DataLoss = 15, "data-loss";
    /// The caller is not known.
    Unauthenticated = 16, "unauthenticated";
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status with this number on the wire; a code that does not exist is `Unknown`.
    #[must_use]
    pub fn of_code(code: u64) -> Self {
        let known = usize::try_from(code).ok().and_then(|code| Self::ALL.get(code));
        known.copied().unwrap_or(Self::Unknown)
    }

    /// From the value of `grpc-status`: decimal digits. A code that does not exist is `Unknown`, as
    /// the specification has it; None: not a number.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.is_empty() || value.len() > 10 || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let code = value.iter().fold(0, |code: u64, digit| code * 10 + u64::from(digit - b'0'));
        Some(Self::of_code(code))
    }

    /// What an HTTP status other than 200 means to who called ("HTTP to gRPC Status Code Mapping").
    #[must_use]
    pub const fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of status codes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Statuses(u32);

impl Statuses {
    /// None.
    pub const NONE: Self = Self(0);

    /// This one as well.
    #[must_use]
    pub const fn with(self, status: Status) -> Self {
        Self(self.0 | 1 << status.code())
    }

    /// Whether it is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, status: Status) -> bool {
        self.0 & (1 << status.code()) != 0
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// A bit per code.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The other way round; bits of no code are dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Status::ALL.len()) - 1))
    }

    /// Those in the set, by code.
    pub fn iter(self) -> impl Iterator<Item = Status> {
        Status::ALL.iter().copied().filter(move |status| self.contains(*status))
    }
}

impl FromIterator<Status> for Statuses {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        statuses.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, Statuses};

    #[test]
    fn codes_are_places() {
        for (code, status) in Status::ALL.iter().enumerate() {
            assert_eq!(usize::from(status.code()), code);
            assert_eq!(Status::parse(code.to_string().as_bytes()), Some(*status));
        }
        assert_eq!(Status::ALL.len(), 17);
    }

    #[test]
    fn values_that_are_no_code() {
        for unknown in ["17", "99", "4294967296", "9999999999"] {
            assert_eq!(Status::parse(unknown.as_bytes()), Some(Status::Unknown), "{unknown}");
        }
        for wrong in ["", "-1", "+1", " 1", "1 ", "ok", "0x1", "12345678901"] {
            assert_eq!(Status::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn an_http_status_becomes_what_the_specification_says() {
        let table = [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (408, 2),
            (413, 2),
            (429, 14),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
        ];
        for (http, code) in table {
            assert_eq!(Status::of_http(http).code(), code, "{http}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let set = Statuses::NONE.with(Status::Cancelled).with(Status::Unavailable);
        assert!(set.contains(Status::Unavailable) && !set.contains(Status::Ok));
        assert_eq!(set.iter().collect::<Statuses>(), set);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Status::Cancelled, Status::Unavailable]);
        assert!(Statuses::default().is_empty() && !set.is_empty());
    }
}
