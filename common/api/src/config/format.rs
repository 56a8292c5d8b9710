//! The content of a configuration file.
//!
//! Several programs write the file, and each has its own form: the JupyterLab extension and the Python SDK write `null`
//! for what is not set, others write keys in camel case or numbers as text. So in every place `null` means "not set",
//! each key and number is read in all its forms, and keys that are not known are kept when the file is written.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::address::Address;
use crate::convert;

/// Name of the context that a new file has.
pub(super) const DEFAULT_CONTEXT: &str = "default";

/// The content of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// 32 random hexadecimal digits that identify the user of the file.
    #[serde(default, alias = "userId", deserialize_with = "or_default")]
    pub user_id: String,
    /// The section of 1.x clients. It is read and becomes a context; it is never written.
    #[serde(default, skip_serializing)]
    v1: Option<ConfigV1>,
    /// The contexts and settings.
    #[serde(default, deserialize_with = "or_default")]
    pub v2: ConfigV2,
    /// Keys of other programs.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The section of 1.x clients.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct ConfigV1 {
    #[serde(default, alias = "pachdAddress", deserialize_with = "or_default")]
    pachd_address: String,
    #[serde(default, alias = "serverCas", deserialize_with = "or_default")]
    server_cas: String,
    #[serde(default, alias = "sessionToken", deserialize_with = "or_default")]
    session_token: String,
    #[serde(default, alias = "activeTransaction", deserialize_with = "or_default")]
    active_transaction: String,
}

/// The contexts and settings of a configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigV2 {
    /// Name of the context in use.
    #[serde(default, alias = "activeContext", deserialize_with = "or_default")]
    pub active_context: String,
    /// Name of the context of the enterprise server. Howdah only keeps it, for other clients.
    #[serde(
        default,
        alias = "activeEnterpriseContext",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub active_enterprise_context: String,
    /// All contexts by name.
    #[serde(default, deserialize_with = "without_nulls")]
    pub contexts: BTreeMap<String, ServerContext>,
    /// Whether clients may send usage metrics. Howdah never does.
    #[serde(default, deserialize_with = "or_default")]
    pub metrics: bool,
    /// Most names that a shell completion offers; 0 means the default.
    #[serde(
        default,
        alias = "maxShellCompletions",
        deserialize_with = "number",
        skip_serializing_if = "is_zero"
    )]
    pub max_shell_completions: i64,
    /// Keys of other programs.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A context: one server, with the session, the project and the transaction to use there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerContext {
    /// Origin of the context: 0 created by a client, 1 migrated from a 1.x file, others imported. A number or a name.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub source: Value,
    /// The server's address.
    #[serde(
        default,
        alias = "pachdAddress",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub pachd_address: String,
    /// Trusted certificates: PEM in base64.
    #[serde(
        default,
        alias = "serverCas",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub server_cas: String,
    /// The token of the session.
    #[serde(
        default,
        alias = "sessionToken",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub session_token: String,
    /// Id of the transaction that changes are appended to.
    #[serde(
        default,
        alias = "activeTransaction",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub active_transaction: String,
    /// The cluster's name in a Kubernetes configuration.
    #[serde(
        default,
        alias = "clusterName",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub cluster_name: String,
    /// The user's name in a Kubernetes configuration.
    #[serde(
        default,
        alias = "authInfo",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub auth_info: String,
    /// The namespace in a Kubernetes cluster.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Ports forwarded from this machine, by service.
    #[serde(
        default,
        alias = "portForwarders",
        deserialize_with = "ports",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub port_forwarders: BTreeMap<String, u32>,
    /// Deployment id of the server at the first connection.
    #[serde(
        default,
        alias = "clusterDeploymentId",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub cluster_deployment_id: String,
    /// Whether this is an enterprise server. Howdah only keeps it, for other clients.
    #[serde(
        default,
        alias = "enterpriseServer",
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub enterprise_server: bool,
    /// Project of names without a project; empty means `default`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Keys of other programs.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Reads a value; `null` is the default.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a map; `null` is an empty one, and a name with the value `null` is not in it.
fn without_nulls<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let map: Option<BTreeMap<String, Option<T>>> = Option::deserialize(deserializer)?;
    let present = map.unwrap_or_default().into_iter();
    Ok(present.filter_map(|(name, value)| Some((name, value?))).collect())
}

/// A number as a number or as text: the JSON form of protobuf has large numbers as text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number")]
enum AnyNumber {
    Number(i64),
    Text(String),
}

impl AnyNumber {
    fn value<E: Error>(self) -> Result<i64, E> {
        match self {
            AnyNumber::Number(number) => Ok(number),
            AnyNumber::Text(text) => text
                .parse()
                .map_err(|_| E::custom(format!("invalid value: {text:?}, expected a number"))),
        }
    }
}

/// Reads a number; `null` is zero.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Option::<AnyNumber>::deserialize(deserializer)?.map_or(Ok(0), AnyNumber::value)
}

/// Reads ports by name. Whether they are ports matters only to a client that uses one.
fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u32>, D::Error> {
    let ports: BTreeMap<String, AnyNumber> = without_nulls(deserializer)?;
    let port = |(name, number): (String, AnyNumber)| -> Result<(String, u32), D::Error> {
        let value: i64 = number.value()?;
        let port = u32::try_from(value).map_err(|_| D::Error::custom(format!("invalid port {value} of {name:?}")))?;
        Ok((name, port))
    };
    ports.into_iter().map(port).collect()
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Default for ConfigV2 {
    fn default() -> Self {
        Self {
            active_context: DEFAULT_CONTEXT.to_owned(),
            active_enterprise_context: String::new(),
            contexts: BTreeMap::from([(DEFAULT_CONTEXT.to_owned(), ServerContext::local())]),
            metrics: false,
            max_shell_completions: 0,
            other: Map::new(),
        }
    }
}

impl ServerContext {
    /// Returns a context without an address: the server on this machine.
    pub fn local() -> Self {
        Self {
            source: Value::from(0),
            ..Self::default()
        }
    }

    /// Returns a context for an address.
    pub fn at(address: &Address) -> Self {
        Self {
            pachd_address: address.to_string(),
            ..Self::local()
        }
    }

    /// Returns the project in use.
    pub fn project(&self) -> &str {
        match self.project.as_str() {
            "" => convert::DEFAULT_PROJECT,
            name => name,
        }
    }
}

/// Returns a configuration whose 1.x section has become the context `default`. If it has contexts, the section is
/// dropped.
pub(super) fn migrate(mut config: Config) -> Config {
    let Some(old) = config.v1.take() else {
        return config;
    };
    if config.v2 != ConfigV2::default() {
        return config;
    }
    config.v2.contexts.insert(
        DEFAULT_CONTEXT.to_owned(),
        ServerContext {
            source: Value::from(1),
            pachd_address: old.pachd_address,
            server_cas: old.server_cas,
            session_token: old.session_token,
            active_transaction: old.active_transaction,
            ..ServerContext::default()
        },
    );
    config
}
