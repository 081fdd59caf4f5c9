//! The codes of ICMP's three error types.

use std::fmt;

/// Destination unreachable: RFC 792; 6 to 12 RFC 1122, 3.2.2.1; 13 to 15 RFC 1812, 5.2.7.1.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Unreachable {
    /// 0: no route.
    Network,
    /// 1: the neighbour does not answer.
    Host,
    /// 2: the host has no such transport protocol.
    Protocol,
    /// 3: nobody listens.
    Port,
    /// 4: larger than the next link's MTU, and DF set.
    FragmentationNeeded {
        /// Of the next link, bytes (RFC 1191, 4); zero from a router older than that.
        mtu: u16,
    },
    /// 5.
    SourceRouteFailed,
    /// 6.
    NetworkUnknown,
    /// 7.
    HostUnknown,
    /// 8.
    SourceHostIsolated,
    /// 9.
    NetworkProhibited,
    /// 10.
    HostProhibited,
    /// 11.
    NetworkForService,
    /// 12.
    HostForService,
    /// 13: filtered.
    AdministrativelyProhibited,
    /// 14.
    HostPrecedenceViolation,
    /// 15.
    PrecedenceCutoff,
}

impl Unreachable {
    /// The meaning of a code; `mtu` is the header's last field.
    #[must_use]
    pub const fn from_code(code: u8, mtu: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Network,
            1 => Self::Host,
            2 => Self::Protocol,
            3 => Self::Port,
            4 => Self::FragmentationNeeded { mtu },
            5 => Self::SourceRouteFailed,
            6 => Self::NetworkUnknown,
            7 => Self::HostUnknown,
            8 => Self::SourceHostIsolated,
            9 => Self::NetworkProhibited,
            10 => Self::HostProhibited,
            11 => Self::NetworkForService,
            12 => Self::HostForService,
            13 => Self::AdministrativelyProhibited,
            14 => Self::HostPrecedenceViolation,
            15 => Self::PrecedenceCutoff,
            _ => return None,
        })
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Network => 0,
            Self::Host => 1,
            Self::Protocol => 2,
            Self::Port => 3,
            Self::FragmentationNeeded { .. } => 4,
            Self::SourceRouteFailed => 5,
            Self::NetworkUnknown => 6,
            Self::HostUnknown => 7,
            Self::SourceHostIsolated => 8,
            Self::NetworkProhibited => 9,
            Self::HostProhibited => 10,
            Self::NetworkForService => 11,
            Self::HostForService => 12,
            Self::AdministrativelyProhibited => 13,
            Self::HostPrecedenceViolation => 14,
            Self::PrecedenceCutoff => 15,
        }
    }

    /// The next link's MTU, with the one code that has it.
    #[must_use]
    pub const fn mtu(self) -> Option<u16> {
        match self {
            Self::FragmentationNeeded { mtu } => Some(mtu),
            _ => None,
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "net unreachable",
            Self::Host => "host unreachable",
            Self::Protocol => "protocol unreachable",
            Self::Port => "port unreachable",
            Self::FragmentationNeeded { mtu } => {
                return write!(f, "unreachable - need to frag (mtu {mtu})");
            }
            Self::SourceRouteFailed => "unreachable - source route failed",
            Self::NetworkUnknown => "unreachable - net unknown",
            Self::HostUnknown => "unreachable - host unknown",
            Self::SourceHostIsolated => "unreachable - source host isolated",
            Self::NetworkProhibited => "unreachable - net prohibited",
            Self::HostProhibited => "unreachable - host prohibited",
            Self::NetworkForService => "unreachable - net unreachable for this service",
            Self::HostForService => "unreachable - host unreachable for this service",
            Self::AdministrativelyProhibited => "unreachable - admin prohibited",
            Self::HostPrecedenceViolation => "unreachable - host precedence violation",
            Self::PrecedenceCutoff => "unreachable - precedence cutoff",
        })
    }
}

/// Time exceeded (RFC 792).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TimeExceeded {
    /// 0: the time to live ran out on the way.
    InTransit,
    /// 1: a fragment was missing for too long.
    Reassembly,
}

impl TimeExceeded {
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

impl fmt::Display for TimeExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InTransit => "time exceeded in-transit",
            Self::Reassembly => "ip reassembly time exceeded",
        })
    }
}

/// Parameter problem: RFC 792; code 1 RFC 1122, 3.2.2.5; code 2 RFC 1812, 5.2.7.2 (IANA).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ParameterProblem {
    /// 0: the byte at this offset of the quoted header is wrong.
    Pointer(u8),
    /// 1: a required option is missing.
    MissingOption,
    /// 2: a length is wrong.
    BadLength,
}

impl ParameterProblem {
    /// The meaning of a code; `pointer` is the fifth byte of the header.
    #[must_use]
    pub const fn from_code(code: u8, pointer: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Pointer(pointer)),
            1 => Some(Self::MissingOption),
            2 => Some(Self::BadLength),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Pointer(_) => 0,
            Self::MissingOption => 1,
            Self::BadLength => 2,
        }
    }

    /// The pointer on the wire; zero where it has no meaning.
    #[must_use]
    pub const fn pointer(self) -> u8 {
        match self {
            Self::Pointer(pointer) => pointer,
            Self::MissingOption | Self::BadLength => 0,
        }
    }
}

impl fmt::Display for ParameterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(pointer) => write!(f, "octet {pointer}"),
            Self::MissingOption => f.write_str("missing option"),
            Self::BadLength => f.write_str("bad length"),
        }
    }
}
