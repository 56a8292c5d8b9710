//! Headers that authenticate messages: installation, epoch, MAC.
//!
//! Every message of a coordinator or a worker has the id of its installation, and a MAC under the key of the
//! installation (blake3 with a key). A message of a coordinator also has its epoch. The MAC covers the subject, so that a
//! message cannot be moved to another subject, and whether a coordinator sent it.
//!
//! A receiver ignores and counts what does not fit ([`Refusal`]). NATS itself is not trusted with the content of
//! messages; it can still drop, delay and repeat them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use howdah_protocol::installation::Installation;

const CLUSTER: &str = "Howdah-Cluster";
const EPOCH: &str = "Howdah-Epoch";
const MAC: &str = "Howdah-Mac";

/// Shortest time between two log lines about refused messages.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why a message is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is one of another installation.
    Foreign,
    /// It has no MAC, or a wrong one.
    Forged,
    /// It is one of a coordinator that has a successor.
    OldEpoch,
    /// This program cannot read it.
    Unreadable,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Foreign, Self::Forged, Self::OldEpoch, Self::Unreadable];

    /// Returns the reason as the label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Forged => "forged",
            Self::OldEpoch => "old_epoch",
            Self::Unreadable => "unreadable",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Foreign => "it is one of another installation",
            Self::Forged => "it has no valid MAC: another program publishes on subjects of this installation",
            Self::OldEpoch => "a coordinator that has a successor sent it",
            Self::Unreadable => "this program cannot read it: run the same release of Howdah everywhere",
        }
    }
}

/// Called for each ignored message.
pub type OnRefusal = Arc<dyn Fn(Refusal) + Send + Sync>;

/// Sent by a coordinator with this epoch, or by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Coordinator { epoch: u64 },
    Worker,
}

/// Who a receiver expects messages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Coordinator,
    Worker,
}

/// Makes and checks the headers of messages.
pub(crate) struct Authenticator {
    installation: Installation,
    /// Highest epoch in a valid message so far.
    highest_epoch: AtomicU64,
    on_refusal: OnRefusal,
    logged: Mutex<Option<Instant>>,
}

impl Authenticator {
    pub(crate) fn new(installation: Installation, on_refusal: OnRefusal) -> Self {
        Self {
            installation,
            highest_epoch: AtomicU64::new(0),
            on_refusal,
            logged: Mutex::new(None),
        }
    }

    /// Returns the headers of a message.
    pub(crate) fn headers(&self, sender: Sender, subject: &str, payload: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CLUSTER, self.installation.cluster());
        if let Sender::Coordinator { epoch } = sender {
            headers.insert(EPOCH, epoch.to_string());
        }
        headers.insert(MAC, self.mac(sender, subject, payload).to_hex().as_str());
        headers
    }

    /// Checks a message. Returns why it has to be ignored.
    pub(crate) fn check(&self, expected: Expected, message: &async_nats::Message) -> Result<(), Refusal> {
        let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name));
        let cluster = header(CLUSTER).map(|value| value.as_str());
        if cluster.is_some_and(|cluster| cluster != self.installation.cluster()) {
            return Err(Refusal::Foreign);
        }
        let sender = match expected {
            Expected::Worker => Sender::Worker,
            Expected::Coordinator => {
                let epoch = header(EPOCH).and_then(|value| value.as_str().parse().ok());
                Sender::Coordinator {
                    epoch: epoch.ok_or(Refusal::Forged)?,
                }
            }
        };
        let mac = header(MAC).and_then(|value| blake3::Hash::from_hex(value.as_str()).ok());
        // `blake3::Hash` compares in constant time.
        let expected = self.mac(sender, &message.subject, &message.payload);
        if cluster.is_none() || mac != Some(expected) {
            return Err(Refusal::Forged);
        }
        match sender {
            Sender::Coordinator { epoch } if epoch < self.highest_epoch.fetch_max(epoch, Ordering::Relaxed) => {
                Err(Refusal::OldEpoch)
            }
            _ => Ok(()),
        }
    }

    /// Counts an ignored message, and logs one from time to time.
    pub(crate) fn refused(&self, refusal: Refusal, subject: &str) {
        (self.on_refusal)(refusal);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            *logged = Some(Instant::now());
            tracing::warn!(subject, "message ignored: {}", refusal.text());
        }
    }

    fn mac(&self, sender: Sender, subject: &str, payload: &[u8]) -> blake3::Hash {
        let (role, epoch) = match sender {
            Sender::Worker => (0_u8, 0),
            Sender::Coordinator { epoch } => (1, epoch),
        };
        let mut hasher = blake3::Hasher::new_keyed(self.installation.key());
        for part in [self.installation.cluster(), subject] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&[role]);
        hasher.update(&epoch.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_protocol::installation::QUEUE_KEY_BYTES;

    fn authenticator(cluster: &str, key: u8) -> Authenticator {
        let installation = Installation::new(cluster, [key; QUEUE_KEY_BYTES]).unwrap();
        Authenticator::new(installation, Arc::new(|_| ()))
    }

    fn sent(by: &Authenticator, sender: Sender) -> async_nats::Message {
        async_nats::Message {
            subject: "howdah.a.results".into(),
            reply: None,
            payload: "payload".into(),
            headers: Some(by.headers(sender, "howdah.a.results", b"payload")),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn only_what_was_sent_is_accepted() {
        let own = authenticator("a", 1);
        let valid = sent(&own, Sender::Worker);
        assert_eq!(own.check(Expected::Worker, &valid), Ok(()));
        type Change = fn(&mut async_nats::Message);
        let changes: [Change; 5] = [
            |message| message.payload = "Payload".into(),
            |message| message.subject = "howdah.a.presence".into(),
            |message| message.headers = None,
            |message| message.headers.as_mut().unwrap().insert(MAC, "00"),
            |message| message.headers.as_mut().unwrap().insert(MAC, "00".repeat(32).as_str()),
        ];
        for change in changes {
            let mut forged = valid.clone();
            change(&mut forged);
            assert_eq!(own.check(Expected::Worker, &forged), Err(Refusal::Forged));
        }
        assert_eq!(own.check(Expected::Coordinator, &valid), Err(Refusal::Forged));
        let order = sent(&own, Sender::Coordinator { epoch: 1 });
        assert_eq!(own.check(Expected::Worker, &order), Err(Refusal::Forged));
        let other_key = sent(&authenticator("a", 2), Sender::Worker);
        assert_eq!(own.check(Expected::Worker, &other_key), Err(Refusal::Forged));
        let foreign = sent(&authenticator("b", 1), Sender::Worker);
        assert_eq!(own.check(Expected::Worker, &foreign), Err(Refusal::Foreign));
    }

    #[test]
    fn messages_of_earlier_leaders_are_refused_and_forged_epochs_do_not_count() {
        let (own, forger) = (authenticator("a", 1), authenticator("a", 2));
        let check = |by, epoch| own.check(Expected::Coordinator, &sent(by, Sender::Coordinator { epoch }));
        assert_eq!(check(&own, 5), Ok(()));
        assert_eq!(check(&forger, 9), Err(Refusal::Forged));
        assert_eq!(check(&own, 5), Ok(()));
        assert_eq!(check(&own, 7), Ok(()));
        assert_eq!(check(&own, 6), Err(Refusal::OldEpoch));
        let mut raised = sent(&own, Sender::Coordinator { epoch: 6 });
        raised.headers.as_mut().unwrap().insert(EPOCH, "8");
        assert_eq!(own.check(Expected::Coordinator, &raised), Err(Refusal::Forged));
    }
}
