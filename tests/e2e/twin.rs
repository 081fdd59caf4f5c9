//! The kernel's twin of an interface: a shell's port and a routing daemon's on the address that Sluice
//! serves HTTP on.
//!
//! The peer is the kernel's end of Sluice's TAP, moved to a namespace of its own; the twin is in the
//! namespace of the test.

use crate::lab::{Lab, Sluice, core, wait_until};

const SERVICES: &str = r#"
import socket, threading

def greet(family, address):
    listener = socket.create_server((address, 22), family=family)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=talk, args=(peer,), daemon=True).start()

def talk(peer):
    peer.sendall(b"SSH-2.0-twin\r\n")
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.close()

def echo():
    socket_ = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    socket_.bind(("10.9.0.2", 53))
    while True:
        data, peer = socket_.recvfrom(65536)
        socket_.sendto(data, peer)

threading.Thread(target=greet, args=(socket.AF_INET, "10.9.0.2"), daemon=True).start()
threading.Thread(target=greet, args=(socket.AF_INET6, "fd09::2"), daemon=True).start()
threading.Thread(target=echo, daemon=True).start()
print("up", flush=True)
threading.Event().wait()
"#;

const CLIENT: &str = r#"
import socket, sys, threading

def exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(65536)
        assert more, "the connection ended early"
        data += more
    return data

for address in ("10.9.0.2", "fd09::2"):
    peer = socket.create_connection((address, 22), timeout=20)
    assert exactly(peer, 14) == b"SSH-2.0-twin\r\n"
    sent = bytes(range(256)) * 2000
    writer = threading.Thread(target=peer.sendall, args=(sent,))
    writer.start()
    assert exactly(peer, len(sent)) == sent
    writer.join()
    peer.close()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.settimeout(10)
for size in (10, 4000):
    datagrams.sendto(b"x" * size, ("10.9.0.2", 53))
    assert len(datagrams.recvfrom(65536)[0]) == size, size
refused = socket.socket()
refused.settimeout(10)
assert refused.connect_ex(("10.9.0.2", 23)) == 111, "the kernel refuses what nobody has"
print("good")
"#;

fn config(cores: &[usize]) -> String {
    format!(
        r#"[runtime]
cores = {cores:?}
control_core = 0
buffers = 24576

[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24", "fd09::2/64"]
kernel_twin = true

[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = {{ status = 200, body = "sluice" }}
"#
    )
}

/// A namespace for the kernel's end of the port, gone with the value.
struct Peer<'lab> {
    lab: &'lab Lab,
    name: String,
}

impl<'lab> Peer<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        let peer = Self { lab, name: format!("{}-peer", lab.name()) };
        let name = &peer.name;
        for words in [
            format!("ip netns add {name}"),
            format!("ip link set sl0 netns {name}"),
            format!("ip -n {name} addr add 10.9.0.1/24 dev sl0"),
            format!("ip -n {name} addr add fd09::1/64 dev sl0 nodad"),
            format!("ip -n {name} link set sl0 up"),
        ] {
            lab.run(10, &words).expect_success();
        }
        peer
    }

    fn run(&self, seconds: u32, words: &str) -> String {
        let words = format!("ip netns exec {} {words}", self.name);
        self.lab.run(seconds, &words).expect_success().stdout
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        self.lab.run(10, &format!("ip netns del {}", self.name));
    }
}

#[test]
fn kernel_and_sluice_share_an_address() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for cores in [vec![core()], (0..cores.min(2)).collect()] {
        let lab = Lab::new();
        let sluice = Sluice::start(&lab, &config(&cores));
        let peer = Peer::new(&lab);
        lab.write("services.py", SERVICES);
        let script = lab.write("client.py", CLIENT);
        let services = lab.spawn("services", "python3 services.py");
        wait_until(20, "the services are up", || services.stdout().contains("up"));
        // Each has its own, at the same time.
        assert_eq!(peer.run(30, "curl -sS --max-time 20 http://10.9.0.2/"), "sluice");
        let said = peer.run(90, &format!("python3 {}", script.display()));
        assert_eq!(said.trim(), "good");
        assert_eq!(peer.run(30, "curl -sS --max-time 20 http://10.9.0.2/"), "sluice");
        // Pings of both families and directions; nobody answers twice.
        for ping in ["ping -c 3 -i 0.2 -W 5 10.9.0.2", "ping -c 3 -i 0.2 -W 5 fd09::2"] {
            let said = peer.run(30, ping);
            assert!(said.contains(" 3 received") && !said.contains("DUP"), "{said}");
        }
        for ping in ["ping -c 3 -i 0.2 -W 5 10.9.0.1", "ping -c 3 -i 0.2 -W 5 fd09::1"] {
            let said = lab.run(30, ping).expect_success().stdout;
            assert!(said.contains(" 3 received") && !said.contains("DUP"), "{said}");
        }
        let metrics = sluice.metrics();
        assert!(metrics.sum("sluice_stack_twin_in_total", &[]) > 100);
        assert!(metrics.sum("sluice_stack_twin_out_total", &[]) > 100);
        assert_eq!(metrics.sum("sluice_stack_duplicate_addresses_total", &[]), 0);
        drop(services);
        sluice.stop();
        assert_ne!(lab.run(5, "ip link show tw-net0").code(), 0, "nothing is left behind");
    }
}

#[test]
fn a_name_that_is_taken_is_told() {
    let lab = Lab::new();
    lab.run(5, "ip link add tw-net0 type veth peer name other").expect_success();
    let mut sluice = Sluice::spawn(&lab, "sluice", "run", &config(&[core()]));
    assert_eq!(sluice.wait(20), 1);
    let told = sluice.stderr();
    let expected = "interface `net0`: kernel_twin: interface `tw-net0` exists and is not a TAP";
    assert!(told.contains(expected), "{told}");
}
