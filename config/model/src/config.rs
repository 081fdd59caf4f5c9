//! The whole configuration.

use sluice_base::{ClusterId, EndpointId, InterfaceId, ListenerId, RouteId, VirtualHostId};

use crate::{
    AccessLog, Admin, Cluster, Endpoint, Interface, IpRoute, Listener, Route, Runtime, VirtualHost,
};

/// Everything one configuration file says, validated and with defaults filled in.
///
/// Look-ups by name and id walk the lists: they are for start, reload and people, not for packets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// `[node]`: who this Sluice is.
    pub node: Node,
    /// `[runtime]`: cores, memory, sleep.
    pub runtime: Runtime,
    /// `[[interface]]`, in the order of the file.
    pub interfaces: Vec<Interface>,
    /// `[[ip_route]]`: destinations behind a next hop.
    pub ip_routes: Vec<IpRoute>,
    /// `[[listener]]`, in the order of the file.
    pub listeners: Vec<Listener>,
    /// `[[cluster]]`, in the order of the file.
    pub clusters: Vec<Cluster>,
    /// `[admin]`: where the process answers its operator.
    pub admin: Admin,
    /// `[access_log]`; absent: nothing is logged.
    pub access_log: Option<AccessLog>,
}

/// `[node]`: identity, sent to the control plane.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Unique name of this process; empty if not given.
    pub id: String,
    /// The group it belongs to; empty if not given.
    pub cluster: String,
}

impl Config {
    /// The interface called `name`.
    #[must_use]
    pub fn interface_by_name(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The interface with this id.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == id)
    }

    /// The listener called `name`.
    #[must_use]
    pub fn listener_by_name(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// The listener with this id.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.id == id)
    }

    /// The cluster called `name`.
    #[must_use]
    pub fn cluster_by_name(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The cluster with this id.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.id == id)
    }

    /// The endpoint with this id, and its cluster.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<(&Cluster, &Endpoint)> {
        self.clusters.iter().find_map(|cluster| {
            cluster.endpoints.iter().find(|e| e.id == id).map(|endpoint| (cluster, endpoint))
        })
    }

    /// Every virtual host, with the listener it belongs to.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = (&Listener, &VirtualHost)> {
        self.listeners.iter().flat_map(|listener| {
            listener.http().into_iter().flat_map(move |http| {
                http.virtual_hosts.iter().map(move |virtual_host| (listener, virtual_host))
            })
        })
    }

    /// The virtual host with this id.
    #[must_use]
    pub fn virtual_host(&self, id: VirtualHostId) -> Option<&VirtualHost> {
        self.virtual_hosts().map(|(_, virtual_host)| virtual_host).find(|host| host.id == id)
    }

    /// The route with this id.
    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.virtual_hosts().flat_map(|(_, host)| &host.routes).find(|route| route.id == id)
    }
}
