//! Devices and packet memory by DPDK.

use std::time::Duration;

use sluice_buf::{Device, Pool};
use sluice_config_model::DeviceSpec;
use sluice_dpdk::{
    DeviceSpec as DpdkSpec, Eal, EalError, EalOptions, MbufPool, MemifRole, PciAddress, PciError,
    PoolError, Port, PortError, PortOptions, RegisterError, RegisteredThread,
};

use super::MTU;
use crate::ends::End;

/// How long a link may take to come up; memif's comes with its peer.
const LINK_PATIENCE: Duration = Duration::from_secs(10);

/// Why something could not be had from DPDK.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DpdkError {
    #[error("cannot start DPDK: {0}")]
    Eal(#[from] EalError),
    #[error("packet memory: {0}")]
    Pool(#[from] PoolError),
    #[error("{0}")]
    Port(#[from] PortError),
    #[error("{0}")]
    Pci(#[from] PciError),
    #[error("this thread: {0}")]
    Register(#[from] RegisterError),
    #[error("`{0}`: no link within {LINK_PATIENCE:?}; is its other end there?")]
    NoLink(String),
    #[error("`{0}` gave no queue")]
    NoQueue(String),
}

/// A running DPDK. The queues of its ports go before it does.
pub(crate) struct Dpdk {
    ports: Vec<Port>,
    pools: Vec<MbufPool>,
    _thread: RegisteredThread,
    eal: Eal,
}

impl Dpdk {
    pub(crate) fn start(ends: &[&End], buffers: u32) -> Result<Self, DpdkError> {
        let mut pci = Vec::new();
        for end in ends {
            if let DeviceSpec::Pci { address } = &end.device {
                pci.push(PciAddress::parse(address)?);
            }
        }
        let count = ends.len() as u32;
        let eal = Eal::start(&EalOptions {
            memory_mib: EalOptions::memory_mib_for(buffers.saturating_mul(count), count),
            pci,
            ..EalOptions::default()
        })?;
        let thread = eal.register_thread()?;
        Ok(Self { ports: Vec::new(), pools: Vec::new(), _thread: thread, eal })
    }

    pub(crate) fn pool(&mut self, buffers: u32) -> Result<Pool, DpdkError> {
        let pool = self.eal.pool(buffers)?;
        let handle = pool.handle();
        self.pools.push(pool);
        Ok(handle)
    }

    pub(crate) fn open(
        &mut self,
        end: &End,
        buffers: u32,
    ) -> Result<(Pool, Box<dyn Device>), DpdkError> {
        let handle = self.pool(buffers)?;
        let receive = self.pools.last().cloned().into_iter().collect::<Vec<_>>();
        let options = PortOptions { queues: 1, mtu: MTU, ..PortOptions::default() };
        let mut port = Port::open(&self.eal, &spec(&end.device)?, &options, &receive)?;
        if !port.wait_for_link(LINK_PATIENCE) {
            return Err(DpdkError::NoLink(end.device.to_string()));
        }
        let queue = port.take_queues().into_iter().next();
        self.ports.push(port);
        let queue = queue.ok_or_else(|| DpdkError::NoQueue(end.device.to_string()))?;
        Ok((handle, Box::new(queue)))
    }
}

/// As Sluice reads it, but for memif, of which Sluice makes the socket.
fn spec(device: &DeviceSpec) -> Result<DpdkSpec, DpdkError> {
    Ok(match device {
        DeviceSpec::Vlan { .. } => unreachable!("no end has a parent"),
        DeviceSpec::Tap { name } => DpdkSpec::Vdev(format!("net_tap0,iface={name}")),
        DeviceSpec::Pci { address } => DpdkSpec::Pci(PciAddress::parse(address)?),
        DeviceSpec::AfPacket { interface } => DpdkSpec::AfPacket { interface: interface.clone() },
        DeviceSpec::AfXdp { interface } => DpdkSpec::AfXdp { interface: interface.clone() },
        DeviceSpec::Pcap { input, output } => {
            DpdkSpec::Pcap { input: input.clone(), output: output.clone(), infinite: false }
        }
        DeviceSpec::Memif { socket } => {
            DpdkSpec::Memif { socket: socket.clone(), role: MemifRole::Client, id: 0 }
        }
        DeviceSpec::Vdev { arguments } => DpdkSpec::Vdev(arguments.clone()),
    })
}
