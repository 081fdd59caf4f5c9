//! PCI addresses, and what sysfs says about the device behind one before DPDK is asked.

use std::fmt;
use std::fs;
use std::path::Path;

/// `domain:bus:device.function`, as `lspci -D` prints it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PciAddress {
    domain: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// Reads `0000:3b:00.0`, or `3b:00.0` in domain 0.
    ///
    /// # Errors
    /// [`PciError::Malformed`] for anything else.
    pub fn parse(text: &str) -> Result<Self, PciError> {
        Self::read(text).ok_or_else(|| PciError::Malformed { given: text.to_owned() })
    }

    fn read(text: &str) -> Option<Self> {
        let (rest, function) = text.split_once('.')?;
        let mut parts = rest.rsplit(':');
        let device = hex(parts.next()?, 2)?;
        let bus = hex(parts.next()?, 2)?;
        let domain = parts.next().map_or(Some(0), |domain| hex(domain, 4))?;
        let function = hex(function, 1)?;
        let is_valid = parts.next().is_none() && device < 32 && function < 8;
        is_valid.then_some(Self {
            domain,
            bus: bus as u8,
            device: device as u8,
            function: function as u8,
        })
    }
}

fn hex(text: &str, digits: usize) -> Option<u16> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u16::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// Why a PCI device cannot be taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PciError {
    /// Not an address.
    #[error(
        "`{given}` is not a PCI address: write domain:bus:device.function in hexadecimal, such as \
         0000:3b:00.0 (`lspci -D` lists them)"
    )]
    Malformed {
        /// What was written.
        given: String,
    },
    /// No such device.
    #[error("there is no PCI device {address}: `lspci -D` lists those that exist")]
    Absent {
        /// The address.
        address: PciAddress,
    },
    /// A device, but not a network one.
    #[error(
        "PCI device {address} is not a network interface (class {class}): see `lspci -s {address}`"
    )]
    NotNetwork {
        /// The address.
        address: PciAddress,
        /// Its class code as sysfs prints it.
        class: String,
    },
    /// Bound to the kernel's driver, or to none.
    #[error(
        "PCI device {address} is {}: bind it to a user-space driver, \
         `modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}` (the kernel's interface \
         disappears)",
        driver.as_ref().map_or_else(
            || "bound to no driver".to_owned(),
            |name| format!("bound to the kernel driver `{name}`"),
        )
    )]
    WrongDriver {
        /// The address.
        address: PciAddress,
        /// The driver it is bound to.
        driver: Option<String>,
    },
    /// The user may not open the device's IOMMU group.
    #[error(
        "no permission for /dev/vfio/{group}, the IOMMU group of PCI device {address}: run as root \
         or `chown` that file to the user that runs Sluice"
    )]
    NoPermission {
        /// The address.
        address: PciAddress,
        /// The number of the group.
        group: String,
    },
}

/// Drivers that leave the device to user space.
const USER_SPACE_DRIVERS: &[&str] = &["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Whether DPDK has a chance with this device.
pub(crate) fn check(address: PciAddress) -> Result<(), PciError> {
    check_under(Path::new("/sys/bus/pci/devices"), Path::new("/dev/vfio"), address)
}

fn check_under(devices: &Path, vfio: &Path, address: PciAddress) -> Result<(), PciError> {
    let device = devices.join(address.to_string());
    let Ok(class) = fs::read_to_string(device.join("class")) else {
        return Err(PciError::Absent { address });
    };
    let class = class.trim();
    if !class.starts_with("0x02") {
        return Err(PciError::NotNetwork { address, class: class.to_owned() });
    }
    let driver = link_name(&device.join("driver"));
    match driver {
        Some(name) if name == "vfio-pci" => check_group(&device, vfio, address),
        Some(name) if USER_SPACE_DRIVERS.contains(&name.as_str()) => Ok(()),
        driver => Err(PciError::WrongDriver { address, driver }),
    }
}

fn check_group(device: &Path, vfio: &Path, address: PciAddress) -> Result<(), PciError> {
    let Some(group) = link_name(&device.join("iommu_group")) else { return Ok(()) };
    let opened = fs::OpenOptions::new().read(true).write(true).open(vfio.join(&group));
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(PciError::NoPermission { address, group })
        }
        // Anything else (busy, no-IOMMU mode) DPDK reports in its own words.
        _ => Ok(()),
    }
}

/// The last part of what a symbolic link points to.
fn link_name(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn reads_both_spellings_and_nothing_else() {
        for text in ["0000:3b:00.0", "3b:00.0", "0000:3B:00.0"] {
            let address = PciAddress::parse(text).expect(text);
            assert_eq!(address.to_string(), "0000:3b:00.0");
        }
        let wrong = [
            "",
            "3b",
            "3b:00",
            "3b:00.8",
            "3b:20.0",
            "0:3b:00.0",
            "x:3b:00.0",
            "1:0000:3b:00.0",
            "+3b:00.0",
            "3b:00.0 ",
            "0000:3b:00.00",
        ];
        for text in wrong {
            assert_eq!(
                PciAddress::parse(text),
                Err(PciError::Malformed { given: text.to_owned() }),
                "{text}"
            );
        }
    }

    /// A sysfs of one device.
    fn sysfs(name: &str, class: &str, driver: Option<&str>) -> PathBuf {
        let root = std::env::temp_dir().join(format!("sluice-pci-{name}-{}", std::process::id()));
        let device = root.join("0000:3b:00.0");
        fs::create_dir_all(&device).expect("a temporary directory");
        fs::write(device.join("class"), class).expect("a file in it");
        if let Some(driver) = driver {
            symlink(format!("../drivers/{driver}"), device.join("driver")).expect("a link in it");
        }
        root
    }

    #[test]
    fn names_the_driver_and_the_way_out() {
        let address = PciAddress::parse("3b:00.0").expect("an address");
        let vfio = Path::new("/nonexistent");
        let cases = [
            ("kernel", "0x020000\n", Some("ice"), "bound to the kernel driver `ice`: bind it"),
            ("none", "0x020000\n", None, "bound to no driver: bind it"),
            ("disk", "0x010802\n", Some("nvme"), "is not a network interface (class 0x010802)"),
        ];
        for (name, class, driver, expected) in cases {
            let root = sysfs(name, class, driver);
            let error = check_under(&root, vfio, address).expect_err(name).to_string();
            assert!(error.contains(expected), "{error}");
            fs::remove_dir_all(root).expect("it was just made");
        }
        let root = sysfs("good", "0x020000\n", Some("vfio-pci"));
        assert_eq!(check_under(&root, vfio, address), Ok(()));
        let other = PciAddress::parse("3c:00.0").expect("an address");
        assert_eq!(check_under(&root, vfio, other), Err(PciError::Absent { address: other }));
        fs::remove_dir_all(root).expect("it was just made");
    }
}
