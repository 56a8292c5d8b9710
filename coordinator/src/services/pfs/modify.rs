//! `ModifyFile`: a stream of steps that take effect together.
//!
//! ```text
//!  messages --> numbered steps, bytes into the store as they arrive
//!                 |
//!                 v            somebody was faster
//!  base content --edit--> new content --submit--> done
//!       ^                                |
//!       +------------ read again --------+
//! ```
//!
//! Into an open commit, edits are staged instead, if they are not too many (see [`staging`]).
//!
//! Memory is bounded, whatever the number of files and of their bytes: names that do not fit go to temporary files.

use futures::StreamExt;
use howdah_api::file_broker::{FileBroker, PROGRESS_STEP, ReceivedFile};
use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_model::{CommitKey, RejectionKind};
use howdah_store::{
    ClosedEdits, EditError, FileContent, FileEdits, FileTree, PackWriter, PathRules, StepNumber, check_path, clean_path,
};
use tonic::{Response, Status, Streaming};

use super::read::{file_of, readable};
use super::target::{Footing, Target};
use crate::core::{Core, SubmitError};
use crate::services::status::IntoStatus;
use crate::services::wire;
use crate::staging::{self, Stage, Stager};

pub(super) async fn modify_file(
    core: &Core,
    desk: Option<&FileBroker>,
    mut messages: Streaming<pfs::ModifyFileRequest>,
) -> Result<Response<()>, Status> {
    let first = messages.next().await.transpose()?;
    let Some(Body::SetCommit(commit)) = first.and_then(|message| message.body) else {
        return Err(Status::invalid_argument(
            "validate recv: the first message must be a set_commit",
        ));
    };
    let state = core.state();
    let target = Target::new(&state, &commit)?;
    // What cannot succeed should fail before the data has been sent.
    target.footing(&state)?;
    let mut recorder = Recorder::new(core, desk);
    while let Some(message) = messages.next().await {
        match message?.body {
            Some(Body::AddFile(add)) => recorder.add(add).await?,
            Some(Body::DeleteFile(delete)) => recorder.delete(&delete).await?,
            Some(Body::CopyFile(copy)) => recorder.copy(copy).await?,
            Some(Body::SetCommit(_)) => {
                return Err(Status::invalid_argument(
                    "validate recv: a second set_commit in one call",
                ));
            }
            None => return Err(wire::missing("body")),
        }
    }
    let edits = recorder.finish().await?;
    write(core, &target, &edits).await?;
    Ok(Response::new(()))
}

/// Turns messages into edits.
struct Recorder<'a> {
    core: &'a Core,
    desk: Option<&'a FileBroker>,
    /// Files whose bytes are on their way into the store, each with its path and the place of its step.
    writer: PackWriter<(StepNumber, String)>,
    edits: FileEdits,
    /// The file that the last message added to.
    open: Option<String>,
}

impl<'a> Recorder<'a> {
    fn new(core: &'a Core, desk: Option<&'a FileBroker>) -> Self {
        let memory = core.store().limits().sort_buffer_bytes;
        Self {
            core,
            desk,
            writer: PackWriter::new(core.store()),
            edits: FileEdits::with_memory(PathRules::Strict, memory),
            open: None,
        }
    }

    async fn add(&mut self, add: pfs::AddFile) -> Result<(), Status> {
        use pfs::add_file::Source;
        let path = checked_path(&add.path)?;
        // Chunks of one file come one after the other and make one piece.
        if self.open.as_ref() != Some(&path) {
            let number = self.edits.reserve();
            let begun = self.writer.begin((number, path.clone())).await;
            begun.map_err(IntoStatus::into_status)?;
            self.open = Some(path);
        }
        match add.source {
            // No source at all means an empty file.
            None => {}
            Some(Source::Raw(bytes)) => {
                let written = self.writer.write_bytes(bytes).await;
                written.map_err(IntoStatus::into_status)?;
            }
            Some(Source::Url(source)) if ReceivedFile::is_url(&source.url) => self.read_lent(&source.url).await?,
            Some(Source::Url(source)) => {
                return Err(Status::unimplemented(format!(
                    "not supported yet: put file from a URL ({}); fetch it and put the file",
                    source.url
                )));
            }
        }
        let stored = self.writer.take_stored().await.map_err(IntoStatus::into_status)?;
        self.append(stored).await.map_err(IntoStatus::into_status)
    }

    /// Adds the bytes of a file that a client on this machine has lent us.
    async fn read_lent(&mut self, url: &str) -> Result<(), Status> {
        let Some(lent) = self.desk.and_then(|desk| desk.take(url)) else {
            return Err(Status::failed_precondition(
                "the file is not on loan to this server (any more); put it again",
            ));
        };
        for offset in (0..lent.size()).step_by(PROGRESS_STEP as usize) {
            let length = PROGRESS_STEP.min(lent.size() - offset);
            let written = self.writer.write_from(lent.file(), offset, length).await;
            written.map_err(IntoStatus::into_status)?;
            lent.report();
        }
        Ok(())
    }

    /// Adds the steps of files whose bytes are stored.
    async fn append(&mut self, stored: Vec<((StepNumber, String), FileContent)>) -> Result<(), EditError> {
        for ((number, path), content) in stored {
            self.edits.append_at(number, &path, content)?;
            self.edits.make_room().await?;
        }
        Ok(())
    }

    async fn delete(&mut self, delete: &pfs::DeleteFile) -> Result<(), Status> {
        self.open = None;
        let folder = delete.path.is_empty() || delete.path.ends_with('/');
        let mut path = clean_path(&delete.path);
        if folder && !path.ends_with('/') {
            path.push('/');
        }
        self.edits.delete(&path);
        self.edits.make_room().await.map_err(IntoStatus::into_status)
    }

    /// Copies look at commits that the request names, so they come out the same whatever the edits are applied to.
    async fn copy(&mut self, copy: pfs::CopyFile) -> Result<(), Status> {
        self.open = None;
        let (source, reference) = file_of(copy.src.as_ref())?;
        let readable = readable(self.core, &reference).await?;
        let tree = FileTree::new(self.core.store(), readable.root());
        let copied = self.edits.copy(&tree, &source.path, &copy.dst, copy.append).await;
        copied.map(drop).map_err(IntoStatus::into_status)
    }

    /// Waits until all bytes are stored and returns the edits.
    async fn finish(mut self) -> Result<ClosedEdits, Status> {
        let writer = std::mem::replace(&mut self.writer, PackWriter::new(self.core.store()));
        let stored = writer.finish().await.map_err(IntoStatus::into_status)?;
        self.append(stored).await.map_err(IntoStatus::into_status)?;
        self.edits.close().await.map_err(IntoStatus::into_status)
    }
}

/// Cleans and checks a path that something is written to.
fn checked_path(path: &str) -> Result<String, Status> {
    let path = clean_path(path);
    match check_path(&path, PathRules::Strict) {
        Ok(()) => Ok(path),
        Err(error) => Err(Status::unknown(error.to_string())),
    }
}

/// After losing so often to others who write to the same commit, a writer has it for himself.
const LOST_SHARED: u32 = 2;

/// Writes edits to whatever the target is, as often as others are faster.
async fn write(core: &Core, target: &Target, edits: &ClosedEdits) -> Result<(), Status> {
    let mut to_open = ToOpen {
        core,
        target,
        edits,
        stager: None,
    };
    let mut lost = 0;
    loop {
        let footing = target.footing(&core.state())?;
        let outcome = match footing.open() {
            Some(commit) => to_open.write(&commit.key, lost >= LOST_SHARED).await?,
            None => apply(core, &footing, edits).await?,
        };
        match outcome {
            Stage::Done => return Ok(()),
            Stage::Moved => lost += 1,
            Stage::Apply => to_open.stager = Some(None),
        }
    }
}

/// A write that goes into an open commit.
struct ToOpen<'a> {
    core: &'a Core,
    target: &'a Target,
    edits: &'a ClosedEdits,
    /// Made when it is needed; `Some(None)` if the edits cannot be staged.
    stager: Option<Option<Stager<'a>>>,
}

impl ToOpen<'_> {
    /// Writes to a commit, with or without leave to do so `alone`.
    async fn write(&mut self, commit: &CommitKey, alone: bool) -> Result<Stage, Status> {
        if self.stager.is_none() {
            let stager = Stager::new(self.core, self.edits).await;
            self.stager = Some(stager.map_err(IntoStatus::into_status)?);
        }
        let cannot_wait = matches!(self.stager, Some(None));
        let _leave = self.core.staging().leave(commit, alone || cannot_wait).await;
        // It may have taken a while to get it.
        let mut footing = self.target.footing(&self.core.state())?;
        let Some(open) = footing.open().filter(|open| open.key == *commit) else {
            return Ok(Stage::Moved);
        };
        if let Some(Some(stager)) = &mut self.stager {
            return stager.stage(open).await.map_err(IntoStatus::into_status);
        }
        let settled = staging::settle(self.core, commit).await;
        footing.base = settled.map_err(IntoStatus::into_status)?.unwrap_or(footing.base);
        apply(self.core, &footing, self.edits).await
    }
}

/// Applies edits and submits what comes of it.
async fn apply(core: &Core, footing: &Footing, edits: &ClosedEdits) -> Result<Stage, Status> {
    let content = edits.apply(core.store(), &footing.base).await;
    let command = footing.command(content.map_err(IntoStatus::into_status)?);
    match core.submit(command).await {
        Ok(_) => Ok(Stage::Done),
        Err(SubmitError::Rejected(rejection)) if rejection.kind() == RejectionKind::Conflict => Ok(Stage::Moved),
        Err(error) => Err(error.into_status()),
    }
}
