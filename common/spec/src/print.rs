//! Prints a typed spec as canonical JSON.

use serde_json::Value;

use crate::types::PipelineSpec;

/// Returns the canonical JSON of a spec; [`parse`](crate::parse) of it returns the same spec.
pub fn to_json(spec: &PipelineSpec) -> Value {
    serde_json::to_value(spec).expect("a spec has text keys and finite numbers only")
}

/// Returns the canonical JSON of a spec as indented text, with the fields in the order of the documentation.
pub fn to_text(spec: &PipelineSpec) -> String {
    serde_json::to_string_pretty(spec).expect("a spec has text keys and finite numbers only")
}
