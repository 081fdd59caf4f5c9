//! Where packets may come from: the unicast reverse-path check (RFC 2827, RFC 3704) and martians
//! (RFC 1812, 5.3.7; the registries of RFC 6890).
//!
//! Asked about in the same pass as packet rules, so an interface without either pays nothing. What
//! cannot be read goes on: a later check says by name what is wrong with it. What no host can have as
//! its address at all is refused everywhere, whether the interface is checked or not (`addresses`).

use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_base::InterfaceId;
use sluice_buf::Packet;
use sluice_wire::{EtherType, EthernetView, ethernet, ipv4, ipv6};

use crate::addresses::is_link_local_v6;
use crate::drop_reason::DropReason;
use crate::fib::{NextHop, mask};
use crate::fib_v6;
use crate::stack::Stack;

/// Which sources an interface takes packets from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReversePath {
    /// Any.
    #[default]
    Off,
    /// Those that some route leads to (RFC 3704, 2.4).
    Loose,
    /// Those that a route leads to by the very interface (RFC 3704, 2.2 and 2.3: any of several next
    /// hops counts).
    Strict,
}

/// RFC 6890, 2.2.2: addresses that no packet on a network has as its source or destination, beside
/// those that are refused everywhere. Private and shared ones, and those for benchmarks, are good.
const MARTIANS_V4: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
];
/// RFC 6890, 2.2.3; RFC 9637 for the second documentation prefix, RFC 6666 for the one to discard,
/// RFC 3879 for site-local ones, RFC 3701 for the 6bone's.
const MARTIANS_V6: [(Ipv6Addr, u8); 6] = [
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
];

fn is_martian(address: Ipv4Addr) -> bool {
    MARTIANS_V4.iter().any(|(prefix, len)| mask(address, *len) == *prefix)
}

fn is_martian_v6(address: Ipv6Addr) -> bool {
    // 2002::/16 carries an IPv4 address (RFC 3056, 9: one that no packet has there is none here).
    let [first, high, low, ..] = address.segments();
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let inner = Ipv4Addr::new(a, b, c, d);
    let is_6to4_of_none =
        first == 0x2002 && (is_martian(inner) || !crate::addresses::is_host(inner));
    is_6to4_of_none
        || MARTIANS_V6.iter().any(|(prefix, len)| fib_v6::mask(address, *len) == *prefix)
}

impl Stack {
    /// Sets what sources an interface takes packets from, and whether it refuses addresses that
    /// RFC 6890 keeps off networks.
    pub fn set_source_checks(&mut self, interface: InterfaceId, path: ReversePath, martians: bool) {
        if let Some(interface) = self.interfaces.get_mut(interface.index()) {
            interface.reverse_path = path;
            interface.refuses_martians = martians;
        }
        self.update_filtering();
    }

    /// Asks where a frame comes from.
    pub(crate) fn check_source(&self, interface: u16, packet: &Packet) -> Result<(), DropReason> {
        let link = &self.interfaces[usize::from(interface)];
        if link.reverse_path == ReversePath::Off && !link.refuses_martians {
            return Ok(());
        }
        let head = packet.head();
        let (l2_len, ether_type) = match head.get(12..ethernet::HEADER_LEN) {
            Some([8, 0]) => (ethernet::HEADER_LEN, EtherType::Ipv4),
            _ => match EthernetView::parse(head) {
                Ok(view) => (view.header_len(), view.ether_type()),
                Err(_) => return Ok(()),
            },
        };
        let header = head.get(l2_len..).unwrap_or_default();
        match ether_type {
            EtherType::Ipv4 => self.check_source_v4(interface, header),
            EtherType::Ipv6 => self.check_source_v6(interface, header),
            EtherType::Arp | EtherType::Other(_) => Ok(()),
        }
    }

    fn check_source_v4(&self, interface: u16, header: &[u8]) -> Result<(), DropReason> {
        let Some(header) = header.first_chunk::<{ ipv4::HEADER_LEN }>() else { return Ok(()) };
        let address =
            |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let (source, destination) = (address(12), address(16));
        let link = &self.interfaces[usize::from(interface)];
        if link.refuses_martians && (is_martian(source) || is_martian(destination)) {
            return Err(DropReason::Martian);
        }
        if !crate::addresses::is_host(source) {
            return Ok(());
        }
        self.check_reverse_path(interface, link.reverse_path, self.fib.find(source))
    }

    fn check_source_v6(&self, interface: u16, header: &[u8]) -> Result<(), DropReason> {
        let Some(header) = header.first_chunk::<{ ipv6::HEADER_LEN }>() else { return Ok(()) };
        let address = |at: usize| {
            header[at..].first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |o| Ipv6Addr::from(*o))
        };
        let (source, destination) = (address(8), address(24));
        let link = &self.interfaces[usize::from(interface)];
        if link.refuses_martians && (is_martian_v6(source) || is_martian_v6(destination)) {
            return Err(DropReason::Martian);
        }
        // What is of the link came by it; who has no address yet asks whether it may have one.
        if is_link_local_v6(source) || !crate::addresses::is_host_v6(source) {
            return Ok(());
        }
        let route = self.lookup_v6(interface, source);
        self.check_reverse_path(interface, link.reverse_path, route)
    }

    fn check_reverse_path(
        &self,
        interface: u16,
        path: ReversePath,
        route: Option<NextHop>,
    ) -> Result<(), DropReason> {
        let is_here = |at: u16| at == interface;
        let is_good = match (path, route) {
            // Our own address as a source is refused elsewhere, under its own name.
            (ReversePath::Off, _)
            | (_, Some(NextHop::Local { .. } | NextHop::Broadcast { .. })) => true,
            (_, None) => false,
            (ReversePath::Loose, Some(_)) => true,
            (ReversePath::Strict, Some(NextHop::Connected { interface: at })) => is_here(at),
            (ReversePath::Strict, Some(NextHop::Via { interface: at, .. })) => is_here(at),
            (ReversePath::Strict, Some(NextHop::Group { group })) => {
                self.groups[usize::from(group)].interfaces().any(is_here)
            }
        };
        if is_good { Ok(()) } else { Err(DropReason::ReversePath) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_the_registries() {
        let v4 = |text: &str| is_martian(text.parse().expect("an address"));
        for bad in ["192.0.2.0", "192.0.2.255", "198.51.100.7", "203.0.113.1"] {
            assert!(v4(bad), "{bad}");
        }
        for good in ["192.0.1.255", "192.0.3.0", "198.18.0.1", "100.64.0.1", "10.0.0.1"] {
            assert!(!v4(good), "{good}");
        }
        let v6 = |text: &str| is_martian_v6(text.parse().expect("an address"));
        for bad in [
            "2001:db8::1",
            "3fff:fff::1",
            "2001:1f::1",
            "100::1",
            "fec0::1",
            "2002:7f00:1::1",
            "2002:c000:201::1",
            "3ffe::1",
        ] {
            assert!(v6(bad), "{bad}");
        }
        for good in [
            "2001:db9::1",
            "3fff:1000::1",
            "2001:20::1",
            "100:0:0:1::1",
            "2002:a09:1::1",
            "fd00::1",
            "2600::1",
        ] {
            assert!(!v6(good), "{good}");
        }
    }
}
