//! The worker-local slab that chains of several slices are made of.

use std::cell::{Cell, RefCell};

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

impl Node {
    /// What is behind the last node.
    pub(crate) const END: Self = Self { segment: None, offset: 0, len: 0, next: NIL };
}

/// Where this thread's nodes are. It has no destructor, so that finding it is one address.
struct Nodes {
    /// `len` nodes, which [`STORE`] owns; nothing keeps a reference to one between two calls.
    base: Cell<*mut Node>,
    len: Cell<u32>,
    free: Cell<u32>,
    in_use: Cell<u32>,
}

/// Owns the nodes; touched when they become more, and at the end of the thread.
struct Store(Vec<Node>);

thread_local! {
    static NODES: Nodes = const {
        Nodes {
            base: Cell::new(std::ptr::null_mut()),
            len: Cell::new(0),
            free: Cell::new(NIL),
            in_use: Cell::new(0),
        }
    };
    static STORE: RefCell<Store> = const { RefCell::new(Store(Vec::new())) };
}

/// Allocates room for `count` nodes on this thread. A worker calls it once, before its first packet;
/// beyond that the slab doubles when it is full.
pub fn reserve_chain_nodes(count: u32) {
    NODES.with(|nodes| nodes.grow(count as usize));
}

/// Nodes that chains of this thread hold now: part of the leak census, beside the buffers in use of
/// every pool (a chain of one slice holds a buffer and no node).
#[must_use]
pub fn chain_nodes_in_use() -> u32 {
    NODES.with(|nodes| nodes.in_use.get())
}

/// A node for a slice; the reference to its buffer is the node's now.
#[inline]
pub(crate) fn insert(segment: Segment, offset: u16, len: u16, next: u32) -> u32 {
    NODES.with(|nodes| {
        if nodes.free.get() == NIL {
            nodes.grow((nodes.len.get() as usize).max(64));
        }
        let index = nodes.free.get();
        let node = Node { segment: Some(segment), offset, len, next };
        nodes.free.set(nodes.update(index, |at| std::mem::replace(at, node).next));
        nodes.in_use.set(nodes.in_use.get() + 1);
        index
    })
}

/// Takes the node out; its buffer reference is now the caller's.
#[inline]
pub(crate) fn remove(index: u32) -> Node {
    NODES.with(|nodes| {
        let free = Node { segment: None, offset: 0, len: 0, next: nodes.free.get() };
        let node = nodes.update(index, |at| std::mem::replace(at, free));
        debug_assert!(node.segment.is_some(), "a node is removed once");
        nodes.free.set(index);
        nodes.in_use.set(nodes.in_use.get() - 1);
        node
    })
}

/// What is in a node.
#[inline]
pub(crate) fn copy(index: u32) -> Node {
    NODES.with(|nodes| nodes.update(index, |node| *node))
}

/// Changes a node. `f` must not touch a chain.
#[inline]
pub(crate) fn update<R>(index: u32, f: impl FnOnce(&mut Node) -> R) -> R {
    NODES.with(|nodes| nodes.update(index, f))
}

impl Nodes {
    #[inline]
    fn update<R>(&self, index: u32, f: impl FnOnce(&mut Node) -> R) -> R {
        assert!(index < self.len.get(), "a chain names nodes of its thread");
        // SAFETY: `base` is the start of `len` nodes (see `grow`), and the index is below that.
        let node = unsafe { self.base.get().add(index as usize) };
        // SAFETY: the node is initialised and alive until `len` is set to 0, and the closures of
        // this crate touch no other node, so that this is the only reference.
        f(unsafe { &mut *node })
    }

    #[cold]
    #[inline(never)]
    fn grow(&self, count: usize) {
        STORE.with(|store| {
            let store = &mut store.borrow_mut().0;
            let first = store.len();
            store.reserve_exact(count);
            for index in first..first + count {
                store.push(Node { next: index as u32 + 1, ..Node::END });
            }
            if let Some(last) = store.last_mut() {
                last.next = self.free.get();
                self.free.set(first as u32);
            }
            self.base.set(store.as_mut_ptr());
            self.len.set(store.len() as u32);
        });
    }
}

impl Drop for Store {
    /// The thread ends: a chain that outlives this finds no node, and panics.
    fn drop(&mut self) {
        NODES.with(|nodes| {
            nodes.base.set(std::ptr::null_mut());
            nodes.len.set(0);
            nodes.free.set(NIL);
        });
    }
}
