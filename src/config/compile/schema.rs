//! `schema` of `[route.contract]`: a file, JSON in the config itself, or a table of it.
//!
//! What is wrong with a schema is told where it stands: in the file of the schema, in the middle of a text of the config, or
//! at a key of a table.

use std::{
    ops::Range,
    path::{Component, Path, PathBuf},
};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    config::{
        reader::{Item, Table},
        values::{Complaint, kind},
    },
    contract::{Schema, SchemaError, schema::SchemaPlace},
};

/// The schema of a contract. Reported where it is none.
pub(super) fn schema(table: &Table<'_>) -> Option<Schema> {
    let item = table.item("schema")?;
    match item.value {
        DeValue::String(text) if text.trim_start().starts_with('{') => inline(table, &item, text),
        DeValue::String(path) => file(table, &item, path.trim()),
        DeValue::Table(entries) => in_table(table, &item, entries),
        other => {
            let found = kind(other);
            let message = format!("expected a file, JSON or a table, found {found}");
            item.complain(Complaint::new(message).hint("write \"contracts/price.json\""));
            None
        }
    }
}

/// JSON as text of the config.
fn inline(table: &Table<'_>, item: &Item<'_>, text: &str) -> Option<Schema> {
    let root = table.cx.folder.to_owned();
    let error = match Schema::compile(text, "", &reader(table, &root)) {
        Ok(schema) => return Some(schema),
        Err(error) => error,
    };
    if !error.file.is_empty() {
        elsewhere(table, item, &root, &error);
        return None;
    }
    // Where no escape stands in it, it stands in the config as it is.
    let written = table.cx.findings.written(&item.span);
    let span = match written.find(text) {
        Some(at) => {
            let (start, within) = (item.span.start + at, error.span(text));
            start + within.start..start + within.end
        }
        None => item.span.clone(),
    };
    report(table, item, &span, &error);
    None
}

fn file(table: &Table<'_>, item: &Item<'_>, path: &str) -> Option<Schema> {
    if path.is_empty() {
        item.complain(Complaint::new("is empty"));
        return None;
    }
    let (root, home) = split(table.cx.folder, path);
    let full = root.join(&home);
    let unreadable = |why: &str| {
        let message = format!("cannot read {}: {why}", full.display());
        item.complain(Complaint::new(message).hint(
            "paths are relative to the folder of the config file; JSON in the config itself begins with `{`",
        ));
    };
    let bytes = match table.cx.env.read(&full) {
        Ok(bytes) => bytes,
        Err(error) => {
            unreadable(&error.to_string());
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        unreadable("it is not UTF-8");
        return None;
    };
    match Schema::compile(&text, &home, &reader(table, &root)) {
        Ok(schema) => Some(schema),
        Err(error) if error.file.is_empty() => {
            let error = SchemaError {
                file: home,
                text,
                ..error
            };
            elsewhere(table, item, &root, &error);
            None
        }
        Err(error) => {
            elsewhere(table, item, &root, &error);
            None
        }
    }
}

/// The folder below which everything is that a schema refers to, and the way from there: the config's folder where the
/// schema is below it, its own folder elsewhere.
fn split(folder: &Path, path: &str) -> (PathBuf, String) {
    let written = Path::new(path);
    let is_below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if written.components().all(is_below) {
        let parts = written.components().filter_map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        });
        return (folder.to_owned(), parts.collect::<Vec<_>>().join("/"));
    }
    let full = folder.join(written);
    let name = full.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    (full.parent().unwrap_or(folder).to_owned(), name)
}

fn reader(table: &Table<'_>, root: &Path) -> impl Fn(&str) -> Result<Vec<u8>, String> {
    let env = table.cx.env;
    move |path| {
        let read = env.read(&root.join(path));
        read.map_err(|error| error.to_string())
    }
}

/// A schema as tables and lists of the config.
fn in_table(table: &Table<'_>, item: &Item<'_>, entries: &DeTable<'_>) -> Option<Schema> {
    let root = table.cx.folder.to_owned();
    match Schema::of(json_object(entries), "", &reader(table, &root)) {
        Ok(schema) => Some(schema),
        Err(error) if !error.file.is_empty() => {
            elsewhere(table, item, &root, &error);
            None
        }
        Err(error) => {
            let span = match &error.place {
                SchemaPlace::Pointer(pointer) => span_in(entries, pointer),
                SchemaPlace::Offset(_) => None,
            };
            report(table, item, &span.unwrap_or(item.span.clone()), &error);
            None
        }
    }
}

fn json_object(entries: &DeTable<'_>) -> Value {
    let pair = |(name, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
        (name.get_ref().to_string(), json(value.get_ref()))
    };
    Value::Object(entries.iter().map(pair).collect::<Map<_, _>>())
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok().and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(list) => list.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(entries) => json_object(entries),
    }
}

/// Where the value stands that a JSON Pointer leads to, or the last one on the way.
fn span_in(entries: &DeTable<'_>, pointer: &str) -> Option<Range<usize>> {
    let mut found: Option<&Spanned<DeValue<'_>>> = None;
    let mut entries = Some(entries);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let below = match (entries.take(), found.map(Spanned::get_ref)) {
            (Some(entries), _) | (None, Some(DeValue::Table(entries))) => entries.get(&*token),
            (None, Some(DeValue::Array(list))) => {
                token.parse().ok().and_then(|index: usize| list.get(index))
            }
            _ => None,
        };
        match below {
            Some(below) => found = Some(below),
            None => break,
        }
    }
    found.map(Spanned::span)
}

/// An error at a place of the config.
fn report(table: &Table<'_>, item: &Item<'_>, span: &Range<usize>, error: &SchemaError) {
    table
        .cx
        .findings
        .error(&item.key, span, &error.message)
        .maybe_hint(error.hint.clone());
}

/// An error at a place of a schema's file.
fn elsewhere(table: &Table<'_>, item: &Item<'_>, root: &Path, error: &SchemaError) {
    let file = root.join(&error.file);
    table
        .cx
        .findings
        .error_in(
            (&item.key, &item.span),
            (&file, &error.text, &error.span(&error.text)),
            &error.message,
        )
        .maybe_hint(error.hint.clone());
}
