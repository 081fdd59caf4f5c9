//! How long a connection carries requests before it is replaced.

use std::time::Duration;

/// When a connection of HTTP has carried enough; what it carries then is finished.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionLife {
    /// Requests; `None`: any number.
    pub max_requests: Option<u32>,
    /// Time; `None`: for ever.
    pub max_duration: Option<Duration>,
}
