//! What the ids in a record are called.

use sluice_base::{ClusterId, ListenerId, RouteId};
use sluice_config_model::Config;

/// Names by id. An id that is gone keeps its name until it is given again, so records of requests
/// that began under an older configuration have theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    listeners: Vec<Option<String>>,
    clusters: Vec<Option<String>>,
    routes: Vec<Option<String>>,
}

impl Names {
    /// Adds the names of a configuration. Routes without one keep none.
    pub(super) fn learn(&mut self, config: &Config) {
        for listener in &config.listeners {
            put(&mut self.listeners, listener.id.index(), Some(&listener.name));
        }
        for cluster in &config.clusters {
            put(&mut self.clusters, cluster.id.index(), Some(&cluster.name));
        }
        for route in config.virtual_hosts().flat_map(|(_, host)| &host.routes) {
            put(&mut self.routes, route.id.index(), route.name.as_deref());
        }
    }

    pub(super) fn listener(&self, id: ListenerId) -> Option<&str> {
        self.listeners.get(id.index())?.as_deref()
    }

    pub(super) fn cluster(&self, id: ClusterId) -> Option<&str> {
        self.clusters.get(id.index())?.as_deref()
    }

    pub(super) fn route(&self, id: RouteId) -> Option<&str> {
        self.routes.get(id.index())?.as_deref()
    }
}

fn put(table: &mut Vec<Option<String>>, index: usize, name: Option<&str>) {
    if table.len() <= index {
        table.resize(index + 1, None);
    }
    if table[index].as_deref() != name {
        table[index] = name.map(str::to_owned);
    }
}
