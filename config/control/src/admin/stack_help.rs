//! What the counters of the stack mean, in a sentence for Prometheus.

use sluice_l7_proxy::MetricKind::{self, Counter, Gauge};

/// Name in the stack, kind, help.
const STACK: &[(&str, MetricKind, &str)] = &[
    ("packets_in", Counter, "Packets that the stack took in."),
    ("packets_out", Counter, "Packets that the stack gave out."),
    ("forwarded", Counter, "Packets of others that went on."),
    ("handed_off", Counter, "Packets given to the worker that owns them."),
    ("steered", Counter, "Packets that another worker gave us."),
    ("arp_in", Counter, "ARP packets taken in."),
    ("arp_ignored", Counter, "ARP questions about others, of no interest."),
    ("arp_out", Counter, "ARP questions, answers and announcements sent."),
    ("nd_in", Counter, "Messages of neighbour discovery taken in."),
    ("nd_ignored", Counter, "Questions of neighbour discovery about others, of no interest."),
    ("nd_out", Counter, "Messages of neighbour discovery sent."),
    ("router_advertisements_in", Counter, "Router advertisements read."),
    ("router_solicitations_out", Counter, "Router solicitations sent."),
    ("default_routers", Gauge, "1 while a default router is known by advertisement."),
    ("learned_prefixes", Gauge, "Prefixes that routers say are on our links."),
    ("formed_addresses", Gauge, "Addresses of ours made of routers' prefixes."),
    (
        "duplicate_addresses",
        Counter,
        "Addresses of ours that another station had first, and that are not used therefore.",
    ),
    (
        "neighbors_suspected",
        Counter,
        "Neighbours asked whether they are still there, because what was sent to them was in vain.",
    ),
    ("neighbors_failed", Counter, "Neighbours that stopped answering or never did."),
    ("neighbors_evicted", Counter, "Neighbour entries given to others."),
    ("icmp_echoes", Counter, "Pings answered."),
    ("icmp_errors_out", Counter, "ICMP errors sent."),
    ("icmp_errors_limited", Counter, "ICMP errors not sent because there were too many."),
    ("icmp_errors_in", Counter, "ICMP errors about segments of ours."),
    ("twin_in", Counter, "Packets given to the kernel's twins of interfaces."),
    ("twin_out", Counter, "Packets of the kernel's twins sent."),
    ("fragments_in", Counter, "Fragments for us taken in."),
    ("fragments_out", Counter, "Fragments made of packets too large for the next link."),
    ("reassembled", Counter, "Packets put together of fragments."),
    ("reassembly_timeouts", Counter, "Packets of which a fragment was missing for too long."),
    ("udp_datagrams_in", Counter, "UDP datagrams for us, taken in."),
    ("udp_datagrams_out", Counter, "UDP datagrams sent."),
    ("udp_flows", Gauge, "UDP flows that are there now, of both sides."),
    ("tcp_segments_in", Counter, "TCP segments taken in."),
    ("tcp_segments_out", Counter, "TCP segments, or packets to be cut into segments, given out."),
    ("tcp_resets_out", Counter, "Resets sent to segments without a connection."),
    ("tcp_resets_limited", Counter, "Resets not sent because there were too many."),
    ("tcp_accepts", Counter, "Connections begun by peers."),
    (
        "tcp_cookies_sent",
        Counter,
        "SYNs answered with a cookie, nothing of them being kept (RFC 4987).",
    ),
    ("tcp_cookies_accepted", Counter, "Connections begun by a cookie that came back."),
    (
        "tcp_fast_open_accepts",
        Counter,
        "Connections of which a request came with the SYN and was taken (RFC 7413).",
    ),
    ("tcp_fast_open_cookies", Counter, "Fast Open cookies given to clients."),
    (
        "tcp_fast_open_refused",
        Counter,
        "SYNs whose Fast Open cookie was not ours, or too old: their data waited.",
    ),
    (
        "tcp_fast_open_limited",
        Counter,
        "SYNs whose data waited because fast_open_max_pending connections were pending.",
    ),
    (
        "tcp_fast_open_resets",
        Counter,
        "Fast Open connections that were reset before their handshake was over.",
    ),
    ("tcp_fast_open_pending", Gauge, "Fast Open connections whose handshake is not over."),
    ("tcp_connects", Counter, "Connections begun by us."),
    ("tcp_connections", Gauge, "Connections that are there now, half-open ones included."),
    ("tcp_half_open", Gauge, "Connections of peers that are not acknowledged yet."),
    ("tcp_time_waits", Gauge, "Records of connections in TIME-WAIT."),
    ("tcp_time_waits_reused", Counter, "TIME-WAIT records used again before their time."),
    ("tcp_shed", Counter, "Connections that gave buffers back because they were scarce."),
    (
        "tcp_shed_resets",
        Counter,
        "Connections reset because they held most when hardly a buffer was left.",
    ),
];

/// Kind and sentence; a name that is not in the list counts and says its name.
pub(super) fn of(name: &str) -> (MetricKind, String) {
    let found = STACK.iter().find(|(known, ..)| *known == name);
    found.map_or_else(
        || (Counter, format!("The stack's {}.", name.replace('_', " "))),
        |(_, kind, help)| (*kind, (*help).to_owned()),
    )
}
