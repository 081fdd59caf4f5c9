//! Header fields to remove and to add, prepared once.

use crate::{Head, Name, NameId};

/// Changes to a head's fields: first everything to remove, then everything to add, in order.
///
/// Compiled from configuration; applying it compares numbers for well-known names and allocates
/// nothing once the head's vectors have grown to what traffic needs.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    remove: Box<[FieldName]>,
    add: Box<[(FieldName, Box<[u8]>)]>,
}

/// A name, and its number if it is a well-known one.
#[derive(Clone, Debug)]
struct FieldName {
    id: NameId,
    text: Box<[u8]>,
}

impl FieldName {
    fn new(text: &str) -> Self {
        Self { id: NameId::lookup(text.as_bytes()), text: text.as_bytes().into() }
    }

    #[inline]
    fn as_name(&self) -> Name<'_> {
        if self.id == NameId::OTHER { Name::Text(&self.text) } else { Name::Known(self.id) }
    }
}

impl HeaderEdits {
    /// Names to remove; names and values to append.
    pub fn new<'a>(
        remove: impl IntoIterator<Item = &'a str>,
        add: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let field = |(name, value): (&str, &str)| (FieldName::new(name), value.as_bytes().into());
        Self {
            remove: remove.into_iter().map(FieldName::new).collect(),
            add: add.into_iter().map(field).collect(),
        }
    }

    /// Whether there is nothing to do.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes `head`.
    pub fn apply(&self, head: &mut Head) {
        for name in &self.remove {
            head.remove(name.as_name());
        }
        for (name, value) in &self.add {
            head.append(name.as_name(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    /// A field that is both removed and added is replaced: the other order would lose it.
    #[test]
    fn removes_before_it_adds() {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a", b"/");
        for (name, value) in [("via", "1"), ("x-own", "2"), ("Accept", "3"), ("VIA", "4")] {
            head.append(name, value.as_bytes());
        }
        let edits =
            HeaderEdits::new(["via", "x-own"], [("via", "new"), ("x-more", ""), ("x-more", "m")]);
        assert!(!edits.is_empty());
        edits.apply(&mut head);
        assert_eq!(
            format!("{head:?}"),
            "GET / host=a | accept: 3 | via: new | x-more:  | x-more: m"
        );
        assert!(HeaderEdits::default().is_empty());
    }
}
