//! What gRPC says in HTTP's terms: who speaks it, how a call ended, until when it may last, and
//! where its messages begin.
//!
//! * [`is_grpc`]: by the content type.
//! * [`Method`]: service and method, from the path.
//! * [`Status`]: the 17 codes, from `grpc-status`, or for an answer that only has an HTTP status.
//! * [`Statuses`]: a set of them, as conditions of retries.
//! * [`timeout`]: `grpc-timeout`, read and written.
//! * [`message`]: `grpc-message`, written.
//! * [`Messages`]: counts messages in bytes that pass, without keeping any.
//!
//! What it is not: a protocol of its own. Streams, heads and trailers are HTTP's, and `l7/proxy` asks
//! here what they mean. Payloads are never looked into, and nothing is copied.
//!
//! Follows the gRPC project's "gRPC over HTTP2" and "gRPC status codes" pages; what they leave to a
//! proxy follows Envoy, as where it maps an HTTP status.

mod content_type;
pub mod message;
mod messages;
mod method;
mod status;
pub mod timeout;

pub use content_type::{CONTENT_TYPE, is_grpc};
pub use messages::{BadPrefix, Messages};
pub use method::Method;
pub use status::{Status, Statuses};
