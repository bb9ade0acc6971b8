//! Any bytes as the log of a container, looked at twice.
//!
//! README.md says how to run it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| vkc::fuzzing::logs(input));
