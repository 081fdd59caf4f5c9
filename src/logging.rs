//! Messages on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends messages to stderr; `RUST_LOG` chooses which, default: informational and worse.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    debug_assert!(started.is_ok(), "messages are set up once");
}
