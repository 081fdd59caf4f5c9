//! Bounds on what a peer can make us hold for one head.

/// No head is larger: spans of a compact copy and the pool of large buffers are made for it.
pub const HEAD_BYTES_MAX: u32 = 64 * 1_024;

/// Limits on one head; a listener's configuration, or the defaults for responses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// Bytes of the request line without its end; beyond: 414. Answers endless targets.
    pub request_line: u32,
    /// Bytes of the whole head (or trailer section); beyond: 431. Answers endless heads.
    pub header_bytes: u32,
    /// Field lines of a head; beyond: 431. Answers heads of many tiny fields, whose index would be
    /// larger than they are.
    pub headers: u16,
}

impl Default for HeadLimits {
    /// The defaults of a listener: 8 KiB, 60 KiB and 100 as in Envoy.
    fn default() -> Self {
        Self { request_line: 8 * 1_024, header_bytes: 60 * 1_024, headers: 100 }
    }
}
