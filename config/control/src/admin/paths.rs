//! Which path is what.

use hyper::header::ORIGIN;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::answer::Answer;
use super::query::Query;
use super::{config_dump, metrics, process, resources, show, stats};
use crate::state::State;

/// One path.
struct Path {
    path: &'static str,
    /// Reading is GET (and HEAD), changing is POST.
    changes: bool,
    help: &'static str,
    handler: fn(&mut State, &Query) -> Answer,
}

const fn reads(path: &'static str, help: &'static str, handler: Handler) -> Path {
    Path { path, changes: false, help, handler }
}

const fn changes(path: &'static str, help: &'static str, handler: Handler) -> Path {
    Path { path, changes: true, help, handler }
}

type Handler = fn(&mut State, &Query) -> Answer;

const SHOW: &str = "/show/";

const PATHS: &[Path] = &[
    reads("/", "this list", |_, _| Answer::text(list())),
    reads("/help", "this list", |_, _| Answer::text(list())),
    reads("/ready", "200 LIVE when every worker listens, else 503", process::ready),
    reads("/server_info", "version, state, uptime (JSON)", process::server_info),
    reads("/stats", "counters; ?filter=REGEX ?usedonly ?format=json|prometheus", stats::stats),
    reads(
        "/stats/prometheus",
        "counters for Prometheus; ?filter=REGEX ?usedonly",
        metrics::metrics,
    ),
    reads("/clusters", "clusters and endpoints; ?format=json", resources::clusters),
    reads("/listeners", "listeners; ?format=json", resources::listeners),
    reads("/config_dump", "the configuration that is loaded (JSON)", config_dump::config_dump),
    changes(
        "/drain_listeners",
        "take no new connections, go on otherwise",
        process::drain_listeners,
    ),
    changes("/quitquitquit", "drain and exit; the second time exit at once", process::quit),
    changes(
        "/logging",
        "loggers; ?level=LEVEL ?NAME=LEVEL ?paths=NAME:LEVEL,...",
        process::logging,
    ),
];

/// Answers a request.
pub(crate) fn answer(state: &mut State, request: &Parts) -> Answer {
    let path = request.uri.path();
    let query = Query::parse(request.uri.query());
    let found = PATHS.iter().find(|entry| entry.path == path);
    let changes = found.is_some_and(|entry| entry.changes);
    if found.is_none() && !path.starts_with(SHOW) {
        let text = format!("there is no {path}; there are:\n{}", list());
        return Answer::status(StatusCode::NOT_FOUND, text);
    }
    if let Some(refusal) = refuse_method(&request.method, changes) {
        return refusal;
    }
    // A page on the web can make a browser send this to a loopback address, but not without saying
    // where it comes from. No tool of an operator sends the field.
    if changes && request.headers.contains_key(ORIGIN) {
        let text = "a request on behalf of a web page may not change anything here\n";
        return Answer::status(StatusCode::FORBIDDEN, text);
    }
    match found {
        Some(entry) => (entry.handler)(state, &query),
        None => show::show(state, &path[SHOW.len()..], &query),
    }
}

fn refuse_method(method: &Method, changes: bool) -> Option<Answer> {
    let (fits, allow) = if changes {
        (*method == Method::POST, "POST")
    } else {
        (*method == Method::GET || *method == Method::HEAD, "GET, HEAD")
    };
    (!fits).then(|| Answer {
        allow: Some(allow),
        ..Answer::status(StatusCode::METHOD_NOT_ALLOWED, format!("use {allow}\n"))
    })
}

/// Every path with a line about it.
fn list() -> String {
    let mut text = String::new();
    for entry in PATHS {
        let method = if entry.changes { "POST" } else { "GET" };
        text.push_str(&format!("  {method:4} {:18} {}\n", entry.path, entry.help));
    }
    text.push_str(&format!("  GET  /show/WHAT         {}; ?json\n", show::WHAT.join(" ")));
    text
}
