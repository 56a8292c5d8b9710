//! The token of `howdah up`, in a file of the data folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use howdah_store::PRIVATE_FILE_MODE;

use super::private_file::write;

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
    write(
        &file,
        &format!("{}\n", hex::encode(rand::random::<[u8; TOKEN_BYTES]>())),
    )?;
    Ok(file)
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
