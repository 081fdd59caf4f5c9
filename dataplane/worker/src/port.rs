//! One queue of one interface, with its vectors.

use sluice_base::InterfaceId;
use sluice_buf::{BURST, Batch, Device};

/// A device as a worker uses it.
pub struct Port {
    /// Which interface it is a queue of.
    pub interface: InterfaceId,
    pub(crate) device: Box<dyn Device>,
    pub(crate) received: Batch,
    pub(crate) to_send: Batch,
}

impl Port {
    /// A queue of `interface`.
    #[must_use]
    pub fn new(interface: InterfaceId, device: Box<dyn Device>) -> Self {
        let to_send = Batch::with_capacity(2 * BURST);
        Self { interface, device, received: Batch::burst(), to_send }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Port({})", self.interface)
    }
}
