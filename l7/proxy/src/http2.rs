//! What connections of HTTP/2 are made with, and when they are worn out.

use std::time::Duration;

use sluice_base::{ConnId, Instant};
use sluice_config_model::Http2Settings;
use sluice_l7_http2::{Config, FrameLimits};

use crate::codec::SessionCodec;
use crate::limits::SILENT_PER_TURN;
use crate::proxy::Proxy;
use crate::sessions::Role;

/// The configuration of a listener or cluster, as a connection takes it over when it begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Http2Plan {
    pub(crate) config: Config,
    /// Requests that a connection carries.
    pub(crate) requests_max: Option<u32>,
    /// How long it takes requests.
    pub(crate) duration_max: Option<Duration>,
}

impl Http2Plan {
    pub(crate) fn new(settings: &Http2Settings) -> Self {
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let config = Config {
            streams_max: settings.max_concurrent_streams,
            stream_window: settings.initial_stream_window_size,
            connection_window: settings.initial_connection_window_size,
            stream_window_max: settings.max_stream_window_size,
            answer_timeout_ms: millis(settings.ping_timeout),
            stall_timeout_ms: millis(settings.stall_timeout),
            connect_protocol: false,
            header_table: settings.hpack_table_size,
            resets_max: settings.max_resets,
            frames: FrameLimits {
                settings: settings.max_settings_frames,
                pings: settings.max_ping_frames,
                priorities: settings.max_priority_frames,
                empty: settings.max_empty_frames,
                window_updates: settings.max_window_update_frames,
                unknown: settings.max_unknown_frames,
                late: settings.max_late_frames,
            },
            ping_interval_ms: settings.ping_interval.map_or(0, millis),
            pause_after: 0,
        };
        Self {
            config,
            requests_max: settings.max_requests_per_connection,
            duration_max: settings.max_connection_duration,
        }
    }

    /// For clients; `tunnels`: they are told that they may ask for those.
    pub(crate) fn for_clients(mut self, tunnels: bool) -> Self {
        self.config.connect_protocol = tunnels;
        self.config.pause_after = SILENT_PER_TURN;
        self
    }

    /// As numbers, for who compares what connections were made with.
    pub(crate) fn parts(&self) -> [u64; 14] {
        let config = self.config;
        let FrameLimits { settings, pings, priorities, empty, window_updates, unknown, late } =
            config.frames;
        let four = |one: u16, two: u16, three: u16, last: u16| {
            u64::from(one) << 48 | u64::from(two) << 32 | u64::from(three) << 16 | u64::from(last)
        };
        [
            config.streams_max.into(),
            config.stream_window.into(),
            config.connection_window.into(),
            config.stream_window_max.into(),
            config.answer_timeout_ms.into(),
            config.stall_timeout_ms.into(),
            config.connect_protocol.into(),
            config.header_table.into(),
            config.resets_max.into(),
            four(settings, pings, priorities, empty),
            four(window_updates, unknown, late, 0),
            config.ping_interval_ms.into(),
            self.requests_max.unwrap_or(0).into(),
            self.duration_max.map_or(0, |it| it.as_nanos() as u64),
        ]
    }
}

/// Ends of connections that have carried enough: announced by GOAWAY, and what they carry goes on.
impl Proxy {
    /// One more request is on a connection that carries many.
    #[inline]
    pub(crate) fn count_stream(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let SessionCodec::Http2(coded) = &mut session.codec else { return };
        let left = &mut coded.more.requests_left;
        let is_last = *left == 1;
        *left = left.saturating_sub(1);
        if is_last {
            self.requests_reached(conn);
        }
    }

    /// It has taken as many requests as it may.
    #[cold]
    pub(crate) fn requests_reached(&mut self, conn: ConnId) {
        match self.sessions.get(conn).map(|session| &session.role) {
            Some(Role::Downstream(downstream)) => {
                if let Some(state) = self.listener(downstream.listener) {
                    state.counters.downstream_cx_max_requests_reached.increment();
                }
            }
            Some(Role::Upstream(upstream)) => {
                if let Some(state) = self.pools.cluster(upstream.cluster) {
                    state.counters.upstream_cx_max_requests.increment();
                }
            }
            Some(Role::Vacant) | None => return,
        }
        self.wear_out(conn);
    }

    /// It has taken requests for as long as it may.
    #[cold]
    pub(crate) fn duration_reached(&mut self, conn: ConnId) {
        match self.sessions.get(conn).map(|session| &session.role) {
            Some(Role::Downstream(downstream)) => {
                if let Some(state) = self.listener(downstream.listener) {
                    state.counters.downstream_cx_max_duration_reached.increment();
                }
            }
            Some(Role::Upstream(upstream)) => {
                if let Some(state) = self.pools.cluster(upstream.cluster) {
                    state.counters.upstream_cx_max_duration_reached.increment();
                }
            }
            Some(Role::Vacant) | None => return,
        }
        self.wear_out(conn);
    }

    fn wear_out(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.codec.set_end(Instant::NEVER);
        if session.upstream().is_some() {
            self.pools.unpark(conn, &mut self.sessions);
        }
        if let Some(session) = self.sessions.get_mut(conn) {
            session.drain_codec(&mut self.wires);
        }
        self.touch_output(conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the file says by default is what the machine does by itself.
    #[test]
    fn defaults_agree() {
        let plan = Http2Plan::new(&Http2Settings::default());
        let ours = Config { connect_protocol: false, ..Config::default() };
        assert_eq!(plan, Http2Plan { config: ours, ..Http2Plan::default() });
    }
}
