//! Many connections: L2 and L3 in and out, neighbours, FIB, flow table, listeners, ports, timers.
//!
//! A [`Stack`] is one worker's hosts-and-router half: frames go in, frames come out, connections
//! become ready and take verbs. It is sans-IO: no device, clock, thread or randomness of its own;
//! every table is sized by [`StackConfig`] and has an answer to *full*. One connection's inside is
//! `sluice-tcp`'s business; the stack lends it buffers and time, and gives it addresses.
//!
//! # The order of calls, once per heartbeat
//!
//! 1. [`Stack::handle_batch`] with what each receive queue gave, [`Stack::handle_steered`] and
//!    [`Stack::handle_message`] with what came from other workers.
//! 2. [`Stack::handle_timers`] when [`Stack::next_deadline`] has come.
//! 3. [`Stack::next_ready`] until it says `None`, or the budget is used up; for each connection
//!    [`Stack::read`], [`Stack::credit`], [`Stack::write`], [`Stack::close`], [`Stack::abort`].
//!    [`Stack::connect`] begins one, [`Stack::listen`] lets them come.
//!    [`Stack::next_datagram`] until it says `None`; [`Stack::udp_accept`] and
//!    [`Stack::udp_connect`] make flows of them, [`Stack::send_datagram`] answers, or sends on.
//!    [`Stack::bind`] lets datagrams come.
//! 4. [`Stack::transmit`] for each interface with the room that its transmit queue has.
//!    [`Stack::handle_twin`] and [`Stack::transmit_twin`] are the same for the kernel's twins.
//! 5. [`Stack::pop_handoff`] and [`Stack::pop_message`] towards the other workers.
//!
//! # The way of a packet
//!
//! ```text
//!  handle_batch -> common_input: a plain segment for us, or only passing through? the short way
//!                        | no
//!                  ethernet_input -> arp        +-> icmp, icmpv6  (answers, errors)
//!                        |                      +-> nd            (neighbour discovery)
//!                        |                      +-> udp_input -> next_datagram
//!          ipv4_input, ipv6_input -> owner: ours? -> tcp_input -> connection -> next_ready
//!                        |          not ours        by the vector: buckets, connections, work
//!         forward, forward_v6   -> pop_handoff
//!                        |
//!                 resolve: next hop's address known?  -> the interface's control queue -+
//!                                no: parked                                              transmit
//!  write, timers, ACKs owed -> the interface's list of connections -> tcp_output ---------+
//! ```
//!
//! # What is kept
//!
//! `host` (hosts of either family in 32 bits), `fib`, `fib_v6` (where to), `neighbor` (who is there), `flow` (4-tuple to connection), the connections
//! with their intrusive lists (`line`, `queue`), the timer `wheel`, `listener`, `ports`, `time_wait`,
//! and for `udp` its own bound addresses and flows.
//! `router_discovery` hears routers, `learned` is what came of it.
//! `owner` says which worker a packet belongs to; neighbours have one writer, worker 0, and the
//! others ask it by [`Message`].
//!
//! # Sketch of the cost
//!
//! For one segment of an open connection, data in cache: header checks 60 cycles, checksum 0 when
//! the device did it and 1 per 16 bytes when not, hash 10, flow table one line, connection three
//! to five lines (asked for while the rest of the vector is checked), TCP itself, timer 0 to 20.
//! Forwarding touches the packet's first line, one to three lines of the trie, and one of the
//! neighbour; nothing behind the IP header is read. At 1,000,000 packets per second and 2 GHz that
//! leaves nine tenths of a core to the rest.
//!
//! # What it follows
//!
//! RFC 768, 791, 792, 826, 1122, 1812, 3021, 3704, 5227, 5927, 6056, 6191, 6528, 7413; 4191, 4291, 4429,
//! 4443, 4861, 4862, 5095, 5942, 6724, 6890, 6946, 7559, 8200, 8201; neighbour states of both families as in 4861. Fragments are put
//! together in bounded memory (RFC 5722), and made of IPv4 where DF is clear. A router's
//! word that a segment was too large makes the segments of that connection smaller (RFC 1191, 8201,
//! checked as in 5927, 7).

mod address_probe;
mod addresses;
mod arp;
mod common_input;
mod config;
mod connection;
mod connection_timers;
mod counters;
mod detection;
mod drop_reason;
mod ecmp;
mod ethernet_input;
mod family;
mod fast_open;
mod fib;
mod fib_v6;
mod flow;
mod forward;
mod forward_v6;
mod fragments;
mod fragments_v6;
mod host;
mod icmp;
mod icmpv6;
mod interface;
mod ipv4_input;
mod ipv6_input;
mod learned;
mod line;
mod listener;
mod listing;
mod message;
mod nd;
mod neighbor;
mod output;
mod owner;
mod parked;
mod ports;
mod queue;
mod rate_limit;
mod ready;
mod reassembly;
mod resolve;
mod router_discovery;
mod rules;
mod segmentation;
mod shed;
mod source_check;
mod source_limit;
mod stack;
mod tcp_configs;
mod tcp_input;
mod tcp_output;
mod time_wait;
mod tuple;
mod twin;
mod udp;
mod udp_input;
mod udp_output;
mod udp_verbs;
mod verbs;
mod vlan;
mod wheel;

pub use config::{InterfaceConfig, RouteConfig, Secrets, StackConfig};
pub use counters::StackCounters;
pub use drop_reason::{DropCounters, DropReason};
pub use listener::ListenError;
pub use listing::{FlowInfo, LearnedInfo, LearnedWhat, ListenerInfo, NeighborInfo, UdpFlowInfo};
pub use message::{FormedState, Message, Target};
pub use neighbor::NeighborState;
pub use owner::{Owners, Subject};
pub use ready::{Ready, ReadySignals};
pub use sluice_tcp::CloseReason;
pub use source_check::ReversePath;
pub use stack::Stack;
pub use udp::UdpEvent;
pub use verbs::{ConnInfo, ConnectError};
pub use vlan::{Vlan, VlanCounters};
