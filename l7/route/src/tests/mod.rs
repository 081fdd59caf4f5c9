//! Whole tables and whole targets, beside naive twins.

mod actions;
mod domains;
mod explain;
mod paths;
mod tables;

use sluice_base::{ClusterId, RouteId, VirtualHostId};
use sluice_config_model::{
    BackOff, ConnectionLife, DomainPattern, GrpcTimeout, Http2Settings, HttpListener, PathMatch,
    Route, RouteAction, RouteMatch, VirtualHost,
};
use sluice_l7_core::{Head, Method};

use crate::RouteTable;

/// A listener with these virtual hosts; ids are given in order.
pub(crate) fn listener(mut virtual_hosts: Vec<VirtualHost>) -> HttpListener {
    let mut route_id = 0;
    for (index, host) in virtual_hosts.iter_mut().enumerate() {
        host.id = VirtualHostId(index as u32);
        for route in &mut host.routes {
            route.id = RouteId(route_id);
            route_id += 1;
        }
    }
    HttpListener {
        virtual_hosts,
        header_timeout: None,
        stream_idle_timeout: None,
        max_request_line: 8_192,
        max_header_bytes: 65_536,
        max_headers: 100,
        max_body: None,
        allow_connect: false,
        life: ConnectionLife::default(),
        http2: Http2Settings::default(),
    }
}

pub(crate) fn table(virtual_hosts: Vec<VirtualHost>) -> RouteTable {
    RouteTable::compile(&listener(virtual_hosts)).expect("valid")
}

/// A virtual host by its domains as configuration writes them.
pub(crate) fn host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    let domain = |text: &&str| match *text {
        "*" => DomainPattern::Any,
        text => match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(suffix), _) => DomainPattern::Suffix(suffix.to_owned()),
            (_, Some(prefix)) => DomainPattern::Prefix(prefix.to_owned()),
            (None, None) => DomainPattern::Exact(text.to_owned()),
        },
    };
    VirtualHost {
        id: VirtualHostId(0),
        name: name.to_owned(),
        domains: domains.iter().map(domain).collect(),
        routes,
    }
}

/// A route to cluster 0 without further conditions.
pub(crate) fn route(path: PathMatch) -> Route {
    Route {
        id: RouteId(0),
        name: None,
        matcher: RouteMatch { path, method: None, headers: Vec::new(), query: Vec::new() },
        action: RouteAction::Cluster(ClusterId(0)),
        host_rewrite: None,
        prefix_rewrite: None,
        request_headers_add: Vec::new(),
        request_headers_remove: Vec::new(),
        response_headers_add: Vec::new(),
        response_headers_remove: Vec::new(),
        timeout: None,
        retries: 0,
        retry_back_off: BackOff::NONE,
        retry_on: Vec::new(),
        grpc_timeout: GrpcTimeout::Besides,
    }
}

pub(crate) fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix(text.to_owned())
}

pub(crate) fn exact(text: &str) -> PathMatch {
    PathMatch::Exact(text.to_owned())
}

pub(crate) fn regex(text: &str) -> PathMatch {
    PathMatch::Regex(text.to_owned())
}

pub(crate) fn get(authority: &str, target: &str) -> Head {
    let mut head = Head::new();
    head.reset_to_request(Method::Get, authority.as_bytes(), target.as_bytes());
    head
}
