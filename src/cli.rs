//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A kernel-bypass mesh data plane: one process, its own TCP/IP stack, HTTP in front of your
/// services.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run in the foreground; SIGHUP reads the file again, SIGTERM drains and exits with 0
    Run {
        /// The configuration file (docs/configuration.md)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Validate a configuration file: exit status 0, or 1 with every error at its place
    Check {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Tell what would happen to a request: listener, virtual host, route, cluster, endpoints, why
    Explain(Explain),
    /// Ask the running process over its admin address
    Show(Show),
    /// Run with sample backends on every endpoint that is an address of a TAP's kernel end
    Demo {
        /// The configuration file, e.g. examples/demo.toml
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The listener, where the URL's port leaves a choice
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// A header of the request, as `name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The request's method
    pub(crate) method: String,
    /// The request's URL: `http://HOST[:PORT]/PATH[?QUERY]`
    pub(crate) url: String,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// What to show
    #[arg(value_parser = WHAT)]
    pub(crate) what: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The admin address of the running process
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub(crate) admin: std::net::SocketAddr,
}

/// What `sluice show` knows.
pub(crate) const WHAT: [&str; 13] = [
    "interfaces",
    "workers",
    "neighbors",
    "routes",
    "rules",
    "flows",
    "listeners",
    "clusters",
    "endpoints",
    "counters",
    "drops",
    "memory",
    "runtime",
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_fixed_surface_parses() {
        for line in [
            "sluice run -c a.toml",
            "sluice check -c a.toml",
            "sluice explain -c a.toml GET http://x/ -H a:b",
            "sluice explain -c a.toml --listener web GET /x",
            "sluice show drops --json",
        ] {
            Cli::try_parse_from(line.split(' ')).expect(line);
        }
        let error = Cli::try_parse_from(["sluice", "show", "dropps"]).expect_err("a typing error");
        assert_eq!(error.exit_code(), 2);
    }
}
