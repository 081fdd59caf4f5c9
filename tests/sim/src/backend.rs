//! A backend: answers as each request's path says.

use std::net::SocketAddr;

use sluice_base::{ConnId, Instant};
use sluice_stack::{Ready, UdpEvent};

use crate::app::{App, Io};
use crate::backend_http2::Streams;
use crate::datagrams::handle_at_endpoint;
use crate::http::{End, Incomplete, chunked, parse, pattern};
use crate::ledger::{Behaviour, Shared};

/// The port that echoes bytes instead of speaking HTTP.
pub const ECHO_PORT: u16 = 7;

/// Bytes queued at a connection before the backend waits for room.
const QUEUE_MAX: usize = 256 * 1024;

/// The application of a backend host.
pub struct Backend {
    ledger: Shared,
    connections: Vec<Connection>,
    streams_max: u32,
}

struct Connection {
    conn: ConnId,
    echo: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    ends: Option<Ending>,
    peer_closed: bool,
    closed: bool,
    /// It turned out to speak HTTP/2.
    streams: Option<Streams>,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Close,
    Reset,
}

impl Backend {
    /// A backend that reports to `ledger` and takes so many streams on a connection.
    #[must_use]
    pub fn new(ledger: Shared, streams_max: u32) -> Self {
        Self { ledger, connections: Vec::new(), streams_max }
    }

    /// What is wrong with its connections of HTTP/2, where nothing has moved for long.
    pub fn faults_at_rest(&self) -> impl Iterator<Item = String> {
        let streams = self.connections.iter().filter_map(|one| one.streams.as_ref());
        streams.filter_map(Streams::fault_at_rest)
    }
}

impl App for Backend {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        if ready.accepted() {
            let local = io.stack.connection(conn).map(|info| info.local);
            let echo = local.map(|address: SocketAddr| address.port()) == Some(ECHO_PORT);
            self.ledger.borrow_mut().connections += 1;
            self.connections.push(Connection {
                conn,
                echo,
                input: Vec::new(),
                output: Vec::new(),
                ends: None,
                peer_closed: false,
                closed: false,
                streams: None,
            });
        }
        let Some(at) = self.connections.iter().position(|one| one.conn == conn) else { return };
        let connection = &mut self.connections[at];
        connection.peer_closed |= ready.peer_closed();
        if ready.closed() {
            self.connections.swap_remove(at);
            return;
        }
        if connection.streams.is_none() && ready.readable() {
            io.receive(conn, &mut connection.input);
            if !connection.echo && connection.input.starts_with(b"PRI") {
                let first = std::mem::take(&mut connection.input);
                connection.streams = Some(Streams::new(conn, &first, self.streams_max, io));
            }
        }
        if let Some(streams) = &mut connection.streams {
            return streams.serve(connection.peer_closed, &self.ledger, io);
        }
        connection.serve(&self.ledger);
        connection.flush(io);
    }

    fn handle_datagram(&mut self, event: UdpEvent, io: &mut Io<'_>) {
        handle_at_endpoint(event, io, &self.ledger);
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        for connection in &mut self.connections {
            match &mut connection.streams {
                Some(streams) => streams.serve(connection.peer_closed, &self.ledger, io),
                None => connection.flush(io),
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let streams = self.connections.iter().filter_map(|one| one.streams.as_ref());
        streams.map(Streams::next_deadline).min().unwrap_or(Instant::NEVER)
    }
}

impl Connection {
    fn serve(&mut self, ledger: &Shared) {
        if self.echo {
            self.output.append(&mut self.input);
            if self.peer_closed {
                self.ends.get_or_insert(Ending::Close);
            }
            return;
        }
        while self.ends.is_none() {
            match parse(&self.input, End::ByFields, false) {
                Ok((message, used)) => {
                    self.input.drain(..used);
                    self.answer(&message, ledger);
                }
                Err(Incomplete::Garbage) => {
                    let head: Vec<u8> = self.input.iter().take(80).copied().collect();
                    let text = String::from_utf8_lossy(&head).into_owned();
                    ledger.borrow_mut().violation(format!("a backend received garbage: {text:?}"));
                    self.ends = Some(Ending::Reset);
                }
                Err(_) => break,
            }
        }
        if self.peer_closed && self.ends.is_none() {
            self.ends = Some(Ending::Close);
        }
    }

    fn answer(&mut self, message: &crate::http::Message, ledger: &Shared) {
        let mut words = message.start.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if crate::hostile::asked(path) {
            return self.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok");
        }
        let Some((id, download, behaviour)) = read_path(path) else {
            ledger.borrow_mut().violation(format!("a backend received {:?}", message.start));
            self.ends = Some(Ending::Reset);
            return;
        };
        {
            let mut ledger = ledger.borrow_mut();
            ledger.arrived(id, message);
            let entry = &mut ledger.entries[id as usize];
            entry.begun += 1;
            entry.http2.1 = false;
            entry.completed += u32::from(behaviour.is_whole());
        }
        let body = pattern(id, download);
        let length = format!("HTTP/1.1 200 OK\r\nx-id: {id}\r\ncontent-length: {download}\r\n\r\n");
        let has_body = method != "HEAD";
        let half = &body[..body.len() / 2];
        match behaviour {
            Behaviour::Continue if message.field("expect").is_some() => {
                // The body is here already; 100 would be late, and is left out as RFC 9110 allows.
                self.say(length.as_bytes(), if has_body { &body } else { &[] });
            }
            Behaviour::Length | Behaviour::Continue | Behaviour::Refuse | Behaviour::Early => {
                self.say(length.as_bytes(), if has_body { &body } else { &[] });
            }
            Behaviour::Chunked => {
                let head =
                    format!("HTTP/1.1 200 OK\r\nx-id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n");
                let chunks =
                    chunked(&body, 1 + (id as usize * 37) % 3000, &[("x-end", &id.to_string())]);
                self.say(head.as_bytes(), if has_body { &chunks } else { &[] });
            }
            Behaviour::UntilClose => {
                let head = format!("HTTP/1.1 200 OK\r\nx-id: {id}\r\nConnection: close\r\n\r\n");
                self.say(head.as_bytes(), if has_body { &body } else { &[] });
                self.ends = Some(Ending::Close);
            }
            Behaviour::ResetInBody => {
                self.say(length.as_bytes(), half);
                self.ends = Some(Ending::Reset);
            }
            Behaviour::CloseInBody => {
                self.say(length.as_bytes(), half);
                self.ends = Some(Ending::Close);
            }
            Behaviour::Garbage => {
                self.say(b"SSH-2.0-OpenSSH_9.2\r\n\x00\x01\x02\r\n\r\n", &[]);
                self.ends = Some(Ending::Close);
            }
            Behaviour::CloseAtOnce => self.ends = Some(Ending::Close),
            Behaviour::Hang => {}
        }
    }

    fn say(&mut self, head: &[u8], body: &[u8]) {
        self.output.extend_from_slice(head);
        self.output.extend_from_slice(body);
    }

    fn flush(&mut self, io: &mut Io<'_>) {
        let room = QUEUE_MAX.saturating_sub(io.stack.queued(self.conn));
        let count = room.min(self.output.len());
        if count > 0 {
            io.send(self.conn, &self.output[..count]);
            self.output.drain(..count);
        }
        if self.output.is_empty() && !self.closed {
            match self.ends {
                Some(Ending::Close) => io.stack.close(self.conn, io.now),
                // Let the bytes that were said arrive before the reset does.
                Some(Ending::Reset) if io.stack.queued(self.conn) == 0 => {
                    io.stack.abort(self.conn, io.now);
                }
                _ => return,
            }
            self.closed = true;
        }
    }
}

/// Number, length of the answer, and behaviour, of a path that [`Request::path`] made.
///
/// [`Request::path`]: crate::ledger::Request::path
pub(crate) fn read_path(path: &str) -> Option<(u64, usize, Behaviour)> {
    let mut parts = path.strip_prefix("/r/")?.split('/');
    let id = parts.next()?.parse().ok()?;
    let download = parts.next()?.parse().ok()?;
    let behaviour = Behaviour::from_letter(parts.next()?.chars().next()?)?;
    Some((id, download, behaviour))
}
