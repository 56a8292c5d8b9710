//! Secrets. Their data is stored sealed, and no call returns it.

use howdah_api::convert::to_timestamp;
use howdah_api::pps_v2 as pps;
use howdah_model::limits::MAX_SPEC_BYTES;
use howdah_model::{Command, Rejection, Secret};
use serde_json::Value;
use tonic::{Response, Status};

use crate::metadata::Core;
use crate::sealing::Sealer;
use crate::services::change::apply;
use crate::services::reply::UnaryReply;
use crate::services::status::IntoStatus;
use crate::services::wire;

/// Type of a secret that names none.
const DEFAULT_KIND: &str = "Opaque";

pub(super) async fn create_secret(core: &Core, request: pps::CreateSecretRequest) -> UnaryReply<()> {
    apply(core, command(core.sealer(), &request.file)?).await?;
    Ok(Response::new(()))
}

/// Reads the JSON of a Kubernetes `Secret` and seals it.
fn command(sealer: &Sealer, file: &[u8]) -> Result<Command, Status> {
    wire::check_size("the secret", file.len(), MAX_SPEC_BYTES)?;
    let bad = |what: &str| {
        Status::invalid_argument(format!(
            "the secret cannot be read: {what}; expected JSON such as {{\"kind\": \"Secret\", \
             \"apiVersion\": \"v1\", \"metadata\": {{\"name\": \"x\"}}, \"data\": {{\"key\": \"<base64>\"}}}}"
        ))
    };
    let secret: Value = serde_json::from_slice(file).map_err(|error| bad(&error.to_string()))?;
    let name = secret
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| bad("metadata.name is missing"))?;
    if let Some(kind) = secret.get("kind").and_then(Value::as_str)
        && kind != "Secret"
    {
        return Err(bad(&format!("its kind is {kind:?}")));
    }
    let kind = secret.get("type").and_then(Value::as_str);
    // Before the command exists: commands are shown in logs and kept in transactions.
    let sealed = sealer.seal(name, &secret.to_string());
    Ok(Command::CreateSecret {
        name: name.to_owned(),
        kind: kind.unwrap_or(DEFAULT_KIND).to_owned(),
        data: sealed.map_err(|error| Status::failed_precondition(error.to_string()))?,
    })
}

pub(super) async fn delete_secret(core: &Core, request: pps::DeleteSecretRequest) -> UnaryReply<()> {
    let name = name_of(request.secret.as_ref())?.to_owned();
    apply(core, Command::DeleteSecret { name }).await?;
    Ok(Response::new(()))
}

fn name_of(secret: Option<&pps::Secret>) -> Result<&str, Status> {
    match secret {
        Some(secret) if !secret.name.is_empty() => Ok(&secret.name),
        _ => Err(wire::missing("secret")),
    }
}

pub(super) fn list_secret(core: &Core) -> Response<pps::SecretInfos> {
    let state = core.state();
    Response::new(pps::SecretInfos {
        secret_info: state.secrets().map(|secret| info(secret)).collect(),
    })
}

pub(super) fn inspect_secret(core: &Core, request: &pps::InspectSecretRequest) -> UnaryReply<pps::SecretInfo> {
    let name = name_of(request.secret.as_ref())?;
    match core.state().secret(name) {
        Some(secret) => Ok(Response::new(info(secret))),
        None => Err(Rejection::NoSecret(name.to_owned()).into_status()),
    }
}

fn info(secret: &Secret) -> pps::SecretInfo {
    pps::SecretInfo {
        secret: Some(pps::Secret {
            name: secret.name.clone(),
        }),
        r#type: secret.kind.clone(),
        creation_timestamp: Some(to_timestamp(secret.created)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::SecretKey;

    fn sealer() -> Sealer {
        let folder = tempfile::tempdir().unwrap();
        Sealer::with_key(SecretKey::read_or_make(&folder.path().join("key")).unwrap())
    }

    #[test]
    fn the_json_that_clients_send_is_read() {
        let file = br#"{"kind": "Secret", "apiVersion": "v1", "type": null,
            "metadata": {"name": "token", "labels": null}, "data": {"key": "dmFsdWU="}}"#;
        let sealer = sealer();
        let Ok(Command::CreateSecret { name, kind, data }) = command(&sealer, file) else {
            panic!("not a secret");
        };
        assert_eq!((name.as_str(), kind.as_str()), ("token", "Opaque"));
        assert!(!data.contains("dmFsdWU="));
        assert!(sealer.open("token", &data).unwrap().contains("dmFsdWU="));
        let refused = command(&Sealer::default(), file).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("--secret-key-file"), "{refused}");
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        let message = |file: &[u8]| command(&sealer(), file).expect_err("not a secret").message().to_owned();
        assert!(message(b"x").contains("cannot be read"));
        assert!(message(b"{}").contains("metadata.name is missing"));
        let pod = br#"{"kind": "Pod", "metadata": {"name": "x"}}"#;
        assert!(message(pod).contains("its kind is \"Pod\""));
    }
}
