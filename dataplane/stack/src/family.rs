//! What a host's family decides: look-ups, source addresses, header lengths.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sluice_wire::{ipv4, ipv6};

use crate::addresses::is_link_local_v6;
use crate::fib::NextHop;
use crate::host::{Host, zone_of};
use crate::stack::Stack;
use crate::tuple::Tuple;

/// What IPv6's header takes more than IPv4's.
const HEADER_LEN_MORE: u16 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16;

impl Stack {
    /// Where packets to a host go.
    #[inline]
    pub(crate) fn destination(&self, host: Host) -> Option<NextHop> {
        match host.v4() {
            Some(address) => self.fib.find(address),
            None => self.destination_v6(host),
        }
    }

    fn destination_v6(&self, host: Host) -> Option<NextHop> {
        let (address, zone) = self.hosts.v6(host)?;
        self.lookup_v6(zone.unwrap_or(0), address)
    }

    /// Where packets to an address go that came in by, or are to leave by, `interface`: it matters
    /// for link-local ones alone.
    #[inline]
    pub(crate) fn lookup_v6(&self, interface: u16, address: Ipv6Addr) -> Option<NextHop> {
        if !is_link_local_v6(address) {
            return match self.learned.is_empty() {
                true => self.fib_v6.find(address),
                false => self.lookup_learned(address),
            };
        }
        let link = &self.interfaces[usize::from(interface)];
        match link.own_v6(address) {
            Some(_) => Some(NextHop::Local { interface }),
            None if link.addresses_v6.is_empty() => None,
            None => Some(NextHop::Connected { interface }),
        }
    }

    /// The host that an address names, if the stack has a name for it.
    pub(crate) fn find_host(&self, address: IpAddr, interface: u16) -> Option<Host> {
        match address {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(address) => self.hosts.find(address, zone_of(address, interface)),
        }
    }

    /// The host that an address names, with one more user.
    pub(crate) fn acquire_host(&mut self, address: IpAddr, interface: u16) -> Option<Host> {
        match address {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(address) => self.hosts.acquire(address, zone_of(address, interface)),
        }
    }

    /// The host that stands for an address of ours, or for all of a family.
    pub(crate) fn local_host(&self, address: IpAddr) -> Option<Host> {
        match address {
            IpAddr::V4(address) if address.is_unspecified() => Some(Host::ANY_V4),
            IpAddr::V6(address) if address.is_unspecified() => Some(Host::ANY_V6),
            IpAddr::V4(address) => {
                (self.is_local(address) || self.is_claimed(address)).then(|| address.into())
            }
            IpAddr::V6(address) => {
                let mut links = self.interfaces.iter();
                links.find_map(|link| link.own_v6(address)).map(|own| own.host)
            }
        }
    }

    /// The address of ours from which `remote` is spoken to.
    pub(crate) fn source(&self, interface: u16, next_hop: Host, remote: Host) -> Option<Host> {
        let link = &self.interfaces[usize::from(interface)];
        match next_hop.v4() {
            Some(next_hop) => link.source_for(next_hop).map(Host::from),
            None => {
                let (remote, _) = self.hosts.v6(remote)?;
                link.source_for_v6(remote).map(|own| own.host)
            }
        }
    }

    /// The MTU towards a host, as if its header was IPv4's: what TCP takes for headers is taken
    /// from that.
    pub(crate) fn mtu_for(&self, interface: u16, remote: Host) -> u16 {
        let link = &self.interfaces[usize::from(interface)];
        if remote.is_v6() { link.mtu_v6.saturating_sub(HEADER_LEN_MORE) } else { link.mtu }
    }

    /// What initial sequence numbers, time stamp offsets and cookies are made of: the addresses
    /// themselves, since the number of an IPv6 one is given to another later (RFC 6528, 3).
    pub(crate) fn number_words(&self, tuple: &Tuple) -> [u64; 2] {
        let (hosts, ports) = tuple.words();
        match (self.hosts.v6(tuple.local), self.hosts.v6(tuple.remote)) {
            (Some((local, _)), Some((remote, _))) => {
                let (local, remote) = (local.to_bits(), remote.to_bits());
                let words = [local >> 64, local, remote >> 64, remote].map(|word| word as u64);
                [self.number_key.hash(&words), ports]
            }
            _ => [hosts, ports],
        }
    }

    pub(crate) fn local_address(&self, tuple: &Tuple) -> SocketAddr {
        SocketAddr::new(self.hosts.ip(tuple.local), tuple.local_port)
    }

    pub(crate) fn remote_address(&self, tuple: &Tuple) -> SocketAddr {
        SocketAddr::new(self.hosts.ip(tuple.remote), tuple.remote_port)
    }
}

/// What a path's MTU leaves as if the header was IPv4's.
pub(crate) const fn path_mtu_v6(mtu: u16) -> u16 {
    mtu.saturating_sub(HEADER_LEN_MORE)
}
