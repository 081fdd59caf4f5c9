//! `[admin]` and `[access_log]`: what the operator sees.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::defaults;

/// Where the process answers its operator: a socket of the kernel, not of our stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Admin {
    /// Address and port; IPv6 is welcome, since the kernel carries it.
    pub address: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::V4(defaults::ADMIN_ADDRESS) }
    }
}

/// One line per request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub path: AccessLogPath,
    /// What a line looks like.
    pub format: AccessLogFormat,
}

/// Where access log lines go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AccessLogPath {
    /// Standard output, written `-`. The default, because containers collect it.
    #[default]
    Stdout,
    /// Appended to a file, which is opened again on reload.
    File(PathBuf),
}

/// What an access log line looks like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AccessLogFormat {
    /// Envoy's default line, for people.
    #[default]
    Text,
    /// One JSON object, for machines.
    Json,
}
