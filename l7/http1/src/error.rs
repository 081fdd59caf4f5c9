//! Every rule that a peer can break, with its name: the one list of reasons of this crate.

use sluice_l7_core::{ProtocolError, ProtocolErrorKind as Kind};

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $kind:ident $reason:literal)*) => {
        /// A broken rule of RFC 9112 or 9110, or of our limits.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Fault { $($(#[$doc])* $fault),* }

        impl Fault {
            /// Every fault, for a table of counters.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The error that a caller sees.
            #[must_use]
            pub const fn error(self) -> ProtocolError {
                match self {
                    $(Self::$fault => ProtocolError::new(Kind::$kind, $reason)),*
                }
            }
        }
    };
}

faults! {
    /// A line ends in LF alone (RFC 9112, 2.2 lets a recipient accept it; attackers hope that only
    /// one of two recipients does).
    BareLf = Malformed "bare-lf"
    /// CR without LF (RFC 9112, 2.2).
    BareCr = Malformed "bare-cr"
    /// NUL anywhere in a head.
    Nul = Malformed "nul-in-head"
    /// More than one empty line before a request (RFC 9112, 2.2).
    EmptyLines = Malformed "empty-lines-before-request"
    /// A method that is no token.
    Method = Malformed "invalid-method"
    /// A request line of other than three parts, or with other white space than single spaces.
    RequestLine = Malformed "invalid-request-line"
    /// A target of none of the four forms (RFC 9112, 3.2), or with bytes that none may have.
    Target = Malformed "invalid-target"
    /// A target with a fragment (RFC 9112, 3.2 has none).
    Fragment = Malformed "fragment-in-target"
    /// Not `HTTP/` digit `.` digit (RFC 9112, 2.3).
    VersionSyntax = Malformed "invalid-version"
    /// A version other than 1.0 and 1.1.
    Version = UnknownVersion "unknown-version"
    /// A status line that breaks the grammar, or none at all.
    StatusLine = Malformed "invalid-status-line"
    /// A field name that is no token.
    FieldName = Malformed "invalid-field-name"
    /// A field line that starts with a colon.
    EmptyFieldName = Malformed "empty-field-name"
    /// White space between field name and colon (RFC 9112, 5.1).
    SpaceBeforeColon = Malformed "space-before-colon"
    /// A field line that starts with white space (RFC 9112, 5.2).
    ObsFold = Malformed "obs-fold"
    /// A control character in a field value (RFC 9110, 5.5).
    FieldValue = Malformed "control-in-field-value"
    /// An HTTP/1.1 request without Host (RFC 9112, 3.2).
    HostMissing = Malformed "host-missing"
    /// More than one Host (RFC 9112, 3.2).
    HostRepeated = Malformed "host-repeated"
    /// A Host or target authority that is no host with an optional port.
    HostInvalid = Malformed "host-invalid"
    /// A Content-Length that is not a number below 2^63 (RFC 9112, 6.3).
    ContentLength = Malformed "invalid-content-length"
    /// More than one Content-Length, equal or not.
    ContentLengthRepeated = Malformed "content-length-repeated"
    /// Both Content-Length and Transfer-Encoding (RFC 9112, 6.1).
    BothLengths = Malformed "content-length-and-transfer-encoding"
    /// A transfer coding whose end nobody can tell: chunked is not the last one (RFC 9112, 6.3).
    NotChunked = Malformed "transfer-encoding-not-chunked"
    /// More than one Transfer-Encoding line, or chunked twice (RFC 9112, 7.1).
    TransferEncodingRepeated = Malformed "transfer-encoding-repeated"
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112, 6.1).
    TransferEncodingInHttp10 = Malformed "transfer-encoding-in-http-1.0"
    /// A coding in front of chunked.
    TransferCoding = UnknownTransferCoding "unknown-transfer-coding"
    /// CONNECT with a body, whose bytes would be read as the tunnel's (RFC 9110, 9.3.6).
    ConnectBody = Malformed "connect-with-body"
    /// The request line is longer than the limit.
    RequestLineTooLong = RequestLineTooLong "request-line-too-long"
    /// The head is longer than the limit.
    HeadTooLong = HeadTooLarge "head-too-long"
    /// The head has more fields than the limit.
    TooManyFields = HeadTooLarge "too-many-fields"
    /// A chunk size that is not 1 to 16 hexadecimal digits below 2^63 (RFC 9112, 7.1).
    ChunkSize = Malformed "invalid-chunk-size"
    /// A chunk extension that breaks the grammar.
    ChunkExtension = Malformed "invalid-chunk-extension"
    /// More bytes of chunk extensions than the limit.
    ChunkExtensionsTooLong = Malformed "chunk-extensions-too-long"
    /// A chunk's data is not followed by CRLF.
    ChunkEnd = Malformed "invalid-chunk-end"
    /// A 101 that nobody asked for, or before the request was complete.
    UnexpectedUpgrade = Malformed "unexpected-upgrade"
    /// Bytes from a server that was asked nothing.
    Unsolicited = Malformed "unsolicited-bytes"
    /// More 1xx responses to one request than the limit.
    TooManyInformational = Excessive "too-many-informational"
    /// The connection ended inside a head.
    TruncatedHead = Truncated "truncated-head"
    /// The connection ended inside a body.
    TruncatedBody = Truncated "truncated-body"
    /// The connection ended before the response.
    NoResponse = Truncated "no-response"
}

impl From<Fault> for ProtocolError {
    fn from(fault: Fault) -> Self {
        fault.error()
    }
}

/// Which rule a head breaks that the parser refused; `lines` is the head without what precedes its
/// fields.
#[cold]
pub(crate) fn diagnose_fields(error: httparse::Error, lines: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooManyFields,
        httparse::Error::HeaderName => diagnose_name(lines),
        httparse::Error::HeaderValue => diagnose_control(lines, Fault::FieldValue),
        httparse::Error::NewLine => Fault::BareCr,
        httparse::Error::Status => diagnose_control(lines, Fault::StatusLine),
        httparse::Error::Token => diagnose_control(lines, Fault::RequestLine),
        httparse::Error::Version => Fault::Version,
    }
}

/// CR and NUL are told apart from other controls, wherever they are.
fn diagnose_control(lines: &[u8], otherwise: Fault) -> Fault {
    let bare_cr = |at: &usize| lines[*at] == b'\r' && lines.get(at + 1) != Some(&b'\n');
    if lines.contains(&0) {
        Fault::Nul
    } else if (0..lines.len()).any(|at| bare_cr(&at)) {
        Fault::BareCr
    } else {
        otherwise
    }
}

fn diagnose_name(lines: &[u8]) -> Fault {
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            [b' ' | b'\t', ..] => return Fault::ObsFold,
            [b':', ..] => return Fault::EmptyFieldName,
            _ => {}
        }
        let end = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
        match &line[end..] {
            [b':', ..] => {}
            [] if end == 0 => {}
            [b' ' | b'\t', rest @ ..] if rest.trim_ascii_start().starts_with(b":") => {
                return Fault::SpaceBeforeColon;
            }
            _ => return diagnose_control(line, Fault::FieldName),
        }
    }
    Fault::FieldName
}

/// Whether a byte may be in a token (RFC 9110, 5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&'
        | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_kebab_case_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for fault in Fault::ALL {
            let reason = fault.error().reason;
            assert!(seen.insert(reason), "{reason} twice");
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            assert!(reason.chars().all(kebab), "{reason}");
        }
    }
}
