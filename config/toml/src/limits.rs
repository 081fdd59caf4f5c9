//! Bounds on what a file may hold, so that a wrong file is an error and not a hang.

use std::time::Duration;

/// Bytes of a file: 100,000 clusters with ten endpoints each take about 40 MiB.
pub(crate) const FILE_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Sections of one kind in a file, and routes over all virtual hosts.
pub(crate) const SECTIONS_MAX: usize = 100_000;
/// Endpoints over all clusters.
pub(crate) const ENDPOINTS_MAX: usize = 1_000_000;
/// Interfaces: far more than a machine has ports, far fewer than their id can count.
pub(crate) const INTERFACES_MAX: usize = 64;
/// Addresses of one interface.
pub(crate) const ADDRESSES_MAX: usize = 64;
/// What an 802.1Q tag can name (table 9-2).
pub(crate) const VLAN: std::ops::RangeInclusive<i64> = 1..=4_094;
/// SYNs or connections of one source per second.
pub(crate) const SOURCE_RATE: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Streams of HTTP/2 at once on a connection.
pub(crate) const STREAMS: std::ops::RangeInclusive<i64> = 1..=32_768;
/// A stream's window of HTTP/2.
pub(crate) const STREAM_WINDOW: std::ops::RangeInclusive<u64> = 1_024..=16 << 20;
/// The window of all streams of a connection; every peer begins with the least (RFC 9113, 6.9.2).
pub(crate) const CONNECTION_WINDOW: std::ops::RangeInclusive<u64> = 65_535..=64 << 20;
/// A table of header compression, as every peer begins with it (RFC 9113, 6.5.2).
pub(crate) const HPACK_TABLE_MAX: u64 = 4_096;
/// Networks that are never held back for floods: looked through when one comes.
pub(crate) const FLOOD_EXEMPT_MAX: usize = 64;
/// Packet rules of one interface: their rows have at most four words of aggregates.
pub(crate) const PACKET_RULES_MAX: usize = 16_384;
/// Entries of one condition of a packet rule.
pub(crate) const RULE_ENTRIES_MAX: usize = 64;
/// Next hops of one IP route.
pub(crate) const NEXT_HOPS_MAX: usize = 16;
/// Worker cores; bounded by what rings between all pairs of them cost.
pub(crate) const CORES_MAX: usize = 128;
/// The highest core number, as in Linux's `CPU_SETSIZE`.
pub(crate) const CORE_MAX: u32 = 1_023;
/// How long packets may be left lying: far beyond what any load gathers, far below peers' timers.
pub(crate) const RECEIVE_COALESCING_MAX: Duration = Duration::from_millis(10);
/// Buffers of one worker: 16 Mi of 2 KiB are 32 GiB.
pub(crate) const BUFFERS: std::ops::RangeInclusive<i64> = 1_024..=16_777_216;
/// Bytes of an IP packet: what every host must take (RFC 791, 3.1) to a common jumbo frame.
pub(crate) const MTU: std::ops::RangeInclusive<i64> = 576..=9_216;
/// What an impaired interface may hold a packet for.
pub(crate) const IMPAIRMENT_DELAY_MAX: Duration = Duration::from_secs(10);
/// Bytes that may wait for an impaired interface's bottleneck.
pub(crate) const IMPAIRMENT_QUEUE: std::ops::RangeInclusive<u64> = 1_600..=8 * 1_024 * 1_024;
/// Bits per second of a bottleneck: below, a packet takes minutes.
pub(crate) const IMPAIRMENT_RATE_MIN: u64 = 1_000;
/// Entries of one list of header or query rules; each is tried per request.
pub(crate) const RULES_MAX: usize = 64;
/// Clusters of one weighted route.
pub(crate) const WEIGHTED_MAX: usize = 256;
/// Domains of one virtual host.
pub(crate) const DOMAINS_MAX: usize = 10_000;
/// Bytes of a name.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Bytes of a header value, a path or a rewrite.
pub(crate) const VALUE_BYTES_MAX: usize = 4_096;
/// Bytes of a fixed response's body; Envoy's limit.
pub(crate) const BODY_BYTES_MAX: usize = 4_096;
/// Bytes of a compiled regular expression.
pub(crate) const REGEX_BYTES_MAX: usize = 1_024 * 1_024;
/// Any duration.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Errors and warnings that are kept; whoever has fixed so many asks again.
pub(crate) const PROBLEMS_MAX: usize = 50;
/// Bytes of a line that is still shown in a picture.
pub(crate) const PICTURE_LINE_BYTES_MAX: usize = 400;
