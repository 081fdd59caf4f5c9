//! What `[[listener]]` and `[[cluster]]` say about their TCP connections.

use std::time::Duration;

use sluice_config_model::{Congestion, Ecn, Keepalive, TcpSettings, defaults};

use super::cluster::unless_zero;
use crate::report::{At, Report};
use crate::section::Section;

pub(super) fn tcp_settings(section: &mut Section<'_>, report: &mut Report<'_>) -> TcpSettings {
    let congestion = section.take("congestion").and_then(|value| {
        let words = [
            ("cubic", Congestion::Cubic),
            ("newreno", Congestion::NewReno),
            ("bbr", Congestion::Bbr),
        ];
        value.word(&words, &[], report)
    });
    let ecn = section.take("ecn").and_then(|value| {
        let words = [("off", Ecn::Off), ("accept", Ecn::Accept), ("offer", Ecn::Offer)];
        value.word(&words, &[], report)
    });
    let keepalive = keepalive(section, report);
    let user_timeout = section.take("user_timeout").and_then(|value| value.duration(report));
    let user_timeout_max = user_timeout_max(user_timeout.as_ref(), section, report);
    TcpSettings {
        congestion: congestion.map(|at| at.value).unwrap_or_default(),
        ecn: ecn.map(|at| at.value).unwrap_or_default(),
        keepalive,
        user_timeout: unless_zero(user_timeout, Duration::ZERO),
        user_timeout_max,
        fast_open_max_pending: 0,
    }
}

fn user_timeout_max(
    user_timeout: Option<&At<Duration>>,
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> Duration {
    let max = section.take("user_timeout_max").and_then(|value| value.duration(report));
    let Some(max) = max.filter(|at| !at.value.is_zero()) else { return Duration::ZERO };
    match user_timeout {
        None => {
            report
                .error(max.span, "`user_timeout_max` says nothing without `user_timeout`")
                .hint("say how long to wait when the peer says nothing: user_timeout = \"30s\"");
        }
        Some(at) if at.value > max.value => {
            report
                .error(max.span, "`user_timeout_max` is less than `user_timeout`")
                .hint("it is up to what a peer's wish makes that longer");
        }
        Some(_) => {}
    }
    max.value
}

/// How many connections of a listener may be pending with Fast Open; 0 if it is off.
pub(super) fn fast_open(section: &mut Section<'_>, report: &mut Report<'_>) -> u32 {
    let is_on = section.take("fast_open").and_then(|value| value.boolean(report));
    let max: Option<At<u32>> = section.take("fast_open_max_pending").and_then(|value| {
        value.integer(1..=i64::from(defaults::FAST_OPEN_MAX_PENDING_MAX), report)
    });
    if let Some(at) = max.as_ref().filter(|_| is_on.is_none()) {
        report
            .error(at.span, "`fast_open_max_pending` says nothing without `fast_open`")
            .hint("say that a request may come with the SYN, and so twice: fast_open = true");
    }
    if !is_on.is_some_and(|at| at.value) {
        return 0;
    }
    max.map_or(defaults::FAST_OPEN_MAX_PENDING, |at| at.value)
}

fn keepalive(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Keepalive> {
    let time = section.take("keepalive_time").and_then(|value| value.duration(report));
    let interval = section.take("keepalive_interval").and_then(|value| value.duration(report));
    let probes: Option<At<u8>> =
        section.take("keepalive_probes").and_then(|value| value.integer(1..=255, report));
    if let Some(at) = interval.as_ref().filter(|at| at.value.is_zero()) {
        report
            .error(at.span, "`keepalive_interval` must be longer than 0")
            .hint("a peer needs time to answer; `keepalive_time = \"0s\"` asks nobody");
    }
    if time.is_none() {
        let interval = interval.as_ref().map(|at| (at.span, "keepalive_interval"));
        let probes = probes.as_ref().map(|at| (at.span, "keepalive_probes"));
        for (span, key) in interval.into_iter().chain(probes) {
            report
                .error(span, format!("`{key}` says nothing without `keepalive_time`"))
                .hint("say how long a peer may be silent: keepalive_time = \"2h\"");
        }
    }
    Some(Keepalive {
        time: unless_zero(time, Duration::ZERO)?,
        interval: interval.map_or(defaults::KEEPALIVE_INTERVAL, |at| at.value),
        probes: probes.map_or(defaults::KEEPALIVE_PROBES, |at| at.value),
    })
}
