//! Damaged objects of a folder store: what readers, copies and checks say, and what a repair does.

use std::fs;
use std::path::{Path, PathBuf};

use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{convert, pfs_v2 as pfs};
use howdah_model::{
    Command, Content, ContentHash, DatumCounts, DatumIndex, GlobalId, JobOutcome, JobStats, RepoKey, query,
};
use howdah_store::{FileContent, FileEntry, FileTree, PackWriter, Store, StoreConfig, Tree, TreeEdit};
use tonic::{Code, Status};

use super::pipeline_helpers::{edges_key, with_pipeline_on};
use super::{Server, add, all, head, next};

/// A store in a temporary folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Opens the store with empty caches, as after a restart.
    async fn open(&self) -> Store {
        let url = format!("file://{}", self.0.path().display());
        Store::open(&StoreConfig::new(url)).await.unwrap()
    }

    /// Returns the objects below a prefix.
    fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path().join(prefix)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Returns the only object below a prefix that is not among the known ones.
    fn new_object(&self, prefix: &str, known: &[PathBuf]) -> PathBuf {
        let mut found = self.objects(prefix);
        found.retain(|path| !known.contains(path));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn key(&self, path: &Path) -> String {
        path.strip_prefix(self.0.path()).unwrap().to_str().unwrap().to_owned()
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Makes a fault of an object.
type Harm = fn(&Path);

const HARMS: [Harm; 3] = [flip, truncate, |path| fs::remove_file(path).unwrap()];

/// What a check has found, repaired, and counted.
#[derive(Debug)]
struct Checked {
    errors: Vec<String>,
    fixes: Vec<String>,
    progress: Vec<String>,
}

async fn fsck(server: &Server, deep: bool, fix: bool) -> Checked {
    let request = pfs::FsckRequest {
        deep,
        fix,
        ..Default::default()
    };
    let found = server.client.pfs().fsck(request).await.unwrap().into_inner();
    let found = all(found).await.unwrap();
    let texts = |text: fn(&pfs::FsckResponse) -> &String| {
        let texts = found.iter().map(text).filter(|text| !text.is_empty());
        texts.cloned().collect()
    };
    Checked {
        errors: texts(|found| &found.error),
        fixes: texts(|found| &found.fix),
        progress: texts(|found| &found.progress),
    }
}

async fn get_tar(server: &Server, commit: &pfs::Commit, path: &str) -> Result<Vec<u8>, Status> {
    let request = pfs::GetFileRequest {
        file: Some(convert::file(commit.clone(), path)),
        ..Default::default()
    };
    let stream = server.client.pfs().get_file_tar(request).await?.into_inner();
    Ok(all(stream).await?.concat())
}

#[track_caller]
fn assert_lost(status: &Status, parts: &[&str]) {
    assert_eq!(status.code(), Code::DataLoss, "{status:?}");
    for part in parts {
        assert!(
            status.message().contains(part),
            "{part} is not in: {}",
            status.message()
        );
    }
}

fn copied(from: &pfs::Commit, path: &str, to: &str) -> Body {
    Body::CopyFile(pfs::CopyFile {
        dst: to.into(),
        datum: String::new(),
        src: Some(convert::file(from.clone(), path)),
        append: false,
    })
}

async fn id_of(server: &Server, commit: &pfs::Commit) -> String {
    server.inspect_commit(commit).await.unwrap().commit.unwrap().id
}

#[tokio::test]
async fn damaged_files_are_named_with_their_commit_by_every_reader_and_by_a_deep_check() {
    for harm in HARMS {
        let folder = Folder::new();
        let server = Server::on(folder.open().await).await;
        server.create_repo("images").await;
        let commit = head("images", "master");
        server.put(&commit, "/dir/whole", "this stays").await;
        let known = folder.objects("chunks");
        server
            .modify(
                &commit,
                vec![add("/dir/bad", "this goes"), add("/dir/bad2", "and this")],
            )
            .await
            .unwrap();
        let chunk = folder.new_object("chunks", &known);
        let id = id_of(&server, &commit).await;
        assert_eq!(fsck(&server, true, false).await.errors, Vec::<String>::new());

        harm(&chunk);
        let server = Server::on(folder.open().await).await;
        let (path, key) = ("/dir/bad", folder.key(&chunk));
        assert_eq!(server.get(&commit, "/dir/whole", 0).await.unwrap(), b"this stays");
        for offset in [0, 2] {
            let status = server.get(&commit, path, offset).await.unwrap_err();
            assert_lost(&status, &[path, &id, &key]);
        }
        let status = get_tar(&server, &commit, "/dir").await.unwrap_err();
        assert_lost(&status, &[path, &id, &key]);
        // A copy shares the bytes, so it is no better than the file.
        let steps = vec![copied(&commit, "/dir", "/copy")];
        server.modify(&commit, steps).await.unwrap();
        let copy = id_of(&server, &commit).await;
        let status = server.get(&commit, "/copy/bad", 0).await.unwrap_err();
        assert_lost(&status, &["/copy/bad", &copy, &key]);

        assert_eq!(fsck(&server, false, false).await.errors, Vec::<String>::new());
        let found = fsck(&server, true, false).await;
        let [error] = &found.errors[..] else {
            panic!("{found:?}");
        };
        for part in [&*key, "/dir/bad, ", "/copy/bad", "and 1 more", &*id, &*copy] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(found.progress.last().unwrap().contains(" 6 files "), "{found:?}");
    }
}

#[tokio::test]
async fn damaged_nodes_and_log_records_are_found() {
    let folder = Folder::new();
    let server = Server::on(folder.open().await).await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    server.put(&commit, "/file", "text").await;
    let node = folder.objects("nodes").remove(0);
    let server = Server::on(folder.open().await).await;
    // Damage that comes while the coordinator runs: it has read the log.
    flip(&node);
    let record = folder.objects("meta/log").remove(0);
    flip(&record);
    let status = server.get(&commit, "/file", 0).await.unwrap_err();
    assert_lost(&status, &["/file", &folder.key(&node)]);
    let found = fsck(&server, true, false).await;
    assert_eq!(found.errors.len(), 2, "{found:?}");
    assert!(
        found.errors.iter().any(|error| error.contains(&folder.key(&record))),
        "{found:?}"
    );
    let of_node = found.errors.iter().find(|error| error.contains(&folder.key(&node)));
    assert!(of_node.unwrap().contains("commit default/images@"), "{found:?}");
}

/// Stores files, each with the hash that its record is to have.
async fn forged(store: &Store, files: &[(&str, Vec<u8>)], forge: impl Fn(&mut FileContent)) -> Content {
    let mut writer = PackWriter::new(store);
    for (path, bytes) in files {
        writer.begin(*path).await.unwrap();
        writer.write(bytes).await.unwrap();
    }
    let edits = writer.finish().await.unwrap().into_iter().map(|(path, mut content)| {
        forge(&mut content);
        TreeEdit::put(path.as_bytes().to_vec(), FileEntry::new(content).encode())
    });
    let tree = Tree::empty(store).apply_all(edits.collect::<Vec<_>>()).await.unwrap();
    FileTree::new(store, tree.root()).content().await.unwrap()
}

#[tokio::test]
async fn files_whose_chunks_are_whole_but_not_theirs_are_refused() {
    let folder = Folder::new();
    let server = Server::on(folder.open().await).await;
    server.create_repo("images").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    let large: Vec<u8> = (0..5u32 << 20)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .collect();
    let files = [("/empty", Vec::new()), ("/large", large), ("/small", b"small".to_vec())];
    let wrong = ContentHash::new([7; 32]);
    let content = forged(server.core.store(), &files, |content| content.hash = wrong).await;
    let repo: RepoKey = "default/images".parse().unwrap();
    let key = repo.commit(commit.id.parse().unwrap());
    server
        .submit(Command::SetContent {
            commit: key,
            expected: Content::EMPTY,
            content,
        })
        .await;
    server.finish_commit(&commit).await.unwrap();
    let hash = wrong.to_string();
    for (path, bytes) in &files {
        let request = pfs::GetFileRequest {
            file: Some(convert::file(commit.clone(), *path)),
            ..Default::default()
        };
        let mut stream = server.client.pfs().get_file(request).await.unwrap().into_inner();
        let mut length = 0;
        let status = loop {
            match next(&mut stream).await {
                Some(Ok(piece)) => length += piece.len(),
                Some(Err(status)) => break status,
                None => panic!("{path} was sent without an error"),
            }
        };
        assert_lost(&status, &[path, &commit.id, &hash]);
        // A client never gets all bytes before it gets the error.
        assert!(length < bytes.len().max(1), "{length} bytes of {path}");
        let status = get_tar(&server, &commit, path).await.unwrap_err();
        assert_lost(&status, &[path, &commit.id, &hash]);
    }
    let found = fsck(&server, true, false).await;
    assert!(
        found
            .errors
            .iter()
            .any(|error| error.contains("/empty, /large, /small")),
        "{found:?}"
    );
}

/// Ends a job as the scheduler does, with one output file.
async fn finish_with_output(server: &Server, id: GlobalId) -> Content {
    let job = edges_key().job(id);
    server.submit(Command::StartJob { job: job.clone() }).await;
    let counts = DatumCounts::default();
    let plan = "none".to_owned();
    server
        .submit(Command::PlanJob {
            job: job.clone(),
            plan,
            counts,
        })
        .await;
    let output = forged(server.core.store(), &[("/edge", b"an edge".to_vec())], |_| {}).await;
    server
        .submit(Command::FinishJob {
            job,
            outcome: JobOutcome::Success,
            counts,
            stats: JobStats::default(),
            output: Some(output),
            datums: Some(DatumIndex::default()),
        })
        .await;
    output
}

fn open_job(server: &Server) -> GlobalId {
    let state = server.core.state();
    let mut open = query::open_jobs_of(&state, &edges_key());
    open.next().expect("an open job").key.id
}

#[tokio::test]
async fn damaged_output_is_derived_again() {
    for harm in HARMS {
        let folder = Folder::new();
        let server = with_pipeline_on(folder.open().await).await;
        let id = open_job(&server);
        let known = folder.objects("chunks");
        finish_with_output(&server, id).await;
        let chunk = folder.new_object("chunks", &known);
        let old = pfs::Commit {
            id: id.to_string(),
            ..head("edges", "master")
        };
        harm(&chunk);
        let key = folder.key(&chunk);

        let server = Server::on(folder.open().await).await;
        let found = fsck(&server, true, false).await;
        assert!(found.errors[0].contains("pipelines: default/edges"), "{found:?}");
        let found = fsck(&server, false, true).await;
        assert!(found.errors.iter().any(|error| error.contains(&key)), "{found:?}");
        assert!(
            found.fixes.iter().any(|fix| fix.contains("default/edges processes")),
            "{found:?}"
        );
        assert!(!chunk.exists());
        let again = open_job(&server);
        assert_ne!(again, id);
        // The output is the same as before, so it heals the old commit, too.
        finish_with_output(&server, again).await;
        for commit in [&head("edges", "master"), &old] {
            assert_eq!(server.get(commit, "/edge", 0).await.unwrap(), b"an edge");
        }
        let found = fsck(&server, true, false).await;
        assert_eq!(found.errors, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_users_have_put_is_not_derived_again_but_heals_when_it_is_put_again() {
    let folder = Folder::new();
    let server = with_pipeline_on(folder.open().await).await;
    let chunks = folder.objects("chunks");
    let images = chunks.iter().find(|path| fs::read(path).unwrap().split_at(5).1 == b"1");
    let images = images.expect("the chunk of /one").clone();
    finish_with_output(&server, open_job(&server)).await;
    flip(&images);
    let server = Server::on(folder.open().await).await;
    let commit = head("images", "master");
    let id = id_of(&server, &commit).await;
    let found = fsck(&server, false, true).await;
    assert!(
        found
            .errors
            .iter()
            .any(|error| error.contains("cannot be derived again") && error.contains(&id)),
        "{found:?}"
    );
    // The pipeline has good output. Running it again over a damaged input would only lose that.
    assert!(!found.fixes.iter().any(|fix| fix.contains("processes")), "{found:?}");
    server.put(&commit, "/another", "1").await;
    assert_eq!(server.get(&commit, "/one", 0).await.unwrap(), b"1");
}

#[tokio::test]
async fn a_good_copy_in_memory_is_written_again() {
    let folder = Folder::new();
    let server = Server::on(folder.open().await).await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    server.put(&commit, "/file", "text").await;
    let server = Server::on(folder.open().await).await;
    assert_eq!(server.get(&commit, "/file", 0).await.unwrap(), b"text");
    for harm in HARMS {
        let [chunk] = &folder.objects("chunks")[..] else {
            panic!("one chunk")
        };
        let good = fs::read(chunk).unwrap();
        harm(chunk);
        let found = fsck(&server, false, true).await;
        assert!(found.fixes.iter().any(|fix| fix.contains("from memory")), "{found:?}");
        assert_eq!(fs::read(chunk).unwrap(), good);
    }
}
