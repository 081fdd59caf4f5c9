//! What names a connection on the wire.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use sluice_base::HashKey;

/// Both ends of a connection, seen from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tuple {
    pub(crate) local: Ipv4Addr,
    pub(crate) remote: Ipv4Addr,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Tuple {
    /// The addresses and the ports as words to be hashed.
    #[inline]
    pub(crate) fn words(&self) -> (u64, u64) {
        let addresses = u64::from(self.local.to_bits()) << 32 | u64::from(self.remote.to_bits());
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        (addresses, ports)
    }

    #[inline]
    pub(crate) fn hash(&self, key: &HashKey) -> u64 {
        let (addresses, ports) = self.words();
        key.hash_pair(addresses, ports)
    }

    pub(crate) fn local_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.local, self.local_port)
    }

    pub(crate) fn remote_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.remote, self.remote_port)
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <-> {}", self.local_address(), self.remote_address())
    }
}
