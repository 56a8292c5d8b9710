//! The limit of open files of this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system allows, and returns it.
///
/// Many systems start programs with a limit of 1,024, for the sake of programs that use `select`, and allow far more.
/// Without this, a thousand idle connections would keep the coordinator from opening files and accepting calls.
pub fn raise_limit() -> u64 {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(error) => {
                tracing::warn!(%error, soft, hard, "the limit of open files cannot be raised");
                soft
            }
        },
        Ok((soft, _)) => soft,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files is not known");
            1024
        }
    }
}

/// Returns how many connections there may be: `wanted`, but at most half of the open files, because a call may need files
/// of the store.
pub fn connections_for(wanted: usize, open_files: u64) -> usize {
    let half = usize::try_from(open_files / 2).unwrap_or(usize::MAX);
    wanted.min(half).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_stay_for_other_use() {
        assert_eq!(connections_for(4096, 1 << 20), 4096);
        assert_eq!(connections_for(4096, 1024), 512);
        assert_eq!(connections_for(4096, 0), 1);
    }

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let raised = raise_limit();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, hard), (raised, raised));
    }
}
