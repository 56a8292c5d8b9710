//! Tests of listing output.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::cache::scratch::Scratch;
use crate::pfs::stored_file::FilePiece;
use crate::pfs::workspace::{SmallFile, Workspace};

struct OutputBench {
    folder: tempfile::TempDir,
    workspace: Workspace,
}

impl Drop for OutputBench {
    /// Removes folders of any depth. The removal by `TempDir` calls itself for each level and overflows its stack.
    fn drop(&mut self) {
        let _ = std::process::Command::new("rm")
            .arg("-rf")
            .arg(self.folder.path())
            .status();
    }
}

impl OutputBench {
    fn new(writable: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let mut workspace = Workspace::open(scratch.slot_dirs(0).unwrap(), scratch).unwrap();
        workspace
            .begin(&[(Arc::from("in"), None)].into(), writable, "")
            .unwrap();
        let file = |path: &str| SmallFile {
            input: Arc::from("in"),
            path: path.into(),
            bytes: b"input".as_slice().into(),
        };
        workspace.write(&[file("/d/one"), file("/d/two"), file("/x")]).unwrap();
        Self { folder, workspace }
    }

    fn out(&self, path: &str) -> PathBuf {
        let path = self.workspace.out().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn try_collect(&self) -> Result<CollectedOutput, OutputError> {
        self.collect_within(OutputLimits::default())
    }

    fn collect_within(&self, limits: OutputLimits) -> Result<CollectedOutput, OutputError> {
        let time = OutputTime::begin(&CancellationToken::new(), None);
        collect(self.workspace.view(), limits, time)
    }

    fn collect(&self) -> Result<Vec<String>, String> {
        let files = self.try_collect().map_err(|error| error.to_string())?.files;
        let shown = |file: CollectedFile| match file.content {
            ContentSource::Memory(bytes) => {
                format!("{} = {}", file.path, String::from_utf8(bytes).unwrap())
            }
            ContentSource::Disk(disk) => {
                format!("{} of {}", file.path, disk.size())
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
    let left_out = bench.try_collect().unwrap().left_out;
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
    match bench.try_collect() {
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
    let files = bench.try_collect().unwrap().files;
    let held = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .filter(|target| target.starts_with(bench.workspace.out()))
        .count();
    assert_eq!(held, 0);
    let ContentSource::Disk(file) = &files[0].content else {
        panic!("{:?} is too big to be read ahead", files[0]);
    };
    assert_eq!(file.open().unwrap().next(1 << 20).unwrap(), FilePiece::Bytes(bytes));
    let path = bench.out(&files[0].path[1..]);
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(file.open().is_err(), "a link must not be followed");
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
                let name = std::ffi::OsString::from_vec(vec![b'x', 0xff]);
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

/// Makes folders nested so deeply below a folder that no path reaches the last of them.
fn make_nested(folder: &std::path::Path, depth: usize) {
    let mut current = Folder::open(folder).unwrap();
    for _ in 0..depth {
        current.make_folder("d", crate::beneath::Access::Owner).unwrap();
        current = current.folder("d").unwrap();
    }
}

#[test]
fn output_above_a_limit_is_rejected_with_the_limit_and_the_setting() {
    let bench = OutputBench::new(false);
    make_nested(&bench.workspace.out(), 512);
    assert_eq!(bench.collect().unwrap(), [""; 0], "folders without files are no output");
    let reason = |bench: &OutputBench, limits| match bench.collect_within(limits) {
        Err(OutputError::Rejected(reason)) => reason,
        other => panic!("{other:?}"),
    };
    for depth in [513, 1_400, 30_000] {
        let bench = OutputBench::new(false);
        make_nested(&bench.workspace.out(), depth);
        let reason = reason(&bench, OutputLimits::default());
        assert!(reason.contains("more than 512 levels deep"), "{reason}");
        assert!(reason.contains("--max-output-depth"), "{reason}");
        assert!(reason.len() < 500, "{} characters", reason.len());
    }
    let bench = OutputBench::new(false);
    make_nested(&bench.workspace.out(), 3_000);
    let deeper = OutputLimits {
        depth: usize::MAX,
        ..OutputLimits::default()
    };
    assert!(reason(&bench, deeper).contains("more than 4095 bytes"));

    let bench = OutputBench::new(false);
    for name in ["a/1", "a/2", "b"] {
        fs::write(bench.out(name), "12345").unwrap();
    }
    let few = OutputLimits {
        files: 3,
        ..OutputLimits::default()
    };
    assert!(reason(&bench, few).contains("--max-output-files"));
    let small = OutputLimits {
        bytes: 14,
        ..OutputLimits::default()
    };
    assert!(reason(&bench, small).contains("--max-output-bytes"));
    let enough = OutputLimits {
        bytes: 15,
        files: 4,
        depth: 1,
    };
    assert_eq!(bench.collect_within(enough).unwrap().files.len(), 3);
    let sparse = fs::File::create(bench.out("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let reason = reason(&bench, OutputLimits::default());
    assert!(reason.contains("/pfs/out/sparse alone has 1099511627776"), "{reason}");
}

#[test]
fn links_cannot_multiply_the_output_without_end() {
    let bench = OutputBench::new(false);
    // Each folder has two links to the next one: 2^40 paths.
    for level in 0..40 {
        let folder = format!("l{level}");
        for name in ["a", "b"] {
            symlink(format!("../l{}", level + 1), bench.out(&format!("{folder}/{name}"))).unwrap();
        }
    }
    fs::write(bench.out("l40/file"), "x").unwrap();
    let limits = OutputLimits {
        files: 10_000,
        ..OutputLimits::default()
    };
    let error = bench.collect_within(limits).unwrap_err().to_string();
    assert!(error.contains("more than 10000 files and folders"), "{error}");
}

#[test]
fn a_folder_that_is_found_through_a_link_must_not_contain_itself() {
    let bench = OutputBench::new(false);
    fs::write(bench.out("a/file"), "x").unwrap();
    symlink("/pfs", bench.out("a/all")).unwrap();
    let error = bench.collect().unwrap_err();
    assert!(error.contains("leads back to a folder above it"), "{error}");
}

#[test]
fn collecting_ends_when_the_set_is_stopped_or_the_time_is_over() {
    let bench = OutputBench::new(false);
    fs::write(bench.out("a"), "x").unwrap();
    let stop = CancellationToken::new();
    let over = OutputTime::begin(&stop, Some(Duration::ZERO));
    let ended = collect(bench.workspace.view(), OutputLimits::default(), over);
    assert!(matches!(ended, Err(OutputError::Rejected(reason)) if reason.contains("datum_timeout")));
    stop.cancel();
    let stopped = OutputTime::begin(&stop, None);
    let ended = collect(bench.workspace.view(), OutputLimits::default(), stopped);
    assert!(matches!(ended, Err(OutputError::Stopped)));
}

/// A thread replaces a folder of the output by a link to a folder of this machine and back, as a thread does that a
/// command planted in the first process of its container.
#[test]
fn a_folder_that_is_replaced_by_a_link_meanwhile_carries_nothing_out() {
    let secret = tempfile::tempdir().unwrap();
    for number in 0..20 {
        fs::write(secret.path().join(format!("f{number}")), "secret").unwrap();
        fs::write(secret.path().join(format!("g{number}")), vec![b's'; 100_000]).unwrap();
    }
    let bench = OutputBench::new(false);
    for number in 0..20 {
        fs::write(bench.out(&format!("d/e/f{number}")), "own").unwrap();
        fs::write(bench.out(&format!("d/e/g{number}")), vec![b'o'; 100_000]).unwrap();
    }
    let (d, aside) = (bench.out("d/e"), bench.workspace.layout().dirs.pfs.join("aside"));
    let (done, swaps) = (CancellationToken::new(), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.is_cancelled() {
                fs::rename(&d, &aside).unwrap();
                symlink(secret.path(), &d).unwrap();
                fs::remove_file(&d).unwrap();
                fs::rename(&aside, &d).unwrap();
                swaps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let begun = Instant::now();
        let mut collected = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            let Ok(output) = bench.try_collect() else { continue };
            for file in output.files {
                let bytes = match file.content {
                    ContentSource::Memory(bytes) => bytes,
                    ContentSource::Disk(disk) => match disk.open().and_then(|mut reader| reader.next(1 << 20)) {
                        Ok(FilePiece::Bytes(bytes)) => bytes,
                        _ => continue,
                    },
                    ContentSource::Input { .. } => continue,
                };
                collected += 1;
                assert!(
                    bytes.iter().all(|byte| b"own".contains(byte)),
                    "{} is of this machine",
                    file.path
                );
            }
        }
        done.cancel();
        assert!(collected > 0);
    });
    assert!(swaps.into_inner() > 100);
}
