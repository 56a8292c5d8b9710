//! Resources and placement of workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::forms::is_default;

/// Annotations and labels for the containers of a pipeline.
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
    #[serde(skip_serializing_if = "is_default")]
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
    /// The comparison of the key; required.
    #[serde(skip_serializing_if = "is_default")]
    pub operator: TolerationOperator,
    /// Value of the taint.
    #[serde(skip_serializing_if = "is_default")]
    pub value: String,
    /// Effect of the taint.
    #[serde(skip_serializing_if = "is_default")]
    pub effect: TaintEffect,
    /// The time for which the taint is tolerated.
    #[serde(skip_serializing_if = "is_default")]
    pub toleration_seconds: Option<i64>,
}

/// The comparison of a toleration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TolerationOperator {
    /// Not given, which is an error.
    #[default]
    Empty,
    /// The key exists.
    Exists,
    /// The key has the value.
    Equal,
}

/// The effect of a taint.
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
