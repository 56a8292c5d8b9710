//! What every command uses: configuration, connection, project, printer.
//!
//! Nothing is read or opened before a command asks for it, so that commands without a server work without one. The
//! first connection also asks the server for its identity, prints its warnings, and compares its deployment id with
//! the one that the context remembers.

use std::io::{self, BufRead};
use std::sync::OnceLock;

use howdah_api::client::{Client, ClientError, ClientOptions};
use howdah_api::config::{ConfigFile, ConnectionTarget, Env};
use howdah_api::file_broker::FILE_BROKER_HEADER;
use howdah_api::{API_VERSION, admin_v2, convert, versionpb_v2};
use tokio::sync::OnceCell;

use crate::args::Global;
use crate::args::shared::ProjectArg;
use crate::error::CliError;
use crate::output::printer::Printer;

/// The environment of a command.
#[derive(Debug)]
pub(crate) struct Ctx {
    /// The name that the program was called by.
    pub program: String,
    /// Writes to standard output and standard error.
    pub printer: Printer,
    /// The hyphenated name that the command was called by; none for present commands.
    pub hyphenated: Option<&'static str>,
    /// The environment variables that choose a server.
    pub env: Env,
    global: Global,
    client: OnceCell<Client>,
    /// Name of the socket at which the server accepts open files; unset if it accepts none.
    file_broker: OnceLock<String>,
}

impl Ctx {
    /// Makes the environment of a command; nothing is read or opened yet.
    pub(crate) fn new(program: &str, printer: Printer, global: Global, hyphenated: Option<&'static str>) -> Ctx {
        Ctx {
            program: program.to_owned(),
            printer,
            hyphenated,
            env: Env::from_process(),
            global,
            client: OnceCell::new(),
            file_broker: OnceLock::new(),
        }
    }

    /// Reads the configuration.
    pub(crate) fn config(&self) -> Result<ConfigFile, CliError> {
        ConfigFile::load(&self.env).map_err(|error| CliError::refused(self.own_name(&error.to_string())))
    }

    /// Chooses the server.
    pub(crate) fn target(&self) -> Result<ConnectionTarget, CliError> {
        self.config()?
            .target(&self.env)
            .map_err(|error| CliError::refused(self.own_name(&error.to_string())))
    }

    /// Replaces `howdah` in the hints of a library by the name that this program was called by.
    fn own_name(&self, text: &str) -> String {
        text.replace("`howdah ", &format!("`{} ", self.program))
    }

    /// Returns the project to work in: the flag's, else the context's.
    pub(crate) fn project(&self, flag: &ProjectArg) -> Result<String, CliError> {
        match flag.project.as_deref() {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Ok(self.target()?.project),
        }
    }

    /// Returns the connection; the first call opens it.
    pub(crate) async fn client(&self) -> Result<&Client, CliError> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    /// Returns the name of the socket at which the server accepts open files.
    ///
    /// None before the connection is made, and for servers that accept none.
    pub(crate) fn file_broker(&self) -> Option<&str> {
        self.file_broker.get().map(String::as_str)
    }

    async fn connect(&self) -> Result<Client, CliError> {
        let client = self.open(&self.target()?).await?;
        self.greet(&client).await?;
        Ok(client)
    }

    /// Opens a connection and sends no request.
    pub(crate) async fn open(&self, target: &ConnectionTarget) -> Result<Client, CliError> {
        let mut options = ClientOptions::for_target(target);
        options.rpc_timeout = self.global.rpc_timeout;
        options.user_agent = format!("howdah/{}", env!("CARGO_PKG_VERSION"));
        Client::connect(&target.address, options).await.map_err(connect_error)
    }

    /// Asks the server for its identity, prints its warnings, and compares its deployment id with the context's.
    async fn greet(&self, client: &Client) -> Result<(), CliError> {
        let (major, minor, micro) = API_VERSION;
        let target = self.target()?;
        let request = admin_v2::InspectClusterRequest {
            client_version: Some(versionpb_v2::Version {
                major,
                minor,
                micro,
                ..Default::default()
            }),
            current_project: Some(convert::project(&target.project)),
        };
        let cluster = match client.admin().inspect_cluster(request).await {
            Ok(response) => {
                if let Some(name) = response
                    .metadata()
                    .get(FILE_BROKER_HEADER)
                    .and_then(|name| name.to_str().ok())
                {
                    self.file_broker.get_or_init(|| name.to_owned());
                }
                response.into_inner()
            }
            // A server without this call has no identity to check.
            Err(status) if status.code() == tonic::Code::Unimplemented => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        if std::env::var_os("PACHYDERM_IGNORE_VERSION_SKEW").is_none() {
            for warning in &cluster.warnings {
                self.printer.note(format!("warning: {warning}"));
            }
        }
        if cluster.paused {
            self.printer.note("warning: the server is paused");
        }
        match &target.context {
            Some(name) => self.recognise(name, &cluster.deployment_id),
            None => Ok(()),
        }
    }

    /// Compares the server's deployment id with the one the context remembers.
    ///
    /// A context without an address means any server on this machine, so it remembers no id.
    fn recognise(&self, name: &str, deployment: &str) -> Result<(), CliError> {
        let mut config = self.config()?;
        let Some(context) = config.config.v2.contexts.get_mut(name) else {
            return Ok(());
        };
        if context.pachd_address.is_empty() || deployment.is_empty() {
            return Ok(());
        }
        if context.cluster_deployment_id.is_empty() {
            context.cluster_deployment_id = deployment.to_owned();
            // The id is a safeguard only: with a read-only configuration the command must still work.
            if let Err(error) = config.save() {
                tracing::debug!(%error, "cannot remember the server's deployment id");
            }
        } else if context.cluster_deployment_id != deployment {
            return Err(CliError::hinted(
                format!(
                    "the server at {} is not the one that context {name:?} belongs to \
                     (its deployment id is {deployment}, expected {})",
                    context.pachd_address, context.cluster_deployment_id
                ),
                format!(
                    "if that is intended, run `{} config update context {name} --remove-cluster-deployment-id`",
                    self.program
                ),
            ));
        }
        Ok(())
    }

    /// Returns the id of the active transaction.
    pub(crate) fn transaction(&self) -> Result<Option<String>, CliError> {
        Ok(self.target()?.transaction)
    }

    /// Prints that a change was added to the active transaction, if there is one.
    pub(crate) fn note_added(&self) -> Result<(), CliError> {
        if let Some(id) = self.transaction()? {
            self.printer.line(format!("Added to transaction: {id}"))?;
        }
        Ok(())
    }

    /// Asks for a confirmation on standard error. Only y and Y mean yes; the end of input means no.
    pub(crate) fn confirm(&self, yes: bool) -> Result<bool, CliError> {
        if yes {
            return Ok(true);
        }
        self.printer.ask("Are you sure you want to do this? (y/N): ");
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(CliError::io("cannot read the answer"))?;
        if answer.is_empty() {
            self.printer.note("");
        }
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }

    /// Prints the warnings of a successful answer.
    pub(crate) fn warn<T>(&self, response: &tonic::Response<T>) {
        for warning in howdah_api::client::warnings(response) {
            self.printer.note(format!("warning: {warning}"));
        }
    }
}

/// Converts an error of the client library.
pub(crate) fn connect_error(error: ClientError) -> CliError {
    match error {
        ClientError::Unreachable {
            address,
            context,
            reason,
        } => CliError::Connect {
            address: address.to_string(),
            origin: match context {
                Some(name) => format!("context {name:?}"),
                None => "from the environment".to_owned(),
            },
            reason,
        },
        ClientError::Server(status) => status.into(),
        other => CliError::refused(other.to_string()),
    }
}
