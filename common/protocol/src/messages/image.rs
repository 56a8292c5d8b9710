//! The request to resolve an image reference, and the answer.

use howdah_model::entities::ImagePin;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// Asks one worker which image a reference means.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveImage {
    /// Reference as the user wrote it.
    pub image: String,
    /// Credentials, if the coordinator has any for that registry.
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
    /// Registry they are for; `None` is the image's own.
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
    /// The image exists and means this.
    Pinned(ImagePin),
    /// It could not be resolved.
    Refused {
        /// Why, for the pipeline's reason.
        message: String,
        /// Whether nothing will change until somebody acts.
        needs_attention: bool,
    },
}

impl Wire for ResolvedImage {
    const KIND: &'static str = "resolved_image";
}
