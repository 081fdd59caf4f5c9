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

        /// What a line with the name starts with, by number.
        const LINE_STARTS: &[&str] = &["", $(concat!($text, ": ")),*];

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
    // What framing and persistence depend on comes first: see `FRAMING`.
    CONNECTION = "connection"
    CONTENT_LENGTH = "content-length"
    EXPECT = "expect"
    HOST = "host"
    TRANSFER_ENCODING = "transfer-encoding"
    UPGRADE = "upgrade"
    // The others by alphabet.
    ACCEPT = "accept"
    ACCEPT_CHARSET = "accept-charset"
    ACCEPT_ENCODING = "accept-encoding"
    ACCEPT_LANGUAGE = "accept-language"
    ACCEPT_RANGES = "accept-ranges"
    ACCESS_CONTROL_ALLOW_ORIGIN = "access-control-allow-origin"
    AGE = "age"
    ALLOW = "allow"
    AUTHORIZATION = "authorization"
    CACHE_CONTROL = "cache-control"
    CONTENT_DISPOSITION = "content-disposition"
    CONTENT_ENCODING = "content-encoding"
    CONTENT_LANGUAGE = "content-language"
    CONTENT_LOCATION = "content-location"
    CONTENT_RANGE = "content-range"
    CONTENT_TYPE = "content-type"
    COOKIE = "cookie"
    DATE = "date"
    ETAG = "etag"
    EXPIRES = "expires"
    FORWARDED = "forwarded"
    FROM = "from"
    GRPC_MESSAGE = "grpc-message"
    GRPC_STATUS = "grpc-status"
    GRPC_TIMEOUT = "grpc-timeout"
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
    PRIORITY = "priority"
    PROXY_AUTHENTICATE = "proxy-authenticate"
    PROXY_AUTHORIZATION = "proxy-authorization"
    PROXY_CONNECTION = "proxy-connection"
    RANGE = "range"
    REFERER = "referer"
    REFRESH = "refresh"
    RETRY_AFTER = "retry-after"
    SERVER = "server"
    SET_COOKIE = "set-cookie"
    STRICT_TRANSPORT_SECURITY = "strict-transport-security"
    TE = "te"
    TRACEPARENT = "traceparent"
    TRACESTATE = "tracestate"
    TRAILER = "trailer"
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

const _: () = {
    let mut index = 0;
    while index < NameId::FRAMING.len() {
        assert!(NameId::FRAMING[index].0 as usize == index + 1, "they have the first numbers");
        index += 1;
    }
};

const LONGEST: usize = "x-envoy-upstream-service-time".len();

impl NameId {
    /// The number of a field name, in any case.
    #[inline]
    #[must_use]
    pub fn lookup(name: &[u8]) -> Self {
        if name.len() > LONGEST {
            return Self::OTHER;
        }
        let (first, last) = ends(name);
        find(name, first, last)
    }

    /// The number of the name in the first `len` bytes of `text`, of which more follow.
    ///
    /// As [`NameId::lookup`], in fewer instructions.
    #[inline]
    #[must_use]
    pub fn lookup_prefix(text: &[u8], len: usize) -> Self {
        let Some(name) = text.get(..len) else { return Self::OTHER };
        let (first, last) = match (text.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            (Some(first), None) => {
                let first = u64::from_le_bytes(*first) & !(u64::MAX << ((8 * len as u32) & 63));
                (first, first)
            }
            (None, _) => ends(name),
        };
        find(name, first, last)
    }

    /// The name in lower case; empty for `OTHER`.
    #[inline]
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        TEXTS[self.0 as usize]
    }

    /// The name with the colon and a space behind it.
    #[inline]
    pub(crate) fn line_start(self) -> &'static [u8] {
        LINE_STARTS[usize::from(self.0)].as_bytes()
    }

    /// Numbers there are, [`NameId::OTHER`]'s included: the length of a table by number.
    pub const COUNT: usize = TEXTS.len();

    /// The number, for a table of `COUNT`.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The name with this number, if there is one.
    #[must_use]
    pub const fn of_index(index: usize) -> Option<Self> {
        if index < Self::COUNT { Some(Self(index as u8)) } else { None }
    }

    /// What framing and persistence depend on: codecs look at these themselves.
    pub const FRAMING: [Self; 6] = [
        Self::CONNECTION,
        Self::CONTENT_LENGTH,
        Self::EXPECT,
        Self::HOST,
        Self::TRANSFER_ENCODING,
        Self::UPGRADE,
    ];

    /// Its place in [`NameId::FRAMING`].
    #[inline]
    #[must_use]
    pub const fn framing_index(self) -> Option<usize> {
        // One comparison, since `OTHER` wraps around.
        let index = self.0.wrapping_sub(1) as usize;
        if index < Self::FRAMING.len() { Some(index) } else { None }
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

    /// Adds a name.
    #[inline]
    pub const fn insert(&mut self, id: NameId) {
        let (word, bit) = id.bit();
        self.0[word] |= bit;
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

    /// What is in both sets.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    /// What is in either set.
    #[inline]
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// Whether the name is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, id: NameId) -> bool {
        let (word, bit) = id.bit();
        self.0[word] & bit != 0
    }

    /// Whether there is no name.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0[0] | self.0[1] == 0
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

/// What a name is compared with: its first and last eight bytes, which overlap in most names and
/// are the same in those of at most eight, filled with zeros.
#[derive(Clone, Copy)]
struct Words {
    first: u64,
    last: u64,
    /// Which bits of them must be the same: all but bit 5 of every letter.
    first_mask: u64,
    last_mask: u64,
    len: usize,
}

const SLOT_BITS: u32 = 10;

/// A hash under which no two names collide, and what is found there.
struct Table {
    /// The number of the one name that may be in this slot.
    slots: [u8; 1 << SLOT_BITS],
    /// By number; as many as there are numbers of this size, so that none is checked. No name is
    /// like an empty entry, since names that are looked for have a length.
    words: [Words; 256],
}

/// Searched by the compiler.
const HASH: (u64, [u8; 1 << SLOT_BITS]) = perfect_hash();

static TABLE: Table = {
    let none = Words { first: 0, last: 0, first_mask: 0, last_mask: 0, len: usize::MAX };
    let (mut words, mut number) = ([none; 256], 1);
    while number < TEXTS.len() {
        let text = TEXTS[number].as_bytes();
        let (first, last) = ends(text);
        let (first_mask, last_mask) = (!letters(first), !letters(last));
        words[number] = Words { first, last, first_mask, last_mask, len: text.len() };
        number += 1;
    }
    Table { slots: HASH.1, words }
};

/// The number of `name`, whose first and last words these are.
#[inline(always)]
fn find(name: &[u8], first: u64, last: u64) -> NameId {
    let number = TABLE.slots[slot(first, last, HASH.0)];
    let words = &TABLE.words[usize::from(number)];
    let differs = (first ^ words.first) & words.first_mask | (last ^ words.last) & words.last_mask;
    if differs == 0
        && name.len() == words.len
        && (name.len() <= 16 || has_middle(name, TEXTS[usize::from(number)].as_bytes()))
    {
        NameId(number)
    } else {
        NameId::OTHER
    }
}

/// What the first and the last word leave out.
#[cold]
fn has_middle(name: &[u8], lower: &[u8]) -> bool {
    let middle = 8..name.len() - 8;
    name[middle.clone()].eq_ignore_ascii_case(&lower[middle])
}

/// Words of names that differ in case alone are in the same slot.
#[inline]
const fn slot(first: u64, last: u64, multiplier: u64) -> usize {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let key = (first | CASE) ^ (last | CASE).rotate_left(23);
    (key.wrapping_mul(multiplier) >> (64 - SLOT_BITS)) as usize
}

/// The first and the last eight bytes, filled with zeros if there are fewer.
#[inline]
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    let (mut word, mut at) = (0, name.len());
    while at > 0 {
        at -= 1;
        word = word << 8 | name[at] as u64;
    }
    (word, word)
}

/// Bit 5 of each byte that is a lower-case letter.
const fn letters(word: u64) -> u64 {
    let (bytes, mut bits, mut at) = (word.to_le_bytes(), 0, 0);
    while at < bytes.len() {
        if bytes[at].is_ascii_lowercase() {
            bits |= 0x20 << (8 * at);
        }
        at += 1;
    }
    bits
}

const fn perfect_hash() -> (u64, [u8; 1 << SLOT_BITS]) {
    let mut multiplier: u64 = 0x9e37_79b9_7f4a_7c15;
    loop {
        let mut slots = [0; 1 << SLOT_BITS];
        let mut number = 1;
        while number < TEXTS.len() {
            let (first, last) = ends(TEXTS[number].as_bytes());
            let slot = slot(first, last, multiplier);
            if slots[slot] != 0 {
                break;
            }
            slots[slot] = number as u8;
            number += 1;
        }
        if number == TEXTS.len() {
            return (multiplier, slots);
        }
        multiplier =
            multiplier.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f) | 1;
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
            for behind in [": ", ": 1\r\n\r\n"] {
                let line = format!("{text}{behind}").to_uppercase();
                assert_eq!(NameId::lookup_prefix(line.as_bytes(), text.len()), id, "{line:?}");
                assert_eq!(NameId::lookup_prefix(line.as_bytes(), text.len() + 1), NameId::OTHER);
                assert_eq!(NameId::lookup_prefix(line.as_bytes(), text.len() - 1), NameId::OTHER);
            }
            assert_eq!(text, text.to_lowercase());
            assert!(text.len() <= LONGEST, "{text}");
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut wrong = text.as_bytes().to_vec();
                    wrong[at] ^= 1 << bit;
                    if !wrong.eq_ignore_ascii_case(text.as_bytes()) {
                        assert_eq!(NameId::lookup(&wrong), NameId::OTHER, "{text}, {at}, {bit}");
                        assert_eq!(NameId::lookup_prefix(&wrong, wrong.len()), NameId::OTHER);
                    }
                }
            }
            assert_eq!(NameId::lookup(format!("{text}s").as_bytes()), NameId::OTHER);
            assert_eq!(NameId::lookup(&text.as_bytes()[1..]), NameId::OTHER, "{text} cut");
        }
        for none in [
            "",
            "x",
            "xx",
            "content\rlength",
            "connection\0",
            "et\x01g",
            "_ost",
            "a-name-that-is-longer-than-all-others-are",
        ] {
            assert_eq!(NameId::lookup(none.as_bytes()), NameId::OTHER, "{none}");
        }
    }
}
