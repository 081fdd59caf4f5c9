//! Standard congestion avoidance (RFC 5681, 3.1).

use super::{Controller, Path};

/// One segment per round trip, counted in bytes acknowledged (RFC 3465, 2.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct NewReno {
    /// Bytes acknowledged since the window last grew.
    acked: u32,
}

impl Controller for NewReno {
    fn on_acknowledged(&mut self, window: u32, acked: u32, path: Path) -> u32 {
        self.acked = self.acked.saturating_add(acked);
        if self.acked < window {
            return window;
        }
        self.acked -= window;
        // Never more than one step at a time, whatever one ACK covers.
        self.acked = self.acked.min(window);
        window + path.mss
    }

    fn on_loss(&mut self, _window: u32, flight: u32, path: Path) -> u32 {
        self.acked = 0;
        (flight / 2).max(2 * path.mss)
    }

    fn on_idle(&mut self) {
        self.acked = 0;
    }
}

#[cfg(test)]
mod tests {
    use sluice_base::Instant;

    use super::*;

    #[test]
    fn a_window_of_acks_adds_one_segment() {
        let path = Path { mss: 1_000, rtt_us: 0, now: Instant::ZERO };
        let (mut newreno, mut window) = (NewReno::default(), 10_000);
        for _ in 0..9 {
            window = newreno.on_acknowledged(window, 1_000, path);
        }
        assert_eq!(window, 10_000);
        window = newreno.on_acknowledged(window, 1_000, path);
        assert_eq!(window, 11_000);
        assert_eq!(newreno.on_loss(window, 11_000, path), 5_500);
        assert_eq!(newreno.on_loss(window, 1_000, path), 2_000);
    }
}
