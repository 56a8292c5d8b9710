//! What filters mean, what is refused, and that hostile ones are bounded.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic with a line number is how a test fails"
)]

use std::time::{Duration, Instant};

use howdah_filter::{Budget, EvalError, FUNCTIONS, Filter, FilterError, MAX_NESTING};
use proptest::prelude::*;
use serde_json::{Value, json};

fn job() -> Value {
    json!({
        "state": "JOB_FAILURE",
        "job": {"id": "4c1f", "pipeline": {"name": "edges", "project": {"name": "default"}}},
        "data_total": "3",
        "restart": 2,
        "reason": "datum failed: exit code 1",
        "worker_status": [{"worker_id": "w1", "queue_size": 4}, {"worker_id": "w2", "queue_size": 0}],
        "details": {"transform": {"image": "Debian:12"}, "parallelism_spec": {"constant": "1"}},
    })
}

fn passes(text: &str) -> bool {
    let filter = Filter::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    filter
        .passes(&job(), &mut Budget::default())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn filters_that_clients_send_select_values() {
    let cases = [
        (r#".state == "JOB_FAILURE" or .state == "JOB_KILLED""#, true),
        (r#".state == "JOB_SUCCESS" or .state == "JOB_KILLED""#, false),
        (r#"select(.state == "JOB_FAILURE")"#, true),
        (r#"select(.job.pipeline.name == "edges")"#, true),
        (r#"select(.job.pipeline.name != "edges")"#, false),
        (
            r#". | select(.state=="JOB_FAILURE" and .job.pipeline.project.name=="default")"#,
            true,
        ),
        (r#"select(.state | IN("JOB_FAILURE", "JOB_KILLED"))"#, true),
        (r#"select(.state | test("^job_(failure|killed)$"; "i"))"#, true),
        (r#"select(.job.id | startswith("4c"))"#, true),
        (r#"select(.job.id | endswith("4c"))"#, false),
        (r#".reason | contains("exit code")"#, true),
        (r#".details.transform.image | ascii_downcase == "debian:12""#, true),
        (r#"any(.worker_status[]; .queue_size > 3)"#, true),
        (r#"all(.worker_status[]; .queue_size > 3)"#, false),
        (r#".worker_status | any(.worker_id == "w2")"#, true),
        (r#".worker_status | map(.worker_id) | contains(["w2"])"#, true),
        (r#"[.worker_status[] | select(.queue_size == 0)] | length == 1"#, true),
        (r#"has("reason") and (has("finished") | not)"#, true),
        (r#".nothing // false"#, false),
        (r#"(.nothing // "none") == "none""#, true),
        (r#"(.data_total | tonumber) >= 3"#, true),
        (
            r#".worker_status[0].worker_id == "w1" and .worker_status[-1]["worker_id"] == "w2""#,
            true,
        ),
        (r#".["state"] == "JOB_FAILURE""#, true),
        (r#"."state" == "JOB_FAILURE""#, true),
        (r#".restart > 1 and .restart < 2.5 and .restart != -2"#, true),
        (r#".nothing.at.all == null"#, true),
        (r#".state.deeper?"#, false),
        (r#"(.state | .deeper)? // true"#, true),
        (r#"(.a)?.b? == null"#, true),
        (r#"[1, 2] | inside([1, 2, 3])"#, true),
        (r#"1 | in([4, 5])"#, true),
        ("true", true),
        ("false", false),
        ("null", false),
        ("0", true),
        ("empty", false),
        (".", true),
        (".nothing", false),
        // The first result decides, and an error after it does not.
        (".restart, (.state | .deeper)", true),
        ("(false, true)", false),
        // `and` binds more tightly than `or`, comparisons more tightly than both.
        ("true or false and false", true),
        ("(true or false) and false", false),
        (r#"("a" < "b") == true"#, true),
        (
            "null < false and false < true and true < 0 and 1 < \"\" and \"b\" < []",
            true,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(passes(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_supported_is_named_with_its_position() {
    for (text, construct, at) in [
        ("error(env)", "the function `env`", 7),
        ("halt", "the function `halt`", 1),
        ("input", "the function `input`", 1),
        ("def f: f; f", "`def`", 1),
        (".a | reduce .[] as $x (0; .)", "`reduce`", 6),
        ("if . then 1 else 2 end", "`if`", 1),
        ("$ENV", "a variable", 1),
        ("env.HOME", "the function `env`", 1),
        (".. | .a", "recursive descent `..`", 1),
        (".a + 1", "the operator `+`", 4),
        (".a |= 1", "the operator `|=`", 4),
        (".a //= 1", "the operator `//=`", 4),
        (".a = 1", "the operator `=`", 4),
        ("-.a", "the operator `-`", 1),
        ("{a: 1}", "an object `{ }`", 1),
        ("@base64", "a format `@`", 1),
        (r#""é\(.a)""#, "an expression `\\( )` in a string", 3),
        (".[1:2]", "a slice `[:]`", 4),
        ("range(10)", "the function `range`", 1),
        ("repeat(.)", "the function `repeat`", 1),
        (". as $x | 1", "`as`", 3),
        ("try 1", "`try`", 1),
        ("# a", "a comment", 1),
    ] {
        let error = Filter::new(text).unwrap_err();
        let expected = FilterError::Unsupported {
            construct: construct.to_owned(),
            at,
        };
        assert_eq!(error, expected, "{text}");
    }
    for (text, at) in [
        (".state ==", 10),
        ("", 1),
        ("(.a", 1),
        (".a)", 3),
        ("\"abc", 1),
        (".a == 1 == 2", 9),
        ("1.2.3", 1),
        (".a b", 4),
        (".a.", 3),
        ("select()", 8),
        ("select(1; 2)", 1),
        (r#"test(.a)"#, 1),
        (r#"test("(")"#, 1),
        (r#"test("a"; "q")"#, 1),
        ("or", 1),
    ] {
        match Filter::new(text).unwrap_err() {
            FilterError::Syntax { at: found, .. } => assert_eq!(found, at, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn an_operation_that_does_not_fit_the_value_fails() {
    for text in [
        ".state.deeper",
        ".state[]",
        ".restart | test(\"a\")",
        ".nothing[]",
        ".state | tonumber",
        "contains(1)",
        ".[true]",
    ] {
        let filter = Filter::new(text).unwrap();
        let error = filter.passes(&job(), &mut Budget::default()).unwrap_err();
        assert!(matches!(error, EvalError::Failed(_)), "{text}: {error}");
    }
}

#[test]
fn texts_are_bounded_in_length_and_nesting() {
    let nested = |depth: usize| format!("{}.{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::new(&nested(MAX_NESTING)).is_ok());
    let at = MAX_NESTING + 1;
    assert_eq!(Filter::new(&nested(at)).unwrap_err(), FilterError::TooDeep { at });
    assert!(matches!(
        Filter::new(&nested(100_000)).unwrap_err(),
        FilterError::TooLong { .. }
    ));
    for open in ["[", ".[", "not(", "select(", "-", "any(1;"] {
        assert!(Filter::new(&open.repeat(4096 / open.len())).is_err(), "{open}");
    }
    assert!(matches!(
        Filter::new(&["[.]"; 65].join("|")).unwrap_err(),
        FilterError::TooManyLists { .. }
    ));
    // Long chains are no nesting.
    for link in [".|", ".,", ".//", ". or ", ". and "] {
        let text = format!("{}.", link.repeat(4000 / link.len()));
        assert!(Filter::new(&text).is_ok(), "{link}");
    }
    for (first, link) in [
        ("", ".a"),
        (".", "[0]"),
        ("", ".a?"),
        (".", "?"),
        ("(.)", "?"),
        ("(.)?", "[]?"),
    ] {
        let text = format!("{first}{}", link.repeat(4000 / link.len()));
        assert!(Filter::new(&text).is_ok(), "{link}");
    }
}

#[test]
fn hostile_filters_end_within_their_budget() {
    let value = json!({"text": "a".repeat(1 << 20), "list": vec!["a".repeat(100); 2000]});
    for text in [
        ["(.,.)"; 400].join("|"),
        format!("{}|length", ["[.[],.[]]"; 60].join("|")),
        format!("[.list[]]|{}", ["[.,.]"; 60].join("|")),
        format!("[.list[]]|{}|tostring", ["[.,.]"; 16].join("|")),
        format!(".text|{}", ["ascii_upcase"; 100].join("|")),
        "[.list[]] == [.list[] | [.list]]".to_owned(),
        ".list as $x".to_owned(),
        ".list | contains([\"b\", \"c\"])".to_owned(),
        "[.list[] | .] | any(.[]; any(1,2,3,4,5,6,7,8,9; false))".to_owned(),
        ".text | test(\"(a|a|a|a|a|a)*b\")".to_owned(),
        ".text | test(\"((a{1,100}){1,100}){1,100}b\")".to_owned(),
        format!("any({}; false)", [".list[]"; 500].join(",")),
        format!("({0}) == ({0})", [".list[]"; 200].join(",")),
    ] {
        let Ok(filter) = Filter::new(&text) else { continue };
        let start = Instant::now();
        let _ = filter.passes(&value, &mut Budget::default());
        assert!(start.elapsed() < Duration::from_secs(5), "{text}");
    }
    let doubling = Filter::new(&["(.,.)"; 40].join("|")).unwrap();
    let result = doubling.passes(&json!(1), &mut Budget::default());
    assert_eq!(result.unwrap_err(), EvalError::TooManySteps);
    let growing = Filter::new(&["[.,.]"; 40].join("|")).unwrap();
    assert!(
        growing
            .passes(&json!(1), &mut Budget::default())
            .unwrap_err()
            .is_over_budget()
    );
    // An error of the budget is not one that `?` hides.
    let hidden = Filter::new(&format!("({})? // true", ["(.,.)"; 40].join("|"))).unwrap();
    assert!(
        hidden
            .passes(&json!(1), &mut Budget::default())
            .unwrap_err()
            .is_over_budget()
    );
}

proptest! {
    #[test]
    fn texts_never_panic_and_positions_are_in_the_text(text in r#"([.\[\](),|?"=<>!/; a1-]|and |or |not|select|any|map|test|"a"|\PC){0,40}"#) {
        match Filter::new(&text) {
            Ok(filter) => {
                let _ = filter.passes(&job(), &mut Budget::new(10_000, 10_000));
            }
            Err(FilterError::TooLong { .. }) => {}
            Err(
                FilterError::TooDeep { at }
                | FilterError::TooManyLists { at }
                | FilterError::Unsupported { at, .. }
                | FilterError::Syntax { at, .. },
            ) => prop_assert!(at >= 1 && at <= text.chars().count() + 1),
        }
    }
}

#[test]
fn the_functions_are_listed_in_order() {
    assert!(FUNCTIONS.is_sorted());
}
