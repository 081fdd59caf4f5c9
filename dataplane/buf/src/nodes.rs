//! The worker-local slab that chains are made of.

use std::cell::RefCell;

use crate::header::Segment;

/// No node.
pub(crate) const NIL: u32 = u32::MAX;

/// One slice of a chain, with the reference to its buffer; 16 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub(crate) segment: Option<Segment>,
    pub(crate) offset: u16,
    pub(crate) len: u16,
    pub(crate) next: u32,
}

const _: () = assert!(size_of::<Node>() == 16);

pub(crate) struct Nodes {
    slab: Vec<Node>,
    free: u32,
    in_use: u32,
}

thread_local! {
    static NODES: RefCell<Nodes> =
        const { RefCell::new(Nodes { slab: Vec::new(), free: NIL, in_use: 0 }) };
}

/// Allocates room for `count` nodes on this thread. A worker calls it once, before its first packet;
/// beyond that the slab doubles when it is full.
pub fn reserve_chain_nodes(count: u32) {
    with(|nodes| nodes.grow(count as usize));
}

/// Nodes that chains of this thread hold now: part of the leak census.
#[must_use]
pub fn chain_nodes_in_use() -> u32 {
    with(|nodes| nodes.in_use)
}

/// Runs `f` on this thread's slab. `f` must not touch a chain itself.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&mut Nodes) -> R) -> R {
    NODES.with(|nodes| f(&mut nodes.borrow_mut()))
}

impl Nodes {
    #[inline]
    pub(crate) fn insert(&mut self, segment: Segment, offset: u16, len: u16) -> u32 {
        if self.free == NIL {
            self.grow(self.slab.len().max(64));
        }
        let index = self.free;
        let node = &mut self.slab[index as usize];
        self.free = node.next;
        *node = Node { segment: Some(segment), offset, len, next: NIL };
        self.in_use += 1;
        index
    }

    /// Takes the node out; its buffer reference is now the caller's.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> Node {
        let node = self.slab[index as usize];
        debug_assert!(node.segment.is_some(), "a node is removed once");
        self.slab[index as usize] = Node { segment: None, offset: 0, len: 0, next: self.free };
        self.free = index;
        self.in_use -= 1;
        node
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Node {
        &self.slab[index as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Node {
        &mut self.slab[index as usize]
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        let first = self.slab.len();
        self.slab.reserve_exact(count);
        for index in first..first + count {
            self.slab.push(Node { segment: None, offset: 0, len: 0, next: index as u32 + 1 });
        }
        if let Some(last) = self.slab.last_mut() {
            last.next = self.free;
            self.free = first as u32;
        }
    }
}
