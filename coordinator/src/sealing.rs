//! Sealing: values of secrets are encrypted before they become part of a command, and so of the log and of snapshots.
//!
//! A sealed value is a text: `sealed:1:KEY:DATA`. KEY is the id of the key, which says nothing about the key itself; DATA
//! is nonce and ciphertext (XChaCha20-Poly1305) in hex. The name of the secret is authenticated with the value, so a value
//! that is moved to another secret cannot be opened.
//!
//! The key is a file of 64 hex digits, readable by its owner only. A coordinator without a key, or with another one, runs
//! all the same: only calls that need values are refused.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, Zeroizing};

const PREFIX: &str = "sealed:1:";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Bytes of the id of a key.
const ID_BYTES: usize = 8;
/// Longest file that is read as a key. A key with its newline is shorter.
const MAX_KEY_FILE_BYTES: u64 = 4096;
/// What a key file should be, for messages.
const EXPECTED: &str = "64 hex digits, such as `openssl rand -hex 32` prints";

/// The key of an installation.
pub struct SecretKey {
    cipher: XChaCha20Poly1305,
    id: String,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SecretKey {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let mut hash = Blake2b::<U32>::new();
        hash.update(b"howdah secret key id");
        hash.update(key);
        let id = hex::encode(&hash.finalize()[..ID_BYTES]);
        let cipher = XChaCha20Poly1305::new(Key::from_slice(key));
        Self { cipher, id }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When the file cannot be read, or does not hold a key. The error does not show what it holds.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let meta = fs::metadata(path).with_context(|| format!("cannot read the key for secrets, {shown}"))?;
        if !meta.is_file() || meta.len() > MAX_KEY_FILE_BYTES {
            bail!("{shown} is not a key for secrets: expected {EXPECTED}");
        }
        if meta.mode() & 0o077 != 0 {
            tracing::warn!(file = %shown, "the key for secrets can be read by other users: chmod 600");
        }
        let text = fs::read(path).with_context(|| format!("cannot read the key for secrets, {shown}"))?;
        let text = Zeroizing::new(text);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if hex::decode_to_slice(text.trim_ascii(), &mut *key).is_err() {
            bail!("{shown} is not a key for secrets: expected {EXPECTED}");
        }
        Ok(Self::new(&key))
    }

    /// Reads a key file. If there is none, makes one of mode 0600 with a random key.
    ///
    /// # Errors
    /// As [`SecretKey::read`], or when the file cannot be written.
    pub fn read_or_make(path: &Path) -> anyhow::Result<Self> {
        if !path.try_exists().unwrap_or(false) {
            make_key(path).with_context(|| format!("cannot make the key for secrets, {}", path.display()))?;
        }
        Self::read(path)
    }
}

/// Makes a key file. It gets its name when it is complete: a start that is interrupted must not end with an empty key.
fn make_key(path: &Path) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let made = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|file| write_key(&file))
        .and_then(|()| match fs::hard_link(&new, path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let _ = fs::remove_file(&new);
    made?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a random key and waits until it is on disk: what is sealed under a key that is lost is lost.
fn write_key(mut file: &File) -> io::Result<()> {
    let mut key = XChaCha20Poly1305::generate_key(&mut OsRng);
    let text = Zeroizing::new(format!("{}\n", hex::encode(key)));
    key.zeroize();
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Why a value cannot be sealed or opened. The texts say what to do and show no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The coordinator has no key.
    #[error("this coordinator has no key for secrets: start it with --secret-key-file FILE")]
    NoKey,
    /// The value is sealed under another key.
    #[error(
        "secret {0:?} is sealed under another key than that of --secret-key-file: give that key, or create it again"
    )]
    OtherKey(String),
    /// The value was changed, or belongs to another secret.
    #[error("the stored value of secret {0:?} is damaged: create it again")]
    Damaged(String),
    /// The value is not sealed.
    #[error("the value of secret {0:?} is stored in plain text: start the coordinator with --secret-key-file FILE")]
    Plain(String),
}

/// Seals and opens values with the key of the coordinator, if it has one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Sealer(Option<Arc<SecretKey>>);

impl Sealer {
    /// Makes a sealer with a key.
    pub fn with_key(key: SecretKey) -> Self {
        Self(Some(Arc::new(key)))
    }

    /// Returns whether it has a key.
    pub fn has_key(&self) -> bool {
        self.0.is_some()
    }

    /// Seals the value of a secret.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal(&self, name: &str, value: &str) -> Result<String, SealError> {
        let key = self.0.as_ref().ok_or(SealError::NoKey)?;
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload {
            msg: value.as_bytes(),
            aad: name.as_bytes(),
        };
        // Only a value of 256 GiB is refused.
        let sealed = key
            .cipher
            .encrypt(&nonce, payload)
            .map_err(|_| SealError::Damaged(name.to_owned()))?;
        Ok(format!(
            "{PREFIX}{}:{}{}",
            key.id,
            hex::encode(nonce),
            hex::encode(sealed)
        ))
    }

    /// Opens the stored value of a secret. Its memory is overwritten when it is dropped.
    ///
    /// # Errors
    /// Every [`SealError`].
    pub fn open(&self, name: &str, stored: &str) -> Result<Zeroizing<String>, SealError> {
        let Some(sealed) = stored.strip_prefix(PREFIX) else {
            return Err(SealError::Plain(name.to_owned()));
        };
        let key = self.0.as_ref().ok_or(SealError::NoKey)?;
        let damaged = || SealError::Damaged(name.to_owned());
        let (id, data) = sealed.split_once(':').ok_or_else(damaged)?;
        if id != key.id {
            return Err(SealError::OtherKey(name.to_owned()));
        }
        let data = hex::decode(data).map_err(|_| damaged())?;
        let (nonce, data) = data.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        let payload = Payload {
            msg: data,
            aad: name.as_bytes(),
        };
        let value = key.cipher.decrypt(XNonce::from_slice(nonce), payload);
        let value = String::from_utf8(value.map_err(|_| damaged())?);
        value.map(Zeroizing::new).map_err(|_| damaged())
    }
}

/// Returns whether a stored value is sealed.
pub fn is_sealed(stored: &str) -> bool {
    stored.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const VALUE: &str = r#"{"data": {"password": "aHVudGVyMg=="}}"#;

    fn sealer(byte: u8) -> Sealer {
        Sealer::with_key(SecretKey::new(&[byte; KEY_BYTES]))
    }

    #[test]
    fn only_the_key_opens_what_it_sealed() {
        let own = sealer(1);
        let sealed = own.seal("db", VALUE).unwrap();
        assert!(is_sealed(&sealed) && !sealed.contains("aHVudGVyMg"));
        assert_ne!(sealed, own.seal("db", VALUE).unwrap(), "each nonce is used once");
        assert_eq!(own.open("db", &sealed).unwrap().as_str(), VALUE);
        assert_eq!(sealer(2).open("db", &sealed), Err(SealError::OtherKey("db".into())));
        assert_eq!(Sealer::default().open("db", &sealed), Err(SealError::NoKey));
        assert_eq!(Sealer::default().seal("db", VALUE), Err(SealError::NoKey));
        assert_eq!(own.open("db", VALUE), Err(SealError::Plain("db".into())));
    }

    #[test]
    fn changed_and_moved_values_are_refused() {
        let own = sealer(1);
        let sealed = own.seal("db", VALUE).unwrap();
        let damaged = |name: &str, text: &str| assert_eq!(own.open(name, text), Err(SealError::Damaged(name.into())));
        damaged("other", &sealed);
        damaged("db", &sealed[..sealed.len() - 2]);
        damaged("db", &sealed[..PREFIX.len() + 2 * ID_BYTES + 3]);
        damaged("db", "sealed:1:");
        let last = if sealed.ends_with('0') { "1" } else { "0" };
        damaged("db", &format!("{}{last}", &sealed[..sealed.len() - 1]));
    }

    #[test]
    fn a_key_file_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let first = SecretKey::read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SecretKey::read_or_make(&path).unwrap().id, first.id);
        assert_eq!(SecretKey::read(&path).unwrap().id, first.id);
        assert!(!format!("{first:?}").contains(fs::read_to_string(&path).unwrap().trim()));
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(
            SecretKey::read(&path)
                .unwrap_err()
                .to_string()
                .contains("cannot read the key")
        );
        for text in ["", "hunter2", &"ab".repeat(31), &"zz".repeat(32)] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", SecretKey::read(&path).unwrap_err());
            assert!(error.contains("expected 64 hex digits"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
