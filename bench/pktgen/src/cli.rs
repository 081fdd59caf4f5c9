//! The command line.

use std::net::SocketAddrV4;

use clap::{Parser, ValueEnum};

/// Load from Sluice's own TCP/IP stack, for a limited time.
///
/// A client on one device asks `--to`; with `--origin-device` an origin on another answers whoever
/// asks it, so that a proxy between the two has both of its sides in this one process.
#[derive(Debug, Parser)]
#[command(name = "sluice-pktgen", version)]
pub(crate) struct Cli {
    /// What is asked: HTTP/1.1, cleartext HTTP/2 with 16 calls in flight per connection, or bytes
    /// that come back.
    #[arg(long, value_enum, default_value = "http1")]
    pub(crate) protocol: Protocol,
    /// Whom the client asks.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddrV4,
    /// The client's device, as in a configuration file of Sluice; of memif this is the end that connects.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: String,
    /// The client's address with its network.
    #[arg(long, value_name = "CIDR")]
    pub(crate) address: String,
    /// The way to `--to`, where that is in another network.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Option<std::net::Ipv4Addr>,
    /// The origin's device; without it somebody else answers.
    #[arg(long, value_name = "DEVICE", requires = "origin_address")]
    pub(crate) origin_device: Option<String>,
    /// The origin's address with its network.
    #[arg(long, value_name = "CIDR", requires = "origin_device")]
    pub(crate) origin_address: Option<String>,
    /// The port on which the origin listens.
    #[arg(long, default_value_t = 8080)]
    pub(crate) origin_port: u16,
    /// What the origin speaks; the same as the client if not said.
    #[arg(long, value_enum, requires = "origin_device")]
    pub(crate) origin_protocol: Option<Protocol>,
    /// The client's connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Requests per second, all connections together; as fast as answers come if not said. Not with
    /// HTTP/2.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: Option<u64>,
    /// Bytes of a response's body, or of what comes back. With HTTP/2 it is 128.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) body: u32,
    /// A connection for every request.
    #[arg(long)]
    pub(crate) connection_per_request: bool,
    /// Seconds before what is measured begins.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) warm_up: f64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(crate) duration: f64,
    /// The core to run on; any if not said.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What client or origin speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Tcp,
}

/// A time that ends: a day at most.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err("seconds are a number from 0 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: [&str; 7] =
        ["pktgen", "--to", "10.9.0.2:80", "--device", "tap:c0", "--address", "10.9.0.1/24"];

    fn with(more: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(LEAST.iter().chain(more))
    }

    #[test]
    fn the_least_that_can_be_typed() {
        let cli = with(&[]).expect("it is enough");
        assert_eq!((cli.connections, cli.body, cli.protocol), (64, 128, Protocol::Http1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            &["--connections", "0"][..],
            &["--rate", "0"],
            &["--duration", "-1"],
            &["--duration", "1e9"],
            &["--warm-up", "nan"],
            &["--origin-device", "tap:b0"],
            &["--protocol", "quic"],
        ] {
            assert!(with(wrong).is_err(), "{wrong:?}");
        }
    }
}
