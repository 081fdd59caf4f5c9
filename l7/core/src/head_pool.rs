//! Where heads come from and go to.

use crate::{HEAD_BYTES_MAX, Head, Runs};

/// Fields a fresh head has room for; a browser sends about fifteen.
const FIELDS: usize = 32;
/// Bytes of added text a fresh head has room for.
const OWN: usize = 1_024;
/// A head whose vectors grew beyond this gives them up when it comes back.
const FIELDS_MAX: usize = 256;
const OWN_MAX: usize = 4 * OWN;
/// Large buffers kept: heads that straddle are rare, and few are in use at once.
const LARGE_MAX: usize = 16;

/// A worker's heads that are not in use, the large buffers for those that were copied, and what
/// heads have in common.
///
/// After warm-up nothing is allocated: heads return with [`HeadPool::put`].
#[derive(Debug)]
pub struct HeadPool {
    #[expect(clippy::vec_box, reason = "events carry the box: taking it out must not move a head")]
    heads: Vec<Box<Head>>,
    /// Of `HEAD_BYTES_MAX` capacity.
    large: Vec<Vec<u8>>,
    /// What heads had before they took a large one.
    small: Vec<Vec<u8>>,
    /// Heads kept at most.
    limit: usize,
    runs: Runs,
}

impl HeadPool {
    /// A pool with `initial` heads that keeps at most `limit`.
    #[must_use]
    pub fn new(initial: usize, limit: usize) -> Self {
        let fresh = || Box::new(Head::with_capacity(FIELDS, OWN));
        Self {
            heads: (0..initial.min(limit)).map(|_| fresh()).collect(),
            large: Vec::new(),
            small: Vec::new(),
            limit,
            runs: Runs::default(),
        }
    }

    /// An empty head.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Box<Head> {
        self.heads.pop().unwrap_or_else(|| Box::new(Head::with_capacity(FIELDS, OWN)))
    }

    /// Takes a head back; the bytes it refers to are given up now.
    #[inline]
    pub fn put(&mut self, mut head: Box<Head>) {
        head.reset();
        if head.own_mut().capacity() > OWN_MAX || head.fields_capacity() > FIELDS_MAX {
            self.shrink(&mut head);
        }
        if self.heads.len() < self.limit {
            self.heads.push(head);
        }
    }

    /// Gives `head`, whose own text is empty, room for `len` bytes of it.
    pub(crate) fn enlarge(&mut self, head: &mut Head, len: usize) {
        let own = head.own_mut();
        if own.capacity() >= len || !own.is_empty() {
            return;
        }
        let small = std::mem::replace(own, self.take_large());
        if self.small.len() < LARGE_MAX {
            self.small.push(small);
        }
    }

    #[cold]
    fn shrink(&mut self, head: &mut Box<Head>) {
        let own = std::mem::take(head.own_mut());
        if head.fields_capacity() > FIELDS_MAX {
            **head = Head::with_capacity(FIELDS, 0);
        }
        let small = self.small.pop();
        *head.own_mut() = small.unwrap_or_else(|| Vec::with_capacity(OWN));
        self.put_large(own);
    }

    /// A large buffer, empty: for a head too large for one pool buffer, while it is written.
    #[must_use]
    pub fn take_large(&mut self) -> Vec<u8> {
        self.large.pop().unwrap_or_else(|| Vec::with_capacity(HEAD_BYTES_MAX as usize))
    }

    /// Takes a large buffer back.
    pub fn put_large(&mut self, mut large: Vec<u8>) {
        if large.capacity() == HEAD_BYTES_MAX as usize && self.large.len() < LARGE_MAX {
            large.clear();
            self.large.push(large);
        }
    }

    /// Fields that the worker's connections meet again and again.
    #[inline]
    #[must_use]
    pub const fn runs(&mut self) -> &mut Runs {
        &mut self.runs
    }

    /// Heads that wait to be used.
    #[must_use]
    pub fn available(&self) -> usize {
        self.heads.len()
    }
}
