//! `stage-init SOCKET`: connects to the worker and runs what it asks for.

fn main() -> std::process::ExitCode {
    howdah_stage_init::main()
}
