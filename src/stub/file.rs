//! The vendor file: own resources and scheduled faults for `larder stub --file vendor.toml`.
//!
//! ```toml
//! [[resource]]
//! path = "/rates/{pair}"              # {name} matches one segment
//! methods = ["GET"]                   # default; HEAD comes with GET
//! status = 200                        # default
//! headers = { X-Vendor = "acme" }     # added to every answer
//! json = { pair = "${pair}", rate = 1.07, version = "${version}" }  # or body = "text", or body_file = "rate.json"
//! changes_every = "10s"               # ${version} counts these; without it data never changes
//! cache_control = "max-age=5"         # default: no Cache-Control
//! latency = "20ms..80ms"              # default: none; one duration or a range
//!
//! [[fault]]                           # kind and settings as in the control API
//! path = "/rates/*"
//! kind = "status"
//! status = 503
//! at = "10s"                          # after the start
//! for = "5s"
//! every = "60s"
//! ```
//!
//! In `json` and `body`, `${name}` stands for what the path bound, `${version}` for the version, `${now}`
//! for the time. A JSON text that is nothing but `${version}` becomes a number. A `body_file` is sent as it is.
//!
//! Read once, at the start. Unknown keys are errors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::answer::{Answer, Question, http_date};
use super::body::Content;
use super::breaks::{Break, delay_range, duration};
use super::pattern::Template;
use crate::clock::Timestamp;

/// What a vendor file holds.
#[derive(Debug, Default)]
pub(crate) struct VendorFile {
    pub(crate) resources: Vec<Resource>,
    pub(crate) breaks: Vec<Break>,
}

/// Why a vendor file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It, or a `body_file` it names, could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file that could not be read.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no TOML, or has a key that does not exist; the message shows the line.
    #[error("{path}: {message}", path = path.display())]
    Syntax {
        /// The vendor file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A value is not allowed.
    #[error("{path}, line {line}: {message}", path = path.display())]
    Value {
        /// The vendor file.
        path: PathBuf,
        /// Line of the table that holds the value, from 1.
        line: usize,
        /// What is wrong and what is allowed.
        message: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    resource: Vec<Spanned<WrittenResource>>,
    #[serde(default)]
    fault: Vec<Spanned<BTreeMap<String, toml::Value>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenResource {
    path: String,
    #[serde(default = "get_only")]
    methods: Vec<String>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    json: Option<Value>,
    body_file: Option<PathBuf>,
    changes_every: Option<String>,
    cache_control: Option<String>,
    latency: Option<String>,
}

fn get_only() -> Vec<String> {
    vec!["GET".into()]
}

fn ok() -> u16 {
    200
}

// --- VendorFile ---

impl VendorFile {
    /// Reads and checks the file and the bodies it names, which are relative to it.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let text = fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let written: Written = toml::from_str(text).map_err(|error| FileError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let at = |offset: usize, message: String| FileError::Value {
            path: path.to_owned(),
            line: text[..offset.min(text.len())].matches('\n').count() + 1,
            message,
        };
        let mut file = Self::default();
        for entry in written.resource {
            let offset = entry.span().start;
            let entry = entry.into_inner();
            let from_file = body_of_file(&entry, path)?;
            let resource = Resource::new(entry, from_file).map_err(|why| at(offset, why))?;
            file.resources.push(resource);
        }
        for entry in written.fault {
            let offset = entry.span().start;
            let pairs = entry
                .into_inner()
                .into_iter()
                .map(|(key, value)| match value {
                    toml::Value::String(text) => (key, text),
                    other => (key, other.to_string()),
                });
            let broken = Break::from_pairs(pairs).map_err(|why| at(offset, why.to_string()))?;
            file.breaks.push(broken);
        }
        Ok(file)
    }
}

fn body_of_file(entry: &WrittenResource, vendor_file: &Path) -> Result<Option<Bytes>, FileError> {
    let Some(name) = &entry.body_file else {
        return Ok(None);
    };
    let path = vendor_file.parent().unwrap_or(Path::new("")).join(name);
    let bytes = fs::read(&path).map_err(|source| unreadable(&path, source))?;
    Ok(Some(bytes.into()))
}

fn unreadable(path: &Path, source: std::io::Error) -> FileError {
    FileError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// One resource of a vendor file.
#[derive(Debug)]
pub(crate) struct Resource {
    template: Template,
    methods: Vec<String>,
    status: StatusCode,
    headers: HeaderMap,
    body: BodySource,
    changes_every: Option<Duration>,
    latency: (Duration, Duration),
}

#[derive(Debug)]
enum BodySource {
    Text(String),
    Json(Value),
    Bytes(Bytes),
}

// --- Resource ---

impl Resource {
    fn new(entry: WrittenResource, from_file: Option<Bytes>) -> Result<Self, String> {
        let body = match (entry.body, entry.json, from_file) {
            (Some(text), None, None) => BodySource::Text(text),
            (None, Some(value), None) => BodySource::Json(value),
            (None, None, Some(bytes)) => BodySource::Bytes(bytes),
            (None, None, None) => BodySource::Text(String::new()),
            _ => return Err("give one of body, json and body_file".into()),
        };
        if !(200..=599).contains(&entry.status) {
            return Err(format!("status {} must be 200 to 599", entry.status));
        }
        let changes_every = entry.changes_every.as_deref().map(duration).transpose();
        let changes_every =
            changes_every.map_err(|why| format!("changes_every: expected {why}"))?;
        if changes_every == Some(Duration::ZERO) {
            return Err("changes_every must be longer than 0s".into());
        }
        let latency = entry.latency.as_deref().unwrap_or("0s");
        Ok(Self {
            template: entry.path.parse()?,
            methods: methods(entry.methods)?,
            status: StatusCode::from_u16(entry.status).map_err(|why| why.to_string())?,
            headers: fields(entry.headers, entry.cache_control, &body)?,
            body,
            changes_every,
            latency: delay_range(latency).map_err(|why| format!("latency: expected {why}"))?,
        })
    }

    /// The answer, if the path is this resource's.
    pub(crate) fn answer(&self, question: &Question) -> Option<Answer> {
        let mut bound = self.template.bind(&question.path)?;
        let methods: Vec<_> = self.methods.iter().map(String::as_str).collect();
        if let Some(refusal) = question.refused_method(&methods) {
            return Some(refusal);
        }
        let began = self.version_began(question);
        let version = self.version(question).to_string();
        bound.push(("version".into(), version));
        bound.push(("now".into(), question.now.as_millis().to_string()));
        let content = Content::Whole(self.body.filled(&bound));
        let mut answer = Answer::new(self.status, content);
        if let Some(began) = began {
            answer = answer.with(header::LAST_MODIFIED, &http_date(began));
        }
        answer = answer.with_etag_of_content();
        answer.headers.extend(self.headers.clone());
        answer.delay = self.delay(question);
        Some(answer)
    }

    fn version(&self, question: &Question) -> u64 {
        self.changes_every.map_or(0, |every| {
            question.now.as_millis() / (every.as_millis() as u64).max(1)
        })
    }

    fn version_began(&self, question: &Question) -> Option<Timestamp> {
        let millis = (self.changes_every?.as_millis() as u64).max(1);
        Some(Timestamp::from_millis(self.version(question) * millis))
    }

    fn delay(&self, question: &Question) -> Duration {
        let (min, max) = self.latency;
        let span = (max - min).as_millis() as u64;
        let drawn = question.draw(&["latency", &question.path], question.now.as_millis());
        min + Duration::from_millis(drawn % (span + 1))
    }
}

fn methods(written: Vec<String>) -> Result<Vec<String>, String> {
    let mut methods = Vec::new();
    for method in written {
        let known: Method = method
            .parse()
            .map_err(|_| format!("'{method}' is no method"))?;
        methods.push(known.to_string());
        if known == Method::GET {
            methods.push("HEAD".into());
        }
    }
    methods.dedup();
    if methods.is_empty() {
        return Err("methods must name at least one".into());
    }
    Ok(methods)
}

fn fields(
    written: BTreeMap<String, String>,
    cache_control: Option<String>,
    body: &BodySource,
) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    if matches!(body, BodySource::Json(_)) {
        let json = HeaderValue::from_static("application/json");
        fields.insert(header::CONTENT_TYPE, json);
    }
    let cache_control = cache_control.map(|value| ("Cache-Control".to_owned(), value));
    for (name, value) in cache_control.into_iter().chain(written) {
        let unusable = || format!("'{name}: {value}' is no field");
        let parsed: HeaderName = name.parse().map_err(|_| unusable())?;
        let parsed_value: HeaderValue = value.parse().map_err(|_| unusable())?;
        fields.insert(parsed, parsed_value);
    }
    Ok(fields)
}

// --- BodySource ---

impl BodySource {
    fn filled(&self, bound: &[(String, String)]) -> Bytes {
        match self {
            Self::Text(text) => filled_text(text, bound).into(),
            Self::Json(value) => filled_json(value, bound).to_string().into(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

fn filled_text(text: &str, bound: &[(String, String)]) -> String {
    let mut filled = text.to_owned();
    for (name, value) in bound {
        filled = filled.replace(&format!("${{{name}}}"), value);
    }
    filled
}

/// Filled value by value, so that what a path binds cannot break the JSON.
fn filled_json(value: &Value, bound: &[(String, String)]) -> Value {
    match value {
        Value::String(text) if text == "${version}" || text == "${now}" => {
            let filled = filled_text(text, bound);
            filled
                .parse::<u64>()
                .map_or(Value::String(filled), Value::from)
        }
        Value::String(text) => Value::String(filled_text(text, bound)),
        Value::Array(items) => items.iter().map(|item| filled_json(item, bound)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), filled_json(field, bound)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::question;
    use super::*;

    fn parse(text: &str) -> Result<VendorFile, FileError> {
        VendorFile::parse(text, Path::new("vendor.toml"))
    }

    /// The example of the module doc, so that it cannot drift.
    fn documented() -> String {
        let source = include_str!("file.rs");
        let inside = source.split("//! ```").nth(1).unwrap();
        let lines = inside.lines().skip(1);
        lines
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect()
    }

    #[test]
    fn documented_file_is_read_and_answers() {
        let file = parse(&documented()).unwrap();
        assert_eq!(
            file.breaks[0].to_string(),
            "kind=status status=503 path=/rates/* after=10s for=5s every=60s"
        );
        let resource = &file.resources[0];
        let asked = question("GET", "/rates/EUR-\"USD");
        let answer = resource.answer(&asked).unwrap();
        assert_eq!(answer.headers["x-vendor"], "acme");
        assert_eq!(answer.headers["cache-control"], "max-age=5");
        assert!((20..=80).contains(&answer.delay.as_millis()));
        let Content::Whole(bytes) = answer.content else {
            panic!("no whole body");
        };
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["pair"], "EUR-\"USD");
        assert_eq!(body["version"], 180_000_000);
        assert_eq!(
            resource
                .answer(&question("POST", "/rates/x"))
                .unwrap()
                .status,
            405
        );
        assert!(resource.answer(&question("GET", "/other")).is_none());
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        for (text, wants) in [
            (
                "[[resource]]\npath = \"/a\"\nstatuss = 1\n",
                &["line 3", "statuss"][..],
            ),
            ("[[resource]]\nstatus = 200\n", &["missing field `path`"]),
            (
                "\n[[resource]]\npath = \"a\"\n",
                &["vendor.toml, line 2", "must begin with '/'"],
            ),
            (
                "[[resource]]\npath = \"/a\"\nbody = \"\"\njson = 1\n",
                &["one of body, json"],
            ),
            (
                "[[resource]]\npath = \"/a\"\nstatus = 99\n",
                &["200 to 599"],
            ),
            (
                "[[resource]]\npath = \"/a\"\nchanges_every = \"5\"\n",
                &["with its unit"],
            ),
            (
                "[[fault]]\nkind = \"hangg\"\n",
                &["vendor.toml, line 1", "did you mean 'hang'?"],
            ),
            (
                "[[resource]]\npath = \"/a\"\nbody_file = \"absent\"\n",
                &["cannot read absent"],
            ),
        ] {
            let why = parse(text).expect_err(text).to_string();
            for want in wants {
                assert!(why.contains(want), "{text}: {why}");
            }
        }
    }
}
