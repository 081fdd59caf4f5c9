//! The order in which rules lie in the rows.
//!
//! The aggregate of a row spares words only if rules that hold together lie together. So they are
//! sorted: first those that name a narrow destination, by it; then those that name a narrow source;
//! then the rest, by protocol and port. Within the 64 rules of a word the operator's order is kept, so that the
//! lowest bit of a word is the first match in it.

use std::cmp::Reverse;
use std::net::IpAddr;

use sluice_config_model::{IpNetwork, Rule};

use crate::rows::BITS;

/// A prefix of fewer bits holds for too many packets to sort by.
const NARROW_BITS: u8 = 8;

/// The numbers of the rules that `applies` takes, as they shall lie.
pub(crate) fn order(rules: &[Rule], applies: impl Fn(&Rule) -> bool) -> Vec<u32> {
    let mut numbers: Vec<u32> =
        (0u32..).zip(rules).filter(|(_, rule)| applies(rule)).map(|(number, _)| number).collect();
    numbers.sort_by_cached_key(|number| key(&rules[*number as usize]));
    for word in numbers.chunks_mut(BITS) {
        word.sort_unstable();
    }
    numbers
}

type Key = (Reverse<bool>, Reverse<bool>, Option<u8>, u128, u128, Option<u8>, u16, u16);

fn key(rule: &Rule) -> Key {
    let (to, from) = (narrow(&rule.to), narrow(&rule.from));
    let port = |ranges: &[sluice_config_model::PortRange]| ranges.first().map_or(0, |r| r.first);
    // Where networks tell few rules apart, protocols do.
    let is_wide = to.is_none() || from.is_none();
    (
        Reverse(to.is_some()),
        Reverse(from.is_some()),
        rule.protocol.filter(|_| is_wide),
        to.unwrap_or(0),
        from.unwrap_or(0),
        rule.protocol,
        port(&rule.to_ports),
        port(&rule.from_ports),
    )
}

/// The one network of a condition, if it is narrow; several are as wide as any.
fn narrow(networks: &[IpNetwork]) -> Option<u128> {
    let [network] = networks else { return None };
    let bits = match network.address() {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    (network.prefix_len() >= NARROW_BITS).then_some(bits)
}
