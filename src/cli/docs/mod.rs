//! `larder docs`: a page per integration, from the config and from what a running proxy has seen.
//!
//! What a page says is read off the config that is checked, so that it cannot say anything else than what is done; offline
//! the same config gives the same bytes, so that the pages can be kept in version control and compared (`--check`).

mod gather;
mod markdown;
mod model;
mod observed;
mod relied;
mod render;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use toml::Table;

use super::{CliError, admin_client::AdminArgs};
use crate::{
    clock::{Clock, Timestamp},
    config::{self, Config, Env, SystemEnv},
};
use model::{Observation, Page};

/// The index of the folder.
const INDEX: &str = "README.md";

/// Arguments of `larder docs`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Secrets are named by where they come from and never read into a page; they need not be set. With \
                  --offline the same configuration gives the same bytes: keep the folder in version control, and let \
                  `larder docs --check` fail where it is out of date."
)]
pub(super) struct DocsArgs {
    #[command(flatten)]
    pub proxy: AdminArgs,
    /// Folder to write to; made where it is not there
    #[arg(long, short, value_name = "DIR", default_value = "integrations")]
    pub out: PathBuf,
    /// The page of this upstream only, without the index
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Say what the configuration says, without asking a running proxy
    #[arg(long, conflicts_with = "admin")]
    pub offline: bool,
    /// Write nothing; fail where the folder does not have what would be written offline
    #[arg(long, conflicts_with = "admin")]
    pub check: bool,
}

/// A file to be written.
struct Written {
    name: String,
    text: String,
}

/// Writes the pages, or compares them.
///
/// # Errors
///
/// [`CliError::Setup`] where the config is not valid or names no such upstream; [`CliError::Failed`] where the folder cannot
/// be written to, or is out of date (`--check`).
pub(super) fn run(args: &DocsArgs) -> Result<(), CliError> {
    let path = &args.proxy.config;
    let (config, file) = load(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let pages = gather::pages(&config, &file, &read);
    let observation = match args.offline || args.check {
        true => Observation::Offline,
        false => observe(&args.proxy),
    };
    let files = files(&pages, args.upstream.as_deref(), &observation)?;
    let leftover = match args.upstream {
        Some(_) => Vec::new(),
        None => leftover(&args.out, &files),
    };
    if args.check {
        return check(&args.out, &files, &leftover);
    }
    refuse_to_overwrite(&args.out, &files)?;
    write(&args.out, &files, &leftover).map_err(|error| {
        CliError::Failed(format!("cannot write to {}: {error}", args.out.display()))
    })?;
    if let Observation::Absent(why) = &observation {
        eprintln!("larder: not observed: {why}");
    }
    println!("{} files in {}", files.len(), args.out.display());
    Ok(())
}

/// The config, compiled, and as it is written.
fn load(path: &Path) -> Result<(Config, Table), CliError> {
    let bytes = fs::read(path)
        .map_err(|error| CliError::Setup(format!("cannot read {}: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    let config = config::parse(&text, path, &WithoutSecrets).map_err(CliError::setup)?;
    let file = text.parse().map_err(CliError::setup)?;
    Ok((config, file))
}

/// This machine, on which every environment variable is set: where pages are written, secrets need not be.
struct WithoutSecrets;

impl Env for WithoutSecrets {
    fn var(&self, name: &str) -> Option<String> {
        SystemEnv.var(name).or_else(|| Some("-".to_owned()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemEnv.read(path)
    }

    fn cores(&self) -> usize {
        SystemEnv.cores()
    }

    fn now(&self) -> Timestamp {
        SystemEnv.now()
    }
}

/// What the running proxy says, if there is one.
fn observe(proxy: &AdminArgs) -> Observation {
    let asked = proxy.client().and_then(|client| {
        let status = client.get("/api/v1/status")?;
        // Not every version of larder has these.
        let contracts = client.get("/api/v1/contracts").ok();
        let names = status["routes"].as_array().into_iter().flatten();
        let names = names.filter_map(|route| route["name"].as_str());
        let drift = names.filter_map(|name| {
            let learnt = client.get(&format!("/api/v1/drift/{}", encoded(name)));
            Some((name.to_owned(), learnt.ok()?))
        });
        let seen = observed::seen(&status, contracts.as_ref(), &drift.collect::<Vec<_>>());
        Ok((client.base().to_owned(), seen))
    });
    match asked {
        Ok((admin, seen)) => Observation::At {
            time: observed::instant(Clock::System.now().as_millis()),
            admin,
            seen,
        },
        Err(CliError::NoProxy(_)) => {
            let place = match (&proxy.admin, proxy.client()) {
                (Some(admin), _) => admin.clone(),
                (None, Ok(client)) => client.base().to_owned(),
                (None, Err(_)) => "its address".to_owned(),
            };
            Observation::Absent(format!("no running larder at {place}"))
        }
        Err(error) => {
            let why = error.to_string();
            Observation::Absent(why.lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// A route's name as one segment of a path, percent-encoded but for unreserved characters (RFC 3986 2.3).
fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The files of all pages and their index, or of one page.
fn files(
    pages: &[Page],
    only: Option<&str>,
    observation: &Observation,
) -> Result<Vec<Written>, CliError> {
    let file = |page: &Page| Written {
        name: page.file.clone(),
        text: render::page(page, observation),
    };
    if let Some(name) = only {
        let page = pages.iter().find(|page| page.name == name);
        let page = page.ok_or_else(|| {
            let known: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
            CliError::Setup(format!(
                "there is no upstream named `{name}`; there are: {}",
                known.join(", ")
            ))
        })?;
        return Ok(vec![file(page)]);
    }
    let index = Written {
        name: INDEX.to_owned(),
        text: render::index(pages, observation),
    };
    Ok(pages.iter().map(file).chain([index]).collect())
}

/// Pages in the folder that were written for an upstream that is no more. Files of others are none of ours.
fn leftover(folder: &Path, files: &[Written]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_page = name.is_some_and(|name| name.ends_with(".md"));
        let is_wanted = files.iter().any(|file| name == Some(file.name.as_str()));
        is_page && !is_wanted && is_ours(path)
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    ours
}

fn is_ours(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.starts_with(render::MARKER))
}

/// A folder may hold what somebody else wrote under the same name.
fn refuse_to_overwrite(folder: &Path, files: &[Written]) -> Result<(), CliError> {
    let paths = files.iter().map(|file| folder.join(&file.name));
    let foreign = paths
        .into_iter()
        .find(|path| path.exists() && !is_ours(path));
    foreign.map_or(Ok(()), |path| {
        Err(CliError::Setup(format!(
            "{} was not written by `larder docs` and is left alone: name another folder with --out",
            path.display()
        )))
    })
}

fn write(folder: &Path, files: &[Written], leftover: &[PathBuf]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for file in files {
        fs::write(folder.join(&file.name), &file.text)?;
    }
    leftover.iter().try_for_each(fs::remove_file)
}

/// Whether the folder has what would be written.
fn check(folder: &Path, files: &[Written], leftover: &[PathBuf]) -> Result<(), CliError> {
    let mut wrong = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        match fs::read_to_string(&path) {
            // A checkout may have changed the ends of lines.
            Ok(text) if text.replace("\r\n", "\n") == file.text => {}
            Ok(_) => wrong.push(format!("{} is out of date", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                wrong.push(format!("{} is missing", path.display()));
            }
            Err(error) => wrong.push(format!("cannot read {}: {error}", path.display())),
        }
    }
    let stale = leftover.iter();
    wrong.extend(stale.map(|path| format!("{} is of an upstream that is no more", path.display())));
    if wrong.is_empty() {
        println!("{} is up to date", folder.display());
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "{}\nrun `larder docs --offline --out {}` and keep what it writes",
        wrong.join("\n"),
        folder.display()
    )))
}
