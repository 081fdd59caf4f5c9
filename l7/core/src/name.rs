//! Well-known header names.

/// A header name with a number, or [`NameId::OTHER`].
///
/// Comparing numbers is what filters and routes do per request instead of comparing text. The
/// numbers are this build's own: they never leave the process.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NameId(u8);

macro_rules! names {
    ($($id:ident = $text:literal)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "numbers the constants")]
        #[repr(u8)]
        enum Number { OTHER, $($id),* }

        /// Lower-case names by number.
        const TEXTS: &[&str] = &["", $($text),*];

        impl NameId {
            /// No well-known name.
            pub const OTHER: Self = Self(Number::OTHER as u8);
            $(
                #[doc = concat!("`", $text, "`")]
                pub const $id: Self = Self(Number::$id as u8);
            )*
        }
    };
}

names! {
    ACCEPT = "accept"
    ACCEPT_CHARSET = "accept-charset"
    ACCEPT_ENCODING = "accept-encoding"
    ACCEPT_LANGUAGE = "accept-language"
    ACCEPT_RANGES = "accept-ranges"
    AGE = "age"
    ALLOW = "allow"
    AUTHORIZATION = "authorization"
    CACHE_CONTROL = "cache-control"
    CONNECTION = "connection"
    CONTENT_DISPOSITION = "content-disposition"
    CONTENT_ENCODING = "content-encoding"
    CONTENT_LANGUAGE = "content-language"
    CONTENT_LENGTH = "content-length"
    CONTENT_LOCATION = "content-location"
    CONTENT_RANGE = "content-range"
    CONTENT_TYPE = "content-type"
    COOKIE = "cookie"
    DATE = "date"
    ETAG = "etag"
    EXPECT = "expect"
    EXPIRES = "expires"
    FORWARDED = "forwarded"
    FROM = "from"
    GRPC_MESSAGE = "grpc-message"
    GRPC_STATUS = "grpc-status"
    GRPC_TIMEOUT = "grpc-timeout"
    HOST = "host"
    HTTP2_SETTINGS = "http2-settings"
    IF_MATCH = "if-match"
    IF_MODIFIED_SINCE = "if-modified-since"
    IF_NONE_MATCH = "if-none-match"
    IF_RANGE = "if-range"
    IF_UNMODIFIED_SINCE = "if-unmodified-since"
    KEEP_ALIVE = "keep-alive"
    LAST_MODIFIED = "last-modified"
    LINK = "link"
    LOCATION = "location"
    MAX_FORWARDS = "max-forwards"
    ORIGIN = "origin"
    PRAGMA = "pragma"
    PROXY_AUTHENTICATE = "proxy-authenticate"
    PROXY_AUTHORIZATION = "proxy-authorization"
    PROXY_CONNECTION = "proxy-connection"
    RANGE = "range"
    REFERER = "referer"
    RETRY_AFTER = "retry-after"
    SERVER = "server"
    SET_COOKIE = "set-cookie"
    STRICT_TRANSPORT_SECURITY = "strict-transport-security"
    TE = "te"
    TRACEPARENT = "traceparent"
    TRACESTATE = "tracestate"
    TRAILER = "trailer"
    TRANSFER_ENCODING = "transfer-encoding"
    UPGRADE = "upgrade"
    USER_AGENT = "user-agent"
    VARY = "vary"
    VIA = "via"
    WWW_AUTHENTICATE = "www-authenticate"
    X_ENVOY_ATTEMPT_COUNT = "x-envoy-attempt-count"
    X_ENVOY_ORIGINAL_PATH = "x-envoy-original-path"
    X_ENVOY_UPSTREAM_SERVICE_TIME = "x-envoy-upstream-service-time"
    X_FORWARDED_FOR = "x-forwarded-for"
    X_FORWARDED_HOST = "x-forwarded-host"
    X_FORWARDED_PROTO = "x-forwarded-proto"
    X_REAL_IP = "x-real-ip"
    X_REQUEST_ID = "x-request-id"
}

// `Head` keeps one bit per number.
const _: () = assert!(TEXTS.len() <= 128);

const SLOT_BITS: u32 = 10;
const LONGEST: usize = "x-envoy-upstream-service-time".len();
/// Multiplier and slots of a hash under which no two names collide, searched by the compiler.
const TABLE: (u32, [u8; 1 << SLOT_BITS]) = perfect_hash();

impl NameId {
    /// The number of a field name, in any case.
    #[inline]
    #[must_use]
    pub fn lookup(name: &[u8]) -> Self {
        if name.len() < 2 || name.len() > LONGEST {
            return Self::OTHER;
        }
        static SLOTS: [u8; 1 << SLOT_BITS] = TABLE.1;
        let number = SLOTS[slot(name, TABLE.0)];
        if equal_lower(name, TEXTS[usize::from(number)].as_bytes()) {
            Self(number)
        } else {
            Self::OTHER
        }
    }

    /// The name in lower case; empty for `OTHER`.
    #[inline]
    #[must_use]
    pub fn as_str(self) -> &'static str {
        TEXTS[usize::from(self.0)]
    }

    /// This number's word and bit in a set of names.
    #[inline]
    const fn bit(self) -> (usize, u64) {
        ((self.0 >> 6 & 1) as usize, 1 << (self.0 & 63))
    }

    /// Every well-known name.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..TEXTS.len() as u8).map(Self)
    }
}

impl std::fmt::Debug for NameId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::OTHER { "(other)" } else { self.as_str() })
    }
}

/// A set of well-known names, to test membership with one instruction or two.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NameSet([u64; 2]);

impl NameSet {
    /// No name.
    pub const EMPTY: Self = Self([0; 2]);

    /// The set of these names.
    #[must_use]
    pub const fn of(ids: &[NameId]) -> Self {
        let (mut set, mut at) = (Self::EMPTY, 0);
        while at < ids.len() {
            set = set.with(ids[at]);
            at += 1;
        }
        set
    }

    /// This set and one more name.
    #[inline]
    #[must_use]
    pub const fn with(mut self, id: NameId) -> Self {
        let (word, bit) = id.bit();
        self.0[word] |= bit;
        self
    }

    /// This set less one name.
    #[inline]
    #[must_use]
    pub const fn without(mut self, id: NameId) -> Self {
        let (word, bit) = id.bit();
        self.0[word] &= !bit;
        self
    }

    /// What is in this set and not in the other.
    #[inline]
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self([self.0[0] & !other.0[0], self.0[1] & !other.0[1]])
    }

    /// Whether the name is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, id: NameId) -> bool {
        let (word, bit) = id.bit();
        self.0[word] & bit != 0
    }

    /// Whether both sets name the same name.
    #[inline]
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        (self.0[0] & other.0[0]) | (self.0[1] & other.0[1]) != 0
    }
}

/// A header name as verbs take it: a well-known one, or text.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// A well-known name.
    Known(NameId),
    /// Any name, in any case.
    Text(&'a [u8]),
}

impl Name<'_> {
    /// The number, looked up if it was given as text.
    #[inline]
    #[must_use]
    pub fn id(self) -> NameId {
        match self {
            Self::Known(id) => id,
            Self::Text(text) => NameId::lookup(text),
        }
    }
}

impl From<NameId> for Name<'_> {
    #[inline]
    fn from(id: NameId) -> Self {
        Self::Known(id)
    }
}

impl<'a> From<&'a [u8]> for Name<'a> {
    #[inline]
    fn from(text: &'a [u8]) -> Self {
        Self::Text(text)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Name<'a> {
    #[inline]
    fn from(text: &'a [u8; N]) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a str> for Name<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

/// Length, first, middle and last letter tell all names apart; `name` has at least two bytes.
#[inline]
const fn slot(name: &[u8], multiplier: u32) -> usize {
    let len = name.len();
    let key = u32::from_le_bytes([name[0], name[len / 2], name[len - 1], len as u8]) | 0x0020_2020;
    (key.wrapping_mul(multiplier) >> (32 - SLOT_BITS)) as usize
}

const fn perfect_hash() -> (u32, [u8; 1 << SLOT_BITS]) {
    let mut multiplier: u32 = 0x9e37_79b1;
    loop {
        let mut slots = [0; 1 << SLOT_BITS];
        let mut number = 1;
        while number < TEXTS.len() {
            let slot = slot(TEXTS[number].as_bytes(), multiplier);
            if slots[slot] != 0 {
                break;
            }
            slots[slot] = number as u8;
            number += 1;
        }
        if number == TEXTS.len() {
            return (multiplier, slots);
        }
        multiplier = multiplier.wrapping_mul(0x2c1b_3c6d).wrapping_add(0x297a_2d39) | 1;
    }
}

/// Whether `text` in lower case is `lower`, which is in lower case; eight bytes at a time.
///
/// Setting bit 5 maps letters to lower case and leaves digits and the hyphen alone. What else it
/// maps onto these are controls, which decoders and configuration refuse: `text` must be free of them.
#[inline]
#[must_use]
pub fn equal_lower(text: &[u8], lower: &[u8]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    if text.len() != lower.len() {
        return false;
    }
    let same = |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) | CASE == u64::from_le_bytes(*b);
    // First and last words overlap unless the length is a multiple of eight.
    if let (Some(a), Some(b)) = (text.first_chunk(), lower.first_chunk())
        && let (Some(c), Some(d)) = (text.last_chunk(), lower.last_chunk())
    {
        return same(a, b) && same(c, d) && (text.len() <= 16 || equal_middle(text, lower));
    }
    let same =
        |a: &[u8; 4], b: &[u8; 4]| u32::from_le_bytes(*a) | CASE as u32 == u32::from_le_bytes(*b);
    if let (Some(a), Some(b)) = (text.first_chunk(), lower.first_chunk())
        && let (Some(c), Some(d)) = (text.last_chunk(), lower.last_chunk())
    {
        return same(a, b) && same(c, d);
    }
    text.iter().zip(lower).all(|(a, b)| a | 0x20 == *b)
}

/// What the first and the last word leave out.
fn equal_middle(text: &[u8], lower: &[u8]) -> bool {
    let middle = 8..text.len() - 8;
    text[middle.clone()].iter().zip(&lower[middle]).all(|(a, b)| a | 0x20 == *b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_nothing_else_is() {
        for id in NameId::all() {
            let text = id.as_str();
            assert_eq!(NameId::lookup(text.as_bytes()), id, "{text}");
            assert_eq!(NameId::lookup(text.to_uppercase().as_bytes()), id, "{text}");
            assert_eq!(text, text.to_lowercase());
            assert!(text.len() <= LONGEST, "{text}");
            for at in 0..text.len() {
                let mut wrong = text.as_bytes().to_vec();
                wrong[at] = b'~';
                assert_eq!(NameId::lookup(&wrong), NameId::OTHER, "{text} with a wrong letter");
            }
            assert_eq!(NameId::lookup(format!("{text}s").as_bytes()), NameId::OTHER);
            assert_eq!(NameId::lookup(&text.as_bytes()[1..]), NameId::OTHER, "{text} cut");
        }
        for none in ["", "x", "xx", "_ost", "a-name-that-is-longer-than-all-others-are"] {
            assert_eq!(NameId::lookup(none.as_bytes()), NameId::OTHER, "{none}");
        }
    }
}
