//! From a typed spec to canonical JSON.

use serde_json::Value;

use crate::types::PipelineSpec;

/// Returns the canonical camelCase JSON of a spec; [`parse`](crate::parse) gives the same spec back.
pub fn to_json(spec: &PipelineSpec) -> Value {
    serde_json::to_value(spec).expect("a spec has text keys and finite numbers only")
}

/// Returns the canonical JSON of a spec as indented text, fields in the order of the reference.
pub fn to_text(spec: &PipelineSpec) -> String {
    serde_json::to_string_pretty(spec).expect("a spec has text keys and finite numbers only")
}
