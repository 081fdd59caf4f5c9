//! What a key means when it is absent, and why.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// `[runtime] cores`: one worker on core 1, which leaves core 0 to the kernel's interrupts and to
/// the control thread.
pub const WORKER_CORE: u32 = 1;

/// `[runtime] control_core`: core 0, where Linux does its housekeeping anyway.
pub const CONTROL_CORE: u32 = 0;

/// `[runtime] receive_coalescing`: half to a third of what drivers of NICs allow their interrupts, and
/// what makes most packets of a busy TAP share a heartbeat.
pub const RECEIVE_COALESCING: Duration = Duration::from_micros(100);

/// `[runtime] drain_timeout`: what orchestrators grant between SIGTERM and SIGKILL.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// `[[interface]] mtu`: bytes of an IP packet in an Ethernet frame (RFC 894).
pub const MTU: u16 = 1_500;

/// `[[listener]] idle_timeout`: Envoy's; long enough for keep-alive clients, short enough that
/// vanished ones are forgotten.
pub const LISTENER_IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// `[[listener]] idle_timeout` with `protocol = "udp"`: Envoy's; nothing else ends a session.
pub const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// `[[listener]] max_sessions`: what Envoy allows a cluster (`max_connections`).
pub const MAX_SESSIONS: u32 = 1_024;

/// `[[listener]] header_timeout`: an honest head arrives in one round trip; a slow one (slowloris)
/// must not hold a connection for long.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// `[[listener]] stream_idle_timeout`: Envoy's; a stream that moves nothing for so long is dead.
pub const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// `[[listener]] max_request_line`: bytes; what RFC 9112, 3 recommends as a minimum, and nginx and
/// Apache allow.
pub const MAX_REQUEST_LINE: u32 = 8 * 1_024;

/// `[[listener]] max_header_bytes`: Envoy's 60 KiB, which fits the 64 KiB that a head may have.
pub const MAX_HEADER_BYTES: u32 = 60 * 1_024;

/// `[[listener]] max_headers`: Envoy's.
pub const MAX_HEADERS: u16 = 100;

/// `route timeout`: Envoy's.
pub const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// `route retries`: once, since a connection that failed has carried nothing and another endpoint
/// most likely works.
pub const RETRIES: u8 = 1;

/// `retry_back_off base_interval`: Envoy's; long enough that requests which failed together do not
/// come again together, short beside what a client waits for.
pub const RETRY_BASE_INTERVAL: Duration = Duration::from_millis(25);

/// `retry_back_off max_interval`, as a multiple of the base: Envoy's.
pub const RETRY_MAX_INTERVALS: u32 = 10;

/// `route retry_on`: nothing, since an endpoint that answered may have acted.
pub const RETRY_ON: [crate::RetryOn; 0] = [];

/// `redirect status`: Envoy's, Moved Permanently.
pub const REDIRECT_STATUS: u16 = 301;

/// `[[cluster]] connect_timeout`: Envoy's; three SYNs of RFC 6298 (0, 1 and 3 seconds) fit.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// `[[cluster]] idle_timeout`: Envoy's.
pub const CLUSTER_IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// `http2 max_concurrent_streams`: what RFC 9113, 6.5.2 recommends at least, and most servers allow.
pub const MAX_CONCURRENT_STREAMS: u32 = 100;

/// `http2 initial_stream_window_size`: what every peer begins with anyway (RFC 9113, 6.9.2).
pub const INITIAL_STREAM_WINDOW_SIZE: u32 = 65_535;

/// `http2 initial_connection_window_size`: so that four streams that are read slowly do not hold up
/// the others.
pub const INITIAL_CONNECTION_WINDOW_SIZE: u32 = 256 * 1_024;

/// `http2 max_stream_window_size`: 1 Gbit/s over 50 ms, and a quarter that is given back.
pub const MAX_STREAM_WINDOW_SIZE: u32 = 8 * 1_024 * 1_024;

/// `http2 hpack_table_size`: what every peer begins with anyway (RFC 9113, 6.5.2); Envoy's.
pub const HPACK_TABLE_SIZE: u32 = 4_096;

/// `http2 max_resets`: a browser that leaves a page cancels what it had asked for, some hundred at
/// once; rapid reset (CVE-2023-44487) needs ten thousands a second. Envoy's.
pub const MAX_RESETS: u16 = 500;

/// `http2 max_settings_frames`: one at the start, then a handful over a connection's life.
pub const MAX_SETTINGS_FRAMES: u16 = 50;

/// `http2 max_ping_frames`: keep-alives; what measures bandwidth is paid for by what we send.
pub const MAX_PING_FRAMES: u16 = 200;

/// `http2 max_priority_frames`: one per stream of old browsers.
pub const MAX_PRIORITY_FRAMES: u16 = 1_000;

/// `http2 max_empty_frames`: an END_STREAM of its own is not counted, so that honest peers send next to none.
pub const MAX_EMPTY_FRAMES: u16 = 200;

/// `http2 max_window_update_frames`: two per DATA frame of ours is what careless peers send.
pub const MAX_WINDOW_UPDATE_FRAMES: u16 = 20_000;

/// `http2 max_unknown_frames`: greasing sends a few.
pub const MAX_UNKNOWN_FRAMES: u16 = 200;

/// `http2 max_late_frames`: what was on its way when a stream was reset.
pub const MAX_LATE_FRAMES: u16 = 5_000;

/// `http2 max_floods_per_source`: clients with a fault, behind a gateway that many share, end a few;
/// the attack needs hundreds a second.
pub const MAX_FLOODS_PER_SOURCE: u16 = 10;

/// `http2 ping_timeout`: three lost answers of a path with a second of round trip.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// `http2 stall_timeout`: a reader that takes nothing for a minute has left.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// `[[cluster]] max_connections`: Envoy's.
pub const MAX_CONNECTIONS: u32 = 1_024;

/// `[[cluster]] max_pending`: Envoy's.
pub const MAX_PENDING: u32 = 1_024;

/// `[[cluster]] max_retries`: Envoy's.
pub const MAX_RETRIES: u32 = 3;

/// `fast_open_max_pending` of a listener: at 50 ms of round trip, 5,000 such connections a second of
/// one worker.
pub const FAST_OPEN_MAX_PENDING: u32 = 256;

/// Most that `fast_open_max_pending` takes: as many as a worker has connections by default.
pub const FAST_OPEN_MAX_PENDING_MAX: u32 = 65_536;

/// `keepalive_interval` of listener and cluster: Linux's and Envoy's.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(75);

/// `keepalive_probes` of listener and cluster: Linux's and Envoy's.
pub const KEEPALIVE_PROBES: u8 = 9;

/// `[admin] address`: only this machine, since the admin API can stop the process; the port of
/// Envoy's examples is 9901.
pub const ADMIN_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_901);

/// A head lives in one contiguous buffer of at most this many bytes.
pub const HEAD_BYTES_MAX: u32 = 64 * 1_024;

const _: () = assert!(MAX_HEADER_BYTES <= HEAD_BYTES_MAX);
const _: () = assert!(MAX_REQUEST_LINE <= MAX_HEADER_BYTES);
