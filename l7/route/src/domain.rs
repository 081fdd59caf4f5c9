//! Which virtual host answers for a host name.
//!
//! The order is Envoy's: the exact name, then the longest `*.suffix`, then the longest `prefix.*`,
//! then `*`. Each kind is a hash map; the two with wildcards are asked once per length that occurs
//! among their patterns, longest first, so the cost grows with the number of different lengths (at
//! most 255) and not with the number of hosts.

use std::collections::BTreeMap;

use sluice_config_model::{DomainPattern, VirtualHost};

use crate::CompileError;
use crate::byte_map::ByteMap;

/// Longest name that is compared with domains: DNS names have at most 253 characters
/// (RFC 1035, 2.3.4, as text). A longer host is only ever taken by `*`.
const HOST_BYTES_MAX: usize = 255;

/// Virtual hosts by domain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    exact: ByteMap,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<u32>,
    /// There is no other domain than `*`.
    only_any: bool,
}

/// Patterns of one kind of wildcard.
#[derive(Clone, Debug, Default)]
struct Wildcards {
    map: ByteMap,
    /// Lengths that occur, longest first.
    lengths: Box<[u8]>,
}

impl Domains {
    pub(crate) fn compile(hosts: &[VirtualHost]) -> Result<Self, CompileError> {
        let mut owners = BTreeMap::new();
        for (index, host) in hosts.iter().enumerate() {
            for domain in &host.domains {
                if owners.insert(domain, index as u32).is_some() {
                    return Err(CompileError::DuplicateDomain {
                        virtual_host: host.name.clone(),
                        domain: show(domain),
                    });
                }
            }
        }
        let of_kind = |pick: fn(&DomainPattern) -> Option<&str>| {
            let text = move |(domain, index): (&&DomainPattern, &u32)| {
                pick(domain).map(|text| (text.to_ascii_lowercase().into_bytes(), *index))
            };
            owners.iter().filter_map(text).collect::<Vec<_>>()
        };
        let exact = of_kind(|domain| match domain {
            DomainPattern::Exact(text) => Some(text),
            DomainPattern::Suffix(_) | DomainPattern::Prefix(_) | DomainPattern::Any => None,
        });
        let suffixes = of_kind(|domain| match domain {
            DomainPattern::Suffix(text) => Some(text),
            DomainPattern::Exact(_) | DomainPattern::Prefix(_) | DomainPattern::Any => None,
        });
        let prefixes = of_kind(|domain| match domain {
            DomainPattern::Prefix(text) => Some(text),
            DomainPattern::Exact(_) | DomainPattern::Suffix(_) | DomainPattern::Any => None,
        });
        Ok(Self {
            exact: ByteMap::new(exact.iter().map(|(text, index)| (&text[..], *index))),
            suffixes: Wildcards::new(&suffixes),
            prefixes: Wildcards::new(&prefixes),
            any: owners.get(&DomainPattern::Any).copied(),
            only_any: owners.keys().all(|domain| **domain == DomainPattern::Any),
        })
    }

    /// The index of the virtual host for an authority (host and port, in any case).
    #[inline]
    pub(crate) fn find(&self, authority: &[u8]) -> Option<u32> {
        // One virtual host for everything, as beside a service: the name need not be read.
        if self.only_any {
            return self.any;
        }
        self.find_named(host_of(authority)).or(self.any)
    }

    fn find_named(&self, host: &[u8]) -> Option<u32> {
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        let host = &*lower;
        if host.is_empty() {
            return None;
        }
        self.exact
            .get(host)
            .or_else(|| self.suffixes.find(host, |len| &host[host.len() - len..]))
            .or_else(|| self.prefixes.find(host, |len| &host[..len]))
    }
}

impl Wildcards {
    fn new(entries: &[(Vec<u8>, u32)]) -> Self {
        // A longer pattern than any host we compare cannot match.
        let fits = |text: &[u8]| u8::try_from(text.len()).ok();
        let mut lengths: Vec<u8> = entries.iter().filter_map(|(text, _)| fits(text)).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Self {
            map: ByteMap::new(entries.iter().map(|(text, index)| (&text[..], *index))),
            lengths: lengths.into_boxed_slice(),
        }
    }

    /// The value of the longest pattern that is a proper part of `host`.
    #[inline]
    fn find<'a>(&self, host: &[u8], part: impl Fn(usize) -> &'a [u8]) -> Option<u32> {
        let lengths = self.lengths.iter().map(|len| usize::from(*len));
        lengths.filter(|len| *len < host.len()).find_map(|len| self.map.get(part(len)))
    }
}

/// The host of an authority, without its port (RFC 3986, 3.2).
#[inline]
pub(crate) fn host_of(authority: &[u8]) -> &[u8] {
    authority.split_at(host_len(authority)).0
}

/// The port of an authority, with its colon; empty if it has none.
pub(crate) fn port_of(authority: &[u8]) -> &[u8] {
    authority.split_at(host_len(authority)).1
}

#[inline]
fn host_len(authority: &[u8]) -> usize {
    match memchr::memrchr(b':', authority) {
        // The colons of an IPv6 literal stand in brackets.
        Some(colon) if authority[colon + 1..].iter().all(u8::is_ascii_digit) => colon,
        _ => authority.len(),
    }
}

/// A pattern as configuration writes it.
pub(crate) fn show(domain: &DomainPattern) -> String {
    match domain {
        DomainPattern::Exact(text) => text.clone(),
        DomainPattern::Suffix(text) => format!("*{text}"),
        DomainPattern::Prefix(text) => format!("{text}*"),
        DomainPattern::Any => "*".to_owned(),
    }
}

/// Whether one pattern takes the host: the definition, for `explain` and for tests.
pub(crate) fn takes(domain: &DomainPattern, authority: &[u8]) -> bool {
    let host = host_of(authority).to_ascii_lowercase();
    let comparable = (1..=HOST_BYTES_MAX).contains(&host.len());
    match domain {
        DomainPattern::Any => true,
        DomainPattern::Exact(text) => comparable && host == text.to_ascii_lowercase().as_bytes(),
        DomainPattern::Suffix(text) => {
            let text = text.to_ascii_lowercase();
            comparable && host.len() > text.len() && host.ends_with(text.as_bytes())
        }
        DomainPattern::Prefix(text) => {
            let text = text.to_ascii_lowercase();
            comparable && host.len() > text.len() && host.starts_with(text.as_bytes())
        }
    }
}
