//! One request's journey: codec, filters, route, balance, upstream pool, codec.
//!
//! [`Proxy`] is the layer-7 half of one worker, sans-IO: the worker carries events of its stack's
//! connections in ([`StreamEvent`]) and verbs out ([`Verb`]); time, packet memory and randomness are
//! passed in. It owns no socket, no thread, no clock, and it never blocks: whatever waits is an
//! entry in a table with a deadline.
//!
//! ```text
//!            Accepted, Data                                     Connect, Write
//!  client ------------------> Session --> Exchange --> Session -----------------> endpoint
//!         <------------------ (codec)     filters      (codec) <-----------------
//!            Write, Credit     slot =     route         slot =     Data, Closed
//!                              ConnId     balance       ConnId
//! ```
//!
//! * A *session* ([`sessions`]) is one connection of either side, in a table parallel to the
//!   stack's: the same index, the same generation.
//! * An *exchange* ([`exchange`]) is one request and its response in flight, or a relay that has no
//!   endpoint yet. It knows both sides. One that rests ([`rest`]) is folded to a few bytes.
//! * A *call* ([`call`]) is what gRPC adds to an exchange; what became of calls is kept by method
//!   ([`methods`]).
//! * A *relay* ([`relay`]) is two sessions that know each other.
//! * A *session of datagrams* ([`udp`]) is what one client sends to a udp listener, and the answers.
//! * A *pool* ([`pool`]) keeps the connections to endpoints, by id, over reloads.
//! * A [`Snapshot`] is the compiled configuration. A request pins one ([`pins`]) until its response
//!   head is out, and then lives on its plan ([`plan`]). Which snapshots' ids are still named is
//!   found out by a walk ([`named`]).
//!
//! # Order of calls
//!
//! [`Proxy::new`], [`Proxy::adopt`]; then per heartbeat: [`Proxy::handle`] for each event (or
//! [`Proxy::handle_bytes`] for `Data`, which spares the verb that credits what was read); after
//! each, [`Proxy::pop_verb`] until None, where a `Connect` is answered by [`Proxy::connect_result`]
//! and a `Write` by [`Proxy::wrote`]; [`Proxy::settle`] behind all of them, with its verbs, until
//! there is nothing; [`Proxy::handle_timers`] (and its verbs) when
//! [`Proxy::next_deadline`] has come; [`Proxy::pop_retired`] and [`Proxy::pop_log`] at the end.
//! At shutdown [`Proxy::start_drain`], until [`Proxy::active`] is 0. Of one connection, `Data` comes
//! before `PeerClosed`, and nothing after `Closed`, `ConnectFailed` or our own `Abort`. A proxy
//! holds chains, so it is made and stays on its worker's thread.
//!
//! # Envelope
//!
//! Two `Data` events, a few table look-ups and one pass through filters and routes each way per
//! request; no allocation after warm-up (heads, exchanges, chain nodes and verbs are recycled), no
//! reference count shared between cores (pins are plain counters), no copy of a body: under 3,000
//! instructions of a keep-alive GET are this crate's own.
//!
//! # Back-pressure
//!
//! Body bytes go from one connection's input to the other's send queue at once, and are credited to
//! their sender only while the other side has send room. So TCP's advertised window is the only
//! buffer limit, end to end, and a connection holds at most a window and a send queue.
//!
//! # Invariants
//!
//! Every exchange, and every relay, ends through one function that counts, logs, unpins and frees. An upstream
//! connection carries bytes of one exchange at a time and returns to the pool only when both
//! messages were complete. A response that cannot be completed never looks complete: where its
//! framing shows the cut it is closed, else reset (`ending`).

mod address;
mod answers;
mod awaiting;
mod back_off;
mod call;
mod closing;
mod codec;
mod completed;
mod counters;
mod deadlines;
mod dispatch;
mod downstream;
mod ending;
mod events;
mod exchange;
mod faults;
mod flags;
mod flooders;
mod grpc;
mod http2;
mod last;
mod limits;
mod log;
mod methods;
mod multiplex;
mod named;
mod pins;
mod plan;
mod pool;
mod proxy;
mod relay;
mod request;
mod response;
mod responses;
mod rest;
mod retry;
mod routing;
mod sessions;
mod snapshot;
mod sweep;
mod timers;
mod tunnel;
mod udp;
mod upstream;
mod verbs;
mod websocket;
mod wires;

pub use completed::Completed;
pub use counters::{
    ClusterCounters, ClusterLeases, CounterRegistry, ListenerCounters, MetricKind, PerWorker,
    WorkerCounters,
};
pub use events::{CloseReason, ConnectRefused, StreamEvent};
pub use faults::FaultCounters;
pub use flags::ResponseFlags;
pub use log::{AccessRecord, Rfc3339, Text};
pub use methods::{MethodCounters, Methods, TIME_BUCKETS};
pub use proxy::{Proxy, ProxyConfig};
pub use sluice_l7_grpc::Status as GrpcStatus;
pub use sluice_l7_http2::Fault;
pub use snapshot::{CompileError, CompiledCluster, CompiledListener, Snapshot};
pub use udp::UdpVerb;
pub use verbs::Verb;

#[cfg(test)]
mod tests;
