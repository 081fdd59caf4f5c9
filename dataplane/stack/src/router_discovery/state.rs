//! What one link's routers said, and until when it holds.

use std::net::Ipv6Addr;

use sluice_base::Instant;
use sluice_wire::ndp::{PrefixInfo, RouterInfo, RouterPreference};

use crate::fib_v6::mask;
use crate::learned::{FORMED_MAX, ON_LINK_MAX};
use crate::listing::LearnedWhat;
use crate::rate_limit::TokenBucket;

/// Routers of one link (Linux keeps any number).
pub(super) const ROUTERS_MAX: usize = 8;
/// Advertisements that are read per second and link; routers send one in 3 s at most (RFC 4861, 10).
const ADVERTISEMENTS_PER_SECOND: u32 = 20;
/// RFC 4862, 5.5.3 (e): two hours.
const VALID_MIN_S: u64 = 7_200;

/// What is known about the routers of one link. Only worker 0 has it.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Whether addresses are made of prefixes.
    pub(super) forms_addresses: bool,
    /// When to ask for routers again, and how long to wait after that.
    pub(super) next_solicitation: Instant,
    pub(super) interval_ns: u64,
    pub(super) limit: TokenBucket,
    pub(super) routers: Vec<Router>,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) formed: Vec<Formed>,
}

/// A router that wants to be a default router.
#[derive(Clone, Copy, Debug)]
pub(super) struct Router {
    pub(super) address: Ipv6Addr,
    pub(super) preference: RouterPreference,
    pub(super) until: Instant,
}

/// A prefix that is on the link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) prefix: Ipv6Addr,
    pub(super) prefix_len: u8,
    pub(super) until: Instant,
}

/// An address of ours that was made of a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Formed {
    pub(super) address: Ipv6Addr,
    pub(super) preferred_until: Instant,
    pub(super) valid_until: Instant,
    pub(super) is_deprecated: bool,
}

impl Discovery {
    pub(super) fn new(forms_addresses: bool) -> Self {
        Self {
            forms_addresses,
            next_solicitation: Instant::ZERO,
            interval_ns: 0,
            limit: TokenBucket::new(ADVERTISEMENTS_PER_SECOND),
            routers: Vec::with_capacity(ROUTERS_MAX),
            prefixes: Vec::with_capacity(ON_LINK_MAX),
            formed: Vec::with_capacity(FORMED_MAX),
        }
    }

    /// When something ends, or is to be asked again.
    pub(super) fn next_deadline(&self) -> Instant {
        let routers = self.routers.iter().map(|router| router.until);
        let prefixes = self.prefixes.iter().map(|prefix| prefix.until);
        let formed = self.formed.iter().map(|formed| match formed.is_deprecated {
            true => formed.valid_until,
            false => formed.preferred_until.min(formed.valid_until),
        });
        let ends = routers.chain(prefixes).chain(formed);
        ends.fold(self.next_solicitation, Instant::min)
    }

    /// RFC 4861, 6.3.4: the list of default routers. False if there is no room in it.
    pub(super) fn hear_router(
        &mut self,
        address: Ipv6Addr,
        router: &RouterInfo,
        now: Instant,
    ) -> bool {
        let known = self.routers.iter().position(|known| known.address == address);
        if router.lifetime_s == 0 {
            if let Some(at) = known {
                self.routers.remove(at);
            }
            return true;
        }
        let until = after(now, router.lifetime_s.into());
        let heard = Router { address, preference: router.preference, until };
        if let Some(at) = known {
            self.routers[at] = heard;
            return true;
        }
        if self.routers.len() == ROUTERS_MAX {
            let least = (0..ROUTERS_MAX).min_by_key(|at| self.routers[*at].preference);
            let least = least.filter(|at| self.routers[*at].preference < heard.preference);
            let Some(at) = least else { return false };
            self.routers.remove(at);
        }
        self.routers.push(heard);
        true
    }

    /// RFC 4861, 6.3.4: the list of prefixes. False if there is no room in it.
    pub(super) fn hear_prefix(&mut self, info: &PrefixInfo, now: Instant) -> bool {
        let (prefix, prefix_len) = (mask(info.prefix, info.prefix_len), info.prefix_len);
        let is_it = |known: &Prefix| (known.prefix, known.prefix_len) == (prefix, prefix_len);
        let known = self.prefixes.iter().position(is_it);
        let until = after(now, lifetime(info.valid_s));
        match known {
            Some(at) if info.valid_s == 0 => {
                self.prefixes.remove(at);
            }
            Some(at) => self.prefixes[at].until = until,
            None if info.valid_s == 0 => {}
            None if self.prefixes.len() == ON_LINK_MAX => return false,
            None => self.prefixes.push(Prefix { prefix, prefix_len, until }),
        }
        true
    }

    /// RFC 4862, 5.5.3 (e): other lifetimes for an address that was made already. False if it was
    /// not.
    pub(super) fn renew(&mut self, address: Ipv6Addr, info: &PrefixInfo, now: Instant) -> bool {
        let Some(formed) = self.formed.iter_mut().find(|formed| formed.address == address) else {
            return false;
        };
        let (valid, preferred) = (lifetime(info.valid_s), lifetime(info.preferred_s));
        formed.preferred_until = after(now, preferred);
        let (said, two_hours) = (after(now, valid), after(now, VALID_MIN_S));
        if valid > VALID_MIN_S || said > formed.valid_until {
            formed.valid_until = said;
        } else if formed.valid_until > two_hours {
            formed.valid_until = two_hours;
        }
        formed.is_deprecated = preferred == 0;
        true
    }
}

impl Discovery {
    /// All that holds, and for how many seconds; `is_used` tells the router of last resort.
    pub(crate) fn listed(
        &self,
        now: Instant,
        is_used: impl Fn(Ipv6Addr) -> bool,
    ) -> impl Iterator<Item = (LearnedWhat, Option<u64>)> {
        let left = move |until: Instant| {
            (until != Instant::NEVER).then(|| until.nanos_since(now) / 1_000_000_000)
        };
        let routers = self.routers.iter().map(move |&Router { address, until, .. }| {
            (LearnedWhat::Router { address, is_used: is_used(address) }, left(until))
        });
        let prefixes = self.prefixes.iter().map(move |&Prefix { prefix, prefix_len, until }| {
            (LearnedWhat::Prefix { prefix, prefix_len }, left(until))
        });
        let formed = self.formed.iter().map(move |formed| {
            let Formed { address, valid_until, is_deprecated, .. } = *formed;
            (LearnedWhat::Address { address, is_deprecated }, left(valid_until))
        });
        routers.chain(prefixes).chain(formed)
    }
}

/// Seconds of a lifetime; all ones are for ever (RFC 4861, 4.6.2).
pub(super) fn lifetime(seconds: u32) -> u64 {
    if seconds == u32::MAX { u64::MAX } else { seconds.into() }
}

pub(super) fn after(now: Instant, seconds: u64) -> Instant {
    match seconds {
        u64::MAX => Instant::NEVER,
        seconds => now.plus_nanos(seconds.saturating_mul(1_000_000_000)),
    }
}
