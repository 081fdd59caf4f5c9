//! What a host's port saw, kept for the case that the run fails.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError};
use sluice_base::Instant;

/// Frames kept per port: the end of the story is what explains it.
const FRAMES_MAX: usize = 20_000;

/// The last frames of one port.
#[derive(Debug)]
pub struct Capture {
    name: String,
    frames: VecDeque<(Instant, Vec<u8>)>,
}

impl Capture {
    /// An empty capture of the port called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), frames: VecDeque::new() }
    }

    /// Keeps a frame.
    pub fn note(&mut self, now: Instant, frame: &[u8]) {
        if self.frames.len() == FRAMES_MAX {
            self.frames.pop_front();
        }
        self.frames.push_back((now, frame.to_vec()));
    }

    /// Writes the frames to `folder/NAME.pcap`.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, PcapError> {
        let path = folder.join(format!("{}.pcap", self.name));
        let header =
            PcapHeader { datalink: DataLink::ETHERNET, snaplen: 65_535, ..PcapHeader::default() };
        let mut writer =
            PcapWriter::with_header(File::create(&path).map_err(PcapError::IoError)?, header)?;
        for (at, frame) in &self.frames {
            let time = Duration::from_nanos(at.as_nanos());
            writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame))?;
        }
        Ok(path)
    }
}
