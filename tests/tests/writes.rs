//! Writes that must not lose data without a word: copies, archives, several sources, files that are no files.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use howdah_tests::stage::{pfs, spec};
use howdah_tests::tools::in_path;
use howdah_tests::{TestClient, Up};

/// Asserts that a message contains several texts.
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

/// Compares the files of a commit with a list of paths and contents.
#[track_caller]
fn assert_files(client: &TestClient, commit: &str, expected: &[(&str, &str)]) {
    let files = client.files(commit);
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert_eq!(files, expected);
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Makes an archive of a folder with the program `tar`.
fn tar(folder: &Path, arguments: &[&str]) {
    let done = Command::new(in_path("tar"))
        .current_dir(folder)
        .args(arguments)
        .output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn commits(client: &TestClient, branch: &str) -> usize {
    client.raw(&format!("list commit {branch}")).len()
}

#[test]
fn a_copy_keeps_what_is_beside_it() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.ok("create repo other");
    client.put_all("data", &[("new/a", "A"), ("new/sub/b", "B"), ("file", "F")]);
    client.put_all("other", &[("dir/old", "O"), ("dir/a", "old A")]);
    // In a commit that stays open, then in commits of their own.
    client.ok("start commit other@master");
    client.ok("copy file data@master:/new other@master:/dir");
    client.ok("copy file data@master:/file other@master:/dir/");
    client.ok("finish commit other@master");
    let merged = [
        ("/dir/a", "A"),
        ("/dir/file", "F"),
        ("/dir/old", "O"),
        ("/dir/sub/b", "B"),
    ];
    assert_files(&client, "other@master", &merged);
    client.ok("copy file data@master:/new/ other@master:/dir/");
    client.ok("copy file other@master:/dir other@master:/dir");
    assert_files(&client, "other@master", &merged);
    let before = commits(&client, "other@master");

    // Neither a folder becomes a file nor the reverse.
    assert_says(
        &client.fails("copy file data@master:/file other@master:/dir"),
        &["\"/dir\" cannot be a file", "other@master:/dir/"],
    );
    assert_says(
        &client.fails("copy file data@master:/new other@master:/dir/old"),
        &["path collision", "\"/dir/old\" cannot be a file"],
    );
    assert_says(
        &client.fails("copy file data@master:/none other@master:/x"),
        &["/none not found"],
    );
    assert_eq!(commits(&client, "other@master"), before);
    assert_files(&client, "other@master", &merged);

    client.ok("copy file data@master:/new/a other@master:/dir/old --append");
    assert_eq!(client.content("other@master:/dir/old"), "OA");
    // Without a path in the target the copy keeps its own.
    client.ok("copy file data@master:/file other@side");
    client.ok("copy file data@master:/new/ other@side");
    assert_files(
        &client,
        "other@side",
        &[("/file", "F"), ("/new/a", "A"), ("/new/sub/b", "B")],
    );
}

#[test]
fn links_in_archives_and_folders_are_files_or_told() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    let folder = up.folder.path();
    write(folder, "tree/file", "content");
    // Longer than the field of a header.
    let long = format!("/sub/{}/{}", "d".repeat(90), "e".repeat(90));
    write(folder, &format!("tree{long}"), "L");
    std::fs::hard_link(folder.join("tree/file"), folder.join("tree/hard")).unwrap();
    symlink("file", folder.join("tree/soft")).unwrap();
    // A hole in front of the end.
    let sparse = std::fs::File::create(folder.join("tree/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (1 << 20) - 3).unwrap();
    let _socket = UnixListener::bind(folder.join("tree/socket")).unwrap();

    let expect = |commit: &str| {
        let files = client.files(commit);
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/file", "/hard", "/sparse", long.as_str()], "{commit}");
        assert_eq!(
            (files["/file"].as_str(), files["/hard"].as_str()),
            ("content", "content")
        );
        assert_eq!(files[&long], "L");
        assert_eq!(files["/sparse"].len(), 1 << 20);
        assert!(files["/sparse"].ends_with("\0end") && files["/sparse"].starts_with('\0'));
    };
    let told = client.run("put file data@walked:/ -r -f tree").expect_ok().stderr;
    assert_says(
        &told,
        &["2 left out", "tree/soft (symbolic link)", "tree/socket (socket)"],
    );
    expect("data@walked");
    for (branch, name, arguments) in [
        ("gnu", "gnu.tar", &["--format=gnu", "-S", "-cf"][..]),
        ("pax", "pax.tar", &["--format=pax", "-S", "-cf"]),
        ("old", "old.tgz", &["--format=gnu", "-czf"]),
    ] {
        let name = format!("../{name}");
        tar(
            &folder.join("tree"),
            &[arguments, &[name.as_str(), "--exclude=socket", "."]].concat(),
        );
        let told = client
            .run(&format!("put file data@{branch} --untar -f {}", &name[3..]))
            .expect_ok();
        assert_says(&told.stderr, &["1 left out", "/soft (symbolic link)"]);
        expect(&format!("data@{branch}"));
    }

    // Nothing is put of an archive that cannot be put whole.
    tar(folder, &["-cPf", "out.tar", "tree/../tree/file"]);
    assert_says(
        &client.fails("put file data@bad --untar -f out.tar"),
        &["leads out of the archive"],
    );
    let whole = std::fs::read(folder.join("gnu.tar")).unwrap();
    std::fs::write(folder.join("cut.tar"), &whole[..700]).unwrap();
    assert_says(&client.fails("put file data@bad --untar -f cut.tar"), &["cut.tar"]);
    std::fs::write(folder.join("two.tar"), [whole.clone(), whole].concat()).unwrap();
    assert_says(
        &client.fails("put file data@bad --untar -f two.tar"),
        &["after its end mark"],
    );
    assert_says(&client.fails("inspect commit data@bad"), &["not found"]);
}

#[test]
fn two_sources_never_become_one_file() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    let folder = up.folder.path();
    for name in ["p/x", "q/x", "p/deep/y", "q/deep/y"] {
        write(folder, name, name);
    }
    client.put("data@master:/first", "1");
    let refused = |line: &str, parts: &[&str]| {
        assert_says(&client.fails(line), &["two sources for one target"]);
        assert_says(&client.fails(line), parts);
    };
    refused("put file data@master -f p/x -f q/x", &["p/x", "q/x", "/x"]);
    refused(
        "put file data@master:/ -r -f p/deep -f q/deep",
        &["p/deep/y", "q/deep/y"],
    );
    tar(folder, &["-cf", "one.tar", "-C", "p", "x", "deep"]);
    tar(folder, &["-cf", "two.tar", "-C", "q", "deep"]);
    refused(
        "put file data@master --untar -f one.tar -f two.tar",
        &["one.tar/deep/y", "two.tar/deep/y"],
    );
    refused("put file data@master --untar -f q/x -f one.tar", &["q/x", "one.tar/x"]);
    assert_eq!(commits(&client, "data@master"), 1);
    assert_files(&client, "data@master", &[("/first", "1")]);

    client.ok("put file data@master -f p/x -f q/x --append");
    client.ok("put file data@master -f p/x -f q/x --full-path");
    let expected = [("/first", "1"), ("/p/x", "p/x"), ("/q/x", "q/x"), ("/x", "p/xq/x")];
    assert_files(&client, "data@master", &expected);
}

#[test]
fn output_that_is_no_file_is_named_in_the_log() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put("data@master:/a", "1");
    // One socket in the output, and a link to a device of the container.
    client.create(&spec(
        "special",
        &["copy", "socket=sock", "link-to=/dev/null"],
        pfs("data", "/*"),
    ));
    let job = client.last_job("special").expect_success();
    assert_files(&client, "special@master", &[("/a", "1")]);
    let lines = client.ok(&format!("logs -j special@{} --worker", job.id));
    assert_says(
        &lines,
        &["2 left out of the output", "/pfs/out/sock (socket)", "/pfs/out/link"],
    );
}

#[test]
fn a_configuration_of_other_programs_works() {
    let up = Up::start();
    let config = up.folder.path().join("client-config.json");
    // As the JupyterLab extension writes it.
    let text = r#"{"user_id": "0123456789abcdef0123456789abcdef", "v2": {"active_context": "jupyter-localhost:30650",
        "contexts": {"jupyter-localhost:30650": {"source": null, "pachd_address": "localhost:30650", "server_cas": null,
        "session_token": null, "active_transaction": null, "cluster_name": null, "auth_info": null, "namespace": null,
        "cluster_deployment_id": null, "project": null, "enterprise_server": false, "port_forwarders": null,
        "theirs": {"x": null}}}, "metrics": true}}"#;
    std::fs::write(&config, text).unwrap();
    let client = up.client();
    client.ok("create repo data");
    // A transaction is stored in the context.
    client.ok("start transaction");
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    let context = &stored["v2"]["contexts"]["jupyter-localhost:30650"];
    assert_eq!(context["theirs"], serde_json::json!({"x": null}));
    assert!(context["active_transaction"].is_string(), "{context}");
    client.ok("delete transaction");
}
