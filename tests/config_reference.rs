//! The files that explain the config say what the program reads: `docs/config.md` and `proxy.toml`.
//!
//! After a change to `src/config/keys.rs`: `UPDATE_REFERENCE=1 cargo test --test config_reference` writes `docs/config.md`;
//! `proxy.toml` is kept by hand.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use larder::config::{
    self, FixedEnv,
    keys::{self, Absent, Form, TableKeys},
    reference,
};
use toml::{Table, Value};

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text_of(file: &str) -> String {
    std::fs::read_to_string(root(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A machine on which everything the examples in `proxy.toml` name is there.
fn env() -> FixedEnv {
    let mut env = FixedEnv::default();
    for name in ["LARDER_ADMIN_TOKEN", "PRICING_TOKEN"] {
        env.vars.insert(name.to_owned(), "secret".to_owned());
    }
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let price = text_of("fallbacks/price.json");
    for (path, text) in [
        ("vendor-ca.pem", certificate),
        ("fallbacks/price.json", &price),
        ("contracts/price.json", &text_of("contracts/price.json")),
    ] {
        env.files.insert(path.into(), text.into());
    }
    env
}

/// The key of a line `# key = value`, or of `key = value`, and its value.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(" = ")?;
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
    key.chars().all(is_key).then_some((key, value))
}

/// `proxy.toml` with every `# key = value` taken out of its comment.
fn uncommented() -> String {
    let mut out = String::new();
    for line in text_of("proxy.toml").lines() {
        let inner = line
            .strip_prefix("# ")
            .filter(|inner| assignment(inner).is_some());
        out.push_str(inner.unwrap_or(line));
        out.push('\n');
    }
    out
}

/// Every table of a document with the keys it may have.
fn tables<'d>(
    document: &'d Table,
    keys: &'static TableKeys,
) -> Vec<(&'static TableKeys, &'d Table)> {
    let mut found = vec![(keys, document)];
    for key in keys.keys {
        let (Form::Table(below), Some(value)) = (key.form, document.get(key.name)) else {
            continue;
        };
        let is_named = matches!(key.name, "upstream" | "policy");
        let children: Vec<&Table> = match value {
            Value::Table(names) if is_named => names.values().filter_map(Value::as_table).collect(),
            Value::Table(table) => vec![table],
            Value::Array(list) => list.iter().filter_map(Value::as_table).collect(),
            _ => Vec::new(),
        };
        for child in children {
            found.extend(tables(child, below));
        }
    }
    found
}

#[test]
fn the_reference_lists_exactly_the_keys_and_defaults_the_program_reads() {
    let want = reference::markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(root("docs/config.md"), &want).unwrap();
    }
    let got = text_of("docs/config.md");
    for (number, (got, want)) in got.lines().zip(want.lines()).enumerate() {
        assert_eq!(got, want, "docs/config.md:{}", number + 1);
    }
    assert_eq!(got, want);
}

#[test]
fn the_example_is_valid_and_has_nothing_to_warn_about() {
    let config = config::load(&root("proxy.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    for name in ["prices", "availability", "catalogue", "bookings"] {
        assert!(
            config.routes.iter().any(|route| &*route.name == name),
            "{name}"
        );
    }
}

#[test]
fn the_example_stays_valid_with_every_line_uncommented() {
    let outcome = config::parse(&uncommented(), Path::new("proxy.toml"), &env());
    outcome.unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn the_example_shows_every_key() {
    let document: Table = uncommented().parse().unwrap();
    let found = tables(&document, &keys::ROOT);
    for table in keys::TABLES {
        let written: BTreeSet<&str> = found
            .iter()
            .filter(|(keys, _)| std::ptr::eq(*keys, table))
            .flat_map(|(_, table)| table.keys())
            .map(String::as_str)
            .collect();
        let known: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(written, known, "{}", table.heading);
    }
}

#[test]
fn a_commented_line_of_the_example_shows_the_default() {
    let mut heading = String::new();
    let mut compared = 0;
    for line in text_of("proxy.toml").lines() {
        if line.starts_with('[') {
            heading = line
                .trim_matches(['[', ']'])
                .split('.')
                .next()
                .unwrap()
                .to_owned();
        }
        let Some((key, value)) = line.strip_prefix("# ").and_then(assignment) else {
            continue;
        };
        let Some(Form::Table(mut table)) = keys::ROOT.key(&heading).map(|key| key.form) else {
            panic!("a key outside of every table: {line}");
        };
        let (above, name) = key.rsplit_once('.').unwrap_or(("", key));
        if let Some(Form::Table(below)) = table.key(above).map(|key| key.form) {
            table = below;
        }
        let key = table
            .key(name)
            .unwrap_or_else(|| panic!("unknown key: {line}"));
        // Header edits have no default worth showing, so they show an example.
        if let Absent::Is(default) = key.absent
            && !matches!(default, "[]" | "{}")
        {
            let parsed = |value: &str| format!("x = {value}").parse::<Table>().unwrap();
            assert_eq!(parsed(value), parsed(default), "{line}");
            compared += 1;
        }
    }
    assert!(compared > 50, "only {compared} defaults were compared");
}
