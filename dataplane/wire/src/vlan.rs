//! 802.1Q tags (IEEE 802.1Q-2018, 9.6): four bytes between the source address and the EtherType.

use std::fmt;

/// Bytes of one tag.
pub const TAG_LEN: usize = 4;

/// Which kind of tag: the tag protocol identifier (TPID).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u16)]
pub enum TagProtocol {
    /// C-TAG, 0x8100: the customer's, and the only one of a singly tagged frame.
    Customer = 0x8100,
    /// S-TAG, 0x88a8: the provider's, outside of a customer's (802.1ad, QinQ).
    Service = 0x88a8,
}

impl TagProtocol {
    /// The kind that an EtherType field announces, if it announces a tag.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0x8100 => Some(Self::Customer),
            0x88a8 => Some(Self::Service),
            _ => None,
        }
    }

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// A VLAN identifier of 12 bits. 0 is "priority only", 4095 reserved (802.1Q, table 9-2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VlanId(u16);

impl VlanId {
    /// A tag that carries a priority and no VLAN.
    pub const PRIORITY_ONLY: Self = Self(0);

    /// An identifier that a VLAN can have: 1 to 4094.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        match id {
            1..=4094 => Some(Self(id)),
            _ => None,
        }
    }

    /// The number.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// One tag.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct VlanTag {
    /// Customer or service.
    pub protocol: TagProtocol,
    /// Tag control information: priority (3 bits), drop eligible (1), identifier (12). Every
    /// value is valid, so it is kept as it came.
    pub control: u16,
}

impl VlanTag {
    /// A customer tag of priority 0.
    #[must_use]
    pub const fn customer(id: VlanId) -> Self {
        Self { protocol: TagProtocol::Customer, control: id.0 }
    }

    /// The VLAN.
    #[inline]
    #[must_use]
    pub const fn id(self) -> VlanId {
        VlanId(self.control & 0x0fff)
    }

    /// Priority code point, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.control >> 13) as u8
    }

    /// Drop eligible indicator.
    #[inline]
    #[must_use]
    pub const fn drop_eligible(self) -> bool {
        self.control & 0x1000 != 0
    }
}

impl fmt::Display for VlanTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vlan {}, p {}", self.id().number(), self.priority())?;
        if self.drop_eligible() { f.write_str(", DEI") } else { Ok(()) }
    }
}

/// The tags of a frame, outermost first: none, one, or two (QinQ).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum VlanTags {
    /// An untagged frame.
    #[default]
    None,
    /// One tag.
    One(VlanTag),
    /// Two tags, the outer one first.
    Two(VlanTag, VlanTag),
}

impl VlanTags {
    /// The tag next to the payload.
    #[inline]
    #[must_use]
    pub const fn inner(self) -> Option<VlanTag> {
        match self {
            Self::None => None,
            Self::One(tag) | Self::Two(_, tag) => Some(tag),
        }
    }

    /// Bytes that they take.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => TAG_LEN,
            Self::Two(..) => 2 * TAG_LEN,
        }
    }

    /// Whether the frame is untagged.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None)
    }

    /// The tags in order.
    pub fn iter(self) -> impl Iterator<Item = VlanTag> {
        let (outer, inner) = match self {
            Self::None => (None, None),
            Self::One(tag) => (Some(tag), None),
            Self::Two(outer, inner) => (Some(outer), Some(inner)),
        };
        outer.into_iter().chain(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_end_at_4094() {
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(1).map(VlanId::number), Some(1));
        assert_eq!(VlanId::new(4094).map(VlanId::number), Some(4094));
        assert_eq!(VlanId::new(4095), None);
    }

    #[test]
    fn control_information_splits_into_its_bits() {
        let tag = VlanTag { protocol: TagProtocol::Customer, control: 0b1011_0000_0110_0100 };
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.id().number()), (5, true, 100));
        assert_eq!(tag.to_string(), "vlan 100, p 5, DEI");
    }
}
