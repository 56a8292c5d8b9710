//! Copies of files and folders, into an open commit and into commits of their own.

use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{convert, pfs_v2 as pfs};

use super::files::{paths_in, sample};
use super::{Server, add, head, repo};

/// Makes the step that copies a file or folder of a commit.
fn copied(from: &pfs::Commit, path: &str, to: &str, append: bool) -> Body {
    Body::CopyFile(pfs::CopyFile {
        dst: to.into(),
        datum: String::new(),
        src: Some(convert::file(from.clone(), path)),
        append,
    })
}

/// Reads all files of a commit, in order.
async fn contents(server: &Server, commit: &pfs::Commit) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in paths_in(server, commit, "/**").await {
        if !path.ends_with('/') {
            let bytes = server.get(commit, &path, 0).await.unwrap();
            found.push((path, String::from_utf8(bytes).unwrap()));
        }
    }
    found
}

/// Repeats a test for both ways to write: `commit` is open, or each write makes a commit on the branch.
async fn both_ways(test: impl AsyncFn(&Server, &pfs::Commit)) {
    for open in [false, true] {
        let server = Server::start().await;
        let branch = sample(&server).await;
        let commit = match open {
            true => server.start_commit("images", "master").await.unwrap(),
            false => branch,
        };
        test(&server, &commit).await;
    }
}

/// Compares files with a list of paths and contents.
#[track_caller]
fn assert_files(found: &[(String, String)], expected: &[(&str, &str)]) {
    let found: Vec<_> = found
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_copied_folder_is_merged_file_by_file() {
    both_ways(async |server, commit| {
        server.create_repo("other").await;
        let other = head("other", "master");
        let steps = vec![
            add("/dir/old", "old"),
            add("/dir/file2", "two of other"),
            add("/beside", "b"),
        ];
        server.modify(&other, steps).await.unwrap();
        // From another repo, with and without a slash behind the target: what is not copied stays.
        for target in ["/a", "/a/", "a//"] {
            server
                .modify(commit, vec![copied(&other, "/dir", target, false)])
                .await
                .unwrap();
        }
        let mut expected = vec![
            ("/a/b/file3", "three"),
            ("/a/file2", "two of other"),
            ("/a/old", "old"),
            ("/file1", "one"),
        ];
        assert_files(&contents(server, commit).await, &expected);
        // The root is a folder too, as source and as target.
        server
            .modify(commit, vec![copied(&other, "/", "", false)])
            .await
            .unwrap();
        expected.push(("/dir/file2", "two of other"));
        expected.push(("/dir/old", "old"));
        expected.insert(3, ("/beside", "b"));
        expected.sort_unstable();
        assert_files(&contents(server, commit).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn a_file_is_copied_into_a_folder_that_ends_with_a_slash() {
    both_ways(async |server, commit| {
        let copy = |from: &str, to: &str| server.modify(commit, vec![copied(commit, from, to, false)]);
        copy("/file1", "/a/").await.unwrap();
        copy("/file1", "/new/").await.unwrap();
        copy("/a/file2", "/").await.unwrap();
        copy("/a/b/file3", "").await.unwrap();
        assert_files(
            &contents(server, commit).await,
            &[
                ("/a/b/file3", "three"),
                ("/a/file1", "one"),
                ("/a/file2", "two"),
                ("/file1", "one"),
                ("/file2", "two"),
                ("/file3", "three"),
                ("/new/file1", "one"),
            ],
        );
    })
    .await;
}

#[tokio::test]
async fn a_copy_never_turns_a_folder_into_a_file_or_the_reverse() {
    both_ways(async |server, commit| {
        // Not the commit itself: reading the source would fold its staged edits, with which the copies have to collide.
        let source = convert::commit(repo("images"), "master.1");
        server.modify(commit, vec![add("/flat", "f")]).await.unwrap();
        let mut staged = Vec::new();
        for (from, to, file) in [
            ("/file1", "/staged", "/staged"),
            ("/file1", "/a", "/a"),
            ("/file1", "/a/b", "/a/b"),
            ("/file1", "/file1/below", "/file1"),
            ("/file1", "/flat/", "/flat"),
            ("/a", "/file1", "/file1"),
            ("/a", "/flat", "/flat"),
            ("/a", "/a/file2", "/a/file2"),
        ] {
            for append in [false, true] {
                staged.push(format!("/staged/{:02}", staged.len()));
                server
                    .modify(commit, vec![add(staged.last().unwrap(), "s")])
                    .await
                    .unwrap();
                let steps = vec![add("/fine", "x"), copied(&source, from, to, append)];
                let status = server.modify(commit, steps).await.unwrap_err();
                let expected = format!("file / directory path collision: {file:?} cannot be a file while");
                assert!(status.message().starts_with(&expected), "{from} to {to}: {status}");
            }
        }
        let mut expected = vec![
            ("/a/b/file3", "three"),
            ("/a/file2", "two"),
            ("/file1", "one"),
            ("/flat", "f"),
        ];
        expected.extend(staged.iter().map(|path| (path.as_str(), "s")));
        assert_files(&contents(server, commit).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn a_copy_onto_or_into_itself_copies_what_was_there_before() {
    both_ways(async |server, commit| {
        let before = contents(server, commit).await;
        let steps = vec![
            copied(commit, "/a", "/a", false),
            copied(commit, "/file1", "/file1", false),
            copied(commit, "/", "/", false),
        ];
        server.modify(commit, steps).await.unwrap();
        assert_eq!(contents(server, commit).await, before);
        server
            .modify(commit, vec![copied(commit, "/a", "/a/b", false)])
            .await
            .unwrap();
        server
            .modify(commit, vec![copied(commit, "/file1", "/file1", true)])
            .await
            .unwrap();
        assert_files(
            &contents(server, commit).await,
            &[
                ("/a/b/b/file3", "three"),
                ("/a/b/file2", "two"),
                ("/a/b/file3", "three"),
                ("/a/file2", "two"),
                ("/file1", "oneone"),
            ],
        );
    })
    .await;
}

#[tokio::test]
async fn an_appending_copy_adds_to_the_files_that_exist() {
    both_ways(async |server, commit| {
        let before = convert::commit(repo("images"), "master.1");
        server
            .modify(commit, vec![add("/x/file2", "2+"), add("/x/other", "o")])
            .await
            .unwrap();
        let steps = vec![
            copied(&before, "/a", "/x", true),
            copied(&before, "/file1", "/x/", true),
            copied(&before, "/file1", "/x/other", true),
        ];
        server.modify(commit, steps).await.unwrap();
        assert_files(
            &contents(server, commit).await,
            &[
                ("/a/b/file3", "three"),
                ("/a/file2", "two"),
                ("/file1", "one"),
                ("/x/b/file3", "three"),
                ("/x/file1", "one"),
                ("/x/file2", "2+two"),
                ("/x/other", "oone"),
            ],
        );
    })
    .await;
}
