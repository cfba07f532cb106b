//! The command line: one file per command. Exit codes: 0 done, 1 failed, 2 bad usage or configuration.

mod admin_client;
mod breaker;
mod check;
mod contracts;
mod dev;
mod docs;
mod drift;
mod explain;
mod probe;
mod purge;
mod reload;
mod serve;
mod stub;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A reverse proxy that keeps the last known good answer of third-party APIs.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Start with `larder dev`: proxy and vendor in one process, with the commands to try."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Proxy and a local vendor in one process, with what to try
    Dev(dev::DevArgs),
    /// Run the proxy
    Serve(serve::ServeArgs),
    /// Look a configuration over: all errors at once, or what it will do
    Check(check::CheckArgs),
    /// Say what would happen to a request, and why: route, key, what is stored
    Explain(explain::ExplainArgs),
    /// Ask a vendor's URL what it is like, before an integration is built on it
    Probe(probe::ProbeArgs),
    /// Declare stored answers of a running proxy stale, or void
    Purge(purge::PurgeArgs),
    /// Show the breakers of a running proxy, or open, close or isolate one by hand
    Breaker(breaker::BreakerArgs),
    /// Have a running proxy read its configuration again
    Reload(reload::ReloadArgs),
    /// Show which answers broke the contracts of a running proxy's routes, and samples of them
    Contracts(contracts::ContractsArgs),
    /// Write a page for each integration: owner, fields relied on, what visitors see when it breaks
    Docs(docs::DocsArgs),
    /// Show what vendors changed in their answers, or accept it
    Drift(drift::DriftArgs),
    /// Play the vendor: data that changes, faults that can be switched on
    Stub(stub::StubArgs),
}

/// Why a command did not end well. The message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nothing was started: usage, configuration, addresses, paths. Exit code 2.
    #[error("{0}")]
    Setup(String),
    /// It was to ask a running proxy, and there is none. Exit code 1.
    #[error("{0}")]
    NoProxy(String),
    /// It ran, and failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    fn setup(error: impl std::fmt::Display) -> Self {
        Self::Setup(error.to_string())
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Setup(_) => ExitCode::from(2),
            Self::NoProxy(_) | Self::Failed(_) => ExitCode::from(1),
        }
    }
}

/// Reads the command line and runs one command to its end.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => dev::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Breaker(args) => breaker::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Contracts(args) => contracts::run(&args),
        Command::Docs(args) => docs::run(&args),
        Command::Drift(args) => drift::run(&args),
        Command::Check(args) => return run_check(&args),
        Command::Probe(args) => return run_probe(&args),
        Command::Stub(args) => run_stub(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("larder: {error}");
            error.exit_code()
        }
    }
}

fn run_check(args: &check::CheckArgs) -> ExitCode {
    match check::run(args, &mut std::io::stdout(), &mut std::io::stderr()) {
        Ok(check::Verdict::Valid) => ExitCode::SUCCESS,
        Ok(check::Verdict::Invalid) => ExitCode::from(2),
        // Nobody reads what it says, or nobody can.
        Err(_closed) => ExitCode::from(1),
    }
}

fn run_probe(args: &probe::ProbeArgs) -> ExitCode {
    probe::run(args).unwrap_or_else(|error| {
        eprintln!("larder: {error}");
        error.exit_code()
    })
}

fn run_stub(args: stub::StubArgs) -> Result<(), CliError> {
    runtime(2)?
        .block_on(stub::run(args))
        .map_err(CliError::setup)
}

/// The async runtime of a command, with this many threads.
fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .thread_name("larder")
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start threads: {error}")))
}
