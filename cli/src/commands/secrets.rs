//! Commands on secrets for pipelines.

use howdah_api::pps_v2;
use serde_json::Value;

use crate::args::pipelines::{CreateSecret, SecretName};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::list::MessageList;
use crate::source;
use crate::wire;

const HEADER: &[&str] = &["NAME", "TYPE", "CREATED"];

/// `create secret`: from a manifest in JSON or YAML.
pub(super) async fn create(ctx: &Ctx, arguments: &CreateSecret) -> CliResult {
    let source = source::read(&arguments.file).await?;
    let manifest = manifest(&source.name, &source.text)?;
    let request = pps_v2::CreateSecretRequest {
        file: manifest.to_string().into_bytes(),
    };
    ctx.client().await?.pps().create_secret(request).await?;
    Ok(())
}

fn manifest(name: &str, text: &[u8]) -> Result<Value, CliError> {
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(text) {
        return Ok(value);
    }
    let text = std::str::from_utf8(text).map_err(|error| CliError::refused(format!("{name} is not text: {error}")))?;
    match howdah_spec::from_yaml(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(CliError::hinted(
            format!("{name} is not the manifest of a Secret"),
            "it is a mapping with metadata.name and data (base64) or stringData",
        )),
        Err(error) => Err(CliError::refused(format!("{name} is neither JSON nor YAML: {error}"))),
    }
}

fn row(info: &pps_v2::SecretInfo, clock: &Clock) -> Vec<String> {
    vec![
        info.secret.as_ref().map_or(String::new(), |secret| secret.name.clone()),
        info.r#type.clone(),
        clock.moment(wire::moment(info.creation_timestamp.as_ref())),
    ]
}

/// `list secret`.
pub(super) async fn list(ctx: &Ctx) -> CliResult {
    let infos = ctx.client().await?.pps().list_secret(()).await?.into_inner();
    let clock = Clock::now(false);
    let mut list = MessageList::begin(&ctx.printer, None, HEADER, false);
    for info in &infos.secret_info {
        list.push(info, |info| row(info, &clock))?;
    }
    list.finish()
}

/// `inspect secret`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &SecretName) -> CliResult {
    let request = pps_v2::InspectSecretRequest {
        secret: Some(pps_v2::Secret {
            name: arguments.secret.clone(),
        }),
    };
    let info = ctx.client().await?.pps().inspect_secret(request).await?.into_inner();
    let clock = Clock::now(false);
    let mut list = MessageList::begin(&ctx.printer, None, HEADER, false);
    list.push(&info, |info| row(info, &clock))?;
    list.finish()
}

/// `delete secret`.
pub(super) async fn delete(ctx: &Ctx, arguments: &SecretName) -> CliResult {
    let request = pps_v2::DeleteSecretRequest {
        secret: Some(pps_v2::Secret {
            name: arguments.secret.clone(),
        }),
    };
    ctx.client().await?.pps().delete_secret(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_may_be_json_or_yaml() {
        let json = manifest("x", b"{\"metadata\": {\"name\": \"s\"}}").expect("read");
        let yaml = manifest("x", b"metadata:\n  name: s\n").expect("read");
        assert_eq!(json, yaml);
        assert!(
            manifest("x", b"- a\n")
                .unwrap_err()
                .to_string()
                .contains("not the manifest")
        );
    }
}
