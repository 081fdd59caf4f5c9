//! `[listener.http2]` and `[cluster.http2]`: what HTTP/2 is like on a connection.

use std::time::Duration;

use crate::defaults;
use crate::interface::IpCidr;

/// HTTP/2 with the clients of a listener, or the endpoints of a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http2Settings {
    /// Streams at once on a connection: what clients may open, or what we open.
    pub max_concurrent_streams: u32,
    /// Bytes that a peer may send on a stream before they went on, at first.
    pub initial_stream_window_size: u32,
    /// The same for all streams of a connection together.
    pub initial_connection_window_size: u32,
    /// How far a stream's window grows with what the path carries.
    pub max_stream_window_size: u32,
    /// Bytes of either table of header compression.
    pub hpack_table_size: u32,
    /// Resets of a client's streams that come at once; beyond, its connection ends.
    pub max_resets: u16,
    /// At once: SETTINGS, acknowledgements too.
    pub max_settings_frames: u16,
    /// At once: PING that was not asked for.
    pub max_ping_frames: u16,
    /// At once: PRIORITY and PRIORITY_UPDATE.
    pub max_priority_frames: u16,
    /// At once: DATA without data that does not end a stream.
    pub max_empty_frames: u16,
    /// At once: WINDOW_UPDATE.
    pub max_window_update_frames: u16,
    /// At once: frames of types that nobody knows.
    pub max_unknown_frames: u16,
    /// At once: frames on streams that were reset.
    pub max_late_frames: u16,
    /// Connections of one source that floods may end within so many seconds before it is held back;
    /// 0: it never is. Of a listener.
    pub max_floods_per_source: u16,
    /// Sources that are never held back, whatever came from them. Of a listener.
    pub flood_exempt_sources: Vec<IpCidr>,
    /// How often a peer of which nothing is heard is asked for a sign of life; `None`: never.
    pub ping_interval: Option<Duration>,
    /// How long a PING or SETTINGS may go unanswered.
    pub ping_timeout: Duration,
    /// How long a stream may stand still that has something to send and no window.
    pub stall_timeout: Duration,
    /// Requests that a connection carries before it is replaced; `None`: any number.
    pub max_requests_per_connection: Option<u32>,
    /// How long a connection takes requests; `None`: for ever.
    pub max_connection_duration: Option<Duration>,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: defaults::MAX_CONCURRENT_STREAMS,
            initial_stream_window_size: defaults::INITIAL_STREAM_WINDOW_SIZE,
            initial_connection_window_size: defaults::INITIAL_CONNECTION_WINDOW_SIZE,
            max_stream_window_size: defaults::MAX_STREAM_WINDOW_SIZE,
            hpack_table_size: defaults::HPACK_TABLE_SIZE,
            max_resets: defaults::MAX_RESETS,
            max_settings_frames: defaults::MAX_SETTINGS_FRAMES,
            max_ping_frames: defaults::MAX_PING_FRAMES,
            max_priority_frames: defaults::MAX_PRIORITY_FRAMES,
            max_empty_frames: defaults::MAX_EMPTY_FRAMES,
            max_window_update_frames: defaults::MAX_WINDOW_UPDATE_FRAMES,
            max_unknown_frames: defaults::MAX_UNKNOWN_FRAMES,
            max_late_frames: defaults::MAX_LATE_FRAMES,
            max_floods_per_source: defaults::MAX_FLOODS_PER_SOURCE,
            flood_exempt_sources: Vec::new(),
            ping_interval: None,
            ping_timeout: defaults::PING_TIMEOUT,
            stall_timeout: defaults::STALL_TIMEOUT,
            max_requests_per_connection: None,
            max_connection_duration: None,
        }
    }
}
