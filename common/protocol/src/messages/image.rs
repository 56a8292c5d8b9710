//! The request to resolve an image reference, and the answer.

use howdah_model::entities::ImagePin;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// Asks one worker to resolve an image reference to a digest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveImage {
    /// Reference as in the pipeline spec.
    pub image: String,
    /// Credentials for the registry, if the coordinator has any.
    pub auth: Option<PullCredentials>,
}

impl Wire for ResolveImage {
    const KIND: &'static str = "resolve_image";
}

impl std::fmt::Debug for ResolveImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolveImage")
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullCredentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
    /// Registry that they are for; `None` means the registry of the image.
    pub server: Option<String>,
}

impl std::fmt::Debug for PullCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullCredentials")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Answer to [`ResolveImage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedImage {
    /// The image exists and has this digest.
    Pinned(ImagePin),
    /// The worker could not resolve the reference.
    Refused {
        /// Why; shown as the pipeline's reason.
        message: String,
        /// Whether another attempt fails too until a person acts.
        needs_attention: bool,
    },
}

impl Wire for ResolvedImage {
    const KIND: &'static str = "resolved_image";
}
