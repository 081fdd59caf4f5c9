//! From a configuration to a running process, and down again.

use std::io::{IsTerminal, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_arch::{MonotonicClock, PinError, Waker, pin_current_thread};
use sluice_base::{InterfaceId, WorkerId};
use sluice_buf::{Capabilities, Device};
use sluice_config_control::{
    ControlError, ControlParts, Exit, InterfaceInfo, LogLevels, Publisher, SampleBackendError,
    SampleBackends,
};
use sluice_config_model::{
    Config, DeviceSpec, IdRegistry, Interface, ReversePathCheck, RouterAdvertisements, Rule,
    RuleAction, Runtime,
};
use sluice_config_toml::Style;
use sluice_l7_proxy::{Proxy, ProxyConfig};
use sluice_rules::RuleTable;
use sluice_stack::{InterfaceConfig, ReversePath, RouteConfig, Secrets, Stack, StackConfig, Vlan};
use sluice_wire::{MacAddress, VlanId};
use sluice_worker::{Mesh, Port, Worker, WorkerLinks, WorkerParts, WorkerStatus, lend_queue};
use tracing::{error, info, warn};

use crate::devices::{DpdkError, Machine, OpenError, Opened, ThreadSetup, WorkerPools};
use crate::impair::impair;
use crate::memory::{BufferPlan, TooFewBuffers};
use crate::{FAILED, logging};

/// Whether backends are started too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Backends {
    None,
    Sample,
}

/// Why the process did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    #[error("[runtime] {0}")]
    Buffers(#[from] TooFewBuffers),
    #[error("[runtime] cores, control_core: {0}")]
    Pin(#[from] PinError),
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot read secrets from /dev/urandom: {0}")]
    Random(std::io::Error),
    #[error(transparent)]
    Backend(#[from] SampleBackendError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Reads a configuration; prints what is wrong with it.
pub(crate) fn load(path: &Path, registry: &mut IdRegistry) -> Option<Config> {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = if color { Style::Colored } else { Style::Plain };
    match sluice_config_toml::load_with(path, registry) {
        Ok((config, warnings)) => {
            for warning in warnings {
                eprint!("{}", warning.render(style));
            }
            Some(config)
        }
        Err(errors) => {
            eprint!("{}", errors.render(style));
            None
        }
    }
}

/// `sluice check`.
pub(crate) fn check(path: &Path) -> ExitCode {
    let Some(config) = load(path, &mut IdRegistry::new()) else {
        return ExitCode::from(FAILED);
    };
    // What compiles only later (regular expressions, tables) is tried as well.
    let workers = config.runtime.cores.len() as u16;
    let mut publisher = Publisher::new(IdRegistry::new(), workers);
    if let Err(error) = publisher.publish(&config, &[]) {
        eprintln!("{}: {error}", path.display());
        return ExitCode::from(FAILED);
    }
    println!(
        "{}: valid: {} interfaces, {} listeners, {} clusters",
        path.display(),
        config.interfaces.len(),
        config.listeners.len(),
        config.clusters.len()
    );
    ExitCode::SUCCESS
}

/// `sluice run` and `sluice demo`.
pub(crate) fn run(path: &Path, backends: Backends) -> ExitCode {
    let mut registry = IdRegistry::new();
    let Some(config) = load(path, &mut registry) else {
        return ExitCode::from(FAILED);
    };
    let log_levels = logging::start();
    match serve(path, config, registry, backends, log_levels) {
        Ok(Exit::Drained | Exit::Exhausted) => ExitCode::SUCCESS,
        Ok(Exit::DrainTimeout(active)) => {
            warn!("{active} requests and connections were cut: drain_timeout is over");
            ExitCode::SUCCESS
        }
        Err(start_error) => {
            error!("{start_error}");
            ExitCode::from(FAILED)
        }
    }
}

fn serve(
    path: &Path,
    config: Config,
    registry: IdRegistry,
    backends: Backends,
    log_levels: LogLevels,
) -> Result<Exit, StartError> {
    let count = config.runtime.cores.len();
    let has_device = |interface: &&Interface| !matches!(interface.device, DeviceSpec::Vlan { .. });
    let queues = config.interfaces.iter().filter(has_device).count() as u32;
    let plan = BufferPlan::new(config.runtime.buffers, count as u32, queues)?;
    let mut machine = Machine::start(&config, plan)?;
    if machine.memory_is_fallback() {
        warn!("{}", machine.memory());
    } else {
        info!("{}", machine.memory());
    }
    let pools = (0..count).map(|_| machine.pools()).collect::<Result<Vec<_>, _>>()?;
    let mut opened = Vec::with_capacity(config.interfaces.len());
    for interface in &config.interfaces {
        if let DeviceSpec::Vlan { parent, .. } = interface.device {
            // It has the address of its parent, which stands before it.
            let mac =
                opened.get(parent.index()).map_or_else(Default::default, |open: &Opened| open.mac);
            info!("interface `{}`: {}", interface.name, interface.device);
            opened.push(Opened { mac, queues: Vec::new(), twin: Vec::new(), _keep: None });
            continue;
        }
        let mut open = machine.open(interface)?;
        if let Some(impairment) = &interface.impairment {
            warn!("interface `{}` is impaired on purpose ([interface.impairment])", interface.name);
            let queues = open.queues.into_iter().zip(&pools).enumerate();
            open.queues = queues
                .map(|(number, (queue, pools))| impair(queue, number, impairment, &pools.tx))
                .collect();
        }
        info!("interface `{}`: {}, {}", interface.name, interface.device, MacAddress(open.mac));
        if interface.kernel_twin {
            open.twin = machine.open_twin(interface, open.mac)?;
            info!("interface `{}`: kernel twin `{}`", interface.name, interface.twin_name());
        }
        opened.push(open);
    }
    let interfaces = describe(&config, &opened);
    let seeds = worker_seeds(&config, pools, &mut opened)?;
    let _backends = match backends {
        Backends::Sample => Some(start_backends(&config)?),
        Backends::None => None,
    };
    let (threads, workers) = Threads::start(&config, seeds, &machine.thread_setup())?;
    pin_current_thread(config.runtime.control_core as usize)?;
    let parts = ControlParts {
        publisher: Publisher::new(registry, count as u16),
        path: path.to_owned(),
        workers,
        interfaces,
        memory: machine.memory(),
        log_levels,
        config,
    };
    let result = sluice_config_control::run(parts);
    threads.stop();
    drop(opened);
    Ok(result?)
}

fn describe(config: &Config, opened: &[Opened]) -> Vec<InterfaceInfo> {
    let pairs = config.interfaces.iter().zip(opened);
    pairs
        .map(|(interface, open)| InterfaceInfo {
            name: interface.name.clone(),
            device: interface.device.to_string(),
            mac: open.mac,
            mtu: interface.mtu,
            addresses: interface.addresses.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

/// What a worker is made of, before it is on its thread: packet memory is bound to the thread that
/// first uses it, so stack and proxy are made there.
struct WorkerSeed {
    id: WorkerId,
    stack: StackConfig,
    proxy: ProxyConfig,
    pools: WorkerPools,
    ports: Vec<(InterfaceId, Box<dyn Device>)>,
    twins: Vec<(InterfaceId, Box<dyn Device>)>,
    /// Interfaces with packet rules, and the ones that stand before them until the real ones come.
    closed: Vec<(InterfaceId, Arc<RuleTable>)>,
    /// SYNs and connections per source and second.
    limits: Vec<(InterfaceId, u32, u32)>,
    vlans: Vec<(InterfaceId, Vlan)>,
    /// Interfaces that listen to routers, and whether they make addresses of their prefixes.
    listening: Vec<(InterfaceId, bool)>,
    /// Interfaces whose addresses are asked about first.
    probing: Vec<InterfaceId>,
    /// Which sources interfaces take packets from, and whether they refuse martians.
    checks: Vec<(InterfaceId, ReversePath, bool)>,
    mesh: Mesh,
    waker: Arc<Waker>,
    clock: MonotonicClock,
}

impl WorkerSeed {
    fn grow(self) -> (Worker, WorkerLinks) {
        let WorkerSeed { id, stack, proxy, pools, ports, closed, limits, vlans, .. } = self;
        let (listening, probing, checks) = (self.listening, self.probing, self.checks);
        let (mesh, waker, twins) = (self.mesh, self.waker, self.twins);
        let proxy = ProxyConfig { receive_buffers: pools.rx.capacity(), ..proxy };
        let proxy = Proxy::new(proxy, pools.tx.share());
        let seed = proxy_independent(stack.secrets.flow[0]);
        let mut stack = Stack::new(stack, pools.rx, pools.tx, seed);
        for (interface, vlan) in vlans {
            stack.set_vlan(interface, vlan);
        }
        probing.into_iter().for_each(|interface| stack.probe_addresses(interface));
        for (interface, path, martians) in checks {
            stack.set_source_checks(interface, path, martians);
        }
        for (interface, forms_addresses) in listening {
            stack.discover_routers(interface, forms_addresses);
        }
        for (interface, syns, connections) in limits {
            stack.set_source_limits(interface, syns, connections);
        }
        closed.into_iter().for_each(|(interface, rules)| stack.set_rules(interface, Some(rules)));
        twins.iter().for_each(|(interface, _)| stack.set_twin(*interface));
        let port = |(id, device)| Port::new(id, device);
        let ports = ports.into_iter().map(port).collect();
        let twins = twins.into_iter().map(port).collect();
        Worker::new(WorkerParts { id, ports, twins, stack, proxy, mesh, waker })
    }
}

/// A seed that tells nothing of the secret it comes from.
const fn proxy_independent(secret: u64) -> u64 {
    secret.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A seed per core, with its queue of every interface.
fn worker_seeds(
    config: &Config,
    pools: Vec<WorkerPools>,
    opened: &mut [Opened],
) -> Result<Vec<WorkerSeed>, StartError> {
    let count = pools.len();
    let wakers = (0..count)
        .map(|_| Waker::new().map(Arc::new))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StartError::Thread)?;
    let meshes = Mesh::for_workers(&wakers);
    for open in opened.iter_mut() {
        lend_missing_queues(open, &pools, &wakers);
    }
    let stack = stack_config(config, opened)?;
    let closed = closed_interfaces(config);
    let clock = MonotonicClock::start();
    let wall_clock_origin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut seeds = Vec::with_capacity(count);
    for (index, ((pools, waker), mesh)) in pools.into_iter().zip(wakers).zip(meshes).enumerate() {
        let id = WorkerId(index as u16);
        let flow = [random_word()?, random_word()?];
        let stack =
            StackConfig { worker: id, secrets: Secrets { flow, ..stack.secrets }, ..stack.clone() };
        let proxy = ProxyConfig {
            worker: id,
            workers: count as u16,
            connections_max: stack.connections_max,
            seed: random_word()?,
            wall_clock_origin: wall_clock_origin.as_nanos() as u64,
            ..ProxyConfig::default()
        };
        let queues = config.interfaces.iter().zip(opened.iter_mut());
        let queues = queues.filter(|(_, open)| !open.queues.is_empty());
        let ports = queues.map(|(interface, open)| (interface.id, open.queues.remove(0))).collect();
        let twins = config.interfaces.iter().zip(opened.iter_mut());
        let twins = twins.filter(|(_, open)| !open.twin.is_empty());
        let twins = twins.map(|(interface, open)| (interface.id, open.twin.remove(0))).collect();
        let closed = closed.clone();
        let limits = config.interfaces.iter().map(|interface| {
            let rates = [interface.source_syn_rate, interface.source_connection_rate];
            let [syns, connections] = rates.map(Option::unwrap_or_default);
            (interface.id, syns, connections)
        });
        let limits = limits.collect();
        seeds.push(WorkerSeed {
            id,
            stack,
            proxy,
            pools,
            ports,
            twins,
            closed,
            limits,
            vlans: vlans(config),
            listening: listening(config),
            probing: probing(config),
            checks: source_checks(config),
            mesh,
            waker,
            clock,
        });
    }
    Ok(seeds)
}

/// The interfaces whose addresses are asked about first.
fn probing(config: &Config) -> Vec<InterfaceId> {
    let probes = config.interfaces.iter().filter(|interface| interface.probe_addresses);
    probes.map(|interface| interface.id).collect()
}

/// Which sources interfaces take packets from.
fn source_checks(config: &Config) -> Vec<(InterfaceId, ReversePath, bool)> {
    let checks = config.interfaces.iter().map(|interface| {
        let path = match interface.reverse_path {
            ReversePathCheck::Off => ReversePath::Off,
            ReversePathCheck::Loose => ReversePath::Loose,
            ReversePathCheck::Strict => ReversePath::Strict,
        };
        (interface.id, path, interface.drop_martians)
    });
    checks.collect()
}

/// The interfaces that listen to routers.
fn listening(config: &Config) -> Vec<(InterfaceId, bool)> {
    let listens = config.interfaces.iter().filter_map(|interface| {
        let forms_addresses = match interface.router_advertisements {
            RouterAdvertisements::Ignore => return None,
            RouterAdvertisements::Accept => false,
            RouterAdvertisements::FormAddresses => true,
        };
        Some((interface.id, forms_addresses))
    });
    listens.collect()
}

/// The interfaces without a device of their own.
fn vlans(config: &Config) -> Vec<(InterfaceId, Vlan)> {
    let vlan = |interface: &Interface| match interface.device {
        DeviceSpec::Vlan { parent, outer, inner, .. } => {
            let vlan =
                Vlan { parent, outer: VlanId::new(outer)?, inner: inner.and_then(VlanId::new) };
            Some((interface.id, vlan))
        }
        _ => None,
    };
    config.interfaces.iter().filter_map(vlan).collect()
}

/// What comes in by an interface with packet rules before the worker has them is denied.
fn closed_interfaces(config: &Config) -> Vec<(InterfaceId, Arc<RuleTable>)> {
    let workers = config.runtime.cores.len() as u16;
    let nothing = Arc::new(RuleTable::compile(&[Rule::any(RuleAction::Deny)], workers, None));
    let filtered = config.interfaces.iter().filter(|interface| !interface.rules.is_empty());
    filtered.map(|interface| (interface.id, nothing.clone())).collect()
}

/// Workers beyond the device's queues send through the first worker's.
fn lend_missing_queues(open: &mut Opened, pools: &[WorkerPools], wakers: &[Arc<Waker>]) {
    let have = open.queues.len();
    if have == 0 || have >= pools.len() {
        return;
    }
    let borrowers: Vec<_> = pools[have..].iter().map(|pools| pools.rx.share()).collect();
    let first = open.queues.remove(0);
    let (lent, borrowed) = lend_queue(first, &pools[0].rx, &wakers[0], &borrowers);
    open.queues.insert(0, Box::new(lent));
    open.queues.extend(borrowed.into_iter().map(|queue| Box::new(queue) as Box<dyn Device>));
}

fn stack_config(config: &Config, opened: &[Opened]) -> Result<StackConfig, StartError> {
    let pairs = config.interfaces.iter().zip(opened);
    let interfaces = pairs.map(|(interface, open)| InterfaceConfig {
        id: interface.id,
        mac: MacAddress(open.mac),
        mtu: interface.mtu,
        addresses: interface.addresses.iter().map(|a| (a.address, a.prefix_len)).collect(),
        capabilities: device_of(interface, open, opened),
    });
    let routes = config.ip_routes.iter().map(|route| RouteConfig {
        to: (route.to.address, route.to.prefix_len),
        via: route.via.clone(),
        interface: route.interface,
    });
    Ok(StackConfig {
        workers: config.runtime.cores.len() as u16,
        interfaces: interfaces.collect(),
        routes: routes.collect(),
        secrets: Secrets {
            flow: [random_word()?, random_word()?],
            iss: [random_word()?, random_word()?],
            owner: [random_word()?, random_word()?],
        },
        ..StackConfig::default()
    })
}

/// What the device of an interface, or of its parent, can do.
fn device_of(interface: &Interface, open: &Opened, all: &[Opened]) -> Capabilities {
    let open = match interface.device {
        DeviceSpec::Vlan { parent, .. } => all.get(parent.index()).unwrap_or(open),
        _ => open,
    };
    open.queues.first().map(Device::capabilities).unwrap_or_default()
}

fn random_word() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom").map_err(StartError::Random)?;
    source.read_exact(&mut bytes).map_err(StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A sample backend for every endpoint that is an address of a TAP's kernel end.
fn start_backends(config: &Config) -> Result<SampleBackends, StartError> {
    let is_host = |address: std::net::IpAddr| {
        let mut hosts = config.interfaces.iter().flat_map(|i| &i.host_addresses);
        hosts.any(|host| host.address == address)
    };
    let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    let mut addresses: Vec<SocketAddr> =
        endpoints.map(|endpoint| endpoint.address).filter(|one| is_host(one.ip())).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let backends = SampleBackends::start(&addresses)?;
    for address in backends.addresses() {
        info!("sample backend on {address}");
    }
    Ok(backends)
}

/// The worker threads, and how to stop them.
struct Threads {
    handles: Vec<JoinHandle<()>>,
    stop: Vec<(Arc<WorkerStatus>, Arc<Waker>)>,
}

impl Threads {
    fn start(
        config: &Config,
        seeds: Vec<WorkerSeed>,
        setup: &ThreadSetup,
    ) -> Result<(Self, Vec<WorkerLinks>), StartError> {
        let mut threads = Self { handles: Vec::new(), stop: Vec::new() };
        let mut links = Vec::with_capacity(seeds.len());
        for (seed, core) in seeds.into_iter().zip(&config.runtime.cores) {
            let (sender, receiver) = std::sync::mpsc::channel();
            let (core, runtime, setup) = (*core as usize, config.runtime.clone(), setup.share());
            let handle = std::thread::Builder::new()
                .name(seed.id.to_string())
                .spawn(move || work(seed, core, &runtime, &setup, &sender))
                .map_err(StartError::Thread)?;
            threads.handles.push(handle);
            match receiver.recv() {
                Ok(Ok(link)) => {
                    threads.stop.push((link.status.clone(), link.waker.clone()));
                    links.push(link);
                }
                Ok(Err(refused)) => {
                    threads.stop();
                    return Err(refused);
                }
                Err(_) => {
                    threads.stop();
                    return Err(StartError::Thread(std::io::Error::other("it ended at once")));
                }
            }
        }
        Ok((threads, links))
    }

    /// Stops every worker; each takes itself and its devices apart on its own thread.
    fn stop(self) {
        for (status, waker) in &self.stop {
            status.command(sluice_worker::Command::Stop);
            waker.wake();
        }
        for handle in self.handles {
            if handle.join().is_err() {
                error!("a worker thread ended by a panic");
            }
        }
    }
}

/// A worker thread from its first to its last instruction.
fn work(
    seed: WorkerSeed,
    core: usize,
    runtime: &Runtime,
    setup: &ThreadSetup,
    links: &std::sync::mpsc::Sender<Result<WorkerLinks, StartError>>,
) {
    let entered = pin_current_thread(core)
        .map_err(StartError::from)
        .and_then(|()| setup.enter().map_err(StartError::from));
    let _registration = match entered {
        Ok(registration) => registration,
        Err(refused) => {
            let _ = links.send(Err(refused));
            return;
        }
    };
    let clock = seed.clock;
    let (mut worker, link) = seed.grow();
    worker.coalesce(runtime.receive_coalescing);
    if links.send(Ok(link)).is_ok() {
        drop(sluice_worker::thread::run(worker, clock, runtime.idle));
    }
}
