//! Sample values for the tests of this crate and of those above it. Nothing that they name is stored.

use std::sync::Arc;

use howdah_model::entities::ImagePin;
use howdah_model::ids::{ContentHash, DatumHash, DatumId, GlobalId, TreeRoot};
use howdah_model::names::BranchName;

use crate::objects::{Datum, DatumInput, JobPlan, PlanId, SetConcurrency, StageSpec};

/// Returns the plan of a job that runs a command for each datum. `pipeline` is a name in the project `default`.
///
/// # Panics
///
/// If `pipeline` is not the name of a pipeline.
pub fn plan(pipeline: &str, job: u64, cmd: &[&str]) -> JobPlan {
    JobPlan {
        pipeline: format!("default/{pipeline}").parse().expect("a pipeline's key"),
        version: 1,
        job: GlobalId::from_number(job),
        id: PlanId::EARLIER,
        output_commit: GlobalId::from_number(job),
        spec_commit: None,
        file_set: None,
        salt: "salt".to_owned(),
        stage: stage(cmd),
        concurrency: SetConcurrency::default(),
        single_object: None,
    }
}

/// Returns a stage that runs a command with at most three tries.
pub fn stage(cmd: &[&str]) -> StageSpec {
    StageSpec {
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
        datum_tries: 3,
        datum_timeout_ms: None,
        writable_inputs: false,
        new_stage_for_each_try: false,
        memory_bytes: None,
        cpus: None,
        labels: Default::default(),
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

/// Returns an empty file as an input or, if the path ends with a slash, a folder.
pub fn file_input(name: &str, path: &str) -> DatumInput {
    DatumInput {
        name: Arc::from(name),
        repo: "default/data".parse().expect("a repository's key"),
        branch: BranchName::master(),
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
