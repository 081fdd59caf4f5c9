//! Random packet rules, such as firewalls have: narrow and wide networks, a port, a range, or any.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use sluice_base::Rng;
use sluice_rules::{IpNetwork, PortRange, Rule, RuleAction};

/// `count` rules, the same for the same count. Those that deny are about TCP, so that a flood of
/// UDP passes, whichever rule it meets.
#[must_use]
pub fn random(count: u32) -> Vec<Rule> {
    let mut rng = Rng::new(u64::from(count));
    (0..count).map(|_| rule(&mut rng)).collect()
}

fn rule(rng: &mut Rng) -> Rule {
    let mut below = |bound: u32| rng.below(bound);
    let is_deny = below(2) == 0;
    let protocol = match below(4) {
        _ if is_deny => Some(Rule::TCP),
        0 => None,
        1 | 2 => Some(Rule::TCP),
        _ => Some(Rule::UDP),
    };
    let mut network = || {
        // Wide ones are a seventh, as in the seeds of ClassBench's firewalls.
        let len = [0, 12, 16, 20, 24, 28, 32][below(7) as usize];
        let address = Ipv4Addr::from_bits(0x0a00_0000 | below(1 << 24));
        (len > 0).then(|| IpNetwork::around(address.into(), len)).flatten()
    };
    let (from, to) = (network(), network());
    let mut ports = || match below(3) {
        _ if protocol.is_none() => None,
        0 => None,
        1 => Some((below(1024), 0)),
        _ => Some((below(60_000), below(5_000))),
    };
    let range = |ports: Option<(u32, u32)>| {
        let range = |(first, len): (u32, u32)| PortRange {
            first: first as u16,
            last: (first + len) as u16,
        };
        ports.map(range).into_iter().collect()
    };
    let (from_ports, to_ports) = (None, ports());
    Rule {
        action: if is_deny { RuleAction::Deny } else { RuleAction::Allow },
        protocol,
        from: from.into_iter().collect(),
        to: to.into_iter().collect(),
        from_ports: range(from_ports),
        to_ports: range(to_ports),
    }
}

/// Writes a rule of [`random`] as the configuration file has it, behind its interface.
pub fn write(rule: &Rule, text: &mut String) {
    let _ = write!(text, "[[interface.rule]]\naction = \"{}\"\n", rule.action.name());
    if let Some(protocol) = rule.protocol {
        let _ = writeln!(text, "proto = {protocol}");
    }
    for (key, networks) in [("from", &rule.from), ("to", &rule.to)] {
        if let Some(network) = networks.first() {
            let _ = writeln!(text, "{key} = \"{network}\"");
        }
    }
    for (key, ranges) in [("from_ports", &rule.from_ports), ("to_ports", &rule.to_ports)] {
        if let Some(range) = ranges.first() {
            let _ = writeln!(text, "{key} = \"{range}\"");
        }
    }
}
