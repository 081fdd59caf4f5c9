//! From a device's name to its queue.

use sluice_buf::{Device, Pool};
use sluice_config_model::DeviceSpec;
use sluice_tap::{TapError, TapInterface};

use crate::ends::End;

#[cfg(any(feature = "dpdk", feature = "dpdk-shared"))]
mod dpdk;
#[cfg(not(any(feature = "dpdk", feature = "dpdk-shared")))]
#[path = "devices/without_dpdk.rs"]
mod dpdk;

pub(crate) use dpdk::{Dpdk, DpdkError};

/// Largest IP packet.
const MTU: u16 = 1_500;

/// Why a device could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A TAP.
    #[error("{0}")]
    Tap(#[from] TapError),
    /// A device of DPDK's, or DPDK itself.
    #[error("{0}")]
    Dpdk(#[from] DpdkError),
}

/// Where packet memory and devices come from: DPDK if any end needs it.
pub(crate) struct Machine {
    dpdk: Option<Dpdk>,
}

impl Machine {
    /// For `ends`, with `buffers` of each.
    pub(crate) fn start(ends: &[&End], buffers: u32) -> Result<Self, OpenError> {
        let needs_dpdk = ends.iter().any(|end| end.device.needs_dpdk());
        let dpdk = needs_dpdk.then(|| Dpdk::start(ends, buffers)).transpose()?;
        Ok(Self { dpdk })
    }

    /// The memory and the queue of an end; call it once for each.
    pub(crate) fn open(
        &mut self,
        end: &End,
        buffers: u32,
    ) -> Result<(Pool, Box<dyn Device>), OpenError> {
        match (&end.device, &mut self.dpdk) {
            (DeviceSpec::Tap { name }, dpdk) => {
                let pool = match dpdk {
                    Some(dpdk) => dpdk.pool(buffers)?,
                    None => Pool::heap(buffers),
                };
                let tap = TapInterface::open(name, 1)?;
                tap.configure(MTU, &[])?;
                let mut queues = tap.into_queues(vec![pool.share()])?;
                let queue = queues.pop().ok_or(TapError::Name { name: name.clone() })?;
                Ok((pool, Box::new(queue)))
            }
            (_, Some(dpdk)) => Ok(dpdk.open(end, buffers)?),
            (_, None) => unreachable!("DPDK was started because this end needs it"),
        }
    }
}
