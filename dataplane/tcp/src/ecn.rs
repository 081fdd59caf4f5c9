//! Explicit congestion notification (RFC 3168, 6.1).
//!
//! ```text
//!   sender  -- data, ECT(0) -->  router  -- data, CE -->  receiver
//!   sender  <-- ECE on every ACK until CWR arrives -----  receiver
//!   sender  -- CWR on the next new data: the window is reduced -->
//! ```

use sluice_wire::Flags;

use crate::connection::Connection;
use crate::context::Context;

/// Whether connections agree on ECN.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EcnMode {
    /// Never.
    Off,
    /// When the peer asks for it (Linux's default).
    #[default]
    Accept,
    /// Asked of every peer.
    Offer,
}

/// What a connection knows of ECN.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ecn(u8);

impl Ecn {
    /// Both sides agreed.
    pub(crate) const AGREED: Self = Self(1);
    /// A packet came with CE: every ACK says ECE until the peer says CWR.
    pub(crate) const ECHO: Self = Self(1 << 1);
    /// The window was reduced: the next new data says CWR.
    pub(crate) const REDUCED: Self = Self(1 << 2);

    #[inline]
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl Connection {
    /// The IP header of the segment that was just handled says that a router was congested (CE).
    #[cold]
    pub fn note_congestion_mark(&mut self, cx: &Context<'_>) {
        if self.options.ecn.contains(Ecn::AGREED) && self.state.is_synchronized() {
            cx.counters.congestion_marks.increment();
            self.options.ecn.set(Ecn::ECHO);
        }
    }

    /// RFC 3168, 6.1.1: the peer's SYN, or SYN+ACK, with the configuration's wish.
    pub(crate) fn agree_on_ecn(&mut self, syn: Flags, cx: &Context<'_>) {
        let wants = match (cx.config.ecn, syn.contains(Flags::ACK)) {
            (EcnMode::Off, _) => false,
            // Our SYN asked; ECE alone is the answer.
            (EcnMode::Offer, true) => syn.contains(Flags::ECE) && !syn.contains(Flags::CWR),
            (EcnMode::Accept, true) => false,
            (EcnMode::Accept | EcnMode::Offer, false) => syn.contains(Flags::ECE | Flags::CWR),
        };
        // Without SACK a reduction and a loss within one round trip could not be told apart.
        if wants && self.options.has_sack() {
            self.options.ecn.set(Ecn::AGREED);
        }
    }

    /// What a SYN or SYN+ACK says. RFC 3168, 6.1.1.1: a SYN that was not answered is repeated
    /// without, lest a box on the way drops such.
    pub(crate) fn ecn_of_syn(&self, flags: Flags, cx: &Context<'_>) -> Flags {
        if flags.contains(Flags::ACK) {
            return if self.options.ecn.contains(Ecn::AGREED) { Flags::ECE } else { Flags::NONE };
        }
        let asks = cx.config.ecn == EcnMode::Offer && self.retries == 0;
        if asks { Flags::ECE | Flags::CWR } else { Flags::NONE }
    }

    /// ECE or CWR came on a connection that agreed on ECN. `window` is what it was before this ACK:
    /// one with ECE does not let it grow (RFC 3168, 6.1.2).
    #[cold]
    pub(crate) fn handle_ecn_flags(
        &mut self,
        flags: Flags,
        has_data: bool,
        window: u32,
        cx: &Context<'_>,
    ) {
        if flags.contains(Flags::CWR) && has_data {
            // RFC 3168, 6.1.3. A mark on this very segment is noted after this.
            self.options.ecn.clear(Ecn::ECHO);
        }
        if flags.contains(Flags::ECE) {
            self.congestion.window = self.congestion.window.min(window);
            self.reduce_for_mark(cx);
        }
    }

    /// RFC 3168, 6.1.2: as for a lost packet, once per round trip, with nothing to send again.
    fn reduce_for_mark(&mut self, cx: &Context<'_>) {
        let is_new = self.send.unacknowledged.after(self.recovery.recover);
        if self.recovery.phase.is_repairing() || !is_new || self.send.in_flight() == 0 {
            return;
        }
        cx.counters.ecn_reductions.increment();
        let path = self.path(cx.now);
        self.congestion.on_loss(self.send.in_flight(), path);
        let threshold = self.congestion.slow_start_threshold;
        self.congestion.window = self.congestion.window.min(threshold);
        self.recovery.recover = self.send.max - 1;
        self.options.ecn.set(Ecn::REDUCED);
    }
}
