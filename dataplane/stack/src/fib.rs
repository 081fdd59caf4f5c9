//! Longest-prefix match over IPv4 destinations.
//!
//! A trie with strides of 16, 8 and 8 bits: at most three dependent loads per look-up, one for
//! prefixes up to /16, whatever the number of routes. The root is 256 kB, of which the routes in
//! use touch a few lines; a DIR-24-8 table would save the third load at the price of 64 MB per
//! worker. Routes are inserted shortest prefix first, so that longer ones simply overwrite; there is
//! no removal: another set of routes is another table.

use std::net::Ipv4Addr;

use crate::host::Host;

const ROOT_BITS: u32 = 16;
const BLOCK: usize = 256;
/// Set in a cell that names a block rather than a next hop.
const CHILD: u32 = 1 << 31;
const NONE: u32 = 0;

/// Where packets to a destination go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NextHop {
    /// To us.
    Local {
        /// Position of the interface that has the address.
        interface: u16,
    },
    /// To everybody on a link, us included.
    Broadcast {
        /// Position of that link's interface.
        interface: u16,
    },
    /// To the destination itself, which is on the link.
    Connected {
        /// Position of that link's interface.
        interface: u16,
    },
    /// To a router on the link.
    Via {
        /// Position of that link's interface.
        interface: u16,
        /// The router.
        gateway: Host,
    },
    /// To one of several routers, by flow.
    Group {
        /// Position among the groups.
        group: u16,
    },
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Route {
    /// Destination, host bits zero.
    pub(crate) prefix: Ipv4Addr,
    /// Its length, bits.
    pub(crate) prefix_len: u8,
    /// Where packets go.
    pub(crate) next_hop: NextHop,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Fib {
    root: Vec<u32>,
    blocks: Vec<[u32; BLOCK]>,
    /// By cell value less one.
    routes: Vec<Route>,
}

impl Fib {
    /// Compiles `routes`. Where two say the same prefix, the first one counts.
    pub(crate) fn new(mut routes: Vec<Route>) -> Self {
        for route in &mut routes {
            route.prefix_len = route.prefix_len.min(32);
            route.prefix = mask(route.prefix, route.prefix_len);
        }
        // Stable, so that of two equal prefixes the first stays in front and is kept.
        routes.sort_by_key(|route| (route.prefix_len, route.prefix));
        routes.dedup_by_key(|route| (route.prefix_len, route.prefix));
        let mut fib = Self { root: vec![NONE; 1 << ROOT_BITS], blocks: Vec::new(), routes };
        for index in 0..fib.routes.len() {
            let Route { prefix, prefix_len, .. } = fib.routes[index];
            fib.insert(prefix.to_bits(), u32::from(prefix_len), index as u32 + 1);
        }
        fib
    }

    /// Where packets to `destination` go.
    #[inline]
    pub(crate) fn find(&self, destination: Ipv4Addr) -> Option<NextHop> {
        self.next_hop(self.find_cell(destination.to_bits()))
    }

    /// What a cell says.
    #[inline]
    pub(crate) fn next_hop(&self, cell: u32) -> Option<NextHop> {
        let route = self.routes.get((cell as usize).wrapping_sub(1));
        route.map(|route| route.next_hop)
    }

    /// The cell for a destination: equal cells say the same.
    #[inline]
    pub(crate) fn find_cell(&self, bits: u32) -> u32 {
        let mut cell = self.root[(bits >> ROOT_BITS) as usize];
        if cell & CHILD != 0 {
            cell = self.blocks[(cell & !CHILD) as usize][(bits >> 8) as usize % BLOCK];
            if cell & CHILD != 0 {
                cell = self.blocks[(cell & !CHILD) as usize][bits as usize % BLOCK];
            }
        }
        cell
    }

    /// Lets packets to one address, which has a route of its own, go elsewhere.
    pub(crate) fn redirect(&mut self, address: Ipv4Addr, next_hop: NextHop) {
        let cell = self.find_cell(address.to_bits()) as usize;
        let route = self.routes.get_mut(cell.wrapping_sub(1));
        if let Some(route) = route.filter(|route| route.prefix_len == 32 && route.prefix == address)
        {
            route.next_hop = next_hop;
        }
    }

    fn insert(&mut self, prefix: u32, len: u32, cell: u32) {
        let at = (prefix >> ROOT_BITS) as usize;
        if len <= ROOT_BITS {
            // No longer prefix was inserted before, so there is no child to keep.
            return self.root[at..at + (1 << (ROOT_BITS - len))].fill(cell);
        }
        let block = Self::child(&mut self.root[at], &mut self.blocks);
        let at = (prefix >> 8) as usize % BLOCK;
        if len <= 24 {
            return self.blocks[block][at..at + (1 << (24 - len))].fill(cell);
        }
        let mut parent = self.blocks[block][at];
        let last = Self::child(&mut parent, &mut self.blocks);
        self.blocks[block][at] = parent;
        let at = prefix as usize % BLOCK;
        self.blocks[last][at..at + (1 << (32 - len))].fill(cell);
    }

    /// The block under a cell; a fresh one inherits what the cell said.
    fn child(cell: &mut u32, blocks: &mut Vec<[u32; BLOCK]>) -> usize {
        if *cell & CHILD == 0 {
            blocks.push([*cell; BLOCK]);
            *cell = CHILD | (blocks.len() - 1) as u32;
        }
        (*cell & !CHILD) as usize
    }
}

/// `address` with its host bits zero.
pub(crate) fn mask(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let host = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & !host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(prefix: u32, prefix_len: u8, gateway: u32) -> Route {
        let next_hop = NextHop::Via { interface: 0, gateway: Ipv4Addr::from_bits(gateway).into() };
        Route { prefix: Ipv4Addr::from_bits(prefix), prefix_len, next_hop }
    }

    fn naive(routes: &[Route], destination: Ipv4Addr) -> Option<NextHop> {
        let matches = |r: &&Route| mask(destination, r.prefix_len) == mask(r.prefix, r.prefix_len);
        // The first of the longest.
        let longest = routes.iter().filter(matches).map(|r| r.prefix_len).max()?;
        let found = routes.iter().filter(matches).find(|r| r.prefix_len == longest);
        found.map(|r| r.next_hop)
    }

    #[test]
    fn the_longest_prefix_wins() {
        let fib = Fib::new(vec![
            route(0x0a09_0002, 32, 4),
            route(0, 0, 1),
            route(0x0a00_0000, 8, 2),
            route(0x0a09_0000, 24, 3),
        ]);
        let via = |address: [u8; 4]| match fib.find(address.into()) {
            Some(NextHop::Via { gateway, .. }) => gateway.bits(),
            other => panic!("{other:?}"),
        };
        assert_eq!(via([10, 9, 0, 2]), 4);
        assert_eq!(via([10, 9, 0, 3]), 3);
        assert_eq!(via([10, 9, 1, 3]), 2);
        assert_eq!(via([11, 0, 0, 0]), 1);
    }

    #[test]
    fn nothing_leads_nowhere() {
        let fib = Fib::new(vec![route(0x0a00_0000, 8, 1)]);
        assert_eq!(fib.find(Ipv4Addr::new(9, 255, 255, 255)), None);
        assert!(fib.find(Ipv4Addr::new(10, 0, 0, 0)).is_some());
        assert_eq!(fib.find(Ipv4Addr::new(11, 0, 0, 0)), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            rows in proptest::collection::vec((any::<u32>(), 0u8..=32, 1u32..9), 0..40),
            probes in proptest::collection::vec(any::<u32>(), 20),
        ) {
            // Few distinct octets, so that prefixes nest.
            let narrow = |bits: u32| bits & 0x0303_0303;
            let routes: Vec<Route> =
                rows.iter().map(|(p, len, via)| route(narrow(*p), *len, *via)).collect();
            let fib = Fib::new(routes.clone());
            let near = rows.iter().map(|(p, ..)| narrow(*p));
            for bits in probes.iter().map(|p| narrow(*p)).chain(near).chain(probes.clone()) {
                let address = Ipv4Addr::from_bits(bits);
                prop_assert_eq!(fib.find(address), naive(&routes, address));
            }
        }
    }
}
