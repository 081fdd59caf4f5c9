//! HTTP/1.1 (RFC 9112) as a sans-IO codec.
