//! A small image registry for tests.
//!
//! It serves images of one layer over the registry protocol, with or without a login. It uses plain
//! HTTP, which engines accept from addresses of this machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

#[derive(Default)]
struct RegistryContent {
    /// Manifests by `<name>/<tag or digest>`.
    manifests: HashMap<String, Bytes>,
    /// Blobs by digest.
    blobs: HashMap<String, Bytes>,
    /// `user:password` that every request must contain.
    login: Option<String>,
}

/// A running registry.
pub(crate) struct Registry {
    /// `host:port`, the first part of its image names.
    pub host: String,
    content: Arc<Mutex<RegistryContent>>,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Registry {
    pub(crate) async fn start(login: Option<&str>) -> Self {
        let content = Arc::new(Mutex::new(RegistryContent {
            login: login.map(str::to_owned),
            ..RegistryContent::default()
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let app = Router::new().fallback(answer).with_state(content.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { host, content }
    }

    /// Publishes an image of the test tool and returns its digest. `version` is the value of the
    /// image's environment variable `VERSION`.
    pub(crate) fn publish(&self, name: &str, tag: &str, version: &str) -> String {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_path_with_name(super::tool(), "tool").unwrap();
        let layer = archive.into_inner().unwrap();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [format!("VERSION={version}")]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
            "history": [{"created_by": "test"}],
        });
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": config.len(), "digest": digest(&config)},
            "layers": [{"mediaType": LAYER, "size": layer.len(), "digest": digest(&layer)}],
        });
        let manifest = Bytes::from(serde_json::to_vec(&manifest).unwrap());
        let manifest_digest = digest(&manifest);
        let mut content = self.content.lock().unwrap();
        for blob in [config, layer] {
            content.blobs.insert(digest(&blob), blob.into());
        }
        for reference in [tag, &manifest_digest] {
            let key = format!("{name}/{reference}");
            content.manifests.insert(key, manifest.clone());
        }
        manifest_digest
    }
}

async fn answer(State(content): State<Arc<Mutex<RegistryContent>>>, request: Request) -> Response {
    let content = content.lock().unwrap();
    if let Some(login) = &content.login {
        let expected = base64::engine::general_purpose::STANDARD.encode(login);
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|v| v.to_str().ok()).unwrap_or_default();
        if given != format!("Basic {expected}") {
            let headers = [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")];
            return (StatusCode::UNAUTHORIZED, headers, error("UNAUTHORIZED")).into_response();
        }
    }
    let path = request.uri().path();
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    if rest.is_empty() {
        return StatusCode::OK.into_response();
    }
    if let Some((name, reference)) = rest.split_once("/manifests/") {
        let Some(manifest) = content.manifests.get(&format!("{name}/{reference}")) else {
            return (StatusCode::NOT_FOUND, error("MANIFEST_UNKNOWN")).into_response();
        };
        let digest = digest(manifest);
        let headers = [
            (header::CONTENT_TYPE.as_str(), MANIFEST),
            ("docker-content-digest", &digest),
        ];
        return (headers, manifest.clone()).into_response();
    }
    if let Some((_, blob)) = rest.split_once("/blobs/")
        && let Some(blob) = content.blobs.get(blob)
    {
        return blob.clone().into_response();
    }
    (StatusCode::NOT_FOUND, error("NAME_UNKNOWN")).into_response()
}

fn error(code: &str) -> String {
    let words = code.to_lowercase().replace('_', " ");
    json!({"errors": [{"code": code, "message": words}]}).to_string()
}
