//! The static table (RFC 7541, appendix A).
//!
//! By number it is an array; by name it is an array too, since names have numbers of their own
//! ([`NameId`], found by a perfect hash): no text is compared to find a static name.

use sluice_l7_core::NameId;

use super::{Kind, Pseudo};

/// One entry, as the line that a decoder copies.
pub(super) struct StaticEntry {
    pub(super) kind: Kind,
    pub(super) name_len: u16,
    pub(super) value_len: u16,
    pub(super) line: &'static str,
}

impl StaticEntry {
    /// The name.
    pub(super) fn name(&self) -> &'static [u8] {
        &self.line.as_bytes()[..usize::from(self.name_len)]
    }

    /// The value.
    pub(super) fn value(&self) -> &'static [u8] {
        let from = usize::from(self.name_len) + 2;
        &self.line.as_bytes()[from..from + usize::from(self.value_len)]
    }
}

macro_rules! entries {
    ($($kind:expr, $name:literal, $value:literal;)*) => {
        /// The table; number 1 is at 0.
        pub(super) static ENTRIES: [StaticEntry; 61] = [$(
            StaticEntry {
                kind: $kind,
                name_len: $name.len() as u16,
                value_len: $value.len() as u16,
                line: concat!($name, ": ", $value, "\r\n"),
            },
        )*];
    };
}

const AUTHORITY: Kind = Kind::Pseudo(Pseudo::Authority);
const METHOD: Kind = Kind::Pseudo(Pseudo::Method);
const PATH: Kind = Kind::Pseudo(Pseudo::Path);
const SCHEME: Kind = Kind::Pseudo(Pseudo::Scheme);
const STATUS: Kind = Kind::Pseudo(Pseudo::Status);

use Kind::Field;

entries! {
    AUTHORITY, ":authority", "";
    METHOD, ":method", "GET";
    METHOD, ":method", "POST";
    PATH, ":path", "/";
    PATH, ":path", "/index.html";
    SCHEME, ":scheme", "http";
    SCHEME, ":scheme", "https";
    STATUS, ":status", "200";
    STATUS, ":status", "204";
    STATUS, ":status", "206";
    STATUS, ":status", "304";
    STATUS, ":status", "400";
    STATUS, ":status", "404";
    STATUS, ":status", "500";
    Field(NameId::ACCEPT_CHARSET), "accept-charset", "";
    Field(NameId::ACCEPT_ENCODING), "accept-encoding", "gzip, deflate";
    Field(NameId::ACCEPT_LANGUAGE), "accept-language", "";
    Field(NameId::ACCEPT_RANGES), "accept-ranges", "";
    Field(NameId::ACCEPT), "accept", "";
    Field(NameId::ACCESS_CONTROL_ALLOW_ORIGIN), "access-control-allow-origin", "";
    Field(NameId::AGE), "age", "";
    Field(NameId::ALLOW), "allow", "";
    Field(NameId::AUTHORIZATION), "authorization", "";
    Field(NameId::CACHE_CONTROL), "cache-control", "";
    Field(NameId::CONTENT_DISPOSITION), "content-disposition", "";
    Field(NameId::CONTENT_ENCODING), "content-encoding", "";
    Field(NameId::CONTENT_LANGUAGE), "content-language", "";
    Field(NameId::CONTENT_LENGTH), "content-length", "";
    Field(NameId::CONTENT_LOCATION), "content-location", "";
    Field(NameId::CONTENT_RANGE), "content-range", "";
    Field(NameId::CONTENT_TYPE), "content-type", "";
    Field(NameId::COOKIE), "cookie", "";
    Field(NameId::DATE), "date", "";
    Field(NameId::ETAG), "etag", "";
    Field(NameId::EXPECT), "expect", "";
    Field(NameId::EXPIRES), "expires", "";
    Field(NameId::FROM), "from", "";
    Field(NameId::HOST), "host", "";
    Field(NameId::IF_MATCH), "if-match", "";
    Field(NameId::IF_MODIFIED_SINCE), "if-modified-since", "";
    Field(NameId::IF_NONE_MATCH), "if-none-match", "";
    Field(NameId::IF_RANGE), "if-range", "";
    Field(NameId::IF_UNMODIFIED_SINCE), "if-unmodified-since", "";
    Field(NameId::LAST_MODIFIED), "last-modified", "";
    Field(NameId::LINK), "link", "";
    Field(NameId::LOCATION), "location", "";
    Field(NameId::MAX_FORWARDS), "max-forwards", "";
    Field(NameId::PROXY_AUTHENTICATE), "proxy-authenticate", "";
    Field(NameId::PROXY_AUTHORIZATION), "proxy-authorization", "";
    Field(NameId::RANGE), "range", "";
    Field(NameId::REFERER), "referer", "";
    Field(NameId::REFRESH), "refresh", "";
    Field(NameId::RETRY_AFTER), "retry-after", "";
    Field(NameId::SERVER), "server", "";
    Field(NameId::SET_COOKIE), "set-cookie", "";
    Field(NameId::STRICT_TRANSPORT_SECURITY), "strict-transport-security", "";
    Field(NameId::TRANSFER_ENCODING), "transfer-encoding", "";
    Field(NameId::USER_AGENT), "user-agent", "";
    Field(NameId::VARY), "vary", "";
    Field(NameId::VIA), "via", "";
    Field(NameId::WWW_AUTHENTICATE), "www-authenticate", "";
}

/// Entries of the table; the dynamic one starts behind it.
pub(super) const STATIC_LEN: u32 = 61;

/// The number of the entry with this name, by the name's own number; 0 if there is none.
static BY_NAME: [u8; NameId::COUNT] = {
    let (mut numbers, mut at) = ([0; NameId::COUNT], ENTRIES.len());
    while at > 0 {
        at -= 1;
        if let Field(id) = ENTRIES[at].kind {
            numbers[id.index()] = at as u8 + 1;
        }
    }
    numbers
};

/// The number of the static entry with this name; 0 if there is none.
#[inline]
pub(super) const fn number_of(id: NameId) -> u32 {
    BY_NAME[id.index()] as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (at, entry) in ENTRIES.iter().enumerate() {
            let line = [entry.name(), b": ", entry.value(), b"\r\n"].concat();
            assert_eq!(line, entry.line.as_bytes());
            match entry.kind {
                Kind::Pseudo(pseudo) => assert_eq!(Pseudo::parse(entry.name()), Some(pseudo)),
                Field(id) => {
                    assert_eq!(NameId::lookup(entry.name()), id);
                    assert_ne!(id, NameId::OTHER);
                    assert_eq!(number_of(id) as usize, at + 1);
                }
                Kind::Invalid => panic!("no entry is invalid"),
            }
        }
        assert_eq!(number_of(NameId::OTHER), 0);
        assert_eq!(number_of(NameId::TE), 0);
        assert_eq!(ENTRIES.len() as u32, STATIC_LEN);
    }
}
