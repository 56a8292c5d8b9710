//! What a reader of specs must know about its surroundings.

/// Everything [`parse`] must know about its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOptions {
    /// Number of worker machines; 1.x `coefficient` multiplies it.
    pub nodes: u64,
    /// Number of usable cores of a single machine, used for `coefficient` when there is only one machine.
    pub cores: u64,
    /// Project of specs that name none; such specs stay without a project in `user_json` when this is `None`.
    pub default_project: Option<String>,
}

impl Default for ParseOptions {
    fn default() -> Self {
        ParseOptions {
            nodes: 1,
            cores: 1,
            default_project: None,
        }
    }
}
