//! The config reference: `docs/config.md`, printed from [`super::keys`].

use std::fmt::Write;

use super::keys::{Absent, Form, Key, ROOT, TABLES, TableKeys};

const INTRODUCTION: &str = "\
# `proxy.toml`: every key

Generated from the table of keys the program reads (`src/config/keys.rs`); a test keeps this file and that table equal.
`proxy.toml` in the root shows the same keys in use. `larder check` says what is wrong with a file, all of it at once.

- Durations are text with a unit: `\"300ms\"`, `\"2s\"`, `\"15m\"`, `\"1h 30m\"`, `\"7d\"` (a day is 24 hours). Sizes too: `\"64 KiB\"`, `\"256 MiB\"`.
- Secrets are references: `{ env = \"NAME\" }` or `{ file = \"path\" }`.
- Paths are relative to the folder of the config file.
- A key that is not listed here is an error.
";

/// The whole reference as Markdown.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    for table in TABLES {
        write_table(&mut out, table);
    }
    out
}

fn write_table(out: &mut String, table: &TableKeys) {
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n## `{}`\n\n{}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n",
        table.heading, table.about
    );
    for key in table.keys {
        let (form, default) = (form(key), default(key));
        let about = key.about.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {form} | {default} | {about} |", key.name);
    }
}

fn form(key: &Key) -> String {
    match key.form {
        Form::Duration { zero: false } => "duration".to_owned(),
        Form::Duration { zero: true } => "duration or `\"0s\"`".to_owned(),
        Form::Size { zero: false } => "size".to_owned(),
        Form::Size { zero: true } => "size or `\"0\"`".to_owned(),
        Form::Count { min, max } => format!("{min} to {max}"),
        Form::Flag => "`true` or `false`".to_owned(),
        Form::Text => "text".to_owned(),
        Form::Word(words) => {
            let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            quoted.join(", ")
        }
        Form::Address => "address and port".to_owned(),
        Form::FilePath => "path".to_owned(),
        Form::Secret => "secret".to_owned(),
        Form::List(of) => format!("list of {of}"),
        Form::Table(table) if std::ptr::eq(table, &ROOT) => "table".to_owned(),
        Form::Table(table) => format!("table, see `{}`", table.heading),
        Form::Other(form) => form.to_owned(),
    }
}

fn default(key: &Key) -> String {
    match key.absent {
        Absent::Is(value) => format!("`{value}`"),
        Absent::Means(words) => words.to_owned(),
        Absent::Required => "required".to_owned(),
    }
}
