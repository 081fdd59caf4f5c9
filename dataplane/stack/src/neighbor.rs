//! Stations on our links: who is where, and whether it still answers.
//!
//! Neighbour unreachability detection as in RFC 4861, 7.3, with ARP as its messages for IPv4 and
//! neighbour discovery's own for IPv6:
//!
//! ```text
//!             first use: ask all          answer
//!   (nothing) ----------------> incomplete ----> reachable <-----------+
//!       |                         | 3 tries          | 30 s            | answer
//!       | asked us                v                  v     used: ask it|
//!       +-----------> stale     failed <--+        stale ----------> probe
//!                                 | 1 s, used      3 tries             |
//!                                 +--> incomplete  <---- failed <------+
//! ```
//!
//! `reachable` becomes `stale` by looking at the clock when it is used; only `incomplete` and
//! `probe` hold a timer. In `stale` and `probe` packets go to the address known so far. Who sends in
//! vain makes `probe` of `reachable` and `stale` at once. The last try of `probe` asks all: what is
//! known may be wrong, as after an answer that was damaged under way.
//!
//! What a stranger can do is bounded: a packet of ARP or neighbour discovery changes an entry that exists, or makes one when
//! it asks for one of our addresses; the table has a fixed size, and the entry that gives way is
//! one that nobody used for long.

use sluice_base::{HashKey, Instant, Slab, SlabKey};
use sluice_buf::Packet;
use sluice_wire::{EtherType, MacAddress};

use crate::host::Host;
use crate::line::{Line, Links, OUTPUT};
use crate::parked::{Parked, ParkedList};
use crate::queue::NIL;
use crate::wheel::{Timer, Wheel};

/// RFC 4861, 10: REACHABLE_TIME.
const REACHABLE_NS: u64 = 30_000_000_000;
/// RFC 4861, 10: RETRANS_TIMER.
const RETRY_NS: u64 = 1_000_000_000;
/// RFC 4861, 10: MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT.
const TRIES_MAX: u8 = 3;
/// How long an answer is believed whatever is sent in vain: behind a gateway that is well there may
/// be many who do not answer.
const BELIEVED_NS: u64 = 2_000_000_000;
/// How long a silent neighbour is not asked again.
const FAILED_NS: u64 = 1_000_000_000;
/// An entry that packets went by so lately does not give way: strangers' addresses, however many,
/// must not push out who is spoken to.
const IN_USE_NS: u64 = 5_000_000_000;
/// How many entries are looked at for one that can give way.
const VICTIMS: u32 = 16;

/// Bytes of an ethernet header without tags.
pub(crate) const TEMPLATE_LEN: usize = 14;

/// Where a neighbour stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NeighborState {
    /// Asked for, no answer yet; packets wait.
    Incomplete,
    /// It answered less than 30 seconds ago.
    Reachable,
    /// Its address is known, whether it is still there is not.
    Stale,
    /// As stale, and it has been asked.
    Probe,
    /// It does not answer.
    Failed,
}

impl NeighborState {
    /// For listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Probe => "probe",
            Self::Failed => "failed",
        }
    }
}

/// One station.
#[derive(Debug)]
pub(crate) struct Neighbor {
    /// The ethernet header of packets of its family to it.
    pub(crate) template: [u8; TEMPLATE_LEN],
    pub(crate) state: NeighborState,
    tries: u8,
    pub(crate) interface: u16,
    pub(crate) address: Host,
    pub(crate) mac: MacAddress,
    /// Until when `reachable` or `failed` counts; when the next try of `incomplete` or `probe` is.
    deadline: Instant,
    used: Instant,
    hash_next: u32,
    parked: ParkedList,
    waiting: Line<OUTPUT>,
}

impl Neighbor {
    /// Whether packets can go to it and nothing has to be asked.
    #[inline]
    fn is_answering(&self, now: Instant) -> bool {
        match self.state {
            NeighborState::Reachable => now < self.deadline,
            NeighborState::Probe => true,
            NeighborState::Incomplete | NeighborState::Stale | NeighborState::Failed => false,
        }
    }
}

/// Whether packets can go to a neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// By its template.
    Usable,
    /// Not yet.
    Waiting,
    /// No.
    Failed,
}

/// A question to send: to everybody on the link, or to the station that had the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ask {
    pub(crate) interface: u16,
    pub(crate) address: Host,
    pub(crate) mac: Option<MacAddress>,
}

/// What the timer found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NeighborEvent {
    /// Send the question (again).
    Ask(Ask),
    /// No answer came. What waits for it will wait in vain.
    Failed(SlabKey),
}

/// How an address was learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Learned {
    /// An answer, or word from worker 0: it is there.
    Answer,
    /// It asked for one of our addresses.
    Question,
    /// It announced itself.
    Announcement,
}

/// All stations.
#[derive(Debug)]
pub(crate) struct Neighbors {
    slab: Slab<Neighbor>,
    buckets: Vec<u32>,
    key: HashKey,
    wheel: Wheel,
    /// By slot.
    timers: Vec<Timer>,
    parked: Parked,
    queue_max: u32,
    limit: u32,
    hand: u32,
    /// By interface, what IPv6 takes in place of [`REACHABLE_NS`] and [`RETRY_NS`]: milliseconds.
    /// Empty where no router is listened to.
    timing_v6: Vec<(u32, u32)>,
}

impl Neighbors {
    pub(crate) fn new(limit: u32, queue_max: u32, parked_max: u32, key: HashKey) -> Self {
        Self {
            slab: Slab::new(limit, limit),
            buckets: vec![NIL; (limit as usize * 2).next_power_of_two()],
            key,
            wheel: Wheel::new(limit, 0),
            timers: vec![Timer::UNARMED; limit as usize],
            parked: Parked::new(parked_max),
            queue_max,
            limit,
            hand: 0,
            timing_v6: Vec::new(),
        }
    }

    /// How many entries there may be.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// How long an IPv6 neighbour counts as reachable, and how long an answer may take:
    /// milliseconds.
    pub(crate) fn timing(&self, interface: u16) -> (u32, u32) {
        let usual = ((REACHABLE_NS / 1_000_000) as u32, (RETRY_NS / 1_000_000) as u32);
        self.timing_v6.get(usize::from(interface)).copied().unwrap_or(usual)
    }

    /// RFC 4861, 6.3.4: other times, by a router's word.
    pub(crate) fn set_timing(&mut self, interface: u16, timing: (u32, u32)) {
        if timing == self.timing(interface) {
            return;
        }
        while self.timing_v6.len() <= usize::from(interface) {
            self.timing_v6.push(self.timing(u16::MAX));
        }
        self.timing_v6[usize::from(interface)] = timing;
    }

    fn timing_ns(&self, interface: u16, address: Host) -> (u64, u64) {
        if !address.is_v6() || self.timing_v6.is_empty() {
            return (REACHABLE_NS, RETRY_NS);
        }
        let (reachable, retry) = self.timing(interface);
        (u64::from(reachable) * 1_000_000, u64::from(retry) * 1_000_000)
    }

    /// Whether a station is known not to answer.
    pub(crate) fn is_failed(&self, key: SlabKey) -> bool {
        self.get(key).is_some_and(|neighbor| neighbor.state == NeighborState::Failed)
    }

    pub(crate) fn get(&self, key: SlabKey) -> Option<&Neighbor> {
        self.slab.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Neighbor> {
        self.slab.iter().map(|(_, neighbor)| neighbor)
    }

    pub(crate) fn find(&self, interface: u16, address: Host) -> Option<SlabKey> {
        let mut at = self.buckets[self.bucket(interface, address)];
        while at != NIL {
            let key = self.slab.key_at(at)?;
            let neighbor = self.slab.get(key)?;
            if neighbor.address == address && neighbor.interface == interface {
                return Some(key);
            }
            at = neighbor.hash_next;
        }
        None
    }

    /// The link header of packets to a neighbour of which nothing has to be asked. Notes that it is
    /// used.
    #[inline]
    pub(crate) fn known(
        &mut self,
        interface: u16,
        address: Host,
        now: Instant,
    ) -> Option<&[u8; TEMPLATE_LEN]> {
        let first = self.buckets[self.bucket(interface, address)];
        // Half of the buckets are empty; who shares one takes the long way.
        let neighbor = self.slab.at_mut(first)?;
        let is_it = neighbor.address == address && neighbor.interface == interface;
        if !(is_it && neighbor.is_answering(now)) {
            return None;
        }
        neighbor.used = now;
        Some(&neighbor.template)
    }

    /// The link header of packets to the neighbour with this key, if nothing has to be asked. Notes
    /// that it is used.
    #[inline]
    pub(crate) fn template(&mut self, key: SlabKey, now: Instant) -> Option<&[u8; TEMPLATE_LEN]> {
        let neighbor = self.slab.get_mut(key)?;
        if !neighbor.is_answering(now) {
            return None;
        }
        neighbor.used = now;
        Some(&neighbor.template)
    }

    /// Whether an entry must give way before another is made.
    pub(crate) fn is_full(&self) -> bool {
        self.slab.len() >= self.limit as usize
    }

    /// The entry that should give way: of a few, the one unused for longest that nobody waits for.
    pub(crate) fn victim(&mut self, now: Instant) -> Option<SlabKey> {
        let mut best: Option<(Instant, SlabKey)> = None;
        for _ in 0..VICTIMS.min(self.limit) {
            self.hand = (self.hand + 1) % self.limit;
            let Some(key) = self.slab.key_at(self.hand) else { continue };
            let Some(neighbor) = self.slab.get(key) else { continue };
            let is_known =
                !matches!(neighbor.state, NeighborState::Incomplete | NeighborState::Failed);
            let is_in_use = is_known
                && neighbor.used != Instant::ZERO
                && now < neighbor.used.plus_nanos(IN_USE_NS);
            let is_needed = neighbor.waiting.len() > 0 || neighbor.parked.len() > 0 || is_in_use;
            if !is_needed && best.is_none_or(|(used, _)| neighbor.used < used) {
                best = Some((neighbor.used, key));
            }
        }
        best.map(|(_, key)| key)
    }

    /// Makes an entry that was not asked for yet. None if the table is full.
    pub(crate) fn insert(
        &mut self,
        interface: u16,
        source: MacAddress,
        address: Host,
    ) -> Option<SlabKey> {
        let bucket = self.bucket(interface, address);
        let mut template = [0; TEMPLATE_LEN];
        template[6..12].copy_from_slice(&source.0);
        let carries = if address.is_v6() { EtherType::Ipv6 } else { EtherType::Ipv4 };
        template[12..14].copy_from_slice(&carries.number().to_be_bytes());
        let neighbor = Neighbor {
            template,
            state: NeighborState::Failed,
            tries: 0,
            interface,
            address,
            mac: MacAddress::ZERO,
            deadline: Instant::ZERO,
            used: Instant::ZERO,
            hash_next: self.buckets[bucket],
            parked: ParkedList::new(),
            waiting: Line::new(),
        };
        let key = self.slab.insert(neighbor).ok()?;
        self.buckets[bucket] = key.index;
        Some(key)
    }

    /// Forgets an entry that nobody waits for.
    pub(crate) fn remove(&mut self, key: SlabKey) {
        let Some(neighbor) = self.slab.get(key) else { return };
        debug_assert_eq!(neighbor.parked.len() + neighbor.waiting.len(), 0, "nobody waits for it");
        let (bucket, next) =
            (self.bucket(neighbor.interface, neighbor.address), neighbor.hash_next);
        if self.buckets[bucket] == key.index {
            self.buckets[bucket] = next;
        } else {
            let mut at = self.buckets[bucket];
            while let Some(other) = self.slab.key_at(at).and_then(|other| self.slab.get_mut(other))
            {
                if other.hash_next == key.index {
                    other.hash_next = next;
                    break;
                }
                at = other.hash_next;
            }
        }
        self.wheel.disarm(&mut self.timers, key.index);
        self.slab.remove(key);
    }

    /// Says whether packets can go to the neighbour, and what must be asked because they want to.
    #[inline]
    pub(crate) fn reach(&mut self, key: SlabKey, now: Instant) -> (Reach, Option<Ask>) {
        let Some(neighbor) = self.slab.get_mut(key) else { return (Reach::Failed, None) };
        neighbor.used = now;
        match neighbor.state {
            NeighborState::Reachable if now < neighbor.deadline => (Reach::Usable, None),
            NeighborState::Reachable | NeighborState::Stale => {
                (Reach::Usable, self.ask(key, NeighborState::Probe, now))
            }
            NeighborState::Probe => (Reach::Usable, None),
            NeighborState::Incomplete => (Reach::Waiting, None),
            NeighborState::Failed if now < neighbor.deadline => (Reach::Failed, None),
            NeighborState::Failed => {
                (Reach::Waiting, self.ask(key, NeighborState::Incomplete, now))
            }
        }
    }

    #[cold]
    fn ask(&mut self, key: SlabKey, state: NeighborState, now: Instant) -> Option<Ask> {
        let neighbor = self.slab.get(key)?;
        let (_, retry_ns) = self.timing_ns(neighbor.interface, neighbor.address);
        let neighbor = self.slab.get_mut(key)?;
        if neighbor.state != state {
            neighbor.state = state;
            neighbor.tries = 0;
        }
        neighbor.tries += 1;
        neighbor.deadline = now.plus_nanos(retry_ns);
        self.wheel.arm(&mut self.timers, key.index, neighbor.deadline);
        // RFC 7048, 3: it may be at another address than the one that does not answer.
        let asks_it_alone = state == NeighborState::Probe && neighbor.tries < TRIES_MAX;
        let mac = asks_it_alone.then_some(neighbor.mac);
        Some(Ask { interface: neighbor.interface, address: neighbor.address, mac })
    }

    /// Takes in what was heard about a station. True if packets that waited can go, or if others
    /// should hear of it: an answer to a question, or another address than before.
    pub(crate) fn learn(
        &mut self,
        key: SlabKey,
        mac: MacAddress,
        how: Learned,
        now: Instant,
    ) -> bool {
        let Some(neighbor) = self.slab.get(key) else { return false };
        let (reachable_ns, _) = self.timing_ns(neighbor.interface, neighbor.address);
        let Some(neighbor) = self.slab.get_mut(key) else { return false };
        let was = neighbor.state;
        let moved = neighbor.mac != mac;
        let awaited = matches!(was, NeighborState::Incomplete | NeighborState::Probe);
        // RFC 4861, 7.2.5 and 7.2.3: only an answer to our question proves that it hears us.
        let next = match how {
            Learned::Answer => NeighborState::Reachable,
            Learned::Question | Learned::Announcement if moved => NeighborState::Stale,
            Learned::Question | Learned::Announcement => match was {
                NeighborState::Incomplete | NeighborState::Failed => NeighborState::Stale,
                NeighborState::Reachable | NeighborState::Stale | NeighborState::Probe => was,
            },
        };
        neighbor.mac = mac;
        neighbor.template[..6].copy_from_slice(&mac.0);
        neighbor.state = next;
        if next == NeighborState::Reachable && how == Learned::Answer {
            neighbor.deadline = now.plus_nanos(reachable_ns);
        }
        if next != NeighborState::Probe {
            self.wheel.disarm(&mut self.timers, key.index);
        }
        moved || (awaited && next != was)
    }

    /// RFC 4861, 7.2.5, I: an advertisement that must not override says another address than what
    /// is known: what is known is doubted and goes on being used.
    pub(crate) fn doubt(&mut self, key: SlabKey) {
        if let Some(neighbor) =
            self.slab.get_mut(key).filter(|n| n.state == NeighborState::Reachable)
        {
            neighbor.state = NeighborState::Stale;
        }
    }

    /// RFC 4861, 7.3.1: somebody sends through it in vain. It is asked whether it is still there,
    /// unless it has just said so.
    #[cold]
    pub(crate) fn suspect(&mut self, key: SlabKey, now: Instant) -> Option<Ask> {
        let neighbor = self.slab.get(key)?;
        let is_known = matches!(neighbor.state, NeighborState::Reachable | NeighborState::Stale);
        let has_just_answered = neighbor.state == NeighborState::Reachable
            && now.plus_nanos(REACHABLE_NS - BELIEVED_NS) < neighbor.deadline;
        if !is_known || has_just_answered {
            return None;
        }
        self.ask(key, NeighborState::Probe, now)
    }

    /// Questions about a link that may be asked now: addresses that nobody answered for yet.
    pub(crate) fn incomplete(&self, interface: u16) -> impl Iterator<Item = Ask> + '_ {
        self.iter()
            .filter(move |n| n.interface == interface && n.state == NeighborState::Incomplete)
            .map(|n| Ask { interface: n.interface, address: n.address, mac: None })
    }

    /// Takes in that the station does not answer, from worker 0.
    pub(crate) fn fail(&mut self, key: SlabKey, now: Instant) {
        if let Some(neighbor) = self.slab.get_mut(key) {
            neighbor.state = NeighborState::Failed;
            neighbor.deadline = now.plus_nanos(FAILED_NS);
            self.wheel.disarm(&mut self.timers, key.index);
        }
    }

    /// Moves due timers to where [`Neighbors::next_event`] finds them.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.wheel.advance(&mut self.timers, now);
    }

    /// What a due timer asks for.
    pub(crate) fn next_event(&mut self, now: Instant) -> Option<NeighborEvent> {
        loop {
            let index = self.wheel.pop_expired(&mut self.timers)?;
            let Some(key) = self.slab.key_at(index) else { continue };
            let Some(neighbor) = self.slab.get(key) else { continue };
            let state = neighbor.state;
            if !matches!(state, NeighborState::Incomplete | NeighborState::Probe) {
                continue;
            }
            if now < neighbor.deadline {
                self.wheel.arm(&mut self.timers, index, neighbor.deadline);
                continue;
            }
            if neighbor.tries >= TRIES_MAX {
                self.fail(key, now);
                return Some(NeighborEvent::Failed(key));
            }
            if let Some(ask) = self.ask(key, state, now) {
                return Some(NeighborEvent::Ask(ask));
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.wheel.next_deadline()
    }

    /// Lets a packet wait. A packet that must give way comes back.
    pub(crate) fn park(&mut self, key: SlabKey, packet: Packet) -> Option<Packet> {
        match self.slab.get_mut(key) {
            Some(neighbor) => self.parked.push(&mut neighbor.parked, packet, self.queue_max),
            None => Some(packet),
        }
    }

    /// The oldest packet that waits.
    pub(crate) fn pop_parked(&mut self, key: SlabKey) -> Option<Packet> {
        self.parked.pop(&mut self.slab.get_mut(key)?.parked)
    }

    /// Lets a connection wait.
    pub(crate) fn wait(&mut self, key: SlabKey, links: &mut impl Links, connection: u32) {
        if let Some(neighbor) = self.slab.get_mut(key) {
            neighbor.waiting.push(links, connection);
        }
    }

    /// The connection that has waited longest.
    pub(crate) fn pop_waiting(&mut self, key: SlabKey, links: &mut impl Links) -> Option<u32> {
        self.slab.get_mut(key)?.waiting.pop(links)
    }

    fn bucket(&self, interface: u16, address: Host) -> usize {
        let word = u64::from(interface) << 32 | u64::from(address.bits());
        self.key.hash_word(word) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests;
