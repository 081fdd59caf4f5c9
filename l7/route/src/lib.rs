//! Compiled match tables: from a request head to a route.
//!
//! * [`Path`]: a request target, normalised and cut at the query.
//! * [`RouteTable`]: virtual hosts and routes of one listener, compiled so that neither many hosts
//!   nor many routes make a request slower; [`find`](RouteTable::find) yields a [`CompiledRoute`].
//! * [`Action`]: what happens then: a cluster, one of several by weight, a redirect, an answer.
//! * [`CompiledRoute::rewrite`] and its [`HeaderEdits`](sluice_l7_core::HeaderEdits): what changes.
//! * [`RouteTable::explain`]: the same question answered step by step, for `sluice explain`.
//!
//! What it is not: it does not choose endpoints (`l7/balance`), send anything (`l7/proxy`), or
//! check configuration for people (`config/toml` does, and says where; a [`CompileError`] is what
//! other sources of configuration get).
//!
//! # Order of calls
//!
//! ```text
//! Path::normalize_head(&mut head, &mut scratch)?       400 if it cannot be normalised
//! table.find(&head, &Path::of(&head))?                 404 otherwise
//! route.action: Cluster | Weighted.pick(random) | Redirect.location(..) | Direct
//! route.rewrite(&mut head, &mut scratch)               path and authority, going upstream
//! route.request_edits.apply(&mut head)                 fields; response_edits on the way back
//! ```
//!
//! Semantics are Envoy's: the most specific domain decides the virtual host, then the first route
//! in order whose conditions all hold; there is no way back to another virtual host.

mod action;
mod byte_map;
mod domain;
mod edits;
mod error;
mod explain;
mod matcher;
mod path;
mod pattern;
mod prefix_trie;
mod table;

pub use action::{Action, Direct, Redirect, WeightedClusters};
pub use error::{CompileError, NoMatch, PathError};
pub use explain::{ExplainStep, Mismatch};
pub use path::{Path, PathScratch};
pub use table::{CompiledRoute, RouteTable, VirtualHost};

#[cfg(test)]
mod tests;
