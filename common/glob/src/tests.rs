use super::*;

/// The paths of a repo with the files `/a/1`, `/a/2`, `/b/3` and `/c`.
const PATHS: [&str; 7] = ["/", "/a/", "/a/1", "/a/2", "/b/", "/b/3", "/c"];

fn matches(glob: &Glob, path: &str) -> bool {
    glob.is_match(path, &mut MatchSteps::default()).unwrap()
}

fn selected(pattern: &str) -> Vec<&'static str> {
    let glob = Glob::new(pattern).unwrap();
    PATHS.into_iter().filter(|path| matches(&glob, path)).collect()
}

#[test]
fn globs_select_files_and_directories() {
    assert_eq!(selected("/"), ["/"]);
    assert_eq!(selected("/*"), ["/a/", "/b/", "/c"]);
    assert_eq!(selected("/*/"), ["/a/", "/b/", "/c"]);
    assert_eq!(selected("/*/*"), ["/a/1", "/a/2", "/b/3"]);
    assert_eq!(selected("/a"), ["/a/"]);
    assert_eq!(selected("/a/*"), ["/a/1", "/a/2"]);
    assert_eq!(selected("/**"), ["/a/", "/a/1", "/a/2", "/b/", "/b/3", "/c"]);
    assert_eq!(selected("/{a,c}"), ["/a/", "/c"]);
    assert_eq!(selected("/*.txt"), [""; 0]);
}

#[test]
fn each_element_of_a_pattern_matches() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("/*.csv", &["/a.csv", "/.csv"], &["/a/b.csv", "/a.csv.gz", "/A.CSV"]),
        ("/?", &["/a", "/é"], &["/", "/ab", "/a/b"]),
        ("/**.csv", &["/a.csv", "/a/b/c.csv"], &["/a.csv/b"]),
        ("/a/**/z", &["/a/b/z", "/a/b/c/z"], &["/a/z"]),
        ("/[abc]", &["/a", "/c"], &["/d", "/ab"]),
        ("/[a-c0-9]x", &["/bx", "/7x"], &["/dx"]),
        ("/[!a-c]", &["/d"], &["/a", "/", "//"]),
        ("/a[^x]b", &["/ayb"], &["/axb", "/a/b"]),
        ("/[[:alpha:]_]", &["/q", "/_"], &["/1"]),
        ("/[![:digit:]]", &["/q"], &["/1"]),
        ("/[]a]", &["/]", "/a"], &["/b"]),
        ("/[a-]", &["/-", "/a"], &["/b"]),
        ("/[\\]x]", &["/]", "/x"], &["/\\"]),
        ("/{a,b*}/c", &["/a/c", "/bbb/c"], &["/ab/c"]),
        ("/{a{1,2},b}", &["/a1", "/a2", "/b"], &["/a", "/1"]),
        ("/x{,.gz}", &["/x", "/x.gz"], &["/x.g"]),
        ("/@(a|b)", &["/a", "/b"], &["/ab", "/@a"]),
        ("/a?(b|c)", &["/a", "/ab", "/ac"], &["/abc"]),
        ("/*(ab|c)", &["/ab", "/abcab", "/c"], &["/aab"]),
        ("/x*(y)", &["/x", "/xyy"], &["/xz"]),
        ("/+(a|b)", &["/a", "/abba"], &["/", "/c"]),
        ("/!(a|b)", &["/c", "/ab", "/aa"], &["/a", "/b", "/c/d"]),
        ("/!(*.tmp)", &["/a.csv", "/tmp"], &["/a.tmp", "/.tmp"]),
        ("/!(a)!(b)", &["/a", "/b", "/ab", "/c"], &["/c/d"]),
        ("/!(!(a))", &["/a"], &["/b", "/aa"]),
        ("/x!(y)z", &["/xz", "/xyyz", "/xabz"], &["/xyz", "/xy/z"]),
        ("/(a|b)c", &["/ac", "/bc"], &["/c"]),
        ("/\\*\\{a\\}", &["/*{a}"], &["/x{a}"]),
        ("/a@b+c!d", &["/a@b+c!d"], &[]),
        ("/a|b,c", &["/a|b,c"], &["/a"]),
        ("a//./b/", &["/a/b", "a/b"], &["/a"]),
        ("/***", &["/a", "/a/b"], &[]),
        ("/.*", &["/.hidden"], &["/shown"]),
    ];
    for (pattern, yes, no) in cases {
        let glob = Glob::new(pattern).unwrap();
        for path in *yes {
            assert!(matches(&glob, path), "{pattern} should match {path}");
        }
        for path in *no {
            assert!(!matches(&glob, path), "{pattern} should not match {path}");
        }
    }
}

#[test]
fn groups_are_numbered_by_their_opening_parenthesis() {
    let captures = |pattern: &str, path: &str| {
        let glob = Glob::new(pattern).unwrap();
        glob.captures(path, &mut MatchSteps::default()).unwrap()
    };
    let expect = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(captures("/*/(*).csv", "/x/day1.csv"), expect(&["/x/day1.csv", "day1"]));
    assert_eq!(
        captures("/((a|b)*)-(*)", "/axe-7"),
        expect(&["/axe-7", "axe", "a", "7"])
    );
    assert_eq!(captures("/*(ab)c", "/ababc"), expect(&["/ababc", "abab"]));
    assert_eq!(captures("/+(?)", "/xyz"), expect(&["/xyz", "xyz"]));
    assert_eq!(captures("/a?(b)", "/a"), expect(&["/a", ""]));
    assert_eq!(captures("/!(*.tmp).(*)", "/a.b.c"), expect(&["/a.b.c", "a.b", "c"]));
    assert_eq!(captures("/{(a),(b)}", "/b"), expect(&["/b", "", "b"]));
    assert_eq!(captures("/(*)", "/dir/"), expect(&["/dir", "dir"]));
    assert_eq!(captures("/(a)", "/b"), None);
}

#[test]
fn replacement_patterns_are_expanded() {
    let mut captures: Vec<String> = vec!["/whole".to_owned()];
    captures.extend((1..=12).map(|n| format!("c{n}")));
    for (template, expanded) in [
        ("$1", "c1"),
        ("$1-$2", "c1-c2"),
        ("${12}", "c12"),
        ("$12", "c12"),
        ("$$1", "$1"),
        ("${13}x", "x"),
        ("$0", "/whole"),
        ("$", "$"),
        ("${", "${"),
        ("${a}$b", "${a}$b"),
        ("plain", "plain"),
        ("${99999999999999999999999}", ""),
    ] {
        assert_eq!(expand(template, &captures), expanded, "{template}");
    }
    assert_eq!(expand("$12", &["".to_owned(), "one-".to_owned()]), "one-2");
}

#[test]
fn a_pattern_that_does_not_compile_has_a_position() {
    for (pattern, at) in [
        ("/a(b", 3),
        ("/{a,b", 2),
        ("/a)", 3),
        ("/a}", 3),
        ("/a]", 3),
        ("/[abc", 2),
        ("/[z-a]", 3),
        ("/[[:nope:]]", 3),
        ("/a\\", 3),
        ("/!(a", 2),
        ("/(a}", 4),
    ] {
        let error = Glob::new(pattern).unwrap_err();
        assert_eq!(error.at, at, "{error}");
    }
    assert!(Glob::new(&"(".repeat(5000)).is_err());
    assert!(Glob::new(&"{".repeat(100)).is_err());
}

#[test]
fn patterns_have_a_prefix_and_a_depth() {
    for (pattern, prefix, depth) in [
        ("/", "/", Some(0)),
        ("/*", "/", Some(1)),
        ("/a/b*", "/a/b", Some(2)),
        ("/a/{b,c/d}", "/a/", Some(3)),
        ("/a\\*b/c", "/a*b/c", Some(2)),
        ("/**", "/", None),
        ("/+(a/)b", "/", None),
        ("/+(a)b", "/", Some(1)),
        ("/x/!(a/b)", "/x/", Some(2)),
    ] {
        let glob = Glob::new(pattern).unwrap();
        assert_eq!((glob.literal_prefix(), glob.max_depth()), (prefix, depth), "{pattern}");
    }
}

#[test]
fn hostile_patterns_match_in_bounded_time() {
    let path = format!("/{}", "a".repeat(2000));
    for pattern in ["/*(*(*(a)))b", "/!(*a*a*a*a*b)b", "/**a**a**a**a**b", "/+(+(a|aa)|a)b"] {
        assert!(!matches(&Glob::new(pattern).unwrap(), &path), "{pattern}");
    }
}

#[test]
fn a_match_that_takes_too_many_steps_is_broken_off() {
    let path = format!("/{}", "a".repeat(2000));
    let start = std::time::Instant::now();
    for pattern in [
        format!("/*!({})b", "*a".repeat(400)),
        format!("/{}b", "!(*a*a)".repeat(150)),
        format!("/{}b{}", "*!(".repeat(20), ")".repeat(20)),
    ] {
        let glob = Glob::new(&pattern).unwrap();
        let mut steps = MatchSteps::default();
        assert_eq!(glob.is_match(&path, &mut steps), Err(OutOfSteps), "{pattern}");
        assert_eq!(steps.left(), 0);
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn a_listing_ends_when_its_names_take_more_steps_than_they_add() {
    let glob = Glob::new(&format!("/{}b", "*a".repeat(100))).unwrap();
    let path = format!("/{}", "a".repeat(2000));
    let mut steps = MatchSteps::of_listing();
    let mut names = 0;
    let ended = loop {
        steps.add_name();
        match glob.is_match(&path, &mut steps) {
            Ok(_) => names += 1,
            Err(error) => break error,
        }
        assert!(names < 100_000, "the listing has no end");
    };
    assert_eq!(ended, OutOfSteps);
    let usual = Glob::new("/**/*.{csv,tsv}").unwrap();
    let mut steps = MatchSteps::of_listing();
    for number in 0..10_000 {
        steps.add_name();
        let path = format!("/2026/11/28/host-{number}/measurements.tsv");
        assert_eq!(usual.is_match(&path, &mut steps), Ok(true));
    }
    assert_eq!(steps.left(), MatchSteps::of_listing().left() - used_by_the_last(&usual));
}

fn used_by_the_last(glob: &Glob) -> u64 {
    let mut steps = MatchSteps::new(1_000_000);
    glob.is_match("/2026/11/28/host-9999/measurements.tsv", &mut steps)
        .unwrap();
    1_000_000 - steps.left()
}
