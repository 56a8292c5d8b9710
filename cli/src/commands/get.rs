//! Getting files: one to a stream or a file, or a folder as a tree.

use std::io::{self, Read, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use bytes::{Buf, Bytes};
use howdah_api::pfs_v2;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Done, unfinished};
use crate::args::files::GetFile;
use crate::context::Ctx;
use crate::error::CliError;
use crate::naming::is_url;
use crate::output::progress::Progress;
use crate::{refs, wire};

/// Messages between the connection and the thread that writes a tree.
const QUEUE: usize = 4;

/// `get file`.
pub async fn run(ctx: &Ctx, arguments: &GetFile) -> Done {
    let project = ctx.project(&arguments.project)?;
    let reference = refs::file(&arguments.file)?;
    let file = wire::file(&project, &reference);
    let output = arguments.output.as_deref().filter(|output| *output != "-");
    let commit = file.commit.clone();
    let got = match output {
        Some(url) if is_url(url) => export(ctx, file, url).await,
        Some(path) if arguments.recursive => tree(ctx, arguments, file, Path::new(path)).await,
        None if arguments.recursive => Err(CliError::hinted(
            "-r needs -o, the folder to write to",
            format!("for instance `{} get file -r {} -o .`", ctx.program, arguments.file),
        )),
        Some(path) => to_file(ctx, arguments, file, Path::new(path)).await,
        None => to_stdout(ctx, arguments, file).await,
    };
    match got {
        Ok(()) => {
            unfinished::tell(ctx, commit.as_ref()).await;
            Ok(())
        }
        Err(error) => Err(unfinished::explain(ctx, commit.as_ref(), error).await),
    }
}

/// Lets the server write to an object store.
async fn export(ctx: &Ctx, file: pfs_v2::File, url: &str) -> Done {
    let request = pfs_v2::GetFileRequest {
        file: Some(file),
        url: url.to_owned(),
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pfs().get_file_tar(request).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

fn request(file: pfs_v2::File, offset: u64) -> Result<pfs_v2::GetFileRequest, CliError> {
    let offset = i64::try_from(offset).map_err(|_| CliError::refused(format!("offset {offset} is too large")))?;
    Ok(pfs_v2::GetFileRequest {
        file: Some(file),
        offset,
        ..Default::default()
    })
}

/// Says in the words of the command line what the server says in those of the API.
fn one_file_only(file: &str, status: tonic::Status) -> CliError {
    if status.message().contains("Use GetFileTAR instead") {
        return CliError::hinted(
            format!("{file} is a folder, or matches several files"),
            "-r together with -o FOLDER gets all of it",
        );
    }
    status.into()
}

fn bar(ctx: &Ctx, arguments: &GetFile) -> Progress {
    // Text on the terminal and a bar would run into each other.
    let to_terminal = ctx.printer.stdout_terminal && arguments.output.is_none();
    let shown = ctx.printer.stderr_terminal && arguments.progress != Some(false) && !to_terminal;
    let progress = Progress::bytes(shown, 0);
    progress.describe(&arguments.file);
    progress
}

async fn to_stdout(ctx: &Ctx, arguments: &GetFile, file: pfs_v2::File) -> Done {
    let fail = |status| one_file_only(&arguments.file, status);
    let mut progress = bar(ctx, arguments);
    let request = request(file, arguments.offset)?;
    let mut stream = ctx
        .client()
        .await?
        .pfs()
        .get_file(request)
        .await
        .map_err(fail)?
        .into_inner();
    let mut out = io::stdout().lock();
    while let Some(bytes) = stream.message().await.map_err(fail)? {
        out.write_all(&bytes)?;
        progress.add(bytes.len() as u64);
    }
    Ok(out.flush()?)
}

/// Writes a file; with `--retry` adds what an earlier attempt did not get.
async fn to_file(ctx: &Ctx, arguments: &GetFile, file: pfs_v2::File, path: &Path) -> Done {
    let fail = |status| one_file_only(&arguments.file, status);
    let cannot_write = || CliError::io(format!("cannot write {}", path.display()));
    if path.is_dir() {
        return Err(CliError::hinted(
            format!("cannot write {}: it is a folder", path.display()),
            "-o names the file to write; with -r it names a folder",
        ));
    }
    let have = match (arguments.retry, tokio::fs::metadata(path).await) {
        (true, Ok(metadata)) => metadata.len(),
        _ => 0,
    };
    let mut progress = bar(ctx, arguments);
    let request = request(file, arguments.offset + have)?;
    let mut stream = ctx
        .client()
        .await?
        .pfs()
        .get_file(request)
        .await
        .map_err(fail)?
        .into_inner();
    // The first answer decides whether there is such a file; until then nothing is touched.
    let mut next = stream.message().await.map_err(fail)?;
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).write(true).truncate(!arguments.retry);
    let mut out = options.open(path).await.map_err(cannot_write())?;
    out.seek(SeekFrom::Start(have)).await.map_err(cannot_write())?;
    while let Some(bytes) = next {
        out.write_all(&bytes).await.map_err(cannot_write())?;
        progress.add(bytes.len() as u64);
        next = stream.message().await.map_err(fail)?;
    }
    out.flush().await.map_err(cannot_write())
}

/// Writes everything that matches below a folder.
async fn tree(ctx: &Ctx, arguments: &GetFile, file: pfs_v2::File, folder: &Path) -> Done {
    if arguments.offset > 0 || arguments.retry {
        return Err(CliError::refused(
            "--offset and --retry are for single files, they cannot go with -r",
        ));
    }
    let base = Base::of(&file.path);
    let mut progress = bar(ctx, arguments);
    let request = request(file, 0)?;
    let mut stream = ctx.client().await?.pfs().get_file_tar(request).await?.into_inner();
    let mut next = stream.message().await?;
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    let root = folder.to_owned();
    let writing = tokio::task::spawn_blocking(move || unpack(ChannelReader::new(receiver), &base, &root));
    while let Some(bytes) = next {
        progress.add(bytes.len() as u64);
        // The writer has failed and says why below.
        if sender.send(bytes).await.is_err() {
            break;
        }
        next = stream.message().await?;
    }
    drop(sender);
    writing
        .await
        .map_err(|panic| CliError::refused(format!("writing the files failed: {panic}")))?
}

/// What is stripped from the paths of a tree.
#[derive(Debug)]
struct Base {
    /// The path itself, which is a folder whose name is stripped, or a file.
    exact: PathBuf,
    /// The folders above the first pattern in the path.
    above: PathBuf,
}

impl Base {
    fn of(path: &str) -> Base {
        let clean = crate::naming::rooted(path);
        let clean = clean.trim_start_matches('/');
        let is_pattern = |part: &str| part.contains(['*', '?', '[', '{', '(', '!', '\\']);
        let plain = clean
            .split('/')
            .take_while(|part| !is_pattern(part))
            .collect::<Vec<_>>();
        let all_plain = plain.len() == clean.split('/').count();
        let above = if all_plain {
            &plain[..plain.len().saturating_sub(1)]
        } else {
            &plain[..]
        };
        Base {
            exact: PathBuf::from(clean),
            above: PathBuf::from(above.join("/")),
        }
    }

    /// Returns where an entry goes below the folder; nothing for the folder itself.
    fn strip(&self, entry: &Path, is_folder: bool) -> Option<PathBuf> {
        if let Ok(rest) = entry.strip_prefix(&self.exact) {
            return match (rest.as_os_str().is_empty(), is_folder) {
                (true, true) => None,
                (true, false) => entry.file_name().map(PathBuf::from),
                (false, _) => Some(rest.to_owned()),
            };
        }
        let rest = entry.strip_prefix(&self.above).unwrap_or(entry);
        (!rest.as_os_str().is_empty()).then(|| rest.to_owned())
    }
}

fn unpack(archive: impl Read, base: &Base, root: &Path) -> Done {
    let broken = || CliError::io("cannot read the server's archive".to_owned());
    std::fs::create_dir_all(root).map_err(CliError::io(format!("cannot make the folder {}", root.display())))?;
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(broken())? {
        let mut entry = entry.map_err(broken())?;
        let name = entry.path().map_err(broken())?.into_owned();
        let clean: PathBuf = name
            .components()
            .filter(|part| !matches!(part, Component::RootDir))
            .collect();
        if clean.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(CliError::refused(format!(
                "the server sent the path {}, which is refused",
                name.display()
            )));
        }
        let is_folder = entry.header().entry_type().is_dir();
        let Some(relative) = base.strip(&clean, is_folder) else {
            continue;
        };
        let path = root.join(relative);
        let cannot_write = || CliError::io(format!("cannot write {}", path.display()));
        if is_folder {
            std::fs::create_dir_all(&path).map_err(cannot_write())?;
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(cannot_write())?;
        }
        let mut file = std::fs::File::create(&path).map_err(cannot_write())?;
        io::copy(&mut entry, &mut file).map_err(cannot_write())?;
    }
    Ok(())
}

/// Reads what comes through a channel.
#[derive(Debug)]
struct ChannelReader {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl ChannelReader {
    fn new(receiver: mpsc::Receiver<Bytes>) -> ChannelReader {
        ChannelReader {
            receiver,
            current: Bytes::new(),
        }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(path: &str, entry: &str, is_folder: bool) -> Option<String> {
        let relative = Base::of(path).strip(Path::new(entry), is_folder);
        relative.map(|path| path.display().to_string())
    }

    #[test]
    fn the_matched_folders_own_name_is_stripped() {
        assert_eq!(stripped("/dir", "dir", true), None);
        assert_eq!(stripped("/dir", "dir/a/b", false).as_deref(), Some("a/b"));
        assert_eq!(stripped("dir/sub/", "dir/sub/x", false).as_deref(), Some("x"));
        assert_eq!(stripped("/", "dir/x", false).as_deref(), Some("dir/x"));
        assert_eq!(stripped("", "dir/x", false).as_deref(), Some("dir/x"));
        assert_eq!(stripped("/dir/x", "dir/x", false).as_deref(), Some("x"));
        assert_eq!(stripped("/dir/*.csv", "dir/a.csv", false).as_deref(), Some("a.csv"));
        assert_eq!(stripped("/*/x", "a/x", false).as_deref(), Some("a/x"));
    }

    #[test]
    fn a_tree_is_written_and_nothing_outside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = |path: &str| {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(2);
            header.set_mode(0);
            header.set_cksum();
            builder.append(&header, &b"hi"[..]).expect("added");
            builder.into_inner().expect("closed")
        };
        let root = folder.path().join("out");
        unpack(archive("/dir/x").as_slice(), &Base::of("/dir"), &root).expect("written");
        assert_eq!(std::fs::read_to_string(root.join("x")).expect("read"), "hi");
        assert!(unpack(archive("/dir/../../x").as_slice(), &Base::of("/dir"), &root).is_err());
        assert!(!folder.path().join("x").exists());
    }
}
