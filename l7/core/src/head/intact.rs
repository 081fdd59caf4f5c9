//! What was received, where it can be copied as it stands.

use super::Head;
use crate::NameSet;

/// A head whose received lines stand where they stood.
#[derive(Clone, Copy, Debug)]
pub struct Intact<'a> {
    /// First line and fields, also those that were removed.
    pub received: &'a [u8],
    /// The lines of the fields that were added.
    pub added: &'a [u8],
    /// The names of those.
    pub added_names: NameSet,
    /// Names of received fields that are to be left out.
    pub removed: NameSet,
}

impl Head {
    /// The lines of all fields, if none of them is one of `without` and they stand behind each other.
    #[inline]
    #[must_use]
    pub fn own_lines(&self, without: NameSet) -> Option<&[u8]> {
        if !self.removed.is_empty() || self.known.meets(without) {
            return None;
        }
        self.own.get(self.lines_from as usize..)
    }

    /// The received lines, if they can be copied in one piece, and the lines that were added.
    #[inline]
    #[must_use]
    pub fn intact(&self) -> Option<Intact<'_>> {
        let received = self.received.as_deref()?.get(..self.intact as usize)?;
        if received.is_empty() || self.added.meets(self.removed) {
            return None;
        }
        Some(Intact { received, added: &self.own, added_names: self.added, removed: self.removed })
    }
}
