//! Two ports in one process, tied by rings: a cable without a kernel.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sluice_dpdk_sys as sys;

use crate::eal::{Eal, error_text};
use crate::log;
use crate::pool::MbufPool;
use crate::port::{Port, PortOptions};
use crate::port_error::PortError;
use crate::probe::Found;

/// The rings of a link; freed, with what lies in them, after both ends are closed.
#[derive(Debug)]
pub(crate) struct Rings {
    /// Written by the first end, one per queue.
    there: Vec<NonNull<sys::rte_ring>>,
    /// Written by the second end, one per queue.
    back: Vec<NonNull<sys::rte_ring>>,
    /// The first end's name.
    first: String,
    _pools: Vec<MbufPool>,
}

// SAFETY: rings are made for two threads; which two, the queue pairs' ownership says.
unsafe impl Send for Rings {}
// SAFETY: as for `Send`.
unsafe impl Sync for Rings {}

/// The two ends of a link: what one sends the other receives, on the queue of the same number.
///
/// Buffers change hands without a copy (1 ns a packet), unless others refer to them too. The rings
/// hold `descriptors` packets, rounded up to a power of two, less one.
///
/// # Errors
/// [`PortError`].
pub fn ring_link(
    _eal: &Eal,
    options: &PortOptions,
    pools: (&[MbufPool], &[MbufPool]),
) -> Result<(Port, Port), PortError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let link = COUNT.fetch_add(1, Ordering::Relaxed);
    let names = [format!("sluice-link{link}a"), format!("sluice-link{link}b")];
    let mut rings = Rings {
        there: Vec::new(),
        back: Vec::new(),
        first: format!("ring:{}", names[0]),
        _pools: pools.0.iter().chain(pools.1).cloned().collect(),
    };
    for queue in 0..options.queues {
        rings.there.push(make_ring(&format!("{}{queue}", names[0]), options)?);
        rings.back.push(make_ring(&format!("{}{queue}", names[1]), options)?);
    }
    let rings = Arc::new(rings);
    let mut ends = Vec::with_capacity(2);
    let halves = [(&rings.back, &rings.there), (&rings.there, &rings.back)];
    for ((name, (rx, tx)), pools) in names.iter().zip(halves).zip([pools.0, pools.1]) {
        let found = make_port(name, rx, tx)?;
        ends.push(Port::set_up(found, options, pools, Some(Arc::clone(&rings)))?);
    }
    match (ends.pop(), ends.pop()) {
        (Some(second), Some(first)) => Ok((first, second)),
        _ => Err(failure(&names[0], "making both ends", -libc::EINVAL)),
    }
}

fn make_ring(name: &str, options: &PortOptions) -> Result<NonNull<sys::rte_ring>, PortError> {
    let failed = |errno| failure(name, "making a ring", errno);
    let size = u32::from(options.descriptors.max(2)).next_power_of_two();
    let c_name = CString::new(name).map_err(|_| failed(-libc::EINVAL))?;
    let flags = sys::RING_F_SP_ENQ | sys::RING_F_SC_DEQ;
    // SAFETY: EAL runs; the name is a C string.
    let ring = unsafe { sys::rte_ring_create(c_name.as_ptr(), size, sys::SOCKET_ID_ANY, flags) };
    // SAFETY: reads this thread's variable.
    NonNull::new(ring).ok_or_else(|| failed(-unsafe { sys::sluice_errno() }))
}

fn make_port(
    name: &str,
    rx: &[NonNull<sys::rte_ring>],
    tx: &[NonNull<sys::rte_ring>],
) -> Result<Found, PortError> {
    let failed = |errno| failure(name, "making a port of rings", errno);
    let c_name = CString::new(name).map_err(|_| failed(-libc::EINVAL))?;
    let mut rx: Vec<*mut sys::rte_ring> = rx.iter().map(|ring| ring.as_ptr()).collect();
    let mut tx: Vec<*mut sys::rte_ring> = tx.iter().map(|ring| ring.as_ptr()).collect();
    // SAFETY: EAL runs; the arrays hold that many rings, which outlive the port.
    let number = unsafe {
        sys::rte_eth_from_rings(
            c_name.as_ptr(),
            rx.as_mut_ptr(),
            rx.len() as u32,
            tx.as_mut_ptr(),
            tx.len() as u32,
            0,
        )
    };
    let number = u16::try_from(number).map_err(|_| failed(number))?;
    // The name that net_ring gives the device behind the port.
    let vdev = CString::new(format!("net_ring_{name}")).ok();
    Ok(Found { number, device: format!("ring:{name}"), vdev, input_packets: None })
}

fn failure(name: &str, step: &'static str, errno: i32) -> PortError {
    let (device, cause) = (format!("ring:{name}"), log::take_cause());
    PortError::Setup { device, step, error: error_text(errno), cause }
}

impl Rings {
    /// The ring that queue `queue` of the end called `device` writes to.
    pub(crate) fn written_by(&self, device: &str, queue: u16) -> Option<*const sys::rte_ring> {
        let rings = if device == self.first { &self.there } else { &self.back };
        rings.get(usize::from(queue)).map(|ring| ring.as_ptr().cast_const())
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        for ring in self.there.iter().chain(&self.back) {
            let mut object = std::ptr::null_mut();
            // SAFETY: both ends are closed, so nobody else uses the ring.
            while unsafe { sys::sluice_ring_dequeue(ring.as_ptr(), &raw mut object) } == 0 {
                // SAFETY: rings between ports hold packets, and this one is now ours.
                unsafe { sys::sluice_mbuf_free(object.cast()) };
            }
            // SAFETY: as above.
            unsafe { sys::rte_ring_free(ring.as_ptr()) };
        }
    }
}
