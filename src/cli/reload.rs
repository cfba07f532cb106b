//! `larder reload`: a running proxy reads its configuration again.

use clap::Args;
use serde_json::json;

use super::{CliError, admin_client::AdminArgs};

const PATH: &str = "/api/v1/reload";

/// Arguments of `larder reload`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Routes and policies take effect at once: paths, freshness, contracts, transforms, fallbacks. What else changed in \
                  the file takes a restart; then, and where the file has an error, nothing is changed and it says why. \
                  SIGHUP does the same, and says so in the log."
)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    pub proxy: AdminArgs,
    /// Print what the proxy answers, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Reloads, and says what came of it.
///
/// # Errors
///
/// [`CliError::Setup`] where the old configuration goes on; it says why.
pub(super) fn run(args: &ReloadArgs) -> Result<(), CliError> {
    let done = args.proxy.client()?.post(PATH, &json!({}))?;
    if args.json {
        println!("{done}");
        return Ok(());
    }
    for warning in done["warnings"].as_array().into_iter().flatten() {
        println!("{}", warning.as_str().unwrap_or_default());
    }
    let routes = &done["routes"];
    let plural = if *routes == 1 { "" } else { "s" };
    println!("reloaded: {routes} route{plural}");
    Ok(())
}
