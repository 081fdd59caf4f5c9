//! `/show/neighbors`, `/show/flows`, and `/show/routes` where an interface listens to routers: the
//! lists that only workers know.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_config_model::RouterAdvertisements;
use sluice_stack::{LearnedInfo, LearnedWhat};
use sluice_worker::{Listing, Rows};
use tokio::time::{Instant, sleep};

use super::answer::Answer;
use super::query::Query;
use super::show;
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
    Routes,
    Flows,
}

impl Asked {
    /// The list that a path asks for, if workers are to be asked.
    pub(super) fn of(path: &str, state: &State) -> Option<Self> {
        let listens = |interface: &sluice_config_model::Interface| {
            interface.router_advertisements != RouterAdvertisements::Ignore
        };
        match path {
            "/show/neighbors" => Some(Self::Neighbors),
            "/show/routes" if state.config.interfaces.iter().any(listens) => Some(Self::Routes),
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
        // Worker 0 speaks ARP and hears routers; the others know a part of what it knows.
        Asked::Neighbors | Asked::Routes => 1,
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
            Asked::Routes if index == 0 => worker.listing.ask_learned(ticket),
            Asked::Neighbors | Asked::Routes => continue,
            Asked::Flows => worker.listing.ask_flows(ticket),
        }
        worker.waker.wake();
    }
    ticket
}

fn len(rows: &Rows) -> usize {
    match rows {
        Rows::Neighbors(rows) => rows.len(),
        Rows::Learned(rows) => rows.len(),
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
        Asked::Routes => {
            let mut rows = show::route_rows(state);
            rows.extend(answers.iter().flat_map(|answer| learned_rows(state, &answer.rows)));
            show::routes(rows)
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

fn learned_rows(state: &State, rows: &Rows) -> Vec<Vec<Value>> {
    let Rows::Learned(rows) = rows else { return Vec::new() };
    let row = |learned: &LearnedInfo| {
        let (to, via, kind) = match learned.what {
            LearnedWhat::Router { address, is_used } => {
                let kind = if is_used { "router" } else { "router, not used" };
                ("::/0".to_owned(), vec![address.to_string()], kind)
            }
            LearnedWhat::Prefix { prefix, prefix_len } => {
                (format!("{prefix}/{prefix_len}"), Vec::new(), "advertised")
            }
            LearnedWhat::Address { address, is_deprecated } => {
                let kind = if is_deprecated { "formed, deprecated" } else { "formed" };
                (format!("{address}/128"), Vec::new(), kind)
            }
        };
        let interface = state.config.interface(learned.interface);
        let interface = json!(interface.map(|interface| &interface.name));
        vec![json!(to), json!(via), interface, json!(kind), json!(learned.expires_s)]
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
