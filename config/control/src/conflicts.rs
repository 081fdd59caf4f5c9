//! Addresses of ours that other stations claim: what the workers count, the operator must hear.

use std::time::Duration;

use sluice_stack::DropReason;
use sluice_worker::WorkerLinks;
use tokio::time::Instant;
use tracing::{error, warn};

/// Two stations that are both sure quarrel for ever; the log need not hear of every word.
const SILENCE: Duration = Duration::from_secs(60);

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    lost: u64,
    claimed: u64,
    warned: Option<Instant>,
}

impl Conflicts {
    /// Looks at the counters, and says what is new about them.
    pub(crate) fn look(&mut self, workers: &[WorkerLinks]) {
        let stacks = || workers.iter().map(|worker| &worker.status.stack);
        let lost = stacks().map(|stack| stack.duplicate_addresses.value()).sum();
        if lost > self.lost {
            error!(
                "{} of our addresses belong(s) to another station on the link and is not used: \
                 two hosts must not have the same `addresses` (sluice_stack_duplicate_addresses_total)",
                lost - self.lost
            );
            self.lost = lost;
        }
        let reasons = [DropReason::ArpConflict, DropReason::NdConflict];
        let count = |reason| stacks().map(|stack| stack.drops.value(reason)).sum::<u64>();
        let claimed = reasons.into_iter().map(count).sum();
        let may_warn = self.warned.is_none_or(|at| at.elapsed() >= SILENCE);
        if claimed > self.claimed && may_warn {
            warn!(
                "another station claims an address of ours ({} packets); it was told off, but \
                 connections may go astray (sluice_drops_total, arp-conflict and nd-conflict)",
                claimed - self.claimed
            );
            self.claimed = claimed;
            self.warned = Some(Instant::now());
        }
    }
}
