//! libFuzzer's door to [`sluice_fuzz::stack_frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::stack_frames(data));
