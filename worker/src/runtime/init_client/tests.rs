//! Tests of the worker's end with a stage-init that the test plays, and that vanishes or falls silent.

use std::thread::{self, JoinHandle};

use howdah_stage_init::frame::STDOUT;

use super::*;
use crate::thread_role::mark_slot_thread;

fn encoded(replies: &[InitReply<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for reply in replies {
        reply.encode(&mut bytes);
    }
    bytes
}

/// Returns a listener, and a stage-init that has connected and said nothing.
fn listening(folder: &Path) -> (InitListener, UnixStream) {
    let listener = InitListener::bind(folder).unwrap();
    let init = UnixStream::connect(folder.join(SOCKET_NAME)).unwrap();
    (listener, init)
}

/// Returns both ends of a connection after the greeting.
async fn connected(folder: &Path) -> (InitConnection, UnixStream) {
    let (listener, mut init) = listening(folder);
    let greeting = encoded(&[InitReply::Hello { version: VERSION }]);
    init.write_all(&greeting).unwrap();
    (listener.accept().await.unwrap(), init)
}

/// Receives one request, as stage-init does.
fn receive(init: &mut UnixStream, inbox: &mut FrameBuffer) -> InitRequest {
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = inbox.next_frame().unwrap() {
            return InitRequest::decode(frame).unwrap();
        }
        let count = init.read(&mut buffer).unwrap();
        assert!(count > 0, "the worker has closed the connection");
        inbox.push(&buffer[..count]);
    }
}

/// Plays a stage-init that receives a command, sends some bytes and closes the connection.
fn vanish_after(mut init: UnixStream, last: Vec<u8>) -> JoinHandle<()> {
    thread::spawn(move || {
        receive(&mut init, &mut FrameBuffer::default());
        init.write_all(&last).unwrap();
    })
}

/// Runs a command; returns how that ended, and its output.
async fn run(
    connection: &mut InitConnection,
    command: RunCommand,
    cancel: &CancellationToken,
) -> (io::Result<InitRun>, Vec<u8>) {
    let mut output = Vec::new();
    let mut sink = |_: Stream, bytes: &[u8]| output.extend_from_slice(bytes);
    let ended = connection.run(command, &mut sink, cancel).await;
    (ended, output)
}

fn is_loss(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Runs a test on a thread of a slot, which waits without the runtime at first, and on another thread.
fn on_both_kinds_of_threads(test: impl AsyncFn() + Sync) {
    for is_slot in [false, true] {
        thread::scope(|scope| {
            let tested = scope.spawn(|| {
                if is_slot {
                    mark_slot_thread();
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(test());
            });
            tested.join().unwrap();
        });
    }
}

#[tokio::test]
async fn a_stage_init_that_vanishes_before_its_greeting_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let greeting = encoded(&[InitReply::Hello { version: VERSION }]);
    for sent in [0, 1, greeting.len() - 1] {
        let (listener, mut init) = listening(folder.path());
        init.write_all(&greeting[..sent]).unwrap();
        drop(init);
        let error = listener.accept().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{sent} bytes were sent");
    }
}

#[tokio::test]
async fn a_stage_init_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, mut init) = listening(folder.path());
    let greeting = encoded(&[InitReply::Hello { version: VERSION + 1 }]);
    init.write_all(&greeting).unwrap();
    let error = listener.accept().await.unwrap_err();
    assert!(error.to_string().contains("speaks version"), "{error}");
}

#[test]
fn a_stage_init_that_vanishes_in_the_middle_of_a_command_loses_the_stage() {
    on_both_kinds_of_threads(async || {
        let exit = encoded(&[InitReply::Exit(CommandEnd::Code(0))]);
        let half_an_exit = &exit[..exit.len() - 1];
        for last in [&[][..], half_an_exit] {
            let folder = tempfile::tempdir().unwrap();
            let (mut connection, init) = connected(folder.path()).await;
            assert!(connection.is_alive());
            let mut bytes = encoded(&[InitReply::Stdout(b"so "), InitReply::Stderr(b"far")]);
            bytes.extend_from_slice(last);
            let vanishing = vanish_after(init, bytes);
            let never = CancellationToken::new();
            let (ended, output) = run(&mut connection, RunCommand::default(), &never).await;
            let error = ended.unwrap_err();
            assert!(is_loss(&error), "{error:?}");
            assert_eq!(output, b"so far");
            vanishing.join().unwrap();

            assert!(!connection.is_alive());
            let (ended, _) = run(&mut connection, RunCommand::default(), &never).await;
            assert!(ended.unwrap_err().to_string().contains("abandoned"));
        }
    });
}

#[test]
fn bytes_that_are_no_reply_lose_the_stage() {
    on_both_kinds_of_threads(async || {
        let unknown = vec![99, 0, 0, 0, 0];
        let too_long = vec![STDOUT, 0xff, 0xff, 0xff, 0xff];
        let greeting = encoded(&[InitReply::Hello { version: VERSION }]);
        for bytes in [unknown, too_long, greeting] {
            let folder = tempfile::tempdir().unwrap();
            let (mut connection, init) = connected(folder.path()).await;
            // It stays open: the worker does not wait for more bytes.
            let _open = init.try_clone().unwrap();
            let sending = vanish_after(init, bytes);
            let (ended, _) = run(&mut connection, RunCommand::default(), &CancellationToken::new()).await;
            let error = ended.unwrap_err();
            assert!(!is_loss(&error), "{error:?}");
            assert!(!connection.is_alive());
            sending.join().unwrap();
        }
    });
}

#[test]
fn a_stage_init_that_vanishes_while_it_receives_a_command_loses_the_stage() {
    on_both_kinds_of_threads(async || {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, mut init) = connected(folder.path()).await;
        let vanishing = thread::spawn(move || init.read_exact(&mut [0; 10]).unwrap());
        let command = RunCommand {
            stdin: Some(vec![0; 8 << 20]),
            ..RunCommand::default()
        };
        let (ended, _) = run(&mut connection, command, &CancellationToken::new()).await;
        let error = ended.unwrap_err();
        assert!(is_loss(&error), "{error:?}");
        vanishing.join().unwrap();
    });
}

#[test]
fn a_stage_init_that_vanishes_instead_of_killing_its_command_loses_the_stage() {
    on_both_kinds_of_threads(async || {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, mut init) = connected(folder.path()).await;
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let vanishing = thread::spawn(move || {
            let mut inbox = FrameBuffer::default();
            receive(&mut init, &mut inbox);
            stop.cancel();
            assert_eq!(receive(&mut init, &mut inbox), InitRequest::Kill);
        });
        let (ended, _) = run(&mut connection, RunCommand::default(), &cancel).await;
        let error = ended.unwrap_err();
        assert!(is_loss(&error), "{error:?}");
        vanishing.join().unwrap();
    });
}

#[tokio::test]
async fn a_stage_init_that_vanishes_while_it_is_idle_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut connection, mut init) = connected(folder.path()).await;
    let answering = thread::spawn(move || {
        receive(&mut init, &mut FrameBuffer::default());
        let exit = InitReply::Exit(CommandEnd::Code(7));
        init.write_all(&encoded(&[exit])).unwrap();
        init
    });
    let (ended, _) = run(&mut connection, RunCommand::default(), &CancellationToken::new()).await;
    assert_eq!(ended.unwrap(), InitRun::Exit(CommandEnd::Code(7)));
    let init = answering.join().unwrap();
    assert!(connection.is_alive());
    drop(init);
    assert!(!connection.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_stage_init_that_falls_silent_is_given_up_after_the_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (mut connection, _silent) = connected(folder.path()).await;
    let command = RunCommand {
        timeout_ms: 1_000,
        ..RunCommand::default()
    };
    let begun = Instant::now();
    let (ended, _) = run(&mut connection, command, &CancellationToken::new()).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 1 + GRACE.as_secs());
    assert!(!connection.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_stage_init_that_does_not_kill_its_command_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut connection, mut silent) = connected(folder.path()).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let begun = Instant::now();
    let (ended, _) = run(&mut connection, RunCommand::default(), &cancel).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
    let mut inbox = FrameBuffer::default();
    assert!(matches!(receive(&mut silent, &mut inbox), InitRequest::Run(_)));
    assert_eq!(receive(&mut silent, &mut inbox), InitRequest::Kill, "sent once");
}

#[tokio::test(start_paused = true)]
async fn a_stage_init_that_does_not_read_its_command_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    for is_cancelled in [false, true] {
        let (mut connection, _silent) = connected(folder.path()).await;
        let cancel = CancellationToken::new();
        let mut command = RunCommand {
            stdin: Some(vec![0; 8 << 20]),
            ..RunCommand::default()
        };
        if is_cancelled {
            cancel.cancel();
        } else {
            command.timeout_ms = 1_000;
        }
        let begun = Instant::now();
        let (ended, _) = run(&mut connection, command, &cancel).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let limit = if is_cancelled { 0 } else { 1 };
        assert_eq!(begun.elapsed().as_secs(), limit + GRACE.as_secs());
        assert!(!connection.is_alive());
    }
}
