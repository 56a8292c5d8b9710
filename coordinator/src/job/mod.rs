//! One job, from its plan to its end.

pub(crate) mod collect;
pub(crate) mod drive;
pub mod merge;
pub mod plan;
pub(crate) mod planner;
pub mod provenance;
pub(crate) mod publish;
pub(crate) mod set_maker;
