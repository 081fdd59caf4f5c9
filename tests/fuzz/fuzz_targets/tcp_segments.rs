//! libFuzzer's door to [`sluice_fuzz::tcp_segments`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::tcp_segments(data));
