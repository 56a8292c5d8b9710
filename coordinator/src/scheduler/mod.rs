//! Background work: keeps every pipeline's consumer, image and jobs as the state says they should be.

mod events;
pub(crate) mod image;
mod prewarm;
mod runner;
mod supervisor;

pub(crate) use supervisor::Context;
pub use supervisor::run;
