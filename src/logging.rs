//! Messages on stderr.

use std::io::IsTerminal;

use sluice_config_control::LogLevels;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

/// Sends messages to stderr; `RUST_LOG` chooses which, default: informational and worse. What is
/// returned changes it later.
pub(crate) fn start() -> LogLevels {
    let chosen = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let (directives, filter) = match chosen.map(|text| (EnvFilter::try_new(&text), text)) {
        Some((Ok(filter), text)) => (text, filter),
        _ => ("info".to_owned(), EnvFilter::new("info")),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
    debug_assert!(started.is_ok(), "messages are set up once");
    LogLevels::new(directives, move |directives| {
        let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}
