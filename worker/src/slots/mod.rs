//! Slots: how many datums run at once, and the stage container that each slot keeps running.
//!
//! Starting a container costs hundreds of times what a trivial datum costs. A slot therefore keeps its last stage until
//! another pipeline needs the slot, or until it has been idle for [`pool::IDLE_LIMIT`].
//!
//! - `running_stage`: a started container with its folders, and how one is started and stopped.
//! - `slot`: a place for one container. It is owned by the task that works in it, else by the pool.
//! - `slot_table`: the pool's bookkeeping, without locks or tasks; `pool`: all slots of the worker behind one lock.
//! - `slot_guard`: guards that return slots and withdraw demands when dropped.
//! - `prewarm`: stages that are started before there is work for them.
//! - `status_board`: what each busy slot does, for presence.
//!
//! What can go wrong: a stage that cannot be started is an [`InfraError`](crate::error::InfraError) for the task that
//! asked; the slot itself stays usable. Which datums run in a slot is `execute`'s business.

pub(crate) mod pool;
pub(crate) mod prewarm;
pub(crate) mod running_stage;
pub(crate) mod slot;
pub(crate) mod slot_guard;
mod slot_table;
pub(crate) mod status_board;
