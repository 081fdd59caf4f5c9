//! Addresses that connections may come to.

use std::net::SocketAddr;

use sluice_base::{ListenerId, Slab, SlabKey};

use crate::fast_open::Pending;
use crate::host::Host;

/// Why an address cannot be listened on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListenError {
    /// A listener has this address, or this id, already.
    InUse,
    /// The address is none of ours.
    NotLocal,
    /// As many listeners, or kinds of TCP configuration, exist as may.
    TableFull,
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InUse => "the address is in use by another listener",
            Self::NotLocal => "the address belongs to none of our interfaces",
            Self::TableFull => "too many listeners",
        })
    }
}

impl std::error::Error for ListenError {}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) id: ListenerId,
    pub(crate) address: SocketAddr,
    /// Interned TCP configuration.
    pub(crate) config: u16,
    /// Connections that are not acknowledged yet.
    pub(crate) half_open: u32,
    /// Those of them whose data was taken already.
    pub(crate) fast_open: Pending,
}

/// All listeners, found by binary search: only the first segment of a connection asks.
#[derive(Debug)]
pub(crate) struct Listeners {
    slab: Slab<Listener>,
    /// By port and address.
    order: Vec<(u16, Host, SlabKey)>,
}

impl Listeners {
    pub(crate) fn new(limit: u32) -> Self {
        Self { slab: Slab::new(limit, limit), order: Vec::with_capacity(limit as usize) }
    }

    /// Adds a listener; its id and address must be new.
    pub(crate) fn insert(
        &mut self,
        id: ListenerId,
        address: SocketAddr,
        host: Host,
        config: u16,
    ) -> Result<(), ListenError> {
        if self.key_of(id).is_some() {
            return Err(ListenError::InUse);
        }
        let Err(at) = self.search(host, address.port()) else {
            return Err(ListenError::InUse);
        };
        let fast_open = Pending::default();
        let listener = Listener { id, address, config, half_open: 0, fast_open };
        let key = self.slab.insert(listener).map_err(|_| ListenError::TableFull)?;
        self.order.insert(at, (address.port(), host, key));
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let key = self.key_of(id)?;
        self.order.retain(|(.., other)| *other != key);
        self.slab.remove(key)
    }

    /// The listener for connections to an address: one for exactly it, or one for all of ours.
    pub(crate) fn find(&self, address: Host, port: u16) -> Option<SlabKey> {
        let any = if address.is_v6() { Host::ANY_V6 } else { Host::ANY_V4 };
        let exact = self.search(address, port);
        let at = exact.or_else(|_| self.search(any, port)).ok()?;
        Some(self.order[at].2)
    }

    pub(crate) fn get(&self, key: SlabKey) -> Option<&Listener> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: SlabKey) -> Option<&mut Listener> {
        self.slab.get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.slab.iter().map(|(_, listener)| listener)
    }

    pub(crate) fn by_id_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        let key = self.key_of(id)?;
        self.slab.get_mut(key)
    }

    fn key_of(&self, id: ListenerId) -> Option<SlabKey> {
        self.slab.iter().find(|(_, listener)| listener.id == id).map(|(key, _)| key)
    }

    fn search(&self, address: Host, port: u16) -> Result<usize, usize> {
        self.order.binary_search_by_key(&(port, address), |(port, address, _)| (*port, *address))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: u8, port: u16) -> (SocketAddr, Host) {
        with(Ipv4Addr::new(10, 0, 0, last), port)
    }

    fn with(address: Ipv4Addr, port: u16) -> (SocketAddr, Host) {
        (SocketAddr::new(address.into(), port), address.into())
    }

    fn insert(
        listeners: &mut Listeners,
        id: u32,
        (address, host): (SocketAddr, Host),
    ) -> Result<(), ListenError> {
        listeners.insert(ListenerId(id), address, host, 0)
    }

    #[test]
    fn the_exact_address_wins_over_all() {
        let mut listeners = Listeners::new(3);
        insert(&mut listeners, 1, at(1, 80)).expect("room");
        let all = with(Ipv4Addr::UNSPECIFIED, 80);
        insert(&mut listeners, 2, all).expect("room");
        let found = |address: [u8; 4], port| {
            let key = listeners.find(Ipv4Addr::from(address).into(), port)?;
            listeners.get(key).map(|listener| listener.id.0)
        };
        assert_eq!(found([10, 0, 0, 1], 80), Some(1));
        assert_eq!(found([10, 0, 0, 2], 80), Some(2));
        assert_eq!(found([10, 0, 0, 1], 81), None);
    }

    #[test]
    fn twice_is_refused_and_full_is_an_answer() {
        let mut listeners = Listeners::new(2);
        insert(&mut listeners, 1, at(1, 80)).expect("room");
        assert_eq!(insert(&mut listeners, 2, at(1, 80)), Err(ListenError::InUse));
        assert_eq!(insert(&mut listeners, 1, at(1, 81)), Err(ListenError::InUse));
        insert(&mut listeners, 2, at(1, 81)).expect("room");
        assert_eq!(insert(&mut listeners, 3, at(1, 82)), Err(ListenError::TableFull));
        assert!(listeners.remove(ListenerId(1)).is_some());
        assert!(listeners.remove(ListenerId(1)).is_none());
        insert(&mut listeners, 3, at(1, 80)).expect("the address is free again");
    }
}
