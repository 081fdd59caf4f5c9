//! What a listener or a cluster asks of its TCP connections.

use std::time::Duration;

/// TCP towards the clients of a listener, or the endpoints of a cluster.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct TcpSettings {
    /// Congestion control of what we send.
    pub congestion: Congestion,
    /// Whether routers may mark packets instead of dropping them.
    pub ecn: Ecn,
    /// Asking silent peers whether they are there; `None`: never.
    pub keepalive: Option<Keepalive>,
    /// How long what was sent may go unanswered (RFC 9293, 3.8.3); `None`: ten retransmissions.
    pub user_timeout: Option<Duration>,
    /// Up to what a peer's wish makes that longer (RFC 5482); zero: not at all.
    pub user_timeout_max: Duration,
    /// Of a listener: connections of each worker whose request came with the SYN and that may wait for
    /// the end of their handshake (RFC 7413); 0: none, no request is taken before.
    pub fast_open_max_pending: u32,
}

/// How fast TCP sends.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Congestion {
    /// RFC 9438; the default of every large system, so a fair neighbour.
    #[default]
    Cubic,
    /// RFC 5681 and 6582.
    NewReno,
    /// The rate at which the path delivers, whatever is lost.
    Bbr,
}

/// Explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Ecn {
    /// Never.
    Off,
    /// When the peer asks for it: Linux's default.
    #[default]
    Accept,
    /// Asked of every peer.
    Offer,
}

/// When a silent peer is asked whether it is there (RFC 9293, 3.8.4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Keepalive {
    /// How long nothing must have been heard.
    pub time: Duration,
    /// Between questions.
    pub interval: Duration,
    /// Questions without an answer, after which the connection ends.
    pub probes: u8,
}
