//! Any bytes as a SPDY connection, in parts of any length: decoded or refused, in bounded memory.
//!
//! README.md says how to run it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vkc::kubelet::spdy::frame::decode_all;

fuzz_target!(|input: &[u8]| {
    let Some((part, bytes)) = input.split_first() else {
        return;
    };
    let _ = decode_all(bytes, usize::from(*part));
});
