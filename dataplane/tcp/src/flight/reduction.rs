//! Proportional rate reduction (RFC 6937): the window falls to ssthresh over one round trip, in
//! proportion to what is delivered, and never waits for half of the flight to leave.

/// The counts of RFC 6937, 3, for the recovery under way.
#[derive(Debug, Default)]
pub(crate) struct Reduction {
    /// RecoverFS: bytes under way when the loss was found.
    flight: u32,
    /// prr_delivered.
    delivered: u32,
    /// prr_out.
    sent: u32,
}

impl Reduction {
    pub(crate) fn new(flight: u32) -> Self {
        Self { flight: flight.max(1), delivered: 0, sent: 0 }
    }

    pub(crate) fn on_sent(&mut self, bytes: u32) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// RFC 6937, 3.1: cwnd after an ACK that delivered `bytes`. `is_safe`: the ACK moved SND.UNA
    /// and told of no further loss, so slow start back to `threshold` is in order.
    pub(crate) fn on_delivered(
        &mut self,
        bytes: u32,
        pipe: u32,
        threshold: u32,
        mss: u32,
        is_safe: bool,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(bytes);
        let mut send = if pipe > threshold {
            let share = u64::from(self.delivered) * u64::from(threshold);
            let allowed = share.div_ceil(u64::from(self.flight));
            u32::try_from(allowed).unwrap_or(u32::MAX).saturating_sub(self.sent)
        } else {
            let conservative = self.delivered.saturating_sub(self.sent).max(bytes);
            let limit = if is_safe { conservative.saturating_add(mss) } else { conservative };
            limit.min(threshold - pipe)
        };
        if self.sent == 0 {
            // The first retransmission never waits.
            send = send.max(mss);
        }
        pipe.saturating_add(send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6937, 3.1: over the recovery of one loss among 20, with ssthresh at half, every second
    /// ACK lets a segment out.
    #[test]
    fn the_window_falls_in_proportion() {
        let mut reduction = Reduction::new(20_000);
        let (mut pipe, mut sent) = (19_000u32, 0);
        for _ in 0..19 {
            pipe -= 1_000;
            let window = reduction.on_delivered(1_000, pipe, 10_000, 1_000, false);
            while pipe + 1_000 <= window {
                pipe += 1_000;
                sent += 1;
                reduction.on_sent(1_000);
            }
        }
        assert_eq!((sent, pipe), (10, 10_000));
    }

    #[test]
    fn after_heavy_loss_the_window_grows_back_without_a_burst() {
        let mut reduction = Reduction::new(20_000);
        // 15 of 20 are lost: what is under way is far below the threshold.
        let window = reduction.on_delivered(1_000, 4_000, 10_000, 1_000, false);
        assert_eq!(window, 5_000);
        reduction.on_sent(1_000);
        let window = reduction.on_delivered(1_000, 4_000, 10_000, 1_000, true);
        assert_eq!(window, 6_000, "slow start: one more than was delivered");
    }
}
