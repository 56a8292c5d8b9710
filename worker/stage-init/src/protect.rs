//! Protection of this program, and of the worker behind it, from the commands that it runs.
//!
//! A command may run as root in its container, as this program does. It must not change this program's memory, read its
//! secrets or take its connection to the worker: with that it could forge results.
//!
//! - The memory of this program cannot be opened through `/proc` or attached to by processes without `CAP_SYS_PTRACE`.
//! - A seccomp filter refuses `ptrace`, `process_vm_writev` and `pidfd_getfd` with "operation not permitted", for this
//!   program and everything that it starts. Debuggers and leak sanitizers therefore do not work in stages.
//! - Neither this program nor what it starts gains privileges by executing a program with the set-uid bit.
//!
//! The filter is installed once, when this program starts: installing it for each command would make each start slower.

use std::ffi::{c_int, c_ulong};
use std::io;

const PR_SET_DUMPABLE: c_int = 4;
const PR_SET_SECCOMP: c_int = 22;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
const SECCOMP_MODE_FILTER: c_ulong = 2;
/// Error number of `prctl` if the kernel has no seccomp filters.
const EINVAL: i32 = 22;

/// One instruction, in the layout of `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A program, in the layout of `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

unsafe extern "C" {
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
}

/// Loads a word of the call's description.
const LOAD: u16 = 0x20;
/// Compares the loaded word and jumps.
const EQUAL: u16 = 0x15;
/// As [`EQUAL`], with "at least".
const AT_LEAST: u16 = 0x35;
/// Ends with a verdict.
const RETURN: u16 = 0x06;
/// Verdict: the call is made.
const ALLOW: u32 = 0x7fff_0000;
/// Verdict: the call fails with EPERM.
const REFUSE: u32 = 0x0005_0001;
/// Offset of the number of the system call.
const NUMBER: u32 = 0;
/// Offset of the architecture of the system call.
const ARCHITECTURE: u32 = 4;

/// An architecture whose calls this kernel may accept, and the numbers of the refused calls on it.
struct Calls {
    architecture: u32,
    /// `ptrace`, `process_vm_writev`, `pidfd_getfd`.
    refused: [u32; 3],
    /// Numbers from here on are of another convention (x32) and refused as a whole.
    refused_from: u32,
}

/// No number is that large.
const NONE_FROM: u32 = u32::MAX;

#[cfg(target_arch = "x86_64")]
const CALLS: [Calls; 2] = [
    Calls {
        architecture: 0xc000_003e,
        refused: [101, 311, 438],
        refused_from: 0x4000_0000,
    },
    // Programs for i386.
    Calls {
        architecture: 0x4000_0003,
        refused: [26, 348, 438],
        refused_from: NONE_FROM,
    },
];
#[cfg(target_arch = "aarch64")]
const CALLS: [Calls; 2] = [
    Calls {
        architecture: 0xc000_00b7,
        refused: [117, 271, 438],
        refused_from: NONE_FROM,
    },
    // Programs for 32-bit ARM.
    Calls {
        architecture: 0x4000_0028,
        refused: [26, 377, 438],
        refused_from: NONE_FROM,
    },
];
#[cfg(target_arch = "riscv64")]
const CALLS: [Calls; 1] = [Calls {
    architecture: 0xc000_00f3,
    refused: [117, 271, 438],
    refused_from: NONE_FROM,
}];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
const CALLS: [Calls; 0] = [];

/// Makes the filter: for each architecture a block that compares the number and returns a verdict.
fn filter() -> Vec<Instruction> {
    let step = |code, value, if_true, if_false| Instruction {
        code,
        if_true,
        if_false,
        value,
    };
    let mut filter = vec![step(LOAD, ARCHITECTURE, 0, 0)];
    for calls in &CALLS {
        // Over the block of seven instructions that follows, if the architecture is another.
        filter.push(step(EQUAL, calls.architecture, 0, 7));
        filter.push(step(LOAD, NUMBER, 0, 0));
        filter.push(step(AT_LEAST, calls.refused_from, 4, 0));
        for (position, number) in calls.refused.iter().enumerate() {
            // To the refusal at the end of the block; the last one falls through to the permission.
            let to_refusal = u8::try_from(calls.refused.len() - position).unwrap_or(0);
            filter.push(step(EQUAL, *number, to_refusal, 0));
        }
        filter.push(step(RETURN, ALLOW, 0, 0));
        filter.push(step(RETURN, REFUSE, 0, 0));
    }
    filter.push(step(RETURN, ALLOW, 0, 0));
    filter
}

fn set(option: c_int, a: c_ulong, b: c_ulong) -> io::Result<()> {
    // SAFETY: the options of this file read at most a `Program` at `b`, which the caller keeps alive.
    match unsafe { prctl(option, a, b, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Protects this program and the worker from everything that it will start.
///
/// # Errors
/// When the kernel refuses a protection that it has.
pub fn protect() -> io::Result<()> {
    set(PR_SET_DUMPABLE, 0, 0)?;
    // The kernel accepts a filter only from programs that cannot gain privileges.
    set(PR_SET_NO_NEW_PRIVS, 1, 0)?;
    let filter = filter();
    let program = Program {
        length: u16::try_from(filter.len()).unwrap_or(0),
        instructions: filter.as_ptr(),
    };
    match set(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (&raw const program) as c_ulong) {
        // A kernel without filters.
        Err(error) if error.raw_os_error() == Some(EINVAL) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter on a call and returns its verdict.
    fn verdict(architecture: u32, number: u32) -> u32 {
        let filter = filter();
        let (mut at, mut word) = (0, 0);
        loop {
            let step = filter[at];
            at += 1;
            match step.code {
                LOAD => word = if step.value == NUMBER { number } else { architecture },
                EQUAL => {
                    at += usize::from(if word == step.value {
                        step.if_true
                    } else {
                        step.if_false
                    })
                }
                AT_LEAST => {
                    at += usize::from(if word >= step.value {
                        step.if_true
                    } else {
                        step.if_false
                    })
                }
                RETURN => return step.value,
                other => unreachable!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_refuses_the_listed_calls_and_no_others() {
        for calls in &CALLS {
            for number in 0..600 {
                let expected = if calls.refused.contains(&number) { REFUSE } else { ALLOW };
                assert_eq!(
                    verdict(calls.architecture, number),
                    expected,
                    "{:#x} {number}",
                    calls.architecture
                );
            }
            if calls.refused_from != NONE_FROM {
                assert_eq!(verdict(calls.architecture, calls.refused_from), REFUSE);
                assert_eq!(verdict(calls.architecture, calls.refused_from + 521), REFUSE);
            }
        }
        assert_eq!(verdict(1, 101), ALLOW);
    }
}
