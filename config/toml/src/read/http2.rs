//! `[listener.http2]` and `[cluster.http2]`.

use std::time::Duration;

use sluice_config_model::{ConnectionLife, Http2Settings, defaults};

use super::cluster::unless_zero;
use crate::address;
use crate::limits::{CONNECTION_WINDOW, FLOOD_EXEMPT_MAX, HPACK_TABLE_MAX, STREAM_WINDOW, STREAMS};
use crate::report::{At, Report};
use crate::schema;
use crate::section::Section;
use crate::value::Value;

/// When connections are replaced, by the listener's or cluster's own keys.
pub(super) fn life(section: &mut Section<'_>, report: &mut Report<'_>) -> ConnectionLife {
    let requests = section
        .take("max_requests_per_connection")
        .and_then(|value| value.integer::<u32>(0..=i64::from(u32::MAX), report));
    let duration = section.take("max_connection_duration").and_then(|value| value.duration(report));
    ConnectionLife {
        max_requests: requests.map(|at| at.value).filter(|requests| *requests > 0),
        max_duration: unless_zero(duration, Duration::ZERO),
    }
}

/// Whose section it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Of {
    Listener,
    Cluster,
}

/// What the section says; the defaults without it. What it does not say of the lives of connections
/// holds for those of HTTP/2 as well.
pub(super) fn settings(
    of: Of,
    value: Option<Value<'_>>,
    life: ConnectionLife,
    report: &mut Report<'_>,
) -> Http2Settings {
    let mut settings = Http2Settings {
        max_requests_per_connection: life.max_requests,
        max_connection_duration: life.max_duration,
        ..Http2Settings::default()
    };
    let Some(mut section) = value.and_then(|value| value.section(&schema::HTTP2, report)) else {
        return settings;
    };
    let mut number = |key, range| {
        let value = section.take(key).and_then(|value| value.integer::<u32>(range, report));
        value.map(|at| at.value)
    };
    if let Some(streams) = number("max_concurrent_streams", STREAMS) {
        settings.max_concurrent_streams = streams;
    }
    if let Some(resets) = number("max_resets", 1..=i64::from(u16::MAX)) {
        settings.max_resets = u16::try_from(resets).unwrap_or(u16::MAX);
    }
    for (key, limit) in frame_limits(&mut settings) {
        if let Some(frames) = number(key, 1..=i64::from(u16::MAX)) {
            *limit = u16::try_from(frames).unwrap_or(u16::MAX);
        }
    }
    if let Some(requests) = number("max_requests_per_connection", 0..=i64::from(u32::MAX)) {
        settings.max_requests_per_connection = Some(requests).filter(|requests| *requests > 0);
    }
    sources(of, &mut settings, &mut section, report);
    windows(&mut settings, &mut section, report);
    if let Some(at) = size(&mut section, "hpack_table_size", 0..=HPACK_TABLE_MAX, report) {
        settings.hpack_table_size = at.value;
    }
    let mut duration = |key| section.take(key).and_then(|value| value.duration(report));
    let ping_interval = duration("ping_interval").filter(|at| !at.value.is_zero());
    if let Some(at) = duration("max_connection_duration") {
        settings.max_connection_duration = unless_zero(Some(at), Duration::ZERO);
    }
    let (ping_timeout, stall_timeout) = (duration("ping_timeout"), duration("stall_timeout"));
    settings.ping_timeout = longer(ping_timeout, "ping_timeout", defaults::PING_TIMEOUT, report);
    settings.stall_timeout =
        longer(stall_timeout, "stall_timeout", defaults::STALL_TIMEOUT, report);
    settings.ping_interval =
        ping_interval.map(|at| longer(Some(at), "ping_interval", Duration::ZERO, report));
    section.close(report);
    settings
}

/// When sources that floods come from are held back.
fn sources(
    of: Of,
    settings: &mut Http2Settings,
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) {
    let mut take = |key| {
        let value = section.take(key)?;
        if of == Of::Cluster {
            report
                .warning(value.key_span, format!("`{key}` has no effect for a cluster"))
                .hint("it is about clients: [listener.http2]");
        }
        Some(value)
    };
    let (floods, exempt) = (take("max_floods_per_source"), take("flood_exempt_sources"));
    if let Some(at) = floods.and_then(|value| value.integer::<u16>(0..=1_000, report)) {
        settings.max_floods_per_source = at.value;
    }
    if let Some(value) = exempt {
        let entries = value.list(FLOOD_EXEMPT_MAX, report);
        let networks = entries.into_iter().filter_map(|entry| address::cidr(entry, report));
        settings.flood_exempt_sources = networks.map(|at| at.value).collect();
    }
}

/// How many frames of a kind may come at once.
fn frame_limits(settings: &mut Http2Settings) -> [(&'static str, &mut u16); 7] {
    [
        ("max_settings_frames", &mut settings.max_settings_frames),
        ("max_ping_frames", &mut settings.max_ping_frames),
        ("max_priority_frames", &mut settings.max_priority_frames),
        ("max_empty_frames", &mut settings.max_empty_frames),
        ("max_window_update_frames", &mut settings.max_window_update_frames),
        ("max_unknown_frames", &mut settings.max_unknown_frames),
        ("max_late_frames", &mut settings.max_late_frames),
    ]
}

/// A time that a peer may take for an answer, or until it is asked again.
fn longer(
    at: Option<At<Duration>>,
    key: &str,
    default: Duration,
    report: &mut Report<'_>,
) -> Duration {
    let Some(at) = at else { return default };
    if at.value < Duration::from_secs(1) {
        report
            .error(at.span, format!("`{key}` must be at least 1s"))
            .hint("a peer that is far away, or busy, needs time to answer");
    }
    at.value
}

fn windows(settings: &mut Http2Settings, section: &mut Section<'_>, report: &mut Report<'_>) {
    let stream = size(section, "initial_stream_window_size", STREAM_WINDOW, report);
    let connection = size(section, "initial_connection_window_size", CONNECTION_WINDOW, report);
    let most = size(section, "max_stream_window_size", STREAM_WINDOW, report);
    if let Some(at) = &stream {
        settings.initial_stream_window_size = at.value;
        settings.max_stream_window_size = settings.max_stream_window_size.max(at.value);
    }
    match connection {
        Some(at) => settings.initial_connection_window_size = at.value,
        // One stream alone may use all of its window.
        None => {
            let least = settings.initial_stream_window_size;
            let usual = settings.initial_connection_window_size;
            settings.initial_connection_window_size = usual.max(least);
        }
    }
    let Some(at) = most else { return };
    if at.value < settings.initial_stream_window_size {
        report
            .error(at.span, "`max_stream_window_size` is less than the initial window")
            .hint("it is how far `initial_stream_window_size` grows; the same for not at all");
    }
    settings.max_stream_window_size = at.value;
}

fn size(
    section: &mut Section<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> Option<At<u32>> {
    let at = section.take(key)?.size(range, report)?;
    Some(At { value: u32::try_from(at.value).unwrap_or(u32::MAX), span: at.span })
}
