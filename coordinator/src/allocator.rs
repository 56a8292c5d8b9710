//! Keeping what the allocator holds back small.

/// Areas that the C library's allocator hands memory out from. By default it makes eight per processor, and what is
/// freed in one is of no use to the others: file data is freed by other threads than those that asked for it.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 2;

/// Bounds the memory that the allocator keeps although it is free. Call it early: areas that exist stay.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes two numbers, touches nothing but the allocator's own settings and takes its lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
