//! The real program at the end of a real socket, running real commands.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use howdah_stage_init::frame::{Exit, Inbox, Reply, Request, Run, VERSION};

/// Longer than anything here takes; only a bug waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Init {
    child: Child,
    socket: UnixStream,
    inbox: Inbox,
    dir: PathBuf,
}

#[derive(Debug, PartialEq)]
struct Answer {
    out: Vec<u8>,
    err: Vec<u8>,
    exit: Exit,
}

impl Init {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = std::env::temp_dir().join(format!(
            "howdah-init-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_howdah-stage-init"))
            .arg(&path)
            .spawn()
            .unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut init = Self {
            child,
            socket,
            inbox: Inbox::default(),
            dir,
        };
        init.next(|reply| assert_eq!(reply, Reply::Hello { version: VERSION }));
        init
    }

    fn next<T>(&mut self, mut look: impl FnMut(Reply<'_>) -> T) -> T {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.inbox.next_frame().unwrap() {
                return look(Reply::decode(frame).unwrap());
            }
            let n = self.socket.read(&mut buffer).unwrap();
            assert!(n > 0, "stage-init has gone");
            self.inbox.push(&buffer[..n]);
        }
    }

    fn send(&mut self, request: &Request) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut out = Vec::new();
        let mut err = Vec::new();
        loop {
            let exit = self.next(|reply| match reply {
                Reply::Stdout(bytes) => {
                    out.extend_from_slice(bytes);
                    None
                }
                Reply::Stderr(bytes) => {
                    err.extend_from_slice(bytes);
                    None
                }
                Reply::Exit(exit) => Some(exit),
                Reply::Hello { .. } => panic!("a second hello"),
            });
            if let Some(exit) = exit {
                return Answer { out, err, exit };
            }
        }
    }

    fn run(&mut self, run: Run) -> Answer {
        self.send(&Request::Run(Box::new(run)));
        self.answer()
    }

    fn shell(&mut self, script: &str) -> Answer {
        self.run(sh(script))
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn sh(script: &str) -> Run {
    Run {
        argv: vec!["sh".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Run::default()
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting until {what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn output_and_exit_codes_come_back_run_after_run() {
    let mut init = Init::start();
    for code in [0, 1, 42, 255] {
        let answer = init.shell(&format!("echo out; echo err >&2; exit {code}"));
        assert_eq!(
            answer,
            Answer {
                out: b"out\n".into(),
                err: b"err\n".into(),
                exit: Exit::Code(code)
            }
        );
    }
}

#[test]
fn a_signal_is_told_from_a_code() {
    let mut init = Init::start();
    assert_eq!(init.shell("kill -TERM $$").exit, Exit::Signal(15));
    assert_eq!(init.shell("kill -KILL $$").exit, Exit::Signal(9));
}

#[test]
fn the_environment_is_exactly_what_was_asked_plus_home() {
    let mut init = Init::start();
    let mut run = sh("");
    run.argv = vec!["env".into()];
    run.env.push(("my-input".into(), "/pfs/a b".into()));
    run.env.push(("X".into(), "old".into()));
    run.env.push(("X".into(), "new".into()));
    run.env.push(("HOME".into(), "/pfs".into()));
    let text = String::from_utf8(init.run(run).out).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["HOME=/pfs", "PATH=/usr/bin:/bin", "X=new", "my-input=/pfs/a b"]);
}

#[test]
fn signals_of_the_command_are_as_usual() {
    let mut init = Init::start();
    let mut run = sh("");
    // No shell in between: shells repair the mask for their own children.
    run.argv = vec!["cat".into(), "/proc/self/status".into()];
    let text = String::from_utf8(init.run(run).out).unwrap();
    let mask = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0);
    // Numbers 1 to 31; what is above may be inherited from whoever runs the tests.
    assert_eq!(mask("SigIgn:") & 0x7fff_ffff, 0);
}

#[test]
fn the_working_directory_is_set_and_a_missing_one_is_named() {
    let mut init = Init::start();
    let mut run = sh("pwd");
    run.cwd = "/usr/bin".into();
    assert_eq!(init.run(run.clone()).out, b"/usr/bin\n");
    run.cwd = "/no/where".into();
    let text = "working directory /no/where: not found in the image";
    assert_eq!(init.run(run.clone()).exit, Exit::NotStarted(text.into()));
    run.cwd = "/etc/passwd".into();
    let text = "working directory /etc/passwd: is not a directory";
    assert_eq!(init.run(run).exit, Exit::NotStarted(text.into()));
    assert_eq!(init.shell("pwd").out, b"/\n");
}

#[test]
fn a_command_that_cannot_start_says_why_and_harms_nothing() {
    let mut init = Init::start();
    let mut run = sh("");
    run.argv = vec!["/train".into()];
    let text = "/train: not found in the image";
    assert_eq!(init.run(run.clone()).exit, Exit::NotStarted(text.into()));
    let text_file = init.dir.join("text");
    std::fs::write(&text_file, "not a program").unwrap();
    std::fs::set_permissions(&text_file, std::fs::Permissions::from_mode(0o755)).unwrap();
    run.argv = vec![text_file.display().to_string()];
    let Exit::NotStarted(text) = init.run(run.clone()).exit else {
        panic!("it started")
    };
    assert!(text.contains("cannot be executed"), "{text}");
    run.argv = Vec::new();
    assert!(matches!(init.run(run.clone()).exit, Exit::NotStarted(_)));
    run.argv = vec!["sh".into(), "a\0b".into()];
    let Exit::NotStarted(text) = init.run(run).exit else {
        panic!("it started")
    };
    assert!(text.contains("zero byte"), "{text}");
    assert_eq!(init.shell("exit 3").exit, Exit::Code(3));
}

#[test]
fn a_large_input_passes_through_both_ways() {
    let mut init = Init::start();
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut run = sh("cat");
    run.stdin = Some(bytes.clone());
    let answer = init.run(run);
    assert_eq!(answer.exit, Exit::Code(0));
    assert!(answer.out == bytes);
}

#[test]
fn an_input_that_nobody_reads_is_no_error() {
    let mut init = Init::start();
    let mut run = sh("exec <&-; exit 0");
    run.stdin = Some(vec![b'x'; 1_000_000]);
    assert_eq!(init.run(run).exit, Exit::Code(0));
    // Without input there is an end of file at once.
    assert_eq!(init.shell("cat").exit, Exit::Code(0));
}

#[test]
fn a_flood_of_output_arrives_whole_at_a_slow_reader() {
    let mut init = Init::start();
    init.send(&Request::Run(Box::new(sh(
        "head -c 30000000 /dev/zero; head -c 100000 /dev/zero >&2",
    ))));
    // Read nothing until the command has come to a stop against full buffers.
    let pid = init.child.id();
    wait_until("stage-init waits for the reader", || {
        std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|w| w.contains("poll"))
            || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") S "))
    });
    let answer = init.answer();
    assert_eq!(answer.exit, Exit::Code(0));
    assert_eq!((answer.out.len(), answer.err.len()), (30_000_000, 100_000));
}

#[test]
fn a_time_limit_kills_the_whole_group() {
    let mut init = Init::start();
    let mut run = sh("sleep 1000 & echo $!; wait");
    run.timeout_ms = 300;
    let start = Instant::now();
    let answer = init.run(run);
    assert_eq!(answer.exit, Exit::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let child: u32 = String::from_utf8(answer.out).unwrap().trim().parse().unwrap();
    assert!(!is_alive(child));
}

#[test]
fn a_time_limit_counts_while_the_reader_is_slow() {
    let mut init = Init::start();
    let mut run = sh("cat /dev/zero");
    run.timeout_ms = 200;
    assert_eq!(init.run(run).exit, Exit::TimedOut);
}

#[test]
fn a_kill_request_kills_and_a_late_one_is_harmless() {
    let mut init = Init::start();
    init.send(&Request::Kill);
    init.send(&Request::Run(Box::new(sh("echo up; sleep 1000"))));
    init.next(|reply| assert_eq!(reply, Reply::Stdout(b"up\n")));
    init.send(&Request::Kill);
    assert_eq!(init.answer().exit, Exit::Killed);
    init.send(&Request::Kill);
    assert_eq!(init.shell("exit 0").exit, Exit::Code(0));
}

#[test]
fn background_children_neither_hold_nor_outlive_a_run() {
    let mut init = Init::start();
    let answer = init.shell("sleep 1000 & echo $!");
    assert_eq!(answer.exit, Exit::Code(0));
    let child: u32 = String::from_utf8(answer.out).unwrap().trim().parse().unwrap();
    assert!(!is_alive(child));
}

#[test]
fn what_left_the_group_dies_too() {
    let mut init = Init::start();
    // The command ends only when the other one has said that it is in a session of its own.
    let mut run = sh("mkfifo up; setsid sh -c 'echo $$ > up; exec sleep 1000' & read p < up; echo $p");
    run.cwd = init.dir.display().to_string();
    let answer = init.run(run);
    assert_eq!(answer.exit, Exit::Code(0));
    let escaped: u32 = String::from_utf8(answer.out).unwrap().trim().parse().unwrap();
    assert!(!is_alive(escaped));
}

#[test]
fn orphans_are_reaped_while_a_command_runs() {
    let mut init = Init::start();
    // The inner shell ends at once; its child becomes ours and ends later, as a zombie if nobody
    // reaps it. The command waits until that child has gone altogether.
    let script = "p=$(sh -c 'sleep 0.05 >/dev/null & echo $!'); \
                  while [ -e /proc/$p ]; do :; done; echo gone";
    assert_eq!(init.shell(script).out, b"gone\n");
}

#[test]
fn when_the_worker_goes_so_does_everything() {
    let mut init = Init::start();
    init.send(&Request::Run(Box::new(sh("echo $$; exec sleep 1000"))));
    let pid: u32 = init.next(|reply| match reply {
        Reply::Stdout(bytes) => String::from_utf8_lossy(bytes).trim().parse().unwrap(),
        other => panic!("{other:?}"),
    });
    init.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(init.child.wait().unwrap().success());
    assert!(!is_alive(pid));
}

#[test]
fn shutdown_and_sigterm_end_it() {
    let mut init = Init::start();
    init.send(&Request::Shutdown);
    assert!(init.child.wait().unwrap().success());
    let mut init = Init::start();
    init.send(&Request::Run(Box::new(sh("echo up; sleep 1000"))));
    init.next(|reply| assert_eq!(reply, Reply::Stdout(b"up\n")));
    let pid = init.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert!(init.child.wait().unwrap().success());
}

#[test]
fn another_user_gets_its_ids_home_and_the_working_area() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return; // Only root can become somebody else.
    }
    let mut init = Init::start();
    let work = init.dir.join("work");
    std::fs::create_dir_all(work.join("out")).unwrap();
    let mut run = sh("id -u; id -g; id -G; echo $HOME; mkdir out/a; echo x > out/a/b; chmod 0 out/a/b");
    run.cwd = work.display().to_string();
    run.user = "4711:4712".into();
    run.work_dirs = vec![run.cwd.clone()];
    run.give_back = Some((1000, 1001));
    let answer = init.run(run.clone());
    assert_eq!(answer.exit, Exit::Code(0), "{}", String::from_utf8_lossy(&answer.err));
    assert_eq!(answer.out, b"4711\n4712\n4712\n/\n");
    let made = std::fs::metadata(work.join("out/a/b")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1001));

    run.user = "nobody".into();
    run.give_back = None;
    run.argv[2] = "id -un; > out/c".into();
    assert_eq!(init.run(run.clone()).out, b"nobody\n");
    let made = std::fs::metadata(work.join("out/c")).unwrap();
    assert_ne!(made.uid(), 0);

    run.user = "no-such-user".into();
    let Exit::NotStarted(text) = init.run(run).exit else {
        panic!("it started")
    };
    assert!(text.contains("no-such-user") && text.contains("/etc/passwd"), "{text}");
}

#[test]
fn a_program_closed_to_the_user_is_named_with_the_user() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return; // Only root can become somebody else.
    }
    let mut init = Init::start();
    let program = init.dir.join("mine");
    std::fs::copy("/bin/true", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut run = sh("");
    run.argv = vec![program.display().to_string()];
    run.user = "4711".into();
    let text = format!("{}: permission denied for user 4711", program.display());
    assert_eq!(init.run(run).exit, Exit::NotStarted(text));
}
