//! Addresses that connections may come to.

use std::net::{Ipv4Addr, SocketAddrV4};

use sluice_base::{ListenerId, Slab, SlabKey};

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
    pub(crate) address: SocketAddrV4,
    /// Interned TCP configuration.
    pub(crate) config: u16,
    /// Connections that are not acknowledged yet.
    pub(crate) half_open: u32,
}

/// All listeners, found by binary search: only the first segment of a connection asks.
#[derive(Debug)]
pub(crate) struct Listeners {
    slab: Slab<Listener>,
    /// By port and address.
    order: Vec<(u16, Ipv4Addr, SlabKey)>,
}

impl Listeners {
    pub(crate) fn new(limit: u32) -> Self {
        Self { slab: Slab::new(limit, limit), order: Vec::with_capacity(limit as usize) }
    }

    /// Adds a listener; its id and address must be new.
    pub(crate) fn insert(
        &mut self,
        id: ListenerId,
        address: SocketAddrV4,
        config: u16,
    ) -> Result<(), ListenError> {
        if self.key_of(id).is_some() {
            return Err(ListenError::InUse);
        }
        let Err(at) = self.search(*address.ip(), address.port()) else {
            return Err(ListenError::InUse);
        };
        let listener = Listener { id, address, config, half_open: 0 };
        let key = self.slab.insert(listener).map_err(|_| ListenError::TableFull)?;
        self.order.insert(at, (address.port(), *address.ip(), key));
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let key = self.key_of(id)?;
        self.order.retain(|(.., other)| *other != key);
        self.slab.remove(key)
    }

    /// The listener for connections to an address: one for exactly it, or one for all of ours.
    pub(crate) fn find(&self, address: Ipv4Addr, port: u16) -> Option<SlabKey> {
        let exact = self.search(address, port);
        let at = exact.or_else(|_| self.search(Ipv4Addr::UNSPECIFIED, port)).ok()?;
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

    fn key_of(&self, id: ListenerId) -> Option<SlabKey> {
        self.slab.iter().find(|(_, listener)| listener.id == id).map(|(key, _)| key)
    }

    fn search(&self, address: Ipv4Addr, port: u16) -> Result<usize, usize> {
        self.order.binary_search_by_key(&(port, address), |(port, address, _)| (*port, *address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port)
    }

    #[test]
    fn the_exact_address_wins_over_all() {
        let mut listeners = Listeners::new(3);
        listeners.insert(ListenerId(1), at(1, 80), 0).expect("room");
        let all = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80);
        listeners.insert(ListenerId(2), all, 0).expect("room");
        let found = |address: [u8; 4], port| {
            let key = listeners.find(address.into(), port)?;
            listeners.get(key).map(|listener| listener.id.0)
        };
        assert_eq!(found([10, 0, 0, 1], 80), Some(1));
        assert_eq!(found([10, 0, 0, 2], 80), Some(2));
        assert_eq!(found([10, 0, 0, 1], 81), None);
    }

    #[test]
    fn twice_is_refused_and_full_is_an_answer() {
        let mut listeners = Listeners::new(2);
        listeners.insert(ListenerId(1), at(1, 80), 0).expect("room");
        assert_eq!(listeners.insert(ListenerId(2), at(1, 80), 0), Err(ListenError::InUse));
        assert_eq!(listeners.insert(ListenerId(1), at(1, 81), 0), Err(ListenError::InUse));
        listeners.insert(ListenerId(2), at(1, 81), 0).expect("room");
        assert_eq!(listeners.insert(ListenerId(3), at(1, 82), 0), Err(ListenError::TableFull));
        assert!(listeners.remove(ListenerId(1)).is_some());
        assert!(listeners.remove(ListenerId(1)).is_none());
        listeners.insert(ListenerId(3), at(1, 80), 0).expect("the address is free again");
    }
}
