//! The loop of the control thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use sluice_config_model::Config;
use sluice_worker::WorkerLinks;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::info;

use crate::access_log::{LogError, LogSink};
use crate::admin;
use crate::log_levels::LogLevels;
use crate::publisher::Publisher;
use crate::reload;
use crate::state::State;

/// How often rings are emptied and states looked at: a log ring holds 8,192 records, so up to
/// 400,000 requests per second and worker are logged without a drop.
const TICK: Duration = Duration::from_millis(20);

/// How long the last access log lines may take to be written at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// What the control thread is given.
#[derive(Debug)]
pub struct ControlParts {
    /// The configuration that the process started with.
    pub config: Config,
    /// Where it was read, to read it again on SIGHUP.
    pub path: PathBuf,
    /// Has published nothing yet.
    pub publisher: Publisher,
    /// The control ends of all workers, by number.
    pub workers: Vec<WorkerLinks>,
    /// The interfaces as they came up.
    pub interfaces: Vec<InterfaceInfo>,
    /// How packet memory was had, in words, for `sluice show memory`.
    pub memory: String,
    /// Which messages are written, for `/logging`.
    pub log_levels: LogLevels,
}

/// An interface as it came up.
#[derive(Clone, Debug)]
pub struct InterfaceInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Its device as configured.
    pub device: String,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Its MTU, bytes.
    pub mtu: u16,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<String>,
}

/// Why the control thread returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It was told to stop, and everything that ran has ended.
    Drained,
    /// It was told to stop, and this many requests and relays were cut: `drain_timeout` was over,
    /// or it was told a second time.
    DrainTimeout(u64),
    /// Every input has ended and was worked off.
    Exhausted,
}

/// Why the control thread could not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No runtime.
    #[error("cannot start the control thread's event loop: {0}")]
    Runtime(#[source] std::io::Error),
    /// The admin address is not to be had.
    #[error(
        "cannot listen on the admin address {address}: {error}; choose another by \
         `[admin] address = \"127.0.0.1:PORT\"`, or stop the process that has it"
    )]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] LogError),
    /// The configuration is valid but cannot be compiled.
    #[error("{0}")]
    Compile(String),
    /// Signals cannot be had.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// What the loop is told from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// Read the configuration again and open the log again.
    Reload,
    /// Drain and return; the second time: return.
    Stop(&'static str),
}

/// Publishes the configuration and serves until told to stop, or until every input has ended.
///
/// # Errors
/// [`ControlError`], before anything was published.
pub fn run(parts: ControlParts) -> Result<Exit, ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ControlError::Runtime)?;
    let local = tokio::task::LocalSet::new();
    let exit = runtime.block_on(local.run_until(async {
        let orders = listen_for_signals()?;
        let address = parts.config.admin.address;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| ControlError::Admin { address, error })?;
        serve(parts, listener, orders).await
    }));
    // A configuration file that is being read must not hold up the end.
    runtime.shutdown_background();
    exit
}

/// Turns signals into orders.
fn listen_for_signals() -> Result<mpsc::Receiver<Order>, ControlError> {
    let take = |kind| signal(kind).map_err(ControlError::Signals);
    let (send, orders) = mpsc::channel(8);
    for (mut signal, order) in [
        (take(SignalKind::hangup())?, Order::Reload),
        (take(SignalKind::terminate())?, Order::Stop("SIGTERM")),
        (take(SignalKind::interrupt())?, Order::Stop("SIGINT")),
    ] {
        let send = send.clone();
        tokio::task::spawn_local(async move { forward(&mut signal, order, send).await });
    }
    Ok(orders)
}

async fn forward(signal: &mut Signal, order: Order, send: mpsc::Sender<Order>) {
    while signal.recv().await.is_some() {
        if send.send(order).await.is_err() {
            return;
        }
    }
}

/// The loop, with what it listens to handed in: tests bring a port of their own and no signals.
pub(crate) async fn serve(
    parts: ControlParts,
    listener: TcpListener,
    mut orders: mpsc::Receiver<Order>,
) -> Result<Exit, ControlError> {
    let log = LogSink::open(parts.config.access_log.as_ref())?;
    let state = State::start(parts, log)?;
    if let Ok(address) = listener.local_addr() {
        info!("admin: http://{address}/ready, /stats/prometheus");
    }
    let state = Rc::new(RefCell::new(state));
    tokio::task::spawn_local(admin::serve(listener, state.clone()));

    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let exit = loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Reload => reload::start(&state),
                Order::Stop(why) => state.borrow_mut().start_drain(why),
            },
            _ = ticks.tick() => {
                if let Some(exit) = state.borrow_mut().tick() {
                    break exit;
                }
            }
        }
    };
    state.borrow_mut().finish(LOG_PATIENCE);
    Ok(exit)
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
