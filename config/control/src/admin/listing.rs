//! `/show/neighbors` and `/show/flows`: the two lists that only workers know.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_worker::{Listing, Rows};
use tokio::time::{Instant, sleep};

use super::answer::Answer;
use super::query::Query;
use super::table::Shown;
use crate::state::State;

/// How long workers may take: a heartbeat, and as long as a sleeping one needs to wake.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether they have answered.
const LOOK: Duration = Duration::from_millis(1);

/// What only workers can list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    Neighbors,
    Flows,
}

impl Asked {
    /// The list that a path asks for.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/show/neighbors" => Some(Self::Neighbors),
            "/show/flows" => Some(Self::Flows),
            _ => None,
        }
    }
}

/// Asks every worker that knows, waits for the answers without holding the state, and prints them.
pub(super) async fn list(state: &RefCell<State>, asked: Asked, query: &Query) -> Answer {
    let ticket = ask(&mut state.borrow_mut(), asked);
    let end = Instant::now() + PATIENCE;
    let expected = match asked {
        // Worker 0 is the one that speaks ARP; the others know a part of what it knows.
        Asked::Neighbors => 1,
        Asked::Flows => state.borrow().workers.len(),
    };
    let mut answers: Vec<Option<Listing>> = (0..expected).map(|_| None).collect();
    while answers.iter().any(Option::is_none) && Instant::now() < end {
        sleep(LOOK).await;
        let mut state = state.borrow_mut();
        for (worker, answer) in state.workers.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                *answer = worker.listing.answer(ticket);
            }
        }
    }
    let missing = answers.iter().filter(|answer| answer.is_none()).count();
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    let total: usize = answers.iter().map(|answer| answer.total).sum();
    let shown = print(&state.borrow(), asked, &answers);
    if query.wants_json() {
        return Answer::json(&shown.to_json());
    }
    let mut text = shown.to_text();
    let listed: usize = answers.iter().map(|answer| len(&answer.rows)).sum();
    if total > listed {
        text.push_str(&format!("{listed} of {total} shown\n"));
    }
    if missing > 0 {
        text.push_str(&format!("{missing} workers did not answer in time\n"));
    }
    Answer::text(text)
}

fn ask(state: &mut State, asked: Asked) -> u64 {
    state.listing_ticket += 1;
    let ticket = state.listing_ticket;
    for (index, worker) in state.workers.iter().enumerate() {
        match asked {
            Asked::Neighbors if index == 0 => worker.listing.ask_neighbors(ticket),
            Asked::Neighbors => continue,
            Asked::Flows => worker.listing.ask_flows(ticket),
        }
        worker.waker.wake();
    }
    ticket
}

fn len(rows: &Rows) -> usize {
    match rows {
        Rows::Neighbors(rows) => rows.len(),
        Rows::Flows(tcp, udp) => tcp.len() + udp.len(),
    }
}

fn print(state: &State, asked: Asked, answers: &[Listing]) -> Shown {
    match asked {
        Asked::Neighbors => {
            let rows = answers.iter().flat_map(|answer| neighbor_rows(state, &answer.rows));
            let columns = &["interface", "address", "mac", "state"];
            Shown::default().rows("neighbors", columns, rows.collect())
        }
        Asked::Flows => {
            let rows = answers.iter().enumerate();
            let rows = rows.flat_map(|(worker, answer)| flow_rows(state, worker, &answer.rows));
            let columns = &[
                "worker",
                "local",
                "peer",
                "listener",
                "state",
                "readable",
                "queued",
                "round_trip_us",
                "congestion_window",
            ];
            Shown::default().rows("flows", columns, rows.collect())
        }
    }
}

fn neighbor_rows(state: &State, rows: &Rows) -> Vec<Vec<Value>> {
    let Rows::Neighbors(rows) = rows else { return Vec::new() };
    let row = |neighbor: &sluice_stack::NeighborInfo| {
        let interface = state.config.interface(neighbor.interface);
        vec![
            json!(interface.map(|interface| &interface.name)),
            json!(neighbor.address.to_string()),
            json!(neighbor.mac.map(|mac| mac.to_string())),
            json!(neighbor.state.name()),
        ]
    };
    rows.iter().map(row).collect()
}

fn flow_rows(state: &State, worker: usize, rows: &Rows) -> Vec<Vec<Value>> {
    let Rows::Flows(tcp, udp) = rows else { return Vec::new() };
    let name = |id| state.config.listener(id).map(|listener| listener.name.clone());
    let row = |flow: &sluice_stack::FlowInfo| {
        vec![
            json!(worker),
            json!(flow.local.to_string()),
            json!(flow.peer.to_string()),
            json!(flow.listener.and_then(name)),
            json!(flow.state.name()),
            json!(flow.readable),
            json!(flow.queued),
            json!(flow.round_trip_us),
            json!(flow.congestion_window),
        ]
    };
    let udp_row = |flow: &sluice_stack::UdpFlowInfo| {
        let nothing = || json!(null);
        vec![
            json!(worker),
            json!(flow.local.to_string()),
            json!(flow.peer.to_string()),
            json!(flow.listener.and_then(name)),
            json!("udp"),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
        ]
    };
    tcp.iter().map(row).chain(udp.iter().map(udp_row)).collect()
}
