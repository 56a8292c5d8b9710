//! When a connection is closed by the server: pure rules over what is known about it.

use std::time::Duration;

/// Time for the first bytes of a connection: the preface of HTTP/2, or the start of a request line.
pub const PREFACE_LIMIT: Duration = Duration::from_secs(10);
/// Time that a connection without a known caller may be without a call.
pub const STRANGER_IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Most connections without a known caller.
pub const MAX_STRANGERS: usize = 256;

/// What is known about a connection at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Time since it was accepted.
    pub age: Duration,
    /// Whether its first bytes have come.
    pub has_preface: bool,
    /// Whether a caller was let in on it.
    pub is_known: bool,
    /// Time since its last call, or since it was accepted; `None` while a call runs.
    pub idle: Option<Duration>,
}

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It has sent nothing, or only a part of the preface.
    NoPreface,
    /// It has no known caller, and makes no call.
    Stranger,
    /// It was idle for longer than all others, and a new connection needed its place.
    MadeRoom,
}

impl CloseReason {
    /// Returns the label in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoPreface => "no_preface",
            Self::Stranger => "stranger",
            Self::MadeRoom => "made_room",
        }
    }
}

/// Returns why a connection has to be closed now, if it has to.
pub fn must_close(facts: Facts) -> Option<CloseReason> {
    if !facts.has_preface && facts.age >= PREFACE_LIMIT {
        return Some(CloseReason::NoPreface);
    }
    let is_idle = facts.idle.is_some_and(|idle| idle >= STRANGER_IDLE_LIMIT);
    (!facts.is_known && is_idle).then_some(CloseReason::Stranger)
}

/// Chooses the connection that makes room: a stranger before others, then the one that is idle for longest. `None` if each
/// has a running call.
pub fn choose_for_room<K: Copy>(connections: impl Iterator<Item = (K, Facts)>) -> Option<K> {
    connections
        .filter_map(|(key, facts)| Some((key, (!facts.is_known, facts.idle?))))
        .max_by_key(|(_, order)| *order)
        .map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn facts(is_known: bool, idle: Option<Duration>) -> Facts {
        Facts {
            age: MINUTE,
            has_preface: true,
            is_known,
            idle,
        }
    }

    #[test]
    fn a_known_caller_may_be_silent_and_a_stranger_may_not() {
        assert_eq!(must_close(facts(true, Some(MINUTE))), None);
        assert_eq!(must_close(facts(false, Some(MINUTE))), Some(CloseReason::Stranger));
        assert_eq!(must_close(facts(false, Some(Duration::from_secs(1)))), None);
        assert_eq!(must_close(facts(false, None)), None, "a call runs");
        let silent = Facts {
            has_preface: false,
            ..facts(true, Some(MINUTE))
        };
        assert_eq!(must_close(silent), Some(CloseReason::NoPreface));
    }

    #[test]
    fn strangers_make_room_first_and_calls_never() {
        let connections = [
            (1, facts(true, Some(MINUTE * 9))),
            (2, facts(false, Some(Duration::from_secs(1)))),
            (3, facts(false, Some(Duration::from_secs(2)))),
            (4, facts(false, None)),
        ];
        assert_eq!(choose_for_room(connections.into_iter()), Some(3));
        assert_eq!(choose_for_room(connections.into_iter().take(1)), Some(1));
        assert_eq!(choose_for_room(connections.into_iter().skip(3)), None);
    }
}
