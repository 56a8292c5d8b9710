//! Identity of datums (semantics 12): functions from input files to ids and hashes.
//!
//! Stores hold these values: a changed computation would make every datum of every pipeline run again.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

use crate::ids::{ContentHash, DatumHash, DatumId};
use crate::names::{BranchName, RepoName};

/// One input file of a datum: the parts that its id is made of.
#[derive(Clone, Copy, Debug)]
pub struct DatumPart<'a> {
    /// Name of the input.
    pub name: &'a str,
    /// Name of the repository, without project and type.
    pub repo: &'a RepoName,
    /// Branch of the input.
    pub branch: &'a BranchName,
    /// Path of the match. It begins with `/`; that of a directory ends with `/`.
    pub path: &'a str,
}

/// Adds a text and its length. Without the length, `("ab", "c")` and `("a", "bc")` would have the same hash.
fn part(hasher: &mut Blake2b<U32>, bytes: &[u8]) {
    hasher.update(bytes);
    hasher.update((bytes.len() as u64).to_be_bytes());
}

/// Returns the id of a datum: BLAKE2b-256 over name, repository, branch and path of each part in order. Each text is
/// followed by its length as eight bytes, most significant first.
#[must_use]
pub fn datum_id(parts: &[DatumPart<'_>]) -> DatumId {
    let mut hasher = Blake2b::<U32>::new();
    for p in parts {
        part(&mut hasher, p.name.as_bytes());
        part(&mut hasher, p.repo.as_str().as_bytes());
        part(&mut hasher, p.branch.as_str().as_bytes());
        part(&mut hasher, p.path.as_bytes());
    }
    DatumId::new(hasher.finalize().into())
}

/// Returns the hash of a datum: BLAKE2b-256 over its id, the number of content hashes, the content hashes in the order
/// of its files, and the salt of the pipeline. The caller leaves out inputs marked `reference`.
#[must_use]
pub fn datum_hash(id: &DatumId, contents: &[ContentHash], salt: &str) -> DatumHash {
    let mut hasher = Blake2b::<U32>::new();
    hasher.update(id.as_bytes());
    hasher.update((contents.len() as u64).to_be_bytes());
    for content in contents {
        hasher.update(content.as_bytes());
    }
    hasher.update(salt.as_bytes());
    DatumHash::new(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(name: &str, path: &str) -> DatumId {
        let repo = RepoName::new("images").unwrap();
        let branch = BranchName::master();
        datum_id(&[DatumPart {
            name,
            repo: &repo,
            branch: &branch,
            path,
        }])
    }

    #[test]
    fn id_is_the_documented_digest() {
        let mut text = Vec::new();
        for word in ["in", "images", "master", "/a"] {
            text.extend_from_slice(word.as_bytes());
            text.extend_from_slice(&(word.len() as u64).to_be_bytes());
        }
        let expected: [u8; 32] = Blake2b::<U32>::digest(&text).into();
        assert_eq!(id_of("in", "/a"), DatumId::new(expected));
        assert_ne!(id_of("in", "/a"), id_of("i", "n/a"));
    }

    #[test]
    fn hash_depends_on_content_and_salt() {
        let id = id_of("in", "/a");
        let content = ContentHash::new([1; 32]);
        let hash = datum_hash(&id, &[content], "salt");
        assert_ne!(hash, datum_hash(&id, &[content], "pepper"));
        assert_ne!(hash, datum_hash(&id, &[ContentHash::new([2; 32])], "salt"));
        assert_ne!(hash, datum_hash(&id, &[], "salt"));
        assert_eq!(hash, datum_hash(&id, &[content], "salt"));
    }
}
