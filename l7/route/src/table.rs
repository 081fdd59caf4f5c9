//! The routes of one listener.
//!
//! Routes of a virtual host are tried in order and the first that matches wins. Compiled, nobody is
//! tried whose path cannot match: exact paths stand in a hash map, prefixes (and the literal
//! beginnings of expressions) in a trie, each with its routes in order. A request looks at the few
//! lists that its path selects and keeps the earliest route that takes it; a list is left as soon
//! as its next route comes after the best one so far. What remains linear is what the operator
//! wrote so: many routes on one path, told apart by headers, or expressions that begin alike.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_base::{RouteId, VirtualHostId};
use sluice_config_model::{
    BackOff, Connect, DomainPattern, GrpcTimeout, HttpListener, RetryOn, Route,
};
use sluice_l7_core::{Head, HeaderEdits};

use crate::byte_map::ByteMap;
use crate::domain::Domains;
use crate::edits::{self, Matched, PrefixRewrite};
use crate::matcher::{Matcher, PathPattern};
use crate::pattern::RegexError;
use crate::prefix_trie::PrefixTrie;
use crate::{Action, CompileError, NoMatch, Path};

/// Virtual hosts and routes of one listener; immutable.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    pub(crate) domains: Domains,
    pub(crate) hosts: Box<[VirtualHost]>,
    /// Virtual host and position of each route, by id.
    by_id: Box<[(RouteId, u32, u32)]>,
}

/// A virtual host and its routes.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Stable across snapshots while its name stays.
    pub id: VirtualHostId,
    /// The operator's name for it.
    pub name: Box<str>,
    pub(crate) domains: Box<[DomainPattern]>,
    routes: Box<[CompiledRoute]>,
    /// Index into `exact_lists` by path.
    exact: ByteMap,
    exact_lists: Box<[Box<[u32]>]>,
    prefixes: PrefixTrie,
    /// Routes for CONNECT, by index.
    connect: Box<[u32]>,
}

/// A route: which requests it takes is hidden, what it does with them is for the proxy.
#[derive(Clone, Debug)]
pub struct CompiledRoute {
    /// Stable across snapshots while its name or position stays.
    pub id: RouteId,
    /// The virtual host it belongs to.
    pub virtual_host: VirtualHostId,
    /// The operator's name for it, or its position (`#3`, from 1 on).
    pub name: Box<str>,
    /// What happens to the request.
    pub action: Action,
    /// From the end of the request to the end of the response; None: unlimited.
    pub timeout: Option<Duration>,
    /// How often a request whose connection failed is sent again.
    pub retries: u8,
    /// How long is waited before that.
    pub retry_back_off: BackOff,
    /// What an endpoint may also answer for the request to be sent again.
    pub retry_on: Box<[RetryOn]>,
    /// What becomes of the deadline that a call of gRPC names.
    pub grpc_timeout: GrpcTimeout,
    /// The Host to send upstream; None: the request's. Applied by [`CompiledRoute::rewrite`].
    pub host_rewrite: Option<Box<[u8]>>,
    /// Changes to the request's fields on the way upstream.
    pub request_edits: HeaderEdits,
    /// Changes to the response's fields on the way downstream.
    pub response_edits: HeaderEdits,
    pub(crate) prefix_rewrite: Option<PrefixRewrite>,
    pub(crate) matcher: Matcher,
}

impl RouteTable {
    /// Compiles the virtual hosts of a listener.
    ///
    /// # Errors
    /// [`CompileError`], with virtual host and route; configuration from files has been checked for
    /// all of these before.
    pub fn compile(listener: &HttpListener) -> Result<Self, CompileError> {
        let hosts = listener.virtual_hosts.iter().map(VirtualHost::compile);
        let hosts = hosts.collect::<Result<Box<[_]>, _>>()?;
        let mut by_id: Vec<_> = (0..).zip(&hosts).flat_map(|(at, host)| host.ids(at)).collect();
        by_id.sort_unstable();
        Ok(Self { domains: Domains::compile(&listener.virtual_hosts)?, hosts, by_id: by_id.into() })
    }

    /// The route with this id.
    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&CompiledRoute> {
        let at = self.by_id.binary_search_by_key(&id, |(id, ..)| *id).ok()?;
        let (_, host, position) = self.by_id[at];
        self.hosts.get(host as usize)?.routes.get(position as usize)
    }

    /// The route of a request; `path` is that of `head`, normalised.
    ///
    /// # Errors
    /// [`NoMatch`]: answer 404.
    #[inline]
    pub fn find(&self, head: &Head, path: &Path<'_>) -> Result<&CompiledRoute, NoMatch> {
        let host = self.virtual_host(head.authority()).ok_or(NoMatch::NoVirtualHost)?;
        host.find(head, path).ok_or(NoMatch::NoRoute)
    }

    /// The route of a CONNECT, which has no path.
    ///
    /// # Errors
    /// [`NoMatch`]: answer 404.
    pub fn find_connect(&self, head: &Head) -> Result<&CompiledRoute, NoMatch> {
        let host = self.virtual_host(head.authority()).ok_or(NoMatch::NoVirtualHost)?;
        let routes = host.connect.iter().map(|index| &host.routes[*index as usize]);
        routes.into_iter().find(|route| route.matcher.takes_connect(head)).ok_or(NoMatch::NoRoute)
    }

    /// The virtual host that answers for an authority (host, perhaps with a port).
    #[inline]
    #[must_use]
    pub fn virtual_host(&self, authority: &[u8]) -> Option<&VirtualHost> {
        self.hosts.get(self.domains.find(authority)? as usize)
    }

    /// Every virtual host, in the order of the configuration.
    #[must_use]
    pub fn virtual_hosts(&self) -> &[VirtualHost] {
        &self.hosts
    }
}

impl VirtualHost {
    fn compile(host: &sluice_config_model::VirtualHost) -> Result<Self, CompileError> {
        let mut routes = Vec::with_capacity(host.routes.len());
        let (mut exact, mut prefixes) = (BTreeMap::new(), BTreeMap::new());
        let mut connect = Vec::new();
        for (index, route) in host.routes.iter().enumerate() {
            let route = CompiledRoute::compile(host, index, route)?;
            let enter = |lists: &mut BTreeMap<Vec<u8>, Vec<u32>>, key: &[u8]| {
                lists.entry(key.to_vec()).or_default().push(index as u32);
            };
            match &route.matcher.path {
                PathPattern::Exact(path) => enter(&mut exact, path),
                PathPattern::Prefix(prefix) => enter(&mut prefixes, prefix),
                PathPattern::Regex(regex) => enter(&mut prefixes, regex.prefix()),
                PathPattern::Connect(_) => connect.push(index as u32),
            }
            routes.push(route);
        }
        let entries = exact.keys().enumerate().map(|(at, path)| (&path[..], at as u32));
        Ok(Self {
            id: host.id,
            name: host.name.as_str().into(),
            domains: host.domains.as_slice().into(),
            routes: routes.into(),
            exact: ByteMap::new(entries),
            exact_lists: exact.values().map(|list| list.as_slice().into()).collect(),
            prefixes: PrefixTrie::new(&prefixes),
            connect: connect.into(),
        })
    }

    /// The first route in order that takes the request.
    #[inline]
    pub(crate) fn find(&self, head: &Head, path: &Path<'_>) -> Option<&CompiledRoute> {
        if let [only] = &*self.routes {
            return only.matcher.takes(head, path).then_some(only);
        }
        self.find_indexed(head, path)
    }

    fn find_indexed(&self, head: &Head, path: &Path<'_>) -> Option<&CompiledRoute> {
        let mut best = u32::MAX;
        let mut look_at = |list: &[u32]| {
            let earlier = list.iter().take_while(|index| **index < best);
            let takes =
                |index: &u32| self.routes[*index as usize].matcher.takes_indexed(head, path);
            if let Some(index) = earlier.copied().find(takes) {
                best = index;
            }
        };
        if let Some(at) = self.exact.get(path.path()) {
            look_at(&self.exact_lists[at as usize]);
        }
        self.prefixes.visit(path.path(), look_at);
        self.routes.get(best as usize)
    }

    fn ids(&self, host: u32) -> impl Iterator<Item = (RouteId, u32, u32)> {
        (0..).zip(&self.routes).map(move |(position, route)| (route.id, host, position))
    }

    /// Its routes, in order.
    #[must_use]
    pub fn routes(&self) -> &[CompiledRoute] {
        &self.routes
    }
}

impl CompiledRoute {
    /// What becomes of a tunnel, if the route is for CONNECT.
    #[must_use]
    pub const fn connect(&self) -> Option<Connect> {
        match self.matcher.path {
            PathPattern::Connect(connect) => Some(connect),
            PathPattern::Exact(_) | PathPattern::Prefix(_) | PathPattern::Regex(_) => None,
        }
    }

    fn compile(
        host: &sluice_config_model::VirtualHost,
        index: usize,
        route: &Route,
    ) -> Result<Self, CompileError> {
        let name = route.name.clone().unwrap_or_else(|| format!("#{}", index + 1));
        let matcher = Matcher::compile(&route.matcher);
        let matcher = matcher.map_err(|RegexError { text, reason }| CompileError::Regex {
            virtual_host: host.name.clone(),
            route: name.clone(),
            text,
            reason,
        })?;
        let matched = Matched::by(&matcher.path);
        let action = Action::compile(&route.action, matched).ok_or_else(|| {
            CompileError::Weights { virtual_host: host.name.clone(), route: name.clone() }
        })?;
        let (request_edits, response_edits) = edits::header_edits(route);
        Ok(Self {
            id: route.id,
            virtual_host: host.id,
            name: name.into(),
            action,
            timeout: route.timeout,
            retries: route.retries,
            retry_back_off: route.retry_back_off,
            retry_on: route.retry_on.as_slice().into(),
            grpc_timeout: route.grpc_timeout,
            host_rewrite: route.host_rewrite.as_deref().map(|host| host.as_bytes().into()),
            request_edits,
            response_edits,
            prefix_rewrite: PrefixRewrite::compile(route, matched),
            matcher,
        })
    }
}
