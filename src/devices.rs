//! From `device = "..."` to queues.

use std::sync::Arc;

use sluice_buf::{Device, MacBytes, Pool};
use sluice_config_model::{Config, DeviceSpec, Hugepages, Interface};
use sluice_tap::{TapError, TapInterface};

use crate::memory::BufferPlan;

#[cfg(any(feature = "dpdk", feature = "dpdk-shared"))]
mod dpdk;
#[cfg(not(any(feature = "dpdk", feature = "dpdk-shared")))]
#[path = "devices/without_dpdk.rs"]
mod dpdk;

pub(crate) use dpdk::{Dpdk, DpdkError};

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A TAP.
    #[error("interface `{interface}`: {error}")]
    Tap { interface: String, error: TapError },
    /// The kernel's twin of an interface.
    #[error("interface `{interface}`: kernel_twin: {error}")]
    Twin { interface: String, error: TapError },
    /// What cannot be had.
    #[error(
        "[runtime] hugepages = \"required\": huge pages come with DPDK, and TAPs alone need none; leave \
         it at \"auto\""
    )]
    NoHugepages,
    /// A device of DPDK's, or DPDK itself.
    #[error("{0}")]
    Dpdk(#[from] DpdkError),
}

/// The pools of one worker.
pub(crate) struct WorkerPools {
    pub(crate) rx: Pool,
    pub(crate) tx: Pool,
}

/// An interface as it came up.
pub(crate) struct Opened {
    pub(crate) mac: MacBytes,
    /// One per worker, or fewer if the device has fewer.
    pub(crate) queues: Vec<Box<dyn Device>>,
    /// The kernel's twin, one queue per worker; none if there is none.
    pub(crate) twin: Vec<Box<dyn Device>>,
    /// Keeps the interface open as long as its queues are used.
    pub(crate) _keep: Option<Box<dyn std::any::Any>>,
}

/// Where packet memory and devices come from: DPDK if any interface needs it, else ourselves.
pub(crate) struct Machine {
    dpdk: Option<Dpdk>,
    plan: BufferPlan,
    rx_pools: Vec<Pool>,
}

impl Machine {
    /// Starts DPDK if an interface needs it.
    pub(crate) fn start(config: &Config, plan: BufferPlan) -> Result<Self, OpenError> {
        let needs_dpdk = config.interfaces.iter().any(|interface| interface.device.needs_dpdk());
        if config.runtime.hugepages == Hugepages::Required && !needs_dpdk {
            return Err(OpenError::NoHugepages);
        }
        let dpdk = if needs_dpdk { Some(Dpdk::start(config, plan)?) } else { None };
        Ok(Self { dpdk, plan, rx_pools: Vec::new() })
    }

    /// How packet memory was had, for the operator.
    pub(crate) fn memory(&self) -> String {
        match &self.dpdk {
            Some(dpdk) => dpdk.memory(),
            None => "packet memory is on normal pages: no interface needs DPDK".to_owned(),
        }
    }

    /// Whether the operator wanted better memory than there was.
    pub(crate) fn memory_is_fallback(&self) -> bool {
        self.dpdk.as_ref().is_some_and(Dpdk::memory_is_fallback)
    }

    /// The pools of the next worker; call it once per worker, in order, before opening interfaces.
    pub(crate) fn pools(&mut self) -> Result<WorkerPools, OpenError> {
        let BufferPlan { rx, tx, tx_reserve } = self.plan;
        let (rx, tx) = match &mut self.dpdk {
            Some(dpdk) => (dpdk.pool(rx)?, dpdk.pool(tx)?),
            None => (Pool::heap(rx), Pool::heap(tx)),
        };
        self.rx_pools.push(rx.share());
        Ok(WorkerPools { rx, tx: tx.with_reserve(tx_reserve) })
    }

    /// Opens an interface with a queue per worker.
    pub(crate) fn open(&mut self, interface: &Interface) -> Result<Opened, OpenError> {
        match (&interface.device, &mut self.dpdk) {
            (DeviceSpec::Tap { name }, _) => self.open_tap(name, interface),
            (DeviceSpec::Vlan { .. }, _) => unreachable!("a VLAN is opened with its parent"),
            (_, Some(dpdk)) => Ok(dpdk.open(interface)?),
            (_, None) => unreachable!("DPDK was started because this interface needs it"),
        }
    }

    fn open_tap(&self, name: &str, interface: &Interface) -> Result<Opened, OpenError> {
        let wrap = |error| OpenError::Tap { interface: interface.name.clone(), error };
        let tap = TapInterface::open(name, self.rx_pools.len()).map_err(wrap)?;
        if interface.impairment.is_some() {
            // A merged packet would be lost as a whole, and an open checksum hides a wrong bit.
            tap.without_offloads().map_err(wrap)?;
        }
        let host: Vec<_> =
            interface.host_addresses.iter().map(|cidr| (cidr.address, cidr.prefix_len)).collect();
        tap.configure(interface.mtu, &host).map_err(wrap)?;
        let pools = self.rx_pools.iter().map(Pool::share).collect();
        let queues = tap.into_queues(pools).map_err(wrap)?;
        let mac = queues.first().map_or([0; 6], Device::mac);
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Device>).collect();
        Ok(Opened { mac, queues, twin: Vec::new(), _keep: None })
    }

    /// Opens the kernel's twin of an interface, with a queue per worker: a TAP with the link-layer
    /// address of the port and its addresses.
    pub(crate) fn open_twin(
        &self,
        interface: &Interface,
        mac: MacBytes,
    ) -> Result<Vec<Box<dyn Device>>, OpenError> {
        let wrap = |error| OpenError::Twin { interface: interface.name.clone(), error };
        let tap = TapInterface::open(&interface.twin_name(), self.rx_pools.len()).map_err(wrap)?;
        // What the kernel sends goes to a port that may not be able to finish it.
        tap.without_offloads().map_err(wrap)?;
        tap.set_mac(mac).map_err(wrap)?;
        let addresses: Vec<_> =
            interface.addresses.iter().map(|cidr| (cidr.address, cidr.prefix_len)).collect();
        tap.configure(interface.mtu, &addresses).map_err(wrap)?;
        let pools = self.rx_pools.iter().map(Pool::share).collect();
        let queues = tap.into_queues(pools).map_err(wrap)?;
        Ok(queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Device>).collect())
    }

    /// What a worker thread does before its first packet.
    pub(crate) fn thread_setup(&self) -> ThreadSetup {
        ThreadSetup { dpdk: self.dpdk.as_ref().map(Dpdk::share) }
    }
}

/// Makes a worker thread known where it must be known.
pub(crate) struct ThreadSetup {
    dpdk: Option<Arc<dpdk::Shared>>,
}

impl ThreadSetup {
    /// The same, for another thread.
    pub(crate) fn share(&self) -> Self {
        Self { dpdk: self.dpdk.clone() }
    }

    /// Registers the calling thread; the guard takes it back.
    pub(crate) fn enter(&self) -> Result<Option<dpdk::Registration>, DpdkError> {
        self.dpdk.as_ref().map(dpdk::register).transpose()
    }
}
