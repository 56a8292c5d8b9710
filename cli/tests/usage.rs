//! Command lines that need no server, run through the real program with a scrubbed environment.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The result of one run of the program.
#[must_use]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A home folder for one test, and the name that the program is called by.
struct Home {
    folder: TempDir,
    program: &'static str,
}

impl Home {
    fn new(program: &'static str) -> Home {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join(program);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_howdah"), link).expect("a link");
        Home { folder, program }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &str) -> Run {
        self.run_with(arguments, "", &[])
    }

    fn run_with(&self, arguments: &str, input: &str, variables: &[(&str, &str)]) -> Run {
        let mut child = Command::new(self.path().join(self.program))
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            // Nothing listens on port 1.
            .env("PACHD_ADDRESS", "127.0.0.1:1")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        // An error means that the program ended without reading its input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Run {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs a command that must fail and returns its standard error.
    fn fails(&self, arguments: &str) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(1), "{arguments}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "", "{arguments}");
        run.stderr
    }

    /// Runs a command that must succeed and returns its standard output.
    fn prints(&self, arguments: &str) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments}: {}", run.stderr);
        assert_eq!(run.stderr, "", "{arguments}");
        run.stdout
    }
}

#[test]
fn help_of_the_main_verbs() {
    let home = Home::new("howdah");
    for (name, arguments) in [
        ("main", ""),
        ("create", "create"),
        ("put_file", "put file --help"),
        ("get_file", "get file -h"),
        ("list_commit", "list commit --help"),
        ("list_job", "list job --help"),
        ("create_pipeline", "create pipeline --help"),
        ("logs", "logs --help"),
    ] {
        insta::assert_snapshot!(format!("help_{name}"), home.prints(arguments));
    }
}

#[test]
fn help_names_the_program_as_it_was_called() {
    let home = Home::new("pachctl");
    let help = home.prints("list repo --help");
    assert!(help.contains("Usage: pachctl list repo"), "{help}");
    assert!(!help.contains("howdah"), "{help}");
    assert!(home.prints("").contains("pachctl"));
}

#[test]
fn a_verb_or_a_noun_alone_prints_help() {
    let home = Home::new("howdah");
    assert!(home.prints("list").contains("List repos"));
    assert!(home.prints("list --verbose").contains("List repos"));
    assert!(home.prints("repos").contains("howdah create repo"));
    assert!(home.prints("config get").contains("active-context"));
    assert_eq!(home.prints("help list repo"), home.prints("list repo --help"));
}

#[test]
fn wrong_numbers_of_arguments_are_counted() {
    let home = Home::new("howdah");
    let first_line = |arguments: &str| home.fails(arguments).lines().next().unwrap_or_default().to_owned();
    assert_eq!(first_line("create repo"), "expected 1 argument, got 0");
    assert_eq!(first_line("create repo a b"), "expected 1 argument, got 2");
    assert_eq!(
        first_line("--verbose create repo a --project p b"),
        "expected 1 argument, got 2"
    );
    assert_eq!(first_line("copy file a@b:c"), "expected 2 arguments, got 1");
    assert_eq!(first_line("list job a b"), "expected 0 to 1 arguments, got 2");
    assert_eq!(first_line("flush commit"), "expected at least 1 argument, got 0");
    assert_eq!(first_line("diff file"), "expected 1 to 2 arguments, got 0");
    assert_eq!(first_line("put-file images"), "expected 2 to 3 arguments, got 1");
    insta::assert_snapshot!(home.fails("inspect job"));
}

#[test]
fn unknown_words_and_flags_are_named() {
    let home = Home::new("howdah");
    let complaints = [
        "lst repo",
        "list rep",
        "creat-repo x",
        "list repo --al",
        "list repo -Z",
        "list repo --type",
        "create secret",
    ];
    let printed: String = complaints
        .iter()
        .map(|line| format!("$ howdah {line}\n{}\n", home.fails(line)))
        .collect();
    insta::assert_snapshot!(printed);
}

#[test]
fn arguments_are_checked_before_anything_is_sent() {
    let home = Home::new("howdah");
    let cases = [
        ("list repo -o json", "cannot set --output (-o) without --raw"),
        (
            "inspect repo images@master",
            "cannot specify a branch, commit or file path",
        ),
        ("create branch images@master -p a@b -t c", "cannot have both provenance"),
        (
            "create branch images@master --trigger-all",
            "trigger conditions need --trigger",
        ),
        ("inspect branch @master", "repo cannot be empty"),
        ("inspect commit images@master:x", "cannot specify a file path"),
        (
            "list commit --all --origin USER images",
            "cannot use --all and --origin together",
        ),
        ("list commit --origin user", "--from and --origin need a repo"),
        (
            "subscribe commit images --new --from master",
            "cannot use --new and --from together",
        ),
        (
            "list job --state success",
            "--state, --input and --history need -x or -p",
        ),
        ("list datum", "must specify either a job or a pipeline spec"),
        ("logs -p edges -j edges@1", "only one of --pipeline (-p) and --job (-j)"),
        ("get file images@master:/ -r", "-r needs -o"),
        (
            "put file images@master",
            "must specify filename when reading data from stdin",
        ),
        ("put file images@master -f missing.csv", "cannot read missing.csv:"),
        ("create pipeline -f x --jsonnet y", "--jsonnet"),
        ("list pipeline --spec --raw", "cannot use --raw and --spec together"),
        ("finish transaction", "no active transaction"),
        ("run-pipeline edges", "`run pipeline` is not supported"),
        ("create-job -f x", "jobs of their own are not supported"),
        ("squash-commit a b", "howdah squash commit ID"),
        ("deploy local", "installation is separate"),
        ("auth whoami", "access control is not activated"),
        ("restart cluster", "not applicable here"),
    ];
    for (arguments, expected) in cases {
        // There is no server, so a check that came after a request would fail with another message.
        let complaint = home.fails(arguments);
        assert!(complaint.contains(expected), "{arguments}: {complaint}");
    }
}

#[test]
fn hints_offer_only_commands_that_work() {
    let home = Home::new("howdah");
    assert_eq!(
        home.fails("run pipeline edges"),
        "`run pipeline` is not supported; `howdah rerun pipeline NAME` runs a pipeline again on its present input\n"
    );
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let home = Home::new("pachctl");
    insta::assert_snapshot!(home.fails("list repo"));
    let run = home.run_with("connect localhost:1 --alias away", "", &[]);
    assert_eq!(run.code, Some(0));
    let run = home.run_with("list repo", "", &[("PACHD_ADDRESS", "")]);
    assert_eq!(run.code, Some(1));
    insta::assert_snapshot!(run.stderr);
}

#[test]
fn contexts_are_made_listed_changed_and_deleted() {
    let home = Home::new("howdah");
    insta::assert_snapshot!(home.prints("connect grpc://hub.example:30650 --alias hub"), @r#"
    Context "hub" points to grpc://hub.example:30650.
    Context "hub" is active now.
    "#);
    assert_eq!(home.prints("config get active-context"), "hub\n");
    assert_eq!(
        home.prints("config list context"),
        "ACTIVE NAME\n       default\n*      hub\n"
    );
    assert_eq!(home.prints("config update context --project vision"), "");
    assert!(
        home.prints("config get context hub")
            .contains("\"project\": \"vision\"")
    );
    assert!(home.fails("config delete context hub").contains("is active"));
    let set = home.run_with(
        "config set context mine",
        "{\"pachd_address\": \"grpc://localhost:1\"}",
        &[],
    );
    assert_eq!((set.code, set.stderr.as_str()), (Some(0), ""));
    let again = home.run_with("config set context mine", "{}", &[]);
    assert!(again.stderr.contains("--overwrite replaces it"), "{}", again.stderr);
    assert_eq!(home.prints("config set active-context mine"), "");
    assert_eq!(home.prints("config delete context hub"), "");
    assert!(home.fails("config set active-context hub").contains("does not exist"));
    assert_eq!(home.prints("config set metrics false"), "");
    assert_eq!(home.prints("config get metrics"), "false\n");
}

/// Makes a home folder with a configuration file.
fn configured(text: &str) -> Home {
    let home = Home::new("howdah");
    std::fs::create_dir(home.path().join(".pachyderm")).expect("made");
    std::fs::write(home.path().join(".pachyderm/config.json"), text).expect("written");
    home
}

#[test]
fn a_configuration_with_null_for_what_is_not_set_works() {
    // As the JupyterLab extension and the Python SDK write it.
    let home = configured(
        r#"{"user_id": "0123456789abcdef0123456789abcdef", "v2": {"active_context": "jupyter-localhost:1",
        "contexts": {"jupyter-localhost:1": {"source": null, "pachd_address": "localhost:1", "server_cas": null,
        "session_token": null, "active_transaction": null, "cluster_name": null, "auth_info": null, "namespace": null,
        "cluster_deployment_id": null, "project": null, "enterprise_server": false, "port_forwarders": null}},
        "metrics": true}}"#,
    );
    assert_eq!(home.prints("config get active-context"), "jupyter-localhost:1\n");
    // The command goes on to the server.
    let run = home.run_with("list repo", "", &[("PACHD_ADDRESS", "")]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .starts_with("cannot connect to grpc://localhost:1 (context \"jupyter-localhost:1\")"),
        "{}",
        run.stderr
    );
    assert_eq!(home.prints("config update context --project vision"), "");
    let context = home.prints("config get context jupyter-localhost:1");
    assert!(context.contains("\"project\": \"vision\""), "{context}");
    let set = home.run_with(
        "config set context mine",
        r#"{"pachd_address": "localhost:2", "server_cas": null, "port_forwarders": null}"#,
        &[],
    );
    assert_eq!((set.code, set.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_configuration_keeps_the_keys_of_other_programs() {
    let home = configured(
        r#"{"theirs": [1], "v2": {"active_context": "a", "new_setting": null,
        "contexts": {"a": {"pachd_address": "localhost:1", "new_field": {"x": "y"}}}}}"#,
    );
    assert_eq!(home.prints("config set metrics false"), "");
    assert_eq!(home.prints("config update context a --project vision"), "");
    let text = std::fs::read_to_string(home.path().join(".pachyderm/config.json")).expect("read");
    let stored: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(stored["theirs"], serde_json::json!([1]));
    assert!(stored["v2"].as_object().expect("an object").contains_key("new_setting"));
    assert_eq!(
        stored["v2"]["contexts"]["a"],
        serde_json::json!({"pachd_address": "localhost:1", "project": "vision", "new_field": {"x": "y"}})
    );
}

#[test]
fn two_sources_for_one_target_are_refused_before_anything_is_sent() {
    let home = Home::new("howdah");
    for file in ["p/x", "q/x", "p/sub/y", "q/sub/y"] {
        let path = home.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, file).expect("written");
    }
    std::fs::write(home.path().join("list"), "p/x\nq/x\n").expect("written");
    let complaint = "two sources for one target: p/x and q/x would both become /x;";
    // There is no server, so a check that came after a request would fail with another message.
    for arguments in [
        "put file data@master -f p/x -f q/x",
        "put file data@master -f p/x,q/x",
        "put file data@master -i list",
        "put file data@master -f p/x -f q/x --split line",
        "put file data@master:/ -r -f p/x -f q/x",
    ] {
        assert!(
            home.fails(arguments).starts_with(complaint),
            "{arguments}: {}",
            home.fails(arguments)
        );
    }
    let below = home.fails("put file data@master:/in/ -f p/x -f q/x");
    assert!(below.contains("p/x and q/x would both become /in/x"), "{below}");
    let folders = home.fails("put file data@master -r -f p/sub -f q/sub");
    assert!(
        folders.contains("p/sub/y and q/sub/y would both become /sub/y"),
        "{folders}"
    );
    for fine in [
        "put file data@master -f p/x -f q/x --full-path",
        "put file data@master -f p/x -f q/x --append",
        "put file data@master -f p/x -f p/x",
        "put-file data master -f p/x -f q/x",
    ] {
        assert!(
            home.fails(fine).starts_with("cannot connect"),
            "{fine}: {}",
            home.fails(fine)
        );
    }
}

#[test]
fn versions_are_printed_without_a_server() {
    let home = Home::new("pachctl");
    assert_eq!(home.prints("version --client-only"), "2.12.2\n");
    let run = home.run("version");
    assert_eq!(run.code, Some(1));
    assert_eq!(
        run.stdout,
        format!(
            "COMPONENT VERSION\npachctl   2.12.2 (Howdah {})\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert!(
        run.stderr.starts_with("cannot connect to grpc://127.0.0.1:1"),
        "{}",
        run.stderr
    );
}

#[test]
fn completion_scripts_are_for_the_called_name() {
    let home = Home::new("pachctl");
    assert!(home.prints("completion bash").contains("_pachctl"));
    assert!(home.prints("completion zsh").contains("#compdef pachctl"));
    assert_eq!(home.prints("completion"), home.prints("completion bash"));
}

#[test]
fn specs_are_validated_without_a_server() {
    let home = Home::new("howdah");
    let good = "{\"pipeline\": {\"name\": \"edges\"}, \"transform\": {\"image\": \"edges:1\", \"cmd\": [\"x\"]}, \
                \"input\": {\"pfs\": {\"repo\": \"images\", \"glob\": \"/*\"}}}";
    let run = home.run_with("validate pipeline", good, &[]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", ""));
    let run = home.run_with("validate pipeline -f -", &good.replace("edges:1", "edges:latest"), &[]);
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.starts_with("warning: "), "{}", run.stderr);
    let run = home.run_with("validate pipeline -f -", &good.replace("\"glob\"", "\"globb\""), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("globb"), "{}", run.stderr);
}

#[test]
fn the_reference_covers_every_command() {
    let reference = Home::new("howdah").prints("help-markdown");
    for command in [
        "create repo",
        "put file",
        "inspect file",
        "rerun pipeline",
        "config update context",
    ] {
        assert!(
            reference.contains(&format!("### `howdah {command}`")),
            "{command} is missing"
        );
    }
}

#[test]
fn control_characters_are_escaped_on_a_terminal_and_kept_in_a_pipe() {
    let home = Home::new("howdah");
    std::fs::create_dir(home.path().join(".pachyderm")).unwrap();
    std::fs::write(
        home.path().join(".pachyderm/config.json"),
        r#"{"v2": {"active_context": "a", "contexts": {"a": {}, "b\u001b]0;title\u0007\u009b": {}}}}"#,
    )
    .unwrap();
    let name = "b\u{1b}]0;title\u{7}\u{9b}";
    assert!(
        home.prints("config list context").contains(name),
        "a pipe gets the text as it is"
    );

    // `script` runs a command on a terminal of its own and prints what the command wrote to it.
    let output = Command::new("script")
        .args([
            "-qec",
            "./howdah config list context; ./howdah config get context no\u{1b}[2Jne",
            "/dev/null",
        ])
        .current_dir(home.path())
        .env_remove("PACH_CONFIG")
        .env("HOME", home.path())
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r"b\u001b]0;title\u0007\u009b"), "{text:?}");
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{text:?}");
}
