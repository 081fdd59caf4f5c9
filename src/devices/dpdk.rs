//! Devices and packet memory by DPDK.

use std::sync::Arc;
use std::time::Duration;

use sluice_buf::{Device, Pool};
use sluice_config_model::{Config, DeviceSpec, Hugepages, Interface};
use sluice_dpdk::{
    DeviceSpec as DpdkSpec, Eal, EalError, EalOptions, MbufPool, MemifRole, PciAddress, PciError,
    PoolError, Port, PortError, PortOptions, RegisterError, RegisteredThread,
};
use tracing::{info, warn};

use super::Opened;
use crate::memory::BufferPlan;

/// How long a link may take to come up before we go on without it; memif's comes with its peer.
const LINK_PATIENCE: Duration = Duration::from_secs(2);

/// Why something could not be had from DPDK.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DpdkError {
    #[error("cannot start DPDK: {0}")]
    Eal(#[from] EalError),
    #[error("packet memory: {0}")]
    Pool(#[from] PoolError),
    #[error("interface `{interface}`: {error}")]
    Port { interface: String, error: PortError },
    #[error("interface `{interface}`: {error}")]
    Pci { interface: String, error: PciError },
    #[error("worker thread: {0}")]
    Register(#[from] RegisterError),
}

/// A running DPDK.
pub(crate) struct Dpdk {
    eal: Arc<Eal>,
    /// Receive pools, one per worker.
    pools: Vec<MbufPool>,
    workers: usize,
}

/// What worker threads share of it.
pub(crate) type Shared = Eal;

/// A thread that DPDK knows.
pub(crate) type Registration = RegisteredThread;

impl Dpdk {
    pub(crate) fn start(config: &Config, plan: BufferPlan) -> Result<Self, DpdkError> {
        let workers = config.runtime.cores.len();
        let mut pci = Vec::new();
        for interface in &config.interfaces {
            if let DeviceSpec::Pci { address } = &interface.device {
                pci.push(pci_address(&interface.name, address)?);
            }
        }
        let buffers = (plan.rx + plan.tx).saturating_mul(workers as u32);
        let queues = (config.interfaces.len() * workers) as u32;
        let options = EalOptions {
            control_core: Some(config.runtime.control_core),
            hugepages: match config.runtime.hugepages {
                Hugepages::Auto => sluice_dpdk::Hugepages::Auto,
                Hugepages::Required => sluice_dpdk::Hugepages::Required,
                Hugepages::Off => sluice_dpdk::Hugepages::Off,
            },
            memory_mib: EalOptions::memory_mib_for(buffers, queues),
            pci,
            file_prefix: None,
        };
        let eal = Eal::start(&options)?;
        info!("{}", sluice_dpdk::version());
        Ok(Self { eal: Arc::new(eal), pools: Vec::new(), workers })
    }

    pub(crate) fn memory(&self) -> String {
        self.eal.memory().to_string()
    }

    pub(crate) fn memory_is_fallback(&self) -> bool {
        self.eal.memory().is_fallback()
    }

    /// A pool; every second one, beginning with the first, is a worker's receive pool.
    pub(crate) fn pool(&mut self, buffers: u32) -> Result<Pool, DpdkError> {
        let pool = self.eal.pool(buffers)?;
        let handle = pool.handle();
        self.pools.push(pool);
        Ok(handle)
    }

    pub(crate) fn open(&mut self, interface: &Interface) -> Result<Opened, DpdkError> {
        let spec = spec(interface)?;
        let options = PortOptions {
            queues: self.workers as u16,
            mtu: interface.mtu,
            ..PortOptions::default()
        };
        let receive: Vec<MbufPool> = self.pools.iter().step_by(2).cloned().collect();
        let mut port = Port::open(&self.eal, &spec, &options, &receive)
            .map_err(|error| DpdkError::Port { interface: interface.name.clone(), error })?;
        if !port.wait_for_link(LINK_PATIENCE) {
            warn!("interface `{}`: no link yet on {}", interface.name, interface.device);
        }
        let queues = port.take_queues().into_iter();
        let queues = queues.map(|queue| Box::new(queue) as Box<dyn Device>).collect();
        Ok(Opened { mac: port.mac(), queues, twin: Vec::new(), _keep: Some(Box::new(port)) })
    }

    pub(crate) fn share(&self) -> Arc<Shared> {
        self.eal.clone()
    }
}

pub(crate) fn register(shared: &Arc<Shared>) -> Result<Registration, DpdkError> {
    Ok(shared.register_thread()?)
}

fn pci_address(interface: &str, address: &str) -> Result<PciAddress, DpdkError> {
    PciAddress::parse(address)
        .map_err(|error| DpdkError::Pci { interface: interface.to_owned(), error })
}

fn spec(interface: &Interface) -> Result<DpdkSpec, DpdkError> {
    Ok(match &interface.device {
        DeviceSpec::Vlan { .. } => unreachable!("a VLAN is opened with its parent"),
        DeviceSpec::Tap { name } => DpdkSpec::Vdev(format!("net_tap0,iface={name}")),
        DeviceSpec::Pci { address } => DpdkSpec::Pci(pci_address(&interface.name, address)?),
        DeviceSpec::AfPacket { interface } => DpdkSpec::AfPacket { interface: interface.clone() },
        DeviceSpec::AfXdp { interface } => DpdkSpec::AfXdp { interface: interface.clone() },
        DeviceSpec::Pcap { input, output } => {
            DpdkSpec::Pcap { input: input.clone(), output: output.clone(), infinite: false }
        }
        DeviceSpec::Memif { socket } => {
            DpdkSpec::Memif { socket: socket.clone(), role: MemifRole::Server, id: 0 }
        }
        DeviceSpec::Vdev { arguments } => DpdkSpec::Vdev(arguments.clone()),
    })
}
