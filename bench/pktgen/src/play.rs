//! Both ends stepped in turn by the machine's clock, until the time is over.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use hdrhistogram::Histogram;
use sluice_arch::{MonotonicClock, PinError, pin_current_thread, relax};
use sluice_base::Instant;
use sluice_bench::host::{Host, HostConfig};
use sluice_bench::http2::{Http2Load, Http2Origin};
use sluice_bench::load::{Exchange, Expected, Load, Pace};
use sluice_bench::origin::{Answer, Origin};
use sluice_bench::peers::{Client, Server};
use sluice_buf::{Device, Pool};

use crate::cli::{Cli, Protocol};
use crate::devices::{Machine, OpenError};
use crate::ends::{End, ends};

/// Buffers of an end beside those of its connections: rings of its device, what is on its way.
const BUFFERS: u32 = 16_384;

/// How long a device stays open behind what was sent last: a memif that closes takes back what its
/// peer has not read.
const LINGER: Duration = Duration::from_millis(100);

/// Why nothing could be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayError {
    /// A device or an address.
    #[error("{0}")]
    Ends(String),
    /// A device.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The core.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// What does not go together.
    #[error("{0}")]
    Combination(&'static str),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests that were answered in the time that counts, and how long that was.
    pub(crate) done: u64,
    pub(crate) elapsed: Duration,
    /// Connections that broke and answers that were wrong, before it too.
    pub(crate) failures: u64,
    /// Requests per second that were wanted.
    pub(crate) rate: Option<u64>,
    /// Nanoseconds from when a request was sent, or due, to the end of its answer.
    pub(crate) latency: Histogram<u64>,
}

type ClientHost = Host<Client, Box<dyn Device>>;
type OriginHost = Host<Server, Box<dyn Device>>;

/// Plays what was typed.
pub(crate) fn play(cli: &Cli) -> Result<Outcome, PlayError> {
    check(cli)?;
    let (client_end, origin_end) = ends(cli).map_err(PlayError::Ends)?;
    if let Some(core) = cli.core {
        pin_current_thread(core)?;
    }
    let buffers = BUFFERS + cli.connections.saturating_mul(4);
    let all: Vec<&End> = std::iter::once(&client_end).chain(&origin_end).collect();
    let mut machine = Machine::start(&all, buffers)?;
    // The origin first: who asks it is to find it.
    let mut origin = match &origin_end {
        Some(end) => Some(origin(cli, end, machine.open(end, buffers)?)),
        None => None,
    };
    let mut client = client(cli, &client_end, machine.open(&client_end, buffers)?);

    let clock = MonotonicClock::start();
    let mut run = |client: &mut ClientHost, seconds: f64| {
        let begun = clock.nanos();
        let end = begun.saturating_add((seconds * 1e9) as u64);
        loop {
            let nanos = clock.nanos();
            if nanos >= end {
                return nanos - begun;
            }
            // Time zero means never in places.
            let now = Instant::from_nanos(nanos + 1_000_000);
            let worked = client.step(now) | origin.as_mut().is_some_and(|origin| origin.step(now));
            if !worked {
                relax();
            }
        }
    };
    run(&mut client, cli.warm_up);
    client.app.latency().reset();
    let before = client.app.done();
    let elapsed = Duration::from_nanos(run(&mut client, cli.duration));
    let outcome = Outcome {
        done: client.app.done() - before,
        elapsed,
        failures: client.app.failures(),
        rate: cli.rate,
        latency: client.app.latency().clone(),
    };
    // Who is left behind a proxy shall not believe that these live: a next run comes from the same
    // addresses.
    let now = Instant::from_nanos(clock.nanos() + 1_000_000);
    client.abort_all(now);
    if let Some(origin) = &mut origin {
        origin.abort_all(now);
    }
    std::thread::sleep(LINGER);
    Ok(outcome)
}

/// What clap cannot know.
fn check(cli: &Cli) -> Result<(), PlayError> {
    let is_http2 = |protocol: Protocol| protocol == Protocol::Http2;
    let refused = if is_http2(cli.protocol) && cli.rate.is_some() {
        "--rate goes with http1 and tcp: connections of http2 always have 16 calls in flight"
    } else if is_http2(cli.protocol) && cli.connection_per_request {
        "--connection-per-request goes with http1 and tcp"
    } else if is_http2(cli.protocol) && cli.body != 128 {
        "--body goes with http1 and tcp: bodies of http2 are 128 bytes"
    } else if cli
        .origin_protocol
        .is_some_and(|it| (it == Protocol::Tcp) != (cli.protocol == Protocol::Tcp))
    {
        "client and origin both speak HTTP, or neither does"
    } else {
        return Ok(());
    };
    Err(PlayError::Combination(refused))
}

fn config(end: &End, gateway: Ipv4Addr, connections_max: u32) -> HostConfig {
    HostConfig { address: end.address, prefix_len: end.prefix_len, gateway, connections_max }
}

/// Connections of both directions, those in TIME-WAIT apart.
fn connections_max(cli: &Cli) -> u32 {
    cli.connections.saturating_mul(4).max(4_096).next_power_of_two()
}

fn client(cli: &Cli, end: &End, (pool, device): (Pool, Box<dyn Device>)) -> ClientHost {
    let app = match cli.protocol {
        Protocol::Http2 => {
            Client::Http2(Box::new(Http2Load::new(cli.to, cli.connections, false, &pool)))
        }
        Protocol::Http1 | Protocol::Tcp => {
            let pace = cli.rate.map_or(Pace::Closed, |rate| Pace::Open(1_000_000_000 / rate));
            Client::Plain(Box::new(Load::new(exchange(cli), cli.to, cli.connections, pace)))
        }
    };
    let gateway = cli.gateway.unwrap_or(*cli.to.ip());
    Host::on(app, &config(end, gateway, connections_max(cli)), &pool, device)
}

fn origin(cli: &Cli, end: &End, (pool, device): (Pool, Box<dyn Device>)) -> OriginHost {
    let app = match cli.origin_protocol.unwrap_or(cli.protocol) {
        Protocol::Http2 => Server::Http2(Box::new(Http2Origin::new(false, &pool))),
        Protocol::Http1 => {
            Server::Plain(Box::new(Origin::new(Answer::Http(cli.body as usize), &pool)))
        }
        Protocol::Tcp => Server::Plain(Box::new(Origin::new(Answer::Echo, &pool))),
    };
    // It asks nobody, so nothing leaves its network.
    let mut host = Host::on(app, &config(end, end.address, connections_max(cli)), &pool, device);
    let address = SocketAddrV4::new(end.address, cli.origin_port);
    host.listen(address, &sluice_tcp::Config::default());
    host
}

fn exchange(cli: &Cli) -> Exchange {
    let (request, answer) = if cli.protocol == Protocol::Tcp {
        (vec![b'e'; cli.body as usize], Expected::Bytes(cli.body as usize))
    } else {
        let close = if cli.connection_per_request { "Connection: close\r\n" } else { "" };
        let version = env!("CARGO_PKG_VERSION");
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUser-Agent: sluice-pktgen/{version}\r\n{close}\r\n",
            cli.to
        );
        (head.into_bytes(), Expected::Http(cli.body as usize))
    };
    let connection_per_request = cli.connection_per_request;
    Exchange { request, answer, connection_per_request, tcp: sluice_tcp::Config::default() }
}
