//! `stage-init SOCKET`: connects to the worker and runs the commands that it requests.

fn main() -> std::process::ExitCode {
    howdah_stage_init::main()
}
