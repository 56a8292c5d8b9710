//! Images: is it here, fetch it, which exact one is it.

use bollard::auth::DockerCredentials;
use bollard::errors::Error as ApiError;
use bollard::models::{ImageConfig, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;
use howdah_model::entities::ImagePin;

use super::super::{RegistryAuth, RuntimeError};
use super::engine::{self, Engine};
use super::reference::{Reference, is_digest};

/// An image on this machine.
#[derive(Debug)]
pub struct LocalImage {
    /// What to give the engine to mean exactly this image.
    pub id: String,
    /// Its settings.
    pub config: ImageConfig,
    repo_digests: Vec<String>,
}

/// Finds out which image `image` means, fetching it when it is not here.
pub async fn resolve(engine: &Engine, image: &str, auth: Option<&RegistryAuth>) -> Result<ImagePin, RuntimeError> {
    // An image id is no reference to a registry, but it is a good name for a local image.
    if is_digest(image) {
        let found = inspect(engine, image).await?;
        let found = found.ok_or_else(|| not_here(image))?;
        return Ok(ImagePin {
            reference: image.to_owned(),
            digest: found.id,
        });
    }
    let reference = Reference::parse(image)?;
    let mut found = inspect(engine, image).await?;
    if found.is_none() {
        pull(engine, image, &reference, auth).await?;
        found = inspect(engine, image).await?;
    }
    let found = found.ok_or_else(|| RuntimeError::PullFailed {
        image: image.to_owned(),
        detail: "it was fetched but is not there; is something removing images?".to_owned(),
    })?;
    Ok(ImagePin {
        reference: image.to_owned(),
        digest: pin_digest(&reference, &found),
    })
}

/// Returns the registry's digest if the image has one, else the engine's id of it.
fn pin_digest(reference: &Reference, image: &LocalImage) -> String {
    if let Some(digest) = &reference.digest {
        return digest.clone();
    }
    let digest = image.repo_digests.iter().find_map(|entry| {
        let (name, digest) = entry.split_once('@')?;
        reference.is_repository(name).then(|| digest.to_owned())
    });
    digest.unwrap_or_else(|| image.id.clone())
}

/// Finds the image of a pin, fetching it by its digest when it is not here.
pub async fn pinned(engine: &Engine, pin: &ImagePin, auth: Option<&RegistryAuth>) -> Result<LocalImage, RuntimeError> {
    // The digest is either a registry's or an image id; nothing in it tells which.
    let reference = match is_digest(&pin.reference) {
        true => None,
        false => Some(Reference::parse(&pin.reference)?),
    };
    if let Some(reference) = &reference
        && let Some(found) = inspect(engine, &reference.at(&pin.digest)).await?
    {
        return Ok(found);
    }
    if let Some(found) = inspect(engine, &pin.digest).await? {
        return Ok(found);
    }
    let Some(mut reference) = reference else {
        return Err(not_here(&pin.reference));
    };
    reference.digest = Some(pin.digest.clone());
    let by_digest = reference.at(&pin.digest);
    match pull(engine, &pin.reference, &reference, auth).await {
        Ok(()) => {}
        Err(RuntimeError::ImageNotFound { image, detail }) => {
            return Err(RuntimeError::ImageNotFound {
                image,
                detail: format!(
                    "the pipeline uses {}, which is neither on this machine nor in the registry. \
                     An image built locally exists only where it was built: push it to a registry \
                     or load it on every worker's machine ({detail})",
                    pin.digest
                ),
            });
        }
        Err(other) => return Err(other),
    }
    inspect(engine, &by_digest).await?.ok_or_else(|| not_here(&by_digest))
}

fn not_here(image: &str) -> RuntimeError {
    RuntimeError::ImageNotFound {
        image: image.to_owned(),
        detail: "there is no image with this id on the worker's machine".to_owned(),
    }
}

async fn inspect(engine: &Engine, name: &str) -> Result<Option<LocalImage>, RuntimeError> {
    match engine.api.inspect_image(name).await {
        Ok(found) => from_inspect(found).map(Some),
        // Some engines call a reference that they cannot parse a bad request.
        Err(e) if matches!(engine::status(&e), Some(404 | 400)) => Ok(None),
        Err(e) => Err(engine::failed("look up an image", &e)),
    }
}

fn from_inspect(found: ImageInspect) -> Result<LocalImage, RuntimeError> {
    let mut id = found.id.ok_or_else(|| RuntimeError::Engine {
        operation: "look up an image",
        detail: "its answer has no image id".to_owned(),
    })?;
    // Podman leaves the algorithm away.
    if !id.contains(':') {
        id.insert_str(0, "sha256:");
    }
    Ok(LocalImage {
        id,
        config: found.config.unwrap_or_default(),
        repo_digests: found.repo_digests.unwrap_or_default(),
    })
}

async fn pull(
    engine: &Engine,
    image: &str,
    reference: &Reference,
    auth: Option<&RegistryAuth>,
) -> Result<(), RuntimeError> {
    tracing::info!(image, "pulling image");
    let started = std::time::Instant::now();
    let options = CreateImageOptionsBuilder::default()
        .from_image(&reference.name)
        .tag(reference.version())
        .build();
    let credentials = auth.map(|auth| DockerCredentials {
        username: Some(auth.username.clone()),
        password: Some(auth.password.clone()),
        identitytoken: auth.identity_token.clone(),
        serveraddress: Some(auth.server.clone().unwrap_or_else(|| reference.registry().to_owned())),
        ..DockerCredentials::default()
    });
    let mut progress = engine.api.create_image(Some(options), None, credentials);
    while let Some(step) = progress.next().await {
        let step = step.map_err(|e| pull_error(image, reference, auth.is_some(), &e))?;
        tracing::debug!(
            image,
            layer = step.id.as_deref().unwrap_or_default(),
            done_bytes = step.progress_detail.as_ref().and_then(|p| p.current),
            total_bytes = step.progress_detail.as_ref().and_then(|p| p.total),
            "{}",
            step.status.as_deref().unwrap_or_default()
        );
    }
    let seconds = started.elapsed().as_secs_f64();
    tracing::info!(image, seconds, "image pulled");
    Ok(())
}

fn pull_error(image: &str, reference: &Reference, with_credentials: bool, error: &ApiError) -> RuntimeError {
    if engine::is_unreachable(error) {
        return engine::failed("pull an image", error);
    }
    let said = engine::message(error);
    let registry = reference.registry();
    let image = image.to_owned();
    match classify_pull(&said) {
        // Docker's registry answers alike for "does not exist" and for "is not yours".
        PullTrouble::Denied if !with_credentials && said.contains("does not exist") => RuntimeError::ImageNotFound {
            image,
            detail: format!(
                "{registry} knows no such image, or hides it from strangers. Check the name; \
                     if the image is private, give the worker credentials (docker login \
                     {registry}) ({said})"
            ),
        },
        PullTrouble::Denied if with_credentials => RuntimeError::PullDenied {
            image,
            detail: format!("{registry} refuses the worker's credentials ({said})"),
        },
        PullTrouble::Denied => RuntimeError::PullDenied {
            image,
            detail: format!(
                "{registry} wants credentials and the worker has none: docker login {registry} \
                 ({said})"
            ),
        },
        PullTrouble::NotFound => RuntimeError::ImageNotFound {
            image,
            detail: format!(
                "{registry} has no version {:?} of it; check name and tag ({said})",
                reference.version()
            ),
        },
        PullTrouble::Other => RuntimeError::PullFailed { image, detail: said },
    }
}

#[derive(Debug, PartialEq, Eq)]
enum PullTrouble {
    NotFound,
    Denied,
    Other,
}

/// Engines pass on what registries say as text; these are the phrases of the protocol.
fn classify_pull(said: &str) -> PullTrouble {
    let said = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&[
        "no such host",
        "dial tcp",
        "i/o timeout",
        "tls",
        "x509",
        "no space left",
    ]) {
        PullTrouble::Other
    } else if has(&["denied", "unauthorized", "authentication required", "no basic auth"]) {
        PullTrouble::Denied
    } else if has(&["manifest unknown", "not found", "name unknown", "does not exist"]) {
        PullTrouble::NotFound
    } else {
        PullTrouble::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say_is_understood() {
        for (said, trouble) in [
            (
                "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                PullTrouble::Denied,
            ),
            (
                "manifest for alpine:nope not found: manifest unknown: manifest unknown",
                PullTrouble::NotFound,
            ),
            (
                "Head \"http://localhost:5000/v2/a/manifests/1\": no basic auth credentials",
                PullTrouble::Denied,
            ),
            (
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                PullTrouble::Other,
            ),
            (
                "failed to register layer: write /x: no space left on device",
                PullTrouble::Other,
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                PullTrouble::Other,
            ),
        ] {
            assert_eq!(classify_pull(said), trouble, "{said}");
        }
    }

    #[test]
    fn the_registrys_digest_is_preferred_to_the_engines_id() {
        let image = LocalImage {
            id: "sha256:id".into(),
            config: ImageConfig::default(),
            repo_digests: vec!["me/tool@sha256:a".into(), "quay.io/me/tool@sha256:b".into()],
        };
        let pin = |name: &str| pin_digest(&Reference::parse(name).unwrap(), &image);
        assert_eq!(pin("me/tool:1"), "sha256:a");
        assert_eq!(pin("quay.io/me/tool"), "sha256:b");
        assert_eq!(pin("local/tool"), "sha256:id");
    }
}
