//! End to end: the real binary against curl, wrk, ab, nghttp, nginx, Envoy, gRPC and DPDK's
//! devices.
//!
//! ```text
//!   lab/         what a test stands on: a network namespace, bounded commands, Sluice as a process,
//!                scripted backends, a client that sends any bytes, nginx, capture files
//!   http.rs      requests over a TAP, with the kernel as client and backend      relay.rs  protocol = "tcp"
//!   http2.rs     HTTP/2 on either side, and between the versions                tunnels.rs  WebSockets, CONNECT
//!   flooders.rs  attackers who come again, and those who share the listener with them
//!   envoy.rs     Envoy on either side, over HTTP/2    nghttp.rs  its priorities, trailers and copies
//!   grpc.rs      grpc-python through Sluice, and through Envoy, Sluice and Envoy
//!   load.rs      many requests, many connections, large bodies                   workers.rs  two cores
//!   upstream.rs  backends that fail     downstream.rs  clients that misbehave
//!   reload.rs    SIGHUP     drain.rs  SIGTERM     start.rs  what stops a start     cli.rs  exit statuses
//!   dpdk.rs      net_tap, af_packet, af_xdp, memif, pci: over DPDK     capture.rs  its PCAP device
//!   pktgen.rs    the load generator on both sides of a Sluice, over memif
//!   filter.rs  packet rules, fragments, VLANs     ecmp.rs  two next hops     ipv6.rs  both families, and between them
//!   routers.rs  router advertisements            fast_open.rs  requests in SYNs, with the kernel as client
//!   twin.rs  the kernel on the same address
//!   udp.rs  protocol = "udp": sessions, fragments, endpoints that refuse, two workers
//!   impairment.rs  loss, delay, reordering on purpose     lossy.rs  bulk and 1,000 connections, judged by tshark
//!   demo.rs      sluice demo, the script of `make run`
//! ```
//!
//! Every test has a network namespace of its own, so addresses and ports are the same everywhere and
//! nothing leaves the machine. It takes root and namespaces, which `tests/scripts/netns` provides:
//!
//! ```text
//!   make test-e2e
//!   SLUICE_BIN=target/ci/sluice tests/scripts/netns cargo test --features dpdk --test e2e [NAME]
//! ```
//!
//! Without `SLUICE_BIN` the binary of the same build is tested. A test that fails prints the
//! configuration, what Sluice said, and every counter that is not zero.

#[cfg(any(feature = "dpdk", feature = "dpdk-shared"))]
mod capture;
mod cli;
mod demo;
mod downstream;
#[cfg(any(feature = "dpdk", feature = "dpdk-shared"))]
mod dpdk;
mod drain;
mod ecmp;
mod envoy;
mod fast_open;
mod filter;
mod flooders;
mod grpc;
mod http;
mod http2;
mod impairment;
mod ipv6;
mod lab;
mod load;
mod lossy;
mod nghttp;
#[cfg(any(feature = "dpdk", feature = "dpdk-shared"))]
mod pktgen;
mod relay;
mod reload;
mod routers;
mod start;
mod tunnels;
mod twin;
mod udp;
mod upstream;
mod workers;
