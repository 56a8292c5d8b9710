//! Matches an arbitrary pattern (first line) against an arbitrary path (second line) and expands an arbitrary
//! template (the rest) with the captures.
#![no_main]

use howdah_glob::{Glob, MatchSteps, clean, expand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let (pattern, rest) = data.split_once('\n').unwrap_or((data, "/a/b"));
    let (path, template) = rest.split_once('\n').unwrap_or((rest, "$1-${2}"));
    // A cleaned pattern is clean, and means the same.
    let cleaned = clean(pattern);
    assert_eq!(clean(&cleaned), cleaned);
    let Ok(glob) = Glob::new(pattern) else {
        assert!(Glob::new(&cleaned).is_err());
        return;
    };
    assert_eq!(glob.as_str(), cleaned);
    let captures = glob.captures(path, &mut MatchSteps::default());
    let matches = glob.is_match(path, &mut MatchSteps::default());
    assert_eq!(matches, captures.clone().map(|captures| captures.is_some()));
    let Ok(Some(captures)) = captures else { return };
    // The store skips every path outside of these two bounds, so a match outside of them is lost.
    let whole = &captures[0];
    assert!(whole.starts_with(glob.literal_prefix()), "{whole} is outside of the prefix");
    let depth = if whole == "/" { 0 } else { whole.matches('/').count() };
    assert!(glob.max_depth().is_none_or(|most| depth <= most), "{whole} is too deep");
    for capture in &captures {
        assert!(whole.contains(capture.as_str()), "{capture} is no part of {whole}");
    }
    let _ = expand(template, &captures);
});
