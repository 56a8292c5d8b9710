//! `/pfs` of a stage container: the inputs before a command, the output after it.
//!
//! - `layout`: where the folders of a container are, on the worker's side and inside.
//! - `workspace`: the folders of one container, try after try; `workspace_reuse`: what of one try serves the next.
//! - `inputs`: lays out a datum's input files in a workspace.
//! - `links`: follows symbolic links as the container sees them; `output`: lists what a command left in `/pfs/out`
//!   (`collected`);
//!   `collect_output`: the same, with the container's help for links that lead out of `/pfs`.
//! - `output_time`: the time limit for that; `stored_file`: reads an output file, without its holes.
//! - `set_output`: output of a whole set on its way to the store.
//!
//! Commands can write to `/pfs`. Everything here works below folders that are open and follows no link (`beneath`).
//!
//! What can go wrong: errors of this machine or the store are [`InfraError`](crate::error::InfraError)s, which end the
//! set without a result; output that cannot be accepted is an error of its own and fails the try. Commands run
//! elsewhere (`execute`).

pub(crate) mod collect_output;
pub(crate) mod collected;
pub(crate) mod inputs;
pub(crate) mod layout;
mod links;
pub(crate) mod output;
pub(crate) mod output_time;
pub(crate) mod set_output;
pub(crate) mod stored_file;
pub(crate) mod workspace;
mod workspace_reuse;
