//! The caller: the user, token or program that asks the coordinator for something. Each event in the metadata log has its name.

use std::fmt;
use std::sync::Arc;

/// The name of a caller.
///
/// | form | who |
/// | --- | --- |
/// | `user:NAME` | a user of this machine, known from its connection |
/// | `token:NAME` | the owner of a token |
/// | `anonymous` | anybody, on a server without access control |
/// | `coordinator` | the coordinator itself, for example when it starts a job |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(Arc<str>);

tokio::task_local! {
    static CURRENT: Caller;
}

impl Caller {
    /// Returns a user of this machine.
    pub fn user(name: &str) -> Self {
        Self(format!("user:{name}").into())
    }

    /// Returns the owner of a token.
    pub fn token(name: &str) -> Self {
        Self(format!("token:{name}").into())
    }

    /// Returns a caller that was not asked who it is.
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// Returns the coordinator itself.
    pub fn coordinator() -> Self {
        Self("coordinator".into())
    }

    /// Returns the caller that another coordinator has let in under this name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the caller of the call that runs in this task; the coordinator itself outside of calls.
    ///
    /// A task that a call starts does not inherit its caller: see [`Caller::scope`].
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_else(|_| Self::coordinator())
    }

    /// Runs a future as work for this caller.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_for_a_caller_knows_it() {
        assert_eq!(Caller::current(), Caller::coordinator());
        let inside = Caller::token("ci").scope(async { Caller::current() }).await;
        assert_eq!(inside.as_str(), "token:ci");
    }
}
