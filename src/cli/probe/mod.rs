//! `larder probe`: what a vendor's URL is like, before an integration is built on it.
//!
//! A few polite requests (`ask`), what was seen of them (`seen`), what that means (`findings`), and what follows for a
//! config (`suggest`, `write`, `files`). Only `connect`, `ask`, `files` and this file do anything; the rest is pure.
//!
//! # Invariants
//!
//! - No value of a credential is printed or written: not of a field, not of a query parameter that names itself one.
//! - A file that is there already is replaced only where that was asked for.
//! - Environment proxies are not used: the proxy would not use them either.

mod ask;
mod certificate;
mod connect;
mod content;
mod files;
mod findings;
mod print;
mod seen;
mod shape;
mod suggest;
mod target;
mod write;

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use self::{
    ask::{Plan, REQUESTS_MAX},
    target::Target,
};
use super::{CliError, runtime};
use crate::clock::Clock;

/// Shortest and longest wait that can be asked for.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(300));

/// Arguments of `larder probe`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "At most eight requests are sent, one after another, GET and HEAD only, with a User-Agent that names \
                  larder. Redirects to another host are not followed. Exit codes: 0 usable, 1 not reachable or no usable \
                  answer, 2 bad usage."
)]
pub(super) struct ProbeArgs {
    /// What to ask for: https://api.vendor.example/v1/prices/sku-1
    #[arg(value_name = "URL")]
    pub url: String,
    /// A field of the requests, such as an API key; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub fields: Vec<String>,
    /// Environment variable that holds a token for `Authorization: Bearer`
    #[arg(long, value_name = "NAME")]
    pub bearer_env: Option<String>,
    /// Most requests, 1 to 8
    #[arg(long, value_name = "NUMBER", default_value_t = REQUESTS_MAX)]
    pub requests: usize,
    /// Longest wait for each step and each request
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: String,
    /// PEM file of the certificate authority to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a proxy.toml to start from, and contracts/NAME.json, into this folder
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    pub force: bool,
}

/// Probes, and prints what was found.
///
/// # Errors
///
/// [`CliError::Setup`] for a command line that cannot be followed; [`CliError::Failed`] where what was found cannot be
/// printed or written.
pub(super) fn run(args: &ProbeArgs) -> Result<ExitCode, CliError> {
    let target = Target::parse(&args.url).map_err(CliError::Setup)?;
    let fields = fields(args)?;
    let patience = patience(&args.timeout)?;
    if !(1..=REQUESTS_MAX).contains(&args.requests) {
        return Err(CliError::Setup(format!(
            "--requests {} is out of bounds: 1 to {REQUESTS_MAX}",
            args.requests
        )));
    }
    if let Some(folder) = &args.write {
        files::is_free(folder, args.force).map_err(CliError::Setup)?;
    }
    let plan = Plan {
        fields: &fields,
        requests_max: args.requests,
        patience,
        ca_file: args.ca_file.as_deref(),
    };
    let runtime = runtime(1)?;
    let seen = runtime.block_on(ask::probe(target, &plan, &Clock::System));
    // A name server that does not answer holds nobody up.
    runtime.shutdown_background();
    let seen = seen.map_err(CliError::Setup)?;
    let reading = findings::read(&seen);
    let findings = findings::findings(&seen, &reading);
    let suggestion = suggest::suggestion(&seen, &reading);
    let is_usable = findings::is_usable(&findings);
    let text = match args.json {
        true => {
            let document =
                print::script(&seen, &reading, &findings, suggestion.as_ref(), is_usable);
            format!("{document:#}\n")
        }
        false => print::people(&seen, &reading, &findings, suggestion.as_ref()),
    };
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| CliError::Failed(format!("cannot print the findings: {error}")))?;
    let Some(folder) = &args.write else {
        return Ok(code(is_usable));
    };
    let Some(suggestion) = suggestion.filter(|_| is_usable) else {
        eprintln!("larder: nothing was written, as there is no usable answer to write it from");
        return Ok(code(false));
    };
    let how = write::How {
        bearer_env: args.bearer_env.as_deref(),
        fields: &fields,
        ca_file: args.ca_file.as_deref(),
    };
    let draft = write::draft(&seen, &reading, &suggestion, &how);
    let told = files::write(folder, &draft, args.force).map_err(CliError::Failed)?;
    eprint!("{told}");
    Ok(code(is_usable))
}

fn code(is_usable: bool) -> ExitCode {
    match is_usable {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}

/// The operator's fields; their values are marked as what nobody may see.
fn fields(args: &ProbeArgs) -> Result<HeaderMap, CliError> {
    let mut fields = HeaderMap::new();
    for field in &args.fields {
        let Some((name, value)) = field.split_once(':') else {
            // It may be a secret without its name.
            return Err(CliError::Setup(
                "a --header has no colon: write --header 'Name: value'".to_owned(),
            ));
        };
        let name = name.trim();
        let parsed = HeaderName::try_from(name)
            .map_err(|_| CliError::Setup(format!("`{name}` is no name of a field")))?;
        fields.append(parsed, secret(name, value.trim())?);
    }
    let Some(variable) = &args.bearer_env else {
        return Ok(fields);
    };
    if fields.contains_key(AUTHORIZATION) {
        return Err(CliError::Setup(
            "--bearer-env and --header 'Authorization: …' are one field: give one of them"
                .to_owned(),
        ));
    }
    let token = std::env::var(variable).unwrap_or_default();
    if token.trim().is_empty() {
        return Err(CliError::Setup(format!(
            "the environment variable {variable} is not set: put the token in it"
        )));
    }
    let value = secret("Authorization", &format!("Bearer {}", token.trim()))?;
    fields.insert(AUTHORIZATION, value);
    Ok(fields)
}

fn secret(name: &str, value: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        CliError::Setup(format!(
            "the value of {name} has bytes that a field cannot carry; look for a line break at its end"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `10s`, `1m`, `500ms`.
fn patience(text: &str) -> Result<Duration, CliError> {
    let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
    let (min, max) = PATIENCE;
    parsed
        .ok()
        .filter(|length| (min..=max).contains(length))
        .ok_or_else(|| {
            CliError::Setup(format!(
                "--timeout `{text}` is no time between 10ms and 5m: write 10s, 500ms, 1m"
            ))
        })
}
