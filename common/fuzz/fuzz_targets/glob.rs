//! Matches an arbitrary pattern (first line) against an arbitrary path (the rest).
#![no_main]

use howdah_spec::glob::Glob;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let (pattern, path) = data.split_once('\n').unwrap_or((data, "/a/b"));
    if let Ok(glob) = Glob::new(pattern) {
        assert_eq!(glob.is_match(path), glob.captures(path).is_some());
    }
});
