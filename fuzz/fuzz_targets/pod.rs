//! Any bytes as a pod of the API server: read whole where there is room for it, else without its lists.
//!
//! README.md says how to run it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| vkc::fuzzing::sent_pod(input));
