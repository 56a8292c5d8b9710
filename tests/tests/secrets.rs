//! Values of secrets and passwords of programs: they are nowhere in clear.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use howdah_tests::Up;
use howdah_tests::tools::program;

/// A value, and the same in base64.
const VALUE: &str = "correct-horse-battery-staple";
const ENCODED: &str = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";

/// Returns the files below a folder that contain a text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn values_of_secrets_are_nowhere_in_clear() {
    let mut up = Up::start();
    let client = up.client();
    let manifest = format!(
        r#"{{"kind": "Secret", "apiVersion": "v1", "metadata": {{"name": "db"}},
            "data": {{"a": "{ENCODED}"}}, "stringData": {{"b": "{VALUE}"}}}}"#
    );
    let created = client.run_with(["create", "secret", "-f", "-"], manifest.as_bytes());
    let created = created.expect_ok();
    let data = up.folder.path().join("data");
    let key = data.join("secret.key");
    let key_text = std::fs::read_to_string(&key).expect("a key");
    assert_eq!(
        std::fs::metadata(&key).expect("a key").permissions().mode() & 0o777,
        0o600
    );

    let shown = [
        created.stdout,
        client.ok("list secret"),
        client.ok("inspect secret db"),
        up.process.log(),
    ]
    .concat();
    assert!(shown.contains("db"), "{shown}");
    for hidden in [VALUE, ENCODED, key_text.trim()] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    for hidden in [VALUE, ENCODED] {
        assert_eq!(files_with(up.folder.path(), hidden), Vec::<String>::new());
    }
    assert_eq!(files_with(&data.join("store"), key_text.trim()), Vec::<String>::new());

    // Under another key the program runs; only the values are lost, and it says so.
    assert!(up.process.stop().success());
    std::fs::remove_file(&key).expect("removed");
    up.start_again();
    assert!(client.ok("list secret").contains("db"));
    up.process.wait_for_log("sealed under another key");
    client.ok("delete secret db");
}

#[test]
fn passwords_are_neither_in_help_nor_in_errors() {
    let run = |name: &str, arguments: &[&str]| {
        let output = Command::new(program(name))
            .args(arguments)
            .env("HOWDAH_S3_SECRET_KEY", VALUE)
            .env("HOWDAH_S3_ACCESS_KEY", VALUE)
            .env("HOWDAH_NATS_URL", format!("nats://joe:{VALUE}@127.0.0.1:1"))
            .output()
            .expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    for name in ["howdah-coordinator", "howdah-worker"] {
        for arguments in [
            &["--help"][..],
            &["--store"],
            &["--store", "memory://", "--s3-secret-key-file", "/none"],
        ] {
            let text = run(name, arguments);
            assert!(
                !text.is_empty() && !text.contains(VALUE),
                "{name} {arguments:?}: {text}"
            );
        }
    }
    let text = run("howdah-coordinator", &["--store", "memory://", "--port", "0"]);
    assert!(text.contains("cannot connect to NATS at nats://127.0.0.1:1"), "{text}");
    assert!(!text.contains(VALUE), "{text}");
}

#[test]
fn the_secret_key_of_s3_is_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    let run = |content: &str| {
        std::fs::write(&path, content).expect("written");
        let output = Command::new(program("howdah-coordinator"))
            .args([
                "--store",
                "memory://",
                "--port",
                "0",
                "--nats-url",
                "nats://127.0.0.1:1",
            ])
            .arg("--s3-secret-key-file")
            .arg(&path)
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run("").contains("is empty"), "an empty file is not a key");
    assert!(
        run(&format!("{VALUE}\n")).contains("cannot connect to NATS"),
        "a key is accepted"
    );
}
