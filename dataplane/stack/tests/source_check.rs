//! Which sources an interface takes packets from.

mod common;

use common::v6::*;
use common::*;
use sluice_stack::{DropReason, ReversePath, RouteConfig};

/// A router between 10.0.0.0/24 and 10.0.1.0/24, with 10.7.0.0/16 behind the right side and
/// 10.8.0.0/16 behind both.
fn router(path: ReversePath, martians: bool) -> Net {
    let mut net = Net::routed_with(|config| {
        let both = vec![ip("10.0.0.1").into(), ip("10.0.1.2").into()];
        let to = (ip("10.8.0.0").into(), 16);
        let spread = RouteConfig { to, via: both, interface: None };
        config.routes = vec![route("10.7.0.0", 16, "10.0.1.2"), spread];
    });
    net.settle();
    net.stack(1).set_source_checks(IF0, path, martians);
    net
}

fn dropped(net: &mut Net, source: &str) -> u64 {
    let before = net.drops(1, DropReason::ReversePath);
    net.inject(1, IF0, &ping(source, "10.0.1.2"));
    net.drops(1, DropReason::ReversePath) - before
}

#[test]
fn strict_takes_what_would_go_back_the_same_way() {
    let mut net = router(ReversePath::Strict, false);
    for (source, refused) in
        [("10.0.0.77", 0), ("10.8.1.1", 0), ("10.0.1.77", 1), ("10.7.1.1", 1), ("11.0.0.1", 1)]
    {
        assert_eq!(dropped(&mut net, source), refused, "{source}");
    }
    // The other interface is not asked.
    let mut other = ping("10.0.0.77", "10.0.0.1");
    other[..6].copy_from_slice(&mac(2, 1).0);
    net.inject(1, IF1, &other);
    assert_eq!(net.drops(1, DropReason::ReversePath), 3);
    // Our own address as a source keeps its own name.
    net.inject(1, IF0, &ping("10.0.0.254", "10.0.1.2"));
    assert_eq!(net.drops(1, DropReason::ReversePath), 3);
}

#[test]
fn loose_takes_what_some_route_leads_to() {
    let mut net = router(ReversePath::Loose, false);
    for (source, refused) in [("10.0.0.77", 0), ("10.0.1.77", 0), ("10.7.1.1", 0), ("11.0.0.1", 1)]
    {
        assert_eq!(dropped(&mut net, source), refused, "{source}");
    }
    net.stack(1).set_source_checks(IF0, ReversePath::Off, false);
    assert_eq!(dropped(&mut net, "11.0.0.1"), 0);
}

#[test]
fn martians_have_a_name() {
    let mut net = router(ReversePath::Off, true);
    for (source, destination, refused) in [
        ("10.0.0.1", "192.0.2.1", 1),
        ("198.51.100.1", "10.0.1.2", 2),
        ("192.0.3.1", "10.0.1.2", 2),
        ("127.0.0.1", "10.0.1.2", 2),
    ] {
        net.inject(1, IF0, &ping(source, destination));
        assert_eq!(net.drops(1, DropReason::Martian), refused, "{source} {destination}");
    }
    assert_eq!(net.drops(1, DropReason::Ipv4Source), 1, "loopback, as always");
}

#[test]
fn ipv6_is_checked_as_well() {
    let mut net = Net::new();
    net.add(&config(vec![interface_v6(1, 0, "fd00::1")]));
    net.add(&config(vec![interface_v6(2, 0, "fd00::2")]));
    net.join((0, IF0), (1, IF0));
    net.run(std::time::Duration::from_secs(2));
    net.stack(1).set_source_checks(IF0, ReversePath::Strict, true);
    for (source, path, martian) in
        [("fd00::77", 0, 0), ("fe80::77", 0, 0), ("fd01::1", 1, 0), ("2001:db8::1", 1, 1)]
    {
        net.inject(1, IF0, &ping_from(source, "fd00::2"));
        let counted = (net.drops(1, DropReason::ReversePath), net.drops(1, DropReason::Martian));
        assert_eq!(counted, (path, martian), "{source}");
    }
}
