//! Properties of all patterns and all paths.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_glob::{Glob, MatchSteps, clean, expand};
use proptest::prelude::*;

proptest! {
    #[test]
    fn the_glob_of_an_escaped_path_matches_that_path_only(path in "/[ -~]{1,20}", other in "/[ -~]{1,20}") {
        let (path, other) = (clean(&path), clean(&other));
        let mut pattern = String::new();
        for c in path.chars() {
            if !c.is_alphanumeric() && c != '/' {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        let glob = Glob::new(&pattern).unwrap();
        prop_assert_eq!(glob.is_match(&path, &mut MatchSteps::default()), Ok(true));
        prop_assert_eq!(glob.is_match(&other, &mut MatchSteps::default()), Ok(other == path));
    }

    #[test]
    fn matches_have_the_prefix_and_respect_the_depth(
        pattern in "/[ab/*?(){},|!@+]{0,10}", path in "(/[ab]{1,3}){1,4}",
    ) {
        if let Ok(glob) = Glob::new(&pattern)
            && let Some(captures) = glob.captures(&path, &mut MatchSteps::default()).unwrap()
        {
            prop_assert!(path.starts_with(glob.literal_prefix()));
            prop_assert!(glob.max_depth().is_none_or(|depth| path.matches('/').count() <= depth));
            prop_assert_eq!(&captures[0], &path);
            prop_assert_eq!(expand("$0", &captures), path);
        }
    }

    #[test]
    fn patterns_and_templates_never_panic(pattern in any::<String>(), path in any::<String>(), template in "[$0-9{}a]{0,12}") {
        if let Ok(glob) = Glob::new(&pattern) {
            let captures = glob.captures(&path, &mut MatchSteps::default()).unwrap().unwrap_or_default();
            let _ = expand(&template, &captures);
        }
    }
}
