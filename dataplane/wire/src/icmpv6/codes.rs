//! The codes of ICMPv6's error types.

use std::fmt;

/// Destination unreachable (RFC 4443, 3.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UnreachableV6 {
    /// 0.
    NoRoute,
    /// 1: filtered.
    AdministrativelyProhibited,
    /// 2: the source address reaches no further than its own scope.
    BeyondScope,
    /// 3: the neighbour does not answer.
    Address,
    /// 4: nobody listens.
    Port,
    /// 5: ingress or egress policy.
    SourcePolicy,
    /// 6.
    RejectRoute,
}

impl UnreachableV6 {
    /// The meaning of a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::NoRoute,
            1 => Self::AdministrativelyProhibited,
            2 => Self::BeyondScope,
            3 => Self::Address,
            4 => Self::Port,
            5 => Self::SourcePolicy,
            6 => Self::RejectRoute,
            _ => return None,
        })
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NoRoute => 0,
            Self::AdministrativelyProhibited => 1,
            Self::BeyondScope => 2,
            Self::Address => 3,
            Self::Port => 4,
            Self::SourcePolicy => 5,
            Self::RejectRoute => 6,
        }
    }
}

impl fmt::Display for UnreachableV6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "unreachable route",
            Self::AdministrativelyProhibited => "unreachable prohibited",
            Self::BeyondScope => "beyond scope of the source address",
            Self::Address => "unreachable address",
            Self::Port => "unreachable port",
            Self::SourcePolicy => "source address failed policy",
            Self::RejectRoute => "reject route",
        })
    }
}

/// Time exceeded (RFC 4443, 3.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TimeExceededV6 {
    /// 0: the hop limit ran out on the way.
    InTransit,
    /// 1: a fragment was missing for too long.
    Reassembly,
}

impl TimeExceededV6 {
    /// The meaning of a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::InTransit),
            1 => Some(Self::Reassembly),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::InTransit => 0,
            Self::Reassembly => 1,
        }
    }
}

impl fmt::Display for TimeExceededV6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InTransit => "in-transit",
            Self::Reassembly => "in reassembly",
        })
    }
}

/// Parameter problem (RFC 4443, 3.4). Each points at the byte of the quoted packet that is wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ParameterProblemV6 {
    /// 0: a field of a header.
    Field(u32),
    /// 1: a next header that nobody here knows.
    NextHeader(u32),
    /// 2: an option that nobody here knows.
    Option(u32),
}

impl ParameterProblemV6 {
    /// The meaning of a code.
    #[must_use]
    pub const fn from_code(code: u8, pointer: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Field(pointer)),
            1 => Some(Self::NextHeader(pointer)),
            2 => Some(Self::Option(pointer)),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::NextHeader(_) => 1,
            Self::Option(_) => 2,
        }
    }

    /// Where the fault is, from the start of the quoted packet.
    #[must_use]
    pub const fn pointer(self) -> u32 {
        match self {
            Self::Field(pointer) | Self::NextHeader(pointer) | Self::Option(pointer) => pointer,
        }
    }
}

impl fmt::Display for ParameterProblemV6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(pointer) => write!(f, "field - octet {pointer}"),
            Self::NextHeader(pointer) => write!(f, "next header - octet {pointer}"),
            Self::Option(pointer) => write!(f, "option - octet {pointer}"),
        }
    }
}
