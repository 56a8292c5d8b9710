//! `howdah-worker`: reads settings from flags and environment, sets up logs and signals, and runs the library.

mod settings;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use settings::Settings;

fn main() -> ExitCode {
    let settings = Settings::parse();
    // SAFETY: the process has a single thread until the runtime starts below, and clap holds copies of what it read.
    unsafe { settings::take_keys() };
    if let Err(error) =
        howdah_telemetry::init_logging(&settings.log).and_then(|()| howdah_telemetry::refuse_unknown_settings())
    {
        return report(&format!("{error:#}"), 2);
    }
    // Inputs must be readable for every user that a stage may run as.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&format!("cannot start: {error}"), 1),
    };
    let config = match settings.into_config() {
        Ok(config) => config,
        Err(error) => return report(&format!("{error:#}"), 2),
    };
    let done = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(watch_signals(shutdown.clone()));
        howdah_worker::run(config, shutdown).await
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&format!("{:#}", anyhow::Error::new(error)), 1),
    }
}

/// Cancels `shutdown` at the first signal and exits the process at the second.
async fn watch_signals(shutdown: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("cannot listen for signals");
        return;
    };
    for round in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if round > 0 {
            std::process::exit(130);
        }
        shutdown.cancel();
    }
}

fn report(text: &str, code: u8) -> ExitCode {
    use std::io::Write;
    // An error means that standard error is closed.
    let _ = writeln!(std::io::stderr(), "howdah-worker: {text}");
    ExitCode::from(code)
}
