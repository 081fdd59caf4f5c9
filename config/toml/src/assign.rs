//! From positions in the file to ids that survive a reload.

use sluice_base::ClusterId;
use sluice_config_model::{Config, IdRegistry, Protocol, RouteAction};

/// Replaces the positions that stand for ids by ids of the registry.
pub(crate) fn ids(config: &mut Config, registry: &mut IdRegistry) {
    registry.begin();
    for interface in &mut config.interfaces {
        interface.id = registry.interface(&interface.name);
    }
    for cluster in &mut config.clusters {
        cluster.id = registry.cluster(&cluster.name);
        for endpoint in &mut cluster.endpoints {
            endpoint.id = registry.endpoint(cluster.id, endpoint.address);
        }
    }
    let clusters: Vec<_> = config.clusters.iter().map(|cluster| cluster.id).collect();
    // A reader gives only positions of clusters that it has seen.
    let real = |position: ClusterId| clusters.get(position.index()).copied().unwrap_or(position);
    for listener in &mut config.listeners {
        listener.id = registry.listener(&listener.name);
        match &mut listener.protocol {
            Protocol::Tcp { cluster } | Protocol::Udp { cluster, .. } => *cluster = real(*cluster),
            Protocol::Http(http) => {
                for host in &mut http.virtual_hosts {
                    host.id = registry.virtual_host(listener.id, &host.name);
                    for (position, route) in (0..).zip(&mut host.routes) {
                        route.id = registry.route(host.id, route.name.as_deref(), position);
                        resolve(&mut route.action, real);
                    }
                }
            }
        }
    }
    registry.finish();
}

fn resolve(action: &mut RouteAction, real: impl Fn(ClusterId) -> ClusterId) {
    match action {
        RouteAction::Cluster(cluster) => *cluster = real(*cluster),
        RouteAction::WeightedClusters(entries) => {
            for entry in entries {
                entry.cluster = real(entry.cluster);
            }
        }
        RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => {}
    }
}
