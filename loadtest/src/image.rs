//! The program under test, and a container image with this program only.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The static program, compiled by `build.rs`.
const PROGRAM: &[u8] = include_bytes!(env!("HOWDAH_LOADTEST_TRIVIAL"));

/// Name of the program in the image, as a stage's command.
pub(crate) const COMMAND: &str = "/trivial";

/// Name and tag of the image. It is kept after a run: the next run builds it from Docker's cache.
pub(crate) const IMAGE: &str = "howdah-loadtest/trivial:1.0";

/// Writes the program into a folder and returns its path.
pub(crate) fn write_program(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("trivial");
    std::fs::write(&path, PROGRAM).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))?;
    Ok(path)
}

/// Builds the image from the program, from scratch.
pub(crate) fn build(folder: &Path) -> anyhow::Result<()> {
    let context = folder.join("image");
    std::fs::create_dir_all(&context).with_context(|| format!("cannot make the folder {}", context.display()))?;
    write_program(&context)?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY trivial /trivial\n")
        .with_context(|| format!("cannot write into {}", context.display()))?;
    let output = Command::new("docker")
        .args(["build", "--quiet", "--tag", IMAGE])
        .arg(&context)
        .output()
        .context("cannot run `docker`: this benchmark needs a Docker engine (`make setup` provides one)")?;
    if !output.status.success() {
        bail!(
            "cannot build the image {IMAGE}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Returns the number of running containers of the image.
pub(crate) fn containers() -> anyhow::Result<usize> {
    let output = Command::new("docker")
        .args(["ps", "--quiet", "--filter", &format!("ancestor={IMAGE}")])
        .output()
        .context("cannot run `docker`")?;
    if !output.status.success() {
        bail!(
            "cannot count containers: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}
