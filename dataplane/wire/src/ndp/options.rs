//! Options of neighbour discovery (RFC 4861, 4.6; RFC 3971, 5.3.2 for the nonce).

use std::fmt;
use std::net::Ipv6Addr;

use super::NdpError;
use crate::ethernet::MacAddress;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const NONCE: u8 = 14;

const PREFIX_LEN: usize = 32;
const PREFIX_ON_LINK: u8 = 0x80;
const PREFIX_AUTONOMOUS: u8 = 0x40;

/// Prefixes of one advertisement that are kept; what stands behind them is ignored.
pub const PREFIXES_MAX: usize = 4;
/// Bytes of all options that are written.
pub(super) const OPTIONS_LEN_MAX: usize = 4 * 8 + PREFIXES_MAX * PREFIX_LEN;

/// What options said, or shall say. Unknown ones are skipped (RFC 4861, 9); of two of a kind the
/// first counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NdpOptions {
    /// Where the sender is on the link.
    pub source_mac: Option<MacAddress>,
    /// Where the target is on the link.
    pub target_mac: Option<MacAddress>,
    /// The link's MTU, bytes.
    pub mtu: Option<u32>,
    /// Chosen at random for a question, so that one's own is known when it comes back (RFC 7527).
    pub nonce: Option<[u8; 6]>,
    /// Prefixes of the link, from the front.
    pub prefixes: [Option<PrefixInfo>; PREFIXES_MAX],
}

/// A prefix of the link (RFC 4861, 4.6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PrefixInfo {
    /// The prefix.
    pub prefix: Ipv6Addr,
    /// Its length, bits, at most 128.
    pub prefix_len: u8,
    /// Addresses of it are on the link.
    pub on_link: bool,
    /// Hosts may make addresses of it (RFC 4862).
    pub autonomous: bool,
    /// How long it is valid, seconds; all ones: for ever.
    pub valid_s: u32,
    /// How long addresses of it are to be used for new connections, seconds.
    pub preferred_s: u32,
}

impl NdpOptions {
    /// The option that says where the sender is.
    #[must_use]
    pub fn source(mac: MacAddress) -> Self {
        Self { source_mac: Some(mac), ..Self::default() }
    }

    /// The option that says where the target is.
    #[must_use]
    pub fn target(mac: MacAddress) -> Self {
        Self { target_mac: Some(mac), ..Self::default() }
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, NdpError> {
        let mut options = Self::default();
        let mut prefixes = 0;
        while !bytes.is_empty() {
            let [kind, len, ..] = *bytes else { return Err(NdpError::OptionOverrun) };
            if len == 0 {
                return Err(NdpError::OptionLength);
            }
            let Some((option, rest)) = bytes.split_at_checked(usize::from(len) * 8) else {
                return Err(NdpError::OptionOverrun);
            };
            bytes = rest;
            match (kind, option) {
                (SOURCE_LINK_LAYER, [_, _, a, b, c, d, e, f]) => {
                    let mac = MacAddress([*a, *b, *c, *d, *e, *f]);
                    options.source_mac = options.source_mac.or(Some(mac));
                }
                (TARGET_LINK_LAYER, [_, _, a, b, c, d, e, f]) => {
                    let mac = MacAddress([*a, *b, *c, *d, *e, *f]);
                    options.target_mac = options.target_mac.or(Some(mac));
                }
                (MTU, [_, _, _, _, a, b, c, d]) => {
                    let mtu = u32::from_be_bytes([*a, *b, *c, *d]);
                    options.mtu = options.mtu.or(Some(mtu));
                }
                (NONCE, [_, _, a, b, c, d, e, f]) => {
                    options.nonce = options.nonce.or(Some([*a, *b, *c, *d, *e, *f]));
                }
                (PREFIX_INFORMATION, _) if prefixes < PREFIXES_MAX => {
                    if let Some(prefix) = PrefixInfo::parse(option) {
                        options.prefixes[prefixes] = Some(prefix);
                        prefixes += 1;
                    }
                }
                _ => {}
            }
        }
        Ok(options)
    }

    pub(super) fn len(&self) -> usize {
        let short = [
            self.source_mac.is_some(),
            self.target_mac.is_some(),
            self.mtu.is_some(),
            self.nonce.is_some(),
        ];
        let short = short.into_iter().filter(|is_there| *is_there).count();
        short * 8 + self.prefixes.iter().flatten().count() * PREFIX_LEN
    }

    /// Writes the options into zeroed bytes.
    pub(super) fn emit(&self, out: &mut [u8]) {
        let mut at = 0;
        let mut short = |kind: u8, from: usize, value: &[u8]| {
            out[at..at + 2].copy_from_slice(&[kind, 1]);
            out[at + from..at + from + value.len()].copy_from_slice(value);
            at += 8;
        };
        if let Some(mac) = self.source_mac {
            short(SOURCE_LINK_LAYER, 2, &mac.0);
        }
        if let Some(mac) = self.target_mac {
            short(TARGET_LINK_LAYER, 2, &mac.0);
        }
        if let Some(mtu) = self.mtu {
            short(MTU, 4, &mtu.to_be_bytes());
        }
        if let Some(nonce) = self.nonce {
            short(NONCE, 2, &nonce);
        }
        for prefix in self.prefixes.iter().flatten() {
            prefix.emit(&mut out[at..at + PREFIX_LEN]);
            at += PREFIX_LEN;
        }
    }
}

impl PrefixInfo {
    fn parse(option: &[u8]) -> Option<Self> {
        let option: &[u8; PREFIX_LEN] = option.try_into().ok()?;
        let word = |at: usize| {
            u32::from_be_bytes([option[at], option[at + 1], option[at + 2], option[at + 3]])
        };
        let prefix = option[16..].first_chunk::<16>()?;
        let prefix_len = option[2];
        (prefix_len <= 128).then(|| Self {
            prefix: Ipv6Addr::from(*prefix),
            prefix_len,
            on_link: option[3] & PREFIX_ON_LINK != 0,
            autonomous: option[3] & PREFIX_AUTONOMOUS != 0,
            valid_s: word(4),
            preferred_s: word(8),
        })
    }

    fn emit(&self, out: &mut [u8]) {
        let on_link = if self.on_link { PREFIX_ON_LINK } else { 0 };
        let autonomous = if self.autonomous { PREFIX_AUTONOMOUS } else { 0 };
        out[..4].copy_from_slice(&[PREFIX_INFORMATION, 4, self.prefix_len, on_link | autonomous]);
        out[4..8].copy_from_slice(&self.valid_s.to_be_bytes());
        out[8..12].copy_from_slice(&self.preferred_s.to_be_bytes());
        out[16..].copy_from_slice(&self.prefix.octets());
    }
}

impl fmt::Display for NdpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mac) = self.source_mac {
            write!(f, ", source {mac}")?;
        }
        if let Some(mac) = self.target_mac {
            write!(f, ", target {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ", mtu {mtu}")?;
        }
        for PrefixInfo { prefix, prefix_len, .. } in self.prefixes.iter().flatten() {
            write!(f, ", prefix {prefix}/{prefix_len}")?;
        }
        Ok(())
    }
}
