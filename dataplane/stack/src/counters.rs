//! What a stack counts. One writer, any reader.

use sluice_base::Counter;
use sluice_tcp::TcpCounters;

use crate::drop_reason::DropCounters;
use crate::vlan::VlanCounters;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// All counters of one worker's stack.
        #[derive(Debug, Default)]
        pub struct StackCounters {
            /// Dropped packets by reason.
            pub drops: DropCounters,
            /// What happened inside connections.
            pub tcp: TcpCounters,
            /// By interface; those that are VLANs count.
            pub vlans: Vec<VlanCounters>,
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl StackCounters {
            /// Name and value of each counter but those of drops and TCP, in a stable order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name.value()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Packets taken in.
    packets_in,
    /// Packets given out.
    packets_out,
    /// Packets of others that went on.
    forwarded,
    /// Packets given to their owner.
    handed_off,
    /// Packets that another worker gave us.
    steered,
    /// ARP packets taken in.
    arp_in,
    /// ARP questions about others, of no interest.
    arp_ignored,
    /// ARP questions, answers and announcements sent.
    arp_out,
    /// Messages of neighbour discovery taken in.
    nd_in,
    /// Questions of neighbour discovery about others, of no interest.
    nd_ignored,
    /// Messages of neighbour discovery sent.
    nd_out,
    /// Router advertisements read.
    router_advertisements_in,
    /// Router solicitations sent.
    router_solicitations_out,
    /// Whether a router of last resort is known by advertisement.
    default_routers,
    /// Prefixes that routers say are on our links.
    learned_prefixes,
    /// Addresses of ours made of routers' prefixes.
    formed_addresses,
    /// Addresses of ours that another station had first.
    duplicate_addresses,
    /// Neighbours asked whether they are still there, because what was sent to them was in vain.
    neighbors_suspected,
    /// Neighbours that stopped answering or never did.
    neighbors_failed,
    /// Neighbour entries given to others.
    neighbors_evicted,
    /// Pings answered.
    icmp_echoes,
    /// ICMP errors sent.
    icmp_errors_out,
    /// ICMP errors not sent because there were too many.
    icmp_errors_limited,
    /// ICMP errors about segments of ours.
    icmp_errors_in,
    /// Packets given to the kernel's twins.
    twin_in,
    /// Packets of the kernel's twins sent.
    twin_out,
    /// Fragments for us taken in.
    fragments_in,
    /// Fragments that we made of packets too large for the next link.
    fragments_out,
    /// Packets put together of fragments.
    reassembled,
    /// Packets of which a fragment was missing for too long.
    reassembly_timeouts,
    /// UDP datagrams for us, taken in.
    udp_datagrams_in,
    /// UDP datagrams sent.
    udp_datagrams_out,
    /// UDP flows that are there now, of both sides.
    udp_flows,
    /// TCP segments taken in.
    tcp_segments_in,
    /// TCP segments, or packets to be cut into segments, given out.
    tcp_segments_out,
    /// Resets sent to segments without a connection.
    tcp_resets_out,
    /// Resets not sent because there were too many.
    tcp_resets_limited,
    /// Connections begun by peers.
    tcp_accepts,
    /// SYNs answered with a cookie, nothing of them being kept (RFC 4987).
    tcp_cookies_sent,
    /// Connections begun by a cookie that came back.
    tcp_cookies_accepted,
    /// Connections of which a request came with the SYN and was taken (RFC 7413).
    tcp_fast_open_accepts,
    /// Fast Open cookies given to clients.
    tcp_fast_open_cookies,
    /// SYNs whose Fast Open cookie was not ours, or too old: their data waited.
    tcp_fast_open_refused,
    /// SYNs whose data waited because too many such connections were pending.
    tcp_fast_open_limited,
    /// Such connections that were reset before their handshake was over.
    tcp_fast_open_resets,
    /// Such connections whose handshake is not over.
    tcp_fast_open_pending,
    /// Connections begun by us.
    tcp_connects,
    /// Connections that gave buffers back because they were scarce.
    tcp_shed,
    /// Connections reset because they held most when hardly a buffer was left.
    tcp_shed_resets,
    /// Connections that are there now, half-open ones included.
    tcp_connections,
    /// Connections of peers that are not acknowledged yet.
    tcp_half_open,
    /// Records of connections in TIME-WAIT.
    tcp_time_waits,
    /// TIME-WAIT records used again before their time.
    tcp_time_waits_reused,
}
