//! What the stack tells the proxy.

use std::net::SocketAddr;

use sluice_base::ListenerId;
use sluice_buf::Chain;

/// Something happened on a connection.
#[derive(Debug)]
pub enum StreamEvent {
    /// A client connected.
    Accepted {
        /// Through which listener.
        listener: ListenerId,
        /// Our address.
        local: SocketAddr,
        /// The client's address.
        peer: SocketAddr,
    },
    /// A connection that we asked for is established.
    Connected,
    /// A connection that we asked for could not be established; the id is dead.
    ConnectFailed(CloseReason),
    /// Bytes in order. The stack charges them until a [`Verb::Credit`](crate::Verb::Credit).
    Data(Chain),
    /// The peer sends nothing more (FIN, in order).
    PeerClosed,
    /// There is room to send again, after [`Proxy::wrote`](crate::Proxy::wrote) had said none.
    Writable,
    /// The connection is gone; the id is dead.
    Closed(CloseReason),
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// Both sides had closed.
    Normal,
    /// The peer reset it.
    Reset,
    /// The peer refused it.
    Refused,
    /// The peer did not answer.
    TimedOut,
    /// We reset it.
    Aborted,
}

/// Why the stack did not even try to connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectRefused {
    /// No route to the address.
    NoRoute,
    /// No free source port.
    NoPort,
    /// No free connection slot.
    TableFull,
    /// No memory.
    NoMemory,
}
