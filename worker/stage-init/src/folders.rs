//! System calls for folders by their descriptors: the standard library has paths only.
//!
//! A folder that is open stays the same, whatever takes its place in the file system. The calls are declared by hand,
//! as in `sys`.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

const O_CLOEXEC: c_int = 0o2_000_000;
/// Opens folders only. These two flags are the only ones that differ between the architectures.
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: c_int = 0o40_000;
/// Opens folders only.
#[cfg(not(target_arch = "aarch64"))]
pub const O_DIRECTORY: c_int = 0o200_000;
/// Does not follow a link at the end of a path.
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: c_int = 0o100_000;
/// Does not follow a link at the end of a path.
#[cfg(not(target_arch = "aarch64"))]
pub const O_NOFOLLOW: c_int = 0o400_000;
const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
/// Kind of an entry that is a folder.
const DT_DIR: u8 = 4;
/// Kind of an entry that the file system does not tell in a listing.
const DT_UNKNOWN: u8 = 0;

/// The beginning of `struct dirent`; the name follows, with a zero byte at its end.
#[repr(C)]
struct DirEntry {
    ino: u64,
    offset: i64,
    length: u16,
    kind: u8,
    name: [c_char; 1],
}

/// An opaque `DIR`.
#[repr(C)]
struct DirStream {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn openat(folder: c_int, name: *const c_char, flags: c_int, ...) -> c_int;
    fn fdopendir(folder: c_int) -> *mut DirStream;
    fn readdir(folder: *mut DirStream) -> *mut DirEntry;
    fn closedir(folder: *mut DirStream) -> c_int;
    fn fchownat(folder: c_int, name: *const c_char, uid: c_uint, gid: c_uint, flags: c_int) -> c_int;
    fn __errno_location() -> *mut c_int;
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Opens a folder that is an entry of another one. A link is not followed.
pub fn open_folder_at(folder: &File, name: &CStr) -> io::Result<File> {
    let flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    // SAFETY: the name ends with a zero byte and outlives the call.
    let opened = check(unsafe { openat(folder.as_raw_fd(), name.as_ptr(), flags) })?;
    // SAFETY: the descriptor is new, so nothing else owns it.
    Ok(unsafe { File::from_raw_fd(opened) })
}

/// Changes the owner of an entry of a folder. A link is changed itself, not its target.
pub fn change_owner_at(folder: &File, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: the name ends with a zero byte and outlives the call.
    let changed = unsafe { fchownat(folder.as_raw_fd(), name.as_ptr(), uid, gid, AT_SYMLINK_NOFOLLOW) };
    check(changed).map(drop)
}

/// Calls a function with the name of each entry of a folder, and whether it may be a folder. `.` and `..` are left out.
/// An open folder can be listed once.
pub fn list_folder(folder: &File, mut each: impl FnMut(&CStr, bool) -> io::Result<()>) -> io::Result<()> {
    let own = folder.try_clone()?.into_raw_fd();
    // SAFETY: the descriptor is open. If the call succeeds, the stream owns it.
    let stream = unsafe { fdopendir(own) };
    if stream.is_null() {
        let error = io::Error::last_os_error();
        // SAFETY: nothing else owns the descriptor.
        drop(unsafe { File::from_raw_fd(own) });
        return Err(error);
    }
    let result = loop {
        // SAFETY: `errno` belongs to this thread; the stream is open. The entry is valid until the next call.
        let entry = unsafe {
            *__errno_location() = 0;
            readdir(stream)
        };
        if entry.is_null() {
            let error = io::Error::last_os_error();
            break if error.raw_os_error() == Some(0) {
                Ok(())
            } else {
                Err(error)
            };
        }
        // SAFETY: the entry is not null, and its name ends with a zero byte within the entry's length. The pointer is
        // made from that of the whole entry, because the name is longer than its field.
        let (name, kind) = unsafe {
            let name = entry.cast::<c_char>().add(std::mem::offset_of!(DirEntry, name));
            (CStr::from_ptr(name), (*entry).kind)
        };
        if !matches!(name.to_bytes(), b"." | b"..")
            && let Err(error) = each(name, matches!(kind, DT_DIR | DT_UNKNOWN))
        {
            break Err(error);
        }
    };
    // SAFETY: the stream is open and not used any more.
    unsafe { closedir(stream) };
    result
}
