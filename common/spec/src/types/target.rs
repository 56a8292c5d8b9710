//! Targets outside of the store: egress, services, spouts.

use serde::{Deserialize, Serialize};

use super::forms::is_default;

/// The target that finished output is copied to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Egress {
    /// An object storage URL, in the oldest form.
    #[serde(rename = "URL")]
    Url(String),
    /// An object storage URL.
    ObjectStorage(ObjectStorageEgress),
    /// Tables of a database.
    SqlDatabase(SqlDatabaseEgress),
}

/// An object storage destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorageEgress {
    /// For instance `s3://bucket/prefix`.
    pub url: String,
}

/// A database destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SqlDatabaseEgress {
    /// Connection URL without password.
    pub url: String,
    /// The conversion of files to rows.
    #[serde(skip_serializing_if = "is_default")]
    pub file_format: Option<FileFormat>,
    /// The secret with the password.
    #[serde(skip_serializing_if = "is_default")]
    pub secret: Option<SqlSecret>,
}

/// The conversion of files to rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileFormat {
    /// Format of the files.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: FileFormatKind,
    /// Column order for CSV, keys for JSON.
    #[serde(skip_serializing_if = "is_default")]
    pub columns: Vec<String>,
}

/// The format of files that become rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileFormatKind {
    /// Not given.
    #[default]
    Unknown,
    /// Comma-separated values.
    Csv,
    /// One JSON object per row.
    Json,
    /// Parquet.
    Parquet,
}

/// A key of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SqlSecret {
    /// Name of the secret.
    pub name: String,
    /// Key within it.
    pub key: String,
}

/// A network address for the user code. Zero or empty means unset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// The port that the user code listens on.
    #[serde(skip_serializing_if = "is_default")]
    pub internal_port: u16,
    /// The port for clients.
    #[serde(skip_serializing_if = "is_default")]
    pub external_port: u16,
    /// The desired address.
    #[serde(skip_serializing_if = "is_default")]
    pub ip: String,
    /// The kind of address.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: ServiceType,
}

/// The kind of address of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// A port on every node.
    #[default]
    NodePort,
    /// An address inside the cluster.
    ClusterIP,
    /// An address of the load balancer of the cloud.
    LoadBalancer,
}

/// Code that runs continuously and writes its own commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spout {
    /// Network address of the spout.
    #[serde(skip_serializing_if = "is_default")]
    pub service: Option<Service>,
}

/// Settings of a training product; stored but not used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Determined {
    /// Workspaces of that product.
    #[serde(skip_serializing_if = "is_default")]
    pub workspaces: Vec<String>,
}
