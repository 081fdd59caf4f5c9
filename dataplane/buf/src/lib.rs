//! Packet memory: Packet, Slice, Chain, pools, and the Device trait.
