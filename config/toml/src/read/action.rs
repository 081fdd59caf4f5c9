//! What a route does with a request: exactly one of four.

use sluice_config_model::{
    DirectResponse, PathMatch, Redirect, RedirectPath, RouteAction, Scheme, WeightedCluster,
    defaults,
};
use toml::de::DeValue;

use super::{Clusters, route};
use crate::http;
use crate::limits::{BODY_BYTES_MAX, WEIGHTED_MAX};
use crate::report::Report;
use crate::schema;
use crate::section::Section;
use crate::value::Value;

pub(super) fn action(
    section: &mut Section<'_>,
    clusters: &mut Clusters,
    path: Option<&PathMatch>,
    report: &mut Report<'_>,
) -> Option<RouteAction> {
    const KEYS: [&str; 4] = ["cluster", "weighted_clusters", "redirect", "direct_response"];
    let given: Vec<_> = KEYS.into_iter().filter_map(|key| section.take(key)).collect();
    match given.as_slice() {
        [] => {
            report
                .error(section.span, "the route has no action")
                .label("what happens to its requests is missing here")
                .hint("one of `cluster`, `weighted_clusters`, `redirect` and `direct_response`");
        }
        [_] => {}
        [first, second, ..] => {
            report
                .error(
                    second.key_span,
                    format!("the route has both `{}` and `{}`", first.key, second.key),
                )
                .hint("a route has one action");
        }
    }
    let mut actions: Vec<_> = given
        .into_iter()
        .filter_map(|value| match value.key {
            "cluster" => clusters.refer(value, report).map(RouteAction::Cluster),
            "weighted_clusters" => weighted(value, clusters, report),
            "redirect" => redirect(value, path, report).map(RouteAction::Redirect),
            _ => direct_response(value, report).map(RouteAction::DirectResponse),
        })
        .collect();
    actions.pop()
}

fn weighted(
    value: Value<'_>,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Option<RouteAction> {
    let (span, is_list) = (value.span(), matches!(value.value.get_ref(), DeValue::Array(_)));
    let mut entries: Vec<WeightedCluster> = Vec::new();
    let sections = value.sections(&schema::WEIGHTED_CLUSTER, WEIGHTED_MAX, report);
    let given = sections.len();
    for mut section in sections {
        let cluster = section.require("cluster", report);
        let cluster_span = cluster.as_ref().map(Value::span);
        let cluster = cluster.and_then(|value| clusters.refer(value, report));
        let weight = section.require("weight", report);
        let weight = weight.and_then(|value| value.integer(0..=1_000_000, report));
        section.close(report);
        let (Some(cluster), Some(weight), Some(span)) = (cluster, weight, cluster_span) else {
            continue;
        };
        if entries.iter().any(|entry| entry.cluster == cluster) {
            report.error(span, "this cluster is listed twice in the same route");
        }
        entries.push(WeightedCluster { cluster, weight: weight.value });
    }
    let is_complete = is_list && entries.len() == given;
    if is_complete && entries.iter().all(|entry| entry.weight == 0) {
        report
            .error(span, "`weighted_clusters` needs an entry with a weight above 0")
            .hint("as in [{ cluster = \"old\", weight = 90 }, { cluster = \"new\", weight = 10 }]");
    }
    Some(RouteAction::WeightedClusters(entries))
}

fn redirect(
    value: Value<'_>,
    path: Option<&PathMatch>,
    report: &mut Report<'_>,
) -> Option<Redirect> {
    let mut section = value.section(&schema::REDIRECT, report)?;
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let scheme = section.take("scheme").and_then(|value| value.word(&schemes, &[], report));
    let host = section.take("host").and_then(|value| http::host(value, false, report));
    let port = section.take("port").and_then(|value| value.integer(1..=65_535, report));
    let full = section.take("path");
    let prefix = section.take("prefix_rewrite");
    if let (Some(_), Some(prefix)) = (&full, &prefix) {
        report.error(prefix.key_span, "the redirect has both `path` and `prefix_rewrite`");
    }
    let changes = scheme.is_some() || host.is_some() || port.is_some();
    if !changes && full.is_none() && prefix.is_none() {
        report
            .error(section.span, "the redirect leads back to where the request came from")
            .hint("at least one of `scheme`, `host`, `port`, `path` and `prefix_rewrite`");
    }
    let full = full.and_then(|value| http::path(value, report));
    let prefix = prefix.and_then(|value| route::rewrite(value, path, report));
    let strip_query = section.take("strip_query").and_then(|value| value.boolean(report));
    let status = section.take("status").map(|value| {
        let words = [301, 302, 303, 307, 308];
        let span = value.span();
        let status = value.integer::<u16>(300..=399, report);
        if let Some(at) = status.as_ref().filter(|at| !words.contains(&at.value)) {
            report
                .error(span, format!("{} is not the status of a redirect", at.value))
                .hint("301 and 308 are permanent, 302, 303 and 307 are not");
        }
        status.map_or(defaults::REDIRECT_STATUS, |at| at.value)
    });
    section.close(report);
    Some(Redirect {
        scheme: scheme.map(|at| at.value),
        host: host.map(|at| at.value),
        port: port.map(|at| at.value),
        path: full
            .map(|at| RedirectPath::Full(at.value))
            .or(prefix.map(|at| RedirectPath::Prefix(at.value))),
        strip_query: strip_query.is_some_and(|at| at.value),
        status: status.unwrap_or(defaults::REDIRECT_STATUS),
    })
}

fn direct_response(value: Value<'_>, report: &mut Report<'_>) -> Option<DirectResponse> {
    let mut section = value.section(&schema::DIRECT_RESPONSE, report)?;
    let status = section.require("status", report);
    let status = status.and_then(|value| value.integer::<u16>(200..=599, report));
    let body = section.take("body").and_then(|value| value.text(report));
    section.close(report);
    if let Some(body) = &body
        && body.value.len() > BODY_BYTES_MAX
    {
        report
            .error(body.span, format!("the body is longer than {BODY_BYTES_MAX} bytes"))
            .hint("larger answers belong to a backend");
    }
    if let (Some(status), Some(body)) = (&status, &body)
        && matches!(status.value, 204 | 205 | 304)
        && !body.value.is_empty()
    {
        report.error(body.span, format!("a response with status {} has no body", status.value));
    }
    let body = body.map(|at| at.value).unwrap_or_default();
    Some(DirectResponse { status: status?.value, body })
}
