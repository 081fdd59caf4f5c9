//! Journeys: bytes in, bytes and verbs out, each ending with the leak census.

mod answers;
mod back_off;
mod bodies;
mod connects;
mod cuts;
mod failures;
mod far;
mod flooders;
mod floods;
mod folding;
mod grpc;
mod hostile;
mod http2;
mod lives;
mod memory;
mod multiplexed;
mod named;
mod net;
mod pooling;
mod refusals;
mod relays;
mod reloads;
mod requests;
mod resting;
mod retries;
mod routes;
mod timeouts;
mod tunnels;
mod udp;
mod versions;
mod world;

/// A request without a body.
const GET: &str = "GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n";
/// A response that keeps the connection.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
