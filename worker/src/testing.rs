//! Values for the tests of this crate.

use std::sync::Arc;

use howdah_model::entities::ImagePin;
use howdah_model::ids::{ContentHash, DatumHash, DatumId, GlobalId, TreeRoot};
use howdah_protocol::objects::{Datum, DatumInput, JobPlan, SetConcurrency, StageSpec};

/// Returns a plan that runs a command once per datum.
pub fn plan(pipeline: &str, cmd: &[&str]) -> JobPlan {
    JobPlan {
        pipeline: pipeline.parse().expect("a pipeline's key"),
        version: 1,
        job: GlobalId::from_number(1),
        output_commit: GlobalId::from_number(1),
        spec_commit: Some(GlobalId::from_number(2)),
        file_set: None,
        salt: "salt".to_owned(),
        stage: StageSpec {
            image: ImagePin {
                reference: "image:1".to_owned(),
                digest: "sha256:1".to_owned(),
            },
            cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
            stdin: None,
            err_cmd: None,
            err_stdin: None,
            env: Default::default(),
            accept_return_code: Vec::new(),
            user: None,
            working_dir: None,
            datum_tries: 1,
            datum_timeout_ms: None,
            writable_inputs: false,
            memory_bytes: None,
            cpus: None,
            labels: Default::default(),
        },
        concurrency: SetConcurrency::default(),
        single_object: None,
    }
}

/// Returns a datum whose id and hash are made from a number.
pub fn datum(number: u8, inputs: Vec<DatumInput>) -> Datum {
    Datum {
        id: DatumId::new([number; 32]),
        hash: DatumHash::new([number; 32]),
        inputs,
        slices: Vec::new(),
    }
}

/// Returns an input whose content is not stored.
pub fn file_input(name: &str, path: &str) -> DatumInput {
    DatumInput {
        name: Arc::from(name),
        repo: "default/data".parse().expect("a repository's key"),
        branch: howdah_model::names::BranchName::master(),
        commit: GlobalId::from_number(3),
        root: TreeRoot::new([0; 32]),
        path: path.to_owned(),
        is_dir: path.ends_with('/'),
        size: 0,
        hash: ContentHash::new([7; 32]),
        join_on: String::new(),
        group_by: String::new(),
    }
}
