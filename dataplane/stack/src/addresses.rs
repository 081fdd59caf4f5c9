//! Which IPv4 addresses may stand where.

use std::net::Ipv4Addr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
