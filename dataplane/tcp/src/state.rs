//! The states of RFC 9293, 3.3.2, and how a connection ends.
//!
//! ```text
//!   connect                                             accept (a SYN arrived)
//!      |                                                     |
//!   SYN-SENT ------ SYN, no ACK: simultaneous open ---> SYN-RECEIVED
//!      |                                                     |
//!      +---- SYN+ACK ------> ESTABLISHED <------- ACK -------+
//!                             |       |
//!                       close |       | FIN
//!                             v       v
//!         +---- FIN --- FIN-WAIT-1   CLOSE-WAIT
//!         v                   |       |
//!      CLOSING     ACK of FIN |       | close
//!         |                   v       v
//!         |           FIN-WAIT-2     LAST-ACK
//!         | ACK               | FIN   | ACK of FIN
//!         |                   v       v
//!         +-----------> TIME-WAIT -> CLOSED <--- RST, abort, retries used up: from anywhere
//! ```
//!
//! LISTEN is not here: a listener is a row in the stack's table, and a connection begins with the
//! SYN. A state changes when the application or the peer decides, not when a segment leaves: after
//! `close` the state is FIN-WAIT-1 although the FIN still waits behind queued data.

/// Where a connection is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum State {
    /// Our SYN waits for an answer.
    SynSent,
    /// The peer's SYN came; ours waits for its ACK.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// We closed; our FIN is not acknowledged yet.
    FinWait1,
    /// Our FIN is acknowledged; the peer may go on sending.
    FinWait2,
    /// The peer closed; we may go on sending.
    CloseWait,
    /// Both closed at once; our FIN is not acknowledged yet.
    Closing,
    /// The peer closed first, then we; our FIN is not acknowledged yet.
    LastAck,
    /// Both closed, we first: old segments die out.
    TimeWait,
    /// Nothing is left but perhaps an owed RST.
    Closed,
}

impl State {
    /// Whether both SYNs are acknowledged and the connection is not over.
    #[inline]
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::SynSent | Self::SynReceived | Self::Closed)
    }

    /// Whether data or a FIN of ours may be on its way.
    #[inline]
    #[must_use]
    pub const fn may_transmit(self) -> bool {
        matches!(
            self,
            Self::Established | Self::FinWait1 | Self::CloseWait | Self::Closing | Self::LastAck
        )
    }

    /// Whether the peer may still send data.
    #[inline]
    #[must_use]
    pub const fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Whether the application may still write.
    #[inline]
    #[must_use]
    pub const fn may_write(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Established | Self::CloseWait)
    }

    /// The RFC's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
        }
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum CloseReason {
    /// Both sides sent their FIN and everything was acknowledged.
    Normal,
    /// The peer sent a RST.
    Reset,
    /// The peer answered our SYN with a RST.
    Refused,
    /// The peer stopped answering.
    TimedOut,
    /// We gave it up: `abort`, or data arrived that nobody will read.
    Aborted,
}
