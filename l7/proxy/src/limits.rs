//! Bounds on what a peer can make a worker's proxy hold or repeat.

use std::time::Duration;

/// Snapshots that requests may still read at once. A stream of reloads beyond it is skipped.
pub(crate) const PINNED_SNAPSHOTS_MAX: usize = 64;

/// Body bytes of a request that are kept, by reference, for a retry. More would let slow uploads
/// pin receive buffers that their window no longer accounts for.
pub(crate) const REPLAY_BYTES_MAX: usize = 16 * 1_024;

/// Of those, bytes that are copied where the request rests, to let go of the buffers that they arrived
/// in. A request with more keeps its buffers, of which there are only so many; memory for copies has no
/// such end.
pub(crate) const FOLDED_REPLAY_MAX: usize = 1_024;
const _: () = assert!(FOLDED_REPLAY_MAX < REPLAY_BYTES_MAX);

/// Endpoints that one request may be sent to. Answers `retries` that would walk a whole cluster.
pub(crate) const ATTEMPTS_MAX: usize = 8;

/// Requests that one call begins; the rest waits for [`Proxy::handle_timers`]. Answers a client
/// that pipelines hundreds of requests into one window while others wait.
///
/// [`Proxy::handle_timers`]: crate::Proxy::handle_timers
pub(crate) const REQUESTS_PER_CALL: u32 = 64;

/// Events of one connection of many streams that are handled before others have their turn. Answers
/// bodies in frames of one byte: a turn's 256 KiB are some 26,000 of them.
pub(crate) const EVENTS_PER_TURN: u32 = 1_024;

/// Frames of one client's connection that are read before others have their turn where they make no
/// event. Answers WINDOW_UPDATE, PRIORITY and the like: a turn's 256 KiB are some 20,000 of them.
pub(crate) const SILENT_PER_TURN: u16 = 1_024;

/// Sources of floods that a worker remembers, eight to a set; 32 bytes each. Answers attackers with
/// many addresses, each of which must have completed a handshake.
pub(crate) const FLOOD_SOURCES: usize = 2_048;

/// What a connection has to use up of a budget, in 256ths, for its source to be charged with it though
/// no flood ended it. Answers who closes just before, and comes again.
pub(crate) const FLOOD_CHARGED: u16 = 64;

/// Clusters or sessions looked at per call after a snapshot was adopted.
pub(crate) const SWEEP_PER_CALL: usize = 256;

/// How long ids of an older snapshot that are still named are left before they are looked for again.
pub(crate) const NAMED_POLL: Duration = Duration::from_secs(1);

/// How long a connection that we closed may stay half open while its peer neither closes nor takes
/// bytes. Answers clients that keep the slot of a connection we are done with.
pub(crate) const LINGER: Duration = Duration::from_secs(30);

/// Bytes that a peer may still send on a connection we closed before it is reset. Lets the answer
/// arrive at a client that is still uploading (RFC 9112, 9.6), but not for ever.
pub(crate) const LINGER_BYTES_MAX: u32 = 1_024 * 1_024;

/// How often requests that wait for another worker's connection permit look again.
pub(crate) const PENDING_POLL: Duration = Duration::from_millis(10);

/// How long an endpoint that was unreachable gets no new sessions of datagrams if there is another.
/// Short: an attacker who guesses a session's port can say so.
pub(crate) const AVOIDED: Duration = Duration::from_secs(10);

/// Endpoints that are avoided at a time; the oldest gives way.
pub(crate) const AVOIDED_MAX: usize = 8;

/// How long a session of datagrams outlives its last one while the process drains.
pub(crate) const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// Access records that wait for the worker; beyond, they are dropped and counted.
pub(crate) const LOG_RING: usize = 1_024;

/// Methods of gRPC that are counted by themselves, of each cluster; the rest is counted together.
/// Answers callers that make names up: each costs a few hundred bytes and some forty series.
pub(crate) const METHODS_MAX: usize = 128;

/// Bytes that a method's path has at most to be counted by itself.
pub(crate) const METHOD_TEXT_MAX: usize = 256;

/// Longest body of a direct response (Envoy's limit), which fits two buffers.
pub(crate) const REPLY_BYTES_MAX: usize = 4 * 1_024;

/// Bytes that one stream sends per turn: a large unit of segmentation offload.
pub(crate) const STREAM_BURST: usize = 16 * 1_024;

/// Bytes that a connection of many streams writes per call, at least; the rest follows when the stack
/// has taken them.
pub(crate) const OUTPUT_PER_CALL: usize = 128 * 1_024;

/// How long a request keeps its head at hand. Most are over by then; of the others what was sent is
/// needed again only where an endpoint fails, and for the log.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// Heads kept for requests to come, of 1.5 KiB each: as many as begin within `REST` in most places.
pub(crate) const HEADS_KEPT: usize = 16 * 1_024;

/// How long a connection that carries nothing keeps memory of the time when it carried something, and
/// its table of header compression. One that carries something more often asks for no memory.
pub(crate) const TRIM: Duration = Duration::from_secs(4);

/// Bytes by which all windows of HTTP/2 of a worker may grow together at most, beyond the 256 KiB that each
/// connection begins with.
pub(crate) const WINDOWS_MAX: u32 = 64 << 20;

/// The same for a worker with so many buffers for what it receives: half of them, at 2 KiB each.
pub(crate) const fn windows_max(receive_buffers: u32) -> u32 {
    let half = receive_buffers.saturating_mul(1_024);
    if half < WINDOWS_MAX { half } else { WINDOWS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_for_half_of_the_buffers() {
        assert_eq!(windows_max(16_384), 16 << 20);
        assert_eq!(windows_max(u32::MAX), WINDOWS_MAX);
        assert_eq!(windows_max(0), 0);
    }
}
