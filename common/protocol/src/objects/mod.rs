//! Objects that coordinator and workers keep in the store.
//!
//! - [`JobPlan`]: what all datum sets of a job have in common; [`StageSpec`]: how one datum is run; [`PlanId`].
//! - [`DatumSet`], [`Datum`], [`DatumInput`]: the unit of delivery and what it consists of.
//! - [`SetResult`], [`DatumResult`], [`OutputFile`]: what a worker stores when a set is done.
//! - [`DatumRecord`]: one datum in the tree of a job's datums, kept with the job's meta commit.
//! - [`LogObject`], [`MasterLine`]: log lines of a set and of a pipeline.
//! - [`plan_key`], [`set_key`], [`result_key`], [`log_key`]: where they are.
//!
//! [`crate::wire::encode`] writes each type and [`crate::wire::decode`] reads it. A type with a text body may get
//! new fields, each with a default. A type with a binary body needs a new version for every change.

mod datum_set;
mod keys;
mod logs;
mod plan;
mod plan_id;
mod record;
mod result;

pub use datum_set::{Datum, DatumInput, DatumSet};
pub use keys::{
    log_key, plan_key, plan_results_prefix, result_key, results_prefix, run_log_key, run_of_log_key, set_key,
    set_of_result_key, sets_prefix,
};
pub use logs::{LogLine, LogObject, MasterLine, master_lines_prefix};
pub use plan::{JobPlan, SetConcurrency, SingleObjectPlan, StageSpec};
pub use plan_id::PlanId;
pub use record::DatumRecord;
pub use result::{DatumOutcome, DatumResult, DatumStats, OutputFile, SetResult};

pub(crate) use datum_set::DatumSetV2;
