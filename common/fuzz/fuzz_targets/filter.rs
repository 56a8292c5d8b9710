//! Compiles an arbitrary text (first line) as a filter and asks it about an arbitrary JSON value (the rest).
#![no_main]

use howdah_filter::{Budget, Filter, FilterError};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &str| {
    let (text, value) = data.split_once('\n').unwrap_or((data, ""));
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| {
        json!({"state": "JOB_FAILURE", "job": {"id": "4c1f"}, "list": [1, "a", null, [2.5, {"b": true}]]})
    });
    match Filter::new(text) {
        Ok(filter) => {
            let answer = filter.passes(&value, &mut Budget::default());
            // The same again, and with a smaller budget the same or an error of the budget.
            assert_eq!(filter.passes(&value, &mut Budget::default()), answer);
            let small = filter.passes(&value, &mut Budget::new(100, 1000));
            assert!(small == answer || small.is_err_and(|error| error.is_over_budget()));
        }
        Err(FilterError::TooLong { bytes }) => assert_eq!(bytes, text.len()),
        Err(
            FilterError::TooDeep { at }
            | FilterError::TooManyLists { at }
            | FilterError::Unsupported { at, .. }
            | FilterError::Syntax { at, .. },
        ) => assert!(at >= 1 && at <= text.chars().count() + 1),
    }
});
