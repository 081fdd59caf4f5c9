//! The endpoints of one cluster.

use sluice_base::{ClusterId, EndpointId, Rng};
use sluice_config_model::{Cluster, LoadBalancing};

use crate::{LoadTable, least_request, round_robin};

pub use sluice_config_model::Endpoint;

/// The endpoints of one cluster and how one is chosen; immutable.
#[derive(Clone, Debug)]
pub struct EndpointSet {
    cluster: ClusterId,
    policy: LoadBalancing,
    endpoints: Box<[Endpoint]>,
}

impl EndpointSet {
    /// The endpoints of `cluster`.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.id,
            policy: cluster.load_balancing,
            endpoints: cluster.endpoints.as_slice().into(),
        }
    }

    /// The endpoint for the next request; None: there are none at all.
    ///
    /// `exclude` names those that the request has been sent to: they are taken only when there is no
    /// other, since the second try of a connection may succeed where the first did not.
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
            },
        };
        self.endpoints.get(index)
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
