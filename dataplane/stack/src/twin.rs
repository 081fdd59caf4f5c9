//! The kernel's twin of an interface: a TAP with the interface's link-layer address and addresses, to
//! which everything goes that is for us and that nothing here wants, and from which the kernel speaks
//! as if the port was its own. So routing daemons, SSH and DNS keep working on a bound NIC.
//!
//! Who gets what:
//!
//! | comes in | goes to |
//! |---|---|
//! | a segment of a connection of ours, or for a listener | us |
//! | any other segment, UDP, other protocols, echo replies, ICMP errors about none of ours | the kernel, as the frame that it was; whole, if it came in fragments |
//! | echo requests | us |
//! | ARP requests, neighbour solicitations | us: every question is answered once |
//! | ARP replies, neighbour and router advertisements | both: each has asked for itself |
//! | groups and broadcasts, other types of frames, tags of no VLAN of ours | the kernel |
//! | what is only passing through | neither: it is forwarded |
//!
//! What the kernel sends leaves as it is, but for answers and claims about the addresses, which are
//! ours to give. Both ways are limited and counted; queues are bounded, and what finds one full is
//! dropped under a name.

use sluice_base::{Instant, InterfaceId};
use sluice_buf::{Batch, L4Checksum, Packet, Pressure, RxChecksum};
use sluice_wire::ipv6::extension;
use sluice_wire::{
    ArpOperation, ArpView, EtherType, EthernetView, IpProtocol, Ipv4View, Ipv6View, TcpView, ndp,
    udp,
};

use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::rate_limit::TokenBucket;
use crate::stack::Stack;

/// Packets per second and direction, of all workers together: more than a shell or a routing table
/// takes, less than what would keep a core from its own work.
const PACKETS_PER_SECOND: u32 = 100_000;
/// Packets that wait for the kernel.
const QUEUE_MAX: usize = 256;

/// One worker's end of a twin.
#[derive(Debug)]
pub(crate) struct Twin {
    /// What waits for the kernel.
    queue: Batch,
    to_kernel: TokenBucket,
    from_kernel: TokenBucket,
}

impl Stack {
    /// Gives an interface a twin. For the start.
    ///
    /// # Panics
    /// When the interface is not there: only our own code can cause that.
    pub fn set_twin(&mut self, interface: InterfaceId) {
        let limit = TokenBucket::new(PACKETS_PER_SECOND.div_ceil(self.workers.into()));
        let queue = Batch::with_capacity(QUEUE_MAX);
        let twin = Twin { queue, to_kernel: limit, from_kernel: limit };
        self.interfaces[interface.index()].twin = Some(Box::new(twin));
    }

    /// Gives out at most `room` packets for the kernel's end of an interface.
    pub fn transmit_twin(&mut self, interface: InterfaceId, room: usize, out: &mut Batch) {
        let link = self.interfaces.get_mut(interface.index());
        if let Some(twin) = link.and_then(|link| link.twin.as_mut()) {
            out.take_from(&mut twin.queue, room);
        }
    }

    /// Whether something waits for the kernel.
    #[must_use]
    pub fn has_twin_output(&self, interface: InterfaceId) -> bool {
        let link = self.interfaces.get(interface.index());
        link.and_then(|link| link.twin.as_ref()).is_some_and(|twin| !twin.queue.is_empty())
    }

    /// Takes in what the kernel sends by an interface.
    pub fn handle_twin(&mut self, interface: InterfaceId, batch: &mut Batch, now: Instant) {
        self.now = now;
        while let Some(packet) = batch.pop() {
            let sent = self.send_for_twin(interface.0, packet, now);
            self.note(sent);
        }
    }

    fn send_for_twin(
        &mut self,
        interface: u16,
        packet: Packet,
        now: Instant,
    ) -> Result<(), DropReason> {
        let link = &mut self.interfaces[usize::from(interface)];
        let Some(twin) = link.twin.as_mut() else { return Err(DropReason::InterfaceUnknown) };
        if !twin.from_kernel.take(now) {
            return Err(DropReason::TwinLimited);
        }
        let view = EthernetView::parse(packet.head())?;
        let payload = packet.head().get(view.header_len()..).unwrap_or_default();
        if view.source() != link.mac || is_ours_to_say(view.ether_type(), payload) {
            return Err(DropReason::TwinRefused);
        }
        self.counters.twin_out.increment();
        self.push_control(interface, packet)
    }

    /// The interface whose twin gets what an interface does not want: a VLAN's is its parent's, where
    /// the kernel has VLANs of its own.
    fn twin_of(&self, interface: u16) -> u16 {
        let vlan = self.interfaces[usize::from(interface)].vlan;
        vlan.map_or(interface, |vlan| vlan.parent.0)
    }

    /// Whether somebody gets what an interface does not want.
    pub(crate) fn has_twin(&self, interface: u16) -> bool {
        self.interfaces[usize::from(self.twin_of(interface))].twin.is_some()
    }

    /// A frame that nothing here wants: to the kernel, or dropped for that reason.
    #[cold]
    pub(crate) fn unowned(
        &mut self,
        interface: u16,
        mut packet: Packet,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let at = usize::from(self.twin_of(interface));
        let now = self.now;
        let Some(twin) = self.interfaces[at].twin.as_mut() else { return Err(reason) };
        // The kernel can wait; what is proxied and forwarded cannot.
        if self.pressure >= Pressure::Scarce || !twin.to_kernel.take(now) {
            return Err(DropReason::TwinLimited);
        }
        prepare(&mut packet);
        twin.queue.try_push(packet).map_err(|_| DropReason::TwinFull)?;
        self.counters.twin_in.increment();
        Ok(())
    }
}

impl Stack {
    /// ARP where there is a twin: questions are ours, answers are both's.
    pub(crate) fn arp_for_both(
        &mut self,
        packet: Packet,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = packet.head().get(usize::from(frame.l2_len)..).unwrap_or_default();
        let is_reply =
            ArpView::parse(bytes).is_ok_and(|view| view.packet().operation == ArpOperation::Reply);
        let heard = self.arp_input(&packet, frame, now);
        if is_reply { self.tell_twin(packet, frame, heard) } else { heard }
    }

    /// Lets the kernel hear what we heard, if it is good, or an answer that we did not ask for.
    pub(crate) fn tell_twin(
        &mut self,
        packet: Packet,
        frame: &Frame,
        heard: Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        match heard {
            Ok(())
            | Err(
                DropReason::ArpUnsolicited
                | DropReason::NdUnsolicited
                | DropReason::NdIgnored
                | DropReason::NdRouterLimit,
            ) => self.unowned(frame.interface, packet, DropReason::TwinFull),
            Err(reason) => Err(reason),
        }
    }
}

/// Whether a frame of the kernel's says about addresses what we say already: answers and
/// announcements, and its detection of duplicates, which would find us.
fn is_ours_to_say(ether_type: EtherType, payload: &[u8]) -> bool {
    match ether_type {
        EtherType::Arp => match ArpView::parse(payload).map(|view| view.packet()) {
            Ok(arp) => {
                arp.operation == ArpOperation::Reply || arp.is_gratuitous() || arp.is_probe()
            }
            Err(_) => true,
        },
        EtherType::Ipv6 => {
            let Ok(view) = Ipv6View::parse_quoted(payload) else { return false };
            let Ok(upper) = extension::walk(view.next_header(), view.payload()) else {
                return false;
            };
            let kind = view.payload().get(usize::from(upper.offset)).copied();
            upper.protocol == IpProtocol::Icmpv6
                && (kind == Some(ndp::KIND_NEIGHBOR_ADVERTISEMENT)
                    || kind == Some(ndp::KIND_NEIGHBOR_SOLICITATION) && view.src().is_unspecified())
        }
        EtherType::Ipv4 | EtherType::Other(_) => false,
    }
}

/// Turns what is known about a received packet into what the TAP must be told: a checksum that the
/// sender left open, segments that were merged.
fn prepare(packet: &mut Packet) {
    if packet.rx_checksum() != RxChecksum::Partial && packet.gso().is_none() {
        return packet.set_tx_offload(sluice_buf::TxOffload::default());
    }
    let head = packet.head();
    let Ok(frame) = EthernetView::parse(head) else { return };
    let l2_len = frame.header_len();
    let bytes = head.get(l2_len..).unwrap_or_default();
    let (protocol, l3_len, is_v6) = match frame.ether_type() {
        EtherType::Ipv4 => match Ipv4View::parse_quoted(bytes) {
            Ok(view) => (view.protocol(), view.header_len(), false),
            Err(_) => return,
        },
        EtherType::Ipv6 => match Ipv6View::parse_quoted(bytes) {
            Ok(view) => {
                (IpProtocol::from_number(view.next_header()), sluice_wire::ipv6::HEADER_LEN, true)
            }
            Err(_) => return,
        },
        EtherType::Arp | EtherType::Other(_) => return,
    };
    let transport = bytes.get(l3_len..).unwrap_or_default();
    let (kind, l4_len) = match protocol {
        IpProtocol::Tcp => {
            (L4Checksum::Tcp, TcpView::parse(transport).map_or(0, |view| view.header_len()))
        }
        IpProtocol::Udp => (L4Checksum::Udp, udp::HEADER_LEN),
        IpProtocol::Icmp | IpProtocol::Icmpv6 | IpProtocol::Other(_) => return,
    };
    packet.rx_to_tx((l2_len as u8, l3_len as u16, l4_len as u8), kind, is_v6);
}
