//! One job, from its plan to its output commit.
//!
//! ```text
//!  drive            the driver: plan, collect, merge, finish
//!  collect          collects results, finds lost sets and publishes them again
//!  plan_publisher   writes and publishes the datum sets of a prepared plan
//!  planner          prepares a plan: what is reused, which datums remain
//!  set_maker        plan steps -> datum sets
//!  failing_sets     sets that workers could not run, and how often
//!  set_results      reads one set and its result, and adds them to the merge
//!  publish          messages of datum sets
//!  job_commands     commands that log the start, the plan and the end of a job
//!  pipeline_state   reports whether a pipeline can run
//!  look_schedule    when results are looked for without an event
//!  end              ends a job that cannot go on
//!  view, error, context, retry, set_queue, stage_spec, provenance
//!  merge/           results -> output commit and datum index
//!  plan/            input trees -> plan steps, and the plan's objects in the store
//! ```
//!
//! A file uses only files below it. A driver reaches the outside through [`JobContext`]: the command loop, the store and
//! a [`SetQueue`], so it runs in process over a queue double and a store in memory.
//!
//! A driver may be dropped at any point, for example because the coordinator dies. What it has done is in the store and
//! in the log, and the next driver of the job continues from there. When jobs run, and in which order, is decided by the
//! scheduler.

pub mod collect;
pub mod context;
pub mod drive;
pub mod end;
pub mod error;
mod failing_sets;
pub mod job_commands;
mod look_schedule;
pub mod merge;
pub mod pipeline_state;
pub mod plan;
pub mod plan_publisher;
pub mod planner;
pub mod provenance;
pub mod publish;
pub mod retry;
pub mod set_maker;
pub mod set_queue;
pub mod set_results;
pub mod stage_spec;
pub mod view;

pub use context::JobContext;
pub use drive::drive;
pub use error::DriveError;
pub use retry::RetryLimits;
pub use set_queue::{LeaderQueue, SetQueue};
