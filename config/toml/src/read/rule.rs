//! `[[interface.rule]]`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use sluice_config_model::{IpNetwork, PortRange, Rule, RuleAction};
use toml::de::DeValue;

use crate::limits::RULE_ENTRIES_MAX;
use crate::report::{At, Report, Span};
use crate::section::Section;
use crate::value::{Value, shown};

const PROTOCOLS: &[(&str, u8)] =
    &[("tcp", Rule::TCP), ("udp", Rule::UDP), ("icmp", 1), ("icmpv6", 58)];
const PORTS: RangeInclusive<i64> = 0..=65_535;
const PORTS_HINT: &str = "as in 22, \"8000-8080\" or [22, \"8000-8080\"]";
const NETWORK_HINT: &str = "as in \"10.0.0.0/8\", \"10.9.0.1\" or \"fd00::/8\"";

pub(super) fn rule(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Rule> {
    let actions = [RuleAction::Allow, RuleAction::Deny, RuleAction::Count]
        .map(|action| (action.name(), action));
    let action = section.require("action", report);
    let action = action.and_then(|value| value.word(&actions, &[], report));
    let proto = section.take("proto");
    let has_proto = proto.is_some();
    let protocol = proto.and_then(|value| protocol(value, report));
    let mut networks = |key, report: &mut Report<'_>| {
        let value = section.take(key)?;
        let span = value.span();
        Some((several(value, network, report), span))
    };
    let (from, to) = (networks("from", report), networks("to", report));
    let mut ports = |key, report: &mut Report<'_>| {
        let value = section.take(key)?;
        let is_sensible = !has_proto || matches!(protocol, None | Some(Rule::TCP | Rule::UDP));
        if !(has_proto && is_sensible) {
            report
                .error(value.key_span, format!("`{key}` needs proto = \"tcp\" or \"udp\""))
                .label("no other protocol has ports")
                .hint("for both protocols, write a rule for each");
        }
        Some(several(value, port_range, report))
    };
    let (from_ports, to_ports) = (ports("from_ports", report), ports("to_ports", report));
    let span = section.span;
    section.close(report);
    check_families(from.as_ref(), to.as_ref(), protocol, span, report);
    let networks = |given: Option<(Vec<IpNetwork>, Span)>| given.unwrap_or_default().0;
    Some(Rule {
        action: action?.value,
        protocol,
        from: networks(from),
        to: networks(to),
        from_ports: from_ports.unwrap_or_default(),
        to_ports: to_ports.unwrap_or_default(),
    })
}

/// One value, or a list of them that is not empty.
fn several<T>(
    value: Value<'_>,
    read: fn(Value<'_>, &mut Report<'_>) -> Option<T>,
    report: &mut Report<'_>,
) -> Vec<T> {
    let (key, span) = (value.key, value.span());
    if !matches!(value.value.get_ref(), DeValue::Array(_)) {
        return read(value, report).into_iter().collect();
    }
    let entries = value.list(RULE_ENTRIES_MAX, report);
    if entries.is_empty() {
        report
            .error(span, format!("`{key}` is an empty list"))
            .hint(format!("leave `{key}` out if any will do"));
    }
    entries.into_iter().filter_map(|entry| read(entry, report)).collect()
}

fn protocol(value: Value<'_>, report: &mut Report<'_>) -> Option<u8> {
    if matches!(value.value.get_ref(), DeValue::Integer(_)) {
        return value.integer(0..=255, report).map(|at| at.value);
    }
    value.word(PROTOCOLS, &[], report).map(|at| at.value)
}

fn network(value: Value<'_>, report: &mut Report<'_>) -> Option<IpNetwork> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    let (address, prefix_len) = match text.split_once('/') {
        Some((address, prefix_len)) => (address, Some(prefix_len)),
        None => (&*text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        report
            .error(span, format!("`{key}` is not a network: \"{}\"", shown(&text)))
            .hint(NETWORK_HINT);
        return None;
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let prefix_len = match prefix_len {
        None => Some(bits),
        Some(text) => Some(text).filter(digits).and_then(|text| text.parse().ok()),
    };
    let around = prefix_len.and_then(|len| IpNetwork::around(address, len));
    let Some(around) = around else {
        report
            .error(span, format!("`{key}` has a prefix length that is not 0 to {bits}"))
            .hint(NETWORK_HINT);
        return None;
    };
    if around.address() != address {
        report
            .error(span, format!("`{key}` has bits behind its prefix: {}", shown(&text)))
            .hint(format!("the network is \"{around}\""));
    }
    Some(around)
}

fn port_range(value: Value<'_>, report: &mut Report<'_>) -> Option<PortRange> {
    let (key, span) = (value.key, value.span());
    let text = match value.value.get_ref() {
        DeValue::Integer(_) => {
            let port = value.integer(PORTS, report)?.value;
            return Some(PortRange { first: port, last: port });
        }
        DeValue::String(text) => text.to_string(),
        _ => return value.refuse("a port or a range of ports", PORTS_HINT, report),
    };
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = |text: &str| Some(text.trim()).filter(digits)?.parse::<u16>().ok();
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        report
            .error(span, format!("`{key}` is not a range of ports: \"{}\"", shown(&text)))
            .hint(PORTS_HINT);
        return None;
    };
    if first > last {
        report
            .error(span, format!("`{key}` ends before it begins: \"{}\"", shown(&text)))
            .hint(format!("did you mean \"{last}-{first}\"?"));
        return None;
    }
    Some(PortRange { first, last })
}

/// Refuses what no packet can be: its addresses are of one family, and so is ICMP.
fn check_families(
    from: Option<&(Vec<IpNetwork>, Span)>,
    to: Option<&(Vec<IpNetwork>, Span)>,
    protocol: Option<u8>,
    rule: Span,
    report: &mut Report<'_>,
) {
    let has = |given: Option<&(Vec<IpNetwork>, Span)>, is_v4: bool| match given {
        Some((networks, _)) if !networks.is_empty() => {
            networks.iter().any(|network| network.address().is_ipv4() == is_v4)
        }
        _ => true,
    };
    let v4 = has(from, true) && has(to, true);
    let v6 = has(from, false) && has(to, false);
    let span = to.or(from).map_or(rule, |(_, span)| *span);
    if !v4 && !v6 {
        report
            .error(span, "`from` and `to` have no family of addresses in common")
            .hint("a packet is IPv4 or IPv6; write a rule for each");
    } else if protocol == Some(58) && !v6 {
        report
            .error(span, "proto = \"icmpv6\" with IPv4 addresses matches no packet")
            .hint("ICMP of IPv4 is \"icmp\"");
    } else if protocol == Some(1) && !v4 {
        report
            .error(span, "proto = \"icmp\" with IPv6 addresses matches no packet")
            .hint("ICMP of IPv6 is \"icmpv6\"");
    }
}
