//! One interface, as the stack sees it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sluice_base::{Instant, InterfaceId};
use sluice_buf::{Batch, Capabilities};
use sluice_rules::RuleTable;
use sluice_wire::{MacAddress, ipv6};

use crate::address_probe::Claim;
use crate::config::InterfaceConfig;
use crate::fib::mask;
use crate::fib_v6;
use crate::host::{Host, Hosts, zone_of};
use crate::line::{Line, OUTPUT};
use crate::router_discovery::Discovery;
use crate::source_check::ReversePath;
use crate::source_limit::SourceLimit;
use crate::twin::Twin;
use crate::vlan::Vlan;

#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) id: InterfaceId,
    pub(crate) mac: MacAddress,
    /// What may come in.
    pub(crate) rules: Option<Arc<RuleTable>>,
    /// The kernel's end, where it has one.
    pub(crate) twin: Option<Box<Twin>>,
    /// Where what comes in may come from.
    pub(crate) reverse_path: ReversePath,
    pub(crate) refuses_martians: bool,
    /// Which VLAN of which other interface it is; none: it has a device.
    pub(crate) vlan: Option<Vlan>,
    /// Positions of the VLANs of its device.
    pub(crate) children: Vec<u16>,
    /// SYNs, and connections begun, of each source.
    pub(crate) syn_limit: Option<SourceLimit>,
    pub(crate) connection_limit: Option<SourceLimit>,
    pub(crate) mtu: u16,
    /// The largest IPv6 packet: a router may know better.
    pub(crate) mtu_v6: u16,
    pub(crate) capabilities: Capabilities,
    pub(crate) addresses: Vec<(Ipv4Addr, u8)>,
    /// IPv4 addresses that are asked about before they are ours.
    pub(crate) claims: Vec<Claim>,
    /// The link-local one first. None: IPv6 is not spoken here.
    pub(crate) addresses_v6: Vec<OwnV6>,
    /// What our questions about our own addresses carry, so that one that comes back is known
    /// (RFC 7527, 4).
    pub(crate) nonce: [u8; 6],
    /// What routers say, where they are listened to.
    pub(crate) discovery: Option<Box<Discovery>>,
    /// When an address of ours may be defended again.
    pub(crate) defend_after: Instant,
    /// Packets with all headers: ARP, ICMP, resets, forwarded ones.
    pub(crate) control: Batch,
    /// Connections that owe segments.
    pub(crate) output: Line<OUTPUT>,
    /// Where there is room for a single packet, the next one is a segment.
    pub(crate) segment_next: bool,
}

/// An IPv6 address of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnV6 {
    pub(crate) address: Ipv6Addr,
    pub(crate) prefix_len: u8,
    pub(crate) host: Host,
    pub(crate) state: AddressState,
    /// Its time is running out: nothing begins with it any more (RFC 4862, 5.5.4).
    pub(crate) is_deprecated: bool,
}

/// How far duplicate address detection is (RFC 4862, 5.4; RFC 4429: an address is used at once, with
/// care until nobody objected).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AddressState {
    /// Nobody was asked yet.
    Fresh,
    /// The link was asked.
    Optimistic {
        /// When silence counts as consent.
        until: Instant,
    },
    /// It is ours.
    Preferred,
    /// Another station has it: it is not used.
    Duplicate,
}

impl OwnV6 {
    /// An address that nobody was asked about yet.
    pub(crate) fn new(address: Ipv6Addr, prefix_len: u8, host: Host) -> Self {
        Self { address, prefix_len, host, state: AddressState::Fresh, is_deprecated: false }
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.state != AddressState::Duplicate
    }
}

impl Interface {
    pub(crate) fn new(config: InterfaceConfig, queue_max: u32, hosts: &mut Hosts) -> Self {
        let at = config.id.0;
        let mut interface = Self {
            id: config.id,
            mac: config.mac,
            rules: None,
            twin: None,
            reverse_path: ReversePath::Off,
            refuses_martians: false,
            vlan: None,
            children: Vec::new(),
            syn_limit: None,
            connection_limit: None,
            mtu: config.mtu,
            mtu_v6: config.mtu,
            capabilities: config.capabilities,
            addresses: Vec::new(),
            claims: Vec::new(),
            addresses_v6: Vec::new(),
            nonce: [0; 6],
            discovery: None,
            defend_after: Instant::ZERO,
            control: Batch::with_capacity(queue_max as usize),
            output: Line::new(),
            segment_next: false,
        };
        let own = |address, prefix_len, hosts: &mut Hosts| {
            let host = hosts.acquire(address, zone_of(address, at))?;
            Some(OwnV6::new(address, prefix_len, host))
        };
        if config.addresses.iter().any(|(address, _)| address.is_ipv6()) {
            interface.addresses_v6.extend(own(ipv6::link_local(config.mac), 64, hosts));
        }
        for (address, prefix_len) in config.addresses {
            match address {
                IpAddr::V4(address) => interface.addresses.push((address, prefix_len)),
                IpAddr::V6(address) => {
                    interface.addresses_v6.extend(own(address, prefix_len, hosts));
                }
            }
        }
        interface
    }

    /// The address of ours from which a station on the link is spoken to.
    pub(crate) fn source_for(&self, neighbor: Ipv4Addr) -> Option<Ipv4Addr> {
        let shares_subnet =
            |(address, len): &&(Ipv4Addr, u8)| mask(*address, *len) == mask(neighbor, *len);
        let best = self.addresses.iter().filter(shares_subnet).max_by_key(|(_, len)| *len);
        best.or(self.addresses.first()).map(|(address, _)| *address)
    }

    /// Whether a station with this address can be on the link.
    pub(crate) fn is_on_link(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(own, len)| mask(*own, *len) == mask(address, *len))
    }

    /// Whether a station with this address can be on the link.
    pub(crate) fn is_on_link_v6(&self, address: Ipv6Addr) -> bool {
        self.addresses_v6.iter().any(|own| {
            fib_v6::mask(own.address, own.prefix_len) == fib_v6::mask(address, own.prefix_len)
        })
    }

    /// Our entry for an address.
    #[inline]
    pub(crate) fn own_v6(&self, address: Ipv6Addr) -> Option<&OwnV6> {
        self.addresses_v6.iter().find(|own| own.address == address)
    }

    /// Whether packets to a group are for us: all nodes, all routers where we are one, and the
    /// solicited-node group of each address (RFC 4291, 2.8).
    pub(crate) fn is_in_group(&self, group: Ipv6Addr, is_router: bool) -> bool {
        group == ipv6::ALL_NODES
            || (is_router && group == ipv6::ALL_ROUTERS)
            || self.addresses_v6.iter().any(|own| ipv6::solicited_node(own.address) == group)
    }

    /// The address of ours from which `destination` is spoken to: of the same scope, and with the
    /// longest common prefix, a deprecated one last (RFC 6724, 5, rules 2, 3 and 8).
    pub(crate) fn source_for_v6(&self, destination: Ipv6Addr) -> Option<&OwnV6> {
        let is_local = |address| zone_of(address, 0).is_some();
        let wants_local = is_local(destination)
            || (destination.is_multicast() && destination.octets()[1] & 0x0f == 2);
        let common = |own: &&OwnV6| (own.address.to_bits() ^ destination.to_bits()).leading_zeros();
        self.addresses_v6
            .iter()
            .filter(|own| own.is_usable() && is_local(own.address) == wants_local)
            // The first of equals: `max_by_key` takes the last.
            .rev()
            .max_by_key(|own| (!own.is_deprecated, common(own)))
    }
}
