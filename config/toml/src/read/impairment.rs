//! `[interface.impairment]`.

use sluice_config_model::{Direction, Impairment};

use crate::limits::{IMPAIRMENT_DELAY_MAX, IMPAIRMENT_QUEUE, IMPAIRMENT_RATE_MIN, MTU};
use crate::report::{At, Report};
use crate::section::Section;

pub(super) fn impairment(mut section: Section<'_>, report: &mut Report<'_>) -> Impairment {
    let mut plan = Impairment::default();
    if let Some(value) = section.take("direction") {
        let words = [
            ("both", Direction::Both),
            ("receive", Direction::Receive),
            ("transmit", Direction::Transmit),
        ];
        plan.direction = value.word(&words, &[], report).map(|at| at.value).unwrap_or_default();
    }
    let mut share = |key| {
        let value = section.take(key).and_then(|value| value.share(report));
        value.map_or(0, |at| at.value)
    };
    plan.loss = share("loss");
    plan.duplicate = share("duplicate");
    plan.corrupt = share("corrupt");
    plan.reorder = share("reorder");
    if let Some(at) = section.take("loss_burst").and_then(|v| v.integer(1..=1_000, report)) {
        plan.loss_burst = at.value;
    }
    for (key, slot) in [("latency", &mut plan.latency), ("jitter", &mut plan.jitter)] {
        let Some(at) = section.take(key).and_then(|value| value.duration(report)) else { continue };
        if at.value > IMPAIRMENT_DELAY_MAX {
            report
                .error(at.span, format!("`{key}` is longer than {IMPAIRMENT_DELAY_MAX:?}"))
                .hint("what waits is held in packet buffers");
        }
        *slot = at.value;
    }
    let rate = section.take("rate").and_then(|value| value.rate(IMPAIRMENT_RATE_MIN, report));
    plan.rate = rate.map(|at| at.value);
    let queue = section.take("queue").and_then(|value| value.size(IMPAIRMENT_QUEUE, report));
    if let Some(At { value, span }) = queue {
        if plan.rate.is_none() {
            report
                .warning(span, "`queue` does nothing without `rate`")
                .hint("it is the queue of the bottleneck that `rate` makes");
        }
        plan.queue_bytes = u32::try_from(value).unwrap_or(u32::MAX);
    }
    let black_hole = section.take("black_hole_mtu").and_then(|value| value.integer(MTU, report));
    plan.black_hole_mtu = black_hole.map(|at| at.value);
    if let Some(at) = section.take("seed").and_then(|v| v.integer(0..=i64::MAX, report)) {
        plan.seed = at.value;
    }
    section.close(report);
    plan
}
