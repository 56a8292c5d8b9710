//! Bounds on what clients give, so that the state stays in proportion to what they keep in it.

/// Most bytes of a name.
pub const MAX_NAME_BYTES: usize = 255;
/// Most bytes of a reference to a commit: a name with marks of ancestry.
pub const MAX_REFERENCE_BYTES: usize = 1 << 10;
/// Most bytes of a description, a reason or an error.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
/// Most bytes of a spec, of defaults or of a secret, as JSON.
pub const MAX_SPEC_BYTES: usize = 1 << 20;
/// Most bytes of a secret as it is kept: sealed, which makes it longer.
pub const MAX_SEALED_BYTES: usize = 2 << 20;
/// Most requests of a transaction or batch.
pub const MAX_TRANSACTION_REQUESTS: usize = 1_000;
/// Most bytes of the texts of a transaction or batch.
pub const MAX_TRANSACTION_BYTES: usize = 16 << 20;
/// Most branches in the direct provenance of a branch.
pub const MAX_PROVENANCE: usize = 1_000;
