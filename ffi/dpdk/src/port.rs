//! A port: one device under DPDK, its life and its control side.

use std::ffi::{CStr, CString, c_int};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_buf::{Capabilities, MacBytes, Pool};
use sluice_dpdk_sys as sys;

use crate::eal::{Eal, error_text};
use crate::log;
use crate::plan::{FRAME_OVERHEAD, Plan, Quirks, RECEIVE_BYTES};
use crate::pool::MbufPool;
use crate::port_error::PortError;
use crate::probe::{self, Found};
use crate::queue::QueuePair;
use crate::ring_link::Rings;
use crate::spec::DeviceSpec;

/// How a port is to be set up.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// Queue pairs wanted, one per worker; the device may have fewer.
    pub queues: u16,
    /// Descriptors per queue, rounded to what the device takes.
    pub descriptors: u16,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Whether to receive what is addressed to others.
    pub promiscuous: bool,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self { queues: 1, descriptors: 512, mtu: 1500, promiscuous: false }
    }
}

/// An open port, for the thread that opened it; workers hold its [`QueuePair`]s.
///
/// It is stopped and closed when this and the last queue pair are gone, its pools after it.
#[derive(Debug)]
pub struct Port {
    inner: Arc<PortInner>,
    queues: Vec<QueuePair>,
}

/// Invariant: `number` is a configured port of a running EAL, and nobody else closes it.
#[derive(Debug)]
pub(crate) struct PortInner {
    pub(crate) number: u16,
    pub(crate) device: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) quirks: Quirks,
    pub(crate) segments_max: u16,
    pub(crate) frame_bytes_max: u32,
    pub(crate) mac: MacBytes,
    queue_count: u16,
    /// Packets in the input file, if there is one that ends.
    pub(crate) input_packets: Option<u64>,
    /// The name to unplug it by.
    vdev: Option<CString>,
    is_started: bool,
    // What the driver may still refer to until the port is closed, in this order of going away.
    rings: Option<Arc<Rings>>,
    pools: Vec<MbufPool>,
}

impl Port {
    /// Opens, configures and starts a device, with a receive pool for each queue pair.
    ///
    /// # Errors
    /// [`PortError`]; whatever had been opened is closed again.
    pub fn open(
        eal: &Eal,
        spec: &DeviceSpec,
        options: &PortOptions,
        pools: &[MbufPool],
    ) -> Result<Self, PortError> {
        let found = probe::find(eal, spec, options)?;
        Self::set_up(found, options, pools, None)
    }

    /// Configures and starts what was found.
    pub(crate) fn set_up(
        found: Found,
        options: &PortOptions,
        pools: &[MbufPool],
        rings: Option<Arc<Rings>>,
    ) -> Result<Self, PortError> {
        let Found { number, device, vdev, input_packets } = found;
        let mut inner = PortInner {
            number,
            device,
            capabilities: Capabilities::default(),
            quirks: Quirks::default(),
            segments_max: 1,
            frame_bytes_max: u32::from(options.mtu) + FRAME_OVERHEAD,
            mac: [0; 6],
            queue_count: 0,
            input_packets,
            vdev,
            is_started: false,
            rings,
            pools: pools.to_vec(),
        };
        inner.configure(options)?;
        inner.start(options)?;
        let inner = Arc::new(inner);
        let queues = (0..inner.queue_count).map(|queue| QueuePair::new(&inner, queue)).collect();
        Ok(Self { inner, queues })
    }

    /// The queue pairs, one for each worker that gets one; at least one, at most as many as were
    /// asked for. They can be taken once.
    pub fn take_queues(&mut self) -> Vec<QueuePair> {
        std::mem::take(&mut self.queues)
    }

    /// How many queue pairs were made: as many as were asked for, or as the device has.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        self.inner.queue_count
    }

    /// The device as the configuration spells it.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.inner.device
    }

    /// Its link-layer address.
    #[must_use]
    pub fn mac(&self) -> MacBytes {
        self.inner.mac
    }

    /// What the device does for us.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// Whether the link is up.
    #[must_use]
    pub fn link_up(&self) -> bool {
        self.inner.link_up()
    }

    /// Waits until the link is up; false when `patience` is over. A memif comes up when its peer
    /// does, most others at once.
    #[must_use]
    pub fn wait_for_link(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.link_up() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Whether every packet of the input file has been read.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        let statistics = self.inner.statistics();
        self.inner.is_exhausted_after(statistics.ipackets)
    }

    /// The driver's own totals, all queues together.
    #[must_use]
    pub fn statistics(&self) -> PortStatistics {
        let read = self.inner.statistics();
        PortStatistics {
            rx_packets: read.ipackets,
            rx_bytes: read.ibytes,
            rx_missed: read.imissed,
            rx_errors: read.ierrors,
            rx_no_buffer: read.rx_nombuf,
            tx_packets: read.opackets,
            tx_bytes: read.obytes,
            tx_errors: read.oerrors,
        }
    }
}

/// A driver's totals since start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PortStatistics {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets lost because nobody fetched them in time.
    pub rx_missed: u64,
    /// Packets received in error.
    pub rx_errors: u64,
    /// Packets lost because the pool was empty.
    pub rx_no_buffer: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets not sent.
    pub tx_errors: u64,
}

/// Control.
impl PortInner {
    /// Everything up to the start.
    fn configure(&mut self, options: &PortOptions) -> Result<(), PortError> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: the port exists and `info` is written.
        self.check("reading its properties", unsafe {
            sys::rte_eth_dev_info_get(self.number, &raw mut info)
        })?;
        self.quirks = Quirks::of(&driver_name(&info));
        let plan = Plan::new(&info, self.quirks, options.queues, options.mtu);
        self.check_mtu(options.mtu, &info, &plan)?;
        self.check_pools(options, &plan)?;
        (self.capabilities, self.segments_max) = (plan.capabilities, plan.segments_max);
        let queues = plan.queues;
        self.queue_count = queues;
        // SAFETY: the port exists, is stopped, and `conf` is read during the call.
        self.check("configuration", unsafe {
            sys::rte_eth_dev_configure(self.number, queues, queues, &raw const plan.conf)
        })?;
        let (mut rx, mut tx) = (options.descriptors, options.descriptors);
        // SAFETY: the port exists; both numbers are written.
        self.check("choosing ring sizes", unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.number, &raw mut rx, &raw mut tx)
        })?;
        // SAFETY: the port exists. A negative answer means any node.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.number) } as u32;
        for (queue, pool) in (0..queues).zip(&self.pools) {
            let pool = pool.raw();
            let number = self.number;
            // SAFETY: the queue is configured; `self.pools` keeps the pool until after the close.
            let result = unsafe {
                sys::rte_eth_rx_queue_setup(number, queue, rx, node, std::ptr::null(), pool)
            };
            // net_af_xdp makes its socket here.
            if result < 0 && self.quirks.first_segment_only {
                let (error, cause) = (error_text(result), log::take_cause());
                return Err(PortError::AfXdp { device: self.device.clone(), error, cause });
            }
            self.check("setting up a receive queue", result)?;
            // SAFETY: the queue is configured.
            self.check("setting up a transmit queue", unsafe {
                sys::rte_eth_tx_queue_setup(number, queue, tx, node, std::ptr::null())
            })?;
        }
        Ok(())
    }

    fn check_mtu(
        &self,
        mtu: u16,
        info: &sys::rte_eth_dev_info,
        plan: &Plan,
    ) -> Result<(), PortError> {
        let buffer = if plan.scatters { u32::MAX } else { RECEIVE_BYTES - FRAME_OVERHEAD };
        // Virtual devices that announce no limit announce 0.
        let frame = match info.max_rx_pktlen {
            0 => u32::MAX,
            bytes => bytes.saturating_sub(14),
        };
        let announced = if info.max_mtu == 0 { u32::MAX } else { u32::from(info.max_mtu) };
        let max = announced.min(buffer).min(frame);
        if u32::from(mtu) > max {
            return Err(PortError::Mtu { device: self.device.clone(), mtu, max });
        }
        Ok(())
    }

    fn check_pools(&self, options: &PortOptions, plan: &Plan) -> Result<(), PortError> {
        let pools = self.pools.len();
        if pools < usize::from(plan.queues) {
            return Err(PortError::Pools { queues: plan.queues, pools });
        }
        // A ring never hands all of its buffers back; as many again must be able to be with us.
        let held = self.quirks.held_buffers.max(u32::from(options.descriptors));
        let needed = held + held / 2;
        match self.pools.iter().map(MbufPool::capacity).find(|&buffers| buffers < needed) {
            Some(buffers) => {
                let device = self.device.clone();
                Err(PortError::PoolTooSmall { device, buffers, held, needed })
            }
            None => Ok(()),
        }
    }

    fn start(&mut self, options: &PortOptions) -> Result<(), PortError> {
        self.set_mtu(options.mtu)?;
        // SAFETY: the port is configured and its queues are set up.
        self.check("start", unsafe { sys::rte_eth_dev_start(self.number) })?;
        self.is_started = true;
        if options.promiscuous {
            // SAFETY: the port exists.
            self.check("promiscuous mode", unsafe {
                sys::rte_eth_promiscuous_enable(self.number)
            })?;
        }
        // Multicast is wanted, but virtual devices pass it anyway and do not know the switch.
        // SAFETY: the port exists.
        unsafe { sys::rte_eth_allmulticast_enable(self.number) };
        let mut address = sys::rte_ether_addr::default();
        // SAFETY: the port exists and the address is written.
        self.check("reading its address", unsafe {
            sys::rte_eth_macaddr_get(self.number, &raw mut address)
        })?;
        self.mac = match address.addr_bytes {
            [0, 0, 0, 0, 0, 0] => invented_mac(&self.device, self.number),
            _ if self.quirks.shares_mac => invented_mac(&self.device, self.number),
            bytes => bytes,
        };
        Ok(())
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        let mut now = 0;
        // SAFETY: the port exists and the number is written.
        let read = unsafe { sys::rte_eth_dev_get_mtu(self.number, &raw mut now) };
        // The configuration has told the driver; most apply it at their start.
        if read == 0 && now == mtu && !self.quirks.applies_mtu_late {
            return Ok(());
        }
        // SAFETY: the port exists.
        match unsafe { sys::rte_eth_dev_set_mtu(self.number, mtu) } {
            0 => Ok(()),
            error if error == -libc::ENOTSUP => Ok(()),
            error => self.check("setting the MTU", error),
        }
    }

    fn check(&self, step: &'static str, result: c_int) -> Result<(), PortError> {
        if result >= 0 {
            return Ok(());
        }
        let (device, error, cause) = (self.device.clone(), error_text(result), log::take_cause());
        Err(PortError::Setup { device, step, error, cause })
    }

    pub(crate) fn link_up(&self) -> bool {
        let mut link = sys::rte_eth_link::default();
        // SAFETY: the port exists and `link` is written.
        let read = unsafe { sys::rte_eth_link_get_nowait(self.number, &raw mut link) };
        read == 0 && link.link_status() == sys::RTE_ETH_LINK_UP as u16
    }

    pub(crate) fn statistics(&self) -> sys::rte_eth_stats {
        let mut statistics = sys::rte_eth_stats::default();
        // SAFETY: the port exists; on failure the totals stay zero.
        unsafe { sys::rte_eth_stats_get(self.number, &raw mut statistics) };
        statistics
    }

    /// Whether `received` packets, and those the driver lost, are all that the input file has.
    pub(crate) fn is_exhausted_after(&self, received: u64) -> bool {
        self.input_packets.is_some_and(|total| {
            let lost = self.statistics();
            received + lost.ierrors + lost.rx_nombuf >= total
        })
    }

    /// A handle to the receive pool of queue pair `queue`.
    pub(crate) fn pool_handle(&self, queue: u16) -> Option<Pool> {
        self.pools.get(usize::from(queue)).map(MbufPool::handle)
    }

    /// The ring that transmit queue `queue` writes to, if this is one end of a ring link.
    pub(crate) fn tx_ring(&self, queue: u16) -> Option<*const sys::rte_ring> {
        self.rings.as_ref().and_then(|rings| rings.written_by(&self.device, queue))
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        if self.is_started {
            // SAFETY: the port exists and no queue pair is left to use it.
            unsafe { sys::rte_eth_dev_stop(self.number) };
        }
        // SAFETY: as above; it gives its buffers back to the pools, which are still there.
        unsafe { sys::rte_eth_dev_close(self.number) };
        if let Some(name) = &self.vdev {
            // SAFETY: both are C strings.
            unsafe { sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), name.as_ptr()) };
        }
    }
}

/// The driver's name, without knowing which kind of device it drives.
fn driver_name(info: &sys::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: a driver's name is a C string that lives as long as the driver.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

/// A locally administered address for a device that has none of its own.
fn invented_mac(device: &str, number: u16) -> MacBytes {
    let seed = u64::from(std::process::id()) << 16 | u64::from(number);
    let hash = device.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}
