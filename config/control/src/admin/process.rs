//! The process as a whole: is it ready, what is it, and ending it.

use hyper::StatusCode;
use serde_json::json;

use super::answer::Answer;
use super::query::Query;
use crate::state::{ServerState, State};

/// `GET /ready`: for probes and load balancers.
pub(super) fn ready(state: &mut State, _: &Query) -> Answer {
    let now = state.server_state();
    let status = match now {
        ServerState::Live => StatusCode::OK,
        ServerState::Draining | ServerState::PreInitializing => StatusCode::SERVICE_UNAVAILABLE,
    };
    Answer::status(status, format!("{}\n", now.name()))
}

/// `GET /server_info`, with Envoy's keys and a few of ours.
pub(super) fn server_info(state: &mut State, _: &Query) -> Answer {
    let uptime = format!("{}s", state.started.elapsed().as_secs());
    Answer::json(&json!({
        "version": version(),
        "state": state.server_state().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "node": { "id": state.config.node.id, "cluster": state.config.node.cluster },
        "pid": std::process::id(),
        "concurrency": state.workers.len(),
        "config_path": state.path.display().to_string(),
        "config_version": state.publisher.version(),
    }))
}

/// The version of Sluice: crates of the workspace share one.
pub(super) const fn version() -> &'static str {
    concat!("sluice/", env!("CARGO_PKG_VERSION"))
}

/// `POST /drain_listeners`
pub(super) fn drain_listeners(state: &mut State, _: &Query) -> Answer {
    state.drain_listeners("POST /drain_listeners");
    Answer::text("OK\n")
}

/// `POST /quitquitquit`: as SIGTERM.
pub(super) fn quit(state: &mut State, _: &Query) -> Answer {
    state.start_drain("POST /quitquitquit");
    Answer::text("OK\n")
}

/// `POST /logging`: lists the loggers, after changing what the query says.
pub(super) fn logging(state: &mut State, query: &Query) -> Answer {
    let mut parameters = query.pairs().peekable();
    if parameters.peek().is_some()
        && let Err(error) = state.log_levels.change(parameters)
    {
        return Answer::status(StatusCode::BAD_REQUEST, format!("{error}\n"));
    }
    Answer::text(state.log_levels.to_string())
}
