//! `[[listener.virtual_host]]`.

use std::collections::{BTreeMap, BTreeSet};

use sluice_base::VirtualHostId;
use sluice_config_model::{DomainPattern, PathMatch, Route, VirtualHost};
use toml::de::DeValue;

use super::listener::Listeners;
use super::{Clusters, route};
use crate::http;
use crate::limits::{DOMAINS_MAX, SECTIONS_MAX};
use crate::report::{At, Report, Span};
use crate::schema;
use crate::section::Section;
use crate::value::Value;

/// The virtual hosts of one listener.
pub(super) fn all(
    value: Value<'_>,
    known: &mut Listeners,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Vec<VirtualHost> {
    let span = value.span();
    let is_list = matches!(value.value.get_ref(), DeValue::Array(_));
    let sections = value.sections(&schema::VIRTUAL_HOST, SECTIONS_MAX, report);
    if sections.is_empty() && is_list {
        report.error(span, "`virtual_host` needs at least one entry");
    }
    let (mut names, mut domains) = (BTreeMap::new(), BTreeMap::new());
    let mut hosts = Vec::new();
    for section in sections {
        hosts.extend(virtual_host(section, &mut names, &mut domains, known, clusters, report));
    }
    hosts
}

fn virtual_host(
    mut section: Section<'_>,
    names: &mut BTreeMap<String, Span>,
    all_domains: &mut BTreeMap<DomainPattern, Span>,
    known: &mut Listeners,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Option<VirtualHost> {
    let name = section.take("name").and_then(|value| value.name(report));
    let domains = section.require("domains", report);
    let domains = domains.map(|value| domains_of(value, all_domains, report)).unwrap_or_default();
    let routes = section.require("route", report);
    let routes = routes.map(|value| routes_of(value, known, clusters, report)).unwrap_or_default();
    section.close(report);
    let (name, span) = match name {
        Some(at) => (at.value, at.span),
        None => (show(&domains.first()?.value), domains.first()?.span),
    };
    if let Some(first) = names.insert(name.clone(), span) {
        let line = report.line(first);
        report
            .error(span, format!("virtual host `{name}` exists already in this listener"))
            .hint(format!("the first one is at line {line}; names are unique"));
    }
    let domains = domains.into_iter().map(|at| at.value).collect();
    Some(VirtualHost { id: VirtualHostId(0), name, domains, routes })
}

fn domains_of(
    value: Value<'_>,
    all: &mut BTreeMap<DomainPattern, Span>,
    report: &mut Report<'_>,
) -> Vec<At<DomainPattern>> {
    let span = value.span();
    let is_list = matches!(value.value.get_ref(), DeValue::Array(_));
    let entries = value.list(DOMAINS_MAX, report);
    if entries.is_empty() && is_list {
        report
            .error(span, "`domains` needs at least one domain")
            .hint("[\"*\"] answers for every host");
    }
    let mut domains = Vec::new();
    for entry in entries {
        let Some(at) = http::domain(entry, report) else { continue };
        if let Some(first) = all.insert(at.value.clone(), at.span) {
            let line = report.line(first);
            report
                .error(at.span, format!("domain \"{}\" is taken in this listener", show(&at.value)))
                .hint(format!("it is listed at line {line}; a request has one virtual host"));
        }
        domains.push(at);
    }
    domains
}

/// A pattern as it is written in the file.
fn show(pattern: &DomainPattern) -> String {
    match pattern {
        DomainPattern::Exact(name) => name.clone(),
        DomainPattern::Suffix(suffix) => format!("*{suffix}"),
        DomainPattern::Prefix(prefix) => format!("{prefix}*"),
        DomainPattern::Any => "*".to_owned(),
    }
}

fn routes_of(
    value: Value<'_>,
    known: &mut Listeners,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Vec<Route> {
    let span = value.span();
    let is_list = matches!(value.value.get_ref(), DeValue::Array(_));
    let room = SECTIONS_MAX.saturating_sub(known.routes);
    let sections = value.sections(&schema::ROUTE, room, report);
    if sections.is_empty() && is_list {
        report.error(span, "`route` needs at least one entry");
    }
    known.routes += sections.len();
    let mut names = BTreeMap::new();
    let mut catching = Catching::default();
    let mut routes = Vec::new();
    for section in sections {
        let span = section.span;
        let Some(route) = route::route(section, &mut names, clusters, report) else { continue };
        catching.check(&route, span, report);
        routes.push(route);
    }
    routes
}

/// Paths that an earlier route takes whatever else the request says.
#[derive(Default)]
struct Catching {
    prefixes: BTreeMap<String, Span>,
    exact: BTreeSet<String>,
    /// A route that takes every CONNECT.
    connect: Option<Span>,
}

impl Catching {
    /// Warns of a route that no request reaches, and remembers what this one takes.
    fn check(&mut self, route: &Route, span: Span, report: &mut Report<'_>) {
        let matcher = &route.matcher;
        let taken_by = match &matcher.path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => {
                let ends = (1..=path.len()).filter_map(|end| path.get(..end));
                ends.filter_map(|prefix| self.prefixes.get(prefix)).next()
            }
            PathMatch::Regex(_) => self.prefixes.get("/"),
            PathMatch::Connect(_) => self.connect.as_ref(),
        };
        if let Some(first) = taken_by {
            let line = report.line(*first);
            report
                .warning(span, "this route is never reached")
                .label("an earlier route takes its requests")
                .hint(format!("routes are tried in order; move it before the one at line {line}"));
        }
        let unconditional =
            matcher.method.is_none() && matcher.headers.is_empty() && matcher.query.is_empty();
        match &matcher.path {
            PathMatch::Exact(path) if self.exact.contains(path) && taken_by.is_none() => {
                report.warning(span, format!("this route is never reached: \"{path}\" is taken"));
            }
            PathMatch::Exact(path) if unconditional => {
                self.exact.insert(path.clone());
            }
            PathMatch::Prefix(path) if unconditional => {
                self.prefixes.entry(path.clone()).or_insert(span);
            }
            PathMatch::Connect(_) if unconditional => self.connect = self.connect.or(Some(span)),
            PathMatch::Exact(_)
            | PathMatch::Prefix(_)
            | PathMatch::Regex(_)
            | PathMatch::Connect(_) => {}
        }
    }
}
