//! What a request still needs to know once its snapshot is let go.

use std::time::Duration;

use sluice_base::{ClusterId, EndpointId, ListenerId, RouteId, VirtualHostId};
use sluice_config_model::{Listener, Protocol};
use sluice_l7_grpc::Statuses;

use crate::limits::ATTEMPTS_MAX;

/// Ids, deadlines and limits, copied from the snapshot when the request was routed.
///
/// The snapshot itself is pinned until the response head is out (the route's edits to it are still
/// to come); after that a download of hours holds nothing but this.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) listener: ListenerId,
    pub(crate) virtual_host: Option<VirtualHostId>,
    pub(crate) route: Option<RouteId>,
    pub(crate) cluster: Option<ClusterId>,
    /// From the end of the request to the end of the response.
    pub(crate) timeout: Option<Duration>,
    /// Without any byte either way.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) retries_left: u8,
    /// Status of a call of gRPC for which it is sent again.
    pub(crate) retry_on: Statuses,
    /// Bytes of request body allowed.
    pub(crate) body_max: u64,
}

impl Plan {
    /// What the listener alone decides.
    pub(crate) fn for_listener(listener: &Listener) -> Self {
        let (idle_timeout, body_max, cluster) = match &listener.protocol {
            Protocol::Http(http) => {
                (http.stream_idle_timeout, http.max_body.unwrap_or(u64::MAX), None)
            }
            Protocol::Tcp { cluster } | Protocol::Udp { cluster, .. } => {
                (listener.idle_timeout, u64::MAX, Some(*cluster))
            }
        };
        Self {
            listener: listener.id,
            idle_timeout,
            body_max,
            cluster,
            // A relay that cannot connect tries once more, as a request does by default.
            retries_left: sluice_config_model::defaults::RETRIES,
            ..Self::default()
        }
    }
}

/// The endpoints a request has been sent to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    endpoints: [EndpointId; ATTEMPTS_MAX],
    count: u8,
}

impl Tried {
    #[inline]
    pub(crate) fn push(&mut self, endpoint: EndpointId) {
        if let Some(slot) = self.endpoints.get_mut(usize::from(self.count)) {
            *slot = endpoint;
            self.count += 1;
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[EndpointId] {
        &self.endpoints[..usize::from(self.count)]
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.count) == ATTEMPTS_MAX
    }
}
