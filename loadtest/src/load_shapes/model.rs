//! The expected files: seeds and lengths by path, and the modifications that produce them.

use std::collections::BTreeMap;

use bytes::Bytes;
use howdah_api::pfs_v2;
use howdah_api::pfs_v2::modify_file_request::Body;

use crate::noise::Noise;

/// Bytes of one message of a put.
const MESSAGE: usize = 128 << 10;

/// Number, size and depth of the files of a modification.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Its name in tables.
    pub name: &'static str,
    /// Files written by each modification.
    pub files: u32,
    /// Fewest bytes of a file.
    pub smallest: u64,
    /// Most bytes of a file.
    pub largest: u64,
    /// Most folders above a file; with 0 all files are in the root.
    pub depth: u32,
}

impl Shape {
    /// Names a value of this shape in the report.
    pub(super) fn key(&self, value: &str) -> String {
        format!("{}_{value}", self.name)
    }
}

/// The content of a file as seed and length, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeededContent {
    /// Seed of the noise.
    pub seed: u64,
    /// Number of bytes.
    pub length: u64,
}

impl SeededContent {
    /// Returns the bytes in pieces of one message.
    pub(super) fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let mut noise = Noise::new(self.seed);
        let mut left = self.length;
        std::iter::from_fn(move || {
            let length = left.min(MESSAGE as u64);
            if length == 0 {
                return None;
            }
            left -= length;
            let mut piece = vec![0; length as usize];
            noise.fill(&mut piece);
            Some(piece.into())
        })
    }
}

/// The change of one path: the file is deleted, and a new one may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathChange {
    /// Path of the file.
    pub path: String,
    /// The new content; none if the file is only deleted.
    pub write: Option<SeededContent>,
}

/// The expected files. Path, seed and length are computed from the number of the file.
#[derive(Debug, Clone)]
pub(super) struct ExpectedFiles {
    shape: Shape,
    seed: u64,
    /// How often each file has been written; 0 for a file that does not exist.
    versions: Vec<u32>,
}

impl ExpectedFiles {
    /// Returns the number of all files that have ever existed, which is the end of the range of their numbers.
    pub(super) fn end(&self) -> usize {
        self.versions.len()
    }

    /// Returns the number of files.
    pub(super) fn count(&self) -> usize {
        self.versions.iter().filter(|version| **version > 0).count()
    }

    /// Returns number and content of the file at a path; none if no file is expected there.
    pub(super) fn file(&self, path: &str) -> Option<(usize, SeededContent)> {
        let number: usize = path.strip_suffix(".bin")?.rsplit_once('-')?.1.parse().ok()?;
        let content = self.content(number)?;
        (self.path(number) == path).then_some((number, content))
    }

    /// Returns the path of a file.
    pub(super) fn path(&self, number: usize) -> String {
        let mut noise = Noise::new(self.seed ^ (number as u64) << 1);
        let mut path = String::new();
        if self.shape.depth > 0 {
            for level in 0..=noise.below(u64::from(self.shape.depth)) {
                path += &format!("/{level}-{:02}", noise.below(20));
            }
        }
        // The prefix makes the order of paths differ from that of the numbers.
        format!("{path}/{:03x}-{number:07}.bin", noise.below(4096))
    }

    fn content(&self, number: usize) -> Option<SeededContent> {
        let version = *self.versions.get(number).filter(|version| **version > 0)?;
        let Shape { smallest, largest, .. } = self.shape;
        let mut noise = Noise::new(self.seed.wrapping_add((number as u64) << 24 | u64::from(version)));
        Some(SeededContent {
            seed: noise.below(u64::MAX),
            length: smallest + noise.below(largest - smallest + 1),
        })
    }
}

/// Generates modifications and keeps the expected files.
#[derive(Debug)]
pub(super) struct Modifications {
    noise: Noise,
    model: ExpectedFiles,
    written: u32,
}

impl Modifications {
    /// Starts without files.
    pub(super) fn new(shape: &Shape, seed: u64) -> Self {
        Self {
            noise: Noise::new(seed),
            model: ExpectedFiles {
                shape: shape.clone(),
                seed,
                versions: Vec::new(),
            },
            written: 0,
        }
    }

    /// Returns the expected files after all modifications so far.
    pub(super) fn model(&self) -> &ExpectedFiles {
        &self.model
    }

    /// Generates a modification. It writes the shape's number of files; about one in four overwrites an existing file,
    /// if there are any. For every eight written files it deletes one. No path occurs twice.
    pub(super) fn modify(&mut self) -> Vec<PathChange> {
        let before = self.model.end();
        let mut touched = BTreeMap::new();
        for _ in 0..self.model.shape.files {
            let again = self.any(before).filter(|_| self.noise.below(4) == 0);
            let number = match again {
                Some(number) if !touched.contains_key(&number) => number,
                _ => {
                    self.model.versions.push(0);
                    self.model.end() - 1
                }
            };
            touched.insert(number, true);
        }
        for _ in 0..self.model.shape.files / 8 {
            if let Some(number) = self.any(before) {
                touched.entry(number).or_insert(false);
            }
        }
        let step = |(number, write): (usize, bool)| {
            self.written += u32::from(write);
            self.model.versions[number] = if write { self.written } else { 0 };
            PathChange {
                path: self.model.path(number),
                write: self.model.content(number),
            }
        };
        touched.into_iter().map(step).collect()
    }

    /// Picks a random file with a number below `end`; none if this file does not exist any more.
    fn any(&mut self, end: usize) -> Option<usize> {
        let number = (end > 0).then(|| self.noise.below(end as u64) as usize)?;
        (self.model.versions[number] > 0).then_some(number)
    }
}

/// Returns the messages of a change. The deletion is needed because a message that adds bytes appends them.
pub(super) fn bodies(change: PathChange) -> impl Iterator<Item = Body> + Send {
    let PathChange { path, write } = change;
    let delete = Body::DeleteFile(pfs_v2::DeleteFile {
        path: path.clone(),
        datum: String::new(),
    });
    let adds = write.into_iter().flat_map(SeededContent::pieces).map(move |piece| {
        Body::AddFile(pfs_v2::AddFile {
            path: path.clone(),
            datum: String::new(),
            source: Some(pfs_v2::add_file::Source::Raw(piece)),
        })
    });
    std::iter::once(delete).chain(adds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            name: "test",
            files: 400,
            smallest: 100,
            largest: 300_000,
            depth: 3,
        }
    }

    #[test]
    fn modifications_add_overwrite_and_delete_and_are_the_same_every_time() {
        let (mut files, mut same) = (Modifications::new(&shape(), 7), Modifications::new(&shape(), 7));
        let (mut overwritten, mut deleted) = (0, 0);
        let mut plain = BTreeMap::new();
        for _ in 0..4 {
            let steps = files.modify();
            assert_eq!(steps, same.modify());
            assert_eq!(steps.iter().filter(|step| step.write.is_some()).count(), 400);
            for PathChange { path, write } in steps {
                assert!((2..=4).contains(&path.matches('/').count()), "{path}");
                let was_there = plain.remove(&path).is_some();
                match write {
                    Some(content) => {
                        overwritten += usize::from(was_there);
                        plain.insert(path, content);
                    }
                    None => deleted += usize::from(was_there),
                }
            }
            let model = files.model();
            assert_eq!(model.count(), plain.len());
            for (path, content) in &plain {
                assert_eq!(model.file(path).unwrap().1, *content);
            }
        }
        assert!(overwritten > 100 && deleted > 50, "{overwritten} {deleted}");
        assert_eq!(files.model().file("/000-0000001.bin.bin"), None);
    }

    #[test]
    fn pieces_are_as_long_as_the_content() {
        for length in [0, 1, MESSAGE as u64, 300_001] {
            let content = SeededContent { seed: 3, length };
            let total: usize = content.pieces().map(|piece| piece.len()).sum();
            assert_eq!(total as u64, length);
        }
    }
}
