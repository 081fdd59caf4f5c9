//! Small integer names.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($repr:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $repr);

        impl $name {
            /// The position in a table of such things.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

id!(
    /// One worker: one core, one heartbeat. Workers are numbered from 0 without gaps.
    WorkerId(u16), "worker-"
);
id!(
    /// One network interface of the configuration.
    InterfaceId(u16), "interface-"
);
id!(
    /// One listener. Given by the control thread, stable across snapshots.
    ListenerId(u32), "listener-"
);
id!(
    /// One virtual host of a listener's route table, unique in the process.
    VirtualHostId(u32), "virtual-host-"
);
id!(
    /// One route. Stable across snapshots while its listener, host and position stay.
    RouteId(u32), "route-"
);
id!(
    /// One cluster. Stable across snapshots while its name stays.
    ClusterId(u32), "cluster-"
);
id!(
    /// One endpoint of a cluster. Stable while cluster and address stay.
    EndpointId(u32), "endpoint-"
);

/// One connection of one worker's stack: a slot and the generation that holds it now.
///
/// A stale id (the connection is gone, the slot is used again) never names another connection.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct ConnId {
    /// The slot.
    pub index: u32,
    /// How often the slot has been used.
    pub generation: u32,
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn-{}.{}", self.index, self.generation)
    }
}

/// One flow of UDP datagrams of one worker's stack: a slot and the generation that holds it now.
///
/// A stale id never names another flow.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct UdpId {
    /// The slot.
    pub index: u32,
    /// How often the slot has been used.
    pub generation: u32,
}

impl fmt::Debug for UdpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udp-{}.{}", self.index, self.generation)
    }
}
