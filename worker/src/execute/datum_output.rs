//! Storing the output of one successful try.

use std::time::Instant;

use howdah_protocol::objects::{Datum, OutputFile};
use howdah_store::StoreError;

use crate::blocking::{blocking, short};
use crate::context::WorkerContext;
use crate::error::InfraError;
use crate::execute::datum_totals::DatumTotals;
use crate::execute::interrupt::Interrupt;
use crate::pfs::collected::{CollectedFile, CollectedOutput, ContentSource};
use crate::pfs::inputs;
use crate::pfs::output_time::{OutputTime, TimeUp};
use crate::pfs::set_output::{OutputTag, OutputWriter, SetOutput};
use crate::pfs::stored_file::{DiskFile, FilePiece};
use crate::set_handle::{SetHandle, StopReason};

/// Bytes of a large output file that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a hole that are stored before the clock is looked at.
const HOLE_BYTES: u64 = 8 << 20;
const STORING: &str = "cannot store the output of a datum";

/// Why the output of a try is not stored.
enum NotStored {
    /// The try fails with this text.
    Rejected(String),
    /// The whole set ends.
    Interrupted(Interrupt),
}

impl From<Interrupt> for NotStored {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl From<InfraError> for NotStored {
    fn from(error: InfraError) -> Self {
        Self::Interrupted(Interrupt::Infra(error))
    }
}

/// Stores the output of a try.
pub(super) struct OutputStorer<'a> {
    pub context: &'a WorkerContext,
    pub handle: &'a SetHandle,
    pub output: &'a SetOutput,
    /// The datum, with its place in the set.
    pub datum: (usize, &'a Datum),
    /// The time that is left.
    pub time: OutputTime,
}

impl OutputStorer<'_> {
    /// Hands the output to a writer of the set. Returns why the output is rejected, if it is.
    ///
    /// On an [`Interrupt`] the writer is dropped with the output of all datums that used it. That is harmless: the
    /// whole set ends without a result then.
    pub(super) async fn store(
        mut self,
        collected: CollectedOutput,
        totals: &mut DatumTotals,
    ) -> Result<Option<String>, Interrupt> {
        let begun = Instant::now();
        self.time.add_bytes(collected.disk_bytes);
        let stored = self.store_files(collected.files, totals).await;
        totals.upload += begun.elapsed();
        match stored {
            Ok(()) => Ok(None),
            Err(NotStored::Rejected(reason)) => Ok(Some(reason)),
            Err(NotStored::Interrupted(interrupt)) => Err(interrupt),
        }
    }

    async fn store_files(&self, files: Vec<CollectedFile>, totals: &mut DatumTotals) -> Result<(), NotStored> {
        let (index, datum) = self.datum;
        // References first: most outputs that are rejected here are links, and nothing is written in vain then.
        let mut references = Vec::new();
        let mut new = Vec::with_capacity(files.len());
        for CollectedFile { path, content } in files {
            let ContentSource::Input { input, path: inside } = content else {
                new.push((path, content));
                continue;
            };
            self.check_time()?;
            let found = inputs::content_of(&self.context.storage, datum, &input, &inside);
            match self.unless_stopped(found).await?? {
                Some(content) => references.push((index, OutputFile { path, content })),
                None => {
                    return Err(NotStored::Rejected(format!(
                        "link at /pfs/out{path}: {inside} is not a file of the input {input}"
                    )));
                }
            }
        }
        let mut writer = self.output.take();
        let written_by = writer.begin_try();
        match self.write_all(&mut writer, written_by, new).await {
            Ok(bytes) => totals.upload_bytes += bytes,
            Err(NotStored::Rejected(reason)) => {
                // The writer is intact: only whole steps of it were taken. It holds output of other datums.
                writer.discard(written_by);
                self.output.give_back(writer);
                return Err(NotStored::Rejected(reason));
            }
            Err(interrupted) => return Err(interrupted),
        }
        totals.upload_bytes += references.iter().map(|(_, file)| file.content.size).sum::<u64>();
        writer.references.extend(references);
        self.output.give_back(writer);
        Ok(())
    }

    /// Writes new files; returns the sum of their sizes. After a rejection no file of the writer is open.
    async fn write_all(
        &self,
        writer: &mut OutputWriter,
        written_by: u32,
        files: Vec<(String, ContentSource)>,
    ) -> Result<u64, NotStored> {
        let (datum, _) = self.datum;
        let mut bytes = 0;
        for (path, content) in files {
            self.check_time()?;
            let tag = OutputTag {
                datum,
                written_by,
                path: path.clone(),
            };
            self.unless_stopped(writer.pack.begin(tag)).await?.map_err(storing)?;
            let written = match content {
                ContentSource::Memory(content) => {
                    let length = content.len() as u64;
                    let write = writer.pack.write(&content);
                    self.unless_stopped(write).await?.map_err(storing)?;
                    Ok(length)
                }
                ContentSource::Disk(file) => self.write_file(writer, &path, file).await,
                ContentSource::Input { .. } => Ok(0),
            };
            if !matches!(written, Err(NotStored::Interrupted(_))) {
                self.unless_stopped(writer.pack.end()).await?.map_err(storing)?;
            }
            bytes += written?;
        }
        Ok(bytes)
    }

    /// Writes a file from the disk in pieces; returns its size.
    async fn write_file(&self, writer: &mut OutputWriter, path: &str, file: DiskFile) -> Result<u64, NotStored> {
        let mut reader = match short(move || file.open()).await? {
            Ok(reader) => reader,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(NotStored::Rejected(format!(
                    "/pfs/out{path} changed while it was stored: {error}"
                )));
            }
            Err(error) => return Err(InfraError::io("read the output", path)(error).into()),
        };
        let mut bytes = 0;
        loop {
            self.check_time()?;
            let read = blocking(move || {
                let piece = reader.next(PIECE_BYTES);
                (reader, piece)
            });
            let piece;
            (reader, piece) = read.await?;
            match piece.map_err(InfraError::io("read the output", path))? {
                FilePiece::End => return Ok(bytes),
                FilePiece::Bytes(piece) => {
                    bytes += piece.len() as u64;
                    let write = writer.pack.write(&piece);
                    self.unless_stopped(write).await?.map_err(storing)?;
                }
                FilePiece::Hole(length) => {
                    bytes += length;
                    let mut left = length;
                    while left > 0 {
                        self.check_time()?;
                        let now = left.min(HOLE_BYTES);
                        let write = writer.pack.write_zeros(now);
                        self.unless_stopped(write).await?.map_err(storing)?;
                        left -= now;
                    }
                }
            }
        }
    }

    /// Returns why storing must end now. It is called between two steps of a writer, which stays usable.
    fn check_time(&self) -> Result<(), NotStored> {
        match self.time.check() {
            Ok(()) => Ok(()),
            Err(TimeUp::Stopped) => Err(self.stopped().into()),
            Err(TimeUp::Over(reason)) => Err(NotStored::Rejected(reason)),
        }
    }

    /// Waits for a step, unless the set is stopped: a store that does not answer must not delay that. The step is
    /// dropped then, and with it the writer.
    async fn unless_stopped<T>(&self, step: impl Future<Output = T>) -> Result<T, Interrupt> {
        tokio::select! {
            biased;
            done = step => Ok(done),
            () = self.handle.stop_token().cancelled() => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> Interrupt {
        Interrupt::Stopped(self.handle.stop_reason().unwrap_or(StopReason::Shutdown))
    }
}

fn storing(error: StoreError) -> NotStored {
    InfraError::store(STORING)(error).into()
}
