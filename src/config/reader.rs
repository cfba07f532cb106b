//! Reads tables key by key against `keys`, collecting every complaint instead of stopping at the first.
//!
//! A value that cannot be read is reported and its default taken, so that the rest of the file is still looked at; a config
//! with errors is thrown away at the end, so such a value never takes effect.

use std::{
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Env, Written,
    keys::{Absent, Form, TableKeys},
    report::{Added, Findings},
    values::{self, Complaint, Parsed, kind, listed, nearest},
};

/// What every reader of one file shares.
pub(super) struct Context<'a> {
    pub(super) findings: Findings<'a>,
    pub(super) env: &'a dyn Env,
    /// Folder of the file; paths in it are relative to here.
    pub(super) folder: &'a Path,
}

/// One table of the file, or the absence of one (all defaults).
pub(super) struct Table<'a> {
    pub(super) cx: &'a Context<'a>,
    keys: &'static TableKeys,
    path: String,
    span: Range<usize>,
    entries: Option<&'a DeTable<'a>>,
}

/// One value and where it stands.
pub(super) struct Item<'a> {
    cx: &'a Context<'a>,
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'a DeValue<'a>,
}

// --- Context ---

impl Context<'_> {
    /// A path of the file, relative to its folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

// --- Table ---

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(
        cx: &'a Context<'a>,
        keys: &'static TableKeys,
        entries: &'a DeTable<'a>,
    ) -> Self {
        Self::open(cx, keys, String::new(), 0..0, entries)
    }

    fn open(
        cx: &'a Context<'a>,
        keys: &'static TableKeys,
        path: String,
        span: Range<usize>,
        entries: &'a DeTable<'a>,
    ) -> Self {
        let table = Self {
            cx,
            keys,
            path,
            span,
            entries: Some(entries),
        };
        table.report_unknown(entries);
        table
    }

    fn report_unknown(&self, entries: &DeTable<'_>) {
        for name in entries.keys() {
            let text: &str = name.get_ref();
            if self.keys.key(text).is_some() {
                continue;
            }
            let known = || self.keys.keys.iter().map(|key| key.name);
            let hint = match nearest(text, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys here: {}", listed(known())),
            };
            self.cx
                .findings
                .error(self.key(text), &name.span(), "unknown key")
                .hint(hint);
        }
    }

    /// Where the table stands.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Where the table and its keys stand, for who explains what they do. Keys of inline tables below count as
    /// `table.key`.
    pub(super) fn written(&self) -> Written {
        let Some(entries) = self.entries else {
            return Written::default();
        };
        let findings = &self.cx.findings;
        let mut keys = Vec::new();
        for (name, value) in entries {
            let text: &str = name.get_ref();
            keys.push((text.into(), findings.line_of(&name.span())));
            if let DeValue::Table(below) = value.get_ref() {
                keys.extend(below.keys().map(|inner| {
                    let path = format!("{text}.{}", inner.get_ref());
                    (path.into(), findings.line_of(&inner.span()))
                }));
            }
        }
        // A table of which only dotted keys are written has no place of its own.
        let table = (!self.span.is_empty()).then(|| findings.line_of(&self.span));
        Written::new(findings.file(), table, keys)
    }

    /// The full path of one of its keys.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Where a key's value stands; the table itself where it is not written.
    pub(super) fn span_of(&self, name: &str) -> Range<usize> {
        self.item(name).map_or(self.span.clone(), |item| item.span)
    }

    /// Reports an error at a key of this table.
    pub(super) fn error(&self, name: &str, message: impl Into<String>) -> Added<'_> {
        self.cx
            .findings
            .error(self.key(name), &self.span_of(name), message)
    }

    /// Reports a warning at a key of this table.
    pub(super) fn warning(&self, name: &str, message: impl Into<String>) -> Added<'_> {
        self.cx
            .findings
            .warning(self.key(name), &self.span_of(name), message)
    }

    /// The value as written.
    pub(super) fn item(&self, name: &str) -> Option<Item<'a>> {
        let value = self.entries?.get(name)?;
        Some(Item {
            cx: self.cx,
            key: self.key(name),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// Whether the file says something about this key.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.item(name).is_some()
    }

    /// The value as written or its default; `None` where there is neither, which is reported where the key is required.
    pub(super) fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        if let Some(item) = self.item(name) {
            match parse(item.value) {
                Ok(value) => return Some(value),
                Err(complaint) => item.complain(complaint),
            }
        }
        self.default(name, parse)
    }

    fn default<T>(&self, name: &str, parse: impl Fn(&DeValue<'_>) -> Parsed<T>) -> Option<T> {
        match self.absent(name) {
            Absent::Is(text) => parse(DeValue::parse(text).ok()?.get_ref()).ok(),
            Absent::Means(_) => None,
            Absent::Required => {
                if !self.is_written(name) {
                    self.error(name, "is missing");
                }
                None
            }
        }
    }

    fn form(&self, name: &str) -> Form {
        let key = self.keys.key(name);
        key.map_or(Form::Text, |key| key.form)
    }

    fn absent(&self, name: &str) -> Absent {
        let key = self.keys.key(name);
        key.map_or(Absent::Required, |key| key.absent)
    }

    /// A duration that may be left out.
    pub(super) fn optional_duration(&self, name: &str) -> Option<Duration> {
        let zero = !matches!(self.form(name), Form::Duration { zero: false });
        self.read(name, |value| values::duration(value, zero))
    }

    /// A duration with a default.
    pub(super) fn duration(&self, name: &str) -> Duration {
        self.optional_duration(name).unwrap_or_default()
    }

    /// A size in bytes with a default.
    pub(super) fn size(&self, name: &str) -> u64 {
        let zero = !matches!(self.form(name), Form::Size { zero: false });
        self.read(name, |value| values::size(value, zero))
            .unwrap_or_default()
    }

    /// A whole number within the bounds of its key; `None` where it is left out and has no default.
    pub(super) fn optional_count<N: TryFrom<u64>>(&self, name: &str) -> Option<N> {
        let (min, max) = match self.form(name) {
            Form::Count { min, max } => (min, max),
            _ => (0, u64::MAX),
        };
        let count = self.read(name, |value| values::count(value, min, max))?;
        N::try_from(count).ok()
    }

    /// A whole number with a default.
    pub(super) fn count<N: TryFrom<u64> + Default>(&self, name: &str) -> N {
        self.optional_count(name).unwrap_or_default()
    }

    /// `true` or `false`; `None` where it is left out and has no default.
    pub(super) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.read(name, values::flag)
    }

    /// `true` or `false` with a default.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or_default()
    }

    /// A line of text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.read(name, values::line)
    }

    /// One of the words of its key.
    pub(super) fn word(&self, name: &str) -> &'static str {
        let words = match self.form(name) {
            Form::Word(words) => words,
            _ => &[],
        };
        self.read(name, |value| values::word(value, words))
            .unwrap_or_default()
    }

    /// An address with a default.
    pub(super) fn address(&self, name: &str) -> SocketAddr {
        self.read(name, values::address)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A path, joined to the config's folder.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|text| self.cx.resolve(&text))
    }

    /// The file a path names. Reported where it cannot be read.
    pub(super) fn file(&self, name: &str) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.path(name)?;
        match self.cx.env.read(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(error) => {
                self.error(name, format!("cannot read {}: {error}", path.display()))
                    .hint("paths are relative to the folder of the config file");
                None
            }
        }
    }

    /// The elements of a list (or the one value that stands for a list of one); defaults where nothing is written.
    pub(super) fn list<T>(&self, name: &str, parse: impl Fn(&DeValue<'_>) -> Parsed<T>) -> Vec<T> {
        let Some(item) = self.item(name) else {
            let all = |value: &DeValue<'_>| match value {
                DeValue::Array(list) => list.iter().map(|item| parse(item.get_ref())).collect(),
                other => parse(other).map(|one| vec![one]),
            };
            return self.default(name, all).unwrap_or_default();
        };
        let mut parsed = Vec::new();
        for item in item.elements() {
            match parse(item.value) {
                Ok(value) => parsed.push(value),
                Err(complaint) => item.complain(complaint),
            }
        }
        parsed
    }

    /// Name and value of the entries of a free table (`set = { name = "value" }`).
    pub(super) fn pairs(&self, name: &str) -> Vec<(&'a str, Range<usize>, Item<'a>)> {
        let Some(item) = self.item(name) else {
            return Vec::new();
        };
        let DeValue::Table(entries) = item.value else {
            item.complain(Complaint::new(format!(
                "expected a table {{ name = \"value\" }}, found {}",
                kind(item.value)
            )));
            return Vec::new();
        };
        in_order(entries)
            .map(|(name, value)| {
                let text: &str = name.get_ref();
                let item = Item {
                    cx: self.cx,
                    key: format!("{}.{text}", item.key),
                    span: value.span(),
                    value: value.get_ref(),
                };
                (text, name.span(), item)
            })
            .collect()
    }

    /// A table below this one. Where it is not written: one with nothing in it, so that all its defaults hold.
    pub(super) fn table(&self, name: &str) -> Table<'a> {
        self.optional_table(name)
            .unwrap_or_else(|| self.empty(name))
    }

    /// A table below this one, where it is written.
    pub(super) fn optional_table(&self, name: &str) -> Option<Table<'a>> {
        let keys = self.keys_below(name)?;
        self.item(name)?.table(keys)
    }

    /// The tables of a list of tables (or the one table that stands for a list of one).
    pub(super) fn tables(&self, name: &str) -> Vec<Table<'a>> {
        let (Some(keys), Some(item)) = (self.keys_below(name), self.item(name)) else {
            return Vec::new();
        };
        let tables = item.elements().into_iter();
        tables.filter_map(|item| item.table(keys)).collect()
    }

    /// The tables of `[name.NAME]`, in the order of the file, with their names.
    pub(super) fn named_tables(&self, name: &str) -> Vec<(&'a str, Table<'a>)> {
        let Some(keys) = self.keys_below(name) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (text, name_span, item) in self.pairs(name) {
            if !matches!(item.value, DeValue::Table(_)) {
                let findings = &self.cx.findings;
                let message = format!("a value where `[{name}.NAME]` is expected");
                let hint = format!("name it: `[{name}.NAME]`, with `{text}` below");
                findings.error(&item.key, &name_span, message).hint(hint);
            } else if let Some(mut table) = item.table(keys) {
                table.span = name_span;
                tables.push((text, table));
            }
        }
        tables
    }

    fn keys_below(&self, name: &str) -> Option<&'static TableKeys> {
        match self.form(name) {
            Form::Table(keys) => Some(keys),
            _ => None,
        }
    }

    fn empty(&self, name: &str) -> Table<'a> {
        Table {
            cx: self.cx,
            keys: self.keys_below(name).unwrap_or(self.keys),
            path: self.key(name),
            span: self.span.clone(),
            entries: None,
        }
    }

    /// The same table under another name in messages (a route by its own name instead of its number).
    pub(super) fn renamed(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    /// A secret: `{ env = "NAME" }` or `{ file = "path" }`. Reported where it is a literal, missing or empty.
    pub(super) fn secret(&self, name: &str) -> Option<SecretString> {
        let Some(item) = self.item(name) else {
            return self.default(name, |_| Err(Complaint::new("")));
        };
        match item.secret() {
            Ok(secret) => Some(secret),
            Err(complaint) => {
                item.complain(complaint);
                None
            }
        }
    }
}

/// Entries by their place in the file.
fn in_order<'a>(
    entries: &'a DeTable<'a>,
) -> impl Iterator<
    Item = (
        &'a Spanned<toml::de::DeString<'a>>,
        &'a Spanned<DeValue<'a>>,
    ),
> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries.into_iter()
}

// --- Item ---

impl<'a> Item<'a> {
    /// Reports what is wrong with this value.
    pub(super) fn complain(&self, complaint: Complaint) {
        self.cx
            .findings
            .error(&self.key, &self.span, complaint.message)
            .maybe_hint(complaint.hint);
    }

    /// Keeps this value out of every message.
    pub(super) fn mask(&self) {
        self.cx.findings.mask(&self.span);
    }

    /// The elements of a list; the value itself where it is none.
    pub(super) fn elements(self) -> Vec<Item<'a>> {
        let DeValue::Array(list) = self.value else {
            return vec![self];
        };
        let item = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Item {
            cx: self.cx,
            key: format!("{}[{index}]", self.key),
            span: value.span(),
            value: value.get_ref(),
        };
        list.iter().enumerate().map(item).collect()
    }

    /// The value as a table of these keys. Reported where it is none.
    pub(super) fn table(self, keys: &'static TableKeys) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value else {
            let found = kind(self.value);
            self.complain(
                Complaint::new(format!("expected a table, found {found}"))
                    .hint(format!("write it as `{}`", keys.heading)),
            );
            return None;
        };
        Some(Table::open(self.cx, keys, self.key, self.span, entries))
    }

    fn secret(&self) -> Parsed<SecretString> {
        let forms = "write { env = \"NAME\" } or { file = \"path\" }";
        let DeValue::Table(entries) = self.value else {
            self.mask();
            let message = "a secret is never written into the config";
            return Err(Complaint::new(message).hint(forms));
        };
        let mut entries = entries.iter();
        let (Some((source, value)), None) = (entries.next(), entries.next()) else {
            return Err(Complaint::new("names not exactly one source").hint(forms));
        };
        let place = values::line(value.get_ref())?;
        let secret = match &**source.get_ref() {
            "env" => self.cx.env.var(&place).ok_or_else(|| {
                Complaint::new(format!("the environment variable `{place}` is not set")).hint(
                    format!("start larder with {place}=…, or use {{ file = \"path\" }}"),
                )
            })?,
            "file" => self.secret_file(&place)?,
            other => {
                // `{ value = "hunter2" }` is a literal too.
                self.mask();
                return Err(Complaint::new(format!("unknown source `{other}`")).hint(forms));
            }
        };
        if secret.is_empty() {
            return Err(Complaint::new(format!("the secret in `{place}` is empty")));
        }
        Ok(SecretString::from(secret))
    }

    fn secret_file(&self, place: &str) -> Parsed<String> {
        let path = self.cx.resolve(place);
        let bytes = self.cx.env.read(&path).map_err(|error| {
            Complaint::new(format!("cannot read {}: {error}", path.display()))
                .hint("paths are relative to the folder of the config file")
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Complaint::new(format!("{} is not text", path.display())))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }
}
