//! Router advertisements from a kernel's socket: an address is made of the prefix, and answers.

use crate::lab::{Lab, Sluice, core};

const ROUTER: &str = r#"
import socket, struct
peer = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
link = socket.if_nametoindex("sl0")
mac = bytes.fromhex(MAC)
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
source = struct.pack("!BB6s", 1, 1, mac)
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xc0, 7200, 3600, 0,
                     socket.inet_pton(socket.AF_INET6, "fd77::"))
peer.sendto(advertisement + source + prefix, ("ff02::1", 0, 0, link))
"#;

fn config(extra: &str) -> String {
    format!(
        r#"[runtime]
cores = [{}]
control_core = 0
buffers = 16384

[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]
host_addresses = ["10.9.0.1/24", "fd77::1/64"]
{extra}
"#,
        core()
    )
}

/// The kernel's end's address, as twelve digits.
fn mac_of_kernel(lab: &Lab) -> String {
    let said = lab.run(5, "ip -o link show sl0").expect_success().stdout;
    let words: Vec<_> = said.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "link/ether").expect("an ethernet device");
    words[at + 1].replace(':', "")
}

#[test]
fn an_address_is_made_of_an_advertised_prefix() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &config("slaac = true"));
    let mac = mac_of_kernel(&lab);
    let script = ROUTER.replace("MAC)", &format!("\"{mac}\")"));
    lab.write("router.py", script);
    let formed = |sluice: &Sluice| sluice.metrics().sum("sluice_stack_formed_addresses", &[]);
    assert_eq!(formed(&sluice), 0);
    // Until the kernel's own link-local address is sure, it cannot send.
    let mut tries = 0;
    while formed(&sluice) == 0 {
        lab.run(10, "python3 router.py");
        tries += 1;
        assert!(tries < 50, "{}", sluice.stderr());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    sluice.wait_ready();
    // Sluice's end of the TAP has the link-layer address that neighbour discovery told.
    let neighbours = lab.run(5, "ping -c 2 -W 2 10.9.0.2").expect_success();
    assert!(neighbours.stdout.contains(" 2 received"));
    let known = lab.run(5, "ip neigh show 10.9.0.2").expect_success().stdout;
    let mac = known.split("lladdr ").nth(1).and_then(|rest| rest.split(' ').next());
    let bytes: Vec<u8> = mac
        .expect("it answered")
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("two digits"))
        .collect();
    let [a, b, c, d, e, f] = bytes[..] else { panic!("{known}") };
    let address = format!(
        "fd77::{:x}:{:x}:{:x}:{:x}",
        u16::from_be_bytes([a ^ 2, b]),
        u16::from_be_bytes([c, 0xff]),
        u16::from_be_bytes([0xfe, d]),
        u16::from_be_bytes([e, f]),
    );
    let said = lab.run(20, &format!("ping -c 3 -i 0.3 -W 5 {address}")).expect_success().stdout;
    assert!(said.contains(" 3 received") && !said.contains("DUP"), "{said}");
    assert_eq!(sluice.metrics().sum("sluice_stack_default_routers", &[]), 1);
    let routes = Sluice::command(&lab, &["show", "routes"]).expect_success().stdout;
    let row = |to: &str| routes.lines().find(|line| line.starts_with(to)).unwrap_or_default();
    assert!(row("::/0").contains("fe80::") && row("::/0").contains("router"), "{routes}");
    assert!(row("fd77::/64").contains("advertised"), "{routes}");
    assert!(row(&format!("{address}/128")).contains("formed"), "{routes}");
    sluice.stop();
}
