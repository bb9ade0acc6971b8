//! Any bytes that a container says in a session in the place of the shim: it ends, and no more is handed on than was said.
//!
//! README.md says how to run it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| vkc::fuzzing::shim(input));
