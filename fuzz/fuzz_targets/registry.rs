//! Any bytes from a registry, or as the name of an image: read or refused, and no password goes anywhere unsafe.
//!
//! README.md says how to run it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| vkc::fuzzing::registry(input));
