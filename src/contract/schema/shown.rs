//! Words for what does not fit a schema. Pure; whatever the answer holds, a sentence is short.

use std::{fmt::Write as _, io};

use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

/// Most characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 64;
/// Most characters of a sentence: a schema may list a thousand values, and a member's name may be a page.
const SENTENCE_CHARS_MAX: usize = 300;
/// How far down the branches of `anyOf` the nearest reason is looked for.
const BRANCHES_DEEP_MAX: usize = 8;

/// What is wrong, where `value` is what the error is about.
pub(super) fn sentence(error: &ValidationError<'_>, value: Option<&Value>) -> String {
    let shown = value.map_or_else(|| "the value".to_owned(), shown);
    let mut text = match error.kind() {
        ValidationErrorKind::AnyOf { context } => {
            format!(
                "{shown} fits none of the schemas of `anyOf`{}",
                nearest(context, 0)
            )
        }
        ValidationErrorKind::OneOfNotValid { context } => {
            format!(
                "{shown} fits none of the schemas of `oneOf`{}",
                nearest(context, 0)
            )
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            format!("{shown} fits more than one of the schemas of `oneOf`")
        }
        ValidationErrorKind::AdditionalItems { limit } => {
            format!("has more than the {limit} elements that are described")
        }
        ValidationErrorKind::FalseSchema => format!("nothing may stand here, found {shown}"),
        ValidationErrorKind::Required { property } => format!("{property} is missing"),
        ValidationErrorKind::BacktrackLimitExceeded { .. }
        | ValidationErrorKind::RegexEngineFailure { .. } => {
            format!("matching {shown} by its pattern was given up: it takes too many steps")
        }
        ValidationErrorKind::PropertyNames { error } => {
            format!(
                "the name of a member does not fit: {}",
                error.masked_with("it")
            )
        }
        _ => error.masked_with(shown).to_string(),
    };
    cut(&mut text, SENTENCE_CHARS_MAX);
    text
}

/// The reason of the branch that got furthest: what is wrong inside says more than that the type is another.
fn nearest(branches: &[Vec<ValidationError<'static>>], deep: usize) -> String {
    let depth = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
    let is_type =
        |error: &ValidationError<'_>| matches!(error.kind(), ValidationErrorKind::Type { .. });
    let firsts = branches.iter().filter_map(|branch| branch.first());
    let Some(error) = firsts.max_by_key(|error| (depth(error), !is_type(error))) else {
        return String::new();
    };
    if deep < BRANCHES_DEEP_MAX
        && let ValidationErrorKind::AnyOf { context }
        | ValidationErrorKind::OneOfNotValid { context } = error.kind()
    {
        return nearest(context, deep + 1);
    }
    let what = error.masked_with("it");
    match error.instance_path().as_str() {
        "" => format!("; nearest: {what}"),
        place => format!("; nearest: at `{place}`, {what}"),
    }
}

/// A value as JSON, cut short.
pub(super) fn shown(value: &Value) -> String {
    let mut out = Bounded(Vec::new());
    // The only error is that it is full.
    let is_whole = serde_json::to_writer(&mut out, value).is_ok();
    let mut text = String::from_utf8_lossy(&out.0).into_owned();
    if !is_whole {
        text.push('\u{fffd}');
    }
    cut(&mut text, VALUE_CHARS_MAX);
    text
}

/// Cuts a text off after so many characters, and says so.
fn cut(text: &mut String, chars_max: usize) {
    if let Some((at, _)) = text.char_indices().nth(chars_max) {
        text.truncate(at);
        let _ = write!(text, "…");
    }
}

/// Takes as much as could be shown, and refuses the rest.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (4 * VALUE_CHARS_MAX + 4).saturating_sub(self.0.len());
        if room == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_shown_as_json_and_cut_short() {
        let long: Vec<u32> = (0..100_000).collect();
        for (name, value, want) in [
            ("a number", json!(0), "0".to_owned()),
            (
                "an object",
                json!({"a": [1, null]}),
                r#"{"a":[1,null]}"#.to_owned(),
            ),
            (
                "a long text",
                json!("x".repeat(100)),
                format!("\"{}…", "x".repeat(63)),
            ),
            (
                "by characters, not bytes",
                json!("é".repeat(1000)),
                format!("\"{}…", "é".repeat(63)),
            ),
            (
                "a long list",
                json!(long),
                "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,2…".to_owned(),
            ),
        ] {
            assert_eq!(shown(&value), want, "{name}");
        }
    }
}
