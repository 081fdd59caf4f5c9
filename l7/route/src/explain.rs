//! Why a request goes where it goes, for people.
//!
//! Answers by the definition, one comparison after the other, and not by the compiled index: so a
//! user sees every route that was passed over and why, and tests have a second opinion.

use std::fmt;

use sluice_base::{RouteId, VirtualHostId};
use sluice_config_model::DomainPattern;
use sluice_l7_core::Head;

use crate::domain::{self, host_of};
use crate::{Path, RouteTable, VirtualHost};

/// One step of the way to a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExplainStep {
    /// This virtual host answers for the request's host.
    VirtualHost {
        /// Which one.
        id: VirtualHostId,
        /// The operator's name for it.
        name: String,
        /// The request's host, without port.
        host: String,
        /// The domain that decided, as configuration writes it.
        domain: String,
    },
    /// No virtual host does.
    NoVirtualHost {
        /// The request's host, without port.
        host: String,
    },
    /// The route does not take the request.
    Passed {
        /// Which one.
        id: RouteId,
        /// Its name, or position.
        route: String,
        /// The first condition that does not hold.
        mismatch: Mismatch,
    },
    /// The route takes the request; those behind it are not looked at.
    Taken {
        /// Which one.
        id: RouteId,
        /// Its name, or position.
        route: String,
        /// Its condition on the path.
        path: String,
    },
    /// No route of the virtual host takes it.
    NoRoute,
}

/// A condition that does not hold, and what was found instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// On the path.
    Path {
        /// What the route wants.
        wanted: String,
    },
    /// On the method.
    Method {
        /// What the route wants.
        wanted: String,
    },
    /// On a header field.
    Header {
        /// Its name.
        name: String,
        /// What the route wants.
        wanted: String,
        /// The request's value.
        found: Option<String>,
    },
    /// On a query parameter.
    Query {
        /// Its name.
        name: String,
        /// What the route wants.
        wanted: String,
        /// The request's value, as sent.
        found: Option<String>,
    },
}

impl RouteTable {
    /// The way of a request through the table; the last step tells the result.
    #[must_use]
    pub fn explain(&self, head: &Head, path: &Path<'_>) -> Vec<ExplainStep> {
        let host_text = host_of(head.authority()).escape_ascii().to_string();
        let Some((host, domain)) = self.host_by_definition(head.authority()) else {
            return vec![ExplainStep::NoVirtualHost { host: host_text }];
        };
        let mut steps = vec![ExplainStep::VirtualHost {
            id: host.id,
            name: host.name.to_string(),
            host: host_text,
            domain: domain::show(domain),
        }];
        for route in host.routes() {
            let (id, name) = (route.id, route.name.to_string());
            match route.matcher.mismatch(head, path) {
                Some(mismatch) => steps.push(ExplainStep::Passed { id, route: name, mismatch }),
                None => {
                    let path = route.matcher.path.to_string();
                    steps.push(ExplainStep::Taken { id, route: name, path });
                    return steps;
                }
            }
        }
        steps.push(ExplainStep::NoRoute);
        steps
    }

    /// The most specific domain of all that take the authority.
    pub(crate) fn host_by_definition(
        &self,
        authority: &[u8],
    ) -> Option<(&VirtualHost, &DomainPattern)> {
        let all = self.hosts.iter();
        let all = all.flat_map(|host| host.domains.iter().map(move |domain| (host, domain)));
        all.filter(|(_, domain)| domain::takes(domain, authority))
            .max_by_key(|(_, domain)| specificity(domain))
    }
}

/// Exact before suffix before prefix before any, and longer before shorter.
fn specificity(domain: &DomainPattern) -> (u8, usize) {
    match domain {
        DomainPattern::Exact(_) => (3, 0),
        DomainPattern::Suffix(text) => (2, text.len()),
        DomainPattern::Prefix(text) => (1, text.len()),
        DomainPattern::Any => (0, 0),
    }
}

impl fmt::Display for ExplainStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualHost { name, host, domain, .. } => {
                write!(f, "virtual host `{name}`: domain \"{domain}\" takes host \"{host}\"")
            }
            Self::NoVirtualHost { host } => {
                write!(f, "no virtual host has a domain for host \"{host}\"")
            }
            Self::Passed { route, mismatch, .. } => write!(f, "route `{route}` no: {mismatch}"),
            Self::Taken { route, path, .. } => write!(f, "route `{route}` yes: the path {path}"),
            Self::NoRoute => f.write_str("no route of the virtual host takes the request"),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = |f: &mut fmt::Formatter<'_>, found: &Option<String>| match found {
            Some(value) => write!(f, " (it is \"{value}\")"),
            None => f.write_str(" (there is none)"),
        };
        match self {
            Self::Path { wanted } => write!(f, "wants a path that {wanted}"),
            Self::Method { wanted } => write!(f, "wants method {wanted}"),
            Self::Header { name, wanted, found: value } => {
                write!(f, "wants a header {name} that {wanted}")?;
                found(f, value)
            }
            Self::Query { name, wanted, found: value } => {
                write!(f, "wants a query parameter {name} that {wanted}")?;
                found(f, value)
            }
        }
    }
}
