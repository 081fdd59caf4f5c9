//! libFuzzer's door to [`sluice_fuzz::two_stacks`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::two_stacks(data));
