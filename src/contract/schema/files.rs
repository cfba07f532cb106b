//! What a schema refers to: files beside it, and nothing else.
//!
//! References are URIs, resolved as RFC 3986 has it. A schema's base is made up (`larder:///`, then its path below the
//! config's folder), so that a relative reference leads to a path below that folder and nowhere above. Where a schema names
//! itself by an `$id` of its vendor, what lies beside it there is looked for beside it here.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{
    Draft, ReferencingError, Retrieve, Uri, ValidationError, error::ValidationErrorKind,
};
use serde_json::Value;

use super::{SCHEMA_BYTES_MAX, SCHEMA_FILES_MAX, SchemaError, SchemaPlace, shown::sentence};

const BASE: &str = "larder:///";
/// Documents are nested 128 deep at most.
const STACK_BYTES: usize = 16 << 20;

/// The documents that a schema is made of besides its own, as far as they were asked for.
pub(super) struct Shelf {
    home: String,
    texts: BTreeMap<String, String>,
    documents: Arc<BTreeMap<String, Value>>,
    /// URIs that end in a slash, and the folder that each stands for.
    folders: Vec<(String, String)>,
    /// The first URI that was asked for and is not there.
    wanted: Arc<Mutex<Option<String>>>,
}

/// Hands out what is on the shelf, and notes what is not.
struct Retriever {
    documents: BTreeMap<String, Value>,
    wanted: Arc<Mutex<Option<String>>>,
}

/// Runs what follows a schema as deep as it is nested, where there is stack enough; `None`: it panicked.
pub(super) fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("larder-schema".to_owned())
            .stack_size(STACK_BYTES);
        let run = thread.spawn_scoped(scope, run).ok()?;
        run.join().ok()
    })
}

/// JSON, or where it ends to be.
pub(super) fn parse(text: &str) -> Result<Value, SchemaError> {
    if text.len() > SCHEMA_BYTES_MAX {
        let message = format!("is larger than {SCHEMA_BYTES_MAX} bytes");
        return Err(SchemaError::at("", message));
    }
    serde_json::from_str(text).map_err(|error| {
        let line_start = match error.line().saturating_sub(1) {
            0 => 0,
            before => text
                .match_indices('\n')
                .nth(before - 1)
                .map_or(text.len(), |(at, _)| at + 1),
        };
        let at = (line_start + error.column().saturating_sub(1)).min(text.len());
        let full = error.to_string();
        // It has a line and a column of its own, which are told otherwise.
        let message = full.split(" at line ").next().unwrap_or(&full);
        SchemaError {
            place: SchemaPlace::Offset(at),
            ..SchemaError::at("", format!("is not JSON: {message}"))
        }
    })
}

// --- Shelf ---

impl Shelf {
    pub(super) fn new(home: &str, document: &Value) -> Self {
        let mut shelf = Self {
            home: home.to_owned(),
            texts: BTreeMap::new(),
            documents: Arc::default(),
            folders: vec![(BASE.to_owned(), String::new())],
            wanted: Arc::default(),
        };
        shelf.learn_folder(home, document);
        shelf
    }

    /// A document's own name for its place is a name for its folder.
    fn learn_folder(&mut self, path: &str, document: &Value) {
        let id = document.get("$id").or_else(|| document.get("id"));
        let Some(id) = id.and_then(Value::as_str).filter(|id| id.contains("://")) else {
            return;
        };
        let id = id.split('#').next().unwrap_or(id);
        let mut folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut rest = id;
        // What is above it there is above it here, as far as both go up.
        while let Some((parent, _)) = rest.rsplit_once('/').filter(|(up, _)| !up.ends_with(":/")) {
            let separator = if folder.is_empty() { "" } else { "/" };
            let named = (format!("{parent}/"), format!("{folder}{separator}"));
            if !self.folders.contains(&named) {
                self.folders.push(named);
            }
            if folder.is_empty() {
                break;
            }
            folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
            rest = parent;
        }
    }

    pub(super) fn base(&self) -> String {
        let mut base = BASE.to_owned();
        for byte in self.home.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                base.push(char::from(byte));
            } else {
                let _ = write!(base, "%{byte:02X}");
            }
        }
        base
    }

    pub(super) fn retriever(&self) -> impl Retrieve + 'static {
        Retriever {
            documents: (*self.documents).clone(),
            wanted: Arc::clone(&self.wanted),
        }
    }

    /// What was asked for and is not there, once.
    pub(super) fn wanted(&self) -> Option<String> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.take()
    }

    pub(super) fn into_documents(self) -> BTreeMap<String, Value> {
        let path = |uri: &String| self.path(uri).unwrap_or_else(|| uri.clone());
        let documents = self.documents.iter();
        documents
            .map(|(uri, document)| (path(uri), document.clone()))
            .collect()
    }

    /// The path below the config's folder that a URI stands for.
    fn path(&self, uri: &str) -> Option<String> {
        let folders = self.folders.iter();
        let named = folders.filter_map(|(prefix, folder)| {
            let rest = uri.strip_prefix(prefix.as_str())?;
            Some((folder, rest))
        });
        // The nearest folder that has a name.
        let (folder, rest) = named.min_by_key(|(_, rest)| rest.len())?;
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let path = format!("{folder}{}", percent_decoded(rest)?);
        let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
        (path.split('/').all(is_plain) && !path.contains(['\\', '\0'])).then_some(path)
    }

    /// Puts what a URI stands for on the shelf. An error that names no file is one of who refers to it.
    pub(super) fn add(
        &mut self,
        uri: &str,
        draft: Draft,
        read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), SchemaError> {
        let Some(path) = self.path(uri) else {
            let name = uri.rsplit('/').next().unwrap_or(uri);
            let error = SchemaError::at("", format!("refers to {uri}, and nothing is fetched"));
            return Err(error.hint(format!(
                "put that schema beside this one, and refer to it as a file: \"$ref\": \"{name}\""
            )));
        };
        if self.documents.len() >= SCHEMA_FILES_MAX {
            let message = format!("is made of more than {SCHEMA_FILES_MAX} files");
            return Err(SchemaError::at("", message));
        }
        let unreadable = |message: String| {
            let error = SchemaError::at(
                "",
                format!("refers to {path}, which cannot be read: {message}"),
            );
            error.hint("references lead to files relative to the schema, below the folder of the config file")
        };
        let bytes = read(&path).map_err(unreadable)?;
        let text =
            String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        let in_file = |error: SchemaError| SchemaError {
            file: path.clone(),
            text: text.clone(),
            ..error
        };
        let document = parse(&text).map_err(in_file)?;
        let draft = draft.detect(&document);
        let checked = apart(|| {
            let error = by_meta_schema(draft, &document).err()?;
            Some(from_meta_schema(&document, &error))
        });
        if let Some(Some(error)) = checked {
            return Err(in_file(error));
        }
        self.learn_folder(&path, &document);
        let documents = Arc::make_mut(&mut self.documents);
        documents.insert(uri.to_owned(), document);
        self.texts.insert(path, text);
        Ok(())
    }

    /// An error at whoever refers to this URI.
    pub(super) fn blame(&self, document: &Value, uri: &str, error: SchemaError) -> SchemaError {
        self.with_reference(document, error, |reference| {
            let target = reference.split('#').next().unwrap_or_default();
            let target = target.trim_start_matches("./").trim_start_matches("../");
            !target.is_empty() && uri.ends_with(target)
        })
    }

    /// The error of a build in which everything was there.
    pub(super) fn told(&self, document: &Value, error: &ValidationError<'static>) -> SchemaError {
        let ValidationErrorKind::Referencing(reference) = error.kind() else {
            return from_meta_schema(document, error);
        };
        let ends_with = |end: String| move |reference: &str| reference.ends_with(&end);
        match reference {
            ReferencingError::PointerToNowhere { pointer } => {
                let message = format!("refers to `#{pointer}`, and there is no such place");
                let error = SchemaError::at("", message);
                let end = format!("#{}", pointer.trim_start_matches('#'));
                self.with_reference(document, error, ends_with(end))
                    .hint("a JSON Pointer (RFC 6901) leads from the top of the document: \"#/$defs/price\"")
            }
            ReferencingError::NoSuchAnchor { anchor }
            | ReferencingError::InvalidAnchor { anchor } => {
                let message = format!("refers to `#{anchor}`, and there is no such `$anchor`");
                let error = SchemaError::at("", message);
                self.with_reference(document, error, ends_with(format!("#{anchor}")))
                    .hint(
                        "a reference to a part of the document begins with `#/`: \"#/$defs/price\"",
                    )
            }
            ReferencingError::UnknownSpecification { specification } => {
                let message =
                    format!("`{specification}` is no draft of JSON Schema that is known here");
                SchemaError::at("/$schema", message).hint(
                    "write \"https://json-schema.org/draft/2020-12/schema\", or leave `$schema` out",
                )
            }
            other => {
                let error = SchemaError::at("", other.to_string());
                let pointer = find_reference(document, &|_| true).unwrap_or_default();
                SchemaError {
                    place: SchemaPlace::Pointer(pointer),
                    ..error
                }
            }
        }
    }

    /// The error at the first reference that `is_it`, in the document or in a file that it is made of.
    fn with_reference(
        &self,
        document: &Value,
        error: SchemaError,
        is_it: impl Fn(&str) -> bool,
    ) -> SchemaError {
        if let Some(pointer) = find_reference(document, &is_it) {
            return SchemaError {
                place: SchemaPlace::Pointer(pointer),
                ..error
            };
        }
        let mut others = self.documents.iter();
        let found = others.find_map(|(uri, document)| {
            let pointer = find_reference(document, &is_it)?;
            Some((self.path(uri)?, pointer))
        });
        match found {
            Some((file, pointer)) => SchemaError {
                text: self.texts.get(&file).cloned().unwrap_or_default(),
                file,
                place: SchemaPlace::Pointer(pointer),
                ..error
            },
            None => error,
        }
    }
}

impl Retrieve for Retriever {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        if let Some(document) = self.documents.get(uri.as_str()) {
            return Ok(document.clone());
        }
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.get_or_insert_with(|| uri.as_str().to_owned());
        Err("it is not there yet".into())
    }
}

/// Holds a document against the meta-schema of its draft.
fn by_meta_schema(draft: Draft, document: &Value) -> Result<(), ValidationError<'_>> {
    match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validate(document),
        Draft::Draft6 => jsonschema::draft6::meta::validate(document),
        Draft::Draft7 => jsonschema::draft7::meta::validate(document),
        Draft::Draft201909 => jsonschema::draft201909::meta::validate(document),
        _ => jsonschema::draft202012::meta::validate(document),
    }
}

/// A keyword that says what it cannot.
fn from_meta_schema(document: &Value, error: &ValidationError<'_>) -> SchemaError {
    let pointer = error.instance_path().as_str();
    let what = sentence(error, document.pointer(pointer));
    SchemaError::at(pointer, format!("is no JSON Schema: {what}"))
}

/// Where the first reference stands that `is_it`.
fn find_reference(document: &Value, is_it: &dyn Fn(&str) -> bool) -> Option<String> {
    match document {
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let is_reference = matches!(
                &**name,
                "$ref" | "$dynamicRef" | "$recursiveRef" | "$schema"
            );
            let step = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            if is_reference && value.as_str().is_some_and(is_it) {
                return Some(step);
            }
            Some(step + &find_reference(value, is_it)?)
        }),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .find_map(|(index, value)| Some(format!("/{index}{}", find_reference(value, is_it)?))),
        _ => None,
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}
