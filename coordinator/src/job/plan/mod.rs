//! Planning a job: from input trees to the datum sets that workers get.
//!
//! ```text
//!  first job:   input + commits --enumerate------> every datum  --.
//!  later jobs:  input + commits, old and new                      +--> steps --split--> sets
//!                                --difference----> what changed --'
//! ```
//!
//! Everything is a stream: sets are written and published while further datums are still being found. What
//! is written is [`JobPlan`](howdah_protocol::objects::JobPlan) for workers, one [`DatumSet`](howdah_protocol::objects::DatumSet) object per set before it is published, and at
//! the end [`MergePlan`] for the coordinator itself, which makes the plan final. A plan of one small set is a single
//! object with all of that in it, which is final as soon as it is there. A coordinator that dies
//! before that plans again and comes to the very same sets, since a plan depends on nothing but the input
//! trees, the base and the spec; one that dies later reads the plan back.

mod difference;
mod enumerate;
mod split;
mod steps;
mod stored;
#[cfg(test)]
mod tests;

pub use difference::{Change, Sides, difference};
pub use enumerate::{CommitLookup, InputCommit, enumerate, repo_of};
pub use split::{LOOK_AHEAD, Splitter};
pub use steps::*;
pub use stored::{discard, fits_one_object, read, read_set, write_job, write_merge, write_set, write_whole};
