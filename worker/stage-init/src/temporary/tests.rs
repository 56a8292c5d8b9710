use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

/// The walk changes the current directory, which all threads of the test program share.
static CURRENT_DIRECTORY: Mutex<()> = Mutex::new(());

/// A temporary folder with `image` (a folder of the image) and `beside`, removed at the end of the test.
struct TestFolder {
    root: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl TestFolder {
    fn new(name: &str) -> Self {
        let alone = CURRENT_DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
        let root = std::env::temp_dir().join(format!("howdah-temporary-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("tmp/of-image/deep")).unwrap();
        fs::write(root.join("tmp/of-image/deep/file"), "image").unwrap();
        symlink("of-image", root.join("tmp/link-of-image")).unwrap();
        fs::create_dir_all(root.join("beside")).unwrap();
        fs::write(root.join("beside/file"), "beside").unwrap();
        Self {
            root: fs::canonicalize(root).unwrap(),
            _alone: alone,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn list(&self) -> TemporaryFolders {
        let mut listed = TemporaryFolders::list([self.at("tmp"), self.at("absent/tmp")]);
        listed.mark_used();
        listed
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::env::set_current_dir("/");
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn everything_but_the_files_of_the_image_is_removed() {
    let test = TestFolder::new("all");
    let listed = test.list();
    fs::create_dir_all(test.at("tmp/a/b/c")).unwrap();
    fs::write(test.at("tmp/a/b/file"), "secret").unwrap();
    fs::set_permissions(test.at("tmp/a"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(test.at("tmp/of-image/deep/new"), "secret").unwrap();
    symlink(test.at("beside"), test.at("tmp/to-folder")).unwrap();
    symlink("/nowhere", test.at("tmp/a/dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(test.at("tmp/socket")).unwrap();
    for number in 0..3_000 {
        fs::write(test.at(&format!("tmp/many-{number}")), "").unwrap();
    }
    fs::create_dir_all(test.at("absent/tmp/made")).unwrap();
    listed.empty().unwrap();
    let mut left: Vec<OsString> = fs::read_dir(test.at("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["link-of-image", "of-image"]);
    assert_eq!(fs::read_dir(test.at("tmp/of-image/deep")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(test.at("tmp/of-image/deep/file")).unwrap(), "image");
    assert_eq!(
        fs::read_to_string(test.at("beside/file")).unwrap(),
        "beside",
        "links are not followed"
    );
    assert_eq!(fs::read_dir(test.at("absent/tmp")).unwrap().count(), 0);
    listed.empty().unwrap();
}

#[test]
fn nothing_is_removed_before_the_first_command() {
    let test = TestFolder::new("unused");
    let listed = TemporaryFolders::list([test.at("tmp")]);
    fs::write(test.at("tmp/file"), "").unwrap();
    listed.empty().unwrap();
    assert!(test.at("tmp/file").exists());
}

/// A name, what a command does, and why the folder cannot be emptied then.
type ImageChange = (&'static str, fn(&TestFolder), &'static str);

#[test]
fn changes_of_the_image_ask_for_another_container() {
    let changes: [ImageChange; 6] = [
        (
            "content",
            |test| fs::write(test.at("tmp/of-image/deep/file"), "another").unwrap(),
            "a command changed file, which is part of the image",
        ),
        (
            "removed",
            |test| fs::remove_file(test.at("tmp/of-image/deep/file")).unwrap(),
            "a command removed file, which is part of the image",
        ),
        (
            "mode",
            |test| fs::set_permissions(test.at("tmp/of-image"), fs::Permissions::from_mode(0o711)).unwrap(),
            "a command changed of-image, which is part of the image",
        ),
        (
            "link",
            |test| {
                fs::rename(test.at("tmp"), test.at("elsewhere")).unwrap();
                symlink(test.at("beside"), test.at("tmp")).unwrap();
            },
            "a command replaced it by a link",
        ),
        (
            "own mode",
            |test| fs::set_permissions(test.at("tmp"), fs::Permissions::from_mode(0o711)).unwrap(),
            "a command changed its owner or its permissions",
        ),
        (
            "depth",
            |test| {
                let mut deep = test.at("tmp");
                for _ in 0..MAX_DEPTH + 2 {
                    deep.push("d");
                }
                fs::create_dir_all(deep).unwrap();
            },
            "it has folders nested more than 128 levels deep",
        ),
    ];
    for (name, change, expected) in changes {
        let test = TestFolder::new(name);
        let listed = test.list();
        change(&test);
        let error = listed.empty().unwrap_err();
        let start = format!("{} cannot be emptied: ", test.at("tmp").display());
        assert_eq!(error, format!("{start}{expected}"), "{name}");
        assert_eq!(fs::read_to_string(test.at("beside/file")).unwrap(), "beside");
    }
}

#[test]
fn links_of_the_image_are_followed_once_and_never_to_the_system() {
    let test = TestFolder::new("links");
    symlink("tmp", test.at("var-tmp")).unwrap();
    symlink("/proc/self", test.at("odd")).unwrap();
    let mut listed = TemporaryFolders::list([test.at("tmp"), test.at("var-tmp")]);
    assert_eq!(listed.folders.len(), 1);
    listed.mark_used();
    listed.empty().unwrap();
    let mut listed = TemporaryFolders::list([test.at("odd")]);
    listed.mark_used();
    let error = listed.empty().unwrap_err();
    assert!(error.contains("cannot be emptied: it is a link to /proc/"), "{error}");
}
