//! How coordinators over one store know each other: by a secret that lies in the store.
//!
//! A standby finds out who calls, and forwards the call with the name of the caller. A message authentication code over
//! path, caller, time and epoch shows the leader that the name comes from a coordinator. The secret itself is never sent,
//! nor is the caller's token: what listens at the address of a former leader learns nothing that the leader of another epoch
//! accepts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue};
use howdah_store::{Store, StoreError, keys};

use crate::caller::Caller;
use crate::fresh_id::fresh_id;
use crate::installation::get_or_make;

/// Header of a forwarded call: epoch, time in milliseconds and authentication code.
pub const FORWARDED: &str = "howdah-forwarded";
/// Header of a forwarded call: the name of its caller.
pub const CALLER: &str = "howdah-caller";

/// How far the clocks of two coordinators may differ.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(600);
/// What the key is derived for.
const CONTEXT: &str = "howdah 2026 calls that a coordinator forwards";

/// The secret of the coordinators over one store.
#[derive(Clone)]
pub struct PeerKey([u8; 32]);

/// A call that another coordinator has forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedCall {
    /// Who calls.
    pub caller: Caller,
    /// The leader that it was forwarded to.
    pub epoch: LeaderEpoch,
}

/// Number of the claim of the leader that a call was forwarded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderEpoch(pub u64);

impl PeerKey {
    /// Reads the secret of a store, and makes it first if there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of_store(store: &Store) -> Result<Self, StoreError> {
        // Two ids, of 122 random bits each.
        let fresh = format!("{}{}", fresh_id(), fresh_id());
        let secret = get_or_make(store, keys::PEER_KEY, fresh).await?;
        Ok(Self::from_secret(secret.as_bytes()))
    }

    fn from_secret(secret: &[u8]) -> Self {
        Self(blake3::derive_key(CONTEXT, secret))
    }

    /// Returns the headers of a call that is forwarded now.
    pub fn sign(&self, path: &str, caller: &Caller, epoch: LeaderEpoch) -> Option<[(&'static str, HeaderValue); 2]> {
        self.sign_at(path, caller, epoch, now_ms())
    }

    fn sign_at(
        &self,
        path: &str,
        caller: &Caller,
        LeaderEpoch(epoch): LeaderEpoch,
        now_ms: u64,
    ) -> Option<[(&'static str, HeaderValue); 2]> {
        let code = self.code(path, caller.as_str(), epoch, now_ms);
        let forwarded = HeaderValue::from_str(&format!("{epoch}.{now_ms}.{code}")).ok()?;
        let name = HeaderValue::from_str(caller.as_str()).ok()?;
        Some([(FORWARDED, forwarded), (CALLER, name)])
    }

    /// Checks the headers of a forwarded call.
    ///
    /// # Errors
    /// When no coordinator over this store has sent them, or its clock differs too much; the text says which.
    pub fn verify(&self, path: &str, headers: &HeaderMap) -> Result<ForwardedCall, String> {
        self.verify_at(path, headers, now_ms())
    }

    fn verify_at(&self, path: &str, headers: &HeaderMap, now_ms: u64) -> Result<ForwardedCall, String> {
        let not_ours = || "the call says that a coordinator forwarded it, but none over this store did".to_owned();
        let only = |name: &str| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())?.to_str().ok()
        };
        let (caller, forwarded) = only(CALLER).zip(only(FORWARDED)).ok_or_else(not_ours)?;
        let mut parts = forwarded.splitn(3, '.');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (epoch, sent_ms) = number().zip(number()).ok_or_else(not_ours)?;
        let code = parts.next().and_then(|code| blake3::Hash::from_hex(code).ok());
        // The comparison of hashes takes the same time for all values.
        if code != Some(self.code(path, caller, epoch, sent_ms)) {
            return Err(not_ours());
        }
        if Duration::from_millis(now_ms.abs_diff(sent_ms)) > MAX_CLOCK_DIFFERENCE {
            return Err("the clocks of two coordinators differ by more than ten minutes".to_owned());
        }
        Ok(ForwardedCall {
            caller: Caller::named(caller),
            epoch: LeaderEpoch(epoch),
        })
    }

    fn code(&self, path: &str, caller: &str, epoch: u64, sent_ms: u64) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [path, caller] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&epoch.to_le_bytes());
        hasher.update(&sent_ms.to_le_bytes());
        hasher.finalize()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/pfs_v2.API/CreateRepo";
    const NOW: u64 = 1_700_000_000_000;

    fn signed(key: &PeerKey, caller: &str) -> HeaderMap {
        let headers = key.sign_at(PATH, &Caller::named(caller), LeaderEpoch(7), NOW).unwrap();
        headers
            .into_iter()
            .map(|(name, value)| (name.parse::<axum::http::HeaderName>().unwrap(), value))
            .collect()
    }

    #[test]
    fn a_signed_call_is_accepted_and_an_altered_one_is_not() {
        let key = PeerKey::from_secret(b"secret");
        let headers = signed(&key, "token:ci");
        let call = key.verify_at(PATH, &headers, NOW + 1_000).unwrap();
        assert_eq!((call.caller.as_str(), call.epoch), ("token:ci", LeaderEpoch(7)));

        assert!(
            key.verify_at("/pfs_v2.API/DeleteAll", &headers, NOW).is_err(),
            "another path"
        );
        assert!(
            PeerKey::from_secret(b"other").verify_at(PATH, &headers, NOW).is_err(),
            "another store"
        );
        let late = key.verify_at(PATH, &headers, NOW + 700_000).unwrap_err();
        assert!(late.contains("clocks"), "{late}");
        for (name, value) in [
            (CALLER, "user:root"),
            (FORWARDED, "1"),
            (FORWARDED, "7.1700000000000."),
            (
                FORWARDED,
                "8.1700000000000.0000000000000000000000000000000000000000000000000000000000000000",
            ),
        ] {
            let mut altered = headers.clone();
            altered.insert(name, value.parse().unwrap());
            assert!(key.verify_at(PATH, &altered, NOW).is_err(), "{name}: {value}");
        }
        let mut twice = headers.clone();
        twice.append(CALLER, "user:root".parse().unwrap());
        assert!(key.verify_at(PATH, &twice, NOW).is_err());
    }

    #[tokio::test]
    async fn all_coordinators_over_a_store_have_the_same_secret() {
        let store = Store::in_memory().await;
        let first = PeerKey::of_store(&store).await.unwrap();
        let second = PeerKey::of_store(&store).await.unwrap();
        assert_eq!(first.0, second.0);
        let other = PeerKey::of_store(&Store::in_memory().await).await.unwrap();
        assert_ne!(first.0, other.0);
    }
}
