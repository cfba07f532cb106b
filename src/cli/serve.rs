//! `larder serve`: the proxy in the foreground, until SIGTERM or SIGINT.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

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
    runtime(config.server.workers)?.block_on(serve(&args.config, config, &log))
}

async fn serve(file: &Path, config: Config, log: &Log) -> Result<(), CliError> {
    let (app, signals) = start(file, config, log).await?;
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
pub(super) async fn start(
    file: &Path,
    config: Config,
    log: &Log,
) -> Result<(App, JoinHandle<()>), CliError> {
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
    let file = file.to_path_buf();
    app.reload_from(Arc::new(move || config::load(&file)));
    reload_on_sighup(&app)?;
    Ok((app, signals))
}

/// SIGHUP reads the config again, as long as the process lives.
fn reload_on_sighup(app: &App) -> Result<(), CliError> {
    let mut hangups = signal(SignalKind::hangup())
        .map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;
    let reload = app.reloader();
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let reload = reload.clone();
            match tokio::task::spawn_blocking(reload).await {
                Ok(Ok(done)) => {
                    for warning in done.warnings {
                        tracing::warn!("{warning}");
                    }
                }
                Ok(Err(why)) => tracing::error!("not reloaded: {why}"),
                Err(error) => tracing::error!(%error, "reloading failed in a defect of larder"),
            }
        }
    });
    Ok(())
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
