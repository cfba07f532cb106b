//! `larder serve`: the proxy in the foreground, until SIGTERM or SIGINT.

use std::path::PathBuf;

use clap::Args;
use tokio::task::JoinHandle;

use super::{CliError, runtime};
use crate::{
    app::App,
    clock::Clock,
    config::{self, Config},
    listener::DrainReport,
    observe::Log,
};

/// Arguments of `larder serve`.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// Configuration file
    #[arg(long, short, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// [`CliError::Setup`] where it cannot start.
pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    let config = config::load(&args.config).map_err(CliError::setup)?;
    let log = Log::init(&config.log).map_err(CliError::setup)?;
    runtime(config.server.workers)?.block_on(serve(config, &log))
}

async fn serve(config: Config, log: &Log) -> Result<(), CliError> {
    let (app, signals) = start(config, log).await?;
    tracing::info!(listen = %app.addr(), admin = app.admin_addr().map(tracing::field::display), "serving");
    let report = app.run().await;
    signals.abort();
    say_goodbye(report);
    Ok(())
}

/// A proxy that listens, is ended by signals, says what is odd about its config, and counts what its log loses.
///
/// # Errors
///
/// [`CliError::Setup`] where the config asks for what cannot be had.
pub(super) async fn start(config: Config, log: &Log) -> Result<(App, JoinHandle<()>), CliError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let app = App::start(config, Clock::System, log.transactions())
        .await
        .map_err(CliError::setup)?;
    app.metrics().register(log.dropped());
    let signals = app
        .shutdown()
        .on_signals()
        .map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;
    Ok((app, signals))
}

/// What the drain came to, for the log.
pub(super) fn say_goodbye(report: DrainReport) {
    tracing::info!(
        finished = report.finished,
        cut_off = report.cut_off,
        took_ms = report.took.as_millis() as u64,
        "stopped"
    );
}
