//! A generator that was built without DPDK says so.

use std::convert::Infallible;

use sluice_buf::{Device, Pool};

use crate::ends::End;

/// The device needs DPDK, and this binary has none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` needs DPDK: build with `--features dpdk`, or use `tap:NAME`")]
pub(crate) struct DpdkError(String);

/// DPDK, which there is none of.
pub(crate) struct Dpdk(Infallible);

impl Dpdk {
    pub(crate) fn start(ends: &[&End], _buffers: u32) -> Result<Self, DpdkError> {
        let wants = ends.iter().find(|end| end.device.needs_dpdk());
        Err(DpdkError(wants.map(|end| end.device.to_string()).unwrap_or_default()))
    }

    pub(crate) fn pool(&mut self, _buffers: u32) -> Result<Pool, DpdkError> {
        match self.0 {}
    }

    pub(crate) fn open(
        &mut self,
        _end: &End,
        _buffers: u32,
    ) -> Result<(Pool, Box<dyn Device>), DpdkError> {
        match self.0 {}
    }
}
