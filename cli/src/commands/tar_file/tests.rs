//! Tests of unpacking archives.

use std::io::Write;

use tar::{Builder, EntryType, Header};

use super::*;

/// What an archive makes.
#[derive(Debug, PartialEq, Eq)]
struct Unpacked {
    /// Paths and contents, in the order in which they are put.
    files: Vec<(String, String)>,
    left_out: String,
    replaced: u64,
    ended: bool,
}

impl Unpacked {
    fn files(&self) -> Vec<(&str, &str)> {
        let files = self.files.iter();
        files.map(|(path, text)| (path.as_str(), text.as_str())).collect()
    }
}

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

/// An archive that is being made.
struct Made(Builder<Vec<u8>>);

impl Made {
    fn new() -> Made {
        Made(Builder::new(Vec::new()))
    }

    fn file(mut self, name: &str, content: &str) -> Made {
        let mut header = header(EntryType::Regular, content.len());
        self.0
            .append_data(&mut header, name, content.as_bytes())
            .expect("added");
        self
    }

    fn link(mut self, kind: EntryType, name: &str, target: &str) -> Made {
        let mut header = header(kind, 0);
        self.0.append_link(&mut header, name, target).expect("added");
        self
    }

    /// Adds an entry with the bytes of a name as they are.
    fn raw(mut self, kind: EntryType, name: &[u8], content: &[u8]) -> Made {
        let mut header = header(kind, content.len());
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        self.0.append(&header, content).expect("added");
        self
    }

    fn records(mut self, records: &[(&str, &str)]) -> Made {
        let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
        self.0.append_pax_extensions(records).expect("added");
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("closed")
    }

    fn unpack(self) -> Result<Unpacked, String> {
        unpack(&self.bytes(), "x.tar", false)
    }

    fn refusal(self) -> String {
        self.unpack().expect_err("a refusal")
    }
}

fn opened(bytes: &[u8], name: &str) -> TarFile {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    TarFile::new(file, name).expect("opened")
}

fn unpack(bytes: &[u8], name: &str, append: bool) -> Result<Unpacked, String> {
    let archive = opened(bytes, name);
    let mut claimed = Vec::new();
    let mut claim = |path: &str| {
        claimed.push(path.to_owned());
        Ok(())
    };
    let plan = archive.plan(append, &mut claim).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    let mut put = |path: &str, content: &mut dyn Read| {
        let mut text = String::new();
        content.read_to_string(&mut text).expect("text");
        files.push((path.to_owned(), text));
        Ok(())
    };
    let ended = archive.read(&plan, &mut put).map_err(|error| error.to_string())?;
    assert!(
        files.iter().all(|(path, _)| claimed.contains(path)),
        "{files:?}: {claimed:?}"
    );
    Ok(Unpacked {
        files,
        left_out: plan.left_out.to_string(),
        replaced: plan.replaced.count(),
        ended,
    })
}

#[test]
fn hard_links_become_files_wherever_their_target_is() {
    let archive = || {
        Made::new()
            .link(EntryType::Link, "dir/early", "dir/file")
            .file("dir/file", "bytes")
            .file("dir/other", "other")
            .link(EntryType::Link, "dir/late", "dir/file")
            .link(EntryType::Link, "chain", "./dir//late")
            .link(EntryType::Link, "first", "second")
            .link(EntryType::Link, "second", "dir/other")
    };
    let unpacked = archive().unpack().expect("unpacked");
    let mut files = unpacked.files();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            ("/chain", "bytes"),
            ("/dir/early", "bytes"),
            ("/dir/file", "bytes"),
            ("/dir/late", "bytes"),
            ("/dir/other", "other"),
            ("/first", "other"),
            ("/second", "other"),
        ]
    );
    assert_eq!(
        (unpacked.left_out.as_str(), unpacked.replaced, unpacked.ended),
        ("", 0, true)
    );

    // The same through gzip, which cannot be skipped in.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive().bytes()).expect("written");
    let again = unpack(&gzip.finish().expect("closed"), "x.tgz", false);
    assert_eq!(again, Ok(unpacked));
}

#[test]
fn a_large_file_with_hard_links_is_read_once_and_put_at_each_path() {
    let content = "x".repeat(IN_MEMORY + 77);
    let archive = Made::new().file("a", &content).link(EntryType::Link, "b", "a");
    let unpacked = archive.unpack().expect("unpacked");
    assert!(unpacked.files() == [("/a", content.as_str()), ("/b", content.as_str())]);
}

#[test]
fn a_hard_link_without_a_target_is_refused() {
    let missing = Made::new()
        .file("a", "1")
        .link(EntryType::Link, "b", "nothing")
        .refusal();
    assert_eq!(
        missing,
        "the hard link \"/b\" of the archive x.tar has no file to link to: \"/nothing\" is not in the archive"
    );
    let circle = Made::new()
        .link(EntryType::Link, "a", "b")
        .link(EntryType::Link, "b", "a");
    assert!(circle.refusal().contains("has no file to link to"));
    let itself = Made::new().link(EntryType::Link, "a", "a");
    assert!(itself.refusal().contains("has no file to link to"));
    // The link that is refused may have been replaced.
    let replaced = Made::new().link(EntryType::Link, "a", "nothing").file("a", "1");
    assert_eq!(replaced.unpack().expect("unpacked").files(), [("/a", "1")]);
}

#[test]
fn entries_without_bytes_are_left_out_and_named() {
    let unpacked = Made::new()
        .raw(EntryType::Directory, b"dir/", b"")
        .raw(EntryType::Regular, b"old-dir/", b"")
        .file("dir/file", "1")
        .link(EntryType::Symlink, "dir/soft", "file")
        .link(EntryType::Link, "dir/hard", "dir/soft")
        .raw(EntryType::Fifo, b"pipe", b"")
        .raw(EntryType::Char, b"null", b"")
        .raw(EntryType::Block, b"disk", b"")
        .raw(EntryType::new(b'V'), b"label: of ../ any form", b"")
        .unpack()
        .expect("unpacked");
    assert_eq!(unpacked.files(), [("/dir/file", "1")]);
    assert_eq!(
        unpacked.left_out,
        "x.tar:/dir/soft (symbolic link), x.tar:/dir/hard (hard link to a symbolic link), x.tar:/pipe (named pipe), \
         x.tar:/null (character device), x.tar:/disk (block device)"
    );
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let archive = || {
        Made::new()
            .file("a", "one")
            .link(EntryType::Link, "link", "a")
            .file("./a", "two")
            .file("link-too", "gone")
            .link(EntryType::Link, "link-too", "a")
            .file("b", "file")
            .link(EntryType::Symlink, "b", "a")
    };
    let unpacked = archive().unpack().expect("unpacked");
    assert_eq!(
        unpacked.files(),
        [("/link", "one"), ("/a", "two"), ("/link-too", "two")]
    );
    assert_eq!(unpacked.replaced, 3);
    // Appended, all of them follow each other.
    let appended = unpack(&archive().bytes(), "x.tar", true).expect("unpacked");
    assert_eq!(
        appended.files(),
        [
            ("/a", "one"),
            ("/link", "one"),
            ("/a", "two"),
            ("/link-too", "two"),
            ("/link-too", "gone"),
            ("/b", "file")
        ]
    );
}

#[test]
fn long_and_absolute_names_are_kept_and_bad_ones_refused() {
    let long = format!("{}/file", "d".repeat(150));
    let longer = format!("{}/file", "e".repeat(250));
    let unpacked = Made::new()
        .file(&long, "gnu")
        .link(EntryType::Link, "link", &long)
        .records(&[("path", longer.as_str()), ("comment", "x")])
        .raw(EntryType::Regular, b"cut", b"pax")
        .records(&[("linkpath", longer.as_str())])
        .raw(EntryType::Link, b"pax-link", b"")
        .raw(EntryType::Regular, b"/etc/file", b"absolute")
        .raw(EntryType::Continuous, b".//a/./b", b"dots")
        .unpack()
        .expect("unpacked");
    let mut expected = [
        (format!("/{long}"), "gnu"),
        ("/link".to_owned(), "gnu"),
        (format!("/{longer}"), "pax"),
        ("/pax-link".to_owned(), "pax"),
        ("/etc/file".to_owned(), "absolute"),
        ("/a/b".to_owned(), "dots"),
    ];
    expected.sort_unstable();
    let mut files = unpacked.files();
    files.sort_unstable();
    let expected: Vec<_> = expected.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    assert_eq!(files, expected);

    let refusal = |kind, name: &[u8]| Made::new().file("fine", "1").raw(kind, name, b"").refusal();
    for name in [&b"../x"[..], b"a/../../x", b".."] {
        assert!(refusal(EntryType::Regular, name).contains("leads out of the archive"));
        assert!(refusal(EntryType::Symlink, name).contains("leads out of the archive"));
    }
    assert!(refusal(EntryType::Regular, b"caf\xe9").contains("not valid UTF-8"));
    assert!(refusal(EntryType::Regular, b".").contains("has no name"));
    let outside = Made::new().link(EntryType::Link, "a", "../b");
    assert!(outside.refusal().contains("leads out of the archive"));
    let unknown = refusal(EntryType::new(b'M'), b"rest");
    assert!(unknown.contains("\"rest\"") && unknown.contains("'M'"), "{unknown}");
    let global = Made::new().raw(EntryType::XGlobalHeader, b"g", b"13 comment=x\n");
    assert_eq!(global.file("a", "1").unpack().expect("unpacked").files(), [("/a", "1")]);
    let global = Made::new().raw(EntryType::XGlobalHeader, b"g", b"10 path=x\n");
    assert!(global.file("a", "1").refusal().contains("\"path\" for all its entries"));
}

#[test]
fn sparse_files_are_whole() {
    // The form of GNU tar has its map in the header.
    let mut header = header(EntryType::GNUSparse, 3);
    let gnu = header.as_gnu_mut().expect("a header of this form");
    gnu.name[..3].copy_from_slice(b"gnu");
    gnu.sparse[0].set_offset(4);
    gnu.sparse[0].set_length(3);
    gnu.set_real_size(7);
    header.set_cksum();
    let mut made = Made::new()
        .records(&[
            ("GNU.sparse.size", "8"),
            ("GNU.sparse.name", "dir/real"),
            ("GNU.sparse.map", "2,3"),
        ])
        .raw(EntryType::Regular, b"GNUSparseFile.7/real", b"abc")
        .link(EntryType::Link, "dir/link", "dir/real");
    made.0.append(&header, &b"xyz"[..]).expect("added");
    assert_eq!(
        made.unpack().expect("unpacked").files(),
        [
            ("/dir/real", "\0\0abc\0\0\0"),
            ("/dir/link", "\0\0abc\0\0\0"),
            ("/gnu", "\0\0\0\0xyz"),
        ]
    );
}

#[test]
fn archives_that_are_not_complete_are_refused_or_told() {
    let whole = Made::new().file("a", "1").file("b", "2").bytes();
    assert!(unpack(&whole, "x.tar", false).expect("unpacked").ended);
    // Without its end mark it may have been cut between two entries.
    let cut = unpack(&whole[..2 * 1024], "x.tar", false).expect("unpacked");
    assert_eq!((cut.files().len(), cut.ended), (2, false));
    for length in [700, 1024 + 200, 1024 + 513] {
        assert!(unpack(&whole[..length], "x.tar", false).is_err(), "{length}");
    }
    // A second archive behind the first would be lost.
    let two = [whole.clone(), whole].concat();
    let error = unpack(&two, "x.tar", false).expect_err("a refusal");
    assert!(error.contains("goes on after its end mark"), "{error}");
    let empty = unpack(&Made::new().bytes(), "x.tar", false).expect("unpacked");
    assert!(empty.files.is_empty() && empty.ended);
}

#[test]
fn a_claim_that_is_refused_ends_the_first_pass() {
    let archive = opened(&Made::new().file("a", "1").file("b", "2").bytes(), "x.tar");
    let mut claim = |path: &str| match path {
        "/b" => Err(CliError::refused("taken")),
        _ => Ok(()),
    };
    assert_eq!(
        archive.plan(false, &mut claim).expect_err("a refusal").to_string(),
        "taken"
    );
}

#[test]
fn a_pipe_is_an_archive_too() {
    let bytes = Made::new().file("a", "1").link(EntryType::Link, "b", "a").bytes();
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let writing = std::thread::spawn(move || writer.write_all(&bytes).expect("written"));
    let reader = File::from(std::os::fd::OwnedFd::from(reader));
    let archive = TarFile::new(reader, "x.tar").expect("opened");
    writing.join().expect("ended");
    let plan = archive.plan(false, &mut |_| Ok(())).expect("planned");
    let mut paths = Vec::new();
    let mut put = |path: &str, _: &mut dyn Read| {
        paths.push(path.to_owned());
        Ok(())
    };
    assert!(archive.read(&plan, &mut put).expect("read"));
    assert_eq!(paths, ["/a", "/b"]);
}
