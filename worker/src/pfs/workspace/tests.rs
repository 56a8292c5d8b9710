//! Tests of workspaces.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns what distinguishes a folder from one made later; inode numbers are reused.
fn birth(folder: &Path) -> std::time::SystemTime {
    fs::metadata(folder).unwrap().created().unwrap()
}

#[test]
fn a_try_finds_nothing_of_the_tries_before() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = Scratch::open(folder.path()).unwrap();
    let mut workspace = Workspace::open(scratch.slot_dirs(0).unwrap(), scratch).unwrap();
    let inputs = DatumInputs::from([(Arc::from("a"), None), (Arc::from("b"), None)]);
    let file = |text: &str| SmallFile {
        input: Arc::from("a"),
        path: "/x/y".into(),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    };
    for (number, writable) in [(1, false), (2, true), (3, false)] {
        workspace.begin(&inputs, writable, "A=1\n").unwrap();
        workspace.write(&[file("one")]).unwrap();
        let pfs = workspace.layout().dirs.pfs.clone();
        let mut expected = vec![".env", ".scratch", "a", "b", "out"];
        if writable {
            expected.insert(2, ".writable");
        }
        assert_eq!(names(&pfs), expected);
        assert_eq!(names(&pfs.join("out")), Vec::<String>::new());
        let home = if writable { ".writable" } else { ".scratch" };
        let link = fs::read_link(pfs.join("a")).unwrap();
        assert_eq!(link, PathBuf::from(format!("{home}/{number}/a")));
        assert_eq!(fs::read(workspace.layout().input_path("a", "/x/y")).unwrap(), b"one");
        // What user code may leave behind.
        fs::write(pfs.join("out/result"), "r").unwrap();
        fs::create_dir_all(pfs.join("rubbish/deep")).unwrap();
        symlink("/etc/passwd", pfs.join("link")).unwrap();
    }
    workspace.clear().unwrap();
    assert_eq!(names(&workspace.layout().dirs.pfs), [".scratch"]);
    assert_eq!(names(&workspace.layout().dirs.inputs), Vec::<String>::new());
}

#[test]
fn folders_are_reused_if_the_command_left_them_as_expected() {
    type Change<'a> = &'a dyn Fn(&Workspace);
    let pfs = |workspace: &Workspace, name: &str| workspace.layout().dirs.pfs.join(name);
    // What user code may do, and whether the folders are reused.
    let cases: [(&str, bool, Change<'_>); 9] = [
        ("nothing", true, &|_| {}),
        ("output", true, &|s| fs::write(s.out().join("o"), "o").unwrap()),
        ("link in the output", true, &|s| {
            symlink("/etc", s.out().join("l")).unwrap()
        }),
        ("folder in the output", false, &|s| {
            fs::create_dir(s.out().join("d")).unwrap()
        }),
        ("closed output", false, &|s| {
            fs::set_permissions(s.out(), fs::Permissions::from_mode(0o500)).unwrap();
        }),
        ("something in /pfs", false, &|s| fs::write(pfs(s, "x"), "x").unwrap()),
        ("another link", false, &|s| {
            fs::remove_file(pfs(s, "a")).unwrap();
            symlink("/etc", pfs(s, "a")).unwrap();
        }),
        ("variables linked", false, &|s| {
            fs::remove_file(pfs(s, ".env")).unwrap();
            symlink("/dev/null", pfs(s, ".env")).unwrap();
        }),
        ("variables hidden", false, &|s| {
            fs::set_permissions(pfs(s, ".env"), fs::Permissions::from_mode(0o200)).unwrap();
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    let scratch = Scratch::open(folder.path()).unwrap();
    let inputs = DatumInputs::from([(Arc::from("a"), None)]);
    let file = |path: &str| SmallFile {
        input: Arc::from("a"),
        path: path.into(),
        bytes: Bytes::from_static(b"bytes"),
    };
    for (name, is_reused, change) in cases {
        let mut workspace = Workspace::open(scratch.slot_dirs(0).unwrap(), scratch.clone()).unwrap();
        workspace.begin(&inputs, false, "A=long value\n").unwrap();
        workspace
            .write(&[file("/x/y/one"), file("/x/two"), file("/three")])
            .unwrap();
        change(&workspace);
        let before = workspace.layout().inputs();
        let out = birth(&workspace.out());
        workspace.begin(&inputs, false, "A=1\n").unwrap();
        assert_eq!(birth(&workspace.out()) == out, is_reused, "{name}");
        assert_eq!(
            workspace.layout().inputs(),
            before,
            "{name}: commands cannot write to inputs"
        );
        assert_eq!(
            names(&workspace.layout().dirs.pfs),
            [".env", ".scratch", "a", "out"],
            "{name}"
        );
        assert_eq!(names(&workspace.out()), Vec::<String>::new(), "{name}");
        assert_eq!(names(&workspace.layout().inputs()), ["a"], "{name}");
        assert_eq!(
            names(&workspace.layout().inputs().join("a")),
            Vec::<String>::new(),
            "{name}"
        );
        assert_eq!(fs::read(pfs(&workspace, ".env")).unwrap(), b"A=1\n", "{name}");
    }
}

#[test]
fn a_late_file_of_a_failed_try_does_not_reach_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = Scratch::open(folder.path()).unwrap();
    let mut workspace = Workspace::open(scratch.slot_dirs(0).unwrap(), scratch).unwrap();
    let folder_of_commit = CommitFolder {
        path: "/".into(),
        root: howdah_model::ids::TreeRoot::new([1; 32]),
    };
    let inputs = DatumInputs::from([(Arc::from("a"), Some(folder_of_commit))]);
    workspace.begin(&inputs, false, "").unwrap();
    let late = workspace.expect_file("a", "/late").unwrap().shown();
    workspace.forget();
    assert!(workspace.begin(&inputs, false, "").unwrap().is_empty());
    fs::create_dir_all(late.parent().unwrap()).unwrap();
    fs::write(&late, "late").unwrap();
    assert_eq!(names(&workspace.layout().inputs().join("a")), Vec::<String>::new());
    // The next clearing removes it.
    workspace.clear().unwrap();
    assert_eq!(names(&workspace.layout().dirs.inputs), Vec::<String>::new());
}

#[test]
fn names_and_paths_that_lead_out_of_the_inputs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = Scratch::open(folder.path()).unwrap();
    let mut workspace = Workspace::open(scratch.slot_dirs(0).unwrap(), scratch).unwrap();
    let long = "x".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "../../../x",
        "/etc",
        "a/b",
        "a\0b",
        "out",
        ".env",
        ".scratch",
        &long,
    ] {
        let inputs = DatumInputs::from([(Arc::from(name), None)]);
        let error = workspace.begin(&inputs, false, "").unwrap_err();
        assert!(error.is_about_a_name(), "{name:?}: {error}");
    }
    for writable in [false, true] {
        let inputs = DatumInputs::from([(Arc::from("a"), None)]);
        workspace.begin(&inputs, writable, "").unwrap();
        for path in [
            "/../../x",
            "/..",
            "/a/../../../x",
            "",
            "/",
            "/a\0b",
            &format!("/{long}"),
        ] {
            let file = SmallFile {
                input: Arc::from("a"),
                path: path.into(),
                bytes: Bytes::from_static(b"x"),
            };
            let error = workspace.write(&[file]).unwrap_err();
            assert!(error.is_about_a_name(), "{path:?}: {error}");
            assert!(workspace.remove("a", &[path.into()]).is_err(), "{path:?}");
            assert!(workspace.expect_file("a", path).is_err(), "{path:?}");
        }
    }
}

#[test]
fn links_that_a_process_plants_in_pfs_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    let folder = tempfile::tempdir().unwrap();
    let scratch = Scratch::open(folder.path()).unwrap();
    let inputs = DatumInputs::from([(Arc::from("a"), None)]);
    let plant: [&dyn Fn(&Workspace); 4] = [
        &|workspace| {
            let writable = workspace.layout().dirs.pfs.join(".writable");
            let _ = fs::rename(&writable, outside.path().join("aside"));
            symlink(outside.path(), writable).unwrap();
        },
        &|workspace| {
            let own = workspace.layout().inputs().join("a");
            fs::rename(&own, outside.path().join("aside")).unwrap();
            symlink(outside.path(), own).unwrap();
        },
        &|workspace| {
            let deep = workspace.layout().inputs().join("a/d");
            symlink(outside.path(), deep).unwrap();
        },
        &|workspace| {
            let out = workspace.out();
            fs::remove_dir_all(&out).unwrap();
            symlink(outside.path(), out).unwrap();
        },
    ];
    for (number, plant) in plant.iter().enumerate() {
        fs::write(&victim, "untouched").unwrap();
        let mut workspace = Workspace::open(scratch.slot_dirs(0).unwrap(), scratch.clone()).unwrap();
        workspace.begin(&inputs, true, "").unwrap();
        plant(&workspace);
        let file = |path: &str| SmallFile {
            input: Arc::from("a"),
            path: path.into(),
            bytes: Bytes::from_static(b"written"),
        };
        let _ = workspace.write(&[file("/victim"), file("/d/victim"), file("/d/new")]);
        workspace.clear().unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched", "plan {number}");
        let found = names(outside.path());
        assert!(
            found.iter().all(|name| name == "victim" || name == "aside"),
            "plan {number}: {found:?}"
        );
        let _ = fs::remove_dir_all(outside.path().join("aside"));
    }
}
