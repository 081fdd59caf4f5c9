//! libFuzzer's door to [`sluice_fuzz::route_path`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::route_path(data));
