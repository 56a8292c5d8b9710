//! The content of a configuration file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::convert;

/// Name of the context that a new file has.
pub(super) const DEFAULT_CONTEXT: &str = "default";

/// The content of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// 32 random hexadecimal digits that identify the user of the file.
    #[serde(default, alias = "userId")]
    pub user_id: String,
    /// The section of 1.x clients. It is read and becomes a context; it is never written.
    #[serde(default, skip_serializing)]
    v1: Option<ConfigV1>,
    /// The contexts and settings.
    #[serde(default)]
    pub v2: ConfigV2,
}

/// The section of 1.x clients.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct ConfigV1 {
    #[serde(default, alias = "pachdAddress")]
    pachd_address: String,
    #[serde(default, alias = "serverCas")]
    server_cas: String,
    #[serde(default, alias = "sessionToken")]
    session_token: String,
    #[serde(default, alias = "activeTransaction")]
    active_transaction: String,
}

/// The contexts and settings of a configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigV2 {
    /// Name of the context in use.
    #[serde(default, alias = "activeContext")]
    pub active_context: String,
    /// Name of the context of the enterprise server. Howdah only keeps it, for other clients.
    #[serde(default, alias = "activeEnterpriseContext", skip_serializing_if = "String::is_empty")]
    pub active_enterprise_context: String,
    /// All contexts by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, ServerContext>,
    /// Whether clients may send usage metrics. Howdah never does.
    #[serde(default)]
    pub metrics: bool,
    /// Most names that a shell completion offers; 0 means the default.
    #[serde(default, alias = "maxShellCompletions", skip_serializing_if = "is_zero")]
    pub max_shell_completions: i64,
}

/// A context: one server, with the session, the project and the transaction to use there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerContext {
    /// Origin of the context: 0 created by a client, 1 migrated from a 1.x file, others imported.
    #[serde(default)]
    pub source: serde_json::Value,
    /// The server's address.
    #[serde(default, alias = "pachdAddress", skip_serializing_if = "String::is_empty")]
    pub pachd_address: String,
    /// Trusted certificates: PEM in base64.
    #[serde(default, alias = "serverCas", skip_serializing_if = "String::is_empty")]
    pub server_cas: String,
    /// The token of the session.
    #[serde(default, alias = "sessionToken", skip_serializing_if = "String::is_empty")]
    pub session_token: String,
    /// Id of the transaction that changes are appended to.
    #[serde(default, alias = "activeTransaction", skip_serializing_if = "String::is_empty")]
    pub active_transaction: String,
    /// The cluster's name in a Kubernetes configuration.
    #[serde(default, alias = "clusterName", skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// The user's name in a Kubernetes configuration.
    #[serde(default, alias = "authInfo", skip_serializing_if = "String::is_empty")]
    pub auth_info: String,
    /// The namespace in a Kubernetes cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Ports forwarded from this machine, by service.
    #[serde(default, alias = "portForwarders", skip_serializing_if = "BTreeMap::is_empty")]
    pub port_forwarders: BTreeMap<String, u16>,
    /// Deployment id of the server at the first connection.
    #[serde(default, alias = "clusterDeploymentId", skip_serializing_if = "String::is_empty")]
    pub cluster_deployment_id: String,
    /// Whether this is an enterprise server. Howdah only keeps it, for other clients.
    #[serde(default, alias = "enterpriseServer", skip_serializing_if = "is_false")]
    pub enterprise_server: bool,
    /// Project of names without a project; empty means `default`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
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
        }
    }
}

impl ServerContext {
    /// Returns a context without an address: the server on this machine.
    pub fn local() -> Self {
        Self {
            source: serde_json::Value::from(0),
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
            source: serde_json::Value::from(1),
            pachd_address: old.pachd_address,
            server_cas: old.server_cas,
            session_token: old.session_token,
            active_transaction: old.active_transaction,
            ..ServerContext::default()
        },
    );
    config
}
