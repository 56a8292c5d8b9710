//! Reads arbitrary bytes as a stored frame and as a node of a tree.
#![no_main]

use howdah_store::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    fuzzing::frame(data);
    fuzzing::node(data);
});
