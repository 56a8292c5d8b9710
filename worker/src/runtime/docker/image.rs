//! Resolves images to digests, and pulls them.
//!
//! - [`resolve`]: from a reference to a pin;
//! - [`pinned`]: from a pin to the image on this machine.
//!
//! An image built locally has no digest of a registry and is pinned by the engine's image id. Then
//! it exists only on this machine. Errors of a pull are text of the registry, which the engine
//! passes on; this module maps the known phrases to [`RuntimeError`]s.

use bollard::auth::DockerCredentials;
use bollard::errors::Error as ApiError;
use bollard::models::{ImageConfig, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;
use howdah_model::entities::ImagePin;

use super::super::{RegistryAuth, RuntimeError};
use super::engine::{self, Engine};
use super::reference::{ImageReference, is_digest};

/// An image on this machine.
#[derive(Debug)]
pub struct LocalImage {
    /// The engine's id of this image.
    pub id: String,
    /// Its settings (environment, user, working directory).
    pub config: ImageConfig,
    /// Its names in registries, each as `repository@digest`.
    repo_digests: Vec<String>,
}

/// Resolves a reference to a pin. Pulls the image if this machine does not have it.
pub async fn resolve(engine: &Engine, image: &str, auth: Option<&RegistryAuth>) -> Result<ImagePin, RuntimeError> {
    // An image id names an image on this machine, and no registry can be asked for it.
    if is_digest(image) {
        let found = inspect(engine, image).await?;
        let found = found.ok_or_else(|| not_here(image))?;
        return Ok(ImagePin {
            reference: image.to_owned(),
            digest: found.id,
        });
    }
    let reference = ImageReference::parse(image)?;
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

/// Returns the digest in the registry of `reference`, or else the engine's id of the image.
fn pin_digest(reference: &ImageReference, image: &LocalImage) -> String {
    if let Some(digest) = reference.digest() {
        return digest.to_owned();
    }
    let digest = image.repo_digests.iter().find_map(|entry| {
        let (name, digest) = entry.split_once('@')?;
        reference.is_repository(name).then(|| digest.to_owned())
    });
    digest.unwrap_or_else(|| image.id.clone())
}

/// Returns the image of a pin. Pulls it by its digest if this machine does not have it.
pub async fn pinned(engine: &Engine, pin: &ImagePin, auth: Option<&RegistryAuth>) -> Result<LocalImage, RuntimeError> {
    let reference = match is_digest(&pin.reference) {
        true => None,
        false => Some(ImageReference::parse(&pin.reference)?),
    };
    // The digest is one of a registry or an image id, and both have the same form. So it is looked
    // up as both.
    if let Some(reference) = &reference
        && let Some(found) = inspect(engine, &reference.at(&pin.digest)).await?
    {
        return Ok(found);
    }
    if let Some(found) = inspect(engine, &pin.digest).await? {
        return Ok(found);
    }
    let Some(reference) = reference else {
        return Err(not_here(&pin.reference));
    };
    // Not by the tag, which may have moved to another image since the pin was made.
    let reference = reference.with_digest(&pin.digest);
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

/// Returns the error for an image that no registry can be asked for.
fn not_here(image: &str) -> RuntimeError {
    RuntimeError::ImageNotFound {
        image: image.to_owned(),
        detail: "there is no image with this id on the worker's machine".to_owned(),
    }
}

/// Looks an image up on this machine.
async fn inspect(engine: &Engine, name: &str) -> Result<Option<LocalImage>, RuntimeError> {
    match engine.api.inspect_image(name).await {
        Ok(found) => from_inspect(found).map(Some),
        // Some engines answer 400 (bad request) to a reference that they cannot parse.
        Err(e) if matches!(engine::status(&e), Some(404 | 400)) => Ok(None),
        Err(e) => Err(engine::failed("look up an image", &e)),
    }
}

fn from_inspect(found: ImageInspect) -> Result<LocalImage, RuntimeError> {
    let mut id = found.id.ok_or_else(|| RuntimeError::Engine {
        operation: "look up an image",
        detail: "its answer has no image id".to_owned(),
    })?;
    // Podman omits the algorithm.
    if !id.contains(':') {
        id.insert_str(0, "sha256:");
    }
    Ok(LocalImage {
        id,
        config: found.config.unwrap_or_default(),
        repo_digests: found.repo_digests.unwrap_or_default(),
    })
}

/// Pulls an image. `image` is the reference as the user wrote it, for messages.
async fn pull(
    engine: &Engine,
    image: &str,
    reference: &ImageReference,
    auth: Option<&RegistryAuth>,
) -> Result<(), RuntimeError> {
    tracing::info!(image, "pulling image");
    let started = std::time::Instant::now();
    let options = CreateImageOptionsBuilder::default()
        .from_image(reference.name())
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

/// Returns the error for a pull that failed, with advice for the user.
fn pull_error(image: &str, reference: &ImageReference, with_credentials: bool, error: &ApiError) -> RuntimeError {
    if engine::is_unreachable(error) {
        return engine::failed("pull an image", error);
    }
    let message = engine::message(error);
    let registry = reference.registry();
    let image = image.to_owned();
    match classify_pull(&message) {
        // Docker's registry gives this answer for an image that does not exist and for one that
        // this user has no access to.
        PullErrorKind::Denied if !with_credentials && message.contains("does not exist") => {
            RuntimeError::ImageNotFound {
                image,
                detail: format!(
                    "{registry} has no such image, or hides it from users without access. Check \
                     the name; if the image is private, give the worker credentials (docker login \
                     {registry}) ({message})"
                ),
            }
        }
        PullErrorKind::Denied if with_credentials => RuntimeError::PullDenied {
            image,
            detail: format!("{registry} refuses the worker's credentials ({message})"),
        },
        PullErrorKind::Denied => RuntimeError::PullDenied {
            image,
            detail: format!(
                "{registry} requires credentials and the worker has none: docker login {registry} \
                 ({message})"
            ),
        },
        PullErrorKind::NotFound => RuntimeError::ImageNotFound {
            image,
            detail: format!(
                "{registry} has no version {:?} of it; check name and tag ({message})",
                reference.version()
            ),
        },
        PullErrorKind::Other => RuntimeError::PullFailed { image, detail: message },
    }
}

/// Kinds of errors of a pull that need different advice.
#[derive(Debug, PartialEq, Eq)]
enum PullErrorKind {
    NotFound,
    Denied,
    Other,
}

/// Classifies a registry's message by the phrases of the registry protocol.
fn classify_pull(message: &str) -> PullErrorKind {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // First the errors of the network and the disk: their text may also contain "not found" or
    // "denied", and a retry helps.
    if has(&[
        "no such host",
        "dial tcp",
        "i/o timeout",
        "tls",
        "x509",
        "no space left",
    ]) {
        PullErrorKind::Other
    } else if has(&["denied", "unauthorized", "authentication required", "no basic auth"]) {
        PullErrorKind::Denied
    } else if has(&["manifest unknown", "not found", "name unknown", "does not exist"]) {
        PullErrorKind::NotFound
    } else {
        PullErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_registries_are_classified() {
        for (message, kind) in [
            (
                "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                PullErrorKind::Denied,
            ),
            (
                "manifest for alpine:nope not found: manifest unknown: manifest unknown",
                PullErrorKind::NotFound,
            ),
            (
                "Head \"http://localhost:5000/v2/a/manifests/1\": no basic auth credentials",
                PullErrorKind::Denied,
            ),
            (
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                PullErrorKind::Other,
            ),
            (
                "failed to register layer: write /x: no space left on device",
                PullErrorKind::Other,
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                PullErrorKind::Other,
            ),
        ] {
            assert_eq!(classify_pull(message), kind, "{message}");
        }
    }

    #[test]
    fn the_digest_of_the_registry_is_preferred_to_the_image_id() {
        let image = LocalImage {
            id: "sha256:id".into(),
            config: ImageConfig::default(),
            repo_digests: vec!["me/tool@sha256:a".into(), "quay.io/me/tool@sha256:b".into()],
        };
        let pin = |name: &str| pin_digest(&ImageReference::parse(name).unwrap(), &image);
        assert_eq!(pin("me/tool:1"), "sha256:a");
        assert_eq!(pin("quay.io/me/tool"), "sha256:b");
        assert_eq!(pin("local/tool"), "sha256:id");
    }
}
