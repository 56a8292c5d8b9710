//! Finds the caller of a connection: a user of this machine, or the owner of a token.

use axum::http::HeaderMap;
use howdah_api::client::TOKEN_HEADER;
use nix::unistd::{Uid, User};
use std::sync::Arc;

use super::tokens::Tokens;
use crate::caller::Caller;
use crate::connections::registry::{Connection, UserId};

/// User 0, who may do everything on this machine.
const ROOT: UserId = 0;

/// Everybody who may call.
pub struct Callers {
    own: UserId,
    own_name: Caller,
    tokens: Option<Arc<Tokens>>,
    /// Whether everybody else may call, too.
    everybody: bool,
}

impl Callers {
    /// Lets in the user of this process, root, and the owners of tokens; `everybody` lets in all others, too.
    pub fn new(tokens: Option<Arc<Tokens>>, everybody: bool) -> Self {
        let own = Uid::effective();
        Self {
            own: own.as_raw(),
            own_name: Caller::user(&name_of(own)),
            tokens,
            everybody,
        }
    }

    /// Returns whether a user of this machine needs no token.
    pub fn trust(&self, user: Option<UserId>) -> bool {
        self.everybody || user.is_some_and(|user| user == self.own || user == ROOT)
    }

    /// Returns the caller of a request on a connection.
    ///
    /// # Errors
    /// When the caller may not call; the text says why and how to be let in.
    pub fn caller(&self, connection: &Connection, headers: &HeaderMap) -> Result<Caller, String> {
        let token = headers.get(TOKEN_HEADER).map(|value| value.as_bytes());
        let token = token.filter(|token| !token.is_empty());
        let owner = token.and_then(|token| self.tokens.as_ref()?.owner(token));
        if let Some(owner) = owner {
            return Ok(owner);
        }
        // After the tokens, so that the name in the log is the more exact one. A token that is not known does no harm here: it
        // may belong to another server that the client's configuration knows.
        match connection.user {
            Some(user) if user == self.own => Ok(self.own_name.clone()),
            Some(ROOT) => Ok(Caller::user("root")),
            _ if self.everybody => Ok(Caller::anonymous()),
            user => Err(self.refusal(user, token.is_some())),
        }
    }

    fn refusal(&self, user: Option<UserId>, has_token: bool) -> String {
        let who = match (has_token, user) {
            (true, _) => "the token of this call is not known to this server".to_owned(),
            (false, Some(user)) => format!(
                "user {user} of this machine may not call this server without a token; it runs as user {}",
                self.own
            ),
            (false, None) => "this server needs a token from other users, containers and machines".to_owned(),
        };
        let source = match &self.tokens {
            Some(_) => "ask its operator for one",
            None => "its operator can make some with --auth-token-file",
        };
        format!("{who}; {source}, and store it with `howdah connect ADDRESS --token-file FILE`")
    }
}

fn name_of(user: Uid) -> String {
    let name = User::from_uid(user).ok().flatten().map(|user| user.name);
    let is_plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic()) && name.len() <= 64;
    name.filter(is_plain).unwrap_or_else(|| user.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn callers(everybody: bool) -> Callers {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, format!("{TOKEN} ci\n")).unwrap();
        Callers {
            own: 1000,
            own_name: Caller::user("howdah"),
            tokens: Some(Arc::new(Tokens::load(&file).unwrap())),
            everybody,
        }
    }

    fn call(callers: &Callers, user: Option<UserId>, token: Option<&str>) -> Result<String, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Connection::new(address, address, user, callers.trust(user));
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(TOKEN_HEADER, token.parse().unwrap());
        }
        callers.caller(&connection, &headers).map(|caller| caller.to_string())
    }

    #[test]
    fn own_user_root_and_tokens_are_let_in() {
        let callers = callers(false);
        assert_eq!(call(&callers, Some(1000), None).unwrap(), "user:howdah");
        assert_eq!(call(&callers, Some(0), None).unwrap(), "user:root");
        assert_eq!(
            call(&callers, Some(1000), Some("of another server")).unwrap(),
            "user:howdah"
        );
        for user in [None, Some(0), Some(1000), Some(1001)] {
            assert_eq!(call(&callers, user, Some(TOKEN)).unwrap(), "token:ci");
        }
    }

    #[test]
    fn all_others_are_refused_and_told_what_to_do() {
        let callers = callers(false);
        let other = call(&callers, Some(1001), None).unwrap_err();
        assert!(other.contains("user 1001") && other.contains("--token-file"), "{other}");
        let stranger = call(&callers, None, Some("")).unwrap_err();
        assert!(stranger.contains("needs a token"), "{stranger}");
        let wrong = call(&callers, Some(1001), Some("wrong")).unwrap_err();
        assert!(wrong.contains("not known") && !wrong.contains("wrong"), "{wrong}");
    }

    #[test]
    fn without_access_control_everybody_is_anonymous() {
        let callers = callers(true);
        assert_eq!(call(&callers, None, None).unwrap(), "anonymous");
        assert_eq!(call(&callers, Some(1001), Some("wrong")).unwrap(), "anonymous");
        assert_eq!(call(&callers, Some(1000), None).unwrap(), "user:howdah");
        assert_eq!(call(&callers, None, Some(TOKEN)).unwrap(), "token:ci");
    }
}
