//! Two stacks and an attacker on one link, with state: the input is a program.
//!
//! ```text
//!   host 0 (10.0.0.1, fd09::1) ----+---- host 1 (10.0.0.2, fd09::2)
//!        both listen on TCP 80     |     and answer on UDP 53
//!                              attacker: hears nothing, knows addresses and ports
//! ```
//!
//! The first byte says how the hosts are configured and what the attacker may know, the second what
//! TCP agrees on; then come operations: what applications do, what the link does to frames under way,
//! what the attacker sends, how much time passes. Afterwards the attack ends, applications read and
//! close everything, and time passes until nothing is left.
//!
//! What must hold: nobody panics (every invariant of a connection is checked on the way); what is
//! received is what was sent; an attacker who does not see sequence numbers can neither insert, nor
//! lose, nor end anything beyond what RFC 5961 permits; both ends of a connection that ends well have
//! everything; everything ends; every buffer is home.
//!
//! With `SLUICE_FUZZ_TRACE` set every frame that leaves is printed, for who looks into a finding.

mod attacker;
mod host;
mod program;
mod tracker;

use std::collections::VecDeque;
use std::time::Duration;

use sluice_base::Instant;
use sluice_buf::chain_nodes_in_use;
use sluice_stack::CloseReason;
use sluice_wire::Frame;

use host::{Datagrams, Host, Knowledge, Options};
use program::Program;
use tracker::Tracker;

/// The way over the link.
const LATENCY_NS: u64 = 1_000_000;
/// Frames under way that operations choose among, and old ones that may come again.
const HISTORY: usize = 32;
/// Operations of one program.
const OPERATIONS_MAX: u32 = 1_000;
/// What may happen until the world is at rest; more is a storm.
const EVENTS_MAX: u32 = 100_000;
/// How long connections may take to end once nobody attacks: every retry of every timer.
const END_SECONDS: u64 = 3_600;

/// `data` is two bytes of options and a program. See the module.
pub fn two_stacks(data: &[u8]) {
    {
        let mut program = Program::new(data);
        let mut world = World::new(&mut program, data);
        for _ in 0..OPERATIONS_MAX {
            let Some(operation) = program.operation() else { break };
            world.operate(operation, &mut program);
            world.advance(Duration::ZERO);
        }
        world.end();
    }
    assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
}

/// A frame under way.
struct Flying {
    due: Instant,
    serial: u64,
    to: usize,
    bytes: Vec<u8>,
    /// One bit was inverted: any checksum finds that, and nobody promises more.
    is_flipped: bool,
}

struct World {
    hosts: [Host; 2],
    now: Instant,
    flying: Vec<Flying>,
    serial: u64,
    /// What was sent lately.
    history: VecDeque<(usize, Vec<u8>)>,
    tracker: Tracker,
    /// The attacker does not use what it could only know by listening.
    is_blind: bool,
    /// Something was lost or sent elsewhere: peers may time out.
    is_disturbed: bool,
    datagrams: Datagrams,
    events: u32,
    is_traced: bool,
}

impl World {
    fn new(program: &mut Program<'_>, data: &[u8]) -> Self {
        let options = Options::read(program);
        // Secrets depend on every byte, so that no value that was guessed is right a second time.
        let secret = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        });
        Self {
            hosts: [0, 1].map(|side| Host::new(side, &options, secret)),
            now: Instant::from_millis(10_000),
            flying: Vec::new(),
            serial: 0,
            history: VecDeque::new(),
            tracker: Tracker::default(),
            is_blind: options.is_blind,
            is_disturbed: false,
            datagrams: Datagrams::default(),
            events: 0,
            is_traced: std::env::var_os("SLUICE_FUZZ_TRACE").is_some(),
        }
    }

    fn operate(&mut self, operation: u8, program: &mut Program<'_>) {
        let side = usize::from(operation >> 7);
        let now = self.now;
        match operation & 0x1f {
            0 => self.hosts[side].connect(program.bit(), now),
            1 | 2 => {
                let (conn, len) = (program.u8(), program.u16());
                self.hosts[side].write(conn, len.into(), now);
            }
            3 => self.hosts[side].close(program.u8(), now),
            4 => self.hosts[side].abort(program.u8(), now),
            5 => self.hosts[side].stop_reading(program.u8(), now),
            6 => self.hosts[side].toggle_pause(program.u8()),
            7 => {
                let (v6, len) = (program.bit(), program.u16() & 0xfff);
                self.hosts[side].send_datagram(v6, len, &mut self.datagrams, now);
            }
            8 | 9 => self.advance(Duration::from_millis(program.u8().into())),
            10 => self.advance(Duration::from_millis(u64::from(program.u8()) * 250)),
            11 => {
                if let Some(at) = self.choose(program) {
                    self.flying.swap_remove(at);
                    self.is_disturbed = true;
                }
            }
            12 => {
                if let Some(at) = self.choose(program) {
                    let Flying { to, bytes, is_flipped, .. } = &self.flying[at];
                    let (to, bytes, is_flipped) = (*to, bytes.clone(), *is_flipped);
                    self.datagrams.copies += 1;
                    self.fly(to, bytes, Duration::from_millis(program.u8().into()), is_flipped);
                }
            }
            13 => {
                if let Some(at) = self.choose(program) {
                    let late = u64::from(program.u8()) * 16_000_000;
                    self.flying[at].due = self.flying[at].due.plus_nanos(late);
                    self.is_disturbed = true;
                }
            }
            14 => self.flip(program),
            15 => {
                let at = usize::from(program.u8());
                if let Some((to, bytes)) = self.history.get(at % self.history.len().max(1)) {
                    let (to, bytes) = (*to, bytes.clone());
                    self.datagrams.copies += 1;
                    self.fly(to, bytes, Duration::ZERO, false);
                }
            }
            16 => {
                // Everything under way is lost.
                self.flying.clear();
                self.is_disturbed = true;
            }
            _ => self.attack(side, program),
        }
    }

    /// The attacker sends a frame to one of the hosts.
    fn attack(&mut self, side: usize, program: &mut Program<'_>) {
        let attack = attacker::frame(side, program, &self.tracker);
        if self.is_blind {
            self.tracker.note_luck(side, &attack.bytes);
        }
        self.datagrams.is_forged = true;
        self.is_disturbed |= attack.disturbs;
        self.trace("attacker", &attack.bytes);
        self.fly(side, attack.bytes, Duration::ZERO, false);
    }

    fn trace(&self, who: &str, bytes: &[u8]) {
        if self.is_traced {
            println!("{:>12.6} {who}: {}", self.now.as_micros() as f64 / 1e6, Frame(bytes));
        }
    }

    fn choose(&self, program: &mut Program<'_>) -> Option<usize> {
        let at = usize::from(program.u8());
        (!self.flying.is_empty()).then(|| at % self.flying.len())
    }

    /// Inverts a bit of an IP packet. (What is not IP has no checksum but Ethernet's, which finds it.)
    fn flip(&mut self, program: &mut Program<'_>) {
        let (chosen, place) = (self.choose(program), usize::from(program.u16()));
        let Some(at) = chosen else { return };
        self.is_disturbed = true;
        let frame = &mut self.flying[at];
        let is_ip = matches!(frame.bytes.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
        if !is_ip || frame.is_flipped || frame.bytes.len() <= 14 {
            self.flying.swap_remove(at);
            return;
        }
        let bits = (frame.bytes.len() - 14) * 8;
        let bit = place % bits;
        frame.bytes[14 + bit / 8] ^= 1 << (bit % 8);
        frame.is_flipped = true;
    }

    fn fly(&mut self, to: usize, bytes: Vec<u8>, late: Duration, is_flipped: bool) {
        let due = (self.now + late).plus_nanos(LATENCY_NS);
        self.serial += 1;
        self.flying.push(Flying { due, serial: self.serial, to, bytes, is_flipped });
    }

    /// Plays for a while.
    fn advance(&mut self, time: Duration) {
        let limit = self.now + time;
        loop {
            self.serve();
            let arrival = self.flying.iter().map(|frame| frame.due).min();
            let timers = self.hosts.iter().map(Host::next_deadline).min();
            let next = [arrival, timers].into_iter().flatten().min().unwrap_or(Instant::NEVER);
            if next > limit {
                self.now = limit;
                return;
            }
            self.now = self.now.max(next);
            self.events += 1;
            assert!(self.events < EVENTS_MAX, "the world comes to rest");
            self.deliver();
            for host in &mut self.hosts {
                host.handle_timers(self.now);
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        self.flying.retain_mut(|frame| {
            if frame.due <= now {
                due.push((frame.serial, frame.to, std::mem::take(&mut frame.bytes)));
            }
            frame.due > now
        });
        due.sort_unstable_by_key(|(serial, ..)| *serial);
        for (_, to, bytes) in due {
            self.is_disturbed |= !self.hosts[to].receive(&bytes, now);
        }
    }

    /// Applications have their turn, and what can leave goes onto the link.
    fn serve(&mut self) {
        let now = self.now;
        for side in 0..2 {
            let known = Knowledge { tracker: &self.tracker, is_blind: self.is_blind };
            self.hosts[side].serve(&known, &mut self.datagrams, now);
            for bytes in self.hosts[side].transmit(now) {
                self.trace(["host 0", "host 1"][side], &bytes);
                self.tracker.observe(side, &bytes);
                self.history.push_back((1 - side, bytes.clone()));
                if self.history.len() > HISTORY {
                    self.history.pop_front();
                }
                self.fly(1 - side, bytes, Duration::ZERO, false);
            }
        }
        for side in 0..2 {
            for (key, received) in self.hosts[side].received() {
                let sent = self.hosts[1 - side].written(key);
                let is_true = !self.is_blind || self.tracker.had_luck(key) || received <= sent;
                assert!(is_true, "{received} bytes arrived of {sent}");
            }
        }
    }

    /// The attack is over: applications read and close, and everything ends.
    fn end(&mut self) {
        self.events = 0;
        let now = self.now;
        self.hosts.iter_mut().for_each(|host| host.finish(now));
        for tenth in 0..10 {
            // Whose peer is gone without a word waits for its FIN for ever, unless the application says
            // that it has had enough.
            if tenth == 5 {
                self.hosts.iter_mut().for_each(|host| host.give_up(self.now));
            }
            self.advance(Duration::from_secs(END_SECONDS / 10));
            if self.hosts.iter().all(Host::is_idle) {
                break;
            }
        }
        for host in &self.hosts {
            assert!(host.is_idle(), "everything ends: {}", host.describe());
        }
        self.serve();
        if self.is_blind {
            self.check_ends();
        }
    }

    /// How connections ended, where the attacker had no luck.
    fn check_ends(&self) {
        for (side, key) in [0, 1]
            .into_iter()
            .flat_map(|side| self.hosts[side].keys().into_iter().map(move |key| (side, key)))
        {
            let (here, there) = (self.hosts[side].find(key), self.hosts[1 - side].find(key));
            let Some(here) = here.filter(|_| !self.tracker.had_luck(key)) else { continue };
            assert!(self.is_disturbed || !here.was_given_up, "{key:?} of host {side} hangs");
            let may_break = self.is_disturbed
                || self.hosts.iter().any(Host::was_short_of_memory)
                || here.was_cut
                || there.is_none_or(|there| there.was_cut);
            let reason = here.end.expect("everything ended");
            match reason {
                CloseReason::Normal => {}
                CloseReason::TimedOut | CloseReason::Reset | CloseReason::Aborted => {
                    assert!(may_break, "{key:?} of host {side} ended as {reason:?}");
                }
                CloseReason::Refused => panic!("{key:?} of host {side} was refused"),
            }
            // A reset has a sender: an application that gave up, or an end that timed out.
            if reason == CloseReason::Reset {
                let is_sent = there.is_none_or(|there| {
                    there.was_cut || there.end.is_some_and(|end| end != CloseReason::Normal)
                });
                let is_shed = self.hosts.iter().any(Host::was_short_of_memory);
                // Who was cut off from an end for a minute finds nobody there.
                let is_late = self.is_disturbed;
                assert!(
                    is_sent || is_shed || is_late,
                    "{key:?} of host {side} was reset by nobody"
                );
            }
            let Some(there) = there else { continue };
            if reason == CloseReason::Normal && there.end == Some(CloseReason::Normal) {
                assert_eq!(here.received, there.written, "{key:?} brings everything to {side}");
            }
        }
    }
}
