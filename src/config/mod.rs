//! Configuration: what `proxy.toml` says, compiled into what the program uses.
//!
//! `text -> toml with positions -> tables read by known keys -> checked and compiled -> Config`
//!
//! All errors of a file are reported at once, each with its place. A [`Config`] that exists is valid: names resolve, secrets
//! and documents were read, no two routes match equally. Nothing here opens a socket or starts a task.

mod compile;
mod document;
mod fixed;
pub mod keys;
pub mod model;
mod network;
mod rate;
mod reader;
pub mod reference;
mod report;
mod sibling;
mod tags;
pub mod template;
mod values;
mod written;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use self::{
    reader::{Context, Table},
    report::Findings,
};
use crate::clock::{Clock, Timestamp};
pub use document::{Document, DocumentError};
pub use fixed::Fixed;
pub use model::*;
pub use network::{Network, NetworkError};
pub use rate::Rate;
pub use report::{ConfigErrors, Finding, Place, Severity};
pub use sibling::{Sibling, SiblingError};
pub use tags::{RouteTags, TagError, TagTemplate};
pub use written::Written;

/// What a config may ask of the machine: environment variables and files.
pub trait Env {
    /// An environment variable; `None` where it is not set or no text.
    fn var(&self, name: &str) -> Option<String>;

    /// A whole file.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Cores this process may use; at least 1.
    fn cores(&self) -> usize;

    /// The time, for days that are past (`review_by`).
    fn now(&self) -> Timestamp;
}

/// The real machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn now(&self) -> Timestamp {
        Clock::System.now()
    }
}

/// A made-up machine for tests: these variables and files, one core.
#[derive(Clone, Debug, Default)]
pub struct FixedEnv {
    /// Environment variables.
    pub vars: HashMap<String, String>,
    /// Files by path, as the config's folder and its text join.
    pub files: HashMap<PathBuf, Vec<u8>>,
    /// The time; by default long ago, so that no day is past.
    pub now: Timestamp,
}

impl Env for FixedEnv {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.files.get(path).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        1
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

/// Reads and compiles a config file. Blocks: call it before serving, or off the async threads.
///
/// # Errors
///
/// [`ConfigErrors`] with everything that is wrong, where anything is.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let bytes = SystemEnv
        .read(path)
        .map_err(|error| ConfigErrors::unreadable(path, &error))?;
    parse(&String::from_utf8_lossy(&bytes), path, &SystemEnv)
}

/// Compiles the text of a config. `path` is where it came from: for messages, and because paths in it are relative to its
/// folder.
///
/// # Errors
///
/// [`ConfigErrors`] with everything that is wrong, where anything is.
pub fn parse(text: &str, path: &Path, env: &impl Env) -> Result<Config, ConfigErrors> {
    let cx = Context {
        findings: Findings::new(text, path),
        env,
        folder: path.parent().unwrap_or(Path::new("")),
    };
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let span = error.span().unwrap_or(0..0);
        cx.findings
            .error("", &span, error.message())
            .maybe_hint(syntax_hint(text, &span));
    }
    // What the parser made of a broken text would only add errors that nobody wrote.
    if !syntax_errors.is_empty() {
        return Err(ConfigErrors::new(cx.findings.finish()));
    }
    let root = Table::root(&cx, &keys::ROOT, document.get_ref());
    let mut config = compile::compile(&cx, &root);
    config.fixed = Fixed::of(document.get_ref());
    let has_errors = cx.findings.has_errors();
    let findings = cx.findings.finish();
    if has_errors {
        return Err(ConfigErrors::new(findings));
    }
    Ok(Config {
        warnings: findings,
        ..config
    })
}

/// What a slip of TOML's syntax probably was.
fn syntax_hint(text: &str, span: &std::ops::Range<usize>) -> Option<String> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    let first = value.chars().next()?;
    let hint = if first.is_ascii_digit() && value.ends_with(|c: char| c.is_ascii_alphabetic()) {
        format!("durations and sizes stand in quotes: \"{value}\"")
    } else if first.is_ascii_alphabetic() || first == '/' {
        "text stands in quotes".to_owned()
    } else {
        return None;
    };
    Some(hint)
}

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod transform_tests;
#[cfg(test)]
mod tests;
