//! What both ends say about themselves (RFC 9113, 6.5; RFC 8441, 3).

use sluice_l7_core::Role;

use crate::budget::{FrameLimits, RESETS};
use crate::error::Fault;
use crate::hpack;
use crate::limits::{FRAME_SIZE, STREAMS_MAX, WINDOW_DEFAULT, WINDOW_MAX};

/// Identifiers.
pub(crate) mod id {
    /// SETTINGS_HEADER_TABLE_SIZE
    pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
    /// SETTINGS_ENABLE_PUSH
    pub(crate) const ENABLE_PUSH: u16 = 0x2;
    /// SETTINGS_MAX_CONCURRENT_STREAMS
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    /// SETTINGS_INITIAL_WINDOW_SIZE
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    /// SETTINGS_MAX_FRAME_SIZE
    pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
    /// SETTINGS_MAX_HEADER_LIST_SIZE
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441)
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    /// SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218)
    pub(crate) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// How a connection of ours behaves. Times are milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// Streams at once: what a server allows, and what a client does not exceed.
    pub streams_max: u32,
    /// Bytes that a peer may send on a stream before they are credited, at first.
    pub stream_window: u32,
    /// The same for all streams together; at least 65,535, which is what every peer starts with.
    pub connection_window: u32,
    /// How far measured bandwidth may grow a stream's window.
    pub stream_window_max: u32,
    /// How long SETTINGS and PING may go unanswered.
    pub answer_timeout_ms: u32,
    /// How long a stream may stand still: with bytes to send and no window, or half closed.
    pub stall_timeout_ms: u32,
    /// Whether a server says that it takes extended CONNECT (RFC 8441, 3).
    pub connect_protocol: bool,
    /// Bytes of either table of header compression, at most 4,096: what the peer may use, and what we
    /// use ourselves.
    pub header_table: u32,
    /// Resets of streams by a client that come at once, and those that it made us send; a fifth of
    /// that per second, and one for each stream that was completed.
    pub resets_max: u16,
    /// Other frames that come at once.
    pub frames: FrameLimits,
    /// How often a connection that hears nothing asks for a sign of life; 0: never.
    pub ping_interval_ms: u32,
    /// After so many frames that make no event `decode` pauses, see [`Http2::take_pause`]; 0: never.
    ///
    /// [`Http2::take_pause`]: crate::Http2::take_pause
    pub pause_after: u16,
}

impl Default for Config {
    /// 100 streams as RFC 9113, 6.5.2 recommends at least; 64 KiB a stream and 256 KiB in all, so
    /// that few peers wait and none holds much, up to 8 MiB, three quarters of which are 1 Gbit/s over
    /// 50 ms; a minute for who stands still.
    fn default() -> Self {
        Self {
            streams_max: 100,
            stream_window: 65_535,
            connection_window: 262_144,
            stream_window_max: 8 << 20,
            answer_timeout_ms: 10_000,
            stall_timeout_ms: 60_000,
            connect_protocol: true,
            header_table: hpack::TABLE_SIZE,
            resets_max: RESETS,
            frames: FrameLimits::default(),
            ping_interval_ms: 0,
            pause_after: 0,
        }
    }
}

impl Config {
    /// The same within what the protocol and our tables can carry.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        self.streams_max = self.streams_max.clamp(1, STREAMS_MAX);
        self.stream_window = self.stream_window.clamp(1, WINDOW_MAX / 4);
        self.stream_window_max = self.stream_window_max.clamp(self.stream_window, WINDOW_MAX / 4);
        self.connection_window = self.connection_window.clamp(WINDOW_DEFAULT, WINDOW_MAX / 4);
        self.header_table = self.header_table.min(hpack::TABLE_SIZE);
        self.resets_max = self.resets_max.max(1);
        self.answer_timeout_ms = self.answer_timeout_ms.max(1);
        self.stall_timeout_ms = self.stall_timeout_ms.max(1);
        self
    }

    /// What we say at the start; the number of entries.
    pub(crate) fn entries(&self, role: Role, header_bytes: u32) -> ([(u16, u32); 5], usize) {
        let window = (id::INITIAL_WINDOW_SIZE, self.stream_window);
        let list = (id::MAX_HEADER_LIST_SIZE, header_bytes);
        let first = match role {
            Role::Server => (id::MAX_CONCURRENT_STREAMS, self.streams_max),
            Role::Client => (id::ENABLE_PUSH, 0),
        };
        let mut entries = [first, window, list, (0, 0), (0, 0)];
        let mut count = 3;
        // Nothing is said that holds anyway.
        let table = (self.header_table != hpack::TABLE_SIZE)
            .then_some((id::HEADER_TABLE_SIZE, self.header_table));
        let connect = (role == Role::Server && self.connect_protocol)
            .then_some((id::ENABLE_CONNECT_PROTOCOL, 1));
        for entry in [table, connect].into_iter().flatten() {
            entries[count] = entry;
            count += 1;
        }
        (entries, count)
    }
}

/// What the peer says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerSettings {
    pub(crate) header_table_size: u32,
    pub(crate) streams_max: u32,
    pub(crate) initial_window: u32,
    pub(crate) connect_protocol: bool,
}

impl PeerSettings {
    /// Before it has said anything.
    pub(crate) const fn new() -> Self {
        Self {
            header_table_size: hpack::TABLE_SIZE,
            streams_max: u32::MAX,
            initial_window: WINDOW_DEFAULT,
            connect_protocol: false,
        }
    }

    /// Takes one setting; those that nobody knows are ignored.
    ///
    /// # Errors
    /// A value that the setting does not have, from a peer of this role.
    pub(crate) fn apply(&mut self, setting: u16, value: u32, peer: Role) -> Result<(), Fault> {
        match (setting, value) {
            (id::HEADER_TABLE_SIZE, _) => self.header_table_size = value,
            // A server must not offer to accept pushes (RFC 9113, 6.5.2).
            (id::ENABLE_PUSH, 0) => {}
            (id::ENABLE_PUSH, 1) if peer == Role::Client => {}
            (id::ENABLE_PUSH, _) => return Err(Fault::Setting),
            (id::MAX_CONCURRENT_STREAMS, _) => self.streams_max = value,
            (id::INITIAL_WINDOW_SIZE, 0..=WINDOW_MAX) => self.initial_window = value,
            (id::INITIAL_WINDOW_SIZE, _) => return Err(Fault::InitialWindow),
            // We never send a larger one than the least that is allowed.
            (id::MAX_FRAME_SIZE, FRAME_SIZE..=0x00ff_ffff) => {}
            (id::MAX_FRAME_SIZE, _) => return Err(Fault::Setting),
            // Once offered it stays (RFC 8441, 3).
            (id::ENABLE_CONNECT_PROTOCOL, 1) => self.connect_protocol = true,
            (id::ENABLE_CONNECT_PROTOCOL, 0) if !self.connect_protocol => {}
            (id::ENABLE_CONNECT_PROTOCOL, _) => return Err(Fault::Setting),
            (id::NO_RFC7540_PRIORITIES, 0 | 1) => {}
            (id::NO_RFC7540_PRIORITIES, _) => return Err(Fault::Setting),
            // Advice, or unknown.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_at_its_edges() {
        let apply = |setting, value| PeerSettings::new().apply(setting, value, Role::Client);
        for (setting, value, result) in [
            (id::HEADER_TABLE_SIZE, u32::MAX, Ok(())),
            (id::ENABLE_PUSH, 0, Ok(())),
            (id::ENABLE_PUSH, 1, Ok(())),
            (id::ENABLE_PUSH, 2, Err(Fault::Setting)),
            (id::MAX_CONCURRENT_STREAMS, 0, Ok(())),
            (id::INITIAL_WINDOW_SIZE, WINDOW_MAX, Ok(())),
            (id::INITIAL_WINDOW_SIZE, WINDOW_MAX + 1, Err(Fault::InitialWindow)),
            (id::MAX_FRAME_SIZE, FRAME_SIZE - 1, Err(Fault::Setting)),
            (id::MAX_FRAME_SIZE, FRAME_SIZE, Ok(())),
            (id::MAX_FRAME_SIZE, 0x00ff_ffff, Ok(())),
            (id::MAX_FRAME_SIZE, 0x0100_0000, Err(Fault::Setting)),
            (id::MAX_HEADER_LIST_SIZE, 0, Ok(())),
            (id::ENABLE_CONNECT_PROTOCOL, 0, Ok(())),
            (id::ENABLE_CONNECT_PROTOCOL, 2, Err(Fault::Setting)),
            (id::NO_RFC7540_PRIORITIES, 2, Err(Fault::Setting)),
            (0, 7, Ok(())),
            (0x7f, 7, Ok(())),
        ] {
            assert_eq!(apply(setting, value), result, "{setting}: {value}");
        }
        let mut server = PeerSettings::new();
        assert_eq!(server.apply(id::ENABLE_PUSH, 1, Role::Server), Err(Fault::Setting));
        assert_eq!(server.apply(id::ENABLE_CONNECT_PROTOCOL, 1, Role::Server), Ok(()));
        let withdrawn = server.apply(id::ENABLE_CONNECT_PROTOCOL, 0, Role::Server);
        assert_eq!(withdrawn, Err(Fault::Setting));
    }
}
