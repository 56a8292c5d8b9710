//! The installation, as far as parsing depends on it.

/// The facts about an installation that [`parse`](crate::parse) needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOptions {
    /// The number of worker machines; a `coefficient` of 1.x multiplies it.
    pub nodes: u64,
    /// The number of usable cores of one machine; a `coefficient` multiplies it if there is only one machine.
    pub cores: u64,
    /// The project of specs without one. With `None`, such a spec has no project in its `user_json`.
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
