//! Users of the embedded NATS server: random passwords in files that only the user of `howdah up` can read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use howdah_queue::server_config::{COORDINATOR_USER, WORKER_USER, authorization};

use super::private_file::write;

/// Files for the users of a server.
#[derive(Clone)]
pub(super) struct NatsUsers {
    /// Configuration of the server.
    pub server_config: PathBuf,
    /// Credentials of the coordinator.
    pub coordinator: PathBuf,
    /// Credentials of workers.
    pub worker: PathBuf,
}

impl NatsUsers {
    /// Makes the files in a folder. Passwords that are there already are kept, so that workers of their own process can
    /// connect again after a restart.
    ///
    /// # Errors
    /// When a file cannot be read or written, or credentials in it are damaged.
    pub(super) fn make(folder: &Path) -> anyhow::Result<Self> {
        let users = Self {
            server_config: folder.join("server.conf"),
            coordinator: folder.join("coordinator.credentials"),
            worker: folder.join("worker.credentials"),
        };
        let coordinator = password(&users.coordinator, COORDINATOR_USER)?;
        let worker = password(&users.worker, WORKER_USER)?;
        write(&users.server_config, &authorization(&coordinator, &worker))?;
        Ok(users)
    }
}

/// Returns the password in a file of credentials, which is made if necessary.
fn password(file: &Path, user: &str) -> anyhow::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) => match text.trim().strip_prefix(user).and_then(|rest| rest.strip_prefix(':')) {
            Some(password) if is_legal(password) => Ok(password.to_owned()),
            _ => bail!("{} is damaged: delete it, and a new one is made", file.display()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bytes: [u8; 16] = rand::random();
            let password = hex::encode(bytes);
            write(file, &format!("{user}:{password}\n"))?;
            Ok(password)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Returns whether a password can be written into the configuration of the server.
fn is_legal(password: &str) -> bool {
    password.len() >= 16 && password.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn passwords_are_random_private_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let users = NatsUsers::make(folder.path()).unwrap();
        let read = |file: &Path| fs::read_to_string(file).unwrap();
        let (coordinator, worker) = (read(&users.coordinator), read(&users.worker));
        let files = [&users.server_config, &users.coordinator, &users.worker];
        for file in files {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let secret = |line: &str| line.trim().split_once(':').unwrap().1.to_owned();
        assert_ne!(secret(&coordinator), secret(&worker));
        assert!(read(&users.server_config).contains(&secret(&worker)));
        NatsUsers::make(folder.path()).unwrap();
        assert_eq!((read(&users.coordinator), read(&users.worker)), (coordinator, worker));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "worker:x\" }", "joe:0123456789abcdef"] {
            fs::write(folder.path().join("worker.credentials"), text).unwrap();
            let error = NatsUsers::make(folder.path()).err().unwrap();
            assert!(error.to_string().contains("worker.credentials is damaged"), "{error}");
        }
    }
}
