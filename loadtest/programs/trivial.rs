//! Reads one small file and writes one small file: the work of every contestant of the `datums` benchmark.
//!
//! `trivial OUTPUT-FOLDER INPUT-FILE` for loops, xargs and similar programs. Without arguments, as a datum: the
//! variable `input` names the file, and the result goes to `/pfs/out`. With the variable `SLEEP_MS` it sleeps first.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (folder, input) = match (arguments.next(), arguments.next()) {
        (Some(folder), Some(input)) => (PathBuf::from(folder), PathBuf::from(input)),
        _ => ("/pfs/out".into(), std::env::var_os("input").unwrap_or_default().into()),
    };
    let Some(name) = input.file_name() else {
        eprintln!("no input file: give OUTPUT-FOLDER and INPUT-FILE, or set the variable `input`");
        return ExitCode::FAILURE;
    };
    if let Some(time) = std::env::var("SLEEP_MS").ok().and_then(|text| text.parse().ok()) {
        std::thread::sleep(std::time::Duration::from_millis(time));
    }
    let written = std::fs::read(&input).and_then(|bytes| {
        // FNV-1a is enough: the output has to depend on every byte of the input.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        std::fs::write(folder.join(name), format!("{} bytes, {hash:016x}\n", bytes.len()))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", input.display());
            ExitCode::FAILURE
        }
    }
}
