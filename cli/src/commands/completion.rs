//! Completion scripts, generated from the command tree.

use std::path::PathBuf;

use clap_complete::Shell;

use crate::args::files::{Completion, CompletionShell};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};

/// `completion`.
pub(super) fn run(ctx: &Ctx, arguments: &Completion) -> CliResult {
    if arguments.path.is_some() && !arguments.install {
        return Err(CliError::refused("--path needs --install"));
    }
    let script = script(&ctx.program, arguments.shell);
    if !arguments.install {
        return Ok(ctx.printer.text(String::from_utf8_lossy(&script))?);
    }
    let path = match &arguments.path {
        Some(path) => path.clone(),
        None => default_path(&ctx.program, arguments.shell)?,
    };
    let cannot_write = || CliError::io(format!("cannot write {}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(cannot_write())?;
    }
    std::fs::write(&path, script).map_err(cannot_write())?;
    ctx.printer.note(format!(
        "The completion script is in {}; a new shell will use it.",
        path.display()
    ));
    Ok(())
}

fn script(program: &str, shell: CompletionShell) -> Vec<u8> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::command(program), program, &mut script);
    script
}

/// Returns the path at which a shell looks for a user's completion scripts.
fn default_path(program: &str, shell: CompletionShell) -> Result<PathBuf, CliError> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .ok_or_else(|| CliError::refused("HOME is not set; --path says where to write the script"))?;
    Ok(match shell {
        CompletionShell::Bash => home.join(".local/share/bash-completion/completions").join(program),
        CompletionShell::Zsh => home.join(".zsh/completions").join(format!("_{program}")),
        CompletionShell::Fish => home.join(".config/fish/completions").join(format!("{program}.fish")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_for_the_called_name() {
        for shell in [CompletionShell::Bash, CompletionShell::Zsh, CompletionShell::Fish] {
            let script = String::from_utf8(script("pachctl", shell)).expect("text");
            assert!(script.contains("pachctl"), "{shell:?}");
            assert!(
                !script.contains("_howdah") && !script.contains("-c howdah"),
                "{shell:?}"
            );
        }
    }
}
