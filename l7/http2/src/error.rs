//! Every rule that a peer can break, with its scope, its code on the wire, and its name: the one list
//! of reasons of this crate.

use sluice_l7_core::{ProtocolError, ProtocolErrorKind as Kind, ResetReason};

use crate::hpack::HpackError;

/// Error codes (RFC 9113, 7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// No error: a graceful end.
    pub const NO_ERROR: Self = Self(0x0);
    /// A rule was broken for which there is no better code.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Our own fault.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More bytes than the window.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream whose sender had ended it.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a length that its type does not have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// Not processed at all.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// No longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// Both compression tables differ.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection of a CONNECT failed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// Too much of something.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// TLS below what the peer asks for.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// Only HTTP/1.1 will do.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// What a code means to the caller.
    #[must_use]
    pub const fn reset_reason(self) -> ResetReason {
        match self {
            Self::NO_ERROR => ResetReason::NoError,
            Self::PROTOCOL_ERROR => ResetReason::Protocol,
            Self::INTERNAL_ERROR => ResetReason::Internal,
            Self::REFUSED_STREAM => ResetReason::Refused,
            Self::CANCEL => ResetReason::Cancelled,
            Self::CONNECT_ERROR => ResetReason::ConnectError,
            Self::ENHANCE_YOUR_CALM => ResetReason::EnhanceYourCalm,
            Self::HTTP_1_1_REQUIRED => ResetReason::Http11Required,
            Self(code) => ResetReason::Other(code),
        }
    }
}

impl From<ResetReason> for ErrorCode {
    fn from(reason: ResetReason) -> Self {
        match reason {
            ResetReason::NoError => Self::NO_ERROR,
            ResetReason::Cancelled => Self::CANCEL,
            ResetReason::Refused => Self::REFUSED_STREAM,
            ResetReason::Protocol => Self::PROTOCOL_ERROR,
            ResetReason::Internal => Self::INTERNAL_ERROR,
            ResetReason::ConnectError => Self::CONNECT_ERROR,
            ResetReason::EnhanceYourCalm => Self::ENHANCE_YOUR_CALM,
            ResetReason::Http11Required => Self::HTTP_1_1_REQUIRED,
            ResetReason::Other(code) => Self(code),
        }
    }
}

/// How much is broken (RFC 9113, 5.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// GOAWAY, and the connection closes.
    Connection,
    /// RST_STREAM, and the others go on.
    Stream,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $scope:ident $code:ident $kind:ident $reason:literal)*) => {
        /// A broken rule of RFC 9113, 7541 or 9110, or of our limits.
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

            /// What the peer is told.
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                match self {
                    $(Self::$fault => ErrorCode::$code),*
                }
            }

            /// How much is broken.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self {
                    $(Self::$fault => Scope::$scope),*
                }
            }
        }
    };
}

faults! {
    /// The client's first bytes are not the preface (RFC 9113, 3.4).
    Preface = Connection PROTOCOL_ERROR Malformed "invalid-preface"
    /// The first frame is not SETTINGS (3.4).
    SettingsFirst = Connection PROTOCOL_ERROR Malformed "settings-not-first"
    /// A frame above SETTINGS_MAX_FRAME_SIZE (4.2).
    FrameTooLarge = Connection FRAME_SIZE_ERROR Malformed "frame-too-large"
    /// A frame of a length that its type does not have (4.2).
    FrameLength = Connection FRAME_SIZE_ERROR Malformed "invalid-frame-length"
    /// A PRIORITY frame of other than five bytes (6.3).
    PriorityLength = Stream FRAME_SIZE_ERROR Malformed "invalid-priority-length"
    /// A frame on stream 0 that belongs on a stream.
    StreamMissing = Connection PROTOCOL_ERROR Malformed "frame-without-stream"
    /// A frame on a stream that belongs on stream 0.
    StreamUnexpected = Connection PROTOCOL_ERROR Malformed "connection-frame-on-stream"
    /// A stream id that only we may use, or one in the other direction (5.1.1).
    StreamParity = Connection PROTOCOL_ERROR Malformed "invalid-stream-id"
    /// A frame on a stream that nobody has opened (5.1).
    StreamIdle = Connection PROTOCOL_ERROR Malformed "frame-on-idle-stream"
    /// A frame on a stream that both sides, or the peer, had ended (5.1).
    StreamClosed = Connection STREAM_CLOSED Malformed "frame-on-closed-stream"
    /// DATA or HEADERS behind END_STREAM while we still answer (5.1).
    StreamHalfClosed = Stream STREAM_CLOSED Malformed "frame-on-half-closed-stream"
    /// More padding than frame (6.1).
    Padding = Connection PROTOCOL_ERROR Malformed "invalid-padding"
    /// Another frame inside a header block (6.2).
    ContinuationMissing = Connection PROTOCOL_ERROR Malformed "continuation-missing"
    /// CONTINUATION outside of a header block (6.10).
    ContinuationUnexpected = Connection PROTOCOL_ERROR Malformed "unexpected-continuation"
    /// PUSH_PROMISE, which we have forbidden or which a client sent (8.4).
    PushPromise = Connection PROTOCOL_ERROR Malformed "push-promise"
    /// A stream that depends on itself (RFC 7540, 5.3.1).
    SelfDependency = Stream PROTOCOL_ERROR Malformed "stream-depends-on-itself"
    /// HPACK: a block ends inside a representation.
    HpackTruncated = Connection COMPRESSION_ERROR Malformed "hpack-truncated"
    /// HPACK: an integer that is too large or too long.
    HpackInteger = Connection COMPRESSION_ERROR Malformed "hpack-integer"
    /// HPACK: an index that names nothing.
    HpackIndex = Connection COMPRESSION_ERROR Malformed "hpack-index"
    /// HPACK: broken Huffman text.
    HpackHuffman = Connection COMPRESSION_ERROR Malformed "hpack-huffman"
    /// HPACK: a table size that is too large, or in a wrong place.
    HpackTableSize = Connection COMPRESSION_ERROR Malformed "hpack-table-size"
    /// A setting with a value that it does not have (6.5.2).
    Setting = Connection PROTOCOL_ERROR Malformed "invalid-setting"
    /// An initial window above 2^31-1, or one that makes a stream's window so (6.5.2, 6.9.2).
    InitialWindow = Connection FLOW_CONTROL_ERROR Malformed "initial-window-too-large"
    /// Our SETTINGS were not acknowledged in time (6.5.3).
    SettingsTimeout = Connection SETTINGS_TIMEOUT Excessive "settings-timeout"
    /// A PING was not answered in time: the peer is gone.
    PingTimeout = Connection NO_ERROR Truncated "ping-timeout"
    /// A GOAWAY with a higher last stream than the one before (6.8).
    GoAwayRaised = Connection PROTOCOL_ERROR Malformed "goaway-raises-last-stream"
    /// A WINDOW_UPDATE of 0 for the connection (6.9).
    ConnectionWindowZero = Connection PROTOCOL_ERROR Malformed "connection-window-update-zero"
    /// A WINDOW_UPDATE of 0 for a stream (6.9).
    StreamWindowZero = Stream PROTOCOL_ERROR Malformed "stream-window-update-zero"
    /// The connection's window beyond 2^31-1 (6.9.1).
    ConnectionWindowOverflow = Connection FLOW_CONTROL_ERROR Malformed "connection-window-overflow"
    /// A stream's window beyond 2^31-1 (6.9.1).
    StreamWindowOverflow = Stream FLOW_CONTROL_ERROR Malformed "stream-window-overflow"
    /// More bytes than the connection's window.
    ConnectionWindowExceeded = Connection FLOW_CONTROL_ERROR Excessive "connection-window-exceeded"
    /// More bytes than the stream's window.
    StreamWindowExceeded = Stream FLOW_CONTROL_ERROR Excessive "stream-window-exceeded"
    /// More streams than SETTINGS_MAX_CONCURRENT_STREAMS (5.1.2).
    TooManyStreams = Stream REFUSED_STREAM Excessive "too-many-streams"
    /// A stream behind our GOAWAY.
    Draining = Stream REFUSED_STREAM Excessive "stream-after-goaway"
    /// More resets than the budget: CVE-2023-44487, and resets that we were made to send.
    ResetFlood = Connection ENHANCE_YOUR_CALM Excessive "reset-flood"
    /// A header block in more CONTINUATION frames than the limit: CVE-2024-27316 and its relatives.
    ContinuationFlood = Connection ENHANCE_YOUR_CALM Excessive "continuation-flood"
    /// A header block of more bytes than the limit, decoded or not.
    BlockTooLarge = Connection ENHANCE_YOUR_CALM Excessive "header-block-too-large"
    /// More SETTINGS than the budget.
    SettingsFlood = Connection ENHANCE_YOUR_CALM Excessive "settings-flood"
    /// More PING than the budget.
    PingFlood = Connection ENHANCE_YOUR_CALM Excessive "ping-flood"
    /// More PRIORITY or PRIORITY_UPDATE than the budget.
    PriorityFlood = Connection ENHANCE_YOUR_CALM Excessive "priority-flood"
    /// More DATA without data, or all padding, than the budget.
    EmptyFrameFlood = Connection ENHANCE_YOUR_CALM Excessive "empty-frame-flood"
    /// More WINDOW_UPDATE than the budget.
    WindowUpdateFlood = Connection ENHANCE_YOUR_CALM Excessive "window-update-flood"
    /// More frames of types that nobody knows than the budget.
    UnknownFrameFlood = Connection ENHANCE_YOUR_CALM Excessive "unknown-frame-flood"
    /// More frames on streams that we have reset than the budget.
    ClosedStreamFlood = Connection ENHANCE_YOUR_CALM Excessive "frames-on-reset-streams"
    /// A pseudo-header field twice (8.3).
    PseudoRepeated = Stream PROTOCOL_ERROR Malformed "pseudo-header-repeated"
    /// A pseudo-header field behind a field (8.3).
    PseudoLate = Stream PROTOCOL_ERROR Malformed "pseudo-header-after-field"
    /// A pseudo-header field that this message does not have (8.3).
    PseudoUnexpected = Stream PROTOCOL_ERROR Malformed "unexpected-pseudo-header"
    /// A pseudo-header field that this message needs (8.3.1, 8.3.2).
    PseudoMissing = Stream PROTOCOL_ERROR Malformed "pseudo-header-missing"
    /// A field name that is no token, has upper case, or starts with a colon that nobody knows (8.2.1).
    FieldName = Stream PROTOCOL_ERROR Malformed "invalid-field-name"
    /// A control in a field value, or white space at its ends (8.2.1).
    FieldValue = Stream PROTOCOL_ERROR Malformed "invalid-field-value"
    /// A field that is about an HTTP/1.1 connection (8.2.2).
    ConnectionField = Stream PROTOCOL_ERROR Malformed "connection-specific-field"
    /// A TE other than `trailers` (8.2.2).
    Te = Stream PROTOCOL_ERROR Malformed "te-not-trailers"
    /// A `:method` that is no token.
    Method = Stream PROTOCOL_ERROR Malformed "invalid-method"
    /// A `:scheme` other than http and https, of a request that is no CONNECT.
    SchemeUnknown = Stream PROTOCOL_ERROR Malformed "unknown-scheme"
    /// A `:path` that starts with no slash, or with bytes that no target may have (8.3.1).
    Path = Stream PROTOCOL_ERROR Malformed "invalid-path"
    /// An `:authority` or Host that is no host with an optional port.
    Authority = Stream PROTOCOL_ERROR Malformed "invalid-authority"
    /// Neither `:authority` nor Host.
    AuthorityMissing = Stream PROTOCOL_ERROR Malformed "authority-missing"
    /// `:authority` and Host that differ, or two Hosts (8.3.1).
    AuthorityMismatch = Stream PROTOCOL_ERROR Malformed "authority-and-host-differ"
    /// A `:protocol` without CONNECT, or of bytes that none has (RFC 8441, 4).
    ProtocolName = Stream PROTOCOL_ERROR Malformed "invalid-protocol"
    /// A `:status` that is not three digits from 100 on.
    Status = Stream PROTOCOL_ERROR Malformed "invalid-status"
    /// A 101, which HTTP/2 does not have (8.6).
    SwitchingProtocols = Stream PROTOCOL_ERROR Malformed "switching-protocols"
    /// A 1xx that ends the stream (8.1).
    InformationalEnd = Stream PROTOCOL_ERROR Malformed "informational-ends-stream"
    /// More 1xx responses to one request than the limit.
    TooManyInformational = Stream ENHANCE_YOUR_CALM Excessive "too-many-informational"
    /// A Content-Length that is not a number below 2^63, or two.
    ContentLength = Stream PROTOCOL_ERROR Malformed "invalid-content-length"
    /// A body that is not as long as its Content-Length (8.1.1).
    LengthMismatch = Stream PROTOCOL_ERROR Malformed "body-length-mismatch"
    /// DATA before the head.
    DataBeforeHead = Stream PROTOCOL_ERROR Malformed "data-before-head"
    /// HEADERS inside a body without END_STREAM (8.1).
    TrailersWithoutEnd = Stream PROTOCOL_ERROR Malformed "trailers-without-end-of-stream"
    /// The path is longer than the limit.
    PathTooLong = Stream ENHANCE_YOUR_CALM RequestLineTooLong "path-too-long"
    /// The fields are larger than the limit.
    HeadTooLarge = Stream ENHANCE_YOUR_CALM HeadTooLarge "head-too-long"
    /// More fields than the limit.
    TooManyFields = Stream ENHANCE_YOUR_CALM HeadTooLarge "too-many-fields"
    /// Nothing could be sent for too long: the peer's window stays shut.
    Stalled = Stream CANCEL Excessive "stream-stalled"
    /// We had answered, and the request went on for too long without saying anything.
    HalfClosedTooLong = Stream NO_ERROR Excessive "half-closed-too-long"
    /// No memory for what had to be written.
    NoMemory = Connection INTERNAL_ERROR Excessive "no-memory"
    /// The connection ended inside a frame or a message.
    Truncated = Connection NO_ERROR Truncated "connection-cut"
}

impl Fault {
    /// Whether it ends a connection for having sent too much of something.
    #[must_use]
    pub const fn is_flood(self) -> bool {
        let calm = self.code().0 == ErrorCode::ENHANCE_YOUR_CALM.0;
        calm && matches!(self.scope(), Scope::Connection)
    }
}

impl From<Fault> for ProtocolError {
    fn from(fault: Fault) -> Self {
        fault.error()
    }
}

impl From<HpackError> for Fault {
    fn from(error: HpackError) -> Self {
        match error {
            HpackError::Truncated => Self::HpackTruncated,
            HpackError::Integer => Self::HpackInteger,
            HpackError::Index => Self::HpackIndex,
            HpackError::Huffman => Self::HpackHuffman,
            HpackError::TableSize => Self::HpackTableSize,
        }
    }
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
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(reason.chars().all(kebab), "{reason}");
        }
    }

    #[test]
    fn floods_are_what_budgets_and_block_limits_end() {
        let floods: Vec<_> = Fault::ALL.iter().filter(|fault| fault.is_flood()).collect();
        assert_eq!(floods.len(), 10, "{floods:?}");
        assert!(floods.iter().all(|fault| {
            let reason = fault.error().reason;
            let of_streams = matches!(fault, Fault::BlockTooLarge | Fault::ClosedStreamFlood);
            reason.ends_with("-flood") || of_streams
        }));
    }

    #[test]
    fn codes_and_reasons_map_both_ways() {
        for code in 0..=20 {
            let code = ErrorCode(code);
            assert_eq!(ErrorCode::from(code.reset_reason()), code);
        }
    }
}
