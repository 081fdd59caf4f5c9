//! Looking for fields in a head.

use super::Head;
use crate::{Field, NameId, NameSet, RunAt, Version};

impl Head {
    /// The first value of a well-known field.
    #[inline]
    #[must_use]
    pub fn get(&self, id: NameId) -> Option<&[u8]> {
        if !self.known.contains(id) {
            return self.host(id);
        }
        self.fields.iter().find(|field| field.id == id).map(|field| self.text(field.value))
    }

    /// A request's authority as the Host field it stands for.
    fn host(&self, id: NameId) -> Option<&[u8]> {
        let authority = self.authority();
        (id == NameId::HOST && !authority.is_empty()).then_some(authority)
    }

    /// Well-known names that may be among the fields: a name outside the set is not.
    #[inline]
    #[must_use]
    pub const fn names(&self) -> NameSet {
        self.known
    }

    /// Every value of a well-known field, in order.
    pub fn get_all(&self, id: NameId) -> impl Iterator<Item = &[u8]> {
        self.get_all_fields(id).map(|field| self.text(field.value)).chain(self.host(id))
    }

    #[inline]
    pub(super) fn get_all_fields(&self, id: NameId) -> impl Iterator<Item = &Field> {
        let fields = if self.known.contains(id) { &self.fields[..] } else { &[] };
        fields.iter().filter(move |field| field.id == id)
    }

    /// The first value of a field, by any name in any case.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        match NameId::lookup(name) {
            NameId::OTHER => self
                .fields
                .iter()
                .filter(|field| field.id == NameId::OTHER)
                .find(|field| self.text(field.name).eq_ignore_ascii_case(name))
                .map(|field| self.text(field.value)),
            id => self.get(id),
        }
    }

    /// Whether there is a field of this name.
    #[inline]
    #[must_use]
    pub fn contains(&self, id: NameId) -> bool {
        self.get(id).is_some()
    }

    /// Whether one of a field's comma-separated values is `token`, in any case.
    #[must_use]
    pub fn has_token(&self, id: NameId, token: &[u8]) -> bool {
        self.get_all(id).any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
        })
    }

    /// Whether the client waits for a 100 before it sends the body (RFC 9110, 10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version != Version::Http10 && self.has_token(NameId::EXPECT, b"100-continue")
    }

    /// Names and values in order; names as received.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields().map(|field| (self.name(field), self.text(field.value)))
    }

    /// The index of the fields, in order.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields_without(NameSet::EMPTY)
    }

    /// The index of the fields, in order, those that were removed too.
    #[inline]
    #[must_use]
    pub fn all_fields(&self) -> &[Field] {
        &self.fields
    }

    /// The index of the fields, in order, without those of some well-known names.
    #[inline]
    pub fn fields_without(&self, names: NameSet) -> impl Iterator<Item = &Field> {
        self.fields_between(0, usize::MAX, names)
    }

    /// The same from place `from` up to `to`.
    #[inline]
    pub fn fields_between(
        &self,
        from: usize,
        to: usize,
        without: NameSet,
    ) -> impl Iterator<Item = &Field> {
        let names = without.or(self.removed);
        let fields = self.fields.get(from..to.min(self.fields.len())).unwrap_or_default();
        fields.iter().filter(move |field| !names.contains(field.id))
    }

    /// The run of fields that is part of it: all of them, unless a name of it is in `without` or was
    /// removed.
    #[inline]
    #[must_use]
    pub fn run(&self, without: NameSet) -> Option<&RunAt> {
        let gone = without.or(self.removed);
        self.run.as_ref().filter(|run| !run.names.meets(gone))
    }

    /// The same of a run of fields that were added: they stand behind the other.
    #[inline]
    #[must_use]
    pub fn added_run(&self, without: NameSet) -> Option<&RunAt> {
        let gone = without.or(self.removed);
        self.added_run.as_ref().filter(|run| !run.names.meets(gone))
    }

    /// Whether Connection is known to name no field (RFC 9110, 7.6.1).
    #[inline]
    #[must_use]
    pub const fn nominates_none(&self) -> bool {
        self.nominates_none
    }

    /// The value of the only Content-Length field, if a decoder said it and it is still there.
    #[inline]
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length.filter(|_| self.known.contains(NameId::CONTENT_LENGTH))
    }
}
