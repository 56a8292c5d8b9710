//! Compiles `stage-init` into the static program that the worker embeds.
//!
//! Cargo cannot build a dependency's binary with flags of its own, so the compiler is called
//! directly. That is possible because the crate has no dependencies.

#![expect(clippy::panic, reason = "a build script fails by panicking")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=stage-init/src");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let library = out.join("libhowdah_stage_init.rlib");
    let program = out.join("stage-init");

    compile(Path::new("stage-init/src/lib.rs"), &library, |rustc| {
        rustc.args(["--crate-type", "rlib", "--crate-name", "howdah_stage_init"]);
    });
    compile(Path::new("stage-init/src/main.rs"), &program, |rustc| {
        let mut dependency = std::ffi::OsString::from("howdah_stage_init=");
        dependency.push(&library);
        rustc.args(["--crate-type", "bin", "--crate-name", "stage_init"]);
        rustc.arg("--extern").arg(dependency);
        rustc.args(["-C", "strip=symbols"]);
        if let Some(linker) = env::var_os("RUSTC_LINKER") {
            let mut option = std::ffi::OsString::from("linker=");
            option.push(linker);
            rustc.arg("-C").arg(option);
        }
    });
    println!("cargo::rustc-env=HOWDAH_STAGE_INIT={}", program.display());
}

fn compile(source: &Path, target: &Path, more: impl FnOnce(&mut Command)) {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let triple = env::var("TARGET").expect("cargo sets TARGET");
    let mut command = Command::new(rustc);
    command
        .arg(source)
        .arg("-o")
        .arg(target)
        .args(["--edition", "2024", "--target", &triple, "-O"])
        .args(["-C", "target-feature=+crt-static", "-C", "panic=abort"]);
    more(&mut command);
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "cannot compile stage-init as a static program for {triple}.\n\
             If the linker misses -lc or libc.a, install the static C library \
             (Debian: libc6-dev, Fedora: glibc-static) or build for a musl target.\n\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(e) => panic!("cannot start the compiler {command:?}: {e}"),
    }
}
