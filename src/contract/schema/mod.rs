//! A route's JSON Schema: compiled once, and held against answers with a bound on the work.
//!
//! `document -> its own meta-schema -> what it refers to, beside it -> [Schema]`, `answer -> [Schema] -> violations`
//!
//! JSON Schema 2020-12, or the draft that `$schema` names. `format` is checked, which 2020-12 leaves to the implementation:
//! who writes `format: date` expects dates. Patterns are ECMA-262 as far as the crate has it.
//!
//! # Invariants
//!
//! - Nothing is fetched. What a schema refers to is in it, or in a file beside it that the config's loader reads.
//! - Holding an answer against a schema ends, whatever both say: each look at a value costs a step (`metered`), the time is
//!   asked about on the way, and a pattern gives up after `BACKTRACKS_MAX`.
//! - A term names a keyword of the schema and nothing of the answer, so that the same mistake has the same name.

mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod metered;
mod place;
mod shown;

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use self::{
    files::Shelf,
    metered::{Meter, MeteredJson, Stop, within},
};
use super::{Breach, Effort, Kind, Violation};

/// Largest document of a schema, in bytes. Also of each file it refers to.
pub const SCHEMA_BYTES_MAX: usize = 4 << 20;
/// Most files that a schema refers to, and that these refer to.
pub const SCHEMA_FILES_MAX: usize = 32;
/// Errors that are looked for in one answer; nobody reads more, and each takes some hundred bytes.
const ERRORS_MAX: u32 = 50_000;
/// Steps of a pattern that needs backtracking (look-around, back-references), for one text. Others need none.
const BACKTRACKS_MAX: usize = 20_000;
/// Bytes that a pattern may take up once it is compiled.
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// A JSON Schema, ready to be held against answers. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

struct Compiled {
    document: Value,
    /// What it refers to, by path.
    files: BTreeMap<String, Value>,
    home: String,
    validator: Validator<MeteredJson>,
}

/// Why a document is no schema, and where to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// The file, as it is reached from the folder of the config; empty for the document itself.
    pub file: String,
    /// The text of that file. Empty where it is the document itself, or could not be read.
    pub text: String,
    /// Where in it.
    pub place: SchemaPlace,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaPlace {
    /// A value, by JSON Pointer (RFC 6901).
    Pointer(String),
    /// A byte, where it is not even JSON.
    Offset(usize),
}

/// Something in an answer that does not fit.
pub struct Misfit<'e> {
    error: &'e ValidationError<'e>,
    answer: &'e Value,
}

// --- Schema ---

impl Schema {
    /// Compiles a document. `home` is its path below the folder that `read` reads from, `""` where it has none; `read` is asked
    /// for what it refers to, by paths below that folder.
    ///
    /// # Errors
    ///
    /// Where it is no JSON, no schema, or refers to what is not there.
    pub fn compile(
        text: &str,
        home: &str,
        read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, SchemaError> {
        let document = files::parse(text)?;
        Self::of(document, home, read)
    }

    /// [`Schema::compile`] for a document that has been read.
    ///
    /// # Errors
    ///
    /// Where it is no schema, or refers to what is not there.
    pub fn of(
        document: Value,
        home: &str,
        read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, SchemaError> {
        if !document.is_object() && !document.is_boolean() {
            return Err(SchemaError::at(
                "",
                "a schema is an object, `true` or `false`",
            ));
        }
        let mut shelf = Shelf::new(home, &document);
        loop {
            let built = files::apart(|| options(&shelf).build(&document));
            let Some(built) = built else {
                let message = "the validator fails on it: please report this schema";
                return Err(SchemaError::at("", message));
            };
            match (built, shelf.wanted()) {
                (Ok(validator), _) => {
                    let compiled = Compiled {
                        document,
                        files: shelf.into_documents(),
                        home: home.to_owned(),
                        validator,
                    };
                    return Ok(Self(Arc::new(compiled)));
                }
                // It is compiled anew with each file: those who compile are in no hurry, and the crate alone knows what refers
                // to what.
                (Err(_), Some(wanted)) => {
                    let draft = Draft::default().detect(&document);
                    shelf
                        .add(&wanted, draft, read)
                        .map_err(|error| match &error.file[..] {
                            // The file is fine or was never seen; who refers to it is not.
                            "" => shelf.blame(&document, &wanted, error),
                            _ => error,
                        })?;
                }
                (Err(error), None) => return Err(shelf.told(&document, &error)),
            }
        }
    }

    /// Holds an answer against the schema: pushes what does not fit, `max` of it at most. Fits where nothing is pushed.
    ///
    /// # Errors
    ///
    /// `too_complex`, where the effort does not suffice; `schema`, where more does not fit than is counted.
    pub fn check(
        &self,
        answer: &Value,
        effort: &Effort<'_>,
        max: usize,
        into: &mut Vec<Violation>,
    ) -> Result<(), Breach> {
        let mut room = max;
        self.check_each(answer, effort, &mut |misfit| {
            if room > 0 {
                room -= 1;
                into.push(misfit.violation());
            }
        })
    }

    /// Holds an answer against the schema, and shows all that does not fit, also where it is much.
    ///
    /// # Errors
    ///
    /// As [`Schema::check`].
    pub fn check_each(
        &self,
        answer: &Value,
        effort: &Effort<'_>,
        see: &mut dyn FnMut(&Misfit<'_>),
    ) -> Result<(), Breach> {
        let validator = &self.0.validator;
        let meter = Meter::new(answer, effort, ERRORS_MAX);
        // Whether it fits is known sooner than why not, and remembered on the way where it is asked again.
        let errors = within(|| {
            let fits = validator.is_valid(meter.root());
            (!fits).then(|| validator.iter_errors(meter.root()))
        });
        match errors {
            Ok(None) => Ok(()),
            Ok(Some(errors)) => {
                for error in errors {
                    see(&Misfit {
                        error: &error,
                        answer,
                    });
                }
                Ok(())
            }
            Err(stop) => Err(self.left(stop, answer, effort)),
        }
    }

    /// What is said of an answer that was not looked through.
    fn left(&self, stop: Stop, answer: &Value, effort: &Effort<'_>) -> Breach {
        match stop {
            Stop::Exhausted(exhausted) => exhausted.into(),
            Stop::Deep => Breach::new(
                Kind::TooComplex,
                "depth_max",
                "the schema and the answer lead too deep into each other",
            ),
            Stop::Broken => Breach::new(
                Kind::TooComplex,
                "schema",
                "the validator failed on it: please report this with the schema and the answer",
            ),
            Stop::Errors => {
                let meter = Meter::new(answer, effort, ERRORS_MAX);
                let first = within(|| self.0.validator.validate(meter.root()).err());
                let mut breach = match first {
                    Ok(Some(error)) => {
                        let error = &error;
                        let violation = Misfit { error, answer }.violation();
                        let mut breach =
                            Breach::new(Kind::Schema, violation.term.clone(), &*violation.message);
                        breach.violations.push(violation);
                        breach
                    }
                    _ => Breach::new(Kind::Schema, "schema", "it does not fit the schema"),
                };
                breach.message = format!(
                    "more than {ERRORS_MAX} values do not fit the schema, as {}",
                    breach.message
                );
                breach
            }
        }
    }

    /// The document, as it was written. What it refers to in other files is not in it.
    pub fn as_value(&self) -> &Value {
        &self.0.document
    }

    /// All that it is made of, as one text: the same as long as it says the same.
    pub fn all_text(&self) -> String {
        let mut text = self.0.document.to_string();
        for (path, document) in &self.0.files {
            text.push_str(path);
            text.push_str(&document.to_string());
        }
        text
    }

    /// Paths of the other files that it is made of, below the folder of the config.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.files.keys().map(String::as_str)
    }
}

fn options(
    shelf: &Shelf,
) -> jsonschema::ValidationOptions<'static, Arc<dyn jsonschema::Retrieve>, MeteredJson> {
    jsonschema::options_for::<MeteredJson>()
        .with_base_uri(shelf.base())
        .with_retriever(shelf.retriever())
        .should_validate_formats(true)
        .with_pattern_options(
            PatternOptions::fancy_regex()
                .backtrack_limit(BACKTRACKS_MAX)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX),
        )
}

impl PartialEq for Schema {
    /// Whether both say the same, so that a reload knows what it changes.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || (a.document == b.document && a.files == b.files && a.home == b.home)
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({:?})", self.0.home)
    }
}

// --- Misfit ---

impl Misfit<'_> {
    /// Where in the answer, as a JSON Pointer.
    pub fn place(&self) -> &str {
        self.error.instance_path().as_str()
    }

    /// Which keyword of the schema: the same for every answer that does not fit it.
    pub fn term(&self) -> String {
        match self.error.schema_path().as_str() {
            "" => "schema".to_owned(),
            path => format!("schema {path}"),
        }
    }

    /// In words, to be kept.
    pub fn violation(&self) -> Violation {
        let place = self.place();
        let what = shown::sentence(self.error, self.answer.pointer(place));
        let message = match place {
            "" => format!("the document: {what}"),
            place => format!("`{place}`: {what}"),
        };
        Violation {
            kind: Kind::Schema,
            term: self.term().into(),
            place: place.to_owned(),
            message,
        }
    }
}

// --- SchemaError ---

impl SchemaError {
    fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: String::new(),
            text: String::new(),
            place: SchemaPlace::Pointer(pointer.into()),
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The bytes of `text`, the text of the document, that are meant.
    pub fn span(&self, text: &str) -> Range<usize> {
        match &self.place {
            SchemaPlace::Pointer(pointer) => place::locate(text, pointer),
            SchemaPlace::Offset(at) => *at..at.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests;
