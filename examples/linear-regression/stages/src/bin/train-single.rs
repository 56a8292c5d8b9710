//! Fits disease progression to body mass index alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = std::env::args().skip(1);
    linear_regression::stage::main(|| linear_regression::stage::train(args, &["bmi"]))
}
