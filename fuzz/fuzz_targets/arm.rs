//! Any bytes as an answer of Azure Resource Manager: a status of a pod, or an error.
//!
//! README.md says how to run it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| vkc::fuzzing::arm(input));
