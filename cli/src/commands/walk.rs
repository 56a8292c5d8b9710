//! Reading the sources of a put: files, folders, archives, standard input.
//!
//! All of it blocks, so it runs in a thread of its own.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use bytes::Bytes;
use howdah_api::pfs_v2;
use howdah_api::pfs_v2::add_file::{Source, UrlSource};
use howdah_api::pfs_v2::modify_file_request::Body;
use tokio::sync::mpsc;

use super::files::delete_path;
use super::put::{From, Item};
use super::split::{self, Cut};
use crate::args::files::{PutFile, Split};
use crate::error::CliError;
use crate::naming;

/// The most bytes in one message.
const CHUNK: usize = 2 << 20;

/// What the reading thread hands over.
#[derive(Debug)]
pub enum Step {
    /// A message to send.
    Message(Box<pfs_v2::ModifyFileRequest>),
    /// Everything has been read.
    End,
}

/// Reads sources as the flags of the command say.
#[derive(Debug)]
pub struct Reader {
    append: bool,
    untar: bool,
    recursive: bool,
    concurrency: u32,
    split: Option<(Split, Cut)>,
    /// Path in the repo that the entries of archives go below.
    archive_prefix: String,
}

/// Returns whether there is a file at any depth below a folder; links are not followed.
pub fn holds_files(folder: &Path) -> Result<bool, CliError> {
    let what = || CliError::io(format!("cannot read {}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(what())? {
        let entry = entry.map_err(what())?;
        let kind = entry.file_type().map_err(what())?;
        if kind.is_file() || (kind.is_dir() && holds_files(&entry.path())?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where messages go; an error means that nobody wants them any more.
type Sender = mpsc::Sender<Step>;

impl Reader {
    /// Takes what matters from the command's flags.
    pub fn new(arguments: &PutFile, archive_prefix: String) -> Reader {
        let cut = Cut {
            records: arguments.target_file_datums,
            bytes: arguments.target_file_bytes,
            header: arguments.header_records,
        };
        Reader {
            append: arguments.append,
            untar: arguments.untar,
            recursive: arguments.recursive,
            concurrency: arguments.parallelism,
            split: arguments.split.map(|split| (split, cut)),
            archive_prefix,
        }
    }

    /// Reads all items in order.
    pub fn read_all(&self, items: Vec<Item>, sender: &Sender) -> Result<(), CliError> {
        for item in items {
            match item.from {
                From::Stdin => self.put(&item.to, io::stdin().lock(), "standard input", sender)?,
                From::Url(url) => self.url(&item.to, url, sender)?,
                From::File(path) => self.file(&item.to, &path, sender)?,
                From::Folder(path) => self.folder(&item.to, &path, sender)?,
            }
        }
        give(sender, Step::End)
    }

    fn url(&self, to: &str, url: String, sender: &Sender) -> Result<(), CliError> {
        if !self.append && !self.recursive {
            message(sender, delete_path(to))?;
        }
        let source = UrlSource {
            url,
            recursive: self.recursive,
            concurrency: self.concurrency,
        };
        add(sender, to, Some(Source::Url(source)))
    }

    fn file(&self, to: &str, path: &Path, sender: &Sender) -> Result<(), CliError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(CliError::io(format!("cannot read {name}")))?;
        if self.untar {
            if name.ends_with(".tar") {
                return self.archive(BufReader::new(file), &name, sender);
            }
            if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
                let plain = flate2::read::MultiGzDecoder::new(BufReader::new(file));
                return self.archive(plain, &name, sender);
            }
        }
        self.put(to, file, &name, sender)
    }

    /// Puts the files of a folder in the order of their names; links are not followed.
    fn folder(&self, to: &str, path: &Path, sender: &Sender) -> Result<(), CliError> {
        let what = || format!("cannot read {}", path.display());
        let mut entries: Vec<_> = std::fs::read_dir(path)
            .and_then(Iterator::collect::<io::Result<_>>)
            .map_err(CliError::io(what()))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(CliError::refused(format!(
                    "the name of {} is not valid UTF-8",
                    path.display()
                )));
            };
            let to = naming::below(to, name);
            let kind = entry.file_type().map_err(CliError::io(what()))?;
            if kind.is_dir() {
                self.folder(&to, &path, sender)?;
            } else if kind.is_file() {
                self.file(&to, &path, sender)?;
            } else {
                // Leaving data out in silence would be worse than a line too many.
                let _ = writeln!(
                    io::stderr(),
                    "warning: skipped {}: a link or a special file",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// Puts the files of an archive at the paths they have in it.
    fn archive(&self, archive: impl Read, name: &str, sender: &Sender) -> Result<(), CliError> {
        let what = || format!("cannot read the archive {name}");
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().map_err(CliError::io(what()))? {
            let mut entry = entry.map_err(CliError::io(what()))?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().map_err(CliError::io(what()))?.display().to_string();
            let to = naming::below(&self.archive_prefix, &naming::rooted(&path));
            self.put(&to, &mut entry, name, sender)?;
        }
        Ok(())
    }

    /// Puts one file, or with `--split` one folder of records.
    fn put(&self, to: &str, reader: impl Read, name: &str, sender: &Sender) -> Result<(), CliError> {
        let Some((kind, cut)) = &self.split else {
            return self.bytes(to, reader, name, sender);
        };
        let mut number = 0_u64;
        split::split(BufReader::new(reader), *kind, cut, name, &mut |bytes| {
            let path = naming::below(to, &format!("{number:016x}"));
            number += 1;
            self.bytes(&path, bytes, name, sender)
        })
    }

    fn bytes(&self, to: &str, mut reader: impl Read, name: &str, sender: &Sender) -> Result<(), CliError> {
        if !self.append {
            message(sender, delete_path(to))?;
        }
        let mut empty = true;
        loop {
            let mut chunk = Vec::new();
            reader
                .by_ref()
                .take(CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(CliError::io(format!("cannot read {name}")))?;
            if chunk.is_empty() {
                break;
            }
            empty = false;
            let last = chunk.len() < CHUNK;
            add(sender, to, Some(Source::Raw(Bytes::from(chunk))))?;
            if last {
                break;
            }
        }
        if empty { add(sender, to, None) } else { Ok(()) }
    }
}

fn add(sender: &Sender, to: &str, source: Option<Source>) -> Result<(), CliError> {
    let add = pfs_v2::AddFile {
        path: to.to_owned(),
        datum: String::new(),
        source,
    };
    message(
        sender,
        pfs_v2::ModifyFileRequest {
            body: Some(Body::AddFile(add)),
        },
    )
}

fn message(sender: &Sender, message: pfs_v2::ModifyFileRequest) -> Result<(), CliError> {
    give(sender, Step::Message(Box::new(message)))
}

/// Hands a step over; the connection's end reports its own error, so ours is never seen.
fn give(sender: &Sender, step: Step) -> Result<(), CliError> {
    sender.blocking_send(step).map_err(|_| CliError::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Reads items and tells each step in a word or two.
    fn steps(reader: &Reader, items: Vec<Item>) -> Vec<String> {
        let (sender, mut receiver) = mpsc::channel(1000);
        reader.read_all(items, &sender).expect("read");
        let mut told = Vec::new();
        while let Ok(step) = receiver.try_recv() {
            told.push(match step {
                Step::End => "end".to_owned(),
                Step::Message(message) => match message.body {
                    Some(Body::DeleteFile(delete)) => format!("delete {}", delete.path),
                    Some(Body::AddFile(add)) => match add.source {
                        None => format!("empty {}", add.path),
                        Some(Source::Raw(bytes)) if bytes.len() > 20 => format!("add {} {}", add.path, bytes.len()),
                        Some(Source::Raw(bytes)) => format!("add {} {}", add.path, String::from_utf8_lossy(&bytes)),
                        Some(Source::Url(url)) => format!("fetch {} {}", add.path, url.url),
                    },
                    _ => "?".to_owned(),
                },
            });
        }
        told
    }

    fn reader() -> Reader {
        Reader {
            append: false,
            untar: false,
            recursive: false,
            concurrency: 10,
            split: None,
            archive_prefix: String::new(),
        }
    }

    #[test]
    fn files_are_replaced_in_chunks() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, vec![0; CHUNK + 50]).expect("written");
        let item = || {
            vec![Item {
                from: From::File(path.clone()),
                to: "/x".to_owned(),
            }]
        };
        assert_eq!(
            steps(&reader(), item()),
            ["delete /x", &format!("add /x {CHUNK}"), "add /x 50", "end"]
        );
        let append = Reader {
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
        let item = vec![Item {
            from: From::Folder(root.to_owned()),
            to: "/".to_owned(),
        }];
        assert_eq!(
            steps(&reader(), item),
            ["delete /a", "add /a 2", "delete /b/c", "add /b/c 1", "end"]
        );
    }

    #[test]
    fn archives_are_unpacked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.tar.gz");
        let file = File::create(&path).expect("made");
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, "dir/y", &b"hi"[..]).expect("added");
        builder.into_inner().and_then(|gzip| gzip.finish()).expect("closed");
        let untar = Reader {
            untar: true,
            archive_prefix: "in".to_owned(),
            ..reader()
        };
        let item = vec![Item {
            from: From::File(path),
            to: "/x.tar.gz".to_owned(),
        }];
        assert_eq!(steps(&untar, item), ["delete /in/dir/y", "add /in/dir/y hi", "end"]);
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
        let lines = Reader {
            split: Some((Split::Line, cut)),
            append: true,
            ..reader()
        };
        let item = vec![Item {
            from: From::File(path),
            to: "/x".to_owned(),
        }];
        assert_eq!(
            steps(&lines, item),
            ["add /x/0000000000000000 a\n", "add /x/0000000000000001 b\n", "end"]
        );
    }
}
