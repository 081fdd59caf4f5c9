//! What can only be seen with all sections at hand.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_config_model::{Config, Interface, IpCidr, RouterAdvertisements};

use crate::read::{Clusters, Interfaces};
use crate::report::Report;

/// Warns of what is valid and most likely not meant.
pub(crate) fn across_sections(
    config: &Config,
    interfaces: &Interfaces,
    clusters: &Clusters,
    report: &mut Report<'_>,
) {
    for (name, span) in clusters.unused() {
        report
            .warning(span, format!("cluster `{name}` is not used"))
            .hint("no listener and no route refers to it");
    }
    if interfaces.incomplete {
        return;
    }
    let ours = interfaces.ours.iter().map(|(at, name)| (at.value, name));
    let owners: BTreeMap<_, _> = ours.clone().map(|(cidr, name)| (cidr.address, name)).collect();
    let routed = config.ip_routes.iter().map(|route| route.to);
    let reachable = Ranges::new(ours.map(|(cidr, _)| cidr).chain(routed));
    let listens =
        |interface: &Interface| interface.router_advertisements != RouterAdvertisements::Ignore;
    // A router may turn up that leads everywhere.
    let may_learn = config.interfaces.iter().any(listens);
    for at in &clusters.endpoints {
        let ip = at.value.ip();
        if let Some(interface) = owners.get(&ip) {
            report
                .warning(at.span, format!("endpoint {} is an address of Sluice itself", at.value))
                .hint(format!("interface `{interface}` has it; connections to it stay unanswered"));
        } else if !(reachable.contain(ip) || may_learn && ip.is_ipv6()) {
            report
                .warning(at.span, format!("no interface and no [[ip_route]] leads to {}", at.value))
                .hint("add an [[ip_route]], for everything else with to = \"0.0.0.0/0\"");
        }
    }
}

/// Disjoint ranges of addresses, in order, all of IPv4 before those of IPv6: a file may have 100,000
/// routes and a million endpoints.
struct Ranges(Vec<(IpAddr, IpAddr)>);

impl Ranges {
    fn new(networks: impl Iterator<Item = IpCidr>) -> Self {
        let mut all: Vec<_> = networks.map(|cidr| (cidr.network(), cidr.last())).collect();
        all.sort_unstable();
        let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::new();
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Self(ranges)
    }

    fn contain(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn nested_and_touching_networks_are_one_range() {
        let cidr = |a, prefix_len| IpCidr::new(Ipv4Addr::from_bits(a).into(), prefix_len);
        let networks = [cidr(0x0a00_0000, 8), cidr(0x0a01_0000, 16), cidr(0x0c00_0001, 32)];
        let ranges = Ranges::new(networks.into_iter().flatten());
        assert_eq!(ranges.0.len(), 2);
        for (address, expected) in [
            (0x09ff_ffff, false),
            (0x0a00_0000, true),
            (0x0a02_0000, true),
            (0x0aff_ffff, true),
            (0x0b00_0000, false),
            (0x0c00_0000, false),
            (0x0c00_0001, true),
            (0x0c00_0002, false),
        ] {
            assert_eq!(
                ranges.contain(Ipv4Addr::from_bits(address).into()),
                expected,
                "{address:x}"
            );
        }
        let all = Ranges::new([IpCidr::ALL_V4].into_iter());
        assert!(all.contain(Ipv4Addr::BROADCAST.into()));
        assert!(!all.contain("::".parse().expect("an address")));
        let both = Ranges::new([IpCidr::ALL_V6, IpCidr::ALL_V4].into_iter());
        assert_eq!(both.0.len(), 2);
        assert!(both.contain("fd09::1".parse().expect("an address")));
    }
}
