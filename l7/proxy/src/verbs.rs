//! What the proxy asks the stack to do.

use std::net::SocketAddr;

use sluice_base::{ClusterId, ConnId};
use sluice_buf::Chain;

/// One thing to do, in order.
///
/// A connection may have died on the stack's side while the verb was on its way: verbs for ids that
/// the stack does not know any more are dropped, and the proxy hears of it by `Closed`.
#[derive(Debug)]
pub enum Verb {
    /// Open a connection; answer with [`Proxy::connect_result`](crate::Proxy::connect_result)
    /// before the next verb is taken.
    Connect {
        /// Comes back in the answer.
        token: u32,
        /// Where to.
        remote: SocketAddr,
        /// For which cluster: it decides the connection's TCP configuration.
        cluster: ClusterId,
    },
    /// Send these bytes; answer with [`Proxy::wrote`](crate::Proxy::wrote).
    Write {
        /// On which connection.
        conn: ConnId,
        /// What to send; moved, never copied.
        bytes: Chain,
    },
    /// The proxy let go of this many received bytes: the window may open.
    Credit {
        /// Of which connection.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// Send FIN after what is queued.
    Close {
        /// Which connection.
        conn: ConnId,
    },
    /// Send RST now and forget the connection; nothing is heard of it again.
    Abort {
        /// Which connection.
        conn: ConnId,
    },
}
