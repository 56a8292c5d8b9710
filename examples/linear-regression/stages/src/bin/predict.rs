//! Predicts disease progression for the patients of one datum.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = std::env::args().skip(1);
    let attributes = std::env::var("attributes").ok();
    linear_regression::stage::main(|| linear_regression::stage::predict(args, attributes.as_deref()))
}
