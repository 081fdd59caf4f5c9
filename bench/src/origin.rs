//! What answers behind the proxy.

use sluice_base::ConnId;
use sluice_buf::{Chain, Pool};
use sluice_stack::Ready;

use crate::host::{App, Io};

/// Bytes that a bulk origin writes at once.
const BULK_WRITE: usize = 64 * 1024;

/// How an origin answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A response with a body of so many bytes to every request; requests have no bodies.
    Http(usize),
    /// Every byte comes back.
    Echo,
    /// Bytes without end, once something has arrived.
    Bulk,
}

/// An origin that does as little as it can: it is not what is measured.
pub struct Origin {
    answer: Answer,
    /// What is sent, as often as it takes; nothing is copied.
    template: Chain,
    /// How far each connection has seen the end of a head, by slot.
    matched: Vec<u8>,
}

impl Origin {
    /// An origin whose responses live in `pool`.
    ///
    /// # Panics
    /// When the pool is too small for one response.
    #[must_use]
    pub fn new(answer: Answer, pool: &Pool) -> Self {
        let template = match answer {
            Answer::Http(body) => response(body),
            Answer::Echo => Vec::new(),
            Answer::Bulk => vec![b'b'; BULK_WRITE],
        };
        let template = Chain::copy_from(&template, pool).expect("the pool has room for one");
        Self { answer, template, matched: Vec::new() }
    }

    fn say(&self, conn: ConnId, io: &mut Io<'_>) -> usize {
        let mut bytes = self.template.clone_range(0, self.template.len());
        io.stack.write(conn, &mut bytes, io.now)
    }

    fn answer_requests(&mut self, conn: ConnId, io: &mut Io<'_>) {
        let slot = conn.index as usize;
        if self.matched.len() <= slot {
            self.matched.resize(slot + 1, 0);
        }
        let mut state = self.matched[slot];
        let mut requests = 0;
        io.receive(conn, |piece| requests += count_heads(piece, &mut state));
        self.matched[slot] = state;
        for _ in 0..requests {
            self.say(conn, io);
        }
    }

    fn fill(&self, conn: ConnId, io: &mut Io<'_>) {
        if io.stack.send_room(conn) > 0 {
            while self.say(conn, io) > 0 {}
        }
    }
}

impl App for Origin {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        if ready.accepted()
            && let Some(state) = self.matched.get_mut(conn.index as usize)
        {
            *state = 0;
        }
        if ready.readable() {
            match self.answer {
                Answer::Http(_) => self.answer_requests(conn, io),
                Answer::Echo => {
                    let mut bytes = io.stack.read(conn, usize::MAX);
                    let count = bytes.len();
                    io.stack.write(conn, &mut bytes, io.now);
                    io.stack.credit(conn, count, io.now);
                }
                Answer::Bulk => {
                    io.receive(conn, |_| {});
                    self.fill(conn, io);
                }
            }
        }
        if ready.writable() && self.answer == Answer::Bulk {
            self.fill(conn, io);
        }
        if ready.peer_closed() {
            io.stack.close(conn, io.now);
        }
    }

    fn poll(&mut self, _io: &mut Io<'_>) {}
}

/// Counts ends of heads; `state` is how many bytes of one have been seen.
fn count_heads(piece: &[u8], state: &mut u8) -> usize {
    let end = b"\r\n\r\n";
    let mut heads = 0;
    for byte in piece {
        *state = match *byte {
            byte if byte == end[usize::from(*state)] => *state + 1,
            b'\r' => 1,
            _ => 0,
        };
        if *state == 4 {
            *state = 0;
            heads += 1;
        }
    }
    heads
}

/// What an nginx origin says to a request for a small file.
fn response(body: usize) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {body}\r\n\
         Connection: keep-alive\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_across_pieces() {
        let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\r\r\n\r\n";
        for cut in 0..bytes.len() {
            let mut state = 0;
            let (first, second) = bytes.split_at(cut);
            let heads = count_heads(first, &mut state) + count_heads(second, &mut state);
            assert_eq!((heads, state), (2, 0), "cut at {cut}");
        }
    }
}
