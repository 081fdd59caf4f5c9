//! `[[interface]]` and `[[ip_route]]`: where packets come from and go to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use sluice_base::InterfaceId;

use crate::Rule;
use crate::impairment::Impairment;

/// One network interface of Sluice's own stack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Stable while the name stays; numbered from 0 in the order of the first file.
    pub id: InterfaceId,
    /// The operator's name for it.
    pub name: String,
    /// What is behind it.
    pub device: DeviceSpec,
    /// Our addresses, each with the network it is in. The first is the source of what we send.
    pub addresses: Vec<IpCidr>,
    /// Addresses for the kernel's end; only a [`DeviceSpec::Tap`] has any.
    pub host_addresses: Vec<IpCidr>,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// What happens to its packets on purpose, if anything.
    pub impairment: Option<Impairment>,
    /// SYNs that each source address may send per second; none: any number.
    pub source_syn_rate: Option<u32>,
    /// Connections that each source address may begin per second; none: any number.
    pub source_connection_rate: Option<u32>,
    /// Whether what Sluice does not want goes to a TAP of the kernel's, with the same addresses.
    pub kernel_twin: bool,
    /// Whether IPv4 addresses are asked about before they are used (RFC 5227).
    pub probe_addresses: bool,
    /// Which sources it takes packets from.
    pub reverse_path: ReversePathCheck,
    /// Whether it refuses addresses that RFC 6890 keeps off networks.
    pub drop_martians: bool,
    /// What it does with router advertisements (RFC 4861, 6.3).
    pub router_advertisements: RouterAdvertisements,
    /// What may come in by it; the first rule that matches decides. May change while running.
    pub rules: Vec<Rule>,
}

/// Which sources an interface takes packets from (RFC 3704).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReversePathCheck {
    /// Any.
    #[default]
    Off,
    /// Those that some route leads to.
    Loose,
    /// Those that a route leads to by the very interface.
    Strict,
}

/// What an interface does with router advertisements.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RouterAdvertisements {
    /// It does not listen to them.
    #[default]
    Ignore,
    /// `accept_ra`: routers of last resort, prefixes on the link, MTU and timers are taken from them.
    Accept,
    /// `slaac`: addresses are made of their prefixes too (RFC 4862).
    FormAddresses,
}

/// Which device, and how to open it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum DeviceSpec {
    /// `tap:NAME`: our own TAP device; works without DPDK.
    Tap {
        /// Name of the kernel's network interface, at most 15 bytes.
        name: String,
    },
    /// `pci:DOMAIN:BUS:DEVICE.FUNCTION`: a NIC that is bound to a user-space driver.
    Pci {
        /// The full address in lower case, `0000:3b:00.0`.
        address: String,
    },
    /// `af_packet:NAME`: a kernel interface through DPDK's net_af_packet.
    AfPacket {
        /// Name of the kernel's network interface.
        interface: String,
    },
    /// `af_xdp:NAME`: a kernel interface through DPDK's net_af_xdp.
    AfXdp {
        /// Name of the kernel's network interface.
        interface: String,
    },
    /// `pcap:INPUT[,OUTPUT]`: packets from a file, and to one, through DPDK's net_pcap.
    Pcap {
        /// The file that packets come from.
        input: PathBuf,
        /// The file that packets go to; without it they are dropped.
        output: Option<PathBuf>,
    },
    /// `memif:PATH`: shared memory with another process through DPDK's net_memif.
    Memif {
        /// The control socket.
        socket: PathBuf,
    },
    /// `parent` and `vlan`: frames with these tags on the device of another interface.
    Vlan {
        /// The interface that has the device.
        parent: InterfaceId,
        /// Its name.
        parent_name: String,
        /// The only tag, or the outer one of two; 1 to 4094.
        outer: u16,
        /// The inner tag of two (802.1ad, QinQ).
        inner: Option<u16>,
    },
    /// `vdev:ARGUMENTS`: any DPDK virtual device.
    Vdev {
        /// The string as EAL's `--vdev` takes it, `net_null0,size=64`.
        arguments: String,
    },
}

impl Interface {
    /// The kernel's name of its twin.
    #[must_use]
    pub fn twin_name(&self) -> String {
        format!("tw-{}", self.name)
    }
}

impl DeviceSpec {
    /// Whether only a Sluice built with DPDK can open it.
    #[must_use]
    pub const fn needs_dpdk(&self) -> bool {
        !matches!(self, Self::Tap { .. } | Self::Vlan { .. })
    }
}

impl fmt::Display for DeviceSpec {
    /// The spelling of the configuration file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap { name } => write!(f, "tap:{name}"),
            Self::Pci { address } => write!(f, "pci:{address}"),
            Self::AfPacket { interface } => write!(f, "af_packet:{interface}"),
            Self::AfXdp { interface } => write!(f, "af_xdp:{interface}"),
            Self::Pcap { input, output: None } => write!(f, "pcap:{}", input.display()),
            Self::Pcap { input, output: Some(output) } => {
                write!(f, "pcap:{},{}", input.display(), output.display())
            }
            Self::Memif { socket } => write!(f, "memif:{}", socket.display()),
            Self::Vlan { parent_name, outer, inner: None, .. } => {
                write!(f, "vlan:{parent_name}.{outer}")
            }
            Self::Vlan { parent_name, outer, inner: Some(inner), .. } => {
                write!(f, "vlan:{parent_name}.{outer}.{inner}")
            }
            Self::Vdev { arguments } => write!(f, "vdev:{arguments}"),
        }
    }
}

/// An address and the length of its network's prefix (RFC 4632, 3.1; RFC 4291, 2.3).
///
/// As an interface address the host bits matter; as a destination they are zero.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IpCidr {
    /// The address, host bits included.
    pub address: IpAddr,
    /// Bits of the network part, at most [`IpCidr::width`].
    pub prefix_len: u8,
}

impl IpCidr {
    /// Every IPv4 address: `0.0.0.0/0`.
    pub const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix_len: 0 };
    /// Every IPv6 address: `::/0`.
    pub const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix_len: 0 };

    /// `address/prefix_len`, or `None` if the prefix is longer than an address.
    #[must_use]
    pub const fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let cidr = Self { address, prefix_len };
        if prefix_len > cidr.width() { None } else { Some(cidr) }
    }

    /// Bits of an address of this family.
    #[must_use]
    pub const fn width(&self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// The first address of the network: all host bits zero.
    #[must_use]
    pub const fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !self.host_bits_v4()))
            }
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !self.host_bits_v6()))
            }
        }
    }

    /// The last address of the network: all host bits one. Of an IPv4 network it is the broadcast
    /// address.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() | self.host_bits_v4()))
            }
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() | self.host_bits_v6()))
            }
        }
    }

    /// Whether `address` lies in the network; one of the other family does not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == address.is_ipv4();
        same_family && Self { address, ..*self }.network() == self.network()
    }

    /// One bits for the part that names a host.
    const fn host_bits_v4(&self) -> u32 {
        if self.prefix_len >= 32 { 0 } else { u32::MAX >> self.prefix_len }
    }

    const fn host_bits_v6(&self) -> u128 {
        if self.prefix_len >= 128 { 0 } else { u128::MAX >> self.prefix_len }
    }
}

impl fmt::Display for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl fmt::Debug for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[[ip_route]]`: a destination behind one next hop, or several of equal cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpRoute {
    /// The destination network, host bits zero.
    pub to: IpCidr,
    /// The next hops, at least one, each in the network of an interface.
    pub via: Vec<IpAddr>,
    /// The interface of the next hops, where it was named: it must be for link-local ones.
    pub interface: Option<InterfaceId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str, prefix_len: u8) -> IpCidr {
        IpCidr::new(text.parse().expect("an address"), prefix_len).expect("a prefix that fits")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// A shift by the whole width is the edge that a mask computed naively gets wrong.
    #[test]
    fn masks_at_both_ends() {
        assert!(IpCidr::ALL_V4.contains(ip("255.255.255.255")));
        assert!(!cidr("1.2.3.4", 32).contains(ip("1.2.3.5")));
        assert_eq!(IpCidr::new(ip("127.0.0.1"), 33), None);
        assert!(IpCidr::ALL_V6.contains(ip("ffff::1")));
        assert!(cidr("fd09::1", 128).contains(ip("fd09::1")));
        assert!(!cidr("fd09::1", 128).contains(ip("fd09::2")));
        assert_eq!(IpCidr::new(ip("::1"), 129), None);
    }

    #[test]
    fn a_network_has_ends() {
        let net = cidr("10.9.0.2", 24);
        assert_eq!((net.network(), net.last()), (ip("10.9.0.0"), ip("10.9.0.255")));
        assert!(net.contains(ip("10.9.0.255")) && !net.contains(ip("10.9.1.0")));
        let net = cidr("fd09::2", 63);
        assert_eq!(
            (net.network(), net.last()),
            (ip("fd09::"), ip("fd09:0:0:1:ffff:ffff:ffff:ffff"))
        );
        assert_eq!(net.to_string(), "fd09::2/63");
    }

    #[test]
    fn families_do_not_contain_each_other() {
        assert!(!IpCidr::ALL_V4.contains(ip("::1")) && !IpCidr::ALL_V6.contains(ip("10.0.0.1")));
    }
}
