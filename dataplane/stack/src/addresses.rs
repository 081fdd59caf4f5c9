//! Which addresses may stand where.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether one host can have this address as its source: RFC 1122, 3.2.1.3; RFC 1812, 5.3.7.
#[inline]
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    // From 1 to 223 in one comparison.
    bits.wrapping_sub(1 << 24) < 223 << 24 && bits >> 24 != 127
}

/// 169.254.0.0/16.
const LINK_LOCAL: u32 = 0xa9fe;

/// Whether a router may pass packets to this address on: RFC 1812, 5.3.7; RFC 3927, 7.
#[inline]
pub(crate) fn is_forwardable(address: Ipv4Addr) -> bool {
    is_host(address) && !is_link_local(address)
}

/// Whether the address is good on its own link only (RFC 3927).
#[inline]
pub(crate) fn is_link_local(address: Ipv4Addr) -> bool {
    address.to_bits() >> 16 == LINK_LOCAL
}

/// Whether the address names more than one host wherever it is used.
#[inline]
pub(crate) fn is_group(address: Ipv4Addr) -> bool {
    address.is_multicast() || address.is_broadcast()
}

/// Whether one host can have this address as its source on a link: RFC 8200, 3; RFC 4291, 2.5 and
/// 2.7. What looks like an IPv4 address in an IPv6 one must not be on a wire either.
#[inline]
pub(crate) fn is_host_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    // `::/96` holds the unspecified address, loopback and the old IPv4-compatible ones.
    let is_old = bits >> 32 == 0;
    let is_mapped = bits >> 32 == 0xffff;
    !(is_old || is_mapped || address.is_multicast())
}

/// Whether the address is good on its own link only: `fe80::/10` (RFC 4291, 2.5.6).
#[inline]
pub(crate) fn is_link_local_v6(address: Ipv6Addr) -> bool {
    address.to_bits() >> 118 == 0xfe80 >> 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_the_special_ranges_of_ipv6() {
        let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        for bad in ["::", "::1", "::10.0.0.1", "::ffff:10.0.0.1", "ff02::1", "ff0e::1"] {
            assert!(!is_host_v6(ip(bad)), "{bad}");
        }
        for good in ["::1:0:0", "fd09::1", "fe80::1", "2001:db8::1"] {
            assert!(is_host_v6(ip(good)), "{good}");
        }
        assert!(is_link_local_v6(ip("fe80::")) && is_link_local_v6(ip("febf:ffff::1")));
        assert!(!is_link_local_v6(ip("fe7f::1")) && !is_link_local_v6(ip("fec0::1")));
    }

    #[test]
    fn the_edges_of_the_special_ranges() {
        let host = |a, d| is_host(Ipv4Addr::new(a, 0, 0, d));
        assert!(!host(0, 0) && !host(0, 1) && host(1, 0));
        assert!(host(126, 255) && !host(127, 0) && !host(127, 1) && host(128, 0));
        assert!(host(223, 255) && !host(224, 0) && !host(240, 0) && !host(255, 255));
        assert!(!is_forwardable(Ipv4Addr::new(169, 254, 1, 1)));
        assert!(is_group(Ipv4Addr::BROADCAST) && is_group(Ipv4Addr::new(239, 0, 0, 1)));
        assert!(!is_group(Ipv4Addr::new(240, 0, 0, 1)));
    }
}
