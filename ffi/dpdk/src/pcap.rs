//! How many packets a capture file holds: net_pcap reports no end, it just falls silent.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Why a capture file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// It cannot be read.
    #[error("capture file {path} cannot be read: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is something else.
    #[error("{path} is not a capture file: it starts with no pcap magic number", path = path.display())]
    NotPcap {
        /// The file.
        path: PathBuf,
    },
    /// It is a pcapng file.
    #[error(
        "{path} is a pcapng file, Sluice plays classic pcap: `editcap -F pcap IN OUT` converts it",
        path = path.display()
    )]
    PcapNg {
        /// The file.
        path: PathBuf,
    },
    /// Its packets are not Ethernet frames.
    #[error("{path} holds packets of link type {link_type}, not Ethernet (1)", path = path.display())]
    LinkType {
        /// The file.
        path: PathBuf,
        /// LINKTYPE_ value of the file header.
        link_type: u32,
    },
    /// The file for output cannot be created.
    #[error("capture file {path} cannot be written: {error}", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
/// libpcap's own limit for a record (MAXIMUM_SNAPLEN); beyond it the file is corrupt.
const RECORD_BYTES_MAX: u32 = 262_144;

/// Counts the complete packets of a classic pcap file of either byte order and resolution.
///
/// A record that is cut short, or longer than libpcap accepts, ends the count, as it ends reading.
pub(crate) fn count_packets(path: &Path) -> Result<u64, PcapError> {
    let unreadable = |error| PcapError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut header = [0; FILE_HEADER_BYTES];
    if !read_whole(&mut reader, &mut header).map_err(unreadable)? {
        return Err(PcapError::NotPcap { path: path.to_owned() });
    }
    let read_u32 = match word(&header, 0, u32::from_le_bytes) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => u32::from_le_bytes,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => u32::from_be_bytes,
        0x0a0d_0d0a => return Err(PcapError::PcapNg { path: path.to_owned() }),
        _ => return Err(PcapError::NotPcap { path: path.to_owned() }),
    };
    // The upper bits of the word say whether frames end in a checksum.
    let link_type = word(&header, 20, read_u32) & 0x0fff_ffff;
    if link_type != 1 {
        return Err(PcapError::LinkType { path: path.to_owned(), link_type });
    }
    let (mut count, mut at) = (0, FILE_HEADER_BYTES as u64);
    let mut record = [0; RECORD_HEADER_BYTES];
    while read_whole(&mut reader, &mut record).map_err(unreadable)? {
        let bytes = word(&record, 8, read_u32);
        at += (RECORD_HEADER_BYTES as u64) + u64::from(bytes);
        if bytes > RECORD_BYTES_MAX || at > file_bytes {
            break;
        }
        reader.seek_relative(i64::from(bytes)).map_err(unreadable)?;
        count += 1;
    }
    Ok(count)
}

/// Creates, or empties, the file that net_pcap will write, so that failure has a name.
pub(crate) fn check_output(path: &Path) -> Result<(), PcapError> {
    let opened = File::create(path);
    opened.map(drop).map_err(|error| PcapError::Unwritable { path: path.to_owned(), error })
}

fn word(bytes: &[u8], at: usize, read: fn([u8; 4]) -> u32) -> u32 {
    read([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Fills `buffer`; false when the file ends before.
fn read_whole(reader: &mut (impl Read + Seek), buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            reader.seek(SeekFrom::End(0)).map(|_| false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> PathBuf {
        let name = format!("sluice-pcap-{name}-{}.pcap", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        path
    }

    fn capture(write: fn(u32) -> [u8; 4], magic: u32, link_type: u32, sizes: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [magic, 0, 0, 0, 65_535, link_type] {
            bytes.extend(write(value));
        }
        for &size in sizes {
            for value in [0, 0, size, size] {
                bytes.extend(write(value));
            }
            bytes.extend(vec![0; size as usize]);
        }
        bytes
    }

    fn counted(name: &str, bytes: &[u8]) -> Result<u64, PcapError> {
        let path = file(name, bytes);
        let result = count_packets(&path);
        std::fs::remove_file(path).expect("it was just made");
        result
    }

    #[test]
    fn counts_in_both_byte_orders_and_resolutions() {
        for (index, magic) in [0xa1b2_c3d4, 0xa1b2_3c4d].into_iter().enumerate() {
            let little = capture(u32::to_le_bytes, magic, 1, &[60, 0, 1500]);
            assert_eq!(counted(&format!("le{index}"), &little).expect("a capture"), 3);
            let big = capture(u32::to_be_bytes, magic, 1, &[60, 1500]);
            assert_eq!(counted(&format!("be{index}"), &big).expect("a capture"), 2);
        }
    }

    #[test]
    fn a_cut_record_does_not_count() {
        let whole = capture(u32::to_le_bytes, 0xa1b2_c3d4, 1, &[60, 60]);
        assert_eq!(counted("whole", &whole).expect("a capture"), 2);
        assert_eq!(counted("cut", &whole[..whole.len() - 1]).expect("a capture"), 1);
        assert_eq!(counted("header", &whole[..FILE_HEADER_BYTES + 5]).expect("a capture"), 0);
        let mut lying = capture(u32::to_le_bytes, 0xa1b2_c3d4, 1, &[60]);
        lying.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(counted("lying", &lying).expect("a capture"), 1);
    }

    #[test]
    fn refuses_what_it_cannot_play() {
        let sentence = |result: Result<u64, PcapError>| result.expect_err("refused").to_string();
        let raw_ip = capture(u32::to_le_bytes, 0xa1b2_c3d4, 101, &[]);
        assert!(sentence(counted("raw", &raw_ip)).contains("link type 101, not Ethernet"));
        let mut next_generation = vec![0x0a, 0x0d, 0x0d, 0x0a];
        next_generation.resize(64, 0);
        assert!(sentence(counted("ng", &next_generation)).contains("editcap"));
        assert!(sentence(counted("text", &[b'x'; 64])).contains("not a capture file"));
        assert!(sentence(counted("short", b"x")).contains("not a capture file"));
        let absent = count_packets(Path::new("/nonexistent/in.pcap"));
        assert!(sentence(absent).contains("/nonexistent/in.pcap cannot be read"));
    }
}
