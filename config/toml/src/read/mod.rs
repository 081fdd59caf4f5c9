//! The sections of the file, each read by the file of its name.
//!
//! Clusters are read before listeners, so that a reference to a cluster is looked up where it
//! stands. Ids are positions in the file until [`crate::assign`] asks the registry for real ones.

mod action;
mod admin;
mod cluster;
mod http2;
mod impairment;
mod interface;
mod listener;
mod route;
mod rule;
mod runtime;
mod tcp;
mod virtual_host;

use std::collections::BTreeMap;

use sluice_config_model::Config;
use toml::de::DeTable;

use crate::check;
use crate::limits::{INTERFACES_MAX, SECTIONS_MAX};
use crate::report::{Report, Span};
use crate::schema;
use crate::section::Section;

pub(crate) use cluster::Clusters;
pub(crate) use interface::Interfaces;

/// Reads a whole file. What it returns is only valid if `report` has no error.
pub(crate) fn file(text: &str, report: &mut Report<'_>) -> Config {
    let mut config = Config::default();
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        // What was recovered is incomplete, and complaints about it would be noise.
        for error in syntax_errors {
            let span = error.span().map(Span::from).unwrap_or_default();
            let written = text.get(span.start..span.end).unwrap_or_default();
            if is_bare_word(written) && error.message().starts_with("invalid float") {
                report
                    .error(span, format!("`{written}` is not a value"))
                    .label("not valid TOML")
                    .hint(format!("a text stands in quotes: \"{written}\""));
                continue;
            }
            let message = error.message().replace('\n', ", ");
            report.error(span, message).label("not valid TOML");
        }
        return config;
    }
    let root = root.into_inner();
    if root.is_empty() {
        report
            .error(Span::default(), "the file is empty: there is no [[interface]] to run on")
            .hint("examples/demo.toml is a file to start from");
        return config;
    }
    let mut root = Section::root(&schema::FILE, root);
    if let Some(value) = root.take("node") {
        config.node = value
            .section(&schema::NODE, report)
            .map_or_else(Default::default, |section| runtime::node(section, report));
    }
    if let Some(section) =
        root.take("runtime").and_then(|value| value.section(&schema::RUNTIME, report))
    {
        config.runtime = runtime::runtime(section, report);
    }
    let sections = root
        .require("interface", report)
        .map(|value| value.sections(&schema::INTERFACE, INTERFACES_MAX, report))
        .unwrap_or_default();
    let mut interfaces = Interfaces::default();
    for section in sections {
        config.interfaces.push(interface::interface(section, &mut interfaces, report));
    }
    if let Some(value) = root.take("ip_route") {
        let mut seen = BTreeMap::new();
        for section in value.sections(&schema::IP_ROUTE, SECTIONS_MAX, report) {
            config.ip_routes.extend(interface::ip_route(section, &interfaces, &mut seen, report));
        }
    }
    let mut clusters = Clusters::default();
    if let Some(value) = root.take("cluster") {
        for section in value.sections(&schema::CLUSTER, SECTIONS_MAX, report) {
            config.clusters.push(cluster::cluster(section, &mut clusters, report));
        }
    }
    if let Some(value) = root.take("listener") {
        let mut listeners = listener::Listeners::default();
        for section in value.sections(&schema::LISTENER, SECTIONS_MAX, report) {
            let context = listener::Context { interfaces: &interfaces, clusters: &mut clusters };
            let listener = listener::listener(section, &mut listeners, context, report);
            config.listeners.extend(listener);
        }
    }
    if let Some(section) =
        root.take("admin").and_then(|value| value.section(&schema::ADMIN, report))
    {
        config.admin = admin::admin(section, report);
    }
    if let Some(section) =
        root.take("access_log").and_then(|value| value.section(&schema::ACCESS_LOG, report))
    {
        config.access_log = Some(admin::access_log(section, report));
    }
    root.close(report);
    check::across_sections(&config, &interfaces, &clusters, report);
    config
}

/// Whether a text was most likely meant as a string without its quotes.
fn is_bare_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
