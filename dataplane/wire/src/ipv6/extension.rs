//! What may stand between an IPv6 header and its transport (RFC 8200, 4).
//!
//! [`walk`] goes from header to header and ends at the first thing that is none: a transport, a
//! fragment, or what nobody knows. The chain is bounded (RFC 8504, 5.3): each header costs the
//! receiver a step and the sender eight bytes.

use std::fmt;

use crate::ipv4::IpProtocol;

/// Hop-by-hop options: only directly behind the IPv6 header.
pub const HOP_BY_HOP: u8 = 0;
/// Routing.
pub const ROUTING: u8 = 43;
/// Fragment.
pub const FRAGMENT: u8 = 44;
/// Nothing follows.
pub const NO_NEXT: u8 = 59;
/// Destination options.
pub const DESTINATION: u8 = 60;

/// Bytes of a fragment header.
pub const FRAGMENT_LEN: usize = 8;
/// Headers of one packet: RFC 8200, 4.1 lists seven, of which we know five.
pub const HEADERS_MAX: usize = 8;
/// Options of one packet that are no padding (RFC 8504, 5.3 suggests eight).
pub const OPTIONS_MAX: usize = 8;

const OPTION_PAD1: u8 = 0;
const OPTION_PADN: u8 = 1;
const OPTION_ROUTER_ALERT: u8 = 5;

/// Why a chain was not walked to its end. Offsets count from the start of the IPv6 header, as the
/// pointer of a parameter problem does (RFC 4443, 3.4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ExtensionError {
    /// A header or option runs past the packet, or past the bytes at hand.
    Truncated,
    /// More headers or options than anybody needs.
    TooMany,
    /// Hop-by-hop options that are not the first header.
    HopByHopPlace {
        /// Of the field that names it.
        pointer: u32,
    },
    /// A routing header that still has stations to visit, of whatever type: type 0 must not be
    /// obeyed (RFC 5095), and no other is known here.
    Routing {
        /// Of the routing type.
        pointer: u32,
    },
    /// An option that must be understood by whoever takes the packet.
    Option {
        /// Of the option.
        pointer: u32,
        /// What RFC 8200, 4.2 has us do about it.
        action: OptionAction,
    },
}

impl ExtensionError {
    /// The stable name under which a drop for this reason is counted.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "ipv6-extension-truncated",
            Self::TooMany => "ipv6-extension-too-many",
            Self::HopByHopPlace { .. } => "ipv6-hop-by-hop-place",
            Self::Routing { .. } => "ipv6-routing-header",
            Self::Option { .. } => "ipv6-option",
        }
    }
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ExtensionError {}

/// The two highest bits of an option's type: what who does not know it must do (RFC 8200, 4.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OptionAction {
    /// 01: drop the packet.
    Discard,
    /// 10: drop it and say so, even if it was sent to a group.
    Report,
    /// 11: drop it and say so, unless it was sent to a group.
    ReportUnicast,
}

impl OptionAction {
    /// None: the option is skipped.
    const fn of(kind: u8) -> Option<Self> {
        match kind >> 6 {
            0 => None,
            1 => Some(Self::Discard),
            2 => Some(Self::Report),
            _ => Some(Self::ReportUnicast),
        }
    }
}

/// What a fragment header says (RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fragment {
    /// Where the fragment belongs, in units of 8 bytes; 13 bits.
    pub offset: u16,
    /// Whether others follow.
    pub more: bool,
    /// Names the packet.
    pub identification: u32,
}

impl Fragment {
    /// Whether it is a whole packet, and so to be treated as one (RFC 6946).
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// Where the extension headers end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Upper {
    /// What lies there.
    pub protocol: IpProtocol,
    /// Bytes of all extension headers: where it starts, from the end of the IPv6 header.
    pub offset: u16,
    /// Of the field that names it, from the start of the IPv6 header.
    pub pointer: u16,
    /// The fragment header, if one was passed. Behind one that is not atomic nothing was read.
    pub fragment: Option<Fragment>,
    /// Whether routers were asked to look at the packet (RFC 2711).
    pub router_alert: bool,
}

/// Whether a next header is one that [`walk`] looks into.
#[inline]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// Walks the extension headers of a packet whose IPv6 header names `next_header` first. `payload`
/// is what lies behind that header, in one piece as far as the headers reach.
///
/// # Errors
/// See [`ExtensionError`].
pub fn walk(next_header: u8, payload: &[u8]) -> Result<Upper, ExtensionError> {
    let mut walk = Walk { payload, at: 0, options: 0, router_alert: false };
    let (mut next, mut pointer) = (next_header, 6);
    for _ in 0..=HEADERS_MAX {
        let at = walk.at;
        match next {
            HOP_BY_HOP if at > 0 => return Err(ExtensionError::HopByHopPlace { pointer }),
            HOP_BY_HOP | DESTINATION => next = walk.options(next)?,
            ROUTING => next = walk.routing()?,
            FRAGMENT => {
                let (behind, fragment) = walk.fragment()?;
                if !fragment.is_atomic() || !is_extension(behind) {
                    return Ok(walk.end(behind, (IPV6 + at) as u32, Some(fragment)));
                }
                // An atomic fragment with further headers behind it: nobody sends them, and what
                // follows could be another fragment header without end.
                return Err(ExtensionError::TooMany);
            }
            other => return Ok(walk.end(other, pointer, None)),
        }
        pointer = (IPV6 + at) as u32;
    }
    Err(ExtensionError::TooMany)
}

/// Bytes of the IPv6 header, from where pointers count.
const IPV6: usize = super::HEADER_LEN;

struct Walk<'a> {
    payload: &'a [u8],
    at: usize,
    options: usize,
    router_alert: bool,
}

impl<'a> Walk<'a> {
    fn end(&self, next_header: u8, pointer: u32, fragment: Option<Fragment>) -> Upper {
        Upper {
            protocol: IpProtocol::from_number(next_header),
            // A payload is at most 65,535 bytes long.
            offset: self.at as u16,
            pointer: pointer as u16,
            fragment,
            router_alert: self.router_alert,
        }
    }

    /// The header at hand, whose second byte is its length, and what it names next.
    fn header(&mut self) -> Result<(u8, &'a [u8]), ExtensionError> {
        let rest = self.payload.get(self.at..).unwrap_or_default();
        let [next, len, ..] = rest else { return Err(ExtensionError::Truncated) };
        let len = (usize::from(*len) + 1) * 8;
        let header = rest.get(..len).ok_or(ExtensionError::Truncated)?;
        self.at += len;
        Ok((*next, header))
    }

    /// RFC 8200, 4.2, 4.3 and 4.6.
    fn options(&mut self, kind: u8) -> Result<u8, ExtensionError> {
        let start = self.at;
        let (next, header) = self.header()?;
        let mut at = 2;
        while let Some(&option) = header.get(at) {
            if option == OPTION_PAD1 {
                at += 1;
                continue;
            }
            let len = usize::from(*header.get(at + 1).ok_or(ExtensionError::Truncated)?);
            if at + 2 + len > header.len() {
                return Err(ExtensionError::Truncated);
            }
            if option != OPTION_PADN {
                self.options += 1;
                if self.options > OPTIONS_MAX {
                    return Err(ExtensionError::TooMany);
                }
                if kind == HOP_BY_HOP && option == OPTION_ROUTER_ALERT {
                    self.router_alert = true;
                } else if let Some(action) = OptionAction::of(option) {
                    let pointer = (IPV6 + start + at) as u32;
                    return Err(ExtensionError::Option { pointer, action });
                }
            }
            at += 2 + len;
        }
        Ok(next)
    }

    /// RFC 8200, 4.4; RFC 5095, 3.
    fn routing(&mut self) -> Result<u8, ExtensionError> {
        let start = self.at;
        let (next, header) = self.header()?;
        if header[3] != 0 {
            return Err(ExtensionError::Routing { pointer: (IPV6 + start + 2) as u32 });
        }
        Ok(next)
    }

    /// RFC 8200, 4.5.
    fn fragment(&mut self) -> Result<(u8, Fragment), ExtensionError> {
        let rest = self.payload.get(self.at..).unwrap_or_default();
        let Some([next, _, high, low, a, b, c, d]) = rest.first_chunk::<FRAGMENT_LEN>() else {
            return Err(ExtensionError::Truncated);
        };
        self.at += FRAGMENT_LEN;
        let field = u16::from_be_bytes([*high, *low]);
        let identification = u32::from_be_bytes([*a, *b, *c, *d]);
        Ok((*next, Fragment { offset: field >> 3, more: field & 1 != 0, identification }))
    }
}

#[cfg(test)]
mod tests;
