//! Router discovery (RFC 4861, 6.3) and addresses made of routers' prefixes (RFC 4862, 5.5), on the
//! interfaces that are told to listen.
//!
//! Routers are asked at the start, and ever more rarely until one answers (RFC 7559). An
//! advertisement is believed if it comes from the link itself and from a router's link-local address.
//! What a stranger on the link can do with it is bounded: so many advertisements a second, so many
//! routers, prefixes and addresses, no MTU below 1280, and no address of ours loses its last two hours
//! (RFC 4862, 5.5.3 (e)).
//!
//! Of what an advertisement says, the hop limit is not taken: nobody needs another one than 64, and a
//! forged low one cuts hosts off (CVE-2015-2922).

mod state;

use std::net::Ipv6Addr;

use sluice_base::{Instant, InterfaceId};
use sluice_wire::ndp::{PREFIXES_MAX, PrefixInfo, RouterInfo, RouterPreference};
use sluice_wire::{MacAddress, NdpMessage, NdpOptions, ipv6};

use crate::addresses::{is_host_v6, is_link_local_v6};
use crate::drop_reason::DropReason;
use crate::ethernet_input::Frame;
use crate::fib_v6::mask;
use crate::host::zone_of;
use crate::interface::{AddressState, Interface, OwnV6};
use crate::ipv6_input::Ipv6Info;
use crate::learned::FORMED_MAX;
use crate::message::{FormedState, Message, Target};
use crate::neighbor::Learned;
use crate::stack::Stack;

pub(crate) use state::Discovery;
use state::{Formed, ROUTERS_MAX, after, lifetime};

/// RFC 4861, 10: MAX_RTR_SOLICITATION_DELAY, RTR_SOLICITATION_INTERVAL; RFC 7559, 2: MRT.
const SOLICIT_DELAY_NS: u64 = 1_000_000_000;
const SOLICIT_INTERVAL_NS: u64 = 4_000_000_000;
const SOLICIT_INTERVAL_MAX_NS: u64 = 3_600_000_000_000;
/// An interface identifier has 64 bits (RFC 4291, 2.5.1).
const FORMED_PREFIX_LEN: u8 = 64;
/// RFC 4861, 6.2.1: what routers may say, and less than what would be a flood.
const REACHABLE_MS: std::ops::RangeInclusive<u32> = 1_000..=3_600_000;
const RETRANSMIT_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

impl Stack {
    /// Lets an interface listen to routers: for a router of last resort, for what is on the link, and
    /// if `forms_addresses` for prefixes to make addresses of. The interface speaks IPv6 from then on,
    /// if it did not before. For the start: it takes memory.
    pub fn discover_routers(&mut self, interface: InterfaceId, forms_addresses: bool) {
        if interface.index() >= self.interfaces.len() {
            return;
        }
        // What may be formed, the routers, our link-local address, and who asks.
        self.hosts.make_room((FORMED_MAX + ROUTERS_MAX + 1) as u32 + self.neighbors.limit());
        self.learned.make_room();
        let speaks = self.speaks_arp();
        let link = &mut self.interfaces[interface.index()];
        link.addresses_v6.reserve_exact(FORMED_MAX + 1);
        if link.addresses_v6.is_empty() {
            let address = ipv6::link_local(link.mac);
            let Some(host) = self.hosts.acquire(address, Some(interface.0)) else { return };
            link.addresses_v6.push(OwnV6::new(address, 64, host));
            if speaks {
                self.ask_for_duplicate(interface.0, address);
            } else {
                self.trust_addresses();
            }
        }
        if speaks {
            let link = &mut self.interfaces[interface.index()];
            link.discovery = Some(Box::new(Discovery::new(forms_addresses)));
            self.next_detection = Instant::ZERO;
        }
    }

    /// RFC 4861, 6.1.2 and 6.3.4: a router speaks.
    pub(crate) fn router_advertised(
        &mut self,
        router: &RouterInfo,
        options: &NdpOptions,
        frame: &Frame,
        info: &Ipv6Info,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (interface, address) = (frame.interface, info.source);
        let link = &mut self.interfaces[usize::from(interface)];
        let Some(discovery) = link.discovery.as_mut() else { return Err(DropReason::NdIgnored) };
        if !is_link_local_v6(address) || options.source_mac == Some(link.mac) {
            return Err(DropReason::NdSender);
        }
        if link.addresses_v6.iter().any(|own| own.address == address) {
            return Err(DropReason::Ipv6SourceOwn);
        }
        if !discovery.limit.take(now) {
            return Err(DropReason::NdRouterFlood);
        }
        self.counters.router_advertisements_in.increment();
        let mut has_room = discovery.hear_router(address, router, now);
        if router.lifetime_s > 0 {
            // RFC 7559, 2.1: whoever found a router asks no more.
            discovery.next_solicitation = Instant::NEVER;
        }
        if let Some(mac) = options.source_mac.filter(|_| has_room) {
            self.with_host(interface, address, |stack, host| {
                let key = stack.neighbor(interface, host, now).ok_or(DropReason::NeighborTable)?;
                stack.learn(key, mac, Learned::Question, now);
                Ok(())
            })?;
        }
        self.hear_link(interface, router, options);
        for at in 0..PREFIXES_MAX {
            let Some(prefix) = options.prefixes[at] else { break };
            has_room &= self.hear_prefix(interface, &prefix, now);
        }
        self.select_router();
        self.plan_discovery(interface);
        if has_room { Ok(()) } else { Err(DropReason::NdRouterLimit) }
    }

    /// RFC 4861, 6.3.4: MTU and timers of the link.
    fn hear_link(&mut self, interface: u16, router: &RouterInfo, options: &NdpOptions) {
        let link = &self.interfaces[usize::from(interface)];
        let said = options.mtu.and_then(|mtu| u16::try_from(mtu).ok());
        let said = said.filter(|mtu| (ipv6::MTU_MIN..=link.mtu).contains(mtu));
        let (mtu, timing) = (said.unwrap_or(link.mtu_v6), self.neighbors.timing(interface));
        let said = |value: u32, range: std::ops::RangeInclusive<u32>, before: u32| match value {
            0 => before,
            value => value.clamp(*range.start(), *range.end()),
        };
        let reachable_ms = said(router.reachable_ms, REACHABLE_MS, timing.0);
        let retransmit_ms = said(router.retransmit_ms, RETRANSMIT_MS, timing.1);
        self.set_link(interface, mtu, (reachable_ms, retransmit_ms));
        let interface = InterfaceId(interface);
        let message = Message::Link { interface, mtu, reachable_ms, retransmit_ms };
        self.send_message(Target::All, message);
    }

    pub(crate) fn set_link(&mut self, interface: u16, mtu: u16, timing: (u32, u32)) {
        let Some(link) = self.interfaces.get_mut(usize::from(interface)) else { return };
        link.mtu_v6 = mtu.min(link.mtu);
        self.neighbors.set_timing(interface, timing);
    }

    /// RFC 4861, 6.3.4 and RFC 4862, 5.5.3: a prefix of the link. False if it found no room.
    fn hear_prefix(&mut self, interface: u16, info: &PrefixInfo, now: Instant) -> bool {
        let prefix = mask(info.prefix, info.prefix_len);
        let is_of_link = is_link_local_v6(prefix) || !is_host_v6(prefix);
        let Some(discovery) = self.interfaces[usize::from(interface)].discovery.as_mut() else {
            return true;
        };
        if is_of_link || info.preferred_s > info.valid_s {
            return true;
        }
        let mut has_room = true;
        if info.on_link {
            has_room = discovery.hear_prefix(info, now);
            if has_room {
                self.tell_on_link(interface, (prefix, info.prefix_len), info.valid_s > 0);
            }
        }
        let forms = self.interfaces[usize::from(interface)].forms_addresses();
        if info.autonomous && forms && info.prefix_len == FORMED_PREFIX_LEN {
            has_room &= self.form_address(interface, prefix, info, now);
        }
        has_room
    }

    fn form_address(
        &mut self,
        interface: u16,
        prefix: Ipv6Addr,
        info: &PrefixInfo,
        now: Instant,
    ) -> bool {
        let link = &mut self.interfaces[usize::from(interface)];
        let address = ipv6::with_interface_id(prefix, link.mac);
        let is_ours = link.addresses_v6.iter().any(|own| own.address == address);
        let Some(discovery) = link.discovery.as_mut() else { return true };
        let is_deprecated = info.preferred_s == 0;
        let state = if is_deprecated { FormedState::Deprecated } else { FormedState::Preferred };
        if discovery.renew(address, info, now) {
            self.tell_formed(interface, address, state);
            return true;
        }
        // One that was configured has no lifetime.
        if info.valid_s == 0 || is_ours {
            return true;
        }
        if discovery.formed.len() == FORMED_MAX {
            return false;
        }
        discovery.formed.push(Formed {
            address,
            preferred_until: after(now, lifetime(info.preferred_s)),
            valid_until: after(now, lifetime(info.valid_s)),
            is_deprecated,
        });
        if !self.tell_formed(interface, address, state) {
            let link = &mut self.interfaces[usize::from(interface)];
            if let Some(discovery) = link.discovery.as_mut() {
                discovery.formed.pop();
            }
            return false;
        }
        self.ask_for_duplicate(interface, address);
        self.next_detection = self.next_detection.min(now);
        true
    }

    fn tell_on_link(&mut self, interface: u16, prefix: (Ipv6Addr, u8), is_on_link: bool) {
        self.set_on_link(interface, prefix, is_on_link);
        let (prefix, prefix_len) = prefix;
        let interface = InterfaceId(interface);
        let message = Message::OnLink { interface, prefix, prefix_len, is_on_link };
        self.send_message(Target::All, message);
    }

    fn tell_formed(&mut self, interface: u16, address: Ipv6Addr, state: FormedState) -> bool {
        let is_had = self.set_formed(interface, address, state, AddressState::Fresh);
        if is_had {
            let interface = InterfaceId(interface);
            self.send_message(Target::All, Message::Formed { interface, address, state });
        }
        is_had
    }

    /// RFC 4861, 6.3.6: of the routers that are not known to be silent the one that wants it most
    /// (RFC 4191, 3.2); the one that it was, of several. If all are silent, the next in turn.
    pub(crate) fn select_router(&mut self) {
        let before = self.learned.router();
        let mut best: Option<(bool, RouterPreference, bool, u16, Ipv6Addr)> = None;
        for (interface, link) in (0u16..).zip(&self.interfaces) {
            for router in link.discovery.iter().flat_map(|discovery| &discovery.routers) {
                let host = self.hosts.find(router.address, zone_of(router.address, interface));
                let key = host.and_then(|host| self.neighbors.find(interface, host));
                let answers = !key.is_some_and(|key| self.neighbors.is_failed(key));
                let is_it = host.is_some_and(|host| before == Some((interface, host)));
                // A silent one gives way even to another silent one.
                let stays = is_it == answers;
                let rank = (answers, router.preference, stays, interface, router.address);
                if best.is_none_or(|best| (rank.0, rank.1, rank.2) > (best.0, best.1, best.2)) {
                    best = Some(rank);
                }
            }
        }
        let best = best.map(|(.., interface, address)| (interface, address));
        let known = before.map(|(interface, host)| (interface, self.hosts.v6(host)));
        let is_same = match (best, known) {
            (Some((at, address)), Some((interface, Some((known, _))))) => {
                at == interface && address == known
            }
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.set_router(best);
        }
        // Said again with every advertisement, in case that a ring was full.
        let interface = InterfaceId(best.map_or(0, |(interface, _)| interface));
        let address = best.map(|(_, address)| address);
        self.send_message(Target::All, Message::Router { interface, address });
    }

    /// A neighbour fell silent: was it the router of last resort?
    #[cold]
    pub(crate) fn router_failed(&mut self, interface: u16, host: crate::host::Host) {
        if self.speaks_arp() && self.learned.router() == Some((interface, host)) {
            self.select_router();
        }
    }

    fn plan_discovery(&mut self, interface: u16) {
        let discovery = &self.interfaces[usize::from(interface)].discovery;
        let due = discovery.as_ref().map_or(Instant::NEVER, |discovery| discovery.next_deadline());
        self.next_detection = self.next_detection.min(due);
    }

    /// What is due about routers: questions, and ends.
    pub(crate) fn handle_discovery(&mut self, now: Instant) {
        for interface in 0..self.interfaces.len() as u16 {
            let Some(discovery) = &self.interfaces[usize::from(interface)].discovery else {
                continue;
            };
            if now >= discovery.next_deadline() {
                self.solicit_routers(interface, now);
                self.end_learned(interface, now);
            }
            self.plan_discovery(interface);
        }
    }

    /// RFC 4861, 6.3.7 with the intervals of RFC 7559, 2: twice as long each time, give or take a
    /// tenth.
    fn solicit_routers(&mut self, interface: u16, now: Instant) {
        let random = self.rng.next_u64();
        let link = &mut self.interfaces[usize::from(interface)];
        let (mac, source) = (link.mac, link.addresses_v6.first().copied());
        let Some(discovery) = link.discovery.as_mut() else { return };
        if now < discovery.next_solicitation {
            return;
        }
        if discovery.interval_ns == 0 {
            // The clock is seen for the first time. Not all hosts of a link speak at once.
            discovery.interval_ns = SOLICIT_INTERVAL_NS;
            discovery.next_solicitation = now.plus_nanos(1 + random % SOLICIT_DELAY_NS);
            return;
        }
        let interval = discovery.interval_ns;
        let jittered = interval - interval / 10 + random % (interval / 5);
        discovery.next_solicitation = now.plus_nanos(jittered);
        discovery.interval_ns = (2 * interval).min(SOLICIT_INTERVAL_MAX_NS);
        // RFC 4429, 3.3: an address that is not surely ours puts nothing into caches.
        let sure = source.filter(|own| own.state == AddressState::Preferred);
        let options = sure.map_or_else(NdpOptions::default, |_| NdpOptions::source(mac));
        let source = sure.map_or(Ipv6Addr::UNSPECIFIED, |own| own.address);
        let message = NdpMessage::RouterSolicitation { options };
        let to = MacAddress::for_multicast_v6(ipv6::ALL_ROUTERS);
        let sent = self.send_nd(interface, to, source, ipv6::ALL_ROUTERS, &message);
        self.counters.router_solicitations_out.increment();
        self.note(sent);
    }

    /// Routers, prefixes and addresses whose time is over.
    fn end_learned(&mut self, interface: u16, now: Instant) {
        let discovery =
            |stack: &mut Self| stack.interfaces[usize::from(interface)].discovery.take();
        let Some(mut known) = discovery(self) else { return };
        let routers = known.routers.len();
        known.routers.retain(|router| now < router.until);
        let is_less = known.routers.len() < routers;
        for prefix in known.prefixes.extract_if(.., |prefix| now >= prefix.until) {
            self.tell_on_link(interface, (prefix.prefix, prefix.prefix_len), false);
        }
        for formed in known.formed.extract_if(.., |formed| now >= formed.valid_until) {
            self.tell_formed(interface, formed.address, FormedState::Gone);
        }
        let aged = |formed: &&mut Formed| !formed.is_deprecated && now >= formed.preferred_until;
        for formed in known.formed.iter_mut().filter(aged) {
            formed.is_deprecated = true;
            self.tell_formed(interface, formed.address, FormedState::Deprecated);
        }
        let has_none = known.routers.is_empty();
        if is_less && has_none && known.next_solicitation == Instant::NEVER {
            known.interval_ns = 0;
            known.next_solicitation = now;
        }
        self.interfaces[usize::from(interface)].discovery = Some(known);
        if is_less {
            self.select_router();
        }
    }
}

impl Interface {
    fn forms_addresses(&self) -> bool {
        self.discovery.as_ref().is_some_and(|discovery| discovery.forms_addresses)
    }
}
