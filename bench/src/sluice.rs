//! The product, with one worker and without threads.

use std::net::Ipv4Addr;
use std::sync::Arc;

use sluice_arch::Waker;
use sluice_base::{Instant, WorkerId};
use sluice_buf::{Device, LinkConfig, LinkPeer, Pool, link};
use sluice_config_control::Publisher;
use sluice_config_model::IdRegistry;
use sluice_l7_proxy::{ListenerCounters, Proxy, ProxyConfig};
use sluice_stack::{InterfaceConfig, RouteConfig, Secrets, Stack, StackConfig};
use sluice_worker::{Beat, Mesh, Port, Worker, WorkerLinks, WorkerParts, WorkerStatus};

use crate::host::mac_of;

/// Towards the client.
pub const FRONT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// Towards the origin.
pub const BACK: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// Descriptors of each ring, as a NIC has.
const DEPTH: usize = 1024;

/// What a Sluice of a bench is made with.
pub struct SluiceConfig {
    /// Its configuration file.
    pub text: String,
    /// Static routes of its stack.
    pub routes: Vec<RouteConfig>,
    /// Connections of both sides together.
    pub connections_max: u32,
    /// Requests and relays in flight.
    pub exchanges_max: u32,
    /// Buffers of each of its two pools.
    pub buffers: u32,
    /// The largest frame with segmentation left to the device; 0 for none.
    pub segmentation_max: u32,
}

/// One worker and its control side.
pub struct Sluice {
    worker: Worker,
    links: Vec<WorkerLinks>,
    publisher: Publisher,
    /// Last: requests that are cut off hold buffers, and a pool goes only when all are back.
    _pools: [Pool; 2],
}

/// The only code that is counted by `icount`, which knows it by this name.
#[inline(never)]
pub fn proxy_heartbeat(worker: &mut Worker, now: Instant) -> Beat {
    worker.heartbeat(now)
}

impl Sluice {
    /// Starts; gives the far ends of its two links too, whose copies are made in `wire`.
    ///
    /// # Panics
    /// On a configuration that is not valid: the scenario wrote it.
    #[must_use]
    pub fn start(config: &SluiceConfig, wire: [&Pool; 2]) -> (Self, [LinkPeer; 2]) {
        let mut registry = IdRegistry::new();
        let parsed = match sluice_config_toml::parse("bench.toml", &config.text, &mut registry) {
            Ok((parsed, _)) => parsed,
            Err(errors) => panic!("the scenario's configuration is not valid:\n{errors}"),
        };
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let mesh = Mesh::for_workers(std::slice::from_ref(&waker)).remove(0);
        let (rx, tx) = (Pool::heap(config.buffers), Pool::heap(config.buffers));
        let link_config = LinkConfig {
            depth: DEPTH,
            checksum_offload: true,
            segmentation_max: config.segmentation_max,
        };
        let (mut ports, mut peers, mut interfaces) = (Vec::new(), Vec::new(), Vec::new());
        let ends = parsed.interfaces.iter().zip([FRONT, BACK]).zip(wire);
        for ((interface, address), wire) in ends {
            let mac = mac_of(address);
            let (host, peer) = link(link_config, (mac.0, rx.share()), (mac.0, wire.share()));
            interfaces.push(InterfaceConfig {
                id: interface.id,
                mac,
                mtu: interface.mtu,
                addresses: vec![(address.into(), 24)],
                capabilities: host.capabilities(),
            });
            ports.push(Port::new(interface.id, Box::new(host)));
            peers.push(peer);
        }
        let id = WorkerId(0);
        let stack_config = StackConfig {
            interfaces,
            routes: config.routes.clone(),
            secrets: Secrets { flow: [7, 1], iss: [7, 2], owner: [7, 3] },
            connections_max: config.connections_max,
            ..StackConfig::default()
        };
        let connections_max = config.connections_max;
        let exchanges_max = config.exchanges_max;
        let proxy_config =
            ProxyConfig { connections_max, exchanges_max, seed: 5, ..ProxyConfig::default() };
        let proxy = Proxy::new(proxy_config, tx.share());
        let pools = [rx.share(), tx.share()];
        let reserve = tx.capacity() / 8;
        let stack = Stack::new(stack_config, rx, tx.with_reserve(reserve), 6);
        let (worker, link) =
            Worker::new(WorkerParts { id, ports, twins: Vec::new(), stack, proxy, mesh, waker });
        let links = vec![link];
        let mut publisher = Publisher::new(registry, 1);
        publisher.publish(&parsed, &links).expect("the scenario's configuration compiles");
        let peers = <[LinkPeer; 2]>::try_from(peers).ok().expect("two interfaces");
        (Self { worker, links, publisher, _pools: pools }, peers)
    }

    /// One heartbeat.
    pub fn step(&mut self, now: Instant) -> bool {
        proxy_heartbeat(&mut self.worker, now).worked
    }

    /// What the control thread does now and then.
    pub fn collect(&mut self) {
        for link in &mut self.links {
            while link.log.pop().is_ok() {}
        }
        self.publisher.collect(&mut self.links);
    }

    /// The worker's counters.
    #[must_use]
    pub fn status(&self) -> &WorkerStatus {
        &self.links[0].status
    }

    /// The counters of a listener.
    ///
    /// # Panics
    /// If there is none of this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerCounters> {
        let snapshot = self.publisher.current().expect("one was published");
        let mut all = snapshot.listeners().map(|compiled| &compiled.listener);
        let id = all.find(|listener| listener.name == name).expect("it has this listener").id;
        let counters = self.publisher.counters().find_listener(id);
        Arc::clone(&counters.expect("each listener has counters")[0])
    }

    /// The worker, to look at.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }
}
