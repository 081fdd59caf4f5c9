//! `[[listener.virtual_host.route]]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use sluice_base::RouteId;
use sluice_config_model::{
    BackOff, Connect, GrpcTimeout, HeaderMatch, HeaderValue, PathMatch, QueryMatch, RetryOn, Route,
    RouteAction, RouteMatch, StringMatch, defaults,
};

use super::cluster::unless_zero;
use super::{Clusters, action};
use crate::http;
use crate::limits::RULES_MAX;
use crate::report::{At, Report, Span};
use crate::schema;
use crate::section::Section;
use crate::value::Value;

pub(super) fn route(
    mut section: Section<'_>,
    names: &mut BTreeMap<String, Span>,
    clusters: &mut Clusters,
    report: &mut Report<'_>,
) -> Option<Route> {
    let name = section.take("name").and_then(|value| value.name(report));
    if let Some(at) = &name
        && let Some(first) = names.insert(at.value.clone(), at.span)
    {
        let line = report.line(first);
        report
            .error(at.span, format!("route `{}` exists already in this virtual host", at.value))
            .hint(format!("the first one is at line {line}; names are unique"));
    }
    let path = path_match(&mut section, report);
    let method = section.take("method").and_then(|value| http::method(value, report));
    let headers = matchers(&mut section, "headers", report);
    let query = matchers(&mut section, "query", report);
    let action = action::action(&mut section, clusters, path.as_ref(), report);
    let mut meaningless = Vec::new();
    let forwards = action.as_ref().is_none_or(|action| {
        matches!(action, RouteAction::Cluster(_) | RouteAction::WeightedClusters(_))
    });
    let mut take = |key| {
        let value = section.take(key);
        if let Some(value) = value.as_ref().filter(|_| !forwards) {
            meaningless.push((value.key, value.key_span));
        }
        value
    };
    let host_rewrite = take("host_rewrite");
    let prefix_rewrite = take("prefix_rewrite");
    let request_add = take("request_headers_add");
    let request_remove = take("request_headers_remove");
    let timeout = take("timeout");
    let retries = take("retries");
    let retry_on = take("retry_on");
    let back_off = take("retry_back_off");
    let header_max = take("grpc_timeout_header_max");
    for (key, span) in meaningless {
        report
            .warning(span, format!("`{key}` has no effect on a route that answers by itself"))
            .hint("only `cluster` and `weighted_clusters` send the request on");
    }
    let host_rewrite = host_rewrite.and_then(|value| http::host(value, true, report));
    let prefix_rewrite = prefix_rewrite.and_then(|value| rewrite(value, path.as_ref(), report));
    let timeout = timeout.and_then(|value| value.duration(report));
    let retries = retries.and_then(|value| value.integer(0..=7, report));
    let retry_on = retry_on.map(|value| conditions(value, retries.as_ref(), report));
    let back_off = back_off.and_then(|value| back_off_of(value, report));
    let header_max = header_max.and_then(|value| value.duration(report));
    let request_headers_add = headers_add(request_add, report);
    let request_headers_remove = headers_remove(request_remove, report);
    let response_headers_add = headers_add(section.take("response_headers_add"), report);
    let response_headers_remove = headers_remove(section.take("response_headers_remove"), report);
    section.close(report);
    Some(Route {
        id: RouteId(0),
        name: name.map(|at| at.value),
        matcher: RouteMatch {
            path: path?,
            method: method.map(|at| at.value),
            headers: headers
                .into_iter()
                .map(|(name, matcher)| HeaderMatch { name, matcher })
                .collect(),
            query: query.into_iter().map(|(name, matcher)| QueryMatch { name, matcher }).collect(),
        },
        action: action?,
        host_rewrite: host_rewrite.map(|at| at.value),
        prefix_rewrite: prefix_rewrite.map(|at| at.value),
        request_headers_add,
        request_headers_remove,
        response_headers_add,
        response_headers_remove,
        timeout: unless_zero(timeout, defaults::ROUTE_TIMEOUT),
        retries: retries.map_or(defaults::RETRIES, |at| at.value),
        retry_back_off: back_off.unwrap_or(BackOff::USUAL),
        retry_on: retry_on.unwrap_or_else(|| defaults::RETRY_ON.to_vec()),
        grpc_timeout: header_max.map_or(GrpcTimeout::Besides, |at| {
            GrpcTimeout::Instead(Some(at.value).filter(|max| !max.is_zero()))
        }),
    })
}

/// How long a request waits before it is sent again.
fn back_off_of(value: Value<'_>, report: &mut Report<'_>) -> Option<BackOff> {
    let mut section = value.section(&schema::RETRY_BACK_OFF, report)?;
    let mut duration = |key| section.take(key).and_then(|value| value.duration(report));
    let (base, max) = (duration("base_interval"), duration("max_interval"));
    let base_interval = base.map_or(defaults::RETRY_BASE_INTERVAL, |at| at.value);
    let usual = base_interval.saturating_mul(defaults::RETRY_MAX_INTERVALS);
    if let Some(at) = max.as_ref().filter(|at| at.value < base_interval) {
        report
            .error(at.span, "`max_interval` is less than `base_interval`")
            .hint("it is where the intervals stop growing; ten times the base without it");
    }
    section.close(report);
    Some(BackOff { base_interval, max_interval: max.map_or(usual, |at| at.value) })
}

/// What a request is sent again for, besides what is always so.
fn conditions(value: Value<'_>, retries: Option<&At<u8>>, report: &mut Report<'_>) -> Vec<RetryOn> {
    let words = RetryOn::ALL.map(|condition| (condition.as_str(), condition));
    let http = "retries by HTTP status come with a later version";
    let later = [
        ("5xx", http),
        ("gateway-error", http),
        ("retriable-4xx", http),
        ("retriable-status-codes", http),
    ];
    let key_span = value.key_span;
    let mut conditions = Vec::new();
    for entry in value.list(16, report) {
        if let DeValue::String(word) = entry.value.get_ref()
            && matches!(&**word, "connect-failure" | "refused-stream" | "reset")
        {
            report
                .error(entry.span(), format!("\"{word}\" is not a word of `retry_on`"))
                .hint("`retries` alone does that, wherever nothing can happen twice");
            continue;
        }
        let Some(at) = entry.word(&words, &later, report) else { continue };
        if conditions.contains(&at.value) {
            let word = at.value.as_str();
            report.error(at.span, format!("\"{word}\" is listed twice in `retry_on`"));
        }
        conditions.push(at.value);
    }
    if !conditions.is_empty() && retries.is_some_and(|at| at.value == 0) {
        report
            .warning(key_span, "`retry_on` has no effect with `retries = 0`")
            .hint("`retries` says how often a request is sent again");
    }
    conditions
}

fn path_match(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<PathMatch> {
    let exact = section.take("path");
    let prefix = section.take("prefix");
    let regex = section.take("regex");
    let connect = section.take("connect");
    let given: Vec<_> = [&exact, &prefix, &regex, &connect]
        .into_iter()
        .flatten()
        .map(|value| (value.key, value.key_span))
        .collect();
    match given.as_slice() {
        [] => {
            report
                .error(section.span, "the route does not say which paths it takes")
                .label("`path`, `prefix` or `regex` is missing here")
                .hint("prefix = \"/\" takes every path; `connect` takes CONNECT, which has none");
        }
        [_] => {}
        [first, second, ..] => {
            report
                .error(second.1, format!("the route has both `{}` and `{}`", first.0, second.0))
                .hint("a route has one of `path`, `prefix`, `regex` and `connect`");
        }
    }
    let exact = exact.and_then(|value| http::match_path(value, report));
    let prefix = prefix.and_then(|value| http::match_path(value, report));
    let regex = regex.and_then(|value| http::regex(value, report));
    let words = [Connect::Terminate, Connect::Forward].map(|connect| (connect.as_str(), connect));
    let connect = connect.and_then(|value| value.word(&words, &[], report));
    exact
        .map(|at| PathMatch::Exact(at.value))
        .or(prefix.map(|at| PathMatch::Prefix(at.value)))
        .or(regex.map(|at| PathMatch::Regex(at.value)))
        .or(connect.map(|at| PathMatch::Connect(at.value)))
}

/// A path that replaces what was matched; nothing definite is matched by a regular expression.
pub(super) fn rewrite(
    value: Value<'_>,
    path: Option<&PathMatch>,
    report: &mut Report<'_>,
) -> Option<At<String>> {
    if let Some(PathMatch::Regex(_) | PathMatch::Connect(_)) = path {
        let with = if matches!(path, Some(PathMatch::Regex(_))) { "regex" } else { "connect" };
        report
            .error(value.key_span, format!("`prefix_rewrite` does not go with `{with}`"))
            .hint("it replaces the matched `prefix`, or the whole `path`");
        return None;
    }
    http::path(value, report)
}

/// Conditions on header fields or query parameters.
fn matchers(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Vec<(String, StringMatch)> {
    let Some(value) = section.take(key) else { return Vec::new() };
    let sections = value.sections(&schema::MATCHER, RULES_MAX, report);
    sections.into_iter().filter_map(|section| matcher(section, key == "headers", report)).collect()
}

fn matcher(
    mut section: Section<'_>,
    is_header: bool,
    report: &mut Report<'_>,
) -> Option<(String, StringMatch)> {
    let name = section.require("name", report);
    let name = name.and_then(|value| {
        if is_header { http::header_name(value, report) } else { parameter_name(value, report) }
    });
    let mut conditions = Vec::new();
    let mut given = 0;
    for key in ["exact", "prefix", "regex", "present"] {
        let Some(value) = section.take(key) else { continue };
        given += 1;
        conditions.extend(match key {
            "exact" => value.text(report).map(|at| StringMatch::Exact(at.value)),
            "prefix" => value.text(report).map(|at| StringMatch::Prefix(at.value)),
            "regex" => http::regex(value, report).map(|at| StringMatch::Regex(at.value)),
            _ => value.boolean(report).map(|at| StringMatch::Present(at.value)),
        });
    }
    if given != 1 {
        let what = if given == 0 { "no condition" } else { "more than one condition" };
        report.error(section.span, format!("the matcher has {what}")).hint(
            "one of `exact`, `prefix`, `regex` and `present`; several matchers must all hold",
        );
    }
    section.close(report);
    Some((name?.value, conditions.pop()?))
}

fn parameter_name(value: Value<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    let at = value.text(report)?;
    if at.value.is_empty() {
        report.error(at.span, "the name of a query parameter is empty");
        return None;
    }
    Some(at)
}

fn headers_add(value: Option<Value<'_>>, report: &mut Report<'_>) -> Vec<HeaderValue> {
    let Some(value) = value else { return Vec::new() };
    let sections = value.sections(&schema::HEADER, RULES_MAX, report);
    let mut headers = Vec::new();
    for mut section in sections {
        let name = section.require("name", report);
        let name = name.and_then(|value| http::own_header_name(value, report));
        let value = section.require("value", report);
        let value = value.and_then(|value| http::header_value(value, report));
        section.close(report);
        if let (Some(name), Some(value)) = (name, value) {
            headers.push(HeaderValue { name: name.value, value: value.value });
        }
    }
    headers
}

fn headers_remove(value: Option<Value<'_>>, report: &mut Report<'_>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let entries = value.list(RULES_MAX, report);
    let names = entries.into_iter().filter_map(|entry| http::own_header_name(entry, report));
    names.map(|at| at.value).collect()
}
