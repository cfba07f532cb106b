//! Single values of the file: durations, sizes, counts, words. Pure: TOML value in, typed value or complaint out.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use jiff::SpanRelativeTo;
use toml::de::DeValue;

/// Longest duration a config may name: ten years. Adding it to any clock cannot overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// What is wrong with one value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn form(expected: &str, found: &DeValue<'_>) -> Self {
        Self::new(format!("expected {expected}, found {}", kind(found)))
    }
}

pub(super) type Parsed<T> = Result<T, Complaint>;

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(Complaint::form("text in quotes", other)),
    }
}

/// Text that says something: not empty, no control characters, at most 1,024 bytes.
pub(super) fn line(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value)?;
    if text.trim().is_empty() {
        return Err(Complaint::new("is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(Complaint::new("has a control character or a line break"));
    }
    if text.len() > 1024 {
        return Err(Complaint::new("is longer than 1024 bytes"));
    }
    Ok(text)
}

pub(super) fn flag(value: &DeValue<'_>) -> Parsed<bool> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        DeValue::String(text) if matches!(&**text, "true" | "false") => {
            Err(Complaint::form("true or false", value)
                .hint(format!("write {text} without quotes")))
        }
        other => Err(Complaint::form("true or false", other)),
    }
}

pub(super) fn count(value: &DeValue<'_>, min: u64, max: u64) -> Parsed<u64> {
    let number = match value {
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) if text.parse::<u64>().is_ok() => {
            return Err(Complaint::form("a whole number", value)
                .hint(format!("write {text} without quotes")));
        }
        other => return Err(Complaint::form("a whole number", other)),
    };
    let in_range = number.and_then(|number| u64::try_from(number).ok());
    in_range
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| {
            let shown = number.map_or("the number".to_owned(), |number| number.to_string());
            Complaint::new(format!("{shown} is not between {min} and {max}"))
        })
}

pub(super) fn duration(value: &DeValue<'_>, zero: bool) -> Parsed<Duration> {
    let text = match value {
        DeValue::String(text) => text.trim(),
        DeValue::Integer(number) => {
            return Err(Complaint::new("a duration needs a unit")
                .hint(format!("write \"{number}ms\" or \"{number}s\"")));
        }
        other => return Err(Complaint::form("a duration such as \"300ms\"", other)),
    };
    let Some(duration) = length(text) else {
        return Err(not_a_duration(text));
    };
    if duration.is_zero() && !zero {
        return Err(Complaint::new("has to be longer than zero"));
    }
    if duration > DURATION_MAX {
        return Err(Complaint::new("is longer than ten years"));
    }
    Ok(duration)
}

/// `None`: not a length of time. A day has 24 hours and a week seven of them, whatever the calendar does meanwhile.
pub(super) fn length(text: &str) -> Option<Duration> {
    let span = jiff::fmt::friendly::SpanParser::new().parse_span(text);
    let length = span.ok()?.to_duration(SpanRelativeTo::days_are_24_hours());
    // Months and years have no length of their own, and negative ones are no time to wait.
    Duration::try_from(length.ok()?).ok()
}

fn not_a_duration(text: &str) -> Complaint {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let hint = match unit.as_str() {
        "" if !digits.is_empty() => format!("write \"{digits}ms\" or \"{digits}s\""),
        "mo" | "month" | "months" => "months differ in length; count days: \"30d\"".to_owned(),
        "y" | "year" | "years" => "years differ in length; count days: \"365d\"".to_owned(),
        _ => "write a number with its unit: \"300ms\", \"2s\", \"15m\", \"1h 30m\", \"7d\""
            .to_owned(),
    };
    Complaint::new(format!("`{text}` is not a duration")).hint(hint)
}

pub(super) fn size(value: &DeValue<'_>, zero: bool) -> Parsed<u64> {
    let text = match value {
        DeValue::String(text) => text.trim(),
        DeValue::Integer(number) => {
            return Err(Complaint::new("a size needs a unit")
                .hint(format!("write \"{number} B\" or \"{number} MiB\"")));
        }
        other => return Err(Complaint::form("a size such as \"64 MiB\"", other)),
    };
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare && text.bytes().any(|byte| byte != b'0') {
        return Err(Complaint::new("a size needs a unit")
            .hint(format!("write \"{text} B\" or \"{text} MiB\"")));
    }
    let Ok(ByteSize(bytes)) = text.parse::<ByteSize>() else {
        return Err(Complaint::new(format!("`{text}` is not a size"))
            .hint("write a number with its unit: \"64 KiB\", \"256 MiB\", \"4 GiB\""));
    };
    if bytes == 0 && !zero {
        return Err(Complaint::new("has to be more than zero"));
    }
    // An exabyte: beyond it is a slip of the hand, and sums of sizes stay far from overflow.
    if bytes > 1 << 60 {
        return Err(Complaint::new("is larger than 1 EiB"));
    }
    Ok(bytes)
}

pub(super) fn address(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        let complaint = Complaint::new(format!("`{text}` is not an address with a port"));
        match text.rsplit_once(':') {
            Some(("localhost", port)) => complaint.hint(format!("write \"127.0.0.1:{port}\"")),
            Some(("" | "*", port)) => complaint.hint(format!(
                "write \"0.0.0.0:{port}\" for all interfaces, \"127.0.0.1:{port}\" for this machine"
            )),
            _ => {
                complaint.hint("write an IP address and a port: \"127.0.0.1:8080\", \"[::1]:8080\"")
            }
        }
    })
}

pub(super) fn word(value: &DeValue<'_>, words: &[&'static str]) -> Parsed<&'static str> {
    let text = text(value)?;
    words
        .iter()
        .find(|word| **word == text)
        .copied()
        .ok_or_else(|| {
            Complaint::new(format!(
                "`{text}` is not one of {}",
                listed(words.iter().copied())
            ))
            .hint(match nearest(&text, words.iter().copied()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write \"{}\"", words.first().unwrap_or(&"")),
            })
        })
}

/// `` `a`, `b` ``
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = words.map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// The candidate that was probably meant: at most a third of its letters differ, or one is the beginning of the other.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let distance = |candidate: &str| {
        let candidate = candidate.to_ascii_lowercase().replace('-', "_");
        strsim::damerau_levenshtein(&word, &candidate)
    };
    let is_part = |candidate: &str| {
        word.len() >= 3 && (candidate.starts_with(&word) || word.starts_with(candidate))
    };
    candidates
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len() / 3).max(1) || is_part(candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> DeValue<'_> {
        DeValue::parse(text).unwrap().into_inner()
    }

    #[test]
    fn durations_have_units() {
        for (text, want) in [
            ("\"300ms\"", Some(300)),
            ("\"1h 30m\"", Some(5_400_000)),
            ("\"2s\"", Some(2_000)),
            ("\"15m\"", Some(900_000)),
            ("\"15min\"", Some(900_000)),
            ("\"0s\"", Some(0)),
            ("\"1.5s\"", Some(1_500)),
            ("\"7d\"", Some(604_800_000)),
            ("\"2 days\"", Some(172_800_000)),
            ("\"1d 12h\"", Some(129_600_000)),
            ("\"1w\"", Some(604_800_000)),
            ("\"1mo\"", None),
            ("\"1y\"", None),
            ("\"-7d\"", None),
            ("\"7d ago\"", None),
            ("\"99999d\"", None),
            ("\"300\"", None),
            ("300", None),
            ("\"-1s\"", None),
            ("\"\"", None),
            ("\"soon\"", None),
            ("\"99999999h\"", None),
            ("\"9999999999999999999999999h\"", None),
            ("true", None),
        ] {
            let want = want.map(Duration::from_millis);
            assert_eq!(duration(&value(text), true).ok(), want, "{text}");
        }
        assert!(duration(&value("\"0s\""), false).is_err());
    }

    #[test]
    fn a_value_without_its_unit_is_told_what_to_write() {
        for (complaint, want) in [
            (duration(&value("300"), true).unwrap_err(), "\"300ms\""),
            (duration(&value("\"300\""), true).unwrap_err(), "\"300ms\""),
            (duration(&value("\"1mo\""), true).unwrap_err(), "\"30d\""),
            (
                duration(&value("\"1 year\""), true).unwrap_err(),
                "\"365d\"",
            ),
            (size(&value("4096"), true).unwrap_err(), "\"4096 B\""),
            (size(&value("\"4096\""), true).unwrap_err(), "\"4096 B\""),
            (
                address(&value("\"localhost:80\"")).unwrap_err(),
                "\"127.0.0.1:80\"",
            ),
            (address(&value("\":80\"")).unwrap_err(), "\"0.0.0.0:80\""),
            (count(&value("\"5\""), 0, 9).unwrap_err(), "write 5"),
            (
                word(&value("\"jsn\""), &["text", "json"]).unwrap_err(),
                "\"json\"",
            ),
        ] {
            let hint = complaint.hint.clone().unwrap_or_default();
            assert!(hint.contains(want), "{complaint:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, want) in [
            ("\"256 MiB\"", Some(256 << 20)),
            ("\"4KiB\"", Some(4096)),
            ("\"1.5 GiB\"", Some(3 << 29)),
            ("\"2 MB\"", Some(2_000_000)),
            ("\"10 B\"", Some(10)),
            ("\"0\"", Some(0)),
            ("\"\"", None),
            ("\"-1 B\"", None),
            ("\"9999999 EiB\"", None),
            ("\"4 lots\"", None),
        ] {
            assert_eq!(size(&value(text), true).ok(), want, "{text}");
        }
        assert!(size(&value("\"0\""), false).is_err());
    }

    #[test]
    fn counts_stay_in_their_range() {
        for (text, want) in [
            ("1", Some(1)),
            ("100", Some(100)),
            ("0x10", Some(16)),
            ("0", None),
            ("101", None),
            ("-1", None),
            ("1.0", None),
        ] {
            assert_eq!(count(&value(text), 1, 100).ok(), want, "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["stale_after", "max_stale", "fresh", "fresh_min"];
        for (word, want) in [
            ("stale_aftr", Some("stale_after")),
            ("stale-after", Some("stale_after")),
            ("freshness", Some("fresh")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), want, "{word}");
        }
    }
}
