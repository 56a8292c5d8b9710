//! Tests of listing output.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::cache::scratch::Scratch;
use crate::pfs::workspace::{SmallFile, Workspace};

struct OutputBench {
    _folder: tempfile::TempDir,
    workspace: Workspace,
}

impl OutputBench {
    fn new(writable: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let mut workspace = Workspace::new(scratch.slot_dirs(0).unwrap(), scratch);
        workspace
            .begin(&[(Arc::from("in"), None)].into(), writable, "")
            .unwrap();
        let file = |path: &str| SmallFile {
            input: Arc::from("in"),
            path: path.into(),
            bytes: b"input".as_slice().into(),
        };
        workspace.write(&[file("/d/one"), file("/d/two"), file("/x")]).unwrap();
        Self {
            _folder: folder,
            workspace,
        }
    }

    fn out(&self, path: &str) -> PathBuf {
        let path = self.workspace.out().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn collect(&self) -> Result<Vec<String>, String> {
        let files = collect(self.workspace.layout())
            .map_err(|error| error.to_string())?
            .files;
        let shown = |file: CollectedFile| match file.content {
            ContentSource::Memory(bytes) => {
                format!("{} = {}", file.path, String::from_utf8(bytes).unwrap())
            }
            ContentSource::Disk(disk) => {
                format!("{} of {}", file.path, fs::metadata(disk).unwrap().len())
            }
            ContentSource::Input { input, path } => format!("{} -> {input}:{path}", file.path),
        };
        Ok(files.into_iter().map(shown).collect())
    }
}

#[test]
fn regular_files_at_any_depth_are_output_and_nothing_else_is() {
    let bench = OutputBench::new(false);
    fs::write(bench.out("b"), "B").unwrap();
    fs::write(bench.out("a/deep/er"), "E").unwrap();
    fs::write(bench.out("big"), vec![0; 100_000]).unwrap();
    fs::create_dir(bench.out("empty")).unwrap();
    nix::unistd::mkfifo(&bench.out("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.out("s")).unwrap();
    symlink("/pfs/out/pipe", bench.out("sub/to-pipe")).unwrap();
    assert_eq!(bench.collect().unwrap(), ["/a/deep/er = E", "/b = B", "/big of 100000"]);
    let left_out = collect(bench.workspace.layout()).unwrap().left_out;
    assert_eq!(left_out.count(), 3);
    let text = left_out.to_string();
    for name in [
        "/pfs/out/pipe (named pipe)",
        "/pfs/out/s (socket)",
        "/pfs/out/sub/to-pipe (named pipe)",
    ] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn links_into_inputs_become_references() {
    let bench = OutputBench::new(false);
    symlink("/pfs/in/x", bench.out("absolute")).unwrap();
    symlink("../in/d/one", bench.out("relative")).unwrap();
    symlink("relative", bench.out("twice")).unwrap();
    symlink("/pfs/in/d", bench.out("folder")).unwrap();
    symlink("../../in/../in/./x", bench.out("sub/crooked")).unwrap();
    fs::write(bench.out("own"), "O").unwrap();
    symlink("own", bench.out("copy")).unwrap();
    assert_eq!(
        bench.collect().unwrap(),
        [
            "/absolute -> in:/x",
            "/copy = O",
            "/folder/one -> in:/d/one",
            "/folder/two -> in:/d/two",
            "/own = O",
            "/relative -> in:/d/one",
            "/sub/crooked -> in:/x",
            "/twice -> in:/d/one",
        ]
    );
}

#[test]
fn links_that_only_the_container_can_follow_are_listed() {
    let bench = OutputBench::new(false);
    symlink("/etc/passwd", bench.out("a")).unwrap();
    symlink("../../../usr/lib/x", bench.out("sub/b")).unwrap();
    symlink("/", bench.out("c")).unwrap();
    symlink("/pfs/in/x", bench.out("d")).unwrap();
    match collect(bench.workspace.layout()) {
        Err(OutputError::Outside(mut links)) => {
            links.sort();
            assert_eq!(links, ["/pfs/out/a", "/pfs/out/c", "/pfs/out/sub/b"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_into_private_copies_store_their_present_content() {
    let bench = OutputBench::new(true);
    fs::write(bench.workspace.layout().input_path("in", "/x"), "changed").unwrap();
    symlink("/pfs/in/x", bench.out("link")).unwrap();
    assert_eq!(bench.collect().unwrap(), ["/link = changed"]);
}

#[test]
fn files_that_are_stored_later_are_not_held_open() {
    let bench = OutputBench::new(false);
    let bytes = vec![1; usize::try_from(SMALL_FILE_BYTES).unwrap() + 1];
    for number in 0..50 {
        fs::write(bench.out(&format!("f{number}")), &bytes).unwrap();
    }
    let files = collect(bench.workspace.layout()).unwrap().files;
    let held = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .filter(|target| target.starts_with(bench.workspace.out()))
        .count();
    assert_eq!(held, 0);
    let ContentSource::Disk(path) = &files[0].content else {
        panic!("{:?} is too big to be read ahead", files[0]);
    };
    assert_eq!(read_piece(open(path).unwrap(), 1 << 20).unwrap().1, bytes);
    fs::remove_file(path).unwrap();
    symlink("/etc/passwd", path).unwrap();
    assert!(open(path).is_err(), "a link must not be followed");
}

#[test]
fn errors_of_the_machine_do_not_reject_the_output() {
    let error = |code| unreadable("file", "/x", io::Error::from_raw_os_error(code));
    for code in [libc::EMFILE, libc::ENFILE, libc::EIO, libc::ENOMEM] {
        assert!(matches!(error(code), OutputError::Infra(_)), "{code}");
    }
    assert!(matches!(error(libc::EACCES), OutputError::Rejected(_)));
}

#[test]
fn rejected_output_is_named() {
    type Prepare<'a> = &'a dyn Fn(&OutputBench);
    let cases: [(&str, Prepare<'_>, &str); 7] = [
        (
            "dangling",
            &|b| symlink("/pfs/in/none", b.out("l")).unwrap(),
            "link at /pfs/out/l: its target /pfs/in/none does not exist",
        ),
        (
            "too long",
            &|b| symlink(format!("/pfs/in/{}", "x".repeat(300)), b.out("l")).unwrap(),
            "cannot read the target of the link /pfs/out/l: File name too long",
        ),
        (
            "loop",
            &|b| symlink("l", b.out("l")).unwrap(),
            "link at /pfs/out/l: it leads through too many other links",
        ),
        (
            "back",
            &|b| symlink("..", b.out("d/l")).unwrap(),
            "link at /pfs/out/d/l leads back to a folder above it",
        ),
        (
            "name",
            &|b| fs::write(b.out("a*b"), "").unwrap(),
            "path \"/a*b\" invalid: character '*' not allowed in path",
        ),
        (
            "text",
            &|b| {
                use std::os::unix::ffi::OsStringExt;
                let name = OsString::from_vec(vec![b'x', 0xff]);
                fs::write(b.workspace.out().join(name), "").unwrap();
            },
            "found bytes that are not text",
        ),
        (
            "gone",
            &|b| fs::remove_dir(b.workspace.out()).unwrap(),
            "/pfs/out has been removed",
        ),
    ];
    for (name, prepare, expected) in cases {
        let bench = OutputBench::new(false);
        prepare(&bench);
        let error = bench.collect().unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
}
