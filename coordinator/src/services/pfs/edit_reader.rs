//! Reads the messages of a `ModifyFile` call into edits.
//!
//! ```text
//!  add    --bytes--> PackWriter --stored content--+
//!  delete ----------------------------------------+--> FileEdits, in the order of the messages --> ClosedEdits
//!  copy   --looks up the source tree--------------+
//! ```
//!
//! Bytes are stored while further messages are read, so a file becomes an edit later than messages that follow it. To
//! keep the order of the messages, the step number of the edit is reserved when the file begins.
//!
//! Memory is bounded, whatever the number and size of the files: edits that do not fit go to temporary files. After
//! a call that fails, its chunks stay in the store and nothing refers to them; the same bytes put again are the same
//! chunks.

use howdah_api::file_broker::{FileBroker, PROGRESS_STEP, ReceivedFile};
use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_store::{
    ClosedEdits, EditError, FileContent, FileEdits, PackWriter, PathRules, StepNumber, check_path, clean_path,
};
use tonic::Status;

use super::read::{file_of, readable};
use crate::metadata::Core;
use crate::services::call_memory::{CallMemory, FREE_CALL_BYTES};
use crate::services::status::IntoStatus;
use crate::services::wire;

/// Turns messages into edits.
pub(super) struct EditReader<'a> {
    core: &'a Core,
    file_broker: Option<&'a FileBroker>,
    memory: Option<CallMemory>,
    /// Stores bytes. Each file has its path and the number that is reserved for its edit.
    writer: PackWriter<(StepNumber, String)>,
    edits: FileEdits,
    /// Path of the file to which the last message added bytes.
    open_file: Option<String>,
}

impl<'a> EditReader<'a> {
    /// Makes a reader that has read nothing. Without `file_broker`, files that clients offer cannot be read.
    /// `memory` is that of the call.
    pub(super) fn new(core: &'a Core, file_broker: Option<&'a FileBroker>, memory: Option<CallMemory>) -> Self {
        let sort_memory = core.store().limits().sort_buffer_bytes;
        Self {
            core,
            file_broker,
            memory,
            writer: PackWriter::new(core.store()),
            edits: FileEdits::with_memory(PathRules::Strict, sort_memory),
            open_file: None,
        }
    }

    /// Reads one message after the first.
    ///
    /// # Errors
    /// When the message is not complete, a path is not allowed, a source cannot be read, or the store fails.
    pub(super) async fn read(&mut self, message: pfs::ModifyFileRequest) -> Result<(), Status> {
        match message.body {
            Some(Body::AddFile(add)) => self.add(add).await,
            Some(Body::DeleteFile(delete)) => self.delete(&delete).await,
            Some(Body::CopyFile(copy)) => self.copy(copy).await,
            Some(Body::SetCommit(_)) => Err(Status::invalid_argument(
                "validate recv: a second set_commit in one call",
            )),
            None => Err(wire::missing("body")),
        }
    }

    /// Waits until all bytes are stored and returns the edits.
    ///
    /// # Errors
    /// When the store or temporary files fail.
    pub(super) async fn finish(self) -> Result<ClosedEdits, Status> {
        let Self { writer, mut edits, .. } = self;
        let stored = writer.finish().await.map_err(IntoStatus::into_status)?;
        append(&mut edits, stored).await.map_err(IntoStatus::into_status)?;
        edits.close().await.map_err(IntoStatus::into_status)
    }

    async fn add(&mut self, add: pfs::AddFile) -> Result<(), Status> {
        use pfs::add_file::Source;
        let path = checked_path(&add.path)?;
        // A large file comes as many messages with one path. They make one file with one edit: an edit for each message
        // would let the list of edits grow with the number of bytes.
        if self.open_file.as_ref() != Some(&path) {
            let number = self.edits.reserve();
            let begun = self.writer.begin((number, path.clone())).await;
            begun.map_err(IntoStatus::into_status)?;
            self.open_file = Some(path);
        }
        match add.source {
            // Without a source, the file is empty.
            None => {}
            Some(Source::Raw(bytes)) => {
                let written = self.writer.write_bytes(bytes).await;
                written.map_err(IntoStatus::into_status)?;
            }
            Some(Source::Url(source)) if ReceivedFile::is_url(&source.url) => self.add_offered(&source.url).await?,
            Some(Source::Url(source)) => {
                return Err(Status::unimplemented(format!(
                    "not supported yet: put file from a URL ({}); fetch it and put the file",
                    source.url
                )));
            }
        }
        // After every message, so that the list of stored files does not grow until the call ends.
        let stored = self.writer.take_stored().await.map_err(IntoStatus::into_status)?;
        append(&mut self.edits, stored).await.map_err(IntoStatus::into_status)
    }

    /// Adds the bytes of a file that a client on this machine has offered.
    async fn add_offered(&mut self, url: &str) -> Result<(), Status> {
        let Some(received) = self.file_broker.and_then(|broker| broker.take(url)) else {
            return Err(Status::failed_precondition(
                "the file that the client offered to this server is not available (any more); put it again",
            ));
        };
        if let Some(memory) = &self.memory
            && received.size() > FREE_CALL_BYTES as u64
        {
            memory.reserve().await?;
        }
        for offset in (0..received.size()).step_by(PROGRESS_STEP as usize) {
            let length = PROGRESS_STEP.min(received.size() - offset);
            let written = self.writer.write_from(received.file(), offset, length).await;
            written.map_err(IntoStatus::into_status)?;
            received.report();
        }
        Ok(())
    }

    async fn delete(&mut self, delete: &pfs::DeleteFile) -> Result<(), Status> {
        // Bytes that follow for the same path belong to a new file.
        self.open_file = None;
        let folder = delete.path.is_empty() || delete.path.ends_with('/');
        let mut path = clean_path(&delete.path);
        if folder && !path.ends_with('/') {
            path.push('/');
        }
        self.edits.delete(&path);
        self.edits.make_room().await.map_err(IntoStatus::into_status)
    }

    async fn copy(&mut self, copy: pfs::CopyFile) -> Result<(), Status> {
        self.open_file = None;
        let (source, reference) = file_of(copy.src.as_ref())?;
        // Resolved now and not when the edits are applied: an attempt that is repeated must copy the same files.
        let commit = readable(self.core, &reference).await?;
        let tree = commit.tree(self.core);
        let copied = self.edits.copy(&tree, &source.path, &copy.dst, copy.append).await;
        copied.map(drop).map_err(|error| match error {
            EditError::Store(error) => commit.read_error(&source.path, error),
            error => error.into_status(),
        })
    }
}

/// Adds the edits of files whose bytes are stored, at the numbers that were reserved for them.
async fn append(edits: &mut FileEdits, stored: Vec<((StepNumber, String), FileContent)>) -> Result<(), EditError> {
    for ((number, path), content) in stored {
        edits.append_at(number, &path, content)?;
        edits.make_room().await?;
    }
    Ok(())
}

/// Cleans and checks a path to which something is written.
fn checked_path(path: &str) -> Result<String, Status> {
    let path = clean_path(path);
    match check_path(&path, PathRules::Strict) {
        Ok(()) => Ok(path),
        Err(error) => Err(Status::unknown(error.to_string())),
    }
}
