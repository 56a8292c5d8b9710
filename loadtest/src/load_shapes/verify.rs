//! Reading all files of a commit back and comparing every byte with the model.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use howdah_api::pfs_v2;
use tonic::Streaming;

use super::model::{ExpectedFiles, SeededContent};
use crate::harness::BenchServer;
use crate::noise::Noise;

/// Bytes of a block of an archive.
const BLOCK: usize = 512;

/// Compares all files of a commit with the model; returns the number of bytes of their contents.
pub(super) async fn all(up: &BenchServer, commit: &pfs_v2::Commit, model: &ExpectedFiles) -> anyhow::Result<u64> {
    let mut archive = up.archive(commit).await?;
    let mut reader = ArchiveReader::default();
    let (mut files, mut bytes) = (0, 0);
    let mut seen = vec![false; model.end()];
    while let Some(block) = reader.take(&mut archive, BLOCK).await? {
        // Blocks of zeros end an archive.
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let header = tar::Header::from_byte_slice(&block);
        let size = header.entry_size().context("the archive has a header without size")?;
        match header.entry_type() {
            tar::EntryType::Regular => {}
            tar::EntryType::Directory => continue,
            other => bail!("the archive has an entry of the kind {other:?}"),
        }
        let path = String::from_utf8(header.path_bytes().into_owned())?;
        let file = model.file(&path);
        let (number, content) = file.with_context(|| format!("{path} should not be there"))?;
        ensure!(!seen[number], "{path} came twice");
        seen[number] = true;
        ensure!(
            size == content.length,
            "{path} has {size} bytes, not {}",
            content.length
        );
        reader.compare(&mut archive, content).await.with_context(|| path)?;
        reader
            .take(&mut archive, (BLOCK - size as usize % BLOCK) % BLOCK)
            .await?;
        (files, bytes) = (files + 1, bytes + size);
    }
    let expected = model.count();
    ensure!(files == expected, "{files} files came back, {expected} should be there");
    Ok(bytes)
}

/// Reads a stream of messages in pieces of any length.
#[derive(Default)]
struct ArchiveReader {
    /// The rest of the last message.
    message: Bytes,
}

impl ArchiveReader {
    /// Returns exactly `length` bytes; none at the end of the stream.
    async fn take(&mut self, archive: &mut Streaming<Bytes>, length: usize) -> anyhow::Result<Option<Vec<u8>>> {
        let mut taken = Vec::with_capacity(length);
        while taken.len() < length {
            if self.message.is_empty() {
                match archive.message().await.context("cannot get files")? {
                    Some(message) => self.message = message,
                    None if taken.is_empty() => return Ok(None),
                    None => bail!("the archive ends in the middle"),
                }
            }
            let some = self.message.len().min(length - taken.len());
            taken.extend_from_slice(&self.message.split_to(some));
        }
        Ok(Some(taken))
    }

    /// Compares the next bytes with the expected content.
    async fn compare(&mut self, archive: &mut Streaming<Bytes>, content: SeededContent) -> anyhow::Result<()> {
        const STEP: usize = 64 << 10;
        let mut noise = Noise::new(content.seed);
        let (mut left, mut expected) = (content.length as usize, vec![0; STEP]);
        while left > 0 {
            let step = left.min(STEP);
            noise.fill(&mut expected[..step]);
            let found = self
                .take(archive, step)
                .await?
                .context("the archive ends in the middle")?;
            ensure!(
                found == expected[..step],
                "other bytes came back than were put, at {} or behind",
                content.length as usize - left
            );
            left -= step;
        }
        Ok(())
    }
}
