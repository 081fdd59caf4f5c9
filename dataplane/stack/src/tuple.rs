//! What names a connection on the wire.

use sluice_base::HashKey;

use crate::host::Host;

/// Both ends of a connection, seen from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tuple {
    pub(crate) local: Host,
    pub(crate) remote: Host,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Tuple {
    /// The hosts and the ports as words to be hashed.
    #[inline]
    pub(crate) fn words(&self) -> (u64, u64) {
        let addresses = u64::from(self.local.bits()) << 32 | u64::from(self.remote.bits());
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        (addresses, ports)
    }

    #[inline]
    pub(crate) fn hash(&self, key: &HashKey) -> u64 {
        let (addresses, ports) = self.words();
        key.hash_pair(addresses, ports)
    }
}
