//! Wire formats: ethernet, 802.1Q, ARP, IPv4, ICMP, IPv6, ICMPv6, neighbour discovery, UDP, TCP as
//! view, repr and printer; checksums.
//!
//! Every format has the same faces, in a file named for it:
//!
//! * a **view** (`TcpView`, `Ipv4View`, ...) borrows untrusted bytes. `parse` checks lengths and
//!   versions once; what a view then returns cannot run past its bytes.
//! * a **repr** (`TcpHeader`, `Ipv4Header`, ...) is a small `Copy` value. `header_len` says how
//!   many bytes it takes, `emit` writes them and returns that number. `emit` panics when the
//!   buffer is shorter than `header_len`: only our own code can cause that.
//!   TCP has a second, [`PlainHeader`]: the kind of header that nearly every segment has, read and
//!   written in a few instructions.
//! * a **printer**: the repr's `Display` reads like a line of tcpdump. [`Frame`] prints a whole
//!   frame that way, for traces and test failures.
//! * an **error**: a small `Copy` enum per format, whose `reason` is the kebab-case name under
//!   which a drop is counted.
//!
//! The order of calls for a received packet: [`EthernetView`], then [`ArpView`], [`Ipv4View`] or
//! [`Ipv6View`] with [`ipv6::extension::walk`], then [`IcmpView`] or [`Icmpv6View`] with
//! [`NdpMessage::parse`], [`UdpView`] or [`TcpView`]. A packet may lie in several buffers of which
//! only the first holds headers, so the `_with_len` constructors take the length that the layer
//! below vouches for beside the contiguous bytes, and nobody infers a payload length from a slice.
//!
//! Nothing here decides: unknown protocols, codes and options are values, and a wrong checksum is
//! a question (`checksum_ok`) because the device may have answered it already.

pub mod arp;
pub mod checksum;
mod error;
pub mod ethernet;
pub mod frame;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use arp::{ArpError, ArpOperation, ArpPacket, ArpView};
pub use checksum::Checksum;
pub use ethernet::{EtherType, EthernetError, EthernetHeader, EthernetView, MacAddress};
pub use frame::Frame;
pub use icmp::{IcmpError, IcmpMessage, IcmpView, Quote};
pub use icmpv6::{Icmpv6Error, Icmpv6Message, Icmpv6View, QuoteV6};
pub use ipv4::{IpProtocol, Ipv4Error, Ipv4Header, Ipv4View};
pub use ipv6::{Ipv6Error, Ipv6Header, Ipv6View};
pub use ndp::{NdpError, NdpMessage, NdpOptions};
pub use tcp::{
    FastOpenCookie, Flags, PlainHeader, SackBlocks, SeqNumber, TcpError, TcpHeader, TcpOptions,
    TcpView, Timestamps,
};
pub use udp::{UdpError, UdpHeader, UdpView};
pub use vlan::{TagProtocol, VlanId, VlanTag, VlanTags};
