//! Which device, and how it is spelled for EAL.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::pci::PciAddress;

/// A device that DPDK can open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeviceSpec {
    /// A NIC bound to a user-space driver; [`EalOptions::pci`](crate::EalOptions) must name it too.
    Pci(PciAddress),
    /// A kernel interface through AF_PACKET rings.
    AfPacket {
        /// The kernel's interface.
        interface: String,
    },
    /// A kernel interface through AF_XDP sockets.
    AfXdp {
        /// The kernel's interface.
        interface: String,
    },
    /// Packets from a file and to one.
    Pcap {
        /// Where packets come from.
        input: PathBuf,
        /// Where packets go; without it they are dropped.
        output: Option<PathBuf>,
        /// Whether the input starts again at its end.
        infinite: bool,
    },
    /// Shared memory with another process.
    Memif {
        /// The control socket.
        socket: PathBuf,
        /// Which end this is.
        role: MemifRole,
        /// Tells several interfaces on one socket apart; equal at both ends.
        id: u32,
    },
    /// Any virtual device, as EAL's `--vdev` takes it: `net_tap0,iface=dtap0`.
    Vdev(String),
}

/// The end of a memif link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemifRole {
    /// Makes the socket and waits.
    Server,
    /// Brings the memory and connects, again and again until it succeeds.
    Client,
}

/// Why a device string is no device string.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// No driver name in front.
    #[error(
        "`{given}` is not a virtual device: write driver and number, then key=value pairs, such as \
         net_tap0,iface=dtap0"
    )]
    Vdev {
        /// What was written.
        given: String,
    },
    /// Longer than EAL's names.
    #[error("device name `{name}` is too long: at most {NAME_BYTES_MAX} bytes")]
    Name {
        /// The name.
        name: String,
    },
    /// A character that ends an EAL argument.
    #[error(
        "`{path}` cannot be passed to DPDK: it contains a comma, bracket, quote or control character"
    )]
    Path {
        /// The path.
        path: String,
    },
    /// Longer than a socket address.
    #[error("socket path `{path}` is too long: at most 107 bytes")]
    SocketPath {
        /// The path.
        path: String,
    },
    /// Not a possible name of an interface.
    #[error(
        "`{interface}` is not the name of a network interface: 1 to 15 bytes without `/` or space"
    )]
    Interface {
        /// The name.
        interface: String,
    },
}

/// RTE_DEV_NAME_MAX_LEN less its final zero.
const NAME_BYTES_MAX: usize = 63;

/// A virtual device as the hotplug call wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Vdev {
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl Vdev {
    /// The driver's name: the device's without its number or suffix.
    pub(crate) fn driver(&self) -> &str {
        self.name.trim_end_matches(|byte: char| byte.is_ascii_digit())
    }
}

impl DeviceSpec {
    /// How EAL spells it for `queues` queues; none for what is not virtual.
    pub(crate) fn vdev(&self, queues: u16) -> Result<Option<Vdev>, SpecError> {
        let (name, arguments) = match self {
            Self::Pci(_) => return Ok(None),
            Self::AfPacket { interface } => {
                check_interface(interface)?;
                let name = format!("net_af_packet_{interface}");
                (name, format!("iface={interface},qpairs={queues}"))
            }
            Self::AfXdp { interface } => {
                check_interface(interface)?;
                // busy_budget=0: an empty poll costs 10 cycles instead of a system call.
                let queue = format!("start_queue=0,queue_count={queues},busy_budget=0");
                (format!("net_af_xdp_{interface}"), format!("iface={interface},{queue}"))
            }
            Self::Pcap { input, output, infinite } => {
                let mut arguments = format!("rx_pcap={}", path_text(input)?);
                if let Some(output) = output {
                    arguments += &format!(",tx_pcap={}", path_text(output)?);
                }
                if *infinite {
                    arguments += ",infinite_rx=1";
                }
                (format!("net_pcap_{}", short_hash(input)), arguments)
            }
            Self::Memif { socket, role, id } => {
                let text = path_text(socket)?;
                if text.len() > 107 {
                    return Err(SpecError::SocketPath { path: text.to_owned() });
                }
                let role = match role {
                    MemifRole::Server => "server",
                    MemifRole::Client => "client",
                };
                let name = format!("net_memif_{role}{id}_{}", short_hash(socket));
                (name, format!("role={role},id={id},socket={text},socket-abstract=no"))
            }
            Self::Vdev(text) => split_vdev(text)?,
        };
        if name.len() > NAME_BYTES_MAX {
            return Err(SpecError::Name { name });
        }
        Ok(Some(Vdev { name, arguments }))
    }
}

fn split_vdev(text: &str) -> Result<(String, String), SpecError> {
    let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let has_control = text.bytes().any(|byte| byte.is_ascii_control());
    if name.is_empty() || !name.bytes().all(is_plain) || has_control {
        return Err(SpecError::Vdev { given: text.to_owned() });
    }
    Ok((name.to_owned(), arguments.to_owned()))
}

fn check_interface(interface: &str) -> Result<(), SpecError> {
    let is_odd = |byte: u8| {
        byte.is_ascii_whitespace() || byte.is_ascii_control() || b"/,[]\"".contains(&byte)
    };
    if interface.is_empty() || interface.len() > 15 || interface.bytes().any(is_odd) {
        return Err(SpecError::Interface { interface: interface.to_owned() });
    }
    Ok(())
}

fn path_text(path: &Path) -> Result<&str, SpecError> {
    let is_odd = |byte: u8| byte.is_ascii_control() || b",[]\"".contains(&byte);
    match path.to_str() {
        Some(text) if !text.is_empty() && !text.bytes().any(is_odd) => Ok(text),
        _ => Err(SpecError::Path { path: path.display().to_string() }),
    }
}

/// A short name for a path, equal for equal paths (FNV-1a); a collision shows as a name taken.
fn short_hash(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl fmt::Display for DeviceSpec {
    /// The spelling of the configuration file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => write!(f, "pci:{address}"),
            Self::AfPacket { interface } => write!(f, "af_packet:{interface}"),
            Self::AfXdp { interface } => write!(f, "af_xdp:{interface}"),
            Self::Pcap { input, output: None, .. } => write!(f, "pcap:{}", input.display()),
            Self::Pcap { input, output: Some(output), .. } => {
                write!(f, "pcap:{},{}", input.display(), output.display())
            }
            Self::Memif { socket, .. } => write!(f, "memif:{}", socket.display()),
            Self::Vdev(text) => write!(f, "vdev:{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vdev(spec: &DeviceSpec, queues: u16) -> (String, String) {
        let vdev = spec.vdev(queues).expect("a good spec").expect("a virtual device");
        (vdev.name, vdev.arguments)
    }

    #[test]
    fn spells_each_kind_for_eal() {
        let veth = DeviceSpec::AfPacket { interface: "veth0".into() };
        let expected = ("net_af_packet_veth0".into(), "iface=veth0,qpairs=2".into());
        assert_eq!(vdev(&veth, 2), expected);
        let veth = DeviceSpec::AfXdp { interface: "veth0".into() };
        assert_eq!(vdev(&veth, 1).1, "iface=veth0,start_queue=0,queue_count=1,busy_budget=0");
        let pcap = DeviceSpec::Pcap {
            input: "in.pcap".into(),
            output: Some("out.pcap".into()),
            infinite: true,
        };
        assert_eq!(vdev(&pcap, 1).1, "rx_pcap=in.pcap,tx_pcap=out.pcap,infinite_rx=1");
        let memif = DeviceSpec::Memif { socket: "/run/x".into(), role: MemifRole::Client, id: 3 };
        assert_eq!(vdev(&memif, 1).1, "role=client,id=3,socket=/run/x,socket-abstract=no");
        let tap = DeviceSpec::Vdev("net_tap0,iface=dtap0,mac=fixed".into());
        assert_eq!(vdev(&tap, 1), ("net_tap0".into(), "iface=dtap0,mac=fixed".into()));
        let pci = DeviceSpec::Pci(PciAddress::parse("3b:00.0").expect("an address"));
        assert_eq!(pci.vdev(1), Ok(None));
    }

    #[test]
    fn refuses_what_would_be_read_as_something_else() {
        let refused = |spec: DeviceSpec| spec.vdev(1).expect_err("refused").to_string();
        for text in ["", ",iface=x", "net tap0", "net_tap0,a=\n"] {
            assert!(refused(DeviceSpec::Vdev(text.into())).contains("is not a virtual device"));
        }
        let long = "net_tap".repeat(10);
        assert!(refused(DeviceSpec::Vdev(long)).contains("too long"));
        let input = "a,b.pcap".into();
        let pcap = DeviceSpec::Pcap { input, output: None, infinite: false };
        assert!(refused(pcap).contains("a comma"));
        for interface in ["", "sixteen-bytes-xx", "a/b", "a,b"] {
            let spec = DeviceSpec::AfPacket { interface: interface.into() };
            assert!(refused(spec).contains("is not the name of a network interface"));
        }
        let socket = PathBuf::from("/x".repeat(60));
        let memif = DeviceSpec::Memif { socket, role: MemifRole::Server, id: 0 };
        assert!(refused(memif).contains("socket path"));
    }
}
