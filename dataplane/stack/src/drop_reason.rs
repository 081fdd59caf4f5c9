//! Why a packet was dropped, by name.

use sluice_base::Counter;
use sluice_wire::{
    ArpError, EthernetError, IcmpError, Icmpv6Error, Ipv4Error, Ipv6Error, NdpError, TcpError,
    UdpError,
};

macro_rules! drop_reasons {
    ($( $variant:ident, $name:literal, $sentence:literal; )+) => {
        /// The reason for which a packet did not go further. Each has a counter.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum DropReason {
            $( #[doc = $sentence] $variant, )+
        }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];

            /// The stable name, as in `sluice_drops_total{reason=}`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $( Self::$variant => $sentence, )+ }
            }
        }
    };
}

drop_reasons! {
    // Link layer.
    EthernetTruncated, "ethernet-truncated", "The frame is shorter than an ethernet header.";
    EthernetTag, "ethernet-tag", "The frame's 802.1Q tags are cut off or more than two.";
    EthernetNotOurs, "ethernet-not-ours", "The frame is addressed to another station.";
    EthernetSource, "ethernet-source", "The frame's source is a group or zero.";
    EthernetType, "ethernet-type", "Nobody here speaks the protocol that the frame carries.";
    VlanNotConfigured, "vlan-not-configured", "The frame is tagged for a VLAN that the interface does not have.";
    InterfaceUnknown, "interface-unknown", "The packet came from or goes to an interface that is not configured.";
    // ARP.
    ArpMalformed, "arp-malformed", "The ARP packet is cut off or not about IPv4 over ethernet.";
    ArpSender, "arp-sender", "The ARP packet's sender is no station on this link.";
    ArpConflict, "arp-conflict", "Another station claims one of our addresses.";
    ArpUnsolicited, "arp-unsolicited", "The ARP packet answers what nobody asked.";
    // IPv4.
    Ipv4Truncated, "ipv4-truncated", "The packet is shorter than its IPv4 header.";
    Ipv4Version, "ipv4-version", "The version field is not 4.";
    Ipv4HeaderLength, "ipv4-header-length", "The IPv4 header length is below 20 or runs past the packet.";
    Ipv4TotalLength, "ipv4-total-length", "The IPv4 total length is below the header's or above what arrived.";
    Ipv4Checksum, "ipv4-checksum", "The IPv4 header checksum is wrong.";
    Ipv4Source, "ipv4-source", "The source address can not be a host's (loopback, multicast, broadcast, zero).";
    Ipv4SourceOwn, "ipv4-source-own", "The source address is one of ours.";
    Ipv4Destination, "ipv4-destination", "The destination address may not appear on a network.";
    Ipv4Broadcast, "ipv4-broadcast", "The packet is for everybody and nothing here is interested.";
    DirectedBroadcast, "directed-broadcast", "The packet is for everybody on a link that it did not come from (RFC 2644).";
    IgmpIgnored, "igmp-ignored", "A router asks about multicast groups; we are in none.";
    Ipv4LinkBroadcast, "ipv4-link-broadcast", "A unicast packet came in a broadcast frame (RFC 1122, 3.3.6).";
    Ipv4SourceRoute, "ipv4-source-route", "The packet carries a source route (RFC 7126, 4.3).";
    Ipv4Protocol, "ipv4-protocol", "Nobody here speaks the transport protocol.";
    // Fragments.
    FragmentMalformed, "fragment-malformed", "The fragment is empty, cut at an odd place, or makes its packet too long.";
    FragmentOverlap, "fragment-overlap", "Fragments of the packet overlap, so all of them are refused (RFC 5722).";
    FragmentDuplicate, "fragment-duplicate", "The fragment was here already.";
    FragmentLimit, "fragment-limit", "Its packet has too many fragments, its source holds too many buffers, or buffers are scarce.";
    FragmentEvicted, "fragment-evicted", "The fragment gave way to those of newer packets.";
    FragmentTimeout, "fragment-timeout", "The other fragments of its packet did not come in time.";
    // Packet rules.
    RuleDenied, "rule-denied", "A packet rule of the interface denies it.";
    RuleUnreadable, "rule-unreadable", "The ports that packet rules ask for are cut off or hidden in tiny fragments (RFC 1858).";
    SourceSynRate, "source-syn-rate", "The source has sent more SYNs than it may (source_syn_rate).";
    SourceConnectionRate, "source-connection-rate", "The source has begun more connections than it may (source_connection_rate).";
    ReversePath, "reverse-path", "No route leads to the source, or none by the interface that the packet came in by (RFC 3704).";
    Martian, "martian", "The source or destination is kept off networks (RFC 6890: documentation and the like).";
    // IPv6.
    Ipv6Off, "ipv6-off", "The packet is IPv6 and its interface has no IPv6 address.";
    Ipv6Truncated, "ipv6-truncated", "The packet is shorter than its IPv6 header.";
    Ipv6Version, "ipv6-version", "The version field is not 6.";
    Ipv6PayloadLength, "ipv6-payload-length", "The IPv6 payload length is above what arrived.";
    Ipv6Source, "ipv6-source", "The source address can not be a host's (loopback, multicast, unspecified, mapped IPv4).";
    Ipv6SourceOwn, "ipv6-source-own", "The source address is one of ours.";
    Ipv6Destination, "ipv6-destination", "The destination address may not appear on a network.";
    Ipv6Multicast, "ipv6-multicast", "The packet is for a group that we are not in.";
    Ipv6LinkMulticast, "ipv6-link-multicast", "A unicast packet came in a multicast frame.";
    Ipv6Scope, "ipv6-scope", "A link-local address may not leave its link (RFC 4291, 2.5.6).";
    Ipv6Extension, "ipv6-extension", "An extension header is cut off or in a place where it may not be.";
    Ipv6ExtensionLimit, "ipv6-extension-limit", "The packet has more extension headers or options than anybody needs.";
    Ipv6Option, "ipv6-option", "An option that must be understood is not known here (RFC 8200, 4.2).";
    Ipv6Routing, "ipv6-routing", "The packet carries a source route (RFC 5095).";
    Ipv6NoNext, "ipv6-no-next", "Nothing follows the packet's headers.";
    Ipv6NextHeader, "ipv6-next-header", "Nobody here speaks the transport protocol.";
    Ipv6Duplicate, "ipv6-duplicate", "The destination was ours until another station claimed it.";
    HostTable, "host-table", "As many IPv6 addresses are in use as may.";
    // Neighbour discovery.
    NdMalformed, "nd-malformed", "The message of neighbour discovery is cut off or says what it may not.";
    NdHopLimit, "nd-hop-limit", "A router passed on what is for one link alone: its hop limit is not 255.";
    NdFragmented, "nd-fragmented", "Neighbour discovery came in a fragment (RFC 6980).";
    NdSender, "nd-sender", "The sender or its link-layer address is no station on this link.";
    NdUnsolicited, "nd-unsolicited", "The advertisement answers what nobody asked.";
    NdConflict, "nd-conflict", "Another station claims one of our addresses.";
    NdDuplicate, "nd-duplicate", "Another station had one of our addresses first; we gave it up.";
    NdIgnored, "nd-ignored", "Router solicitations and redirects are not listened to, nor are advertisements where accept_ra is off.";
    NdRouterFlood, "nd-router-flood", "More router advertisements came than are read per second.";
    NdRouterLimit, "nd-router-limit", "A router advertisement told of more routers, prefixes or addresses than are kept.";
    MldIgnored, "mld-ignored", "Multicast listener discovery is for routers of groups.";
    // Forwarding.
    ForwardingOff, "forwarding-off", "The packet is not for us, and we do not forward.";
    TtlExceeded, "ttl-exceeded", "The time to live, or hop limit, ended here.";
    NoRoute, "no-route", "No route leads to the destination.";
    FragmentationNeeded, "fragmentation-needed", "The packet is larger than the next link's MTU.";
    SegmentationUnsupported, "segmentation-unsupported", "A merged packet can not be cut for the device that sends it on.";
    ForwardHeader, "forward-header", "A transport header that must be completed can not be read.";
    // Neighbours.
    NeighborFailed, "neighbor-failed", "The next hop does not answer ARP or neighbour discovery.";
    NeighborQueue, "neighbor-queue", "Too many packets wait for the next hop's address; the oldest went.";
    NeighborTable, "neighbor-table", "The neighbour table is full of entries in use.";
    NeighborEvicted, "neighbor-evicted", "The packet waited for a neighbour whose entry was given to another.";
    // ICMP.
    IcmpMalformed, "icmp-malformed", "The ICMP message is cut off or quotes no packet.";
    IcmpChecksum, "icmp-checksum", "The ICMP checksum is wrong.";
    IcmpUnsolicited, "icmp-unsolicited", "The ICMP message is about no packet of ours.";
    IcmpIgnored, "icmp-ignored", "The ICMP message asks for nothing that we do.";
    IcmpEchoLimited, "icmp-echo-limited", "More pings came than are answered per second.";
    // The kernel's twin.
    TwinLimited, "twin-limited", "More packets per second went to or came from the kernel's twin than may, or buffers are scarce.";
    TwinFull, "twin-full", "The queue for the kernel's twin is full.";
    TwinRefused, "twin-refused", "The kernel's twin answered for an address, asked for duplicates of one, or used another link-layer address: we do that.";
    // Transport.
    TcpMalformed, "tcp-malformed", "The TCP header or one of its options is cut off or too short.";
    TcpChecksum, "tcp-checksum", "The TCP checksum is wrong.";
    TcpNoConnection, "tcp-no-connection", "The segment belongs to no connection and nobody listens.";
    TcpTimeWait, "tcp-time-wait", "The segment belongs to a connection that has ended.";
    TcpTableFull, "tcp-table-full", "As many connections exist as may.";
    TcpMemoryPressure, "tcp-memory-pressure", "Buffers are too scarce for a new connection.";
    UdpTruncated, "udp-truncated", "The packet is shorter than a UDP header.";
    UdpLength, "udp-length", "The UDP length is below the header's or above what the IP packet holds.";
    UdpChecksum, "udp-checksum", "The UDP checksum is wrong.";
    UdpNoChecksum, "udp-no-checksum", "The datagram came over IPv6 without a checksum (RFC 8200, 8.1).";
    UdpSourcePort, "udp-source-port", "The datagram's source port is 0: nobody could be answered.";
    UdpNoSocket, "udp-no-socket", "Nobody listens on the UDP port.";
    UdpQueueFull, "udp-queue-full", "More datagrams wait to be worked on than may.";
    UdpTooLarge, "udp-too-large", "The datagram is longer than IP can say.";
    // Between workers.
    HandoffFull, "handoff-full", "The ring to the worker that owns the packet is full.";
    MessageFull, "message-full", "The ring for messages between workers is full.";
    // Output.
    EgressFull, "egress-full", "The interface's queue for control and forwarded packets is full.";
    TxPoolEmpty, "tx-pool-empty", "No transmit buffer is left.";
    TxHeadroom, "tx-headroom", "The packet has no room for the headers that go in front.";
    TxLinearise, "tx-linearise", "The device takes one segment and the packet does not fit into one.";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl From<EthernetError> for DropReason {
    fn from(error: EthernetError) -> Self {
        match error {
            EthernetError::Truncated => Self::EthernetTruncated,
            EthernetError::TagTruncated | EthernetError::TooManyTags => Self::EthernetTag,
        }
    }
}

impl From<Ipv4Error> for DropReason {
    fn from(error: Ipv4Error) -> Self {
        match error {
            Ipv4Error::Truncated => Self::Ipv4Truncated,
            Ipv4Error::Version => Self::Ipv4Version,
            Ipv4Error::HeaderLength | Ipv4Error::HeaderOverrun => Self::Ipv4HeaderLength,
            Ipv4Error::TotalLength | Ipv4Error::TotalLengthOverrun => Self::Ipv4TotalLength,
        }
    }
}

impl From<Ipv6Error> for DropReason {
    fn from(error: Ipv6Error) -> Self {
        match error {
            Ipv6Error::Truncated => Self::Ipv6Truncated,
            Ipv6Error::Version => Self::Ipv6Version,
            Ipv6Error::PayloadOverrun => Self::Ipv6PayloadLength,
        }
    }
}

impl From<NdpError> for DropReason {
    fn from(_: NdpError) -> Self {
        Self::NdMalformed
    }
}

impl From<Icmpv6Error> for DropReason {
    fn from(_: Icmpv6Error) -> Self {
        Self::IcmpMalformed
    }
}

impl From<ArpError> for DropReason {
    fn from(_: ArpError) -> Self {
        Self::ArpMalformed
    }
}

impl From<IcmpError> for DropReason {
    fn from(_: IcmpError) -> Self {
        Self::IcmpMalformed
    }
}

impl From<TcpError> for DropReason {
    fn from(_: TcpError) -> Self {
        Self::TcpMalformed
    }
}

impl From<UdpError> for DropReason {
    fn from(error: UdpError) -> Self {
        match error {
            UdpError::Truncated => Self::UdpTruncated,
            UdpError::Length | UdpError::LengthOverrun => Self::UdpLength,
        }
    }
}

/// One counter per reason.
#[derive(Debug)]
pub struct DropCounters([Counter; DropReason::COUNT]);

impl DropCounters {
    /// Counts one packet. Only the owner may call it.
    #[inline]
    pub fn count(&self, reason: DropReason) {
        self.0[reason as usize].increment();
    }

    /// How many packets were dropped for `reason`.
    #[must_use]
    pub fn value(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].value()
    }

    /// All reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.value(*reason)))
    }

    /// All drops together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::value).sum()
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators type the names; two reasons with one name could not be told apart.
    #[test]
    fn names_are_unique_kebab_case() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            let name = reason.name();
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert!(reason.sentence().ends_with('.'));
            assert!(DropReason::ALL[..index].iter().all(|other| other.name() != name), "{name}");
        }
    }

    #[test]
    fn counts_by_reason() {
        let drops = DropCounters::default();
        drops.count(DropReason::NoRoute);
        drops.count(DropReason::NoRoute);
        drops.count(DropReason::TcpChecksum);
        assert_eq!((drops.value(DropReason::NoRoute), drops.total()), (2, 3));
    }
}
