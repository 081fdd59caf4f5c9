//! What a test stands on.

mod backend;
mod client;
mod command;
mod config;
mod envoy;
mod expert;
mod frames;
mod namespace;
mod nginx;
mod pcap;
mod sluice;

pub(crate) use backend::{Backend, respond};
pub(crate) use client::Client;
pub(crate) use command::{Spawned, peer, wait_until};
pub(crate) use config::{core, tap_config, with_cores};
pub(crate) use envoy::Envoy;
pub(crate) use expert::{Capture, Expertise};
pub(crate) use frames::{Frame, Mac};
pub(crate) use namespace::Lab;
pub(crate) use nginx::Nginx;
pub(crate) use pcap::{read_pcap, write_pcap};
pub(crate) use sluice::Sluice;
