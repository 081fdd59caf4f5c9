//! One queue of a TAP.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use sluice_buf::{
    Batch, Capabilities, DATA_ROOM, Device, DeviceStatistics, HEADROOM, MacBytes, Packet, Pool,
};

use crate::virtio::{self, HEADER_LEN};

/// The largest frame a TAP hands over: 64 KiB of IP and a link header.
const FRAME_MAX: usize = 65_535 + 18;
/// Bytes of a frame that one buffer takes.
const PIECE: usize = DATA_ROOM - HEADROOM;
/// Buffers that wait for the next frame.
const SPARES: usize = FRAME_MAX.div_ceil(PIECE);
/// Pieces of a frame to send; more than 64 KiB in slices too large to be copied together.
const PIECES_MAX: usize = 512;
/// A TAP takes frames until the kernel's queue discipline drops them; it has no ring to be full.
const TX_ROOM: usize = 256;

/// A queue of a TAP as a device. Reads and writes never block.
pub struct TapQueue {
    file: File,
    mac: MacBytes,
    pool: Pool,
    /// Empty buffers for the next frame; `rx_pieces[i + 1]` is the room of `spares[i]`.
    spares: Vec<Option<Packet>>,
    rx_pieces: Vec<libc::iovec>,
    /// How many of the spares the last frame took.
    used: usize,
    tx_pieces: Vec<libc::iovec>,
    statistics: DeviceStatistics,
    link_up: bool,
}

// SAFETY: the receive pieces point into the spare buffers, which are nobody else's and move along;
// the transmit pieces are only used within one call.
unsafe impl Send for TapQueue {}

impl TapQueue {
    pub(crate) fn new(file: File, pool: Pool, mac: MacBytes) -> Self {
        Self {
            file,
            mac,
            pool,
            spares: (0..SPARES).map(|_| None).collect(),
            rx_pieces: vec![piece(std::ptr::null_mut(), 0); SPARES + 1],
            used: SPARES,
            tx_pieces: Vec::with_capacity(PIECES_MAX + 1),
            statistics: DeviceStatistics::default(),
            link_up: true,
        }
    }

    /// Fills up the spare buffers; the answer is how many there are without a gap.
    fn refill(&mut self) -> usize {
        for (index, spare) in self.spares.iter_mut().enumerate() {
            if spare.is_none() {
                let Ok(mut buffer) = self.pool.alloc() else { return index };
                let room = buffer.tail_mut();
                self.rx_pieces[index + 1] = piece(room.as_mut_ptr(), PIECE.min(room.len()));
                *spare = Some(buffer);
            } else if index >= self.used {
                // Behind the buffers that the last frame took, none is missing.
                return SPARES;
            }
        }
        SPARES
    }

    /// Reads one frame; none if there is none now, or no buffer for it.
    fn read(&mut self) -> Option<Packet> {
        let spares = self.refill();
        self.used = spares;
        if spares == 0 {
            return None;
        }
        let mut header = [0u8; HEADER_LEN];
        self.rx_pieces[0] = piece(header.as_mut_ptr(), HEADER_LEN);
        let count = spares as libc::c_int + 1;
        // SAFETY: every piece is the tailroom of a buffer that we own, or `header`.
        let read = unsafe { libc::readv(self.file.as_raw_fd(), self.rx_pieces.as_ptr(), count) };
        let Ok(read) = usize::try_from(read) else {
            self.note_read_error(&io::Error::last_os_error());
            self.used = 0;
            return None;
        };
        let len = read.saturating_sub(HEADER_LEN);
        let mut packet = self.take_frame(len)?;
        // The kernel cuts a frame that is longer than the buffers it was given.
        if spares < SPARES && len == spares * PIECE {
            self.statistics.rx_errors += 1;
            return None;
        }
        virtio::read(&header, &mut packet);
        Some(packet)
    }

    /// Makes a packet of the first `len` bytes in the spare buffers.
    fn take_frame(&mut self, len: usize) -> Option<Packet> {
        let mut frame: Option<Packet> = None;
        let mut left = len;
        self.used = len.div_ceil(PIECE);
        for spare in &mut self.spares[..self.used] {
            let mut buffer = spare.take()?;
            let here = left.min(PIECE);
            left -= here;
            buffer.append(here)?;
            match &mut frame {
                Some(frame) => frame.append_packet(buffer),
                None => frame = Some(buffer),
            }
        }
        frame
    }

    #[cold]
    fn note_read_error(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => {}
            // The interface is down (EIO) or gone (EBADFD).
            _ => self.link_up = false,
        }
    }

    fn write(&mut self, packet: &Packet) -> io::Result<usize> {
        let mut header = virtio::write(packet);
        self.tx_pieces.clear();
        self.tx_pieces.push(piece(header.as_mut_ptr(), HEADER_LEN));
        for bytes in packet.segments() {
            if self.tx_pieces.len() > PIECES_MAX {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            self.tx_pieces.push(piece(bytes.as_ptr().cast_mut(), bytes.len()));
        }
        let count = self.tx_pieces.len() as libc::c_int;
        // SAFETY: every piece is readable memory of the packet or of `header`; writev only reads.
        let written =
            unsafe { libc::writev(self.file.as_raw_fd(), self.tx_pieces.as_ptr(), count) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }
}

impl Device for TapQueue {
    fn rx_burst(&mut self, into: &mut Batch) -> usize {
        let before = into.len();
        while !into.is_full() {
            let Some(packet) = self.read() else { break };
            self.link_up = true;
            self.statistics.rx_packets += 1;
            self.statistics.rx_bytes += packet.len() as u64;
            into.push(packet);
        }
        into.len() - before
    }

    fn tx_burst(&mut self, packets: &mut Batch) -> usize {
        let mut sent = 0;
        while let Some(packet) = packets.pop() {
            match self.write(&packet) {
                Ok(_) => {
                    self.statistics.tx_packets += 1;
                    self.statistics.tx_bytes += packet.len() as u64;
                    sent += 1;
                }
                Err(error) if would_block(&error) => {
                    packets.unpop(packet);
                    break;
                }
                Err(_) => self.statistics.tx_errors += 1,
            }
        }
        sent
    }

    fn tx_room(&mut self) -> usize {
        TX_ROOM
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tx_ipv4_checksum: false,
            tx_l4_checksum: true,
            tx_segmentation_max: 65_535,
            rx_checksum: true,
            multi_segment: true,
        }
    }

    fn mac(&self) -> MacBytes {
        self.mac
    }

    fn wake_fd(&self) -> Option<i32> {
        Some(self.file.as_raw_fd())
    }

    fn link_up(&self) -> bool {
        self.link_up
    }

    fn statistics(&self) -> DeviceStatistics {
        self.statistics
    }
}

fn piece(start: *mut u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: start.cast(), iov_len: len }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR))
}
