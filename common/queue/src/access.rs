//! How to get into a NATS server: credentials, authorities of its certificate, and where plain connections may go.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_nats::{ConnectOptions, ServerAddr};

use crate::error::{NatsCause, QueueError};

/// Credentials and certificates for NATS, as flags of a program. Every flag `--a-b` is also read from `HOWDAH_A_B`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NatsAccess {
    /// File with credentials for NATS: a .creds file, or a line USER:PASSWORD
    #[arg(long, env = "HOWDAH_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,
    /// File with certificates (PEM) of the authorities that sign those of NATS, beside the system's; requires TLS
    #[arg(long, env = "HOWDAH_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// Connect to NATS on other machines without TLS: others on the network can read all messages
    #[arg(long, env = "HOWDAH_INSECURE_PLAIN_NATS")]
    pub insecure_plain_nats: bool,
}

impl NatsAccess {
    /// Returns the access of a program that reads its credentials from a file and only uses this machine.
    pub fn with_credentials(file: PathBuf) -> Self {
        Self {
            nats_credentials: Some(file),
            ..Self::default()
        }
    }

    /// Adds credentials and certificates to the options of a connection.
    ///
    /// # Errors
    /// When a file cannot be used, or a plain connection would leave this machine.
    pub(crate) fn apply(
        &self,
        addresses: &[ServerAddr],
        options: ConnectOptions,
    ) -> Result<ConnectOptions, QueueError> {
        let mut options = options;
        if let Some(file) = &self.nats_ca {
            check_readable(file)?;
            options = options.add_root_certificates(file.clone()).require_tls(true);
        } else if !self.insecure_plain_nats {
            if let Some(address) = addresses.iter().find(|address| !is_safe(address)) {
                return Err(QueueError::Plain {
                    host: address.host().to_owned(),
                });
            }
            // A server may announce others, which would be used without TLS.
            if addresses
                .iter()
                .any(|address| !["tls", "wss"].contains(&address.scheme()))
            {
                options = options.ignore_discovered_servers();
            } else if addresses.iter().all(|address| address.scheme() == "tls") {
                options = options.require_tls(true);
            }
        }
        if let Some(file) = &self.nats_credentials {
            return read_credentials(file)?.apply(file, options);
        }
        // The client library does not read them from the address.
        let in_address = addresses.iter().find_map(|one| one.username().zip(one.password()));
        Ok(match in_address {
            Some((user, password)) => options.user_and_password(user.to_owned(), password.to_owned()),
            None => options,
        })
    }
}

/// Returns whether what is sent to the server is encrypted, or stays on this machine.
fn is_safe(address: &ServerAddr) -> bool {
    let host = address.host();
    let is_loopback = host
        .parse::<IpAddr>()
        .map_or(host == "localhost", |ip| ip.is_loopback());
    is_loopback || ["tls", "wss"].contains(&address.scheme())
}

/// The content of a file with credentials.
#[derive(PartialEq, Eq)]
enum Credentials {
    /// As the tools of NATS write it.
    Jwt(String),
    UserAndPassword(String, String),
}

impl Credentials {
    fn apply(self, file: &Path, options: ConnectOptions) -> Result<ConnectOptions, QueueError> {
        match self {
            Self::UserAndPassword(user, password) => Ok(options.user_and_password(user, password)),
            Self::Jwt(text) => options.credentials(&text).map_err(|error| access_error(file, error)),
        }
    }
}

fn read_credentials(file: &Path) -> Result<Credentials, QueueError> {
    let text = std::fs::read_to_string(file).map_err(|error| access_error(file, error))?;
    parse_credentials(&text).ok_or_else(|| access_error(file, "expected a .creds file, or one line USER:PASSWORD"))
}

/// Reads the content of a file with credentials. Empty lines and lines that begin with `#` do not count.
fn parse_credentials(text: &str) -> Option<Credentials> {
    if text.contains("-----BEGIN NATS USER JWT-----") {
        return Some(Credentials::Jwt(text.to_owned()));
    }
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (user, password) = lines.next()?.split_once(':')?;
    let valid = !user.is_empty() && !password.is_empty() && lines.next().is_none();
    valid.then(|| Credentials::UserAndPassword(user.to_owned(), password.to_owned()))
}

fn check_readable(file: &Path) -> Result<(), QueueError> {
    let opened = std::fs::File::open(file).map(drop);
    opened.map_err(|error| access_error(file, error))
}

fn access_error(file: &Path, error: impl std::fmt::Display) -> QueueError {
    QueueError::Access {
        file: file.to_owned(),
        source: NatsCause::of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_connections_stay_on_this_machine() {
        let apply = |access: &NatsAccess, url: &str| {
            let addresses = [url.parse().unwrap()];
            access.apply(&addresses, ConnectOptions::new()).map(drop)
        };
        let default = NatsAccess::default();
        for url in [
            "nats://127.0.0.1:1",
            "nats://localhost",
            "nats://[::1]:4222",
            "tls://nats.example.com",
        ] {
            assert!(apply(&default, url).is_ok(), "{url}");
        }
        for url in [
            "nats://10.0.0.1",
            "nats.example.com:4222",
            "nats://localhost.example.com",
            "nats://0.0.0.0",
        ] {
            let refused = apply(&default, url);
            assert!(matches!(refused, Err(QueueError::Plain { .. })), "{url}");
            let insecure = NatsAccess {
                insecure_plain_nats: true,
                ..NatsAccess::default()
            };
            assert!(apply(&insecure, url).is_ok(), "{url}");
        }
    }

    #[test]
    fn credentials_are_one_line_or_a_creds_file() {
        let parsed = |text: &str| parse_credentials(text);
        let expected = Credentials::UserAndPassword("joe".to_owned(), "a:b".to_owned());
        assert!(parsed("# comment\n\njoe:a:b\n") == Some(expected));
        let creds = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n";
        assert!(parsed(creds) == Some(Credentials::Jwt(creds.to_owned())));
        for wrong in ["", "# only a comment", "joe", ":secret", "joe:", "joe:a\njim:b"] {
            assert!(parsed(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_error_about_a_file_names_it_and_not_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(&file, "secret").unwrap();
        let access = NatsAccess::with_credentials(file);
        let error = access.apply(&[], ConnectOptions::new()).map(drop).unwrap_err();
        let text = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(
            text.contains("credentials") && text.contains("USER:PASSWORD") && !text.contains("secret"),
            "{text}"
        );
    }
}
