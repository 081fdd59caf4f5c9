//! A machine on a bench: one connection, a virtual clock, a pool, and what came out so far.

#![allow(dead_code, reason = "every test binary uses another part of it")]

pub(crate) mod bench;
pub(crate) mod line;
pub(crate) mod script;
