//! Resources and placement: what workers are given and where they may run.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::forms::is_default;

/// Annotations and labels for what the pipeline deploys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Annotations.
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
}

/// Amounts of resources; zero or empty means unset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSpec {
    /// Cores.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "exact")]
    pub cpu: f64,
    /// Memory, a Kubernetes quantity; see [`crate::quantity::bytes`].
    #[serde(skip_serializing_if = "is_default")]
    pub memory: String,
    /// Devices.
    #[serde(skip_serializing_if = "is_default")]
    pub gpu: Option<GpuSpec>,
    /// Ephemeral storage, a Kubernetes quantity.
    #[serde(skip_serializing_if = "is_default")]
    pub disk: String,
}

/// Reads a number to the last bit, so that a spec read back from the log is the one that was written.
fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    // Reading an f64 directly from JSON text takes a fast path that may be off by one bit; a `Number` keeps
    // its text.
    let number = serde_json::Number::deserialize(deserializer)?;
    number
        .as_f64()
        .ok_or_else(|| D::Error::custom("expected a finite number"))
}

/// A number of devices of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpuSpec {
    /// Resource name, for instance `nvidia.com/gpu`.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: String,
    /// How many.
    #[serde(skip_serializing_if = "is_default")]
    pub number: u64,
}

/// Where workers may be placed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulingSpec {
    /// Labels a node must have.
    #[serde(skip_serializing_if = "is_default")]
    pub node_selector: BTreeMap<String, String>,
    /// Priority class of the pods.
    #[serde(skip_serializing_if = "is_default")]
    pub priority_class_name: String,
}

/// A taint that workers tolerate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key of the taint.
    #[serde(skip_serializing_if = "is_default")]
    pub key: String,
    /// How the key is compared; required.
    #[serde(skip_serializing_if = "is_default")]
    pub operator: TolerationOperator,
    /// Value of the taint.
    #[serde(skip_serializing_if = "is_default")]
    pub value: String,
    /// Effect of the taint.
    #[serde(skip_serializing_if = "is_default")]
    pub effect: TaintEffect,
    /// How long the taint is tolerated.
    #[serde(skip_serializing_if = "is_default")]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TolerationOperator {
    /// Not given, which is refused.
    #[default]
    Empty,
    /// The key exists.
    Exists,
    /// The key has the value.
    Equal,
}

/// What a taint does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaintEffect {
    /// Any effect.
    #[default]
    AllEffects,
    /// New pods are not scheduled.
    NoSchedule,
    /// New pods are scheduled elsewhere if possible.
    PreferNoSchedule,
    /// Running pods are evicted.
    NoExecute,
}
