//! One receive and one transmit queue: the `Device` that a worker holds.
//!
//! Envelope: a burst of 32 over net_ring costs 2.3 cycles per packet rx + tx in DPDK itself; the
//! checks here read the two header lines that the driver reads anyway. Bursts go straight through
//! `rte_eth_fp_ops`, as DPDK's own inline functions do.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use sluice_buf::{
    BURST, Batch, Capabilities, Device, DeviceStatistics, Header, MacBytes, Packet, flags,
};
use sluice_dpdk_sys as sys;

use crate::admit::{Admission, TxDrops};
use crate::port::PortInner;
use crate::room::Room;

/// Bytes that the first segment of a received packet holds at least, if the packet has as many.
const RX_HEAD_BYTES: usize = 192;

/// What must be set for a driver's `tx_prepare` to have anything to do.
const TX_OFFLOADS: u64 = flags::TX_TCP_SEG | flags::TX_L4_MASK | flags::TX_IP_CKSUM;

/// A queue pair of a port, for one worker.
#[derive(Debug)]
pub struct QueuePair {
    rx: RxQueue,
    tx: TxQueue,
    port: Arc<PortInner>,
    queue: u16,
}

/// The receiving half.
#[derive(Debug)]
pub struct RxQueue {
    port: Arc<PortInner>,
    queue: u16,
    packets: u64,
    bytes: u64,
    errors: u64,
    /// The answer to `exhausted` once it is yes.
    is_exhausted: Cell<bool>,
}

/// The transmitting half.
#[derive(Debug)]
pub struct TxQueue {
    port: Arc<PortInner>,
    queue: u16,
    room: Room,
    admission: Admission,
    packets: u64,
    bytes: u64,
    drops: TxDrops,
}

type Burst = [*mut Header; BURST];

impl QueuePair {
    pub(crate) fn new(port: &Arc<PortInner>, queue: u16) -> Self {
        let rx = RxQueue {
            port: Arc::clone(port),
            queue,
            packets: 0,
            bytes: 0,
            errors: 0,
            is_exhausted: Cell::new(false),
        };
        let tx = TxQueue {
            port: Arc::clone(port),
            queue,
            room: Room::new(port, queue),
            admission: Admission::new(port, queue),
            packets: 0,
            bytes: 0,
            drops: TxDrops::default(),
        };
        Self { rx, tx, port: Arc::clone(port), queue }
    }

    /// Its number within the port.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.queue
    }

    /// Packets that were dropped instead of sent, by reason.
    #[must_use]
    pub fn tx_drops(&self) -> TxDrops {
        self.tx.drops
    }
}

impl RxQueue {
    fn burst(&mut self, into: &mut Batch) -> usize {
        let wanted = into.room().min(BURST);
        let mut burst: Burst = [ptr::null_mut(); BURST];
        let count = self.call(&mut burst, wanted as u16);
        let mut taken = 0;
        for head in burst.iter().take(count).copied().filter_map(NonNull::new) {
            // SAFETY: the driver gave us a packet from our pools; received buffers have one
            // reference (what hands buffers over checks that on transmission).
            let mut packet = unsafe { Packet::from_raw(head) };
            if packet.segment_count() > 1 && !gather_head(&mut packet) {
                self.errors += 1;
                continue;
            }
            self.packets += 1;
            self.bytes += packet.len() as u64;
            into.push(packet);
            taken += 1;
        }
        taken
    }

    #[inline]
    fn call(&self, burst: &mut Burst, wanted: u16) -> usize {
        let ops = fp_ops(&self.port);
        // SAFETY: the port is started, so its row is filled in.
        let Some(receive) = (unsafe { (*ops).rx_pkt_burst }) else { return 0 };
        // SAFETY: as above.
        let queues = unsafe { (*ops).rxq.data };
        let queue = queue_data(queues, self.queue);
        // SAFETY: this pair alone uses the queue; there is room for `wanted` pointers.
        usize::from(unsafe { receive(queue, burst.as_mut_ptr().cast(), wanted) })
    }
}

impl TxQueue {
    fn burst(&mut self, packets: &mut Batch) -> usize {
        let mut total = 0;
        while !packets.is_empty() {
            let mut burst: Burst = [ptr::null_mut(); BURST];
            let mut lens = [0_u32; BURST];
            let (mut count, mut offloads) = (0, 0);
            while count < BURST {
                let Some(packet) = packets.pop() else { break };
                match self.admission.admit(packet) {
                    Ok(packet) => {
                        lens[count] = packet.len() as u32;
                        let head = packet.into_raw().as_ptr();
                        // SAFETY: a live header that is ours.
                        offloads |= unsafe { (*head).ol_flags };
                        burst[count] = head;
                        count += 1;
                    }
                    Err(reason) => self.drops.count(reason),
                }
            }
            if offloads & TX_OFFLOADS != 0 {
                count = self.prepare(&mut burst, &mut lens, count);
            }
            let sent = self.call(&mut burst, count);
            self.packets += sent as u64;
            self.bytes += lens[..sent].iter().map(|&len| u64::from(len)).sum::<u64>();
            self.room.learn(count, sent);
            for head in burst[sent..count].iter().rev().copied().filter_map(NonNull::new) {
                // SAFETY: the driver did not take it, so it is still ours alone.
                packets.unpop(unsafe { Packet::from_raw(head) });
            }
            total += sent;
            if sent < count {
                break;
            }
        }
        total
    }

    #[inline]
    fn call(&self, burst: &mut Burst, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        let ops = fp_ops(&self.port);
        // SAFETY: the port is started, so its row is filled in.
        let Some(transmit) = (unsafe { (*ops).tx_pkt_burst }) else { return 0 };
        // SAFETY: as above.
        let queues = unsafe { (*ops).txq.data };
        let queue = queue_data(queues, self.queue);
        // SAFETY: this pair alone uses the queue; the driver takes over the packets it counts.
        usize::from(unsafe { transmit(queue, burst.as_mut_ptr().cast(), count as u16) })
    }

    /// Lets the driver bring headers into the form its hardware wants; drops what it refuses.
    /// Returns how many are left.
    fn prepare(&mut self, burst: &mut Burst, lens: &mut [u32; BURST], count: usize) -> usize {
        let ops = fp_ops(&self.port);
        // SAFETY: the port is started, so its row is filled in.
        let Some(prepare) = (unsafe { (*ops).tx_pkt_prepare }) else { return count };
        // SAFETY: as above.
        let queues = unsafe { (*ops).txq.data };
        let queue = queue_data(queues, self.queue);
        let (mut count, mut done) = (count, 0);
        while done < count {
            let rest: *mut *mut sys::rte_mbuf = burst[done..count].as_mut_ptr().cast();
            // SAFETY: `rest` are packets of ours; the driver changes headers that we own alone.
            done += usize::from(unsafe { prepare(queue, rest, (count - done) as u16) });
            if done < count {
                if let Some(refused) = NonNull::new(burst[done]) {
                    // SAFETY: the packet is still ours alone.
                    drop(unsafe { Packet::from_raw(refused) });
                }
                burst.copy_within(done + 1..count, done);
                lens.copy_within(done + 1..count, done);
                count -= 1;
                self.drops.offload += 1;
            }
        }
        count
    }
}

/// The port's row in DPDK's table of burst functions.
#[inline]
fn fp_ops(port: &PortInner) -> *const sys::rte_eth_fp_ops {
    let table: *const sys::rte_eth_fp_ops = (&raw const sys::rte_eth_fp_ops).cast();
    // SAFETY: port numbers are below RTE_MAX_ETHPORTS, the length of the table.
    unsafe { table.add(usize::from(port.number)) }
}

/// The driver's own data of one queue, from its table.
#[inline]
pub(crate) fn queue_data(table: *mut *mut c_void, queue: u16) -> *mut c_void {
    // SAFETY: the queue is configured, so the table has an entry for it.
    let entry = unsafe { table.add(usize::from(queue)) };
    // SAFETY: as above.
    unsafe { *entry }
}

/// Makes the first segment hold what a parser may ask of it; false if that cannot be had.
#[cold]
fn gather_head(packet: &mut Packet) -> bool {
    packet.head().len() >= RX_HEAD_BYTES.min(packet.len()) || packet.linearise()
}

impl Device for QueuePair {
    #[inline]
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        self.rx.burst(into)
    }

    #[inline]
    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        self.tx.burst(packets)
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        self.tx.room.now(fp_ops(&self.port), self.queue)
    }

    fn capabilities(&self) -> Capabilities {
        self.port.capabilities
    }

    fn mac(&self) -> MacBytes {
        self.port.mac
    }

    fn wake_fd(&self) -> Option<i32> {
        if !self.port.quirks.wakes {
            return None;
        }
        // SAFETY: the port is started and the queue configured.
        let fd = unsafe { sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port.number, self.queue) };
        (fd >= 0).then_some(fd)
    }

    fn link_up(&self) -> bool {
        self.port.link_up()
    }

    fn exhausted(&self) -> bool {
        let was = self.rx.is_exhausted.get();
        let is = was || self.port.is_exhausted_after(self.rx.packets + self.rx.errors);
        self.rx.is_exhausted.set(is);
        is
    }

    /// This pair's packets; what the driver lost is not known by queue, so the first pair tells it.
    fn statistics(&self) -> DeviceStatistics {
        let port = if self.queue == 0 { self.port.statistics() } else { Default::default() };
        DeviceStatistics {
            rx_packets: self.rx.packets,
            rx_bytes: self.rx.bytes,
            rx_missed: port.imissed + port.rx_nombuf,
            rx_errors: port.ierrors + self.rx.errors,
            tx_packets: self.tx.packets,
            tx_bytes: self.tx.bytes,
            tx_errors: port.oerrors + self.tx.drops.total(),
        }
    }
}
