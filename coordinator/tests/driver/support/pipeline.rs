//! The pipeline of the tests and the files that it reads.

use howdah_model::{Command, Content, ImagePin, PipelineKey, ProjectName, RepoKey, RepoName};
use howdah_spec::{DatumSetSpec, Input, PfsInput, PipelineSpec};
use howdah_store::{FileEdits, PackWriter, PathRules, Store};

/// Returns the key of the pipeline.
pub(super) fn pipeline_key() -> PipelineKey {
    "default/edges".parse().unwrap()
}

/// Returns the repository that the pipeline reads.
pub(super) fn images() -> RepoKey {
    RepoKey::user(ProjectName::default_project(), RepoName::new("images").unwrap())
}

/// Returns the command that creates that repository.
pub(super) fn create_repo() -> Command {
    Command::CreateRepo {
        repo: images(),
        description: String::new(),
        update: false,
    }
}

/// Returns the commands that create the pipeline and pin its image. Each file is a datum, and each datum a set.
pub(super) fn create_pipeline(change: impl FnOnce(&mut PipelineSpec)) -> [Command; 2] {
    let mut spec = PipelineSpec::default();
    spec.pipeline.project = "default".to_owned();
    spec.pipeline.name = "edges".to_owned();
    spec.parallelism = 1;
    spec.transform.image = "example/edges:1".to_owned();
    spec.transform.cmd = vec!["run".to_owned()];
    spec.datum_set_spec = Some(DatumSetSpec {
        number: 1,
        ..DatumSetSpec::default()
    });
    spec.input = Some(Input::Pfs(PfsInput {
        project: "default".to_owned(),
        name: "images".to_owned(),
        repo: "images".to_owned(),
        branch: "master".to_owned(),
        glob: "/*".to_owned(),
        ..PfsInput::default()
    }));
    change(&mut spec);
    let create = Command::CreatePipeline {
        spec: Box::new(spec),
        user_json: "{}".to_owned(),
        effective_json: "{}".to_owned(),
        update: false,
        reprocess: false,
        salt: "salt".to_owned(),
        spec_content: Content::EMPTY,
    };
    let pin = Command::PinImage {
        pipeline: pipeline_key(),
        version: 1,
        pin: ImagePin {
            reference: "example/edges:1".to_owned(),
            digest: "sha256:abc".to_owned(),
        },
    };
    [create, pin]
}

/// Makes the content of a commit: files that contain their paths.
pub(super) async fn files(store: &Store, paths: &[&str]) -> Content {
    let mut edits = FileEdits::new(PathRules::default());
    for path in paths {
        edits.put(path, file_content(store, path).await).unwrap();
    }
    edits.apply(store, &Content::default()).await.unwrap()
}

/// Stores a file that contains its path.
pub(super) async fn file_content(store: &Store, path: &str) -> howdah_store::FileContent {
    let mut writer = PackWriter::new(store);
    writer.begin(path.to_owned()).await.unwrap();
    writer.write(path.as_bytes()).await.unwrap();
    writer.end().await.unwrap();
    let (_, content) = writer.finish().await.unwrap().into_iter().next().unwrap();
    content
}
