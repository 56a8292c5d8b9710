//! Specs of test pipelines, and the image of their program `testbox`.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::tools::in_path;

/// The static program, compiled by `build.rs`.
const TESTBOX: &[u8] = include_bytes!(env!("HOWDAH_TEST_BOX"));

/// Name of the program in its image.
pub const PROGRAM: &str = "/testbox";

/// Returns the image of `testbox` and builds it if it does not exist. Its tag changes with the program.
///
/// # Panics
/// When it cannot be built.
pub fn testbox_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        // FNV-1a is enough to distinguish versions of one program.
        let hash = TESTBOX.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let image = format!("howdah-test/testbox:{hash:016x}");
        // Each test is a separate process: the first one builds the image, the others wait for the lock.
        let lock = std::env::temp_dir().join("howdah-test-image.lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .expect("the folder for temporary files is writable");
        let _lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .expect("a file can be locked");
        if !image_exists(&image) {
            build_image(&image);
        }
        image
    })
}

fn build_image(image: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let program = folder.path().join("testbox");
    std::fs::write(&program, TESTBOX).expect("the program can be written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    // The image has one ordinary user, an environment variable and a working directory, for tests of these.
    std::fs::write(
        folder.path().join("passwd"),
        "root:x:0:0::/:\nworker:x:1234:4321::/home:\n",
    )
    .expect("a file");
    std::fs::write(folder.path().join("group"), "root:x:0:\nstaff:x:4321:\n").expect("a file");
    let dockerfile =
        "FROM scratch\nCOPY testbox /testbox\nCOPY passwd group /etc/\nENV FROM_IMAGE=yes\nWORKDIR /home\n";
    std::fs::write(folder.path().join("Dockerfile"), dockerfile).expect("a file");
    docker(&["build", "--quiet", "--tag", image, &folder.path().display().to_string()]);
}

/// Runs the docker command, which must succeed.
///
/// # Panics
/// When it fails, or when there is no Docker engine.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new(in_path("docker"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("docker can be started");
    assert!(
        output.status.success(),
        "docker {arguments:?} failed (is a Docker engine running? `make setup` starts one): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns whether the engine has an image.
#[must_use]
pub fn image_exists(image: &str) -> bool {
    let mut command = Command::new(in_path("docker"));
    command
        .args(["image", "inspect", image])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().expect("docker can be started").success()
}

/// Returns the spec of a pipeline that runs `testbox` with the given actions.
#[expect(clippy::needless_pass_by_value, reason = "every caller makes the input in place")]
#[must_use]
pub fn spec(name: &str, actions: &[&str], input: Value) -> Value {
    let mut command = vec![PROGRAM];
    command.extend(actions);
    json!({"pipeline": {"name": name}, "transform": {"image": testbox_image(), "cmd": command}, "input": input})
}

/// Returns an input: the files of a repo that match a glob.
#[must_use]
pub fn pfs(repo: &str, glob: &str) -> Value {
    json!({"pfs": {"repo": repo, "glob": glob}})
}

/// Returns a spec with `extra` merged into it, object by object.
#[must_use]
pub fn with(mut spec: Value, extra: Value) -> Value {
    merge(&mut spec, extra);
    spec
}

fn merge(target: &mut Value, extra: Value) {
    match (target, extra) {
        (Value::Object(target), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, extra) => *target = extra,
    }
}
