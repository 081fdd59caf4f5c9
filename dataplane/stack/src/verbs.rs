//! What the application does with connections.

use std::net::{IpAddr, SocketAddr};

use sluice_base::{ConnId, Instant, ListenerId, SlabKey};
use sluice_buf::{Chain, Pressure};
use sluice_tcp::{CloseReason, Config, Connection, Numbers, Signals};

use crate::addresses::{is_host, is_host_v6, is_link_local_v6};
use crate::connection::{Entry, Origin, context};
use crate::host::Host;
use crate::line::{Line, READY};
use crate::listener::ListenError;
use crate::ports::PortUse;
use crate::ready::{Ready, ReadySignals};
use crate::stack::Stack;
use crate::time_wait::TIME_WAIT;
use crate::tuple::Tuple;

/// Why a connection cannot be begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectError {
    /// No route leads there, or the address is our own.
    NoRoute,
    /// Every source port towards that endpoint is in use.
    NoPort,
    /// As many connections, or kinds of TCP configuration, exist as may.
    TableFull,
    /// Buffers are too scarce.
    NoMemory,
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "no route to the endpoint",
            Self::NoPort => "no source port is free",
            Self::TableFull => "too many connections",
            Self::NoMemory => "packet buffers are too scarce",
        })
    }
}

impl std::error::Error for ConnectError {}

/// What a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnInfo {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The listener that it came to, if a peer began it.
    pub listener: Option<ListenerId>,
    /// What [`Stack::connect`] was given, if we began it.
    pub token: u32,
}

impl Stack {
    /// Lets connections come to an address; 0.0.0.0 and :: stand for all of ours of their family.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(
        &mut self,
        id: ListenerId,
        address: impl Into<SocketAddr>,
        tcp: &Config,
    ) -> Result<(), ListenError> {
        let address = address.into();
        let host = self.local_host(address.ip()).ok_or(ListenError::NotLocal)?;
        let config = self.configs.acquire(tcp).ok_or(ListenError::TableFull)?;
        self.spares.stock(tcp.congestion);
        let inserted = self.listeners.insert(id, address, host, config);
        if inserted.is_err() {
            self.configs.release(config);
        } else {
            self.owners.listen(address.port());
        }
        inserted
    }

    /// Lets no more connections come; those that exist go on.
    pub fn unlisten(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.remove(id) {
            self.configs.release(listener.config);
        }
    }

    /// Begins a connection. What becomes of it is told by [`Stack::next_ready`].
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        remote: impl Into<SocketAddr>,
        tcp: &Config,
        token: u32,
        now: Instant,
    ) -> Result<ConnId, ConnectError> {
        self.now = now;
        if self.pressure >= Pressure::Critical {
            return Err(ConnectError::NoMemory);
        }
        let remote = remote.into();
        match remote.ip() {
            IpAddr::V4(address) if is_host(address) => {
                self.connect_to(address.into(), remote.port(), tcp, token, now)
            }
            // A link-local one would have to name its link.
            IpAddr::V6(address) if is_host_v6(address) && !is_link_local_v6(address) => {
                let host = self.hosts.acquire(address, None).ok_or(ConnectError::TableFull)?;
                let connected = self.connect_to(host, remote.port(), tcp, token, now);
                self.hosts.release(host);
                connected
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Err(ConnectError::NoRoute),
        }
    }

    fn connect_to(
        &mut self,
        remote: Host,
        remote_port: u16,
        tcp: &Config,
        token: u32,
        now: Instant,
    ) -> Result<ConnId, ConnectError> {
        // Connections share the next hops; each keeps the one that it began with.
        let flow = self.rng.next_u64();
        let (interface, next_hop) =
            self.route_flow(remote, flow).map_err(|_| ConnectError::NoRoute)?;
        let local = self.source(interface, next_hop, remote).ok_or(ConnectError::NoRoute)?;
        let tuple_from = |local_port| Tuple { local, remote, local_port, remote_port };
        let random = self.rng.next_u32();
        let port = self.ports.choose(random, |port| {
            if self.owners.is_listened(port) {
                return PortUse::Taken;
            }
            let tuple = tuple_from(port);
            let hash = tuple.hash(&self.flow_key);
            match self.flows.find(hash, |value| self.is_flow(value, &tuple)) {
                None => PortUse::Free,
                Some(value) if value & TIME_WAIT == 0 => PortUse::Taken,
                Some(value) if self.time_waits.may_succeed(value & !TIME_WAIT, now) => {
                    PortUse::Succeeds
                }
                Some(_) => PortUse::Taken,
            }
        });
        let tuple = tuple_from(port.ok_or(ConnectError::NoPort)?);
        let hash = tuple.hash(&self.flow_key);
        let mtu = self.mtu_for(interface, remote);
        let wanted = self.configs.acquire(tcp).ok_or(ConnectError::TableFull)?;
        self.spares.stock(tcp.congestion);
        let config = self.configs.acquire_for(wanted, mtu);
        self.configs.release(wanted);
        let config = config.ok_or(ConnectError::TableFull)?;
        let numbers = Numbers::new(&self.number_key, self.number_words(&tuple), now);
        let tcp = Connection::connect(numbers, &context!(self, config, now));
        let way = (interface, next_hop);
        let entry = Entry::new(Origin::Us(token), tuple, config, way, tcp);
        self.succeed_time_wait(&tuple, hash);
        let Some(key) = self.insert(entry, hash) else {
            self.configs.release(config);
            return Err(ConnectError::TableFull);
        };
        self.counters.tcp_connects.increment();
        self.begin(key);
        Ok(key.into())
    }

    /// The connection that has had something to tell for longest, and all that it has to tell.
    ///
    /// After [`ReadySignals::CLOSED`] its id names nothing any more.
    pub fn next_ready(&mut self) -> Option<(ConnId, Ready)> {
        let index = self.ready.peek()?;
        let Some((key, entry)) = self.connections.entry_at_mut(index) else {
            self.ready.pop(&mut self.connections);
            return None;
        };
        self.ready.pass(&mut entry.behind);
        entry.in_ready = false;
        let signals = std::mem::take(&mut entry.ready);
        let mut reason = None;
        if signals.contains(ReadySignals::CLOSED) {
            reason = entry.reason.or(entry.tcp.close_reason()).or(Some(CloseReason::Normal));
            entry.closed_said = true;
            let now = self.now;
            self.settle(key, now);
        }
        Some((key.into(), Ready { signals, reason }))
    }

    /// As [`Stack::next_ready`], and if there is nothing to tell but that bytes can be read, with up
    /// to `max` of them, as [`Stack::read`] would give them then. Else with none.
    #[inline]
    pub fn next_ready_with_bytes(&mut self, max: usize) -> Option<(ConnId, Ready, Chain)> {
        let index = self.ready.peek()?;
        let Some((key, entry)) = self.connections.entry_at_mut(index) else {
            return self.next_ready().map(|(conn, ready)| (conn, ready, Chain::new()));
        };
        if entry.ready != ReadySignals::READABLE {
            return self.next_ready().map(|(conn, ready)| (conn, ready, Chain::new()));
        }
        debug_assert!(entry.is_known && !entry.closed_said, "who is on the list lives");
        self.ready.pass(&mut entry.behind);
        entry.in_ready = false;
        let signals = std::mem::take(&mut entry.ready);
        let bytes = entry.tcp.read(max);
        if entry.is_over() {
            // It was not, but for these.
            self.settle_at(index, self.now);
        }
        Some((key.into(), Ready { signals, reason: None }, bytes))
    }

    /// The slots of the connections that [`Stack::next_ready`] will give next, to be asked for early;
    /// how many there are.
    pub fn ready_ahead(&self, into: &mut [u32]) -> usize {
        let (mut count, mut next) = (0, self.ready.peek());
        while count < into.len()
            && let Some(slot) = next
        {
            into[count] = slot;
            count += 1;
            next = Line::<READY>::behind(&self.connections, slot);
        }
        count
    }

    /// Puts a connection at the end of the list of those that have something to tell, as readable:
    /// for who did not finish reading.
    pub fn again(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(entry) = self.live(id).filter(|entry| entry.tcp.readable() > 0) {
            entry.ready |= ReadySignals::READABLE;
            self.settle(id.into(), now);
        }
    }

    /// What a connection is. None if the id is dead.
    #[must_use]
    pub fn connection(&self, id: ConnId) -> Option<ConnInfo> {
        let entry = self.connections.get(id.into()).filter(|entry| !entry.closed_said)?;
        Some(ConnInfo {
            local: self.local_address(&entry.tuple),
            peer: self.remote_address(&entry.tuple),
            listener: entry.origin().listener(),
            token: entry.origin().token(),
        })
    }

    /// Takes up to `max` bytes that arrived. Their buffers stay charged to the connection until
    /// [`Stack::credit`].
    #[inline]
    pub fn read(&mut self, id: ConnId, max: usize) -> Chain {
        let now = self.now;
        let Some(entry) = self.live(id) else { return Chain::new() };
        let bytes = entry.tcp.read(max);
        if entry.is_over() {
            // It was not, but for these.
            self.settle(id.into(), now);
        }
        bytes
    }

    /// Bytes that arrived and were not read.
    #[must_use]
    pub fn readable(&self, id: ConnId) -> usize {
        let entry = self.connections.get(id.into()).filter(|entry| !entry.closed_said);
        entry.map_or(0, |entry| entry.tcp.readable())
    }

    /// The application is done with `bytes` that it read: the window may open again.
    #[inline]
    pub fn credit(&mut self, id: ConnId, bytes: usize, now: Instant) {
        self.now = now;
        let pressure = self.pressure;
        if self.live(id).is_some_and(|entry| entry.tcp.let_go(bytes, pressure)) {
            self.drive_credit(id.index, now);
        }
    }

    #[cold]
    fn drive_credit(&mut self, index: u32, now: Instant) {
        self.drive(index, now, Connection::settle_credit);
    }

    /// Takes all of `bytes` to be sent. Says how many more there is room for; at 0 wait for
    /// [`ReadySignals::WRITABLE`]. To a dead connection they are dropped, and the answer is 0.
    pub fn write(&mut self, id: ConnId, bytes: &mut Chain, now: Instant) -> usize {
        self.now = now;
        let pressure = self.pressure;
        let entry = self.connections.get_mut(id.into());
        let Some(entry) = entry.filter(|entry| entry.is_living()) else {
            drop(std::mem::take(bytes));
            return 0;
        };
        let Some(room) = entry.tcp.append(bytes, self.configs.get(entry.config), pressure) else {
            return self.settle_written(id.index, now);
        };
        if let Some(interface) = entry.join_output(Signals::OUTPUT) {
            let output = &mut self.interfaces[usize::from(interface)].output;
            output.push(&mut self.connections, id.index);
        }
        room
    }

    /// What was written to a connection cannot leave at once, or was not taken.
    #[cold]
    fn settle_written(&mut self, index: u32, now: Instant) -> usize {
        let mut room = 0;
        self.drive(index, now, |tcp, cx| {
            let (signals, left) = tcp.settle_written(cx);
            room = left;
            signals
        });
        room
    }

    /// Bytes that were written and are not yet acknowledged.
    #[must_use]
    pub fn queued(&self, id: ConnId) -> usize {
        let entry = self.connections.get(id.into()).filter(|entry| !entry.closed_said);
        entry.map_or(0, |entry| entry.tcp.send_queue().len())
    }

    /// Connections of this stack, half-open ones included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// How many bytes there is room for.
    #[must_use]
    pub fn send_room(&self, id: ConnId) -> usize {
        let entry = self.connections.get(id.into()).filter(|entry| !entry.closed_said);
        entry.map_or(0, |entry| entry.tcp.send_room(&context!(self, entry.config, self.now)))
    }

    /// Sends a FIN behind what was written. What the peer still sends can be read.
    pub fn close(&mut self, id: ConnId, now: Instant) {
        self.verb(id, now, Connection::close);
    }

    /// Says that nothing more will be read: what still arrives is answered with a reset.
    pub fn stop_reading(&mut self, id: ConnId, now: Instant) {
        self.verb(id, now, Connection::stop_reading);
    }

    /// Gives the connection up with a reset.
    pub fn abort(&mut self, id: ConnId, now: Instant) {
        self.verb(id, now, Connection::abort);
    }

    #[inline]
    fn verb(
        &mut self,
        id: ConnId,
        now: Instant,
        verb: impl FnOnce(&mut Connection, &sluice_tcp::Context<'_>) -> Signals,
    ) {
        self.now = now;
        if self.live(id).is_some() {
            self.drive(id.index, now, verb);
        }
    }

    /// The entry that a living id names.
    fn live(&mut self, id: ConnId) -> Option<&mut Entry> {
        let key: SlabKey = id.into();
        self.connections.get_mut(key).filter(|entry| entry.is_living())
    }
}
