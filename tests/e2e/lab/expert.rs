//! What an independent reader says about the packets of a test: tshark, and sums over what it prints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::process::Signal;

use super::command::{Spawned, wait_until};
use super::namespace::Lab;

/// A capture of all packets of an interface, from its kernel's side.
pub(crate) struct Capture {
    process: Spawned,
    file: PathBuf,
}

/// The events that tshark finds in the packets of each sender, by its own names.
#[derive(Debug, Default)]
pub(crate) struct Expertise {
    /// Packets looked at.
    pub(crate) packets: u64,
    /// Packets that the capture itself lost.
    pub(crate) missed: u64,
    /// What must not be: packets that cannot be read, wrong checksums.
    pub(crate) faults: Vec<String>,
    /// Segments that went beyond the window that their receiver had announced.
    pub(crate) beyond_window: Vec<String>,
    /// Announcements of a window that take back what an earlier one had promised.
    pub(crate) withdrawn: Vec<String>,
    /// ACKs of what is not in the capture. (tshark's `ack_lost_segment` overlooks what came in a segment
    /// that begins with something known, as a tail loss probe does.)
    pub(crate) acked_unseen: Vec<String>,
    /// Events by name, for what Sluice sent.
    pub(crate) ours: BTreeMap<&'static str, u64>,
    /// Events by name, for what the kernel sent.
    pub(crate) theirs: BTreeMap<&'static str, u64>,
}

/// Each is a field of tshark's `tcp.analysis`.
const EVENTS: [&str; 7] = [
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "lost_segment",
    "zero_window_probe",
    "duplicate_ack",
];
const FIELDS: [&str; 14] = [
    "frame.number",
    "_ws.malformed",
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
    "eth.src",
    "tcp.stream",
    "tcp.seq",
    "tcp.ack",
    "tcp.len",
    "tcp.window_size",
    "tcp.flags",
];

/// Of tshark's `checksum.status`.
const BAD: &str = "0";
const FLAG_FIN: u64 = 0x01;
const FLAG_SYN: u64 = 0x02;
const FLAG_RST: u64 = 0x04;
const FLAG_ACK: u64 = 0x10;
/// The window is told in units of its scale; ours is at most 2^7 by default.
const UNIT_MAX: u64 = 1 << 7;

impl Capture {
    #[track_caller]
    pub(crate) fn start(lab: &Lab, interface: &str) -> Self {
        // Checksums and segments as they would be on a wire.
        lab.run(10, &format!("ethtool -K {interface} tx off tso off gso off gro off"))
            .expect_success();
        let file = lab.path("capture.pcapng");
        let words = format!("dumpcap -q -B 64 -i {interface} -w {}", file.display());
        let process = lab.spawn("dumpcap", &words);
        wait_until(20, "dumpcap to begin", || process.stderr().contains("File:"));
        Self { process, file }
    }

    /// Ends the capture and asks tshark. `ours` is Sluice's link-layer address.
    #[track_caller]
    pub(crate) fn ask(mut self, lab: &Lab, ours: &str) -> Expertise {
        self.process.signal(Signal::INT);
        assert_eq!(self.process.wait(20), 0, "{}", self.process.stderr());
        let mut expertise =
            Expertise { missed: missed(&self.process.stderr()), ..Default::default() };
        let file = self.file.to_str().expect("a path in UTF-8");
        let mut words: Vec<String> = vec!["tshark".into(), "-n".into(), "-r".into(), file.into()];
        for preference in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
            words.extend(["-o".to_owned(), format!("{preference}:TRUE")]);
        }
        // What is above TCP is not asked about: repeated segments confuse its reading, and any port of
        // a client's may be some protocol's, whose grammar our bytes break.
        words.extend(["-o", "tcp.desegment_tcp_streams:FALSE"].map(str::to_owned));
        words.extend(["-d", "tcp.port==1-65535,data"].map(str::to_owned));
        words.extend(["-T", "fields", "-E", "occurrence=f"].map(str::to_owned));
        for field in FIELDS {
            words.extend(["-e".to_owned(), field.to_owned()]);
        }
        for event in EVENTS {
            words.extend(["-e".to_owned(), format!("tcp.analysis.{event}")]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = lab.run_words(240, &words).expect_success().stdout;
        let mut ends = Ends::default();
        for line in output.lines() {
            expertise.read(line, ours, &mut ends);
        }
        expertise
    }
}

/// What is known of the ends of connections, by stream and whether it is ours.
#[derive(Default)]
struct Ends {
    /// Behind what may be sent to it.
    edges: BTreeMap<(u64, bool), u64>,
    /// Behind what it sent.
    sent: BTreeMap<(u64, bool), u64>,
}

impl Expertise {
    /// How often something was seen in what Sluice sent.
    pub(crate) fn of_ours(&self, event: &'static str) -> u64 {
        self.ours.get(event).copied().unwrap_or(0)
    }

    /// How often something was seen in what the kernel sent.
    pub(crate) fn of_theirs(&self, event: &'static str) -> u64 {
        self.theirs.get(event).copied().unwrap_or(0)
    }

    fn read(&mut self, line: &str, ours: &str, ends: &mut Ends) {
        self.packets += 1;
        let words: Vec<&str> = line.split('\t').collect();
        assert_eq!(words.len(), FIELDS.len() + EVENTS.len(), "tshark: {line}");
        let (fields, events) = words.split_at(FIELDS.len());
        let is_ours = fields[7] == ours;
        // The kernel's checksums are its own business.
        if !fields[1].is_empty() || (is_ours && fields[2..7].contains(&BAD)) {
            self.faults.push(line.to_owned());
        }
        let counts = if is_ours { &mut self.ours } else { &mut self.theirs };
        for (event, word) in EVENTS.iter().zip(events) {
            if !word.is_empty() {
                *counts.entry(event).or_default() += 1;
            }
        }
        let number = |at: usize| fields[at].parse::<u64>().ok();
        let Some(stream) = number(8) else { return };
        let (seq, ack, len, window) = (number(9), number(10), number(11), number(12));
        let (Some(seq), Some(ack), Some(len), Some(window)) = (seq, ack, len, window) else {
            return;
        };
        let flags = u64::from_str_radix(fields[13].trim_start_matches("0x"), 16).unwrap_or(0);
        if flags & FLAG_RST != 0 {
            return;
        }
        if let Some(edge) = ends.edges.get(&(stream, !is_ours))
            && seq + len > *edge
            // One byte may ask whether a closed window has opened (RFC 9293, 3.8.6.1).
            && len > 1
        {
            self.beyond_window.push(format!("{line} (edge {edge})"));
        }
        let end = seq + len + u64::from(flags & FLAG_SYN != 0) + u64::from(flags & FLAG_FIN != 0);
        let sent = ends.sent.entry((stream, is_ours)).or_default();
        *sent = end.max(*sent);
        if flags & FLAG_ACK != 0 {
            if ack > ends.sent.get(&(stream, !is_ours)).copied().unwrap_or(0) {
                self.acked_unseen.push(line.to_owned());
            }
            let edge = ack + window;
            let known = ends.edges.entry((stream, is_ours)).or_insert(edge);
            // The window of a SYN is not scaled.
            if is_ours && flags & FLAG_SYN == 0 && edge + UNIT_MAX < *known {
                self.withdrawn.push(format!("{line} (edge {known})"));
            }
            *known = (*known).max(edge);
        }
    }
}

/// `Packets received/dropped on interface 'sl0': 120/0 (...)`.
fn missed(stderr: &str) -> u64 {
    let line = stderr.lines().find(|line| line.contains("received/dropped"));
    let counts = line.and_then(|line| line.split("': ").nth(1));
    let dropped = counts.and_then(|text| text.split('/').nth(1)?.split_whitespace().next());
    dropped.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("dumpcap: {stderr}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line of tshark's: sender, number, acknowledged, bytes, window.
    fn line(sender: &str, seq: u64, ack: u64, len: u64, window: u64) -> String {
        let events = "\t".repeat(EVENTS.len());
        format!("1\t\t1\t1\t\t\t\t{sender}\t0\t{seq}\t{ack}\t{len}\t{window}\t0x0010{events}")
    }

    fn read(lines: &[String]) -> Expertise {
        let (mut expertise, mut ends) = (Expertise::default(), Ends::default());
        lines.iter().for_each(|line| expertise.read(line, "us", &mut ends));
        expertise
    }

    /// The judge can find against us.
    #[test]
    fn windows_and_checksums_are_watched() {
        let fine = [line("us", 1, 0, 0, 2_000), line("them", 1, 1, 1_999, 500)];
        let expertise = read(&fine);
        assert!(expertise.beyond_window.is_empty() && expertise.withdrawn.is_empty());
        assert!(expertise.acked_unseen.is_empty() && expertise.faults.is_empty());
        let [first, second] = fine;
        let beyond = read(&[first.clone(), second, line("us", 1, 2_000, 501, 2_000)]);
        assert_eq!(beyond.beyond_window.len(), 1);
        let withdrawn = read(&[first.clone(), line("us", 1, 0, 0, 1_000)]);
        assert_eq!(withdrawn.withdrawn.len(), 1);
        let wrong = read(&[first.replacen("\t1\t1\t", "\t1\t0\t", 1)]);
        assert_eq!(wrong.faults.len(), 1);
        let unseen = read(&[line("us", 1, 2, 0, 2_000)]);
        assert_eq!(unseen.acked_unseen.len(), 1);
    }
}
