//! HPACK (RFC 7541): header fields as references to tables that both ends keep alike.
//!
//! [`Decoder`] turns a header block into lines of text and says of each what it is; [`Encoder`] is
//! the way back. A line is `name: value` CRLF, so that what is decoded here can be written by
//! HTTP/1.1 in one piece, and a field from the table is one copy and no comparison: entries keep the
//! number of their name and whether their text is valid.
//!
//! | file | concept |
//! |---|---|
//! | `integer.rs` | prefixed integers (5.1) |
//! | `huffman.rs` | the code (5.2, appendix B) and its tables, made by the compiler |
//! | `static_table.rs` | appendix A by number, and by name |
//! | `table.rs` | the dynamic table (2.3.2, 4) of either side |
//! | `decode.rs`, `encode.rs` | representations (6) |
//! | `runs.rs` | indexes that come one behind the other again and again |
//! | `hash.rs` | how a field finds itself in another connection's table |

mod decode;
mod encode;
mod hash;
mod huffman;
mod integer;
mod runs;
mod static_table;
mod table;

pub use decode::{Decoded, Decoder, Kind, Line};
pub(crate) use decode::{FreshRun, Lines};
pub use encode::Encoder;
pub use huffman::{decode as huffman_decode, encode as huffman_encode};

/// What both ends may use for a dynamic table unless SETTINGS say otherwise (RFC 9113, 6.5.2); and
/// what we ever use, whatever a peer offers.
pub const TABLE_SIZE: u32 = 4_096;

/// A header block that cannot be decoded: both tables differ from now on, so the connection is
/// broken (RFC 9113, 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HpackError {
    /// The block ends inside a representation.
    Truncated,
    /// An integer above 2^28, or in more bytes than that takes.
    Integer,
    /// An index of 0, or behind both tables (2.3.3).
    Index,
    /// Huffman text that ends in more than seven bits, or in other bits than ones, or holds EOS (5.2).
    Huffman,
    /// A table size above what we allow, not at the start of a block, or a third one (4.2).
    TableSize,
}

/// The pseudo-header fields of RFC 9113, 8.3 and RFC 8441, 4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pseudo {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:protocol`
    Protocol,
    /// `:scheme`
    Scheme,
    /// `:status`
    Status,
}

impl Pseudo {
    /// The pseudo-header field of this name.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":scheme" => Self::Scheme,
            b":status" => Self::Status,
            _ => return None,
        })
    }
}
