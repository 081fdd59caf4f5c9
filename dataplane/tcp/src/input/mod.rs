//! A segment arrives (RFC 9293, 3.10.7): one file per step, in the order of the RFC.
//!
//! | step of 3.10.7.4 | here |
//! |---|---|
//! | first: sequence number | `sequence.rs` (with RFC 7323's timestamps in front) |
//! | second: RST | `reset.rs` |
//! | third: security | not supported by anybody |
//! | fourth: SYN | `syn.rs` |
//! | fifth: ACK | `acknowledgment.rs` |
//! | sixth: URG | urgent data is ordinary data (RFC 6093, 6) |
//! | seventh: text | `text.rs` |
//! | eighth: FIN | `fin.rs` |
//!
//! Nearly every segment is the one that was expected next: `predicted` recognises it with a few
//! comparisons and does what the steps would have done. SYN-SENT has steps of its own (3.10.7.3),
//! `syn_sent.rs`.

mod acknowledgment;
mod fin;
mod predicted;
mod reset;
mod sequence;
mod syn;
mod syn_sent;
mod text;

use sluice_buf::Chain;
use sluice_wire::{PlainHeader, TcpHeader};

use crate::connection::Connection;
use crate::context::Context;
use crate::signals::Signals;
use crate::state::State;

/// The segment ends here: dropped, answered, or the connection is over.
pub(crate) struct Done;

/// Whether the next step has something to do.
pub(crate) type Step = Result<(), Done>;

impl Connection {
    /// RFC 9293, 3.10.7: handles a segment of this connection, whose checksum is good. `payload` is
    /// its data in the buffers that it arrived in.
    pub fn handle_segment(
        &mut self,
        header: &TcpHeader,
        payload: Chain,
        cx: &Context<'_>,
    ) -> Signals {
        if let Some(plain) = header.as_plain() {
            return self.handle_plain(&plain, payload, cx);
        }
        let mut signals = Signals::NONE;
        self.handle_any(header, payload, &mut signals, cx);
        self.finish(signals, cx)
    }

    /// As [`handle_segment`](Self::handle_segment), for the kind of header that nearly all have.
    #[inline]
    pub fn handle_plain(
        &mut self,
        header: &PlainHeader,
        payload: Chain,
        cx: &Context<'_>,
    ) -> Signals {
        let mut signals = Signals::NONE;
        if self.is_predicted(header, &payload) {
            self.handle_predicted(header, payload, &mut signals, cx);
            return self.finish_here(signals, cx);
        }
        self.handle_any(&header.with_ports(0, 0), payload, &mut signals, cx);
        self.finish(signals, cx)
    }

    /// What the prediction does not cover.
    #[cold]
    fn handle_any(
        &mut self,
        header: &TcpHeader,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) {
        match self.state {
            // Whoever holds the slot answers with `reset_for` if it must (3.10.7.1).
            State::Closed => {}
            State::SynSent => self.handle_in_syn_sent(header, payload, signals, cx),
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {
                // An `Err` only says that the steps behind it are not taken.
                let _ = self.handle_in_order_of_steps(header, payload, signals, cx);
                self.settle_send_timers(cx);
            }
        }
    }

    /// RFC 9293, 3.10.7.4.
    fn handle_in_order_of_steps(
        &mut self,
        header: &TcpHeader,
        payload: Chain,
        signals: &mut Signals,
        cx: &Context<'_>,
    ) -> Step {
        let segment_len = header.segment_len(payload.len() as u32);
        self.check_timestamps(header, segment_len, cx)?;
        self.check_sequence(header, segment_len, cx)?;
        self.check_reset(header, cx)?;
        self.check_syn(header, cx)?;
        self.check_acknowledgment(header, &payload, signals, cx)?;
        self.handle_text(header, payload, signals, cx)?;
        self.handle_fin(header, signals, cx);
        Ok(())
    }
}
