//! Who gives ids, and when one may be used again.
//!
//! ```text
//!            a file names it            the next does not          release()
//!   free id -----------------> live key ------------------> retired ---------> free id
//!                                ^  |
//!                                +--+ the next names it too: the same id
//! ```
//!
//! Workers may hold a snapshot, plan or pool that names a retired id. The control thread knows when
//! none does any more, and only then calls [`IdRegistry::release`]. A name that comes back while
//! its old id is retired gets a new one, so that what is draining stays apart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use sluice_base::{ClusterId, EndpointId, InterfaceId, ListenerId, RouteId, VirtualHostId};

/// Gives ids to configured things; the control thread keeps it for the life of the process.
#[derive(Clone, Debug, Default)]
pub struct IdRegistry {
    round: u64,
    interfaces: Table<String>,
    listeners: Table<String>,
    clusters: Table<String>,
    endpoints: Table<(u32, SocketAddr)>,
    virtual_hosts: Table<(u32, String)>,
    routes: Table<(u32, RouteKey)>,
    retired: Retired,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum RouteKey {
    Name(String),
    Position(u32),
}

/// Ids that no configuration names any more but a worker may still hold.
#[must_use = "ids that are never released are never used again"]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Retired {
    /// Interfaces that are gone.
    pub interfaces: Vec<InterfaceId>,
    /// Listeners that are gone.
    pub listeners: Vec<ListenerId>,
    /// Clusters that are gone.
    pub clusters: Vec<ClusterId>,
    /// Endpoints that are gone.
    pub endpoints: Vec<EndpointId>,
    /// Virtual hosts that are gone.
    pub virtual_hosts: Vec<VirtualHostId>,
    /// Routes that are gone.
    pub routes: Vec<RouteId>,
}

impl Retired {
    /// Whether nothing was retired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
            && self.listeners.is_empty()
            && self.clusters.is_empty()
            && self.endpoints.is_empty()
            && self.virtual_hosts.is_empty()
            && self.routes.is_empty()
    }
}

/// One more than the highest id ever given, per kind: the length of an array by id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IdBounds {
    /// For arrays by [`InterfaceId`].
    pub interfaces: usize,
    /// For arrays by [`ListenerId`].
    pub listeners: usize,
    /// For arrays by [`ClusterId`].
    pub clusters: usize,
    /// For arrays by [`EndpointId`].
    pub endpoints: usize,
    /// For arrays by [`VirtualHostId`].
    pub virtual_hosts: usize,
    /// For arrays by [`RouteId`].
    pub routes: usize,
}

impl IdRegistry {
    /// A registry that has given nothing; first ids are 0, 1, 2, ... in the order of asking.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the ids of a new configuration. What is not asked for until [`Self::finish`] retires.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// The id of the interface called `name`.
    pub fn interface(&mut self, name: &str) -> InterfaceId {
        let id = self.interfaces.assign(name.to_owned(), self.round);
        InterfaceId(u16::try_from(id).unwrap_or(u16::MAX))
    }

    /// The id of the listener called `name`.
    pub fn listener(&mut self, name: &str) -> ListenerId {
        ListenerId(self.listeners.assign(name.to_owned(), self.round))
    }

    /// The id of the cluster called `name`.
    pub fn cluster(&mut self, name: &str) -> ClusterId {
        ClusterId(self.clusters.assign(name.to_owned(), self.round))
    }

    /// The id of an endpoint.
    pub fn endpoint(&mut self, cluster: ClusterId, address: SocketAddr) -> EndpointId {
        EndpointId(self.endpoints.assign((cluster.0, address), self.round))
    }

    /// The id of the virtual host called `name`.
    pub fn virtual_host(&mut self, listener: ListenerId, name: &str) -> VirtualHostId {
        VirtualHostId(self.virtual_hosts.assign((listener.0, name.to_owned()), self.round))
    }

    /// The id of the route called `name`, or, without a name, at `position` of its virtual host.
    pub fn route(&mut self, host: VirtualHostId, name: Option<&str>, position: u32) -> RouteId {
        let key = name.map_or(RouteKey::Position(position), |name| RouteKey::Name(name.to_owned()));
        RouteId(self.routes.assign((host.0, key), self.round))
    }

    /// Ends the ids of a configuration: what was not asked for since [`Self::begin`] is retired.
    pub fn finish(&mut self) {
        let (round, retired) = (self.round, &mut self.retired);
        let narrow = |id| InterfaceId(u16::try_from(id).unwrap_or(u16::MAX));
        retired.interfaces.extend(self.interfaces.retire(round).into_iter().map(narrow));
        retired.listeners.extend(self.listeners.retire(round).into_iter().map(ListenerId));
        retired.clusters.extend(self.clusters.retire(round).into_iter().map(ClusterId));
        retired.endpoints.extend(self.endpoints.retire(round).into_iter().map(EndpointId));
        let hosts = self.virtual_hosts.retire(round).into_iter().map(VirtualHostId);
        retired.virtual_hosts.extend(hosts);
        retired.routes.extend(self.routes.retire(round).into_iter().map(RouteId));
    }

    /// Takes what has been retired since the last call. Keep it until no worker holds a snapshot,
    /// plan or pool from before, then give it to [`Self::release`].
    pub fn take_retired(&mut self) -> Retired {
        std::mem::take(&mut self.retired)
    }

    /// Lets the ids be used again.
    #[expect(clippy::needless_pass_by_value, reason = "the evidence must not be usable twice")]
    pub fn release(&mut self, retired: Retired) {
        self.interfaces.free.extend(retired.interfaces.iter().map(|id| u32::from(id.0)));
        self.listeners.free.extend(retired.listeners.iter().map(|id| id.0));
        self.clusters.free.extend(retired.clusters.iter().map(|id| id.0));
        self.endpoints.free.extend(retired.endpoints.iter().map(|id| id.0));
        self.virtual_hosts.free.extend(retired.virtual_hosts.iter().map(|id| id.0));
        self.routes.free.extend(retired.routes.iter().map(|id| id.0));
    }

    /// How long arrays by id must be.
    #[must_use]
    pub fn bounds(&self) -> IdBounds {
        IdBounds {
            interfaces: self.interfaces.next as usize,
            listeners: self.listeners.next as usize,
            clusters: self.clusters.next as usize,
            endpoints: self.endpoints.next as usize,
            virtual_hosts: self.virtual_hosts.next as usize,
            routes: self.routes.next as usize,
        }
    }
}

/// The ids of one kind of thing.
#[derive(Clone, Debug)]
struct Table<K> {
    /// Key to id and the round that named it last.
    live: BTreeMap<K, (u32, u64)>,
    /// Released ids; the lowest is used first, to keep arrays short.
    free: BTreeSet<u32>,
    next: u32,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { live: BTreeMap::new(), free: BTreeSet::new(), next: 0 }
    }
}

impl<K: Ord> Table<K> {
    fn assign(&mut self, key: K, round: u64) -> u32 {
        let (free, next) = (&mut self.free, &mut self.next);
        let entry = self.live.entry(key).or_insert_with(|| {
            let id = free.pop_first().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            });
            (id, round)
        });
        entry.1 = round;
        entry.0
    }

    fn retire(&mut self, round: u64) -> Vec<u32> {
        let mut gone = Vec::new();
        self.live.retain(|_, &mut (id, named_in)| {
            if named_in != round {
                gone.push(id);
            }
            named_in == round
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(registry: &mut IdRegistry, clusters: &[&str]) -> Vec<u32> {
        registry.begin();
        let ids = clusters.iter().map(|name| registry.cluster(name).0).collect();
        registry.finish();
        ids
    }

    #[test]
    fn a_name_keeps_its_id() {
        let mut registry = IdRegistry::new();
        assert_eq!(update(&mut registry, &["a", "b", "c"]), [0, 1, 2]);
        assert_eq!(update(&mut registry, &["c", "d", "a"]), [2, 3, 0]);
        assert_eq!(registry.take_retired().clusters, [ClusterId(1)]);
    }

    /// A worker that still drains the old thing must not count for the new one.
    #[test]
    fn a_retired_id_waits_for_its_release() {
        let mut registry = IdRegistry::new();
        update(&mut registry, &["a", "b"]);
        update(&mut registry, &["b"]);
        let retired = registry.take_retired();
        assert_eq!(update(&mut registry, &["a", "b"]), [2, 1], "back, but not under the old id");
        registry.release(retired);
        assert_eq!(update(&mut registry, &["a", "b", "c"]), [2, 1, 0], "free again");
        assert!(registry.take_retired().is_empty());
        assert_eq!(registry.bounds().clusters, 3);
    }

    #[test]
    fn what_belongs_to_a_retired_thing_retires_with_it() {
        let mut registry = IdRegistry::new();
        let address = SocketAddr::new([10, 0, 0, 1].into(), 80);
        registry.begin();
        let (a, b) = (registry.cluster("a"), registry.cluster("b"));
        let (in_a, in_b) = (registry.endpoint(a, address), registry.endpoint(b, address));
        registry.finish();
        assert_ne!(in_a, in_b, "the same address in two clusters is two endpoints");
        registry.begin();
        let b = registry.cluster("b");
        assert_eq!(registry.endpoint(b, address), in_b);
        registry.finish();
        let retired = registry.take_retired();
        assert_eq!((retired.clusters, retired.endpoints), (vec![a], vec![in_a]));
    }

    #[test]
    fn a_named_route_may_move_and_others_are_their_position() {
        let mut registry = IdRegistry::new();
        registry.begin();
        let listener = registry.listener("web");
        let host = registry.virtual_host(listener, "*");
        let first = [registry.route(host, Some("home"), 0), registry.route(host, None, 1)];
        registry.finish();
        registry.begin();
        let listener = registry.listener("web");
        let host = registry.virtual_host(listener, "*");
        let second = [registry.route(host, None, 0), registry.route(host, Some("home"), 1)];
        registry.finish();
        assert_eq!(second[1], first[0]);
        assert!(!first.contains(&second[0]), "position 0 had no nameless route before");
        assert_eq!(registry.take_retired().routes, [first[1]]);
    }
}
