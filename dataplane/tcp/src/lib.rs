//! One TCP connection as a sans-IO machine, in the order of RFC 9293, 3.10.
//!
//! A [`Connection`] is plain data: segments, application calls and the clock go in, segments come
//! out. It has no socket, thread or pointer; many share a [`Config`] and a [`Context`]. Listening,
//! ports, checksums, IP and the timer wheel belong to the stack.
//!
//! # The order of calls
//!
//! 1. [`Connection::connect`], or [`Connection::accept`] with a SYN. Either owes a segment.
//! 2. [`Connection::poll_output`] while there is room to transmit, until it says `None`. What it
//!    returns counts as sent. Afterwards look at [`Connection::next_deadline`].
//! 3. [`Connection::handle_segment`] for what arrives, [`Connection::handle_timer`] when the
//!    deadline has come. Both are cheap to call and answer with [`Signals`].
//! 4. [`Connection::read`] what is readable and [`Connection::credit`] it when it is gone;
//!    [`Connection::write`] within [`Connection::send_room`].
//! 5. [`Connection::close`] sends a FIN behind what was written; reading goes on.
//!    [`Connection::abort`] sends a RST.
//! 6. After [`Signals::CLOSED`], or [`Signals::TIME_WAIT`] (then keep [`Connection::time_wait`]), and
//!    once [`Connection::has_output`] is false, the connection may be dropped.
//!
//! # Where things are
//!
//! `open`, `fast_open`, `input/`, `output`, `close` are the RFC's event processing; `send` and `recv` the two
//! halves of sequence space with their pictures; `selective`, `repair`, `tail_probe` and `flight/`
//! what happens on loss with SACK, `recovery` without; `congestion/`, `pacing` and `rtt` the pace;
//! `timer` the deadlines; `path_mtu` the largest segment; `limits` the bound on everything that a peer
//! can make us hold.
//!
//! # What it follows
//!
//! RFC 9293; 1122 (delayed ACK, silly window); 1191 and 4821 (path MTU); 1337; 2018 and 2883 (SACK);
//! 3042; 3522 and 4015 (Eifel); 3168 (ECN); 4987 (SYN cookies); 5482 (user timeout option); 5681 with 6582 (NewReno) and 6928;
//! 5682 (F-RTO); 5961; 6191; 6298; 6528; 6675; 6937 (PRR); 7323; 7413 (Fast Open, the passive side);
//! 8985 (RACK-TLP); 9406 (HyStart++); 9438 (CUBIC). Departures are named where they are made.
//!
//! # What it costs
//!
//! A connection is 256 bytes, four cache lines, of which a predicted segment touches all but the
//! end of the last; it allocates nothing. A hole in the received data borrows one table until it
//! is filled, several bursts under way at a time a scoreboard until they are acknowledged; a stack
//! makes those at start ([`Spares`]). User
//! instructions, request of 200 bytes against response of 200 bytes, release build, by callgrind slope:
//! `handle_segment` 385 (and 118 to free what was acknowledged), `poll_output`
//! 250, `write` 140, `read` and `credit` 115.

mod close;
mod config;
mod congestion;
mod connection;
mod context;
mod cookie;
mod counters;
mod ecn;
mod fast_open;
mod flight;
mod input;
mod isn;
mod keepalive;
pub mod limits;
mod open;
mod options;
mod output;
mod pacing;
mod path_mtu;
mod recovery;
mod recv;
mod repair;
mod reset;
mod rtt;
mod selective;
mod send;
mod signals;
mod spares;
mod state;
mod tail_probe;
mod time_wait;
mod timer;
mod user_timeout;

pub use config::{Config, Keepalive};
pub use congestion::CongestionKind;
pub use connection::Connection;
pub use context::{ChallengeAcks, Context};
pub use cookie::{Cookie, check_cookie, cookie_answer};
pub use counters::TcpCounters;
pub use ecn::EcnMode;
pub use fast_open::{FastOpen, fast_open_cookie};
pub use isn::Numbers;
pub use output::Outgoing;
pub use reset::reset_for;
pub use signals::Signals;
pub use spares::Spares;
pub use state::{CloseReason, State};
pub use time_wait::{TimeWait, TimeWaitAction};
