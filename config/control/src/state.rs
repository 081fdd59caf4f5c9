//! What the loop and the admin address share.

use std::path::PathBuf;
use std::time::Duration;

use sluice_config_model::Config;
use sluice_worker::{Command, PortCounters, WorkerLinks};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::access_log::LogSink;
use crate::conflicts::Conflicts;
use crate::control::{ControlError, ControlParts, Exit, InterfaceInfo};
use crate::log_levels::LogLevels;
use crate::publisher::Publisher;

/// Everything the control thread knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) path: PathBuf,
    pub(crate) publisher: Publisher,
    pub(crate) workers: Vec<WorkerLinks>,
    pub(crate) interfaces: Vec<InterfaceInfo>,
    pub(crate) memory: String,
    pub(crate) log_levels: LogLevels,
    pub(crate) log: LogSink,
    pub(crate) started: Instant,
    pub(crate) stage: Stage,
    pub(crate) reloads: Reloads,
    /// Numbers the questions to workers.
    pub(crate) listing_ticket: u64,
    /// What was said about addresses that others claim.
    pub(crate) conflicts: Conflicts,
    /// Whether it was said that every worker listens.
    pub(crate) said_ready: bool,
}

/// How far the process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Accepting connections.
    Serving,
    /// Finishing what runs, then waiting to be told to stop.
    ListenersDrained,
    /// Finishing what runs, until then at most, then returning.
    Draining(Instant),
}

/// How reading the file again went so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) last_error: Option<String>,
    /// A file is being read now.
    pub(crate) running: bool,
    /// Asked for once more while one was running.
    pub(crate) again: bool,
}

/// What a prober and Envoy's tools call the state of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ServerState {
    /// Every worker has every listener in place.
    Live,
    /// No new connection is taken.
    Draining,
    /// A worker has not put every listener in place yet, or cannot.
    PreInitializing,
}

impl ServerState {
    /// Envoy's word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
        }
    }

    /// Envoy's number, in `envoy_server_state`.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
        }
    }
}

impl State {
    /// What the workers say about their queues of the interface at a position.
    pub(crate) fn queues(&self, interface: usize) -> impl Iterator<Item = &PortCounters> {
        let ports = self.workers.iter().flat_map(|worker| &worker.status.ports);
        ports.filter(move |port| port.interface.index() == interface)
    }

    /// What a VLAN, which has no queue, counted under the name of an interface's metric.
    pub(crate) fn vlan_count(&self, interface: usize, name: &str) -> u64 {
        let stacks = self.workers.iter().map(|worker| &worker.status.stack);
        let counters = stacks.filter_map(|stack| stack.vlans.get(interface));
        let values = counters.map(|vlan| match name {
            "sluice_interface_rx_packets_total" => vlan.rx_packets.value(),
            "sluice_interface_rx_bytes_total" => vlan.rx_bytes.value(),
            "sluice_interface_tx_packets_total" => vlan.tx_packets.value(),
            "sluice_interface_tx_bytes_total" => vlan.tx_bytes.value(),
            _ => 0,
        });
        values.sum()
    }

    /// Publishes the first configuration.
    ///
    /// # Errors
    /// [`ControlError::Compile`].
    pub(crate) fn start(parts: ControlParts, mut log: LogSink) -> Result<Self, ControlError> {
        let ControlParts { config, path, mut publisher, workers, interfaces, memory, log_levels } =
            parts;
        publisher
            .publish(&config, &workers)
            .map_err(|error| ControlError::Compile(error.to_string()))?;
        log.learn(&config);
        Ok(Self {
            config,
            path,
            publisher,
            workers,
            interfaces,
            memory,
            log_levels,
            log,
            started: Instant::now(),
            stage: Stage::Serving,
            reloads: Reloads::default(),
            listing_ticket: 0,
            conflicts: Conflicts::default(),
            said_ready: false,
        })
    }

    /// Stops taking new connections and lets what runs end; a second request ends at once.
    pub(crate) fn start_drain(&mut self, why: &str) {
        let now = Instant::now();
        if let Stage::Draining(_) = self.stage {
            warn!("{why} while draining: stopping now");
            self.stage = Stage::Draining(now);
            return;
        }
        let timeout = self.config.runtime.drain_timeout;
        info!("{why}: draining, for at most {timeout:?}");
        self.stage = Stage::Draining(now + timeout);
        self.command_drain();
    }

    /// Stops taking new connections and goes on otherwise, until told to stop.
    pub(crate) fn drain_listeners(&mut self, why: &str) {
        match self.stage {
            Stage::Serving => {
                info!("{why}: no new connections from here on; stop the process by SIGTERM");
                self.stage = Stage::ListenersDrained;
                self.command_drain();
            }
            Stage::ListenersDrained | Stage::Draining(_) => {}
        }
    }

    fn command_drain(&self) {
        for worker in &self.workers {
            worker.status.command(Command::Drain);
            worker.waker.wake();
        }
    }

    /// Empties the rings and looks whether it is time to return.
    pub(crate) fn tick(&mut self) -> Option<Exit> {
        self.drain_log();
        self.say_ready();
        self.conflicts.look(&self.workers);
        let freed = self.publisher.collect(&mut self.workers);
        if freed > 0 {
            let held = self.publisher.outstanding();
            info!("{freed} replaced configuration(s) came home and were freed, {held} still held");
        }
        match self.stage {
            Stage::Serving | Stage::ListenersDrained => {
                let ended = self.workers.iter().all(|worker| worker.status.exhausted());
                ended.then_some(Exit::Exhausted)
            }
            Stage::Draining(until) => {
                let active = self.active();
                if active == 0 && self.workers.iter().all(|worker| worker.status.drained()) {
                    return Some(Exit::Drained);
                }
                (Instant::now() >= until).then_some(Exit::DrainTimeout(active))
            }
        }
    }

    /// The last records, and then the log is closed.
    pub(crate) fn finish(&mut self, patience: Duration) {
        self.drain_log();
        self.log.close(patience);
    }

    fn drain_log(&mut self) {
        for worker in &mut self.workers {
            self.log.drain(&mut worker.log);
        }
        self.log.flush();
    }

    /// Requests and relays that are running, on all workers.
    pub(crate) fn active(&self) -> u64 {
        self.workers.iter().map(|worker| worker.status.active.value()).sum()
    }

    /// What to tell a prober.
    pub(crate) fn server_state(&self) -> ServerState {
        match self.stage {
            Stage::ListenersDrained | Stage::Draining(_) => ServerState::Draining,
            Stage::Serving if self.listening() => ServerState::Live,
            Stage::Serving => ServerState::PreInitializing,
        }
    }

    /// Whether every worker listens on everything that is configured.
    ///
    /// Says once that every worker listens.
    fn say_ready(&mut self) {
        if !self.said_ready && self.listening() {
            self.said_ready = true;
            let listeners = self.config.listeners.len();
            info!("ready: listeners {listeners}, workers {}", self.workers.len());
        }
    }

    /// While a newer snapshot is being adopted the process still serves, so the first one that was
    /// adopted is enough; a listener that could not be put in place is not.
    fn listening(&self) -> bool {
        self.workers.iter().all(|worker| {
            worker.status.listening_version() > 0 && worker.status.listen_failures() == 0
        })
    }
}
