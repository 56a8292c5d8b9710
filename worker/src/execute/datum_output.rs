//! Storing the output of one successful try.

use std::path::PathBuf;
use std::time::Instant;

use howdah_protocol::objects::{Datum, OutputFile};

use crate::blocking::blocking;
use crate::context::WorkerContext;
use crate::error::InfraError;
use crate::execute::datum_totals::DatumTotals;
use crate::execute::interrupt::Interrupt;
use crate::pfs::inputs;
use crate::pfs::output::{self, CollectedFile, ContentSource};
use crate::pfs::set_output::{OutputWriter, SetOutput};
use crate::set_handle::SetHandle;

/// Bytes of a large output file that are read at once.
const PIECE_BYTES: usize = 1 << 20;
const STORING: &str = "cannot store the output of a datum";

/// Hands the output of a datum to a writer of its set. Returns why the output is rejected, if it is.
///
/// On an [`Interrupt`] the writer is dropped with the output of all datums that used it. That is harmless: the whole
/// set ends without a result then.
pub(super) async fn store_output(
    context: &WorkerContext,
    handle: &SetHandle,
    output: &SetOutput,
    index: usize,
    datum: &Datum,
    files: Vec<CollectedFile>,
    totals: &mut DatumTotals,
) -> Result<Option<String>, Interrupt> {
    let begun = Instant::now();
    // References first: only they can still be rejected. A rejection after a write would leave files of the failed try
    // in the set's output.
    let mut references = Vec::new();
    let mut new = Vec::with_capacity(files.len());
    for CollectedFile { path, content } in files {
        let ContentSource::Input { input, path: inside } = content else {
            new.push((path, content));
            continue;
        };
        match inputs::content_of(&context.storage, datum, &input, &inside).await? {
            Some(content) => references.push((index, OutputFile { path, content })),
            None => {
                return Ok(Some(format!(
                    "link at /pfs/out{path}: {inside} is not a file of the input {input}"
                )));
            }
        }
    }
    let mut writer = output.take();
    for (path, content) in new {
        let begin = writer.pack.begin((index, path.clone()));
        begin.await.map_err(InfraError::store(STORING))?;
        match content {
            ContentSource::Memory(bytes) => {
                totals.upload_bytes += bytes.len() as u64;
                let write = writer.pack.write(&bytes);
                write.await.map_err(InfraError::store(STORING))?;
            }
            ContentSource::Disk(real) => {
                totals.upload_bytes += write_file(&mut writer, handle, &path, real).await?;
            }
            ContentSource::Input { .. } => {}
        }
        writer.pack.end().await.map_err(InfraError::store(STORING))?;
    }
    totals.upload_bytes += references.iter().map(|(_, file)| file.content.size).sum::<u64>();
    writer.references.extend(references);
    output.give_back(writer);
    totals.upload += begun.elapsed();
    Ok(None)
}

/// Writes a file from the disk in pieces; returns its size.
async fn write_file(
    writer: &mut OutputWriter,
    handle: &SetHandle,
    path: &str,
    real: PathBuf,
) -> Result<u64, Interrupt> {
    let opened = blocking(move || output::open(&real)).await?;
    let mut file = opened.map_err(InfraError::io("read the output", path))?;
    let mut bytes = 0;
    loop {
        // A large file takes long to store: a stop must not wait for its end.
        if let Some(reason) = handle.stop_reason() {
            return Err(Interrupt::Stopped(reason));
        }
        let read = blocking(move || output::read_piece(file, PIECE_BYTES)).await?;
        let piece;
        (file, piece) = read.map_err(InfraError::io("read the output", path))?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes += piece.len() as u64;
        let write = writer.pack.write(&piece);
        write.await.map_err(InfraError::store(STORING))?;
    }
}
