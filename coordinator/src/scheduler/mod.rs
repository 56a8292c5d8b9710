//! Background work: brings every pipeline's consumer, image and jobs to what the state asks for.
//!
//! ```text
//!  supervisor --one per pipeline--> image     (pins the image, reports whether the pipeline can run)
//!             \--one per pipeline-> runner    (drives the oldest job that can run)
//!             \--one--------------> prewarm   (orders workers to start stages before there is work)
//!             \--three------------> events    (what workers send: set events, heartbeats, log lines)
//!             \--one--------------> log_keeper (stores log lines of workers that are gone)
//!  context                                    (what they share: SchedulerContext, RunnerContext, EventRouter)
//! ```
//!
//! Everything is level-triggered: a task looks at the published state, does what is missing, and waits for the next
//! change. Each of these actions may be repeated, so a restart needs no recovery of its own.
//!
//! A runner reaches the outside only through a [`JobContext`](crate::job::JobContext), as the drivers of its jobs do. So
//! it runs in process over a queue double and a store in memory, too. The other tasks need a queue that is connected.
//!
//! What can go wrong: the queue, the store or the log fail. Tasks then try again after a pause. A task that panics is
//! started again; of a pipeline's task, the pipeline shows it. The supervisor itself ends only when the connection to
//! NATS is closed and cannot be opened again. How one job is driven is in [`crate::job`].

mod context;
mod events;
mod image;
mod log_keeper;
mod prewarm;
pub mod runner;
mod supervisor;

pub use context::RunnerContext;
pub use supervisor::run;
