//! `howdah-coordinator`: the coordinator as its own program.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use howdah_coordinator::CoordinatorConfig;
use howdah_telemetry::{LogArgs, init_logging, refuse_unknown_settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Takes commands, keeps the metadata log, plans jobs and merges their outputs.
#[derive(Debug, Parser)]
#[command(name = "howdah-coordinator", version, about)]
struct Cli {
    #[command(flatten)]
    coordinator: CoordinatorConfig,
    #[command(flatten)]
    log: LogArgs,
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    // SAFETY: the process has a single thread until the runtime starts below, and clap holds copies of what it read.
    unsafe { cli.coordinator.take_keys() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the message is lost; the exit code still shows the failure.
            let _ = writeln!(std::io::stderr(), "howdah-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    init_logging(&cli.log)?;
    refuse_unknown_settings()?;
    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("stopping");
        stop.cancel();
    });
    let running = howdah_coordinator::start(cli.coordinator, shutdown).await?;
    tracing::info!(address = %running.address, "coordinator ready");
    running.join().await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_setting_is_known_to_all_programs() {
        assert_eq!(howdah_telemetry::unlisted_settings(&super::Cli::command()), [""; 0]);
    }
}
