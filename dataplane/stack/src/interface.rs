//! One interface, as the stack sees it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use sluice_base::{Instant, InterfaceId};
use sluice_buf::{Batch, Capabilities};
use sluice_rules::RuleTable;
use sluice_wire::MacAddress;

use crate::config::InterfaceConfig;
use crate::fib::mask;
use crate::queue::Queue;
use crate::source_limit::SourceLimit;
use crate::vlan::Vlan;

#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) id: InterfaceId,
    pub(crate) mac: MacAddress,
    /// What may come in.
    pub(crate) rules: Option<Arc<RuleTable>>,
    /// Which VLAN of which other interface it is; none: it has a device.
    pub(crate) vlan: Option<Vlan>,
    /// Positions of the VLANs of its device.
    pub(crate) children: Vec<u16>,
    /// SYNs, and connections begun, of each source.
    pub(crate) syn_limit: Option<SourceLimit>,
    pub(crate) connection_limit: Option<SourceLimit>,
    pub(crate) mtu: u16,
    pub(crate) capabilities: Capabilities,
    pub(crate) addresses: Vec<(Ipv4Addr, u8)>,
    /// When an address of ours may be defended again.
    pub(crate) defend_after: Instant,
    /// Packets with all headers: ARP, ICMP, resets, forwarded ones.
    pub(crate) control: Batch,
    /// Connections that owe segments.
    pub(crate) output: Queue,
    /// Where there is room for a single packet, the next one is a segment.
    pub(crate) segment_next: bool,
}

impl Interface {
    pub(crate) fn new(config: InterfaceConfig, queue_max: u32) -> Self {
        Self {
            id: config.id,
            mac: config.mac,
            rules: None,
            vlan: None,
            children: Vec::new(),
            syn_limit: None,
            connection_limit: None,
            mtu: config.mtu,
            capabilities: config.capabilities,
            addresses: config.addresses,
            defend_after: Instant::ZERO,
            control: Batch::with_capacity(queue_max as usize),
            output: Queue::new(),
            segment_next: false,
        }
    }

    /// The address of ours from which a station on the link is spoken to.
    pub(crate) fn source_for(&self, neighbor: Ipv4Addr) -> Option<Ipv4Addr> {
        let shares_subnet =
            |(address, len): &&(Ipv4Addr, u8)| mask(*address, *len) == mask(neighbor, *len);
        let best = self.addresses.iter().filter(shares_subnet).max_by_key(|(_, len)| *len);
        best.or(self.addresses.first()).map(|(address, _)| *address)
    }

    /// Whether a station with this address can be on the link.
    pub(crate) fn is_on_link(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(own, len)| mask(*own, *len) == mask(address, *len))
    }
}
