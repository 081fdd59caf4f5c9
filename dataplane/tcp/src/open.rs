//! Opening (RFC 9293, 3.10.1 and 3.10.7.2).

use sluice_wire::{SeqNumber, TcpHeader};

use crate::congestion::Congestion;
use crate::connection::Connection;
use crate::context::Context;
use crate::fast_open::Opening;
use crate::isn::Numbers;
use crate::options::Negotiated;
use crate::output::Owed;
use crate::recovery::Recovery;
use crate::recv::ReceiveQueue;
use crate::rtt::RttEstimator;
use crate::send::{Fin, SendQueue};
use crate::signals::Signals;
use crate::spares::Spare;
use crate::state::State;
use crate::timer::Timers;

impl Connection {
    /// RFC 9293, 3.10.1, active OPEN: a SYN is owed, so the connection belongs on the output list.
    #[must_use]
    pub fn connect(numbers: Numbers, cx: &Context<'_>) -> Self {
        Self::new(State::SynSent, numbers, cx)
    }

    /// RFC 9293, 3.10.7.2, third: `syn` came to a listener. A SYN+ACK is owed. Data on the SYN is
    /// left for the peer to send again, unless [`take_early`](Self::take_early) takes it.
    #[must_use]
    pub fn accept(numbers: Numbers, syn: &TcpHeader, cx: &Context<'_>) -> Self {
        let mut connection = Self::new(State::SynReceived, numbers, cx);
        connection.opening = Opening::PASSIVE;
        connection.take_syn(syn, cx);
        connection
    }

    fn new(state: State, numbers: Numbers, cx: &Context<'_>) -> Self {
        let Numbers { iss, stamp_offset } = numbers;
        let options = Negotiated::new(stamp_offset);
        Self {
            state,
            owed: Owed::SYN,
            retries: 0,
            is_write_blocked: false,
            is_read_closed: false,
            opening: Opening::ACTIVE,
            is_end_reported: false,
            close_reason: None,
            receive: ReceiveQueue::new(cx.config),
            send: SendQueue::new(iss),
            recovery: Recovery::new(iss),
            timers: Timers::new(cx.config.quick_acks, cx.now),
            rtt: RttEstimator::new(cx.config),
            tuned_from: SeqNumber::ZERO,
            flight: Spare::NONE,
            path_search: None,
            congestion: Congestion::new(cx.config.congestion, options.mss.into(), cx.spares),
            options,
        }
    }

    /// Takes over what the peer's SYN says: IRS, options, window.
    pub(crate) fn take_syn(&mut self, syn: &TcpHeader, cx: &Context<'_>) {
        self.receive.start(syn.seq);
        self.tuned_from = self.receive.next;
        self.options.agree(&syn.options, cx.config, cx.now);
        self.agree_on_ecn(syn.flags, cx);
        self.take_user_timeout(syn, cx.config);
        // RFC 7323, 2.2: the window of a SYN is not scaled.
        self.send.take_window(syn.seq, syn.ack, syn.window.into());
    }

    /// Both SYNs are acknowledged.
    pub(crate) fn become_established(&mut self, cx: &Context<'_>) -> Signals {
        let was_syn_lost = self.retries > 0;
        self.retries = 0;
        self.owed = self.owed.without(Owed::SYN);
        self.congestion.on_connected(self.options.mss.into(), was_syn_lost);
        if self.congestion.is_paced() {
            self.begin_pacing(cx);
        }
        if was_syn_lost {
            self.rtt.on_lost_syn(cx.config);
        }
        self.recovery.recover = self.send.unacknowledged - 1;
        self.begin_keepalive(cx);
        self.opening.set_tells_user_timeout(cx.config.user_timeout.is_some());
        // RFC 9293, 3.10.4, SYN-RECEIVED: a close in the meantime was queued for this moment.
        self.state = match self.send.fin {
            Fin::None => State::Established,
            Fin::Queued | Fin::Acknowledged => State::FinWait1,
        };
        if self.is_fast_open() { Signals::ACKNOWLEDGED } else { Signals::CONNECTED }
    }
}
