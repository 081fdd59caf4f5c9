//! `[[interface]]` and `[[ip_route]]`: where packets come from and go to.

use std::fmt;
use std::net::Ipv4Addr;
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
    pub addresses: Vec<Ipv4Cidr>,
    /// Addresses for the kernel's end; only a [`DeviceSpec::Tap`] has any.
    pub host_addresses: Vec<Ipv4Cidr>,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// What happens to its packets on purpose, if anything.
    pub impairment: Option<Impairment>,
    /// SYNs that each source address may send per second; none: any number.
    pub source_syn_rate: Option<u32>,
    /// Connections that each source address may begin per second; none: any number.
    pub source_connection_rate: Option<u32>,
    /// What may come in by it; the first rule that matches decides. May change while running.
    pub rules: Vec<Rule>,
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

/// An IPv4 address and the length of its network's prefix (RFC 4632, 3.1).
///
/// As an interface address the host bits matter; as a destination they are zero.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ipv4Cidr {
    /// The address, host bits included.
    pub address: Ipv4Addr,
    /// Bits of the network part, 0..=32.
    pub prefix_len: u8,
}

impl Ipv4Cidr {
    /// Every address: `0.0.0.0/0`.
    pub const ALL: Self = Self { address: Ipv4Addr::UNSPECIFIED, prefix_len: 0 };

    /// `address/prefix_len`, or `None` if the prefix is longer than an address.
    #[must_use]
    pub const fn new(address: Ipv4Addr, prefix_len: u8) -> Option<Self> {
        if prefix_len > 32 { None } else { Some(Self { address, prefix_len }) }
    }

    /// One bits for the network part.
    #[must_use]
    pub const fn mask(&self) -> u32 {
        if self.prefix_len == 0 { 0 } else { u32::MAX << (32 - self.prefix_len) }
    }

    /// The first address of the network: all host bits zero.
    #[must_use]
    pub const fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask())
    }

    /// The last address of the network: all host bits one.
    #[must_use]
    pub const fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Whether `address` lies in the network.
    #[must_use]
    pub const fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network().to_bits()
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl fmt::Debug for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[[ip_route]]`: a destination behind one next hop, or several of equal cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpRoute {
    /// The destination network, host bits zero.
    pub to: Ipv4Cidr,
    /// The next hops, at least one, each in the network of an interface.
    pub via: Vec<Ipv4Addr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(a: u8, b: u8, c: u8, d: u8, prefix_len: u8) -> Ipv4Cidr {
        Ipv4Cidr::new(Ipv4Addr::new(a, b, c, d), prefix_len).expect("a prefix of 0..=32")
    }

    /// A shift by 32 is the edge that a mask computed naively gets wrong.
    #[test]
    fn masks_at_both_ends() {
        assert_eq!(cidr(1, 2, 3, 4, 0).mask(), 0);
        assert_eq!(cidr(1, 2, 3, 4, 32).mask(), u32::MAX);
        assert!(cidr(1, 2, 3, 4, 0).contains(Ipv4Addr::BROADCAST));
        assert!(!cidr(1, 2, 3, 4, 32).contains(Ipv4Addr::new(1, 2, 3, 5)));
        assert_eq!(Ipv4Cidr::new(Ipv4Addr::LOCALHOST, 33), None);
    }

    #[test]
    fn a_network_has_ends() {
        let net = cidr(10, 9, 0, 2, 24);
        assert_eq!(net.network(), Ipv4Addr::new(10, 9, 0, 0));
        assert_eq!(net.broadcast(), Ipv4Addr::new(10, 9, 0, 255));
        assert!(net.contains(Ipv4Addr::new(10, 9, 0, 255)));
        assert!(!net.contains(Ipv4Addr::new(10, 9, 1, 0)));
    }
}
