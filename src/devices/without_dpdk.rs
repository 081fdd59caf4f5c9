//! A Sluice that was built without DPDK says so.

use std::convert::Infallible;
use std::sync::Arc;

use sluice_buf::Pool;
use sluice_config_model::{Config, Interface};

use super::Opened;
use crate::memory::BufferPlan;

/// The device needs DPDK, and this binary has none.
#[derive(Debug, thiserror::Error)]
#[error(
    "interface `{interface}`: `{device}` needs DPDK, and this sluice was built without it; build \
     with `--features dpdk` (see docs/hacking.md), or use `device = \"tap:NAME\"`"
)]
pub(crate) struct DpdkError {
    interface: String,
    device: String,
}

/// DPDK, which there is none of.
pub(crate) struct Dpdk(Infallible);

/// What worker threads share of it.
pub(crate) type Shared = Infallible;

/// A thread that DPDK knows.
pub(crate) type Registration = Infallible;

impl Dpdk {
    pub(crate) fn start(config: &Config, _plan: BufferPlan) -> Result<Self, DpdkError> {
        let wants = config.interfaces.iter().find(|interface| interface.device.needs_dpdk());
        Err(wants.map_or_else(
            || DpdkError { interface: String::new(), device: String::new() },
            |interface| DpdkError {
                interface: interface.name.clone(),
                device: interface.device.to_string(),
            },
        ))
    }

    pub(crate) fn memory(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn memory_is_fallback(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn pool(&mut self, _buffers: u32) -> Result<Pool, DpdkError> {
        match self.0 {}
    }

    pub(crate) fn open(&mut self, _interface: &Interface) -> Result<Opened, DpdkError> {
        match self.0 {}
    }

    pub(crate) fn share(&self) -> Arc<Shared> {
        match self.0 {}
    }
}

pub(crate) fn register(shared: &Arc<Shared>) -> Result<Registration, DpdkError> {
    match **shared {}
}
