//! Packet rules, compiled: which of an interface's rules decides about a packet, at a cost that
//! does not grow with their number.
//!
//! [`RuleTable::compile`] runs on the control side, once per configuration; the result is immutable
//! but for its counters, travels with the snapshot, and is read by all workers at once.
//! [`RuleTable::decide_v4`] and [`RuleTable::decide_v6`] are asked once per packet. The crate knows
//! no packet: who has one says what it found in the headers ([`Transport`]).
//!
//! # How it works
//!
//! ```text
//!   source      trie      ─> row ─┐
//!   destination trie      ─> row ─┤           which 64 rules have a candidate: 1 bit for 64 rules
//!   from port   array     ─> row ─┼─ and ─>   in those: 1 bit per rule
//!   protocol,               row ─┘           the lowest number of what is left
//!   to port     array     ─>
//! ```
//!
//! Each of four questions has one answer per packet: the *row* of bits of the rules whose condition
//! holds. The rules that match are the AND of four rows (Lakshman and Stiliadis, 1998). Rows begin
//! with an aggregate, a bit for every word that is not zero (Baboescu and Varghese, 2001), so that
//! of 16,384 rules only the few words are read in which all four have something to say. To make
//! them few, rules are not kept in the operator's order but sorted by their networks and ports
//! (`order`); the operator's number of each decides among those that match.
//!
//! The answer takes four table look-ups, at most four words of aggregates each, and the candidates.
//! What no order can make sparse (thousands of rules that all have wide, overlapping networks) still
//! costs a word per 64 rules, never a step per rule. `docs/adr/0006-packet-rules.md` has the
//! alternatives and the figures.
//!
//! # What it follows
//!
//! Later fragments have no ports: rules that look at ports see them as RFC 1858 and common practice
//! have it, see [`Transport::Later`].

mod counters;
mod family;
mod order;
mod ports;
mod prefixes;
mod rows;
mod table;

pub use counters::RULES_PER_PAGE;
pub use sluice_config_model::{IpNetwork, PortRange, Rule, RuleAction};
pub use table::{RuleCount, RuleTable, Transport, Verdict};
