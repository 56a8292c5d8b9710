//! Tests of the stage-init program: a real process, a real socket, real commands.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use howdah_stage_init::frame::{CommandEnd, FrameBuffer, InitReply, InitRequest, RunCommand, VERSION};

/// Time limit of each wait. Only a failure reaches it.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// A stage-init process with the worker's end of its socket. Dropping it kills the process.
struct InitProcess {
    child: Child,
    socket: UnixStream,
    inbox: FrameBuffer,
    dir: PathBuf,
}

/// The output and the end of one run.
#[derive(Debug, PartialEq)]
struct RunOutput {
    out: Vec<u8>,
    err: Vec<u8>,
    exit: CommandEnd,
}

impl InitProcess {
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
        socket.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        let mut init = Self {
            child,
            socket,
            inbox: FrameBuffer::default(),
            dir,
        };
        init.next(|reply| assert_eq!(reply, InitReply::Hello { version: VERSION }));
        init
    }

    /// Waits for the next reply and passes it to `look`.
    fn next<T>(&mut self, mut look: impl FnMut(InitReply<'_>) -> T) -> T {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.inbox.next_frame().unwrap() {
                return look(InitReply::decode(frame).unwrap());
            }
            let n = self.socket.read(&mut buffer).unwrap();
            assert!(n > 0, "stage-init closed the connection");
            self.inbox.push(&buffer[..n]);
        }
    }

    fn send(&mut self, request: &InitRequest) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    /// Reads the replies of a run to its end.
    fn output(&mut self) -> RunOutput {
        let mut out = Vec::new();
        let mut err = Vec::new();
        loop {
            let exit = self.next(|reply| match reply {
                InitReply::Stdout(bytes) => {
                    out.extend_from_slice(bytes);
                    None
                }
                InitReply::Stderr(bytes) => {
                    err.extend_from_slice(bytes);
                    None
                }
                InitReply::Exit(exit) => Some(exit),
                InitReply::Hello { .. } => panic!("a second hello"),
            });
            if let Some(exit) = exit {
                return RunOutput { out, err, exit };
            }
        }
    }

    fn run(&mut self, run: RunCommand) -> RunOutput {
        self.send(&InitRequest::Run(Box::new(run)));
        self.output()
    }

    fn shell(&mut self, script: &str) -> RunOutput {
        self.run(sh(script))
    }
}

impl Drop for InitProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn sh(script: &str) -> RunCommand {
    RunCommand {
        argv: vec!["sh".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..RunCommand::default()
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WAIT_LIMIT, "timed out waiting until {what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn each_run_returns_its_output_and_exit_code() {
    let mut init = InitProcess::start();
    for code in [0, 1, 42, 255] {
        let result = init.shell(&format!("echo out; echo err >&2; exit {code}"));
        assert_eq!(
            result,
            RunOutput {
                out: b"out\n".into(),
                err: b"err\n".into(),
                exit: CommandEnd::Code(code)
            }
        );
    }
}

#[test]
fn an_end_by_a_signal_is_not_an_exit_code() {
    let mut init = InitProcess::start();
    assert_eq!(init.shell("kill -TERM $$").exit, CommandEnd::Signal(15));
    assert_eq!(init.shell("kill -KILL $$").exit, CommandEnd::Signal(9));
}

#[test]
fn the_environment_is_that_of_the_request_plus_home() {
    let mut init = InitProcess::start();
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
fn a_command_starts_without_blocked_or_ignored_signals() {
    let mut init = InitProcess::start();
    let mut run = sh("");
    // Without a shell, because a shell resets the mask for its own children.
    run.argv = vec!["cat".into(), "/proc/self/status".into()];
    let text = String::from_utf8(init.run(run).out).unwrap();
    let mask = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0);
    // Only signals 1 to 31: the process that runs the tests may ignore higher ones.
    assert_eq!(mask("SigIgn:") & 0x7fff_ffff, 0);
}

#[test]
fn the_working_directory_is_set_and_errors_contain_a_missing_one() {
    let mut init = InitProcess::start();
    let mut run = sh("pwd");
    run.cwd = "/usr/bin".into();
    assert_eq!(init.run(run.clone()).out, b"/usr/bin\n");
    run.cwd = "/no/where".into();
    let text = "working directory /no/where: not found in the image";
    assert_eq!(init.run(run.clone()).exit, CommandEnd::NotStarted(text.into()));
    run.cwd = "/etc/passwd".into();
    let text = "working directory /etc/passwd: is not a directory";
    assert_eq!(init.run(run).exit, CommandEnd::NotStarted(text.into()));
    assert_eq!(init.shell("pwd").out, b"/\n");
}

#[test]
fn a_command_that_cannot_start_gives_the_reason_and_the_next_one_runs() {
    let mut init = InitProcess::start();
    let mut run = sh("");
    run.argv = vec!["/train".into()];
    let text = "/train: not found in the image";
    assert_eq!(init.run(run.clone()).exit, CommandEnd::NotStarted(text.into()));
    let text_file = init.dir.join("text");
    std::fs::write(&text_file, "not a program").unwrap();
    std::fs::set_permissions(&text_file, std::fs::Permissions::from_mode(0o755)).unwrap();
    run.argv = vec![text_file.display().to_string()];
    let CommandEnd::NotStarted(text) = init.run(run.clone()).exit else {
        panic!("it started")
    };
    assert!(text.contains("cannot be executed"), "{text}");
    run.argv = Vec::new();
    assert!(matches!(init.run(run.clone()).exit, CommandEnd::NotStarted(_)));
    run.argv = vec!["sh".into(), "a\0b".into()];
    let CommandEnd::NotStarted(text) = init.run(run).exit else {
        panic!("it started")
    };
    assert!(text.contains("zero byte"), "{text}");
    assert_eq!(init.shell("exit 3").exit, CommandEnd::Code(3));
}

#[test]
fn a_large_input_and_output_pass_unchanged() {
    let mut init = InitProcess::start();
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut run = sh("cat");
    run.stdin = Some(bytes.clone());
    let result = init.run(run);
    assert_eq!(result.exit, CommandEnd::Code(0));
    assert!(result.out == bytes);
}

#[test]
fn an_input_that_the_command_does_not_read_is_no_error() {
    let mut init = InitProcess::start();
    let mut run = sh("exec <&-; exit 0");
    run.stdin = Some(vec![b'x'; 1_000_000]);
    assert_eq!(init.run(run).exit, CommandEnd::Code(0));
    // Without input, the first read is the end of file.
    assert_eq!(init.shell("cat").exit, CommandEnd::Code(0));
}

#[test]
fn a_large_output_is_complete_at_a_slow_reader() {
    let mut init = InitProcess::start();
    init.send(&InitRequest::Run(Box::new(sh(
        "head -c 30000000 /dev/zero; head -c 100000 /dev/zero >&2",
    ))));
    // Read nothing until all buffers are full and the command is blocked.
    let pid = init.child.id();
    wait_until("stage-init waits for the reader", || {
        std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|w| w.contains("poll"))
            || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") S "))
    });
    let result = init.output();
    assert_eq!(result.exit, CommandEnd::Code(0));
    assert_eq!((result.out.len(), result.err.len()), (30_000_000, 100_000));
}

#[test]
fn a_time_limit_kills_the_whole_group() {
    let mut init = InitProcess::start();
    let mut run = sh("sleep 1000 & echo $!; wait");
    run.timeout_ms = 300;
    let start = Instant::now();
    let result = init.run(run);
    assert_eq!(result.exit, CommandEnd::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let child: u32 = String::from_utf8(result.out).unwrap().trim().parse().unwrap();
    assert!(!is_alive(child));
}

#[test]
fn a_time_limit_holds_for_a_command_blocked_on_its_output() {
    let mut init = InitProcess::start();
    let mut run = sh("cat /dev/zero");
    run.timeout_ms = 200;
    assert_eq!(init.run(run).exit, CommandEnd::TimedOut);
}

#[test]
fn a_kill_request_kills_and_a_late_one_has_no_effect() {
    let mut init = InitProcess::start();
    init.send(&InitRequest::Kill);
    init.send(&InitRequest::Run(Box::new(sh("echo up; sleep 1000"))));
    init.next(|reply| assert_eq!(reply, InitReply::Stdout(b"up\n")));
    init.send(&InitRequest::Kill);
    assert_eq!(init.output().exit, CommandEnd::Killed);
    init.send(&InitRequest::Kill);
    assert_eq!(init.shell("exit 0").exit, CommandEnd::Code(0));
}

#[test]
fn background_children_end_with_the_run_and_do_not_delay_it() {
    let mut init = InitProcess::start();
    let result = init.shell("sleep 1000 & echo $!");
    assert_eq!(result.exit, CommandEnd::Code(0));
    let child: u32 = String::from_utf8(result.out).unwrap().trim().parse().unwrap();
    assert!(!is_alive(child));
}

#[test]
fn a_process_that_left_the_group_is_killed() {
    let mut init = InitProcess::start();
    // The command ends only after the other process has a session of its own.
    let mut run = sh("mkfifo up; setsid sh -c 'echo $$ > up; exec sleep 1000' & read p < up; echo $p");
    run.cwd = init.dir.display().to_string();
    let result = init.run(run);
    assert_eq!(result.exit, CommandEnd::Code(0));
    let escaped: u32 = String::from_utf8(result.out).unwrap().trim().parse().unwrap();
    assert!(!is_alive(escaped));
}

#[test]
fn orphans_are_reaped_while_a_command_runs() {
    let mut init = InitProcess::start();
    // The inner shell ends at once. Its child becomes a child of stage-init and ends later. The
    // command waits until the child is reaped: a zombie still has its entry in /proc.
    let script = "p=$(sh -c 'sleep 0.05 >/dev/null & echo $!'); \
                  while [ -e /proc/$p ]; do :; done; echo gone";
    assert_eq!(init.shell(script).out, b"gone\n");
}

#[test]
fn closing_the_connection_ends_the_command_and_stage_init() {
    let mut init = InitProcess::start();
    init.send(&InitRequest::Run(Box::new(sh("echo $$; exec sleep 1000"))));
    let pid: u32 = init.next(|reply| match reply {
        InitReply::Stdout(bytes) => String::from_utf8_lossy(bytes).trim().parse().unwrap(),
        other => panic!("{other:?}"),
    });
    init.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(init.child.wait().unwrap().success());
    assert!(!is_alive(pid));
}

#[test]
fn shutdown_and_sigterm_end_stage_init() {
    let mut init = InitProcess::start();
    init.send(&InitRequest::Shutdown);
    assert!(init.child.wait().unwrap().success());
    let mut init = InitProcess::start();
    init.send(&InitRequest::Run(Box::new(sh("echo up; sleep 1000"))));
    init.next(|reply| assert_eq!(reply, InitReply::Stdout(b"up\n")));
    let pid = init.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert!(init.child.wait().unwrap().success());
}

#[test]
fn another_user_gets_its_ids_home_and_the_work_directories() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return; // Only root can become another user.
    }
    let mut init = InitProcess::start();
    let work = init.dir.join("work");
    std::fs::create_dir_all(work.join("out")).unwrap();
    let mut run = sh("id -u; id -g; id -G; echo $HOME; mkdir out/a; echo x > out/a/b; chmod 0 out/a/b");
    run.cwd = work.display().to_string();
    run.user = "4711:4712".into();
    run.work_dirs = vec![run.cwd.clone()];
    run.give_back = Some((1000, 1001));
    let result = init.run(run.clone());
    assert_eq!(
        result.exit,
        CommandEnd::Code(0),
        "{}",
        String::from_utf8_lossy(&result.err)
    );
    assert_eq!(result.out, b"4711\n4712\n4712\n/\n");
    let made = std::fs::metadata(work.join("out/a/b")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1001));

    run.user = "nobody".into();
    run.give_back = None;
    run.argv[2] = "id -un; > out/c".into();
    assert_eq!(init.run(run.clone()).out, b"nobody\n");
    let made = std::fs::metadata(work.join("out/c")).unwrap();
    assert_ne!(made.uid(), 0);

    run.user = "no-such-user".into();
    let CommandEnd::NotStarted(text) = init.run(run).exit else {
        panic!("it started")
    };
    assert!(text.contains("no-such-user") && text.contains("/etc/passwd"), "{text}");
}

#[test]
fn permission_errors_contain_the_program_and_the_user() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return; // Only root can become another user.
    }
    let mut init = InitProcess::start();
    let program = init.dir.join("mine");
    std::fs::copy("/bin/true", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut run = sh("");
    run.argv = vec![program.display().to_string()];
    run.user = "4711".into();
    let text = format!("{}: permission denied for user 4711", program.display());
    assert_eq!(init.run(run).exit, CommandEnd::NotStarted(text));
}
