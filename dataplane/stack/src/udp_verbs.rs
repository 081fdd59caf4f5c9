//! What the application does with UDP.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use sluice_base::{Instant, ListenerId, UdpId};
use sluice_buf::Pressure;

use crate::addresses::{is_host, is_host_v6, is_link_local_v6};
use crate::host::Host;
use crate::listener::ListenError;
use crate::ports::PortUse;
use crate::stack::Stack;
use crate::tuple::Tuple;
use crate::udp::UdpFlow;
use crate::verbs::ConnectError;

impl Stack {
    /// Lets datagrams come to an address; 0.0.0.0 and :: stand for all of ours of their family.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(
        &mut self,
        id: ListenerId,
        address: impl Into<SocketAddr>,
    ) -> Result<(), ListenError> {
        let address = address.into();
        let host = self.local_host(address.ip()).ok_or(ListenError::NotLocal)?;
        self.udp.bound.insert(id, address, host, 0)?;
        self.owners.listen(address.port());
        Ok(())
    }

    /// Lets no more datagrams of new peers come; flows go on.
    pub fn unbind(&mut self, id: ListenerId) {
        self.udp.bound.remove(id);
    }

    /// Makes a flow to `remote` from an address of ours and a source port whose answers come to this
    /// worker. What comes back carries `token`.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn udp_connect(
        &mut self,
        remote: SocketAddr,
        token: u32,
        now: Instant,
    ) -> Result<UdpId, ConnectError> {
        self.now = now;
        let (host, port) = (self.acquire_remote(remote)?, remote.port());
        let made = self.connect_flow(host, port, token);
        self.hosts.release(host);
        made
    }

    fn connect_flow(
        &mut self,
        remote: Host,
        remote_port: u16,
        token: u32,
    ) -> Result<UdpId, ConnectError> {
        // Flows share the next hops.
        let spread = self.rng.next_u64();
        let (interface, next_hop) =
            self.route_flow(remote, spread).map_err(|_| ConnectError::NoRoute)?;
        let local = self.source(interface, next_hop, remote).ok_or(ConnectError::NoRoute)?;
        let tuple_from = |local_port| Tuple { local, remote, local_port, remote_port };
        let random = self.rng.next_u32();
        let port = self.ports.choose(random, |port| {
            let is_taken =
                self.owners.is_listened(port) || self.find_flow(&tuple_from(port)).is_some();
            if is_taken { PortUse::Taken } else { PortUse::Free }
        });
        let tuple = tuple_from(port.ok_or(ConnectError::NoPort)?);
        self.insert_flow(tuple, (interface, next_hop), token, None)
    }

    /// Makes a flow of what `peer` sends to `local`, a bound address; both as
    /// [`UdpEvent::Arrived`](crate::UdpEvent::Arrived) said. What comes carries `token`.
    ///
    /// # Errors
    /// See [`ConnectError`]. `NoPort`: it is one already, or nobody is bound there any more.
    pub fn udp_accept(
        &mut self,
        local: SocketAddr,
        peer: SocketAddr,
        token: u32,
        now: Instant,
    ) -> Result<UdpId, ConnectError> {
        self.now = now;
        let own = self.local_udp_host(local).ok_or(ConnectError::NoRoute)?;
        let remote = self.acquire_remote(peer)?;
        let tuple =
            Tuple { local: own, remote, local_port: local.port(), remote_port: peer.port() };
        let made = self.accept_flow(tuple, token);
        self.hosts.release(remote);
        made
    }

    fn accept_flow(&mut self, tuple: Tuple, token: u32) -> Result<UdpId, ConnectError> {
        let bound = self.udp.bound.find(tuple.local, tuple.local_port);
        let listener = bound.and_then(|key| self.udp.bound.get(key)).map(|bound| bound.id);
        let is_known = self.find_flow(&tuple).is_some();
        let listener = listener.filter(|_| !is_known).ok_or(ConnectError::NoPort)?;
        let hash = tuple.hash(&self.flow_key);
        let way = self.route_flow(tuple.remote, hash).map_err(|_| ConnectError::NoRoute)?;
        self.insert_flow(tuple, way, token, Some(listener))
    }

    fn insert_flow(
        &mut self,
        tuple: Tuple,
        (interface, next_hop): (u16, Host),
        token: u32,
        listener: Option<ListenerId>,
    ) -> Result<UdpId, ConnectError> {
        let flow = UdpFlow { tuple, neighbor: None, next_hop, interface, mtu: 0, token, listener };
        let key = self.udp.flows.insert(flow).map_err(|_| ConnectError::TableFull)?;
        let hash = tuple.hash(&self.flow_key);
        if self.udp.index.insert(hash, key.index).is_err() {
            self.udp.flows.remove(key);
            return Err(ConnectError::TableFull);
        }
        self.keep_hosts(&tuple);
        self.hosts.retain(next_hop);
        self.counters.udp_flows.increment();
        Ok(key.into())
    }

    /// Ends a flow: its id names nothing any more, what still comes is a stranger's.
    pub fn udp_close(&mut self, id: UdpId) {
        let Some(flow) = self.udp.flows.remove(id.into()) else { return };
        let removed = self.udp.index.remove(flow.tuple.hash(&self.flow_key), id.index);
        debug_assert!(removed, "every flow is in the table");
        self.forget_hosts(&flow.tuple);
        self.hosts.release(flow.next_hop);
        self.counters.udp_flows.subtract(1);
    }

    /// Flows of this stack.
    #[must_use]
    pub fn udp_flow_count(&self) -> usize {
        self.udp.flows.len()
    }

    /// The number of a station that can be sent to, with one more user.
    fn acquire_remote(&mut self, remote: SocketAddr) -> Result<Host, ConnectError> {
        if self.pressure >= Pressure::Critical {
            return Err(ConnectError::NoMemory);
        }
        match remote {
            _ if remote.port() == 0 => Err(ConnectError::NoPort),
            SocketAddr::V4(v4) if is_host(*v4.ip()) => Ok((*v4.ip()).into()),
            SocketAddr::V6(v6) if is_host_v6(*v6.ip()) => {
                let zone = scope_of(&v6);
                // A link-local one has to name its link.
                if zone.is_none() && is_link_local_v6(*v6.ip()) {
                    return Err(ConnectError::NoRoute);
                }
                self.hosts.acquire(*v6.ip(), zone).ok_or(ConnectError::TableFull)
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => Err(ConnectError::NoRoute),
        }
    }

    fn local_udp_host(&self, address: SocketAddr) -> Option<Host> {
        match address {
            SocketAddr::V6(v6) if is_link_local_v6(*v6.ip()) => {
                self.hosts.find(*v6.ip(), scope_of(&v6))
            }
            _ => self.local_host(address.ip()),
        }
    }

    /// Both ends, the links of link-local ones in `scope_id`.
    pub(crate) fn udp_addresses(&self, tuple: &Tuple) -> (SocketAddr, SocketAddr) {
        let address = |host, port| match (self.hosts.ip(host), self.hosts.v6(host)) {
            (IpAddr::V6(ip), Some((_, Some(zone)))) => {
                SocketAddrV6::new(ip, port, 0, u32::from(zone) + 1).into()
            }
            (ip, _) => SocketAddr::new(ip, port),
        };
        (address(tuple.local, tuple.local_port), address(tuple.remote, tuple.remote_port))
    }
}

/// The link that a link-local address names.
fn scope_of(address: &SocketAddrV6) -> Option<u16> {
    let zone = address.scope_id().checked_sub(1).filter(|_| is_link_local_v6(*address.ip()))?;
    u16::try_from(zone).ok()
}
