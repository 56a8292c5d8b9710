//! Compiles `testbox`, the stage program of the tests, as a static executable.
//!
//! Cargo cannot build a single binary with special flags, so this script calls the compiler directly.

#![expect(clippy::panic, reason = "a build script fails by panicking")]

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=programs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let program = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("testbox");
    let triple = env::var("TARGET").expect("cargo sets TARGET");
    let mut command = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    command
        .args(["programs/testbox.rs", "--edition", "2024", "--target", &triple, "-O"])
        .args([
            "-C",
            "target-feature=+crt-static",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
            "-o",
        ])
        .arg(&program);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
    }
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "cannot compile programs/testbox.rs as a static program for {triple}.\n\
             If the linker misses -lc or libc.a, install the static C library \
             (Debian: libc6-dev, Fedora: glibc-static) or build for a musl target.\n\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("cannot start the compiler {command:?}: {error}"),
    }
    println!("cargo::rustc-env=HOWDAH_TEST_BOX={}", program.display());
}
