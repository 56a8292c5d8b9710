//! Ways out of a pipeline: egress, services, spouts.

use serde::{Deserialize, Serialize};

use super::forms::is_default;

/// Where finished output is copied to.
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
    /// How files become rows.
    #[serde(skip_serializing_if = "is_default")]
    pub file_format: Option<FileFormat>,
    /// Where the password is.
    #[serde(skip_serializing_if = "is_default")]
    pub secret: Option<SqlSecret>,
}

/// How files become rows.
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

/// Format of files that become rows.
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
    /// Port the code listens on.
    #[serde(skip_serializing_if = "is_default")]
    pub internal_port: u16,
    /// Port offered outside.
    #[serde(skip_serializing_if = "is_default")]
    pub external_port: u16,
    /// Address wanted.
    #[serde(skip_serializing_if = "is_default")]
    pub ip: String,
    /// How it is offered.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: ServiceType,
}

/// How a service is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// A port on every node.
    #[default]
    NodePort,
    /// An address inside the cluster.
    ClusterIP,
    /// An address of the cloud's load balancer.
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

/// Ties to a training product; stored only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Determined {
    /// Workspaces of that product.
    #[serde(skip_serializing_if = "is_default")]
    pub workspaces: Vec<String>,
}
