//! Finds libdpdk, generates the bindings, compiles the shim, and says what to link.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The release series whose structures, drivers and quirks this crate was tested with.
const TESTED_SERIES: &str = "22.11";

const INSTALL: &str = "on Debian 12: apt install libdpdk-dev libxdp-dev libpcap-dev libclang-dev";

/// Archives whose constructors register a bus, a mempool backend or a driver: nothing refers to
/// their symbols, so the linker would drop them unless told to take the whole archive.
///
/// The NIC drivers are those that need no library beyond DPDK's own; mlx4 and mlx5 (rdma-core) are
/// reached with the feature `shared`.
const WHOLE_ARCHIVES: &[&str] = &[
    "bus_pci",
    "bus_vdev",
    "mempool_ring",
    "mempool_stack",
    // Virtual devices.
    "net_af_packet",
    "net_af_xdp",
    "net_memif",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_tap",
    "net_vhost",
    // Virtual NICs of hypervisors and clouds.
    "net_ena",
    "net_virtio",
    "net_vmxnet3",
    // NICs.
    "common_iavf",
    "net_bnxt",
    "net_e1000",
    "net_i40e",
    "net_iavf",
    "net_ice",
    "net_igc",
    "net_ixgbe",
    "eal",
];

/// The libraries under them, each before what it needs.
const ARCHIVES: &[&str] = &[
    "vhost",
    "stack",
    "fib",
    "rib",
    "lpm",
    "gso",
    "ip_frag",
    "cryptodev",
    "dmadev",
    "security",
    "pci",
    "hash",
    "ethdev",
    "net",
    "meter",
    "mbuf",
    "mempool",
    "rcu",
    "ring",
    "timer",
    "telemetry",
    "kvargs",
];

/// System libraries that Debian ships as archives too, in dependency order.
const SYSTEM_ARCHIVES: &[&str] = &["xdp", "bpf", "elf", "z", "numa", "bsd", "md"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=csrc");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo::error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let is_static = cfg!(feature = "static");
    if !is_static && !cfg!(feature = "shared") {
        return Err("choose how to link DPDK: feature `static` (the archives, self-contained \
                    binary) or `shared` (the system's libdpdk with all its drivers)"
            .into());
    }
    let dpdk = probe()?;
    let libdir = pkg_config::get_variable("libdpdk", "libdir")
        .map_err(|error| format!("libdpdk.pc names no libdir ({error}); {INSTALL}"))?;
    let clang_args = clang_args(&dpdk)?;
    let out = PathBuf::from(
        std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: this script is run by cargo")?,
    );
    generate_bindings(&clang_args, &out.join("bindings.rs"))?;
    compile_shim(&clang_args)?;
    if is_static { link_static(Path::new(&libdir)) } else { link_shared(&dpdk, &libdir) }
}

/// libdpdk as pkg-config knows it, if it is the tested series.
fn probe() -> Result<pkg_config::Library, String> {
    let found = pkg_config::Config::new().cargo_metadata(false).env_metadata(true).probe("libdpdk");
    let dpdk = found.map_err(|error| match error {
        pkg_config::Error::Command { .. } => {
            format!("pkg-config cannot be run; apt install pkg-config, and {INSTALL}")
        }
        _ => format!("libdpdk {TESTED_SERIES} is not installed (no libdpdk.pc); {INSTALL}"),
    })?;
    let is_tested =
        dpdk.version.strip_prefix(TESTED_SERIES).is_some_and(|rest| rest.starts_with('.'));
    if is_tested {
        return Ok(dpdk);
    }
    Err(format!(
        "libdpdk {} is installed, but Sluice is tested with {TESTED_SERIES}.x and relies on its \
         structure layouts; {INSTALL}",
        dpdk.version
    ))
}

/// What DPDK's headers must be compiled with: include paths, `-include rte_config.h`, `-march`.
fn clang_args(dpdk: &pkg_config::Library) -> Result<Vec<String>, String> {
    // The crate's `Library` keeps paths and defines only; `-include` and `-march` it drops.
    let mut command = std::process::Command::new(
        std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()),
    );
    let output = command
        .args(["--cflags", "libdpdk"])
        .output()
        .map_err(|error| format!("pkg-config cannot be run ({error}); apt install pkg-config"))?;
    let flags = String::from_utf8_lossy(&output.stdout);
    let mut args: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    for path in &dpdk.include_paths {
        args.push(format!("-I{}", path.display()));
    }
    Ok(args)
}

fn generate_bindings(clang_args: &[String], target: &Path) -> Result<(), String> {
    let builder = bindgen::Builder::default()
        .header("csrc/wrapper.h")
        .clang_args(clang_args)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate_comments(false)
        .use_core()
        .derive_default(true)
        .prepend_enum_name(false)
        .allowlist_function("sluice_.*")
        .allowlist_function("rte_eal_(init|get_runtime_dir)")
        .allowlist_function("rte_(version|strerror|openlog_stream)")
        .allowlist_function("rte_thread_(un)?register")
        .allowlist_function("rte_eal_hotplug_(add|remove)")
        .allowlist_function("rte_mempool_(free|(avail|in_use)_count|obj_iter)")
        .allowlist_function("rte_pktmbuf_pool_create")
        .allowlist_function("rte_ring_(create|free)")
        .allowlist_function("rte_eth_dev_(get_port_by_name|info_get|socket_id)")
        .allowlist_function("rte_eth_dev_(configure|start|stop|close|set_mtu|get_mtu)")
        .allowlist_function("rte_eth_dev_adjust_nb_rx_tx_desc")
        .allowlist_function("rte_eth_dev_rx_intr_ctl_q_get_fd")
        .allowlist_function("rte_eth_(rx|tx)_queue_setup")
        .allowlist_function("rte_eth_(macaddr_get|link_get_nowait|stats_get|from_rings)")
        .allowlist_function("rte_eth_(promiscuous|allmulticast)_enable")
        .allowlist_type("rte_(mbuf|mempool|ring|eth_.*|ether_addr)")
        .allowlist_var("SLUICE_.*")
        .allowlist_var("rte_eth_fp_ops")
        .allowlist_var("RTE_(MBUF_F|PKTMBUF|ETH_LINK|ETH_MQ).*")
        .allowlist_var("RTE_(MAX_LCORE|MAX_ETHPORTS)")
        .allowlist_var("(RING_F|SOCKET_ID_ANY).*")
        // Thread-local: bindgen would emit plain statics, silently wrong. The shim reads them.
        .blocklist_item("per_lcore_.*")
        // Packed bit fields that bindgen cannot lay out; nothing here looks inside.
        .opaque_type("rte_arp_ipv4")
        .opaque_type("rte_arp_hdr")
        .opaque_type("rte_gtp_psc_generic_hdr")
        .opaque_type("rte_l2tpv2_combined_msg_hdr");
    // bindgen panics, rather than returns, when it finds no libclang.
    std::panic::set_hook(Box::new(|_| {}));
    let generated = std::panic::catch_unwind(AssertUnwindSafe(|| builder.generate()));
    drop(std::panic::take_hook());
    generated
        .map_err(|_| "libclang is not installed; apt install libclang-dev".to_owned())?
        .map_err(|error| format!("DPDK's headers cannot be read ({error}); {INSTALL}"))?
        .write_to_file(target)
        .map_err(|error| format!("{} cannot be written: {error}", target.display()))
}

fn compile_shim(clang_args: &[String]) -> Result<(), String> {
    let mut compiler = cc::Build::new();
    compiler.file("csrc/shim.c").include("csrc").warnings(true).opt_level(2);
    for arg in clang_args {
        compiler.flag(arg);
    }
    compiler.try_compile("sluice_dpdk_shim").map_err(|error| format!("shim.c: {error}"))
}

/// DPDK inside the binary; libpcap alone stays dynamic, for its archive would pull in D-Bus.
fn link_static(libdir: &Path) -> Result<(), String> {
    println!("cargo::rustc-link-search=native={}", libdir.display());
    let missing = |name: &str| {
        format!(
            "lib{name}.a is not in {}, so DPDK cannot be linked statically; {INSTALL}",
            libdir.display()
        )
    };
    for name in WHOLE_ARCHIVES.iter().chain(ARCHIVES) {
        let modifiers =
            if WHOLE_ARCHIVES.contains(name) { "+whole-archive,-bundle" } else { "-bundle" };
        if !libdir.join(format!("librte_{name}.a")).exists() {
            return Err(missing(&format!("rte_{name}")));
        }
        println!("cargo::rustc-link-lib=static:{modifiers}=rte_{name}");
    }
    for name in SYSTEM_ARCHIVES {
        if !libdir.join(format!("lib{name}.a")).exists() {
            return Err(missing(name));
        }
        println!("cargo::rustc-link-lib=static:-bundle={name}");
    }
    for name in ["pcap", "dl", "m", "pthread"] {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    Ok(())
}

/// The system's libraries; EAL loads every driver from its plug-in directory at start.
fn link_shared(dpdk: &pkg_config::Library, libdir: &str) -> Result<(), String> {
    println!("cargo::rustc-link-search=native={libdir}");
    for name in dpdk.libs.iter().filter(|name| NEEDED_SHARED.contains(&name.as_str())) {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    // A driver's library with functions of its own, which libdpdk.pc therefore does not list.
    for name in ["rte_net_ring", "rte_bus_vdev"] {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    Ok(())
}

/// Of the forty libraries in libdpdk.pc, those whose functions the bindings call.
const NEEDED_SHARED: &[&str] = &[
    "rte_ethdev",
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
    "rte_eal",
    "rte_telemetry",
    "rte_kvargs",
];
