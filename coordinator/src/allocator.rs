//! Bounds the free memory that the C library's allocator keeps.

/// Arenas of the allocator. By default there are eight for each processor, and memory that is freed in one is not used
/// for the others. File data is mostly freed by another thread than the one that allocated it.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 2;

/// Bounds the number of arenas. Call this early: arenas that exist stay.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes two numbers, changes only the allocator's own settings and takes the allocator's lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
