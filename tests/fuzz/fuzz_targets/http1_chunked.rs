//! libFuzzer's door to [`sluice_fuzz::http1_chunked`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::http1_chunked(data));
