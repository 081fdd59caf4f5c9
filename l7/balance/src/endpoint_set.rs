//! The endpoints of one cluster.

use sluice_base::{ClusterId, EndpointId, Rng};
use sluice_config_model::{Cluster, LoadBalancing};

use crate::maglev::Maglev;
use crate::{LoadTable, least_request, round_robin};

pub use sluice_config_model::Endpoint;

/// The endpoints of one cluster and how one is chosen; immutable.
#[derive(Clone, Debug)]
pub struct EndpointSet {
    cluster: ClusterId,
    policy: LoadBalancing,
    endpoints: Box<[Endpoint]>,
    /// Of a cluster that hashes.
    maglev: Option<Box<Maglev>>,
}

impl EndpointSet {
    /// The endpoints of `cluster`.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.id,
            policy: cluster.load_balancing,
            endpoints: cluster.endpoints.as_slice().into(),
            maglev: (cluster.load_balancing == LoadBalancing::Maglev)
                .then(|| Box::new(Maglev::new(&cluster.endpoints))),
        }
    }

    /// The endpoint for the next request; None: there are none at all.
    ///
    /// `exclude` names those that the request has been sent to: they are taken only when there is
    /// no other, since the second try of a connection may succeed where the first did not.
    #[inline]
    pub fn pick(
        &self,
        load: &mut LoadTable,
        rng: &mut Rng,
        exclude: &[EndpointId],
    ) -> Option<&Endpoint> {
        let index = match &*self.endpoints {
            [] => return None,
            [_] => 0,
            endpoints => match self.policy {
                LoadBalancing::RoundRobin => {
                    let excluded = |index: usize| exclude.contains(&endpoints[index].id);
                    round_robin::pick(endpoints.len(), load.cursor(self.cluster), rng, excluded)
                }
                LoadBalancing::LeastRequest => least_request::pick(endpoints, load, rng, exclude),
                LoadBalancing::Maglev => self.place_of(rng.next_u64(), exclude),
            },
        };
        self.endpoints.get(index)
    }

    /// As [`EndpointSet::pick`], for somebody whose `hash` names an endpoint where the policy goes
    /// by that.
    pub fn pick_by_hash(
        &self,
        hash: u64,
        load: &mut LoadTable,
        rng: &mut Rng,
        exclude: &[EndpointId],
    ) -> Option<&Endpoint> {
        match self.policy {
            LoadBalancing::Maglev => self.endpoints.get(self.place_of(hash, exclude)),
            LoadBalancing::RoundRobin | LoadBalancing::LeastRequest => {
                self.pick(load, rng, exclude)
            }
        }
    }

    #[cold]
    fn place_of(&self, hash: u64, exclude: &[EndpointId]) -> usize {
        let table = self.maglev.as_ref();
        table.map_or(0, |table| table.pick(&self.endpoints, hash, exclude))
    }

    /// Every endpoint, in the order of the configuration.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint with this id.
    #[must_use]
    pub fn find(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.id == id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there are none: requests end with 503, flag UH.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use sluice_config_model::{ConnectionLife, Http2Settings, HttpVersion, TcpSettings};

    use super::*;

    fn set(policy: LoadBalancing, count: u32) -> EndpointSet {
        let address = |id| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8_000 + id as u16);
        EndpointSet::new(&Cluster {
            id: ClusterId(2),
            name: "app".into(),
            // Ids are the process's: a cluster's need not start at 0 or be in order.
            endpoints: (0..count)
                .map(|id| Endpoint { id: EndpointId(100 - id), address: address(id) })
                .collect(),
            load_balancing: policy,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: None,
            http: HttpVersion::Http11,
            max_connections: 1,
            life: ConnectionLife::default(),
            http2: Http2Settings::default(),
            max_pending: 1,
            max_retries: 1,
            tcp: TcpSettings::default(),
        })
    }

    const POLICIES: [LoadBalancing; 3] =
        [LoadBalancing::RoundRobin, LoadBalancing::LeastRequest, LoadBalancing::Maglev];

    #[test]
    fn nobody_and_the_only_one() {
        for policy in POLICIES {
            let (mut load, mut rng) = (LoadTable::new(), Rng::new(1));
            assert_eq!(set(policy, 0).pick(&mut load, &mut rng, &[]), None);
            let one = set(policy, 1);
            let picked = one.pick(&mut load, &mut rng, &[EndpointId(100)]).map(|one| one.id);
            assert_eq!(picked, Some(EndpointId(100)), "again, as there is no other");
            assert_eq!(one.find(EndpointId(100)), Some(&one.endpoints()[0]));
            assert_eq!(one.find(EndpointId(0)), None);
        }
    }

    #[test]
    fn every_endpoint_gets_its_share_and_a_retry_goes_elsewhere() {
        for policy in POLICIES {
            let (mut load, mut rng, set) = (LoadTable::new(), Rng::new(1), set(policy, 5));
            load.grow(101, 3);
            let mut counts = [0; 101];
            for _ in 0..5_000 {
                let picked = set.pick(&mut load, &mut rng, &[]).expect("one of five");
                counts[picked.id.index()] += 1;
                let other = set.pick(&mut load, &mut rng, &[picked.id]).expect("one of four");
                assert_ne!(other.id, picked.id);
            }
            assert!(counts[96..].iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn a_hash_names_an_endpoint_where_the_policy_goes_by_it() {
        let (mut load, mut rng) = (LoadTable::new(), Rng::new(1));
        load.grow(101, 3);
        let set = set(LoadBalancing::Maglev, 5);
        let mut pick = |hash| set.pick_by_hash(hash, &mut load, &mut rng, &[]).map(|one| one.id);
        for client in 0..100u64 {
            let hash = client << 57;
            assert_eq!(pick(hash), pick(hash));
        }
        assert_ne!(pick(0), None);
    }

    /// Before the first snapshot has grown the table, and for ids it does not know.
    #[test]
    fn a_table_that_knows_nothing_still_yields_endpoints() {
        for policy in POLICIES {
            let (mut load, mut rng, set) = (LoadTable::new(), Rng::new(1), set(policy, 3));
            let mut seen = [false; 101];
            for _ in 0..100 {
                seen[set.pick(&mut load, &mut rng, &[]).expect("one").id.index()] = true;
            }
            assert_eq!(seen[98..], [true; 3]);
        }
    }
}
