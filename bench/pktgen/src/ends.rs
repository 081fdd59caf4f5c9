//! Which device and addresses the client has, and the origin.
//!
//! Devices and addresses are what they are in a configuration file, so they are read by the same
//! code: from a file that is made of the command line.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use sluice_config_model::{DeviceSpec, IdRegistry};

use crate::cli::Cli;

/// One end of the load.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct End {
    pub(crate) device: DeviceSpec,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
}

/// The client, and the origin if there is one.
///
/// # Errors
/// What is wrong with a device or an address, for whoever typed it.
pub(crate) fn ends(cli: &Cli) -> Result<(End, Option<End>), String> {
    let mut text = String::from("[runtime]\ncores = [1]\n");
    let mut put = |name: &str, device: &str, address: &str| {
        let _ = write!(
            text,
            "[[interface]]\nname = \"{name}\"\ndevice = {device:?}\naddresses = [{address:?}]\n"
        );
    };
    put("client", &cli.device, &cli.address);
    if let (Some(device), Some(address)) = (&cli.origin_device, &cli.origin_address) {
        put("origin", device, address);
    }
    let (config, _) = sluice_config_toml::parse("command line", &text, &mut IdRegistry::new())
        .map_err(|errors| errors.to_string())?;
    let mut ends = config.interfaces.iter().map(|interface| {
        let cidr = interface.addresses.first();
        match cidr.map(|cidr| (cidr.address, cidr.prefix_len)) {
            Some((IpAddr::V4(address), prefix_len)) => {
                Ok(End { device: interface.device.clone(), address, prefix_len })
            }
            _ => Err(format!("the {} needs an IPv4 address", interface.name)),
        }
    });
    let client = ends.next().unwrap_or_else(|| Err("there is no client".to_owned()))?;
    Ok((client, ends.next().transpose()?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn of(device: &str, address: &str, more: &[&str]) -> Result<(End, Option<End>), String> {
        let words = ["pktgen", "--to", "10.9.0.2:80", "--device", device, "--address", address];
        ends(&Cli::try_parse_from(words.iter().chain(more)).expect("words that clap takes"))
    }

    #[test]
    fn devices_are_spelled_as_in_a_file() {
        let origin = ["--origin-device", "tap:b0", "--origin-address", "10.10.0.1/16"];
        let (client, origin) =
            of("memif:/run/a.sock", "10.9.0.1/24", &origin).expect("both are good");
        assert!(matches!(client.device, DeviceSpec::Memif { .. }));
        let origin = origin.expect("one was named");
        assert_eq!((origin.address, origin.prefix_len), (Ipv4Addr::new(10, 10, 0, 1), 16));
        assert_eq!(origin.device, DeviceSpec::Tap { name: "b0".to_owned() });
    }

    #[test]
    fn faults_are_told_as_for_a_file() {
        let fault = of("tun:c0", "10.9.0.1/24", &[]).expect_err("no such kind");
        assert!(fault.contains("tun:c0") && fault.contains("tap:"), "{fault}");
        let fault = of("tap:c0", "10.9.0.1", &[]).expect_err("no network");
        assert!(fault.contains("10.9.0.1"), "{fault}");
        let fault = of("tap:c0", "fd09::1/64", &[]).expect_err("not yet");
        assert_eq!(fault, "the client needs an IPv4 address");
    }
}
