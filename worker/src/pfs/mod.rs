//! `/pfs` of a stage container: inputs before a command, output after it.

pub(crate) mod collect_output;
pub(crate) mod inputs;
pub(crate) mod links;
pub(crate) mod output;
pub(crate) mod set_output;
pub(crate) mod workspace;
pub(crate) mod workspace_reuse;
