//! The token of `howdah up`, in a file of the data folder.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use howdah_store::PRIVATE_FILE_MODE;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Returns the file of the token, which is made if there is none. Only its owner may read it.
pub(super) fn ensure(data: &Path) -> anyhow::Result<PathBuf> {
    let file = data.join("token");
    if file.exists() {
        std::fs::set_permissions(&file, Permissions::from_mode(PRIVATE_FILE_MODE))
            .with_context(|| format!("cannot close {} to other users", file.display()))?;
        return Ok(file);
    }
    // Written elsewhere first: a crash leaves no half of a token.
    let new = data.join("token.new");
    write_token(&new).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, &file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn write_token(file: &Path) -> std::io::Result<()> {
    let mut random = [0; TOKEN_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(PRIVATE_FILE_MODE);
    let mut file = options.open(file)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_for_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let file = ensure(data.path()).unwrap();
        let token = std::fs::read_to_string(&file).unwrap();
        assert_eq!(token.trim_end().len(), 2 * TOKEN_BYTES);
        let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ensure(data.path()).unwrap(), file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
        assert_eq!(mode(), 0o600);
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(std::fs::read_to_string(ensure(other.path()).unwrap()).unwrap(), token);
    }
}
