//! `[[interface]]` and `[[ip_route]]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use sluice_base::InterfaceId;
use sluice_config_model::{
    DeviceSpec, Interface, IpCidr, IpRoute, ReversePathCheck, RouterAdvertisements, defaults,
};
use toml::de::DeValue;

use super::impairment::impairment;
use crate::address;
use crate::limits::{ADDRESSES_MAX, MTU, NEXT_HOPS_MAX, PACKET_RULES_MAX, SOURCE_RATE, VLAN};
use crate::report::{At, Report, Span};
use crate::schema;
use crate::section::Section;
use crate::value::{Value, enumerate, shown};

/// What later sections must know about interfaces.
#[derive(Default)]
pub(crate) struct Interfaces {
    names: BTreeMap<String, Span>,
    devices: BTreeMap<String, Span>,
    /// By name: what a VLAN must know of its parent.
    parents: BTreeMap<String, Parent>,
    /// Our addresses, with the name of their interface.
    pub(crate) ours: Vec<(At<IpCidr>, String)>,
    /// The kernel's addresses, with the name of their interface.
    pub(crate) hosts: Vec<(At<IpCidr>, String)>,
    /// An interface had an error, so that what is not found here may be what was wrong there.
    pub(crate) incomplete: bool,
}

impl Interfaces {
    /// Whether some interface is in the network of `address`.
    pub(crate) fn reach(&self, address: IpAddr) -> bool {
        self.ours.iter().any(|(at, _)| at.value.contains(address))
    }

    /// The interface that has `address` itself.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<&str> {
        let found = self.ours.iter().find(|(at, _)| at.value.address == address);
        found.map(|(_, name)| name.as_str())
    }

    /// The interface whose kernel end has `address`.
    pub(crate) fn host_owner(&self, address: IpAddr) -> Option<&str> {
        let found = self.hosts.iter().find(|(at, _)| at.value.address == address);
        found.map(|(_, name)| name.as_str())
    }

    /// Our addresses, for a hint.
    pub(crate) fn listed(&self) -> String {
        enumerate(self.ours.iter().map(|(at, _)| at.value.address))
    }
}

struct Parent {
    speaks_v6: bool,
    id: InterfaceId,
    mtu: u16,
    has_device: bool,
}

pub(super) fn interface(
    mut section: Section<'_>,
    known: &mut Interfaces,
    report: &mut Report<'_>,
) -> Interface {
    let id = InterfaceId(u16::try_from(known.names.len()).unwrap_or(u16::MAX));
    let name = section.require("name", report).and_then(|value| value.name(report));
    if let Some(at) = &name {
        if let Some(first) = known.names.get(&at.value) {
            let line = report.line(*first);
            report
                .error(at.span, format!("interface `{}` exists already", at.value))
                .hint(format!("the first one is at line {line}; names are unique"));
        }
        known.names.insert(at.value.clone(), at.span);
    }
    let name = name.map(|at| at.value).unwrap_or_default();
    let parent = section.take("parent");
    let parent_span = parent.as_ref().map(|value| value.key_span);
    let (device, device_span) = match parent {
        Some(parent) => (vlan(parent, &mut section, known, report), parent_span),
        None => {
            if let Some(value) = section.take("vlan") {
                report
                    .error(value.key_span, "`vlan` needs `parent`")
                    .hint("parent = the name of the interface whose device carries the VLAN");
            }
            let value = section.require("device", report);
            let span = value.as_ref().map(Value::span);
            (value.and_then(|value| device(value, report)), span)
        }
    };
    if let (Some(device), Some(span)) = (&device, device_span)
        && let Some(first) = known.devices.insert(device.to_string(), span)
    {
        let line = report.line(first);
        report
            .error(span, format!("device `{device}` is used already"))
            .hint(format!("the first interface with it is at line {line}"));
    }
    let value = section.require("addresses", report);
    let addresses = value.map(|value| addresses(value, true, report)).unwrap_or_default();
    let host_value = section.take("host_addresses");
    let is_tap = device.as_ref().is_none_or(|device| matches!(device, DeviceSpec::Tap { .. }));
    if let Some(value) = host_value.as_ref().filter(|_| !is_tap) {
        report.error(value.key_span, "`host_addresses` is for a tap device alone").hint(
            "the kernel's end of any other device gets its addresses from the kernel (ip addr)",
        );
    }
    let hosts = host_value.map(|value| self::addresses(value, false, report)).unwrap_or_default();
    for host in &hosts {
        if !addresses.is_empty()
            && !addresses.iter().any(|at| at.value.contains(host.value.address))
        {
            report
                .warning(host.span, format!("{} is in no network of this interface", host.value))
                .hint("the kernel's end and `addresses` reach each other in a common network");
        }
    }
    let mtu = section.take("mtu").and_then(|value| value.integer(MTU, report));
    let parent_mtu = match &device {
        Some(DeviceSpec::Vlan { parent_name, .. }) => known.parents.get(parent_name),
        _ => None,
    };
    let parent_mtu = parent_mtu.map(|parent| parent.mtu);
    if let (Some(mtu), Some(most)) = (&mtu, parent_mtu)
        && mtu.value > most
    {
        report
            .error(mtu.span, format!("`mtu` is above that of the parent, {most}"))
            .hint("the tags have room beside it, but not more payload");
    }
    let has_v6 = addresses.iter().any(|at| at.value.address.is_ipv6());
    if let Some(at) = mtu.as_ref().filter(|at| has_v6 && at.value < MTU_MIN_V6) {
        report
            .error(at.span, format!("`mtu` is too small for IPv6: {}", at.value))
            .hint("IPv6 needs links of at least 1280 bytes (RFC 8200, 5)");
    }
    let mtu = mtu.map(|at| at.value).or(parent_mtu).unwrap_or(defaults::MTU);
    let impairment = section
        .take("impairment")
        .and_then(|value| {
            if let Some(span) = parent_span {
                report
                    .error(span, "a VLAN has no [interface.impairment] of its own")
                    .hint("its parent's device carries its frames; impair that");
            }
            value.section(&schema::IMPAIRMENT, report)
        })
        .map(|section| impairment(section, report));
    let router_advertisements = router_advertisements(&mut section, mtu, report);
    let kernel_twin = section
        .take("kernel_twin")
        .is_some_and(|value| wants_twin(value, &name, device.as_ref(), report));
    let mut flag = |key, report: &mut Report<'_>| {
        section.take(key).and_then(|value| value.boolean(report)).is_some_and(|at| at.value)
    };
    let probe_addresses = flag("probe_addresses", report);
    let drop_martians = flag("drop_martians", report);
    let reverse_path = section.take("reverse_path").and_then(|value| {
        let words = [
            ("off", ReversePathCheck::Off),
            ("loose", ReversePathCheck::Loose),
            ("strict", ReversePathCheck::Strict),
        ];
        value.word(&words, &[], report)
    });
    let mut rate = |key, report: &mut Report<'_>| {
        section.take(key).and_then(|value| source_rate(value, report))
    };
    let source_syn_rate = rate("source_syn_rate", report);
    let source_connection_rate = rate("source_connection_rate", report);
    let mut rules = Vec::new();
    if let Some(value) = section.take("rule") {
        for section in value.sections(&schema::RULE, PACKET_RULES_MAX, report) {
            rules.extend(super::rule::rule(section, report));
        }
    }
    section.close(report);
    known.incomplete |= addresses.is_empty();
    let interface = Interface {
        id,
        device: device.unwrap_or(DeviceSpec::Tap { name: String::new() }),
        addresses: addresses.iter().map(|at| at.value).collect(),
        host_addresses: hosts.iter().map(|at| at.value).collect(),
        mtu,
        impairment,
        kernel_twin,
        probe_addresses,
        reverse_path: reverse_path.map(|at| at.value).unwrap_or_default(),
        drop_martians,
        router_advertisements,
        source_syn_rate,
        source_connection_rate,
        rules,
        name,
    };
    let speaks_v6 = has_v6 || router_advertisements != RouterAdvertisements::Ignore;
    let has_device = !matches!(interface.device, DeviceSpec::Vlan { .. });
    known.parents.insert(interface.name.clone(), Parent { id, mtu, has_device, speaks_v6 });
    keep_unique(known, addresses, hosts, &interface.name, report);
    interface
}

/// `kernel_twin`
fn wants_twin(
    value: Value<'_>,
    name: &str,
    device: Option<&DeviceSpec>,
    report: &mut Report<'_>,
) -> bool {
    let span = value.key_span;
    if !value.boolean(report).is_some_and(|at| at.value) {
        return false;
    }
    match device {
        Some(DeviceSpec::Vlan { parent_name, .. }) => {
            report.error(span, "a VLAN has no twin of its own").hint(format!(
                "give one to `{parent_name}`, and the kernel gets its VLANs on that (ip link add ... type vlan)"
            ));
        }
        Some(DeviceSpec::AfPacket { interface }) => {
            report
                .error(span, format!("`{interface}` needs no twin: the kernel hears what comes in by it"))
                .hint("a twin is for devices that the kernel does not see: pci, af_xdp, memif, vdev, tap");
        }
        Some(_) | None if !name.is_empty() && !is_interface_name(&format!("tw-{name}")) => {
            report
                .error(span, format!("the twin of `{name}` would be called `tw-{}`", shown(name)))
                .hint("the kernel takes 15 bytes, so give the interface a name of at most 12");
        }
        Some(_) | None => return true,
    }
    false
}

/// `accept_ra` and `slaac`
fn router_advertisements(
    section: &mut Section<'_>,
    mtu: u16,
    report: &mut Report<'_>,
) -> RouterAdvertisements {
    let mut take = |key, report: &mut Report<'_>| {
        let value = section.take(key)?;
        let span = value.key_span;
        value.boolean(report).map(|at| At { value: at.value, span })
    };
    let accepts = take("accept_ra", report);
    let forms = take("slaac", report).filter(|at| at.value);
    if let (Some(At { value: false, .. }), Some(forms)) = (&accepts, &forms) {
        report
            .error(forms.span, "`slaac` needs `accept_ra`")
            .hint("prefixes come with router advertisements; leave `accept_ra` out, or say true");
    }
    let listening = forms.as_ref().or(accepts.as_ref().filter(|at| at.value));
    if let Some(at) = listening.filter(|_| mtu < MTU_MIN_V6) {
        report
            .error(at.span, format!("`mtu` is too small for IPv6: {mtu}"))
            .hint("IPv6 needs links of at least 1280 bytes (RFC 8200, 5)");
    }
    match (forms, accepts) {
        (Some(_), _) => RouterAdvertisements::FormAddresses,
        (None, Some(At { value: true, .. })) => RouterAdvertisements::Accept,
        (None, _) => RouterAdvertisements::Ignore,
    }
}

/// A number per second and source, or none.
fn source_rate(value: Value<'_>, report: &mut Report<'_>) -> Option<u32> {
    match value.value.get_ref() {
        DeValue::Integer(_) => value.integer(SOURCE_RATE, report).map(|at| at.value),
        DeValue::String(text) if text == "unlimited" => None,
        _ => value.refuse("a number or \"unlimited\"", "as in 100, per second and source", report),
    }
}

/// A VLAN of the device of an interface further up.
fn vlan(
    parent: Value<'_>,
    section: &mut Section<'_>,
    known: &Interfaces,
    report: &mut Report<'_>,
) -> Option<DeviceSpec> {
    let parent_span = parent.key_span;
    if let Some(device) = section.take("device") {
        report
            .error(device.key_span, "`device` and `parent` exclude each other")
            .hint("a VLAN uses the device of its parent");
    }
    let parent = parent.name(report);
    let tags = match section.take("vlan") {
        Some(value) => tags(value, report),
        None => {
            report
                .error(parent_span, "`parent` needs `vlan`")
                .hint("vlan = 100, or vlan = [outer, inner] for two tags");
            None
        }
    };
    let parent = parent?;
    let Some(found) = known.parents.get(&parent.value) else {
        let names = enumerate(known.parents.keys());
        report
            .error(parent.span, format!("no interface above is called `{}`", shown(&parent.value)))
            .hint(format!("a parent stands before its VLANs; there are {names}"));
        return None;
    };
    if !found.has_device {
        report.error(parent.span, format!("interface `{}` is a VLAN itself", parent.value)).hint(
            "for two tags, write vlan = [outer, inner] with the interface that has the device",
        );
    }
    let (outer, inner) = tags?;
    Some(DeviceSpec::Vlan { parent: found.id, parent_name: parent.value, outer, inner })
}

fn tags(value: Value<'_>, report: &mut Report<'_>) -> Option<(u16, Option<u16>)> {
    let span = value.span();
    if !matches!(value.value.get_ref(), DeValue::Array(_)) {
        return value.integer(VLAN, report).map(|at| (at.value, None));
    }
    let entries = value.list(2, report);
    let [outer, inner] = <[Value<'_>; 2]>::try_from(entries)
        .map_err(|_| {
            report
                .error(span, "a list of tags is [outer, inner]")
                .hint("vlan = 100 for one tag, vlan = [200, 100] for two");
        })
        .ok()?;
    let outer = outer.integer(VLAN, report);
    let inner = inner.integer(VLAN, report);
    Some((outer?.value, Some(inner?.value)))
}

/// Adds addresses to the known ones; an address exists once, on our side or the kernel's.
fn keep_unique(
    known: &mut Interfaces,
    ours: Vec<At<IpCidr>>,
    hosts: Vec<At<IpCidr>>,
    name: &str,
    report: &mut Report<'_>,
) {
    let tagged =
        ours.into_iter().map(|at| (at, true)).chain(hosts.into_iter().map(|at| (at, false)));
    for (at, is_ours) in tagged {
        let mut others = known.ours.iter().chain(&known.hosts);
        if let Some((first, other)) =
            others.find(|(other, _)| other.value.address == at.value.address)
        {
            let line = report.line(first.span);
            report
                .error(at.span, format!("address {} is used already", at.value.address))
                .hint(format!("interface `{other}` has it, line {line}"));
            continue;
        }
        let overlap = known.ours.iter().find(|(other, interface)| {
            is_ours
                && interface != name
                && (other.value.contains(at.value.address)
                    || at.value.contains(other.value.address))
        });
        if let Some((other, interface)) = overlap {
            let (network, other) = (at.value, other.value);
            report
                .warning(at.span, format!("the network of {network} overlaps that of {other}"))
                .hint(format!(
                    "packets for both leave by the longer prefix; {other} is on `{interface}`"
                ));
        }
        if is_ours { &mut known.ours } else { &mut known.hosts }.push((at, name.to_owned()));
    }
}

fn addresses(value: Value<'_>, required: bool, report: &mut Report<'_>) -> Vec<At<IpCidr>> {
    let (key, span) = (value.key, value.span());
    let is_list = matches!(value.value.get_ref(), DeValue::Array(_));
    let entries = value.list(ADDRESSES_MAX, report);
    if entries.is_empty() && required && is_list {
        report
            .error(span, format!("`{key}` needs at least one address"))
            .hint("as in [\"10.9.0.2/24\"]");
    }
    entries.into_iter().filter_map(|entry| own_address(entry, report)).collect()
}

/// An address that a host can have, with its network.
fn own_address(value: Value<'_>, report: &mut Report<'_>) -> Option<At<IpCidr>> {
    let at = address::cidr(value, report)?;
    let cidr = at.value;
    // RFC 3021: in a network of 31 bits both addresses are hosts.
    let has_ends = cidr.address.is_ipv4() && cidr.prefix_len < 31;
    let is_link_local = matches!(cidr.address, IpAddr::V6(a) if a.is_unicast_link_local());
    let reason = if let Some(kind) = not_a_host(cidr.address) {
        kind
    } else if is_link_local {
        "link-local, and those Sluice makes itself"
    } else if cidr.prefix_len == 0 {
        "in a network of every address"
    } else if has_ends && cidr.address == cidr.network() {
        "the network itself"
    } else if has_ends && cidr.address == cidr.last() {
        "the broadcast address of its network"
    } else {
        return Some(at);
    };
    report
        .error(at.span, format!("{cidr} cannot be the address of an interface: it is {reason}"))
        .hint(
            "give the address of this host in the network, as in \"10.9.0.2/24\" or \"fd09::2/64\"",
        );
    None
}

/// Why no single host answers to `address`.
pub(super) fn not_a_host(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("unspecified"),
        IpAddr::V4(address) if address.octets()[0] >= 240 => Some("reserved"),
        IpAddr::V6(address) if address.is_unspecified() => Some("unspecified"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address in the clothes of IPv6")
        }
        address if address.is_loopback() => Some("a loopback address"),
        address if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Bytes of an IP packet that every link of IPv6 carries (RFC 8200, 5).
const MTU_MIN_V6: u16 = 1_280;

const DEVICES: &str = "\"tap:sl0\", \"pci:0000:3b:00.0\", \"af_packet:eth1\", \"af_xdp:eth1\", \
                       \"pcap:in.pcap,out.pcap\", \"memif:/run/x.sock\" or \"vdev:net_null0\"";

fn device(value: Value<'_>, report: &mut Report<'_>) -> Option<DeviceSpec> {
    let At { value: text, span } = value.text(report)?;
    let Some((kind, rest)) = text.split_once(':') else {
        report
            .error(span, format!("`device` has no kind: \"{}\"", shown(&text)))
            .hint(format!("a device is {DEVICES}"));
        return None;
    };
    let mut refuse = |what: &str, hint: &str| {
        report.error(span, format!("`device`: {what}")).hint(hint);
        None
    };
    let interface = is_interface_name(rest);
    let not_an_interface = "this is not the name of a network interface";
    let name_rule = "1 to 15 bytes without blanks, slashes and colons";
    match kind {
        "tap" if interface => Some(DeviceSpec::Tap { name: rest.to_owned() }),
        "af_packet" if interface => Some(DeviceSpec::AfPacket { interface: rest.to_owned() }),
        "af_xdp" if interface => Some(DeviceSpec::AfXdp { interface: rest.to_owned() }),
        "tap" | "af_packet" | "af_xdp" => refuse(not_an_interface, name_rule),
        "pci" => match pci_address(rest) {
            Some(address) => Some(DeviceSpec::Pci { address }),
            None => refuse(
                "this is not a PCI address",
                "as in \"pci:0000:3b:00.0\"; `lspci -D` lists them",
            ),
        },
        "pcap" => {
            let (input, output) = rest.split_once(',').unwrap_or((rest, "-"));
            if input.is_empty() || output.is_empty() || output.contains(',') || rest.contains('=') {
                return refuse(
                    "pcap takes one or two files",
                    "the file to read and, behind a comma, the file to write: \"pcap:in.pcap,out.pcap\"",
                );
            }
            let output = rest.contains(',').then(|| PathBuf::from(output));
            Some(DeviceSpec::Pcap { input: PathBuf::from(input), output })
        }
        // sun_path of a UNIX socket holds 108 bytes with the NUL.
        "memif" if rest.starts_with('/') && rest.len() < 108 && !rest.contains(',') => {
            Some(DeviceSpec::Memif { socket: PathBuf::from(rest) })
        }
        "memif" => refuse(
            "memif takes the absolute path of a socket",
            "as in \"memif:/run/x.sock\", at most 107 bytes and without commas",
        ),
        "vdev" if !rest.is_empty() && !rest.contains(char::is_whitespace) => {
            Some(DeviceSpec::Vdev { arguments: rest.to_owned() })
        }
        "vdev" => refuse(
            "vdev takes the name and arguments of a DPDK virtual device",
            "as in \"vdev:net_tap0,iface=dt0\", without blanks",
        ),
        _ => {
            let message = format!("the kind \"{}\" is not known", shown(kind));
            refuse(&message, &format!("a device is {DEVICES}"))
        }
    }
}

/// What Linux takes as the name of a network interface (`dev_valid_name`).
fn is_interface_name(text: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':' | ',');
    (1..=15).contains(&text.len()) && text.chars().all(allowed) && !matches!(text, "." | "..")
}

/// `[DOMAIN:]BUS:DEVICE.FUNCTION` in hexadecimal, completed and in lower case.
fn pci_address(text: &str) -> Option<String> {
    let hex = |text: &str, len: usize, max: u32| {
        let digits = text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|&number| digits && number <= max)
    };
    let (front, function) = text.rsplit_once('.')?;
    let mut parts = front.rsplit(':');
    let (device, bus) = (parts.next()?, parts.next()?);
    let domain = parts.next().unwrap_or("0000");
    if parts.next().is_some() {
        return None;
    }
    let domain = hex(domain, 4, 0xffff)?;
    let (bus, device) = (hex(bus, 2, 0xff)?, hex(device, 2, 0x1f)?);
    let function = hex(function, 1, 7)?;
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
}

pub(super) fn ip_route(
    mut section: Section<'_>,
    interfaces: &Interfaces,
    seen: &mut BTreeMap<IpCidr, Span>,
    report: &mut Report<'_>,
) -> Option<IpRoute> {
    let to = section.require("to", report).and_then(|value| address::cidr(value, report));
    if let Some(at) = &to {
        let network = at.value.network();
        if network != at.value.address {
            report
                .error(at.span, format!("`to` has bits behind its prefix: {}", at.value))
                .hint(format!("the network is \"{network}/{}\"", at.value.prefix_len));
        }
        if let Some(first) = seen.insert(at.value, at.span) {
            let line = report.line(first);
            report
                .error(at.span, format!("there is a route to {} already", at.value))
                .hint(format!("add the next hop to `via` of line {line} for equal-cost paths"));
        }
    }
    let network = to.as_ref().map(|at| at.value);
    let named = section.take("interface").map(|value| link(value, interfaces, report));
    let via = section.require("via", report);
    let via = via.map(|value| next_hops(value, network, named.as_ref(), interfaces, report));
    section.close(report);
    Some(IpRoute { to: to?.value, via: via?, interface: named.flatten().map(|link| link.id) })
}

/// The interface that `interface` of a route names.
struct Link {
    id: InterfaceId,
    name: String,
    speaks_v6: bool,
}

fn link(value: Value<'_>, interfaces: &Interfaces, report: &mut Report<'_>) -> Option<Link> {
    let At { value: name, span } = value.name(report)?;
    let Some(found) = interfaces.parents.get(&name) else {
        let names = enumerate(interfaces.parents.keys());
        report
            .error(span, format!("no interface is called `{}`", shown(&name)))
            .hint(format!("there are {names}"));
        return None;
    };
    Some(Link { id: found.id, name, speaks_v6: found.speaks_v6 })
}

fn next_hops(
    value: Value<'_>,
    to: Option<IpCidr>,
    named: Option<&Option<Link>>,
    interfaces: &Interfaces,
    report: &mut Report<'_>,
) -> Vec<IpAddr> {
    let link = named.and_then(Option::as_ref);
    let span = value.span();
    let is_list = matches!(value.value.get_ref(), DeValue::Array(_));
    let entries = if is_list { value.list(NEXT_HOPS_MAX, report) } else { vec![value] };
    if entries.is_empty() {
        report.error(span, "`via` needs at least one address");
    }
    let mut hops = Vec::new();
    for entry in entries {
        let Some(at) = address::ip(entry, report) else { continue };
        let hop = at.value;
        if let Some(to) = to.filter(|to| to.address.is_ipv4() != hop.is_ipv4()) {
            report
                .error(at.span, format!("{hop} cannot be the next hop towards {to}"))
                .hint("both are IPv4, or both are IPv6");
            continue;
        }
        let is_link_local = matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local());
        let is_elsewhere = |link: &&Link| {
            let mut networks = interfaces.ours.iter().filter(|(_, name)| *name == link.name);
            !is_link_local && !networks.any(|(at, _)| at.value.contains(hop))
        };
        if is_link_local && named.is_none() {
            report
                .error(at.span, format!("{hop} is good on its own link only, and no link is named"))
                .hint("say on which, as in interface = \"net0\"");
        } else if let Some(link) = link.filter(|link| is_link_local && !link.speaks_v6) {
            report
                .error(at.span, format!("interface `{}` does not speak IPv6", link.name))
                .hint("it does with an IPv6 address, or with accept_ra = true");
        } else if let Some(link) = link.filter(is_elsewhere) {
            report
                .error(at.span, format!("{hop} is in no network of interface `{}`", link.name))
                .hint(
                    "a next hop is a neighbour there; without `interface` the others are looked at",
                );
        } else if let Some(name) = interfaces.owner(hop) {
            report
                .error(at.span, format!("{hop} is our own address, on interface `{name}`"))
                .hint("`via` is the address of the next router");
        } else if let Some(kind) = not_a_host(hop) {
            report.error(at.span, format!("{hop} cannot be a next hop: it is {kind}"));
        } else if !is_link_local && !interfaces.reach(hop) && !interfaces.incomplete {
            report.error(at.span, format!("{hop} is in no interface's network")).hint(format!(
                "a next hop is a neighbour; our addresses are {}",
                interfaces.listed()
            ));
        } else if hops.contains(&hop) {
            report.error(at.span, format!("next hop {hop} is listed twice"));
        }
        hops.push(hop);
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_completed() {
        assert_eq!(pci_address("3b:00.0").as_deref(), Some("0000:3b:00.0"));
        assert_eq!(pci_address("0000:3B:1f.7").as_deref(), Some("0000:3b:1f.7"));
        for bad in ["", "3b:00", "3b:20.0", "3b:00.8", "1:0000:3b:00.0", "3b:0.0", "+b:00.0"] {
            assert_eq!(pci_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn interface_names_end_at_fifteen_bytes() {
        assert!(is_interface_name("123456789012345"));
        for bad in ["", "1234567890123456", "a b", "a/b", "a:b", ".", ".."] {
            assert!(!is_interface_name(bad), "{bad}");
        }
    }
}
