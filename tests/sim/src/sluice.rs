//! The product as a host: the real workers, stack and proxy.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use sluice_arch::Waker;
use sluice_base::{Instant, Rng, WorkerId};
use sluice_buf::{Device, LinkConfig, LinkPeer, Pool, link};
use sluice_config_control::Publisher;
use sluice_config_model::{Config, IdRegistry};
use sluice_l7_proxy::{Proxy, ProxyConfig};
use sluice_stack::{InterfaceConfig, Secrets, Stack, StackConfig};
use sluice_worker::{Command, Mesh, Port, Worker, WorkerLinks, WorkerParts, lend_queue};

use crate::app::mac_of;

/// Sluice with its control side, without threads.
pub struct Sluice {
    workers: Vec<Worker>,
    links: Vec<WorkerLinks>,
    publisher: Publisher,
    config: Config,
    census: Vec<Pool>,
    /// Access log records seen.
    pub logged: u64,
}

/// Sluice's address towards clients that speak IPv4.
pub const FRONT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

impl Sluice {
    /// Starts with a configuration text; the network's ends of its two ports come back.
    ///
    /// # Panics
    /// On a configuration that is not valid: the scenario wrote it.
    pub fn start(
        text: &str,
        rng: &mut Rng,
        wire: &Pool,
        link_config: LinkConfig,
        buffers: u32,
    ) -> (Self, [LinkPeer; 2]) {
        let mut registry = IdRegistry::new();
        let config = parse(text, &mut registry);
        let count = config.runtime.cores.len();
        let wakers: Vec<_> =
            (0..count).map(|_| Arc::new(Waker::new().expect("an eventfd"))).collect();
        let meshes = Mesh::for_workers(&wakers);
        let pools: Vec<_> =
            (0..count).map(|_| (Pool::heap(buffers), Pool::heap(buffers))).collect();
        let census = pools.iter().flat_map(|(rx, tx)| [rx.share(), tx.share()]).collect();

        // One queue per interface: worker 0 polls it, the others borrow it, so every packet of
        // theirs is steered.
        let mut queues: Vec<Vec<Box<dyn Device>>> = (0..count).map(|_| Vec::new()).collect();
        let mut peers = Vec::new();
        let mut interfaces = Vec::new();
        for interface in &config.interfaces {
            let addresses: Vec<_> =
                interface.addresses.iter().map(|cidr| (cidr.address, cidr.prefix_len)).collect();
            let mac = mac_of(addresses[0].0);
            let ends = ((mac.0, pools[0].0.share()), (mac.0, wire.share()));
            let (host, peer) = link(link_config, ends.0, ends.1);
            peers.push(peer);
            let capabilities = host.capabilities();
            let borrowers: Vec<_> = pools[1..].iter().map(|(rx, _)| rx.share()).collect();
            let (lent, borrowed) = lend_queue(Box::new(host), &pools[0].0, &wakers[0], &borrowers);
            queues[0].push(Box::new(lent));
            for (queue, borrowed) in queues[1..].iter_mut().zip(borrowed) {
                queue.push(Box::new(borrowed));
            }
            interfaces.push(InterfaceConfig {
                id: interface.id,
                mac,
                mtu: interface.mtu,
                addresses,
                capabilities,
            });
        }
        let (iss, owner) = ([rng.next_u64(), rng.next_u64()], [rng.next_u64(), rng.next_u64()]);
        let (mut workers, mut links) = (Vec::new(), Vec::new());
        let parts = pools.into_iter().zip(queues).zip(meshes).zip(wakers);
        for (index, ((((rx, tx), queues), mesh), waker)) in parts.enumerate() {
            let id = WorkerId(index as u16);
            let stack_config = StackConfig {
                worker: id,
                workers: count as u16,
                interfaces: interfaces.clone(),
                secrets: Secrets { flow: [rng.next_u64(), rng.next_u64()], iss, owner },
                connections_max: 4_096,
                ..StackConfig::default()
            };
            let seed = rng.next_u64();
            let proxy_config = ProxyConfig {
                worker: id,
                workers: count as u16,
                connections_max: 4_096,
                receive_buffers: rx.capacity(),
                // In most worlds requests rest as often as they can.
                rest: Duration::from_millis([1, 30, 1_000][(seed % 3) as usize]),
                seed,
                ..ProxyConfig::default()
            };
            let proxy = Proxy::new(proxy_config, tx.share());
            let reserve = tx.capacity() / 8;
            let stack = Stack::new(stack_config, rx, tx.with_reserve(reserve), rng.next_u64());
            let ids = config.interfaces.iter().map(|interface| interface.id);
            let ports = ids.zip(queues).map(|(id, queue)| Port::new(id, queue)).collect();
            let (mut worker, link) = Worker::new(WorkerParts {
                id,
                ports,
                twins: Vec::new(),
                stack,
                proxy,
                mesh,
                waker,
            });
            // In most worlds packets are left lying, in some far longer than a file may say.
            worker.coalesce(Duration::from_micros([0, 100, 20_000][(seed / 3 % 3) as usize]));
            workers.push(worker);
            links.push(link);
        }
        let mut publisher = Publisher::new(registry, count as u16);
        publisher.publish(&config, &links).expect("the scenario's configuration compiles");
        let peers = <[LinkPeer; 2]>::try_from(peers).ok().expect("two interfaces");
        (Self { workers, links, publisher, config, census, logged: 0 }, peers)
    }

    /// Publishes another configuration, as SIGHUP does.
    pub fn reload(&mut self, text: &str) {
        let mut registry = self.publisher.lend_registry();
        let config = parse(text, &mut registry);
        self.publisher
            .publish_lent(registry, &config, &self.config, &self.links)
            .expect("the scenario's configuration compiles");
        self.config = config;
    }

    /// Endpoints by whose id something running means one address and the newest configuration
    /// another: an id that was used again too early. (Without the quarantine of `Publisher`, six of the
    /// first 200 seeds find one.)
    #[must_use]
    pub fn misnamed(&self) -> Vec<String> {
        let endpoints = self.config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
        let meant: HashMap<_, _> =
            endpoints.map(|endpoint| (endpoint.id, endpoint.address)).collect();
        let named = self.workers.iter().flat_map(|worker| worker.proxy().named_endpoints());
        named
            .filter_map(|(id, address)| {
                let other = meant.get(&id).filter(|other| **other != address)?;
                Some(format!("{id:?} is {address} to a connection and {other} to the newest file"))
            })
            .collect()
    }

    /// Stops taking connections.
    pub fn drain(&self) {
        for link in &self.links {
            link.status.command(Command::Drain);
        }
    }

    /// One heartbeat of every worker, and what the control thread does; true if any worked.
    pub fn step(&mut self, now: Instant) -> bool {
        let mut worked = false;
        for worker in &mut self.workers {
            worked |= worker.heartbeat(now).worked;
        }
        for link in &mut self.links {
            while link.log.pop().is_ok() {
                self.logged += 1;
            }
        }
        self.publisher.collect(&mut self.links);
        worked
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Instant {
        self.workers.iter().map(Worker::next_deadline).min().unwrap_or(Instant::NEVER)
    }

    /// Requests and relays that are running.
    #[must_use]
    pub fn active(&self) -> usize {
        self.workers.iter().map(Worker::active).sum()
    }

    /// Replaced snapshots that a worker still holds.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.publisher.outstanding()
    }

    /// Replaced configurations whose ids are not free.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.publisher.quarantined()
    }

    /// Connections of all workers.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.stack().connection_count()).sum()
    }

    /// UDP flows of all workers.
    #[must_use]
    pub fn datagram_flows(&self) -> usize {
        self.workers.iter().map(|worker| worker.stack().udp_flow_count()).sum()
    }

    /// Pools to be counted when this is gone.
    #[must_use]
    pub fn census(&self) -> Vec<Pool> {
        self.census.iter().map(Pool::share).collect()
    }

    /// Drop counters that are not zero, for the report of a failure.
    #[must_use]
    pub fn drops(&self) -> Vec<String> {
        let workers = self.workers.iter();
        let all = workers.flat_map(|worker| {
            let drops = worker.stack().counters().drops.iter();
            let id = worker.id();
            drops.map(move |(reason, count)| (id, reason, count))
        });
        all.filter(|(_, _, count)| *count > 0)
            .map(|(id, reason, count)| format!("{id} dropped {count}: {reason:?}"))
            .collect()
    }
}

fn parse(text: &str, registry: &mut IdRegistry) -> Config {
    match sluice_config_toml::parse("scenario.toml", text, registry) {
        Ok((config, _)) => config,
        Err(errors) => panic!("the scenario's configuration is not valid:\n{errors}\n{text}"),
    }
}
