//! Fresh ids. The model is deterministic, so the coordinator draws the ids that it passes in.

use howdah_model::GlobalId;

/// Returns a random id that nothing else has.
pub(crate) fn fresh_id() -> GlobalId {
    GlobalId::from_random_bytes(*uuid::Uuid::new_v4().as_bytes())
}
