//! Capture files in the classic format, microseconds, Ethernet.

use std::path::Path;

use super::frames::Frame;

const MAGIC: u32 = 0xa1b2_c3d4;
const LINK_TYPE_ETHERNET: u32 = 1;

/// Writes frames, one a millisecond.
#[track_caller]
pub(crate) fn write_pcap(path: &Path, frames: &[Frame]) {
    let mut bytes = Vec::new();
    let mut word = |value: u32| bytes.extend_from_slice(&value.to_le_bytes());
    // Version 2.4 in one word; no time zone, no accuracy; longest frame.
    for value in [MAGIC, 0x0004_0002, 0, 0, 65_535, LINK_TYPE_ETHERNET] {
        word(value);
    }
    for (index, frame) in (0u32..).zip(frames) {
        let length = u32::try_from(frame.0.len()).expect("a frame is short");
        for value in [index / 1_000, index % 1_000 * 1_000, length, length] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&frame.0);
    }
    std::fs::write(path, bytes).expect("the folder is ours");
}

/// Every frame of a file.
#[track_caller]
pub(crate) fn read_pcap(path: &Path) -> Vec<Frame> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let word = |at: usize| {
        let word = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(word)
    };
    // DPDK stamps nanoseconds, which is another magic number.
    assert!([MAGIC, 0xa1b2_3c4d].contains(&word(0)), "magic number {:#x}", word(0));
    assert_eq!(word(20), LINK_TYPE_ETHERNET);
    let mut frames = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let length = word(at + 8) as usize;
        assert_eq!(word(at + 8), word(at + 12), "a frame that was cut");
        frames.push(Frame(bytes[at + 16..at + 16 + length].to_vec()));
        at += 16 + length;
    }
    frames
}
