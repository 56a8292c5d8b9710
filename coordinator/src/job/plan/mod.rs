//! From input trees to the steps of a job's plan, and the plan's objects in the store.
//!
//! ```text
//!  no reuse:      input + commits      --enumerate--> every datum  -------------------------.
//!  by datum:      input + commits      --enumerate--> every datum  --compare with the base--+--> steps --split--> sets
//!  by tree diff:  input + commits of both jobs --difference--> what changed ----------------'
//! ```
//!
//! - [`steps`]: what a job has to do, in one of the three ways ([`Reuse`]): datums to run and datums to drop.
//! - [`enumerate`], [`difference`]: every datum of an input; what differs between two jobs.
//! - [`SetSplitter`]: where a datum set ends.
//! - [`read`], [`write_job`], [`write_set`], [`write_merge`] and their siblings: the plan in the store.
//!
//! Everything is a stream: sets are written and published while further datums are still being found. The objects of a
//! plan are [`JobPlan`](howdah_protocol::objects::JobPlan) for workers, one
//! [`DatumSet`](howdah_protocol::objects::DatumSet) for each set, written before the set is published, and at the end
//! [`MergePlan`] for the coordinator, which makes the plan final. A plan of one small set is a single object with all of
//! that in it, which is final as soon as it is stored.
//!
//! A plan depends on the input trees, the base, the spec with its pinned image, and the concurrency of sets, which is
//! stored with the first part of the plan. A coordinator that dies after that part is stored and before the plan is final
//! plans again and comes to the same sets; one that dies later reads the plan back.

mod cross;
mod difference;
mod enumerate;
mod error;
mod input_files;
mod merge_plan;
mod split;
mod steps;
mod stored;
#[cfg(test)]
mod tests;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use howdah_protocol::objects::StageSpec;

pub use difference::{CommitLookups, DatumChange, difference};
pub use enumerate::enumerate;
pub use error::PlanError;
pub use input_files::{CommitLookup, InputCommit, repo_of};
pub use merge_plan::{BaseJob, MergePlan};
pub use split::{LOOK_AHEAD, SetSplitter};
pub use steps::{BaseDatum, PlanStep, Reuse, datum_count, datum_id_of_key, has_unsuccessful_datums, steps};
pub use stored::{
    discard, fits_single_object, identity, read, read_set, write_job, write_merge, write_set, write_single_object,
};

/// Returns the salt for `reprocess_spec: on_code_change`: the pipeline's own, and a hash of everything that makes up the
/// code.
pub fn salt_with_code(salt: &str, stage: &StageSpec) -> String {
    // Every field by name: a new one does not compile until it is decided whether it is a part of the code.
    let StageSpec {
        image,
        cmd,
        stdin,
        err_cmd,
        err_stdin,
        env,
        user,
        working_dir,
        // How often and how long the code runs, which of its ends count as success, and what its container may use.
        accept_return_code: _,
        datum_tries: _,
        datum_timeout_ms: _,
        writable_inputs: _,
        new_stage_for_each_try: _,
        memory_bytes: _,
        cpus: _,
        labels: _,
    } = stage;
    let code = (&image.digest, cmd, stdin, err_cmd, err_stdin, env, working_dir, user);
    // Lists and strings in JSON are delimited, so different code cannot give the same text.
    let text = serde_json::to_vec(&code).expect("strings, lists and maps of strings always have a JSON form");
    format!("{salt}/{}", hex::encode(Blake2b::<U32>::digest(&text)))
}
