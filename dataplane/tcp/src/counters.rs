//! What happened, by name. One set per worker, shared by its connections.

use sluice_base::Counter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Events of all connections of a worker.
        #[derive(Debug, Default)]
        pub struct TcpCounters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl TcpCounters {
            /// Name and value of each, in a stable order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$(($text, self.$name.value()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Segments that took the predicted path.
    predicted = "predicted",
    /// Dropped: outside the receive window (RFC 9293, 3.10.7.4, first).
    outside_window = "outside-window",
    /// Dropped: a timestamp from the past (RFC 7323, 5.3).
    old_timestamp = "old-timestamp",
    /// Segments with a timestamp from the past that had only been overtaken.
    overtaken = "overtaken",
    /// Dropped: no timestamp although they were agreed on (RFC 7323, 3.2).
    missing_timestamp = "missing-timestamp",
    /// Dropped: no ACK bit.
    without_ack = "without-ack",
    /// Dropped: acknowledges what was never sent, or too far in the past (RFC 5961, 5.2).
    unacceptable_ack = "unacceptable-ack",
    /// Connections that a RST ended.
    resets_received = "resets-received",
    /// Dropped: a RST whose number is not exactly the expected one (RFC 5961, 3.2).
    reset_not_exact = "reset-not-exact",
    /// Dropped: a RST outside the window, in TIME-WAIT, or without a good ACK in SYN-SENT.
    reset_ignored = "reset-ignored",
    /// Dropped: a SYN on a connection that has one (RFC 5961, 4.2).
    unexpected_syn = "unexpected-syn",
    /// RSTs sent.
    resets_sent = "resets-sent",
    /// Challenge ACKs owed.
    challenge_acks = "challenge-acks",
    /// Challenge ACKs withheld by the rate limit.
    challenge_acks_limited = "challenge-acks-limited",
    /// Dropped: data after the application stopped reading, answered with a RST.
    data_after_close = "data-after-close",
    /// Segments whose data had all arrived before.
    duplicate_data = "duplicate-data",
    /// Segments that arrived ahead of a hole.
    out_of_order = "out-of-order",
    /// Dropped: ahead of a hole, with no room in the reassembly queue.
    reassembly_full = "reassembly-full",
    /// Reassembly queues given up for want of memory (RFC 2018, 8).
    reassembly_dropped = "reassembly-dropped",
    /// Dropped: in order, but the connection's buffers are used up.
    receive_budget = "receive-budget",
    /// Receive windows doubled because a peer filled them within a round trip.
    receive_windows_grown = "receive-windows-grown",
    /// Scoreboards and reassembly queues that were needed when all were in use.
    spares_exhausted = "spares-exhausted",
    /// Payloads copied behind queued bytes.
    coalesced = "coalesced",
    /// Bytes sent again.
    retransmitted_bytes = "retransmitted-bytes",
    /// SACK blocks that name what was never sent, or was acknowledged before.
    sack_ignored = "sack-ignored",
    /// SACK blocks for which the scoreboard had no room.
    sack_full = "sack-full",
    /// Scoreboards cleared because the peer took back what it had told (RFC 2018, 8).
    sack_reneged = "sack-reneged",
    /// Duplicates that peers reported (RFC 2883).
    duplicates_reported = "duplicates-reported",
    /// Reductions of the window that were taken back: nothing had been lost (RFC 3522, 5682).
    reductions_undone = "reductions-undone",
    /// Probes of a silent tail (RFC 8985, 7).
    tail_probes = "tail-probes",
    /// Losses that such a probe repaired.
    tail_losses = "tail-losses",
    /// Packets that came with a router's mark of congestion (RFC 3168).
    congestion_marks = "congestion-marks",
    /// Windows reduced because the peer told of such a mark.
    ecn_reductions = "ecn-reductions",
    /// Losses found by duplicate ACKs or by time (RFC 8985).
    fast_retransmits = "fast-retransmits",
    /// Losses found by the retransmission timer.
    timeouts = "timeouts",
    /// SYNs and SYN+ACKs sent again.
    syn_retransmits = "syn-retransmits",
    /// Connections whose segments became smaller because a router said so (RFC 1191).
    path_mtu = "path-mtu",
    /// Connections whose segments became smaller because nothing else explains their losses.
    path_mtu_black_holes = "path-mtu-black-holes",
    /// Segments sent to see whether larger ones pass (RFC 4821).
    path_mtu_probes = "path-mtu-probes",
    /// Those that arrived, so that segments became larger.
    path_mtu_raised = "path-mtu-raised",
    /// Probes of a closed window.
    window_probes = "window-probes",
    /// Probes of a silent peer (RFC 9293, 3.8.4).
    keepalives = "keepalives",
    /// ACKs that the delayed-ACK timer sent.
    delayed_acks = "delayed-acks",
    /// Connections given up because the peer stopped answering.
    timed_out = "timed-out",
}
