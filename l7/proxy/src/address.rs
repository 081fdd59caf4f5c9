//! Addresses and ports in the space that they need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address and a port, as a session keeps them. The flow label and the zone of IPv6 are no part
/// of it: nobody asks a session for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    octets: [u8; 16],
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
}

const _: () = assert!(size_of::<Option<Address>>() == 20, "SocketAddr takes 32");

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let (octets, family) = match address.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), Family::V4),
            IpAddr::V6(ip) => (ip.octets(), Family::V6),
        };
        Self { octets, port: address.port(), family }
    }
}

impl From<Address> for SocketAddr {
    fn from(Address { octets, port, family }: Address) -> Self {
        let [.., a, b, c, d] = octets;
        let ip = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(octets)),
        };
        Self::new(ip, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in() {
        for text in ["0.0.0.0:0", "10.1.2.3:65535", "[::]:1", "[::ffff:10.1.2.3]:80", "[fe80::1]:9"]
        {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(SocketAddr::from(Address::from(address)), address);
        }
    }
}
