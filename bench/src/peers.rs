//! Who asks and who answers, by protocol.

use hdrhistogram::Histogram;
use sluice_base::ConnId;
use sluice_stack::Ready;

use crate::host::{App, Io};
use crate::http2::{Http2Load, Http2Origin};
use crate::load::Load;
use crate::origin::Origin;

/// A client.
pub enum Client {
    /// Of opaque bytes, or of HTTP/1.1.
    Plain(Box<Load>),
    /// Of HTTP/2.
    Http2(Box<Http2Load>),
}

/// An origin.
pub enum Server {
    /// Of opaque bytes, or of HTTP/1.1.
    Plain(Box<Origin>),
    /// Of HTTP/2.
    Http2(Box<Http2Origin>),
}

impl Client {
    /// Answers that came.
    #[must_use]
    pub fn done(&self) -> u64 {
        match self {
            Self::Plain(load) => load.done,
            Self::Http2(load) => load.done,
        }
    }

    /// Answers that were wrong, connections that broke.
    #[must_use]
    pub fn failures(&self) -> u64 {
        match self {
            Self::Plain(load) => load.failures,
            Self::Http2(load) => load.failures,
        }
    }

    /// Nanoseconds from request to answer.
    pub fn latency(&mut self) -> &mut Histogram<u64> {
        match self {
            Self::Plain(load) => &mut load.latency,
            Self::Http2(load) => &mut load.latency,
        }
    }
}

impl App for Client {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        match self {
            Self::Plain(load) => load.handle(conn, ready, io),
            Self::Http2(load) => load.handle(conn, ready, io),
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        match self {
            Self::Plain(load) => load.poll(io),
            Self::Http2(load) => load.poll(io),
        }
    }
}

impl App for Server {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        match self {
            Self::Plain(origin) => origin.handle(conn, ready, io),
            Self::Http2(origin) => origin.handle(conn, ready, io),
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        match self {
            Self::Plain(origin) => origin.poll(io),
            Self::Http2(origin) => origin.poll(io),
        }
    }
}
