//! Neighbour discovery (RFC 4861): five ICMPv6 messages with options.
//!
//! [`NdpMessage::parse`] checks what a receiver must check about the message itself: code, length,
//! and that every option has a length and fits. Hop limit, addresses and checksum are the IPv6
//! header's and so the caller's to judge (RFC 4861, 6.1, 7.1 and 8.1).

mod options;

use std::fmt;
use std::net::Ipv6Addr;

use crate::error::wire_error;

pub use options::{NdpOptions, PREFIXES_MAX, PrefixInfo};

/// Router solicitation.
pub const KIND_ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement.
pub const KIND_ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation.
pub const KIND_NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbour advertisement.
pub const KIND_NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Redirect.
pub const KIND_REDIRECT: u8 = 137;

/// The hop limit that shows that no router passed a message on (RFC 4861, 3.1).
pub const HOP_LIMIT: u8 = 255;
/// Bytes of the longest message that we write.
pub const MESSAGE_LEN_MAX: usize = 40 + options::OPTIONS_LEN_MAX;

/// Where options start, from the start of the message.
const RS_LEN: usize = 8;
const RA_LEN: usize = 16;
const NEIGHBOR_LEN: usize = 24;
const REDIRECT_LEN: usize = 40;

const NA_ROUTER: u8 = 0x80;
const NA_SOLICITED: u8 = 0x40;
const NA_OVERRIDE: u8 = 0x20;
const RA_MANAGED: u8 = 0x80;
const RA_OTHER: u8 = 0x40;
/// RFC 4191, 2.2: two bits, a signed number.
const RA_PREFERENCE: u8 = 0x18;
const RA_PREFERENCE_HIGH: u8 = 0x08;
const RA_PREFERENCE_LOW: u8 = 0x18;

wire_error! {
    /// Why bytes are not a message of neighbour discovery.
    pub enum NdpError {
        /// Shorter than its type has to be.
        Truncated = "ndp-truncated",
        /// Another type of ICMPv6.
        Kind { kind: u8 } = "ndp-kind",
        /// The code is not zero.
        Code = "ndp-code",
        /// An option has no length.
        OptionLength = "ndp-option-length",
        /// An option runs past the message.
        OptionOverrun = "ndp-option-overrun",
        /// The target is a group.
        Target = "ndp-target",
    }
}

/// A message to be sent, or one that was understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NdpMessage {
    /// Which routers are there?
    RouterSolicitation {
        /// Its options.
        options: NdpOptions,
    },
    /// I am a router, or was one.
    RouterAdvertisement {
        /// What it says about the link.
        router: RouterInfo,
        /// Its options.
        options: NdpOptions,
    },
    /// Who has `target`?
    NeighborSolicitation {
        /// The address asked about.
        target: Ipv6Addr,
        /// Its options.
        options: NdpOptions,
    },
    /// The sender has `target`.
    NeighborAdvertisement {
        /// The address that it is about.
        target: Ipv6Addr,
        /// The sender forwards packets.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It should replace what is known.
        overrides: bool,
        /// Its options.
        options: NdpOptions,
    },
    /// A better first hop.
    Redirect {
        /// The first hop to be used.
        target: Ipv6Addr,
        /// For what destination.
        destination: Ipv6Addr,
        /// Its options.
        options: NdpOptions,
    },
}

/// What a router says about itself and the link (RFC 4861, 4.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RouterInfo {
    /// The hop limit that hosts should use; zero: not said.
    pub hop_limit: u8,
    /// Addresses come from DHCPv6.
    pub managed: bool,
    /// Other configuration comes from DHCPv6.
    pub other: bool,
    /// How much it wants to be the default router.
    pub preference: RouterPreference,
    /// How long it is a default router, seconds; zero: it is none.
    pub lifetime_s: u16,
    /// How long a neighbour counts as reachable, milliseconds; zero: not said.
    pub reachable_ms: u32,
    /// Between solicitations, milliseconds; zero: not said.
    pub retransmit_ms: u32,
}

/// How much a router wants to be the default router (RFC 4191, 2.1).
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum RouterPreference {
    /// Only where there is no other.
    Low,
    /// What is not said, and what is reserved.
    #[default]
    Medium,
    /// Rather than others.
    High,
}

impl NdpMessage {
    /// Reads a message, given from its ICMPv6 type on and cut where the packet ends.
    ///
    /// # Errors
    /// See [`NdpError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NdpError> {
        let [kind, code, ..] = *bytes else { return Err(NdpError::Truncated) };
        let header_len = match kind {
            KIND_ROUTER_SOLICITATION => RS_LEN,
            KIND_ROUTER_ADVERTISEMENT => RA_LEN,
            KIND_NEIGHBOR_SOLICITATION | KIND_NEIGHBOR_ADVERTISEMENT => NEIGHBOR_LEN,
            KIND_REDIRECT => REDIRECT_LEN,
            kind => return Err(NdpError::Kind { kind }),
        };
        if code != 0 {
            return Err(NdpError::Code);
        }
        let (header, rest) = bytes.split_at_checked(header_len).ok_or(NdpError::Truncated)?;
        let options = NdpOptions::parse(rest)?;
        let address = |at: usize| -> Result<Ipv6Addr, NdpError> {
            let octets = header.get(at..).and_then(<[u8]>::first_chunk::<16>);
            options_target(Ipv6Addr::from(*octets.ok_or(NdpError::Truncated)?))
        };
        Ok(match kind {
            KIND_ROUTER_SOLICITATION => Self::RouterSolicitation { options },
            KIND_ROUTER_ADVERTISEMENT => {
                Self::RouterAdvertisement { router: RouterInfo::parse(header)?, options }
            }
            KIND_NEIGHBOR_SOLICITATION => {
                Self::NeighborSolicitation { target: address(8)?, options }
            }
            KIND_NEIGHBOR_ADVERTISEMENT => Self::NeighborAdvertisement {
                target: address(8)?,
                router: header[4] & NA_ROUTER != 0,
                solicited: header[4] & NA_SOLICITED != 0,
                overrides: header[4] & NA_OVERRIDE != 0,
                options,
            },
            _ => Self::Redirect { target: address(8)?, destination: address(24)?, options },
        })
    }

    /// The ICMPv6 type.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::RouterSolicitation { .. } => KIND_ROUTER_SOLICITATION,
            Self::RouterAdvertisement { .. } => KIND_ROUTER_ADVERTISEMENT,
            Self::NeighborSolicitation { .. } => KIND_NEIGHBOR_SOLICITATION,
            Self::NeighborAdvertisement { .. } => KIND_NEIGHBOR_ADVERTISEMENT,
            Self::Redirect { .. } => KIND_REDIRECT,
        }
    }

    /// Its options.
    #[must_use]
    pub const fn options(&self) -> &NdpOptions {
        match self {
            Self::RouterSolicitation { options }
            | Self::RouterAdvertisement { options, .. }
            | Self::NeighborSolicitation { options, .. }
            | Self::NeighborAdvertisement { options, .. }
            | Self::Redirect { options, .. } => options,
        }
    }

    /// Bytes that [`Self::emit`] writes, at most [`MESSAGE_LEN_MAX`].
    #[must_use]
    pub fn header_len(&self) -> usize {
        let header_len = match self {
            Self::RouterSolicitation { .. } => RS_LEN,
            Self::RouterAdvertisement { .. } => RA_LEN,
            Self::NeighborSolicitation { .. } | Self::NeighborAdvertisement { .. } => NEIGHBOR_LEN,
            Self::Redirect { .. } => REDIRECT_LEN,
        };
        header_len + self.options().len()
    }

    /// Writes the message with a checksum of zero; returns its length. Then
    /// [`crate::icmpv6::fill_checksum`] completes it.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.header_len();
        let out = &mut out[..len];
        out.fill(0);
        out[0] = self.kind();
        let options_at = match self {
            Self::RouterSolicitation { .. } => RS_LEN,
            Self::RouterAdvertisement { router, .. } => {
                router.emit(out);
                RA_LEN
            }
            Self::NeighborSolicitation { target, .. } => {
                out[8..24].copy_from_slice(&target.octets());
                NEIGHBOR_LEN
            }
            Self::NeighborAdvertisement { target, router, solicited, overrides, .. } => {
                let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
                out[4] = flag(*router, NA_ROUTER)
                    | flag(*solicited, NA_SOLICITED)
                    | flag(*overrides, NA_OVERRIDE);
                out[8..24].copy_from_slice(&target.octets());
                NEIGHBOR_LEN
            }
            Self::Redirect { target, destination, .. } => {
                out[8..24].copy_from_slice(&target.octets());
                out[24..40].copy_from_slice(&destination.octets());
                REDIRECT_LEN
            }
        };
        self.options().emit(&mut out[options_at..]);
        len
    }
}

/// RFC 4861, 7.1.1, 7.1.2 and 8.1: what a message is about is one node.
fn options_target(target: Ipv6Addr) -> Result<Ipv6Addr, NdpError> {
    if target.is_multicast() { Err(NdpError::Target) } else { Ok(target) }
}

impl RouterInfo {
    fn parse(header: &[u8]) -> Result<Self, NdpError> {
        let [_, _, _, _, hop_limit, flags, a, b, c, d, e, f, g, h, i, j, ..] = *header else {
            return Err(NdpError::Truncated);
        };
        Ok(Self {
            hop_limit,
            managed: flags & RA_MANAGED != 0,
            other: flags & RA_OTHER != 0,
            preference: match flags & RA_PREFERENCE {
                RA_PREFERENCE_HIGH => RouterPreference::High,
                RA_PREFERENCE_LOW => RouterPreference::Low,
                _ => RouterPreference::Medium,
            },
            lifetime_s: u16::from_be_bytes([a, b]),
            reachable_ms: u32::from_be_bytes([c, d, e, f]),
            retransmit_ms: u32::from_be_bytes([g, h, i, j]),
        })
    }

    fn emit(&self, out: &mut [u8]) {
        out[4] = self.hop_limit;
        let preference = match self.preference {
            RouterPreference::Low => RA_PREFERENCE_LOW,
            RouterPreference::Medium => 0,
            RouterPreference::High => RA_PREFERENCE_HIGH,
        };
        out[5] = if self.managed { RA_MANAGED } else { 0 }
            | if self.other { RA_OTHER } else { 0 }
            | preference;
        out[6..8].copy_from_slice(&self.lifetime_s.to_be_bytes());
        out[8..12].copy_from_slice(&self.reachable_ms.to_be_bytes());
        out[12..16].copy_from_slice(&self.retransmit_ms.to_be_bytes());
    }
}

impl fmt::Display for NdpMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RouterSolicitation { .. } => f.write_str("ICMP6, router solicitation")?,
            Self::RouterAdvertisement { router, .. } => {
                write!(f, "ICMP6, router advertisement, lifetime {}s", router.lifetime_s)?;
            }
            Self::NeighborSolicitation { target, .. } => {
                write!(f, "ICMP6, neighbor solicitation, who has {target}")?;
            }
            Self::NeighborAdvertisement { target, router, solicited, overrides, .. } => {
                write!(f, "ICMP6, neighbor advertisement, tgt is {target}")?;
                for (is_set, name) in
                    [(router, ", router"), (solicited, ", solicited"), (overrides, ", override")]
                {
                    f.write_str(if *is_set { name } else { "" })?;
                }
            }
            Self::Redirect { target, destination, .. } => {
                write!(f, "ICMP6, redirect, {destination} to {target}")?;
            }
        }
        self.options().fmt(f)
    }
}

#[cfg(test)]
mod tests;
