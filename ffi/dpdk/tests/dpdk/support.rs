//! EAL starts once in a process, so every test runs its body in a child of its own.

use std::process::Command;

use sluice_buf::{Batch, Device};
use sluice_dpdk::{Eal, EalOptions, Hugepages, MbufPool, Port};

const CHILD: &str = "SLUICE_DPDK_TEST_CHILD";

/// Where the child runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Here.
    Process,
    /// In a network namespace that vanishes with the child. Takes root.
    Namespace,
    /// Here, as a user without rights. Takes root to become that.
    Unprivileged,
}

/// Runs `body` in a process of its own, as the test `name` of this file.
pub(crate) fn isolated(name: &str, place: Place, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        body();
        return;
    }
    let exe = std::env::current_exe().expect("the test knows its own file");
    let mut command = match place {
        Place::Process => Command::new(exe),
        Place::Namespace => {
            assert!(is_root(), "this test makes a network namespace: run it as root");
            let mut command = Command::new("unshare");
            command.arg("--net").arg(exe);
            command
        }
        Place::Unprivileged => {
            assert!(is_root(), "this test changes its user: run it as root");
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(exe);
            command
        }
    };
    let output = command
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the child starts (namespaces need `unshare` of util-linux)");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("1 passed"), "{}\n{stdout}\n{stderr}", output.status);
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// EAL on normal pages, for any machine and user.
pub(crate) fn eal() -> Eal {
    let options = EalOptions { hugepages: Hugepages::Off, memory_mib: 96, ..EalOptions::default() };
    Eal::start(&options).expect("EAL starts on normal pages")
}

/// Runs `ip` with the words of `arguments`.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status();
    assert!(status.expect("iproute2 is installed").success(), "ip {arguments}");
}

/// A single-queue port's device, and its control side.
pub(crate) fn single(mut port: Port) -> (Port, sluice_dpdk::QueuePair) {
    let mut queues = port.take_queues();
    assert_eq!(queues.len(), 1);
    let queue = queues.pop().expect("one queue");
    (port, queue)
}

/// Polls until `count` packets are in `into`; panics after about five seconds.
pub(crate) fn receive(device: &mut impl Device, into: &mut Batch, count: usize) {
    for _ in 0..50_000 {
        device.rx_burst(into);
        if into.len() >= count {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    panic!("{} of {count} packets arrived", into.len());
}

/// A packet of one segment holding `bytes`.
pub(crate) fn packet(pool: &sluice_buf::Pool, bytes: &[u8]) -> sluice_buf::Packet {
    let mut packet = pool.alloc().expect("the pool has buffers");
    assert!(packet.append_bytes(bytes), "a buffer holds the bytes");
    packet
}

/// All bytes of a packet.
pub(crate) fn bytes_of(packet: &sluice_buf::Packet) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

/// The leak census.
pub(crate) fn assert_all_home(pools: &[&MbufPool]) {
    for pool in pools {
        assert_eq!(pool.in_use(), 0, "every buffer is back");
    }
    assert_eq!(sluice_buf::chain_nodes_in_use(), 0, "every slice is dropped");
}
