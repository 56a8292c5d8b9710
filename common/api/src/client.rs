//! The connection to a server, with one typed client for each service.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::address::Address;
use crate::config::ConnectionTarget;
use crate::retry::RetryChannel;
use crate::{
    MAX_MESSAGE_BYTES, admin_v2, auth_v2, enterprise_v2, metadata, pfs_v2, pps_v2, transaction_v2, versionpb_v2,
};

/// Request header of the session token.
pub const TOKEN_HEADER: &str = "authn-token";

/// Request header of the transaction that changes are appended to.
pub const TRANSACTION_HEADER: &str = "pach-transaction";

/// Response header with a warning of the server about a successful call.
pub const WARNING_HEADER: &str = "howdah-warning";

/// Default time limit of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The transport of every typed client.
pub type Transport = InterceptedService<RetryChannel, CallHeaders>;

/// Why a call failed. `Display` is one line for a person, without details of the transport.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server cannot be reached.
    #[error("{}", unreachable_text(.address, .context.as_deref(), .reason))]
    Unreachable {
        /// The address.
        address: Box<Address>,
        /// Name of the context of the address, if it has one.
        context: Option<String>,
        /// The text of the operating system.
        reason: String,
    },
    /// The address is valid, but this version cannot connect to it.
    #[error("cannot connect to {address}: {problem}")]
    Unsupported {
        /// The address.
        address: Box<Address>,
        /// Why.
        problem: String,
    },
    /// A setting cannot be sent as a header.
    #[error("{what} cannot be sent to the server: it holds characters outside printable ASCII")]
    Header {
        /// The setting.
        what: &'static str,
    },
    /// The server answered with an error.
    #[error("{}", status_text(.0))]
    Server(#[from] Status),
}

impl ClientError {
    /// Returns the gRPC code of the answer; `Unavailable` without an answer.
    pub fn code(&self) -> Code {
        match self {
            Self::Server(status) => status.code(),
            _ => Code::Unavailable,
        }
    }

    /// Returns whether the server answered that something does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Code::NotFound
    }
}

fn unreachable_text(address: &Address, context: Option<&str>, reason: &str) -> String {
    match context {
        Some(context) => format!(
            "cannot connect to {address} (context {context:?}): {reason}; start a server with \
             `howdah up`, or name another with `howdah connect ADDRESS` or PACHD_ADDRESS"
        ),
        None => format!(
            "cannot connect to {address} (from the environment): {reason}; start a server with \
             `howdah up`, or change PACHD_ADDRESS"
        ),
    }
}

fn status_text(status: &Status) -> String {
    match (status.code(), status.message()) {
        (code, "") => format!("the server answered {code:?} without saying why"),
        // Texts of the transport when the connection breaks during a call.
        (_, text) if text == "transport error" || text.starts_with("h2 protocol error") => {
            "the connection to the server was lost; is it still running, and is its address right (grpcs:// if it has a \
             certificate)?"
                .to_owned()
        }
        (_, message) => message.to_owned(),
    }
}

/// Options of a connection.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Session token to send.
    pub token: Option<String>,
    /// Certificates that the server's must be signed by: PEM, plain or in base64. `None` means those that the system trusts.
    pub server_cas: Option<String>,
    /// Files with the certificate of this client and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Id of the transaction that changes are appended to.
    pub transaction: Option<String>,
    /// Name and version of the program, for the logs of the server.
    pub user_agent: String,
    /// Name of the context of the address, for error messages.
    pub context: Option<String>,
    /// Time limit of connecting.
    pub connect_timeout: Duration,
    /// Time limit of a call; `None` means no limit.
    pub rpc_timeout: Option<Duration>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            token: None,
            server_cas: None,
            identity: None,
            transaction: None,
            user_agent: format!("howdah/{}", env!("CARGO_PKG_VERSION")),
            context: None,
            connect_timeout: CONNECT_TIMEOUT,
            rpc_timeout: None,
        }
    }
}

impl ClientOptions {
    /// Returns options with the token, the transaction and the context name of a target.
    pub fn for_target(target: &ConnectionTarget) -> Self {
        Self {
            token: target.token.clone(),
            server_cas: target.server_cas.clone(),
            identity: target.identity.clone(),
            transaction: target.transaction.clone(),
            context: target.context.clone(),
            ..Self::default()
        }
    }
}

/// Returns how a server of this name is recognised. The error is a problem for the user.
fn tls_config(host: &str, options: &ClientOptions) -> Result<ClientTlsConfig, String> {
    let config = ClientTlsConfig::new().domain_name(host);
    let config = match &options.server_cas {
        None => config.with_native_roots(),
        Some(text) => config.ca_certificate(Certificate::from_pem(pem(text)?)),
    };
    let Some((cert, key)) = &options.identity else {
        return Ok(config);
    };
    let read = |file: &PathBuf| std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()));
    Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?)))
}

/// Returns certificates in PEM from PEM or its base64.
fn pem(text: &str) -> Result<String, String> {
    if text.contains("-----BEGIN") {
        return Ok(text.to_owned());
    }
    let compact: String = text.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(compact).ok();
    decoded
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| text.contains("-----BEGIN"))
        .ok_or_else(|| "server_cas of its context is not PEM in base64".to_owned())
}

/// Adds token and transaction to every call.
#[derive(Debug, Clone, Default)]
pub struct CallHeaders {
    token: Option<MetadataValue<Ascii>>,
    transaction: Option<MetadataValue<Ascii>>,
}

impl tonic::service::Interceptor for CallHeaders {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert(TOKEN_HEADER, token.clone());
        }
        if let Some(transaction) = &self.transaction {
            request.metadata_mut().insert(TRANSACTION_HEADER, transaction.clone());
        }
        Ok(request)
    }
}

/// A connection to a server. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct Client {
    channel: RetryChannel,
    headers: CallHeaders,
    address: Address,
}

macro_rules! typed_clients {
    ($($(#[$doc:meta])* $name:ident: $module:ident,)*) => {
        $($(#[$doc])*
        pub fn $name(&self) -> $module::api_client::ApiClient<Transport> {
            $module::api_client::ApiClient::with_interceptor(
                self.channel.clone(),
                self.headers.clone(),
            )
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
        })*
    };
}

impl Client {
    /// Connects to a server. Returns when the server has accepted the connection.
    pub async fn connect(address: &Address, options: ClientOptions) -> Result<Self, ClientError> {
        let headers = CallHeaders {
            token: header(options.token.as_deref(), "the session token")?,
            transaction: header(options.transaction.as_deref(), "the id of the transaction")?,
        };
        let uri = match address {
            Address::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                if host.contains(':') {
                    format!("{scheme}://[{host}]:{port}")
                } else {
                    format!("{scheme}://{host}:{port}")
                }
            }
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        let unreachable = |error: tonic::transport::Error| ClientError::Unreachable {
            address: Box::new(address.clone()),
            context: options.context.clone(),
            reason: innermost(&error),
        };
        let mut endpoint = Endpoint::from_shared(uri)
            .and_then(|endpoint| endpoint.user_agent(options.user_agent.clone()))
            .map_err(unreachable)?
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            // Calls that follow, subscribe or wait are open for hours without a byte. Without pings, the client would
            // not notice a server that is gone.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            // With the default window of 64 KiB, a large transfer waits for each acknowledgement.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            // Each frame has a fixed cost, which the default of 16 KiB pays too often.
            .max_frame_size(256 << 10);
        if let Address::Tcp { host, tls: true, .. } = address {
            let tls = tls_config(host, &options).map_err(|problem| ClientError::Unsupported {
                address: Box::new(address.clone()),
                problem,
            })?;
            endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
        }
        if let Some(timeout) = options.rpc_timeout {
            endpoint = endpoint.timeout(timeout);
        }
        Ok(Self {
            channel: RetryChannel::new(endpoint.connect().await.map_err(unreachable)?, options.rpc_timeout),
            headers,
            address: address.clone(),
        })
    }

    /// Returns the server's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a client with the same connection and another transaction, or none.
    pub fn with_transaction(&self, id: Option<&str>) -> Result<Self, ClientError> {
        let mut other = self.clone();
        other.headers.transaction = header(id, "the id of the transaction")?;
        Ok(other)
    }

    typed_clients! {
        /// Returns the client of the file system: projects, repos, branches, commits, files.
        pfs: pfs_v2,
        /// Returns the client of pipelines, jobs, datums, logs and secrets.
        pps: pps_v2,
        /// Returns the client of transactions.
        transactions: transaction_v2,
        /// Returns the client that asks for the server's version.
        version: versionpb_v2,
        /// Returns the client that asks for the server's identity.
        admin: admin_v2,
        /// Returns the client that edits metadata.
        metadata: metadata,
        /// Returns the client of access control.
        auth: auth_v2,
        /// Returns the client that asks for the licence state.
        enterprise: enterprise_v2,
    }
}

fn header(value: Option<&str>, what: &'static str) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
    match value {
        None | Some("") => Ok(None),
        Some(value) => value.parse().map(Some).map_err(|_| ClientError::Header { what }),
    }
}

/// Returns the text of the last source of an error, which is that of the operating system.
fn innermost(error: &tonic::transport::Error) -> String {
    let mut current: &dyn std::error::Error = error;
    while let Some(source) = current.source() {
        current = source;
    }
    let text = current.to_string();
    // "Connection refused (os error 111)": the number is of no use to a user.
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// Returns the warnings in the headers of a successful answer.
pub fn warnings<T>(response: &tonic::Response<T>) -> Vec<String> {
    response
        .metadata()
        .get_all(WARNING_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_its_context_and_a_remedy() {
        // Port 1 is reserved and nothing listens on it.
        let address = Address::tcp("127.0.0.1", 1);
        let options = ClientOptions {
            context: Some("local".into()),
            ..ClientOptions::default()
        };
        let error = Client::connect(&address, options).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot connect to grpc://127.0.0.1:1 (context \"local\"): Connection refused; start \
             a server with `howdah up`, or name another with `howdah connect ADDRESS` or \
             PACHD_ADDRESS"
        );
    }

    #[test]
    fn an_error_of_the_server_is_only_its_sentence() {
        let error = ClientError::from(Status::not_found("repo default/images not found"));
        assert_eq!(error.to_string(), "repo default/images not found");
        assert!(error.is_not_found());
    }
}
