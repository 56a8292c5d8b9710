//! Writing the files of an archive below a folder, small ones by several threads.
//!
//! ```text
//!  archive --> one thread reads it, makes folders, writes large files
//!                 |  groups of small files
//!                 v
//!              WRITERS threads create and write them; creating files takes most of the time
//! ```
//!
//! Memory: about twice [`WRITERS`] groups of [`GROUP_BYTES`]. Entries that would lead out of the folder, entries that are
//! neither files nor folders, and an archive without its end mark are refused. The first error of a writer ends the
//! unpacking and is the error of the command.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::tar_file::end_mark;
use crate::error::{CliError, CliResult};
use crate::output::progress::ProgressCounter;

/// Most bytes of a small file, which is written as part of a group.
const SMALL_FILE: u64 = 64 << 10;
/// Bytes from which a group is sent to a writer.
const GROUP_BYTES: usize = 1 << 20;
/// Files from which a group is sent to a writer.
const GROUP_FILES: usize = 128;
/// Threads that write groups.
const WRITERS: usize = 4;
/// Bytes of one write of a large file.
const COPIED: usize = 256 << 10;

/// The part of the requested path that is removed from the paths of a tree.
#[derive(Debug)]
pub(super) struct StrippedPrefix {
    /// The requested path: a folder, whose name is removed, or a file.
    exact: PathBuf,
    /// The folders above the first pattern in the path.
    above: PathBuf,
}

impl StrippedPrefix {
    /// Splits the requested path.
    pub(super) fn of(path: &str) -> StrippedPrefix {
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
        StrippedPrefix {
            exact: PathBuf::from(clean),
            above: PathBuf::from(above.join("/")),
        }
    }

    /// Returns the path of an entry below the folder; none for the folder itself.
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

/// A small file with its content.
struct SmallEntry {
    path: PathBuf,
    content: Vec<u8>,
}

/// Writes the files of an archive below a folder.
pub(super) fn unpack(archive: impl Read, base: &StrippedPrefix, root: &Path, counter: &ProgressCounter) -> CliResult {
    std::fs::create_dir_all(root).map_err(CliError::io(format!("cannot make the folder {}", root.display())))?;
    let (sender, receiver) = sync_channel(WRITERS);
    let groups = Mutex::new(Some(receiver));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| write_groups(&groups))).collect();
        let read = read_archive(archive, base, root, sender, counter);
        let mut failed = Ok(());
        for writer in writers {
            let wrote = match writer.join() {
                Ok(wrote) => wrote,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            failed = failed.and(wrote);
        }
        // The error of a writer comes first: it is the reason why the reader could not send.
        failed.and(read)
    })
}

/// The channel from which writers take groups; none once a writer has failed.
type Groups = Mutex<Option<Receiver<Vec<SmallEntry>>>>;

/// Writes groups until the channel is closed.
///
/// A writer that fails drops the receiver. The reader's next send then fails and the other writers find no channel, so
/// all of them stop.
fn write_groups(groups: &Groups) -> CliResult {
    loop {
        // One idle writer waits for a group and holds the lock; the other idle ones wait for the lock. A writer that
        // fails gets the lock after the next group, or after the reader has closed the channel, so it cannot deadlock.
        let next = {
            let receiver = groups.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.as_ref().and_then(|receiver| receiver.recv().ok())
        };
        let Some(group) = next else { return Ok(()) };
        for SmallEntry { path, content } in group {
            let written = File::create(&path).and_then(|mut file| file.write_all(&content));
            if let Err(error) = written {
                groups.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(CliError::io(format!("cannot write {}", path.display()))(error));
            }
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping the sender at the end ends the writers"
)]
fn read_archive(
    archive: impl Read,
    base: &StrippedPrefix,
    root: &Path,
    writers: SyncSender<Vec<SmallEntry>>,
    counter: &ProgressCounter,
) -> CliResult {
    let broken = || CliError::io("cannot read the server's archive".to_owned());
    let mut archive = tar::Archive::new(archive);
    let mut made: HashSet<PathBuf> = HashSet::new();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    let mut buffer = vec![0; COPIED];
    for entry in archive.entries().map_err(broken())? {
        let mut entry = entry.map_err(broken())?;
        let name = entry.path().map_err(broken())?.into_owned();
        let clean: PathBuf = name
            .components()
            .filter(|part| !matches!(part, Component::RootDir))
            .collect();
        // A path with `..` could write outside of the folder. The server never sends one, but it is not trusted here.
        if clean.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(CliError::refused(format!(
                "the server sent the path {}, which is refused",
                name.display()
            )));
        }
        let kind = entry.header().entry_type();
        let is_folder = kind.is_dir();
        if !is_folder && !kind.is_file() {
            return Err(CliError::refused(format!(
                "the server sent {}, which is neither a file nor a folder",
                name.display()
            )));
        }
        let Some(relative) = base.strip(&clean, is_folder) else {
            continue;
        };
        let path = root.join(relative);
        let folder = if is_folder { Some(path.as_path()) } else { path.parent() };
        if let Some(folder) = folder.filter(|folder| !made.contains(*folder)) {
            std::fs::create_dir_all(folder).map_err(CliError::io(format!("cannot write {}", path.display())))?;
            made.insert(folder.to_owned());
        }
        if is_folder {
            continue;
        }
        let size = entry.size();
        counter.add(size);
        if size > SMALL_FILE {
            counter.describe(&path.display().to_string());
            write_large(&mut entry, &path, &mut buffer)?;
            continue;
        }
        let mut content = Vec::with_capacity(size as usize);
        entry.read_to_end(&mut content).map_err(broken())?;
        group_bytes += content.len();
        group.push(SmallEntry { path, content });
        if group_bytes >= GROUP_BYTES || group.len() >= GROUP_FILES {
            group_bytes = 0;
            counter.describe(&folder_name(&group));
            send_group(&writers, std::mem::take(&mut group))?;
        }
    }
    send_group(&writers, group)?;
    // A stream that was cut off between two entries looks like a shorter archive.
    match end_mark(&mut archive.into_inner()).map_err(broken())? {
        true => Ok(()),
        false => Err(CliError::refused(
            "the server's archive is not complete: files may be missing",
        )),
    }
}

fn folder_name(group: &[SmallEntry]) -> String {
    let folder = group.last().and_then(|file| file.path.parent());
    folder.map_or_else(String::new, |folder| folder.display().to_string())
}

fn send_group(writers: &SyncSender<Vec<SmallEntry>>, group: Vec<SmallEntry>) -> CliResult {
    // Fails only if a writer has failed, and the writer's error is the one that is returned.
    writers.send(group).map_err(|_| CliError::Interrupted)
}

fn write_large(entry: &mut impl Read, path: &Path, buffer: &mut [u8]) -> CliResult {
    let cannot_write = || CliError::io(format!("cannot write {}", path.display()));
    let mut file = File::create(path).map_err(cannot_write())?;
    loop {
        let length = match entry.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CliError::io("cannot read the server's archive".to_owned())(error)),
        };
        file.write_all(&buffer[..length]).map_err(cannot_write())?;
    }
}

/// A reader over the messages of a channel.
#[derive(Debug)]
pub(super) struct ChannelReader {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl ChannelReader {
    /// Makes a reader that ends when the channel is closed.
    pub(super) fn new(receiver: mpsc::Receiver<Bytes>) -> ChannelReader {
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
    use crate::output::progress::ProgressDisplay;

    fn counter() -> ProgressCounter {
        ProgressDisplay::bytes(false, 0).counter()
    }

    fn stripped(path: &str, entry: &str, is_folder: bool) -> Option<String> {
        let relative = StrippedPrefix::of(path).strip(Path::new(entry), is_folder);
        relative.map(|path| path.display().to_string())
    }

    #[test]
    fn the_name_of_the_matched_folder_is_removed() {
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
        unpack(
            archive("/dir/x").as_slice(),
            &StrippedPrefix::of("/dir"),
            &root,
            &counter(),
        )
        .expect("written");
        assert_eq!(std::fs::read_to_string(root.join("x")).expect("read"), "hi");
        assert!(
            unpack(
                archive("/dir/../../x").as_slice(),
                &StrippedPrefix::of("/dir"),
                &root,
                &counter()
            )
            .is_err()
        );
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn nothing_is_missing_without_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let unpacked = |archive: &[u8]| {
            unpack(archive, &StrippedPrefix::of("/"), folder.path(), &counter()).map_err(|error| error.to_string())
        };
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        builder.append_data(&mut header, "x", &b"hi"[..]).expect("added");
        let whole = builder.into_inner().expect("closed");
        assert_eq!(unpacked(&whole), Ok(()));
        let error = unpacked(&whole[..1024]).expect_err("an error");
        assert!(error.contains("not complete"), "{error}");
        assert!(unpacked(&whole[..513]).is_err());

        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, "link", "x").expect("added");
        let error = unpacked(&builder.into_inner().expect("closed")).expect_err("an error");
        assert!(error.contains("neither a file nor a folder"), "{error}");
    }

    #[test]
    fn many_files_of_all_sizes_are_written() {
        let mut builder = tar::Builder::new(Vec::new());
        let size =
            |number: usize| [0, 1, 1000, SMALL_FILE as usize, SMALL_FILE as usize + 1, 3 * COPIED + 1][number % 6];
        for number in 0..3 * GROUP_FILES {
            let mut header = tar::Header::new_gnu();
            header.set_size(size(number) as u64);
            header.set_mode(0);
            let name = format!("dir/{}/{number}", number % 3);
            let content = vec![number as u8; size(number)];
            builder.append_data(&mut header, name, &content[..]).expect("added");
        }
        let archive = builder.into_inner().expect("closed");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("out");
        unpack(&archive[..], &StrippedPrefix::of("/dir"), &root, &counter()).expect("written");
        for number in 0..3 * GROUP_FILES {
            let content = std::fs::read(root.join(format!("{}/{number}", number % 3))).expect("read");
            assert!(content == vec![number as u8; size(number)], "file {number}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let mut builder = tar::Builder::new(Vec::new());
        for number in 0..10 * GROUP_FILES {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            builder
                .append_data(&mut header, format!("dir/{number}"), &b"x"[..])
                .expect("added");
        }
        let archive = builder.into_inner().expect("closed");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("77")).expect("made");
        let error = unpack(&archive[..], &StrippedPrefix::of("/dir"), folder.path(), &counter()).unwrap_err();
        assert!(error.to_string().contains("77"), "{error}");
    }
}
