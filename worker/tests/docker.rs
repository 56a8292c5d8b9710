//! Tests of the Docker runtime with a real engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use howdah_model::entities::ImagePin;
use howdah_stage_init::COPY_LINKS;
use howdah_worker::runtime::docker::containment::Containment;
use howdah_worker::runtime::docker::credentials::Credentials;
use howdah_worker::runtime::{Network, RegistryAuth, RunOutcome, Runtime, RuntimeError, Stream};
use support::registry::Registry;
use support::{DockerFixture, run, runtime_over, sh, slot_dirs, tool_request, tool_run};
use tokio_util::sync::CancellationToken;

/// Returns the engine's description of a container.
fn inspect(id: &str) -> serde_json::Value {
    let output = sh("docker", &["inspect", id]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    list[0].clone()
}

#[tokio::test]
async fn commands_run_in_an_image_without_other_files() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    for code in [0, 7] {
        let ran = tool_run(&mut stage, &["exit", &code.to_string()]).await;
        assert_eq!(ran.outcome, RunOutcome::Exited(code));
    }
    let ran = tool_run(&mut stage, &["abort"]).await;
    assert_eq!(ran.outcome, RunOutcome::Signaled(6));
    assert!(stage.alive().await);
    stage.stop().await;
    assert_eq!(fixture.containers(), Vec::<String>::new());
}

#[tokio::test]
async fn the_settings_of_the_image_are_returned_and_used() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let env = stage.image_env().to_vec();
    assert!(env.contains(&("GREETING".into(), "hello world".into())));
    assert!(env.iter().any(|(name, value)| name == "PATH" && value.contains("/bin")));
    assert_eq!(stage.image_workdir(), Some("/work"));
    assert_eq!(stage.image_user(), None);

    assert_eq!(tool_run(&mut stage, &["pwd"]).await.out, "/work\n");
    let mut request = tool_request(&["pwd"]);
    request.cwd = Some("/pfs".into());
    assert_eq!(run(&mut stage, request).await.out, "/pfs\n");

    // The environment is that of the request, plus the HOME of root that the engine sets.
    let mut request = tool_request(&["env"]);
    request.env = vec![("A".into(), "1".into())];
    let ran = run(&mut stage, request).await;
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.retain(|line| !line.starts_with("HOME="));
    assert_eq!(lines, ["A=1"]);
    stage.stop().await;
}

#[tokio::test]
async fn the_folders_of_the_slot_are_mounted_under_pfs() {
    let fixture = DockerFixture::new();
    std::fs::write(fixture.dirs.inputs.join("a.txt"), "alpha").unwrap();
    let mut stage = fixture.start().await;
    let ran = tool_run(&mut stage, &["read", "/pfs/.scratch/a.txt"]).await;
    assert_eq!(ran.out, "alpha");

    // The container sees changes that the worker makes between commands.
    std::fs::remove_file(fixture.dirs.inputs.join("a.txt")).unwrap();
    std::fs::create_dir(fixture.dirs.inputs.join("d")).unwrap();
    std::fs::write(fixture.dirs.inputs.join("d/b.txt"), "beta").unwrap();
    std::os::unix::fs::symlink(".scratch/d", fixture.dirs.pfs.join("in")).unwrap();
    let ran = tool_run(&mut stage, &["read", "/pfs/in/b.txt"]).await;
    assert_eq!(ran.out, "beta");

    let ran = tool_run(&mut stage, &["write", "/pfs/in/b.txt", "x"]).await;
    assert_eq!(ran.outcome, RunOutcome::Exited(1));
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);

    let ran = tool_run(&mut stage, &["write", "/pfs/out/r", "result"]).await;
    assert_eq!(ran.outcome, RunOutcome::Exited(0));
    let result = std::fs::read_to_string(fixture.dirs.pfs.join("out/r")).unwrap();
    assert_eq!(result, "result");
    stage.stop().await;
}

#[tokio::test]
async fn links_into_the_image_are_replaced_by_their_targets() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let out = fixture.dirs.pfs.join("out");
    for (name, target) in [("file", "/tool"), ("dangling", "/no/such/file"), ("root", "/")] {
        std::os::unix::fs::symlink(target, out.join(name)).unwrap();
    }
    let mut request = tool_request(&[]);
    request.argv = vec![stage.init().to_owned(), COPY_LINKS.to_owned()];
    for (name, expected) in [
        ("file", ""),
        (
            "dangling",
            "link at /pfs/out/dangling: its target /no/such/file does not exist",
        ),
        (
            "root",
            "link at /pfs/out/root: its target / leads back to a folder above it",
        ),
    ] {
        request.stdin = Some(format!("/pfs/out/{name}").into_bytes());
        let ran = run(&mut stage, request.clone()).await;
        assert_eq!(ran.err, expected);
        assert_eq!(ran.outcome, RunOutcome::Exited(i32::from(!expected.is_empty())));
    }
    assert!(!out.join("file").is_symlink());
    let expected = std::fs::read(support::tool()).unwrap();
    assert!(std::fs::read(out.join("file")).unwrap() == expected);

    // A file that the datum's user may not read is not copied.
    std::os::unix::fs::symlink("/.howdah/run/../../proc/1/environ", out.join("secret")).unwrap();
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o777)).unwrap();
    request.user = Some("1234:1234".to_owned());
    request.stdin = Some(b"/pfs/out/secret".to_vec());
    let ran = run(&mut stage, request).await;
    assert_eq!(ran.outcome, RunOutcome::Exited(1));
    assert!(ran.err.contains("Permission denied"), "{}", ran.err);
    stage.stop().await;
}

#[tokio::test]
async fn large_input_and_output_pass_unchanged() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let text = "line\n".repeat(400_000);
    let mut request = tool_request(&["cat"]);
    request.stdin = Some(text.clone().into_bytes());
    assert!(run(&mut stage, request).await.out == text);
    // Without input, the first read is the end of file.
    assert_eq!(tool_run(&mut stage, &["cat"]).await.out, "");
    assert_eq!(tool_run(&mut stage, &["flood", "20000"]).await.out.len(), 20_000_000);
    stage.stop().await;
}

#[tokio::test]
async fn errors_contain_a_missing_command() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let mut request = tool_request(&[]);
    request.argv = vec!["/train".into()];
    let ran = run(&mut stage, request.clone()).await;
    let expected = "/train: not found in the image".to_owned();
    assert_eq!(ran.outcome, RunOutcome::SpawnFailed(expected));
    request.argv = vec!["sh".into()];
    let RunOutcome::SpawnFailed(text) = run(&mut stage, request).await.outcome else {
        panic!("it started")
    };
    assert!(text.starts_with("sh: not found in the image (looked in PATH"), "{text}");
    assert_eq!(tool_run(&mut stage, &[]).await.outcome, RunOutcome::Exited(0));
    stage.stop().await;
}

#[tokio::test]
async fn a_time_limit_kills_and_the_stage_stays_usable() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let mut request = tool_request(&["hang"]);
    request.timeout = Some(Duration::from_millis(200));
    let ran = run(&mut stage, request).await;
    assert_eq!(ran.outcome, RunOutcome::TimedOut);
    assert_eq!(ran.out, "hanging\n");
    assert_eq!(tool_run(&mut stage, &[]).await.outcome, RunOutcome::Exited(0));
    stage.stop().await;
}

#[tokio::test]
async fn cancelling_kills_and_the_stage_stays_usable() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let cancel = CancellationToken::new();
    // Cancelled with the first output, when the command certainly runs.
    let mut sink = |_: Stream, _: &[u8]| cancel.cancel();
    let outcome = stage.run(tool_request(&["hang"]), &mut sink, &cancel).await.unwrap();
    assert_eq!(outcome, RunOutcome::Cancelled);
    assert_eq!(tool_run(&mut stage, &[]).await.outcome, RunOutcome::Exited(0));
    // Output without a pause does not delay the cancellation.
    let cancel = CancellationToken::new();
    let mut sink = |_: Stream, _: &[u8]| cancel.cancel();
    let flood = tool_request(&["flood", &u64::MAX.to_string()]);
    let outcome = stage.run(flood, &mut sink, &cancel).await.unwrap();
    assert_eq!(outcome, RunOutcome::Cancelled);
    // Cancelled before the start.
    let outcome = stage
        .run(tool_request(&["hang"]), &mut |_, _| {}, &cancel)
        .await
        .unwrap();
    assert_eq!(outcome, RunOutcome::Cancelled);
    stage.stop().await;
}

#[tokio::test]
async fn no_process_of_a_command_outlives_it() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let ran = tool_run(&mut stage, &["background"]).await;
    assert_eq!(ran.outcome, RunOutcome::Exited(0));
    // Process 1 is stage-init, the other one is the tool that prints the list.
    let ran = tool_run(&mut stage, &["processes"]).await;
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    stage.stop().await;
}

#[tokio::test]
async fn temporary_folders_are_emptied_before_a_command_that_asks_for_it() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let mut write = tool_request(&["write", "/dev/shm/secret", "x"]);
    write.empty_first = true;
    assert_eq!(run(&mut stage, write).await.outcome, RunOutcome::Exited(0));
    // An error handler sees the files of the command.
    assert_eq!(tool_run(&mut stage, &["read", "/dev/shm/secret"]).await.out, "x");
    let mut read = tool_request(&["open", "/dev/shm/secret"]);
    read.empty_first = true;
    assert_eq!(run(&mut stage, read).await.out, "entity not found\n");
    stage.stop().await;
}

#[tokio::test]
async fn commands_run_as_their_user_and_output_belongs_to_it() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let mut request = tool_request(&["ids"]);
    request.user = Some("4711:4712".into());
    assert_eq!(run(&mut stage, request.clone()).await.out, "4711\n4712\n");
    request.argv = tool_request(&["write", "/pfs/out/mine", "x"]).argv;
    assert_eq!(run(&mut stage, request.clone()).await.outcome, RunOutcome::Exited(0));
    let made = std::fs::metadata(fixture.dirs.pfs.join("out/mine")).unwrap();
    let own = std::fs::metadata("/proc/self").unwrap();
    let expected = if own.uid() == 0 { 4711 } else { own.uid() };
    assert_eq!(made.uid(), expected);

    request.user = Some("nobody".into());
    let RunOutcome::SpawnFailed(text) = run(&mut stage, request).await.outcome else {
        panic!("it started")
    };
    assert!(text.contains("\"nobody\"") && text.contains("/etc/passwd"), "{text}");
    stage.stop().await;
}

#[tokio::test]
async fn the_container_has_the_requested_settings() {
    let fixture = DockerFixture::new();
    let mut request = fixture.request().await;
    request.labels.insert("howdah.pipeline".into(), "default/edges".into());
    request.memory_bytes = Some(64 << 20);
    request.cpus = Some(0.5);
    request.network = Network::None;
    let mut stage = fixture.runtime.start(&request).await.unwrap();
    let [id] = &fixture.containers()[..] else {
        panic!("expected one container")
    };
    let found = inspect(id);
    let name = found["Name"].as_str().unwrap();
    assert!(name.starts_with("/howdah-default-edges-v1-"), "{name}");
    assert_eq!(found["Config"]["Labels"]["howdah.pipeline"], "default/edges");
    let host = &found["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["NetworkMode"], "none");
    assert_eq!(host["LogConfig"]["Type"], "none");
    assert_eq!(host["AutoRemove"], true);
    let ran = tool_run(&mut stage, &["tcp", "192.0.2.1:9"]).await;
    assert!(ran.out.contains("unreachable"), "{}", ran.out);
    stage.stop().await;
}

#[tokio::test]
async fn user_code_is_contained() {
    let fixture = DockerFixture::new();
    let mut request = fixture.request().await;
    request.user_labels.insert("howdah.worker".into(), "mine".into());
    let mut stage = fixture.runtime.start(&request).await.unwrap();
    let [id] = &fixture.containers()[..] else {
        panic!("expected one container")
    };
    let found = inspect(id);
    assert_eq!(found["Config"]["Labels"]["howdah.user.howdah.worker"], "mine");
    let host = &found["HostConfig"];
    assert_eq!(host["PidsLimit"], 4096);
    assert_eq!(host["NetworkMode"], "howdah-stages");

    let status = tool_run(&mut stage, &["read", "/proc/self/status"]).await.out;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    let capabilities = u64::from_str_radix(&field("CapBnd"), 16).unwrap();
    // Numbers of sys_chroot, net_raw, mknod, audit_write, setfcap; then of chown, setuid, kill.
    assert_eq!([18, 13, 27, 29, 31].map(|number| capabilities >> number & 1), [0; 5]);
    assert_eq!([0, 7, 5].map(|number| capabilities >> number & 1), [1; 3]);

    // A command is root, and still cannot get at the process behind it.
    assert_eq!(
        tool_run(&mut stage, &["open", "/proc/1/mem"]).await.out,
        "permission denied\n"
    );
    assert_eq!(tool_run(&mut stage, &["ptrace"]).await.out, "error 1\n");
    stage.stop().await;
}

#[tokio::test]
async fn containers_do_not_reach_each_other() {
    let fixture = DockerFixture::new();
    let (mut first, mut second) = (fixture.start().await, fixture.start().await);
    let addresses: Vec<String> = fixture
        .containers()
        .iter()
        .map(|id| inspect(id)["NetworkSettings"]["Networks"]["howdah-stages"]["IPAddress"].clone())
        .map(|address| address.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(addresses.len(), 2);
    for address in &addresses {
        // Each reaches itself, where no program listens, and not the other.
        let target = format!("{address}:9");
        let mut outcomes = Vec::new();
        for stage in [&mut first, &mut second] {
            outcomes.push(tool_run(stage, &["tcp", &target]).await.out);
        }
        let refused = outcomes.iter().filter(|out| out.contains("refused")).count();
        assert_eq!(refused, 1, "{outcomes:?}");
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_killed_container_is_a_lost_stage() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let id = fixture.containers().remove(0);
    let mut sink = |_: Stream, _: &[u8]| {
        sh("docker", &["kill", &id]);
    };
    let never = CancellationToken::new();
    let lost = stage.run(tool_request(&["hang"]), &mut sink, &never).await;
    let Err(RuntimeError::StageLost { what, .. }) = lost else {
        panic!("{lost:?}")
    };
    assert!(what.contains("in the middle of a command"), "{what}");
    assert!(!stage.alive().await);
    stage.stop().await;
    assert_eq!(fixture.containers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_whose_future_is_dropped_makes_the_stage_unusable() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    let (started, has_started) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let mut sink = |_: Stream, _: &[u8]| {
        if let Some(started) = started.take() {
            started.send(()).unwrap();
        }
    };
    let never = CancellationToken::new();
    tokio::select! {
        ended = stage.run(tool_request(&["hang"]), &mut sink, &never) => panic!("{ended:?}"),
        _ = has_started => {}
    }
    assert!(!stage.alive().await);
    let again = stage.run(tool_request(&[]), &mut |_, _| {}, &never).await;
    assert!(matches!(again, Err(RuntimeError::StageLost { .. })), "{again:?}");
    stage.stop().await;
}

#[tokio::test]
async fn orphans_are_found_by_their_scratch_folder() {
    let earlier = DockerFixture::new();
    let other = DockerFixture::new();
    let stage = earlier.start().await;
    let others = other.start().await;
    // The container of a killed worker usually ends by itself, when the connection closes. This
    // connection stays open, as if the container hung.
    let same_scratch = runtime_over(earlier.scratch.path(), Credentials::default());
    same_scratch.cleanup_orphans().await.unwrap();
    assert_eq!(earlier.containers(), Vec::<String>::new());
    assert_eq!(other.containers().len(), 1);
    same_scratch.cleanup_orphans().await.unwrap();
    stage.stop().await;
    others.stop().await;
}

#[tokio::test]
async fn a_dropped_stage_removes_its_container() {
    let fixture = DockerFixture::new();
    drop(fixture.start().await);
    let start = Instant::now();
    while !fixture.containers().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "the container still exists");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_scratch_folder_may_have_a_long_path() {
    let fixture = DockerFixture::new();
    let deep = fixture.scratch.path().join("x".repeat(120)).join("y".repeat(120));
    let mut request = fixture.request().await;
    request.dirs = slot_dirs(&deep);
    let mut stage = fixture.runtime.start(&request).await.unwrap();
    assert_eq!(tool_run(&mut stage, &[]).await.outcome, RunOutcome::Exited(0));
    // The socket file is removed, so no other process can connect.
    assert_eq!(std::fs::read_dir(&request.dirs.run).unwrap().count(), 0);
    stage.stop().await;
}

#[tokio::test]
async fn a_local_image_is_pinned_by_its_id() {
    let fixture = DockerFixture::new();
    let pin = fixture.runtime.resolve(support::image(), None).await.unwrap();
    assert_eq!(pin.reference, support::image());
    let output = sh(
        "docker",
        &[
            "image",
            "inspect",
            "--format",
            "{{.Id}} {{.RepoDigests}}",
            support::image(),
        ],
    );
    let known = String::from_utf8(output.stdout).unwrap();
    assert!(known.contains(&pin.digest), "{known} lacks {}", pin.digest);

    // An image that neither this machine nor a registry has.
    let gone = ImagePin {
        reference: "127.0.0.1:1/howdah-test/gone:1".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
    };
    let mut request = fixture.request().await;
    request.image = gone;
    let error = fixture.runtime.start(&request).await.err().unwrap();
    assert!(matches!(error, RuntimeError::PullFailed { .. }), "{error:?}");
    assert!(!error.is_users_fault());
}

#[tokio::test]
async fn a_pulled_image_is_pinned_by_the_digest_of_the_registry() {
    let registry = Registry::start(None).await;
    let fixture = DockerFixture::new();
    let image = format!("{}/team/tool:1", registry.host);
    let first = registry.publish("team/tool", "1", "first");
    let pin = fixture.runtime.resolve(&image, None).await.unwrap();
    assert_eq!(
        (pin.reference.as_str(), pin.digest.as_str()),
        (image.as_str(), first.as_str())
    );

    // The tag moves to another image and this machine loses the first one. The pin still means the
    // first one.
    registry.publish("team/tool", "1", "second");
    sh("docker", &["rmi", "--force", &image]);
    let by_digest = format!("{}/team/tool@{first}", registry.host);
    let _ = std::process::Command::new("docker").args(["rmi", &by_digest]).output();
    let stage = fixture.start_image(pin).await;
    assert!(stage.image_env().contains(&("VERSION".into(), "first".into())));
    stage.stop().await;
    let pin = fixture.runtime.resolve(&by_digest, None).await.unwrap();
    assert_eq!(pin.digest, first);
    sh("docker", &["rmi", "--force", &by_digest]);
}

#[tokio::test]
async fn errors_contain_an_image_that_the_registry_does_not_have() {
    let registry = Registry::start(None).await;
    registry.publish("team/tool", "1", "only");
    let fixture = DockerFixture::new();
    let image = format!("{}/team/tool:2", registry.host);
    let error = fixture.runtime.resolve(&image, None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::ImageNotFound { .. }), "{error:?}");
    assert!(error.is_users_fault());
    let text = error.to_string();
    assert!(text.contains(&image) && text.contains("\"2\""), "{text}");

    let error = fixture.runtime.resolve("Not An Image", None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::BadReference { .. }), "{error:?}");
}

#[tokio::test]
async fn a_private_registry_requires_the_right_login() {
    let registry = Registry::start(Some("user:secret")).await;
    registry.publish("team/private", "1", "x");
    let image = format!("{}/team/private:1", registry.host);
    let login = |password: &str| RegistryAuth {
        username: "user".into(),
        password: password.into(),
        ..RegistryAuth::default()
    };

    let stranger = DockerFixture::new();
    let error = stranger.runtime.resolve(&image, None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::PullDenied { .. }), "{error:?}");
    assert!(error.to_string().contains("docker login"), "{error}");
    let wrong = stranger.runtime.resolve(&image, Some(login("wrong"))).await;
    let error = wrong.unwrap_err();
    assert!(matches!(error, RuntimeError::PullDenied { .. }), "{error:?}");
    assert!(error.to_string().contains("refuses"), "{error}");

    // With the credentials of the pipeline.
    stranger.runtime.resolve(&image, Some(login("secret"))).await.unwrap();
    sh("docker", &["rmi", "--force", &image]);

    // With the file of `docker login`: base64 of user:secret.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let config = serde_json::json!({"auths": {&registry.host: {"auth": "dXNlcjpzZWNyZXQ="}}});
    std::fs::write(&file, config.to_string()).unwrap();
    let friend = DockerFixture::with_credentials(Credentials {
        config_file: Some(file),
        ..Credentials::default()
    });
    friend.runtime.resolve(&image, None).await.unwrap();
    sh("docker", &["rmi", "--force", &image]);
}

#[tokio::test]
async fn an_engine_that_starts_after_an_error_is_found() {
    let scratch = tempfile::tempdir().unwrap();
    let socket: PathBuf = scratch.path().join("engine.sock");
    let config = howdah_worker::runtime::docker::DockerConfig {
        scratch: scratch.path().to_owned(),
        host: Some(format!("unix://{}", socket.display())),
        credentials: Credentials::default(),
        scratch_on_engine: None,
        containment: Containment::default(),
    };
    let runtime = howdah_worker::runtime::docker::DockerRuntime::new(config);
    let error = runtime.cleanup_orphans().await.unwrap_err();
    assert!(matches!(error, RuntimeError::EngineUnavailable { .. }), "{error:?}");
    std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap();
    runtime.cleanup_orphans().await.unwrap();
    assert_eq!(runtime.check().await.unwrap(), format!("unix://{}", socket.display()));
}

#[tokio::test]
async fn several_stages_start_concurrently() {
    let fixture = DockerFixture::new();
    let mut requests = Vec::new();
    for i in 0..3 {
        let mut request = fixture.request().await;
        request.dirs = slot_dirs(&fixture.scratch.path().join(i.to_string()));
        requests.push(request);
    }
    let starts = requests.iter().map(|request| fixture.runtime.start(request));
    let mut stages = futures::future::try_join_all(starts).await.unwrap();
    for stage in &mut stages {
        assert_eq!(tool_run(stage, &[]).await.outcome, RunOutcome::Exited(0));
    }
    assert_eq!(fixture.containers().len(), 3);
    futures::future::join_all(stages.into_iter().map(|stage| stage.stop())).await;
    assert_eq!(fixture.containers().len(), 0);
}

/// Prints the time of a command (visible with `--nocapture`). Fails only for a time that is far
/// longer than the usual ones.
#[tokio::test]
async fn a_command_costs_about_a_millisecond() {
    let fixture = DockerFixture::new();
    let mut stage = fixture.start().await;
    for _ in 0..20 {
        tool_run(&mut stage, &[]).await;
    }
    let mut times = Vec::new();
    for _ in 0..300 {
        let start = Instant::now();
        let ran = tool_run(&mut stage, &[]).await;
        times.push(start.elapsed());
        assert_eq!(ran.outcome, RunOutcome::Exited(0));
    }
    times.sort();
    println!(
        "round trip: median {:?}, best {:?}, 90 % {:?}",
        times[150], times[0], times[270]
    );
    assert!(
        times[0] < Duration::from_millis(20),
        "even the best took {:?}",
        times[0]
    );
    stage.stop().await;
}

#[tokio::test]
async fn stage_init_is_executable_by_every_user() {
    let fixture = DockerFixture::new();
    let stage = fixture.start().await;
    let bin = fixture.scratch.path().join("bin");
    let [program] = &std::fs::read_dir(bin).unwrap().collect::<Vec<_>>()[..] else {
        panic!("expected one program")
    };
    let meta = program.as_ref().unwrap().metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o755);
    stage.stop().await;
}
