//! Tokens and their owners, from a file.
//!
//! ```text
//! # a comment
//! 2f1d0c... ci
//! 90aa73... alice
//! ```
//!
//! Each line has a token and the name of its owner; several tokens may have the same owner, so that one can be replaced by
//! another. The file is read again when it changes. If it cannot be read then, the tokens that were read before stay.

use std::convert::Infallible;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, bail, ensure};

use crate::caller::Caller;
use crate::file_watch::FileWatch;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most tokens. Each call with a token compares it with all of them.
const MAX_TOKENS: usize = 1_000;
/// Shortest and longest token, in bytes.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=512;
/// Longest name of an owner, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The owner of a token without a name.
const DEFAULT_NAME: &str = "token";

/// The tokens of a file.
#[derive(Debug)]
pub struct Tokens {
    file: PathBuf,
    owners: RwLock<Arc<Vec<OwnedToken>>>,
}

/// The hash of a token, and whose it is. The tokens themselves are not kept.
#[derive(Debug, Clone, PartialEq)]
struct OwnedToken {
    hash: blake3::Hash,
    owner: Caller,
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is not a token and a name. The error has the number of the line and never its text.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            file: file.to_owned(),
            owners: RwLock::new(Arc::new(read(file)?)),
        })
    }

    /// Returns whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.owners().is_empty()
    }

    /// Returns the owner of a token. The time that it takes does not depend on how much of it is right.
    pub fn owner(&self, token: &[u8]) -> Option<Caller> {
        let hash = blake3::hash(token);
        let owners = self.owners();
        let mut found = None;
        for candidate in owners.iter() {
            // This comparison takes the same time for all hashes.
            if candidate.hash == hash {
                found = Some(&candidate.owner);
            }
        }
        found.cloned()
    }

    /// Reads the file again whenever it has changed.
    pub async fn follow(&self) -> Infallible {
        let mut watch = FileWatch::new([self.file.clone()]);
        loop {
            self.reload();
            watch.changed().await;
        }
    }

    fn reload(&self) {
        match read(&self.file) {
            Ok(owners) => {
                let mut current = self.owners.write().unwrap_or_else(PoisonError::into_inner);
                if **current != owners {
                    tracing::info!(tokens = owners.len(), "tokens read again");
                    *current = Arc::new(owners);
                }
            }
            Err(error) => tracing::error!("the tokens stay as they were: {error:#}"),
        }
    }

    fn owners(&self) -> Arc<Vec<OwnedToken>> {
        Arc::clone(&self.owners.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<OwnedToken>> {
    let shown = file.display();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot open {shown} (--auth-token-file)"))?;
    let mode = opened.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("other users of this machine may read the tokens in {shown}: `chmod 600` it");
    }
    let mut text = String::new();
    let read = opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        text.len() as u64 <= MAX_FILE_BYTES,
        "{shown} is larger than {MAX_FILE_BYTES} bytes"
    );
    parse(&text).with_context(|| format!("{shown} has no valid list of tokens"))
}

fn parse(text: &str) -> anyhow::Result<Vec<OwnedToken>> {
    let mut owners = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(token) = words.next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        let name = words.next().unwrap_or(DEFAULT_NAME);
        if words.next().is_some() {
            bail!("line {number}: expected a token and a name without blanks");
        }
        let is_token = TOKEN_BYTES.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(
            is_token,
            "line {number}: a token has 16 to 512 printable ASCII characters"
        );
        ensure!(
            is_name(name),
            "line {number}: a name has at most {MAX_NAME_BYTES} letters, digits and . _ @ -"
        );
        owners.push(OwnedToken {
            hash: blake3::hash(token.as_bytes()),
            owner: Caller::token(name),
        });
        ensure!(owners.len() <= MAX_TOKENS, "it has more than {MAX_TOKENS} tokens");
    }
    Ok(owners)
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CI: &str = "0123456789abcdef-ci";
    const ALICE: &str = "0123456789abcdef-alice";

    #[test]
    fn tokens_have_owners() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(
            &file,
            format!("# all\n\n {CI}\tci \r\n#{ALICE} no\n{ALICE} alice@home\n0123456789abcdef\n"),
        )
        .unwrap();
        let tokens = Tokens::load(&file).unwrap();
        let owner = |token: &str| tokens.owner(token.as_bytes()).map(|owner| owner.to_string());
        assert_eq!(owner(CI).as_deref(), Some("token:ci"));
        assert_eq!(owner(ALICE).as_deref(), Some("token:alice@home"));
        assert_eq!(owner("0123456789abcdef").as_deref(), Some("token:token"));
        for wrong in [
            "",
            "#",
            "ci",
            "0123456789abcdef-c",
            "0123456789abcdef-ci ",
            "0123456789ABCDEF-ci",
        ] {
            assert_eq!(owner(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_line_and_not_the_token() {
        for (text, problem) in [
            ("short ci", "16 to 512"),
            ("0123456789abcdef a b", "without blanks"),
            ("0123456789abcdef a/b", "letters, digits"),
            ("0123456789abcdef\u{e4} a", "printable ASCII"),
        ] {
            let error = format!("{:#}", parse(&format!("\n{text}\n")).unwrap_err());
            assert!(error.contains("line 2") && error.contains(problem), "{error}");
            assert!(!error.contains("0123456789abcdef"), "{error}");
        }
        let many = format!("{CI}\n").repeat(MAX_TOKENS + 1);
        assert!(parse(&many).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_damaged_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, format!("{CI} ci\n")).unwrap();
        let tokens = Arc::new(Tokens::load(&file).unwrap());
        let following = Arc::clone(&tokens);
        let task = tokio::spawn(async move { following.follow().await });
        std::fs::write(&file, format!("{ALICE} alice\n")).unwrap();
        while tokens.owner(ALICE.as_bytes()).is_none() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(tokens.owner(CI.as_bytes()), None, "it was removed");
        std::fs::write(&file, "short\n").unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(tokens.owner(ALICE.as_bytes()).is_some());
        task.abort();
    }
}
