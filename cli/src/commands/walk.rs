//! Reading the sources of a put: files, folders, archives, standard input.
//!
//! All functions block and run in a blocking thread. Small files of a folder are read in groups by several threads,
//! because opening and closing takes most of their time; their messages keep the order in which the files were found.
//! Links and special files in folders and archives are left out and counted ([`PutReport`]). The first error ends the
//! put.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use howdah_api::pfs_v2::add_file::{Source, UrlSource};
use howdah_telemetry::kind_of_file;

use super::file_offers::{FileOfferer, FileOffers};
use super::outbox::{BufferPool, Outbox, PutSender};
use super::put_item::{LocalEntry, PutItem, PutReport, PutSource, list_folder};
use super::split::{self, Cut};
use super::tar_file::{self, TarFile};
use super::targets::Targets;
use crate::args::files::{PutFile, Split};
use crate::error::{CliError, CliResult};
use crate::naming;

/// Most bytes of a small file, which is read at once and in a group.
const SMALL_FILE: usize = 64 << 10;
/// Files of a group. A group needs up to [`SMALL_FILE`] bytes of memory for each.
const GROUP: usize = 256;
/// Threads that read a group. More threads are slower: they wait for the same locks in the kernel.
const READERS: usize = 4;
/// Fewest files of a group that is read by several threads: starting a thread costs as much as reading some files.
const WORTH_A_THREAD: usize = 16;

/// Reads sources as the flags of the command say.
#[derive(Debug)]
pub(super) struct SourceReader {
    append: bool,
    untar: bool,
    recursive: bool,
    concurrency: u32,
    split: Option<(Split, Cut)>,
    /// Path in the repo that the entries of archives go below.
    archive_prefix: String,
    /// Offers large files to the server instead of sending their bytes; none if the server accepts none.
    offerer: Option<FileOfferer>,
}

/// A file that is found but not read yet.
#[derive(Debug)]
struct PendingFile {
    to: String,
    path: PathBuf,
}

/// The output of a reader: sent messages, and the files that must be read before others.
struct Out {
    outbox: Outbox,
    buffers: BufferPool,
    group: Vec<PendingFile>,
    report: PutReport,
    claims: Claims,
}

/// The files so far, where two sources could have the same one and this is not known before they are read.
#[derive(Default)]
struct Claims {
    targets: Option<Targets>,
    /// Number of the source that is being read.
    source: u32,
}

impl Claims {
    /// Begins to read a source of one file, or of the files below a folder of the repo.
    fn begin(&mut self, name: &str, below: Option<&str>) {
        if let Some(targets) = &mut self.targets {
            self.source = targets.source(name, below);
        }
    }

    /// Notes a file of the source that is being read. Fails if another source has it too.
    fn claim(&mut self, to: &str) -> CliResult {
        let targets = self.targets.as_mut();
        targets.map_or(Ok(()), |targets| targets.claim(to, self.source))
    }
}

impl SourceReader {
    /// Makes a reader for the flags of the command.
    pub(super) fn new(arguments: &PutFile, archive_prefix: String) -> SourceReader {
        let cut = Cut {
            records: arguments.target_file_datums,
            bytes: arguments.target_file_bytes,
            header: arguments.header_records,
        };
        SourceReader {
            append: arguments.append,
            untar: arguments.untar,
            recursive: arguments.recursive,
            concurrency: arguments.parallelism,
            split: arguments.split.map(|split| (split, cut)),
            archive_prefix,
            offerer: None,
        }
    }

    /// Lets the reader offer large files.
    pub(super) fn with_offers(self, offers: Option<&FileOffers>) -> SourceReader {
        let offerer = offers.map(FileOffers::offerer);
        SourceReader { offerer, ..self }
    }

    /// Reads all items in order.
    pub(super) fn read_all(&self, items: Vec<PutItem>, sender: &PutSender) -> Result<PutReport, CliError> {
        let mut out = Out {
            outbox: Outbox::new(sender.clone()),
            buffers: BufferPool::default(),
            group: Vec::new(),
            report: PutReport::default(),
            claims: self.claims(&items),
        };
        for PutItem { from, to } in items {
            let below = matches!(from, PutSource::Folder(_)).then_some(to.as_str());
            out.claims.begin(&from.name(), below);
            match from {
                PutSource::Stdin => {
                    out.claims.claim(&to)?;
                    self.put(&to, io::stdin().lock(), "standard input", &mut out)?;
                }
                PutSource::Url(url) => self.url(&to, url, &mut out)?,
                PutSource::File(path) => self.file(&to, &path, &mut out)?,
                PutSource::Folder(path) => {
                    self.folder(&to, &path, &mut out)?;
                    // The rest of the folder goes before the next item: a later item may write the same path.
                    self.read_group(&mut out)?;
                }
            }
        }
        out.outbox.end()?;
        Ok(out.report)
    }

    /// What is in an archive is not known before it is read. Other sources have been compared already.
    fn claims(&self, items: &[PutItem]) -> Claims {
        let several = items.len() > 1 || items.iter().any(|item| matches!(item.from, PutSource::Folder(_)));
        let needed = self.untar && !self.append && several;
        Claims {
            targets: needed.then(Targets::default),
            source: 0,
        }
    }

    fn url(&self, to: &str, url: String, out: &mut Out) -> CliResult {
        out.claims.claim(to)?;
        if !self.append && !self.recursive {
            out.outbox.delete(to)?;
        }
        let source = UrlSource {
            url,
            recursive: self.recursive,
            concurrency: self.concurrency,
        };
        out.outbox.add(to, Some(Source::Url(source)))
    }

    fn file(&self, to: &str, path: &Path, out: &mut Out) -> CliResult {
        let name = path.display().to_string();
        let file = File::open(path).map_err(CliError::io(format!("cannot read {name}")))?;
        if self.untar && tar_file::is_archive(&name) {
            return self.archive(file, &name, out);
        }
        out.claims.claim(to)?;
        if self.split.is_none()
            && let Some(offerer) = &self.offerer
            && let Ok(size) = file.metadata().map(|metadata| metadata.len())
            && let Some(offer) = offerer.offer(&file, size)
        {
            if !self.append {
                out.outbox.delete(to)?;
            }
            out.outbox.add_offered(to, offer.url())?;
            // Waits here, so that the order of messages is also the order in which the server gets the bytes.
            offerer.wait(offer, size);
            return Ok(());
        }
        self.put(to, file, &name, out)
    }

    /// Puts the files of a folder in the order of their names; links are not followed.
    fn folder(&self, to: &str, path: &Path, out: &mut Out) -> CliResult {
        for entry in list_folder(path)? {
            let LocalEntry { name, path, kind } = entry?;
            let to = naming::below(to, &name);
            if kind.is_dir() {
                self.folder(&to, &path, out)?;
            } else if kind.is_file() {
                self.found(PendingFile { to, path }, out)?;
            } else {
                let name = path.display().to_string();
                out.report.left_out.add(&name, kind_of_file(kind));
            }
        }
        Ok(())
    }

    /// Puts a file of a folder, or adds it to the group.
    fn found(&self, found: PendingFile, out: &mut Out) -> CliResult {
        if self.untar || self.split.is_some() {
            return self.file(&found.to, &found.path, out);
        }
        out.group.push(found);
        if out.group.len() < GROUP {
            return Ok(());
        }
        self.read_group(out)
    }

    /// Puts the files of the group.
    fn read_group(&self, out: &mut Out) -> CliResult {
        let group = std::mem::take(&mut out.group);
        for (PendingFile { to, path }, content) in group.iter().zip(read_small(&group)) {
            match content.map_err(CliError::io(format!("cannot read {}", path.display())))? {
                Some(content) => self.small_file(to, content, out)?,
                // Not small: read again, in pieces.
                None => self.file(to, path, out)?,
            }
        }
        Ok(())
    }

    /// Puts a small file that has been read.
    fn small_file(&self, to: &str, content: Bytes, out: &mut Out) -> CliResult {
        if !self.append {
            out.outbox.delete(to)?;
        }
        let source = (!content.is_empty()).then_some(Source::Raw(content));
        out.outbox.add(to, source)
    }

    /// Puts the files of an archive at their paths in the archive.
    fn archive(&self, file: File, name: &str, out: &mut Out) -> CliResult {
        let archive = TarFile::new(file, name)?;
        let place = |path: &str| naming::below(&self.archive_prefix, path);
        let outer = out.claims.source;
        out.claims.begin(name, Some(&place("/")));
        let plan = archive.plan(self.append, &mut |path| out.claims.claim(&place(path)))?;
        out.claims.source = outer;
        let ended = archive.read(&plan, &mut |path, content| self.put(&place(path), content, name, out))?;
        if !ended {
            out.report.cut_off.add(name, "archive");
        }
        out.report.left_out.merge(plan.left_out);
        out.report.replaced.merge(plan.replaced);
        Ok(())
    }

    /// Puts one file, or with `--split` one folder of records.
    fn put(&self, to: &str, reader: impl Read, name: &str, out: &mut Out) -> CliResult {
        let Some((kind, cut)) = &self.split else {
            return self.bytes(to, reader, name, out);
        };
        let mut number = 0_u64;
        split::split(BufReader::new(reader), *kind, cut, name, &mut |bytes| {
            let path = naming::below(to, &format!("{number:016x}"));
            number += 1;
            self.bytes(&path, bytes, name, out)
        })?;
        if number == 0 {
            out.report.left_out.add(name, "no records");
        }
        Ok(())
    }

    /// Puts one file in pieces of [`CHUNK`] bytes.
    ///
    /// [`CHUNK`]: super::outbox::CHUNK
    fn bytes(&self, to: &str, mut reader: impl Read, name: &str, out: &mut Out) -> CliResult {
        if !self.append {
            out.outbox.delete(to)?;
        }
        let mut empty = true;
        loop {
            let (chunk, last) = out
                .buffers
                .read(&mut reader)
                .map_err(CliError::io(format!("cannot read {name}")))?;
            if !chunk.is_empty() {
                empty = false;
                out.outbox.add(to, Some(Source::Raw(chunk)))?;
            }
            if last {
                break;
            }
        }
        // A file without bytes needs a message of its own, or it would not exist.
        if empty { out.outbox.add(to, None) } else { Ok(()) }
    }
}

/// Reads small files, in the given order; `None` for a file that is not small.
fn read_small(group: &[PendingFile]) -> Vec<io::Result<Option<Bytes>>> {
    let read_part = |part: &[PendingFile]| -> Vec<_> {
        let mut buffer = vec![0; SMALL_FILE + 1];
        part.iter()
            .map(|found| read_if_small(&found.path, &mut buffer))
            .collect()
    };
    if group.len() < WORTH_A_THREAD {
        return read_part(group);
    }
    std::thread::scope(|scope| {
        // Each thread reads one contiguous part, so joining in order keeps the order of the files.
        let parts = group.chunks(group.len().div_ceil(READERS));
        let readers: Vec<_> = parts.map(|part| scope.spawn(move || read_part(part))).collect();
        let join = |reader: std::thread::ScopedJoinHandle<'_, _>| match reader.join() {
            Ok(contents) => contents,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        readers.into_iter().flat_map(join).collect()
    })
}

/// Reads a file into a buffer that is one byte longer than a small file; `None` if the buffer is full.
fn read_if_small(path: &Path, buffer: &mut [u8]) -> io::Result<Option<Bytes>> {
    let mut file = File::open(path)?;
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => return Ok(Some(Bytes::copy_from_slice(&buffer[..length]))),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::outbox::{CHUNK, PutEvent};
    use howdah_api::pfs_v2::modify_file_request::Body;
    use std::fs;
    use tokio::sync::mpsc;

    /// Reads items and describes each message in a word or two.
    fn steps(reader: &SourceReader, items: Vec<PutItem>) -> Vec<String> {
        read(reader, items).expect("read").0
    }

    /// Reads items; returns a description of each message, and the lines for the user.
    fn read(reader: &SourceReader, items: Vec<PutItem>) -> Result<(Vec<String>, Vec<String>), CliError> {
        let (sender, mut receiver) = mpsc::channel(1000);
        let report = reader.read_all(items, &sender)?;
        let mut steps = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            let messages = match event {
                PutEvent::End => {
                    steps.push("end".to_owned());
                    continue;
                }
                PutEvent::Messages(messages) => messages,
            };
            steps.extend(messages.into_iter().map(|message| match message.body {
                Some(Body::DeleteFile(delete)) => format!("delete {}", delete.path),
                Some(Body::AddFile(add)) => match add.source {
                    None => format!("empty {}", add.path),
                    Some(Source::Raw(bytes)) if bytes.len() > 20 => format!("add {} {}", add.path, bytes.len()),
                    Some(Source::Raw(bytes)) => format!("add {} {}", add.path, String::from_utf8_lossy(&bytes)),
                    Some(Source::Url(url)) => format!("fetch {} {}", add.path, url.url),
                },
                _ => "?".to_owned(),
            }));
        }
        Ok((steps, report.lines()))
    }

    fn reader() -> SourceReader {
        SourceReader {
            append: false,
            untar: false,
            recursive: false,
            concurrency: 10,
            split: None,
            archive_prefix: String::new(),
            offerer: None,
        }
    }

    #[test]
    fn files_are_replaced_in_chunks() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, vec![0; CHUNK + 50]).expect("written");
        let item = || {
            vec![PutItem {
                from: PutSource::File(path.clone()),
                to: "/x".to_owned(),
            }]
        };
        assert_eq!(
            steps(&reader(), item()),
            ["delete /x", &format!("add /x {CHUNK}"), "add /x 50", "end"]
        );
        let append = SourceReader {
            append: true,
            ..reader()
        };
        fs::write(&path, "more").expect("written");
        assert_eq!(steps(&append, item()), ["add /x more", "end"]);
        fs::write(&path, "").expect("written");
        assert_eq!(steps(&reader(), item()), ["delete /x", "empty /x", "end"]);
    }

    #[test]
    fn folders_are_walked_in_order_without_following_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("b/empty")).expect("made");
        fs::write(root.join("b/c"), "1").expect("written");
        fs::write(root.join("a"), "2").expect("written");
        std::os::unix::fs::symlink("/etc", root.join("link")).expect("made");
        let item = vec![PutItem {
            from: PutSource::Folder(root.to_owned()),
            to: "/".to_owned(),
        }];
        nix::unistd::mkfifo(&root.join("b/pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("made");
        let (steps, lines) = read(&reader(), item).expect("read");
        assert_eq!(steps, ["delete /a", "add /a 2", "delete /b/c", "add /b/c 1", "end"]);
        let at = root.display();
        assert_eq!(
            lines,
            [format!(
                "warning: 3 left out: {at}/b/pipe (named pipe), {at}/link (symbolic link), {at}/socket (socket)"
            )]
        );
    }

    #[test]
    fn many_files_come_in_order_whatever_their_sizes() {
        let folder = tempfile::tempdir().expect("a folder");
        let sizes = |number: usize| [0, 1, 1000, SMALL_FILE, SMALL_FILE + 1][number % 5];
        let mut expected = Vec::new();
        for number in 0..GROUP + 40 {
            fs::write(folder.path().join(format!("{number:04}")), vec![b'x'; sizes(number)]).expect("written");
            expected.push(format!("delete /{number:04}"));
            expected.push(match sizes(number) {
                0 => format!("empty /{number:04}"),
                1 => format!("add /{number:04} x"),
                size => format!("add /{number:04} {size}"),
            });
        }
        expected.push("end".to_owned());
        let item = PutItem {
            from: PutSource::Folder(folder.path().to_owned()),
            to: "/".to_owned(),
        };
        assert_eq!(steps(&reader(), vec![item]), expected);
    }

    /// Makes an archive of small files; each has its name as its content.
    fn archive(path: &Path, names: &[&str]) {
        let file = File::create(path).expect("made");
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, name.as_bytes()).expect("added");
        }
        builder.into_inner().and_then(|gzip| gzip.finish()).expect("closed");
    }

    fn untar() -> SourceReader {
        SourceReader {
            untar: true,
            archive_prefix: "in".to_owned(),
            ..reader()
        }
    }

    #[test]
    fn archives_are_unpacked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.tar.gz");
        archive(&path, &["dir/y"]);
        let item = vec![PutItem {
            from: PutSource::File(path),
            to: "/x.tar.gz".to_owned(),
        }];
        assert_eq!(
            steps(&untar(), item),
            ["delete /in/dir/y", "add /in/dir/y dir/y", "end"]
        );
    }

    #[test]
    fn a_file_of_two_archives_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        archive(&root.join("one.tgz"), &["a", "dir/same"]);
        archive(&root.join("two.tgz"), &["b", "dir/same"]);
        fs::write(root.join("a"), "plain").expect("written");
        let file = |name: &str, to: &str| PutItem {
            from: PutSource::File(root.join(name)),
            to: to.to_owned(),
        };
        let at = root.display();
        let refusal = |items: Vec<PutItem>| read(&untar(), items).expect_err("a refusal").to_string();
        assert_eq!(
            refusal(vec![file("one.tgz", "/one.tgz"), file("two.tgz", "/two.tgz")]),
            format!(
                "two sources for one target: {at}/one.tgz/dir/same and {at}/two.tgz/dir/same would both become \
                 /in/dir/same"
            )
        );
        assert_eq!(
            refusal(vec![file("a", "/in/a"), file("one.tgz", "/one.tgz")]),
            format!("two sources for one target: {at}/a and {at}/one.tgz/a would both become /in/a")
        );
        // In one folder.
        let whole = || PutItem {
            from: PutSource::Folder(root.to_owned()),
            to: "/in".to_owned(),
        };
        assert_eq!(
            refusal(vec![whole()]),
            format!("two sources for one target: {at}/a and {at}/one.tgz/a would both become /in/a")
        );
        let append = SourceReader {
            append: true,
            ..untar()
        };
        assert_eq!(steps(&append, vec![whole()]).len(), 6);
    }

    #[test]
    fn records_become_numbered_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, "a\nb\n").expect("written");
        let cut = Cut {
            records: 1,
            bytes: 0,
            header: 0,
        };
        let lines = SourceReader {
            split: Some((Split::Line, cut)),
            append: true,
            ..reader()
        };
        let item = || {
            vec![PutItem {
                from: PutSource::File(path.clone()),
                to: "/x".to_owned(),
            }]
        };
        assert_eq!(
            steps(&lines, item()),
            ["add /x/0000000000000000 a\n", "add /x/0000000000000001 b\n", "end"]
        );
        // A source without records makes no file, and a message says so.
        fs::write(&path, "").expect("written");
        let (steps, told) = read(&lines, item()).expect("read");
        assert_eq!(steps, ["end"]);
        assert_eq!(told, [format!("warning: 1 left out: {} (no records)", path.display())]);
    }
}
