//! Sealing of secrets that a former version stored in plain text, and the check of those that are sealed.

use std::collections::BTreeMap;

use howdah_model::{Command, SealedSecret};
use howdah_telemetry::error_chain;

use super::core::Core;
use crate::sealing::{SealError, is_sealed};

/// Seals the secrets that are stored in plain text, and warns of those that cannot be opened.
///
/// It is called when a coordinator begins to lead. Nothing fails here: a secret that cannot be sealed or opened affects
/// only the calls that need its value.
pub async fn seal_plain_secrets(core: &Core) {
    let state = core.state();
    let (mut plain, mut seals) = (0_u64, Vec::new());
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for secret in state.secrets() {
        let fault = if is_sealed(&secret.data) {
            core.sealer().open(&secret.name, &secret.data).err()
        } else {
            plain += 1;
            match core.sealer().seal(&secret.name, &secret.data) {
                Ok(data) => {
                    seals.push(SealedSecret {
                        name: secret.name.clone(),
                        created: secret.created,
                        data,
                    });
                    None
                }
                Err(fault) => Some(fault),
            }
        };
        if let Some(fault) = fault {
            *faults.entry(without_name(&fault).to_owned()).or_default() += 1;
        }
    }
    for (fault, secrets) in faults {
        tracing::warn!(secrets, "{fault}");
    }
    if seals.is_empty() {
        return;
    }
    match core.submit(Command::SealSecrets { secrets: seals }).await {
        Ok(_) => tracing::warn!(
            secrets = plain,
            "secrets that were stored in plain text are sealed now; older log records and snapshots, and copies of \
             the store, still have their values: change them (docs/security.md)"
        ),
        Err(error) => tracing::error!(error = error_chain(&error), "secrets in plain text could not be sealed"),
    }
}

/// Returns what is wrong, without the name of the secret.
fn without_name(fault: &SealError) -> &'static str {
    match fault {
        SealError::NoKey => "there are secrets, and no key for them: their values cannot be read (--secret-key-file)",
        SealError::OtherKey(_) => "there are secrets that are sealed under another key (--secret-key-file)",
        SealError::Damaged(_) => "there are secrets whose stored values are damaged",
        SealError::Plain(_) => "there are secrets in plain text",
    }
}
