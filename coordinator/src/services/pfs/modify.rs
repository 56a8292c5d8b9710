//! `ModifyFile`: a stream of steps that take effect together.
//!
//! ```text
//!  messages --> steps in order, bytes into the store as they arrive
//!                 |
//!                 v            somebody was faster
//!  base content --edit--> new content --submit--> done
//!       ^                                |
//!       +------------ read again --------+
//! ```
//!
//! Memory grows with the number of files, not with their bytes.

use futures::StreamExt;
use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_model::{RejectionKind, TreeRoot};
use howdah_store::{
    ClosedEdits, EditError, FileContent, FileEdits, FileTree, PackWriter, PathRules, check_path, clean_path,
};
use tonic::{Response, Status, Streaming};

use super::read::{file_of, readable};
use super::target::Target;
use crate::core::{Core, SubmitError};
use crate::services::status::IntoStatus;
use crate::services::wire;

pub(super) async fn modify_file(
    core: &Core,
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
    let mut recorder = Recorder::new(core);
    while let Some(message) = messages.next().await {
        match message?.body {
            Some(Body::AddFile(add)) => recorder.add(add).await?,
            Some(Body::DeleteFile(delete)) => recorder.delete(&delete),
            Some(Body::CopyFile(copy)) => recorder.copy(copy).await?,
            Some(Body::SetCommit(_)) => {
                return Err(Status::invalid_argument(
                    "validate recv: a second set_commit in one call",
                ));
            }
            None => return Err(wire::missing("body")),
        }
    }
    let steps = recorder.finish().await?;
    let edits = edits(core, steps).await.map_err(edit_status)?;
    write(core, &target, &edits).await?;
    Ok(Response::new(()))
}

/// One thing to do to the files of a commit.
#[derive(Debug)]
enum Step {
    /// Bytes are added at the end of a file, which is made if it is missing.
    Append { path: String, content: FileContent },
    /// A file goes; of a path with a slash at the end, everything below.
    Delete { path: String },
    /// A file or folder of another tree comes.
    Copy {
        root: Option<TreeRoot>,
        from: String,
        to: String,
        append: bool,
    },
}

/// A step whose bytes are still on their way into the store.
enum Recorded {
    Append { path: String },
    Other(Step),
}

/// Turns messages into steps.
struct Recorder<'a> {
    core: &'a Core,
    writer: PackWriter<()>,
    steps: Vec<Recorded>,
}

impl<'a> Recorder<'a> {
    fn new(core: &'a Core) -> Self {
        Self {
            core,
            writer: PackWriter::new(core.store()),
            steps: Vec::new(),
        }
    }

    async fn add(&mut self, add: pfs::AddFile) -> Result<(), Status> {
        use pfs::add_file::Source;
        let path = checked_path(&add.path)?;
        // Chunks of one file come one after the other and make one piece.
        let continues = matches!(self.steps.last(), Some(Recorded::Append { path: last }) if *last == path);
        if !continues {
            self.writer.begin(()).await.map_err(IntoStatus::into_status)?;
            self.steps.push(Recorded::Append { path });
        }
        match add.source {
            // No source at all means an empty file.
            None => Ok(()),
            Some(Source::Raw(bytes)) => self.writer.write_bytes(bytes).await.map_err(IntoStatus::into_status),
            Some(Source::Url(source)) => Err(Status::unimplemented(format!(
                "not supported yet: put file from a URL ({}); fetch it and put the file",
                source.url
            ))),
        }
    }

    fn delete(&mut self, delete: &pfs::DeleteFile) {
        let folder = delete.path.is_empty() || delete.path.ends_with('/');
        let mut path = clean_path(&delete.path);
        if folder && !path.ends_with('/') {
            path.push('/');
        }
        self.steps.push(Recorded::Other(Step::Delete { path }));
    }

    async fn copy(&mut self, copy: pfs::CopyFile) -> Result<(), Status> {
        let (source, reference) = file_of(copy.src.as_ref())?;
        let from = clean_path(&source.path);
        let to = clean_path(&copy.dst);
        let readable = readable(self.core, &reference).await?;
        self.steps.push(Recorded::Other(Step::Copy {
            root: readable.root(),
            from,
            to,
            append: copy.append,
        }));
        Ok(())
    }

    /// Waits until all bytes are stored and returns the steps.
    async fn finish(self) -> Result<Vec<Step>, Status> {
        let contents = self.writer.finish().await.map_err(IntoStatus::into_status)?;
        let mut contents = contents.into_iter();
        let mut steps = Vec::with_capacity(self.steps.len());
        for recorded in self.steps {
            steps.push(match recorded {
                Recorded::Other(step) => step,
                Recorded::Append { path } => {
                    let ((), content) = contents
                        .next()
                        .ok_or_else(|| Status::internal("the store returned fewer files than were written"))?;
                    Step::Append { path, content }
                }
            });
        }
        Ok(steps)
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

/// Turns steps into edits. Copies look at commits that were named by the request, so they come out the same whatever
/// the edits are applied to.
async fn edits(core: &Core, steps: Vec<Step>) -> Result<ClosedEdits, EditError> {
    let mut edits = FileEdits::new(PathRules::Strict);
    for step in steps {
        match step {
            Step::Append { path, content } => edits.append(&path, content)?,
            Step::Delete { path } => edits.delete(&path),
            Step::Copy { root, from, to, append } => {
                let source = FileTree::new(core.store(), root);
                edits.copy(&source, &from, &to, append).await?;
            }
        }
    }
    Ok(edits.close())
}

/// Applies edits to whatever the target holds, as often as others are faster.
async fn write(core: &Core, target: &Target, edits: &ClosedEdits) -> Result<(), Status> {
    loop {
        let footing = target.footing(&core.state())?;
        let content = edits.apply(core.store(), &footing.base).await.map_err(edit_status)?;
        match core.submit(footing.command(content)).await {
            Ok(_) => return Ok(()),
            Err(SubmitError::Rejected(rejection)) if rejection.kind() == RejectionKind::Conflict => {}
            Err(error) => return Err(error.into_status()),
        }
    }
}

fn edit_status(error: EditError) -> Status {
    match error {
        EditError::Store(error) => error.into_status(),
        // A bad path or a collision: the words are what clients look for.
        error => Status::unknown(error.to_string()),
    }
}
