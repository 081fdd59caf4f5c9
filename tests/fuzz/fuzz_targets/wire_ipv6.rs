//! libFuzzer's door to [`sluice_fuzz::wire_ipv6`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::wire_ipv6(data));
