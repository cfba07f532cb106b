//! `larder dev`: the stub and the proxy in one process, for a laptop.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{CliError, runtime, serve};
use crate::{
    config::{self, Config, UpstreamConfig},
    observe::Log,
    stub::{Stub, StubOptions},
};

/// Where the stub's control API listens unless `[dev] control` says otherwise.
const CONTROL: ([u8; 4], u16) = ([127, 0, 0, 1], 9101);

/// Arguments of `larder dev`.
#[derive(Args, Debug)]
pub(super) struct DevArgs {
    /// Configuration file
    #[arg(long, short, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// [`CliError::Setup`] where either half cannot start.
pub(super) fn run(args: &DevArgs) -> Result<(), CliError> {
    let config = config::load(&args.config).map_err(CliError::setup)?;
    let log = Log::init(&config.log).map_err(CliError::setup)?;
    runtime(config.server.workers)?.block_on(dev(&args.config, config, &log))
}

async fn dev(file: &Path, config: Config, log: &Log) -> Result<(), CliError> {
    let stub = Stub::start(stub_options(&config)?)
        .await
        .map_err(CliError::setup)?;
    let guide = guide(&config);
    let (app, signals) = serve::start(file, config, log).await?;
    let guide = guide(
        app.addr(),
        app.admin_addr(),
        stub.addr(),
        stub.control_addr(),
    );
    // Who reads no further than the first lines wants the proxy all the same.
    let _ = writeln!(std::io::stdout(), "{guide}");
    let report = app.run().await;
    stub.shutdown().await;
    signals.abort();
    serve::say_goodbye(report);
    Ok(())
}

/// The stub takes the place of the upstream that `[dev] upstream` names, or of the first one.
fn stub_options(config: &Config) -> Result<StubOptions, CliError> {
    let upstream = played(config).ok_or_else(|| {
        CliError::Setup("the configuration has no upstream that the stub could play".into())
    })?;
    Ok(StubOptions {
        listen: endpoint_address(upstream)?,
        control: config
            .dev
            .control
            .unwrap_or_else(|| SocketAddr::from(CONTROL)),
        file: config.dev.stub_file.clone(),
        ..StubOptions::default()
    })
}

fn played(config: &Config) -> Option<&Arc<UpstreamConfig>> {
    let named = config.dev.upstream.as_ref();
    config
        .upstreams
        .iter()
        .find(|upstream| named.is_none_or(|name| *name == upstream.name))
}

fn endpoint_address(upstream: &UpstreamConfig) -> Result<SocketAddr, CliError> {
    let endpoint = upstream
        .endpoints
        .first()
        .and_then(|endpoint| endpoint.uri.authority());
    let address = endpoint.and_then(|authority| {
        authority
            .as_str()
            .replace("localhost", "127.0.0.1")
            .parse::<SocketAddr>()
            .ok()
    });
    address.filter(|address| address.ip().is_loopback()).ok_or_else(|| {
        CliError::Setup(format!(
            "`larder dev` plays upstream.{} itself, so its first endpoint has to be on this machine with a port, like \"http://127.0.0.1:9100\"; set [dev] upstream to another one, or use `larder serve`",
            upstream.name
        ))
    })
}

/// What to try, with the addresses that were really bound.
fn guide(
    config: &Config,
) -> impl FnOnce(SocketAddr, Option<SocketAddr>, SocketAddr, SocketAddr) -> String + use<> {
    let paths: Vec<_> = config
        .routes
        .iter()
        .filter_map(|route| example(route.path.as_str()))
        .collect();
    move |proxy, admin, vendor, control| {
        let first = paths.first().cloned().unwrap_or_else(|| "/".to_owned());
        let mut text =
            format!("\n  larder   http://{proxy}\n  vendor   http://{vendor}   (the stub)\n");
        if let Some(admin) = admin {
            text += &format!("  admin    http://{admin}/api/v1/status   /metrics\n");
        }
        text += "\n  Ask:\n";
        for path in &paths {
            text += &format!("    curl -i http://{proxy}{path}\n");
        }
        text += &format!(
            "\n  Break the vendor, ask again, and read Cache-Status:\n    curl -X POST 'http://{control}/break?kind=refuse'\n    curl -i http://{proxy}{first}\n"
        );
        text += &format!(
            "\n  Mend it:\n    curl -X POST http://{control}/mend\n\n  More faults: curl http://{control}/        Stop: Ctrl-C\n"
        );
        text
    }
}

/// A URL the built-in sets of the stub answer, for a route's template.
fn example(template: &str) -> Option<String> {
    let path = match template {
        "/prices/{sku}" => "/prices/sku-1?currency=EUR".to_owned(),
        "/availability/{hotel}" => "/availability/grand?date=2027-01-15".to_owned(),
        _ if template.starts_with("/bookings") => return None,
        _ => template
            .replace("/{*rest}", "")
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "1"
                } else {
                    segment
                }
            })
            .collect::<Vec<_>>()
            .join("/"),
    };
    Some(if path.is_empty() {
        "/".to_owned()
    } else {
        path
    })
}
