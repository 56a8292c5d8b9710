//! Image references: which registry, which repository, which version.

use super::super::RuntimeError;

/// Registry meant when a reference names none.
pub const DOCKER_HUB: &str = "docker.io";

/// A reference taken apart: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Everything before tag and digest, as written.
    pub name: String,
    /// Tag, if written.
    pub tag: Option<String>,
    /// Digest (`sha256:...`), if written.
    pub digest: Option<String>,
}

impl Reference {
    /// Takes a reference apart and refuses what no engine would accept.
    pub fn parse(image: &str) -> Result<Self, RuntimeError> {
        let bad = |detail: &str| RuntimeError::BadReference {
            image: image.to_owned(),
            detail: detail.to_owned(),
        };
        let (rest, digest) = match image.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (image, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() {
            return Err(bad("it has no name; write for example ubuntu:24.04"));
        }
        let is_name_char = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
        if !name.chars().all(is_name_char) || name.split('/').any(str::is_empty) {
            return Err(bad("names consist of letters, digits, '.', '_', '-' and '/'"));
        }
        let parsed = Self {
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        };
        if parsed.repository().chars().any(|c| c.is_ascii_uppercase()) {
            return Err(bad("the repository name must be lower case"));
        }
        let is_tag_char = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if tag.is_some_and(|t| t.is_empty() || t.len() > 128 || !t.chars().all(is_tag_char)) {
            return Err(bad("the tag after ':' is not valid"));
        }
        if digest.is_some_and(|d| !is_digest(d)) {
            return Err(bad("the digest after '@' must look like sha256:<64 hex digits>"));
        }
        Ok(parsed)
    }

    /// Returns the registry that the image comes from.
    pub fn registry(&self) -> &str {
        match self.name.split_once('/') {
            Some((host, _)) if is_host(host) => host,
            _ => DOCKER_HUB,
        }
    }

    fn repository(&self) -> &str {
        match self.name.split_once('/') {
            Some((host, rest)) if is_host(host) => rest,
            _ => &self.name,
        }
    }

    /// Returns what to ask the registry for: the digest, else the tag, else `latest`.
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Returns the reference to exactly the image with this digest.
    pub fn at(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name)
    }

    /// Says whether `name` (from an engine) is this repository, however abbreviated.
    pub fn is_repository(&self, name: &str) -> bool {
        full_name(&self.name) == full_name(name)
    }
}

fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

/// Says whether the text is an image id or digest.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Spells out what Docker's short names leave away.
fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => full_name(rest),
        Some((DOCKER_HUB, rest)) if rest.contains('/') => format!("{DOCKER_HUB}/{rest}"),
        Some((DOCKER_HUB, rest)) => format!("{DOCKER_HUB}/library/{rest}"),
        Some((host, _)) if is_host(host) => name.to_owned(),
        Some(_) => format!("{DOCKER_HUB}/{name}"),
        None => format!("{DOCKER_HUB}/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(image: &str) -> (String, String, String) {
        let r = Reference::parse(image).unwrap();
        let registry = r.registry().to_owned();
        let version = r.version().to_owned();
        (r.name, registry, version)
    }

    fn triple(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.into(), b.into(), c.into())
    }

    #[test]
    fn references_are_taken_apart() {
        assert_eq!(parts("ubuntu"), triple("ubuntu", "docker.io", "latest"));
        assert_eq!(parts("a/b:1.0"), triple("a/b", "docker.io", "1.0"));
        assert_eq!(
            parts("localhost:5000/x/y"),
            triple("localhost:5000/x/y", "localhost:5000", "latest")
        );
        assert_eq!(parts("quay.io/o/p:v2"), triple("quay.io/o/p", "quay.io", "v2"));
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(parts(&format!("a:1@{digest}")), triple("a", "docker.io", &digest));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (image, word) in [
            ("", "no name"),
            (":tag", "no name"),
            ("my image", "letters"),
            ("a//b", "letters"),
            ("Ubuntu", "lower case"),
            ("a:", "tag"),
            ("a:b c", "tag"),
            ("a@sha256:12", "digest"),
        ] {
            let text = Reference::parse(image).unwrap_err().to_string();
            assert!(text.contains(word), "{image}: {text}");
        }
        // Only the repository must be lower case.
        assert!(Reference::parse("LOCALHOST:5000/a").is_ok());
    }

    #[test]
    fn short_names_are_the_same_repository() {
        let r = Reference::parse("ubuntu:24.04").unwrap();
        assert!(r.is_repository("ubuntu"));
        assert!(r.is_repository("docker.io/library/ubuntu"));
        assert!(!r.is_repository("quay.io/library/ubuntu"));
        let r = Reference::parse("docker.io/me/tool").unwrap();
        assert!(r.is_repository("me/tool"));
        assert!(!r.is_repository("you/tool"));
    }
}
