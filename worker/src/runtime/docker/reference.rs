//! Image references: registry, repository, tag and digest.
//!
//! `oci-spec` parses and normalizes references by Docker's grammar. This module adds what Docker and
//! our messages need beyond that: the name as the user wrote it (Podman resolves short names
//! itself), registries with an IPv6 address, the restriction to sha256 digests, and errors that
//! tell which part of a reference is wrong.

use std::net::{Ipv6Addr, SocketAddrV6};

use oci_spec::distribution::Reference;

use super::super::RuntimeError;

/// Registry of a reference that names none.
pub const DOCKER_HUB: &str = "docker.io";

/// A parsed reference: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Registry and repository as written.
    name: String,
    /// Registry; [`DOCKER_HUB`] if none is written.
    registry: String,
    /// Repository; for an official image of Docker Hub it starts with `library/`.
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// Parses a reference. Fails for a text that no engine accepts.
    pub fn parse(image: &str) -> Result<Self, RuntimeError> {
        Self::parse_strict(image).ok_or_else(|| RuntimeError::BadReference {
            image: image.to_owned(),
            detail: syntax_error(image).to_owned(),
        })
    }

    fn parse_strict(image: &str) -> Option<Self> {
        // The grammar of the library has no IPv6 addresses, so another host takes the place of one.
        let (address, parsed) = match image.split_once('/') {
            Some((host, rest)) if is_ipv6(host) => (Some(host), Reference::try_from(format!("localhost/{rest}"))),
            _ => (None, Reference::try_from(image)),
        };
        let parsed = parsed.ok()?;
        // The library accepts these, and engines do not.
        if !image.is_ascii() || parsed.repository().contains(|c: char| c.is_ascii_uppercase()) {
            return None;
        }
        if parsed.digest().is_some_and(|digest| !is_digest(digest)) {
            return None;
        }
        // The library sets the tag `latest` if none is written, so the tag may be missing here.
        let (without_digest, _) = image.split_once('@').unwrap_or((image, ""));
        let name = parsed
            .tag()
            .and_then(|tag| without_digest.strip_suffix(tag)?.strip_suffix(':'))
            .unwrap_or(without_digest);
        Some(Self {
            name: name.to_owned(),
            registry: address.unwrap_or(parsed.registry()).to_owned(),
            repository: parsed.repository().to_owned(),
            tag: parsed.tag().map(str::to_owned),
            digest: parsed.digest().map(str::to_owned),
        })
    }

    /// Returns registry and repository as the user wrote them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the registry of the image.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the digest, if the reference has one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the version to request from the registry: the digest, or else the tag.
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Returns the text of a reference to the image with this digest in the same repository.
    pub fn at(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name)
    }

    /// Returns this reference with a digest, which takes precedence over the tag.
    pub fn with_digest(self, digest: &str) -> Self {
        Self {
            digest: Some(digest.to_owned()),
            ..self
        }
    }

    /// Returns whether `name`, a short or full name without version, means the same repository.
    pub fn is_repository(&self, name: &str) -> bool {
        Self::parse_strict(name)
            .is_some_and(|other| (&other.registry, &other.repository) == (&self.registry, &self.repository))
    }
}

/// Returns whether a host is an IPv6 address in brackets, with or without a port.
fn is_ipv6(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) || host.parse::<SocketAddrV6>().is_ok()
}

/// Returns which part of an invalid reference is wrong, as a text for the user.
fn syntax_error(image: &str) -> &'static str {
    let is_valid = |text: &str| ImageReference::parse_strict(text).is_some();
    let (without_digest, _) = image.split_once('@').unwrap_or((image, ""));
    // A colon before the last slash belongs to the port of the registry.
    let name = match without_digest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => without_digest,
    };
    if name.is_empty() {
        "it has no name; write for example ubuntu:24.04"
    } else if !is_valid(name) && is_valid(&name.to_ascii_lowercase()) {
        "the repository name must be lower case"
    } else if !is_valid(name) {
        "names consist of letters and digits, separated by '.', '_', '-' or '/'"
    } else if !is_valid(without_digest) {
        "the tag after ':' is not valid"
    } else {
        "the digest after '@' must look like sha256:<64 hex digits>"
    }
}

/// Returns whether the text is an image id or digest.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(image: &str) -> (String, String, String) {
        let r = ImageReference::parse(image).unwrap();
        let registry = r.registry().to_owned();
        let version = r.version().to_owned();
        (r.name, registry, version)
    }

    fn triple(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.into(), b.into(), c.into())
    }

    #[test]
    fn references_are_parsed() {
        assert_eq!(parts("ubuntu"), triple("ubuntu", "docker.io", "latest"));
        assert_eq!(parts("a/b:1.0"), triple("a/b", "docker.io", "1.0"));
        assert_eq!(
            parts("localhost:5000/x/y"),
            triple("localhost:5000/x/y", "localhost:5000", "latest")
        );
        assert_eq!(parts("quay.io/o/p:v2"), triple("quay.io/o/p", "quay.io", "v2"));
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(parts(&format!("a:1@{digest}")), triple("a", "docker.io", &digest));
        assert_eq!(parts("a:latest"), triple("a", "docker.io", "latest"));
        assert_eq!(parts("a-latest"), triple("a-latest", "docker.io", "latest"));
        assert_eq!(parts("[::1]:5000/a:2"), triple("[::1]:5000/a", "[::1]:5000", "2"));
        assert_eq!(parts("[fd00::1]/a"), triple("[fd00::1]/a", "[fd00::1]", "latest"));
    }

    #[test]
    fn errors_tell_which_part_is_wrong() {
        for (image, word) in [
            ("", "no name"),
            (":tag", "no name"),
            ("my image", "letters"),
            ("a//b", "letters"),
            ("Ubuntu", "lower case"),
            ("a:", "tag"),
            ("a:b c", "tag"),
            ("a@sha256:12", "digest"),
            ("a..b", "letters"),
            ("ä", "letters"),
            ("[::1/a", "letters"),
            ("LOCALHOST/a", "lower case"),
            ("a:ä", "tag"),
        ] {
            let text = ImageReference::parse(image).unwrap_err().to_string();
            assert!(text.contains(word), "{image}: {text}");
        }
        let sha512 = format!("a@sha512:{}", "ab".repeat(64));
        assert!(
            ImageReference::parse(&sha512)
                .unwrap_err()
                .to_string()
                .contains("digest")
        );
        // Only the repository must be lower case.
        assert!(ImageReference::parse("LOCALHOST:5000/a").is_ok());
    }

    #[test]
    fn short_names_are_the_same_repository() {
        let r = ImageReference::parse("ubuntu:24.04").unwrap();
        assert!(r.is_repository("ubuntu"));
        assert!(r.is_repository("docker.io/library/ubuntu"));
        assert!(!r.is_repository("quay.io/library/ubuntu"));
        let r = ImageReference::parse("docker.io/me/tool").unwrap();
        assert!(r.is_repository("me/tool"));
        assert!(!r.is_repository("you/tool"));
        let r = ImageReference::parse("[::1]:5000/tool:1").unwrap();
        assert!(r.is_repository("[::1]:5000/tool"));
        assert!(!r.is_repository("localhost/tool"));
    }
}
