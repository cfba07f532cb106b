//! `transform` of a route: a jq program in the config itself, or a file of one.
//!
//! What is wrong with a program is told where it stands: in the middle of a text of the config, or in its file.

use std::ops::Range;

use toml::de::DeValue;

use crate::{
    config::{
        keys,
        reader::{Item, Table},
        values::{Complaint, kind},
    },
    contract::{Program, ProgramError},
};

/// The program of a route. Reported where it is none.
pub(super) fn transform(route: &Table<'_>) -> Option<Program> {
    let item = route.item("transform")?;
    match item.value {
        DeValue::String(text) => written(route, &item, text),
        DeValue::Table(_) => file(&item.table(&keys::TRANSFORM)?),
        other => {
            let found = kind(other);
            let message = format!("expected a jq program or a file of one, found {found}");
            item.complain(Complaint::new(message).hint(
                "write \".price = .cost | del(.cost)\" or { file = \"mappings/prices.jq\" }",
            ));
            None
        }
    }
}

fn written(route: &Table<'_>, item: &Item<'_>, text: &str) -> Option<Program> {
    let error = match Program::compile(text) {
        Ok(program) => return Some(program),
        Err(error) => error,
    };
    let findings = &route.cx.findings;
    let raw = findings.written(&item.span);
    let span = match place_in(raw, text, error.offset) {
        Some(place) => item.span.start + place.start..item.span.start + place.end,
        None => item.span.clone(),
    };
    findings
        .error(&item.key, &span, &error.message)
        .maybe_hint(hint(text, &error));
    None
}

fn file(table: &Table<'_>) -> Option<Program> {
    let (path, bytes) = table.file("file")?;
    let Ok(text) = String::from_utf8(bytes) else {
        table.error(
            "file",
            format!("cannot read {}: it is not UTF-8", path.display()),
        );
        return None;
    };
    match Program::compile(&text) {
        Ok(program) => Some(program),
        Err(error) => {
            let at = word(&text, error.offset);
            table
                .cx
                .findings
                .error_in(
                    (&table.key("file"), &table.span_of("file")),
                    (&path, &text, &at),
                    &error.message,
                )
                .maybe_hint(hint(&text, &error));
            None
        }
    }
}

/// Who names a file where a program belongs gets a syntax error that does not help.
fn hint(text: &str, error: &ProgramError) -> Option<String> {
    let is_path = text.ends_with(".jq") && !text.contains(char::is_whitespace);
    let path = is_path.then(|| format!("a file is written as {{ file = \"{text}\" }}"));
    path.or_else(|| error.hint.clone())
}

/// The word that begins at a byte of a text, or the character.
fn word(text: &str, offset: usize) -> Range<usize> {
    let rest = text.get(offset..).unwrap_or_default();
    let is_word = |char: &char| char.is_ascii_alphanumeric() || *char == '_' || *char == '$';
    let word: usize = rest.chars().take_while(is_word).map(char::len_utf8).sum();
    let char = rest.chars().next().map_or(0, char::len_utf8);
    offset..offset + word.max(char)
}

/// Where in a string as TOML writes it (`raw`, quotes and all) a byte of what it says (`text`) stands.
fn place_in(raw: &str, text: &str, offset: usize) -> Option<Range<usize>> {
    let meant = word(text, offset);
    let start = raw_offset(raw, meant.start)?;
    let end = raw_offset(raw, meant.end)?;
    Some(start..end.max(start))
}

/// TOML 1.0, "String": four forms, two of them with escapes.
fn raw_offset(raw: &str, offset: usize) -> Option<usize> {
    let (quotes, escapes) = match raw {
        raw if raw.starts_with("'''") => (3, false),
        raw if raw.starts_with("\"\"\"") => (3, true),
        raw if raw.starts_with('\'') => (1, false),
        raw if raw.starts_with('"') => (1, true),
        _ => return None,
    };
    let mut at = quotes;
    if quotes == 3 {
        // A newline right after the quotes is not part of the text.
        let rest = &raw[at..];
        at += if rest.starts_with("\r\n") {
            2
        } else {
            usize::from(rest.starts_with('\n'))
        };
    }
    let mut said = 0;
    loop {
        let rest = raw.get(at..)?;
        let char = rest.chars().next()?;
        if escapes && char == '\\' {
            let (raw_len, len) = escape(&rest[1..])?;
            // What ends a line says nothing, so that whatever is meant stands behind it.
            if said >= offset && len > 0 {
                return Some(at);
            }
            at += 1 + raw_len;
            said += len;
        } else if said >= offset {
            return Some(at);
        } else {
            at += char.len_utf8();
            said += char.len_utf8();
        }
    }
}

/// How long an escape is behind its backslash, and what it says.
fn escape(rest: &str) -> Option<(usize, usize)> {
    let first = rest.chars().next()?;
    let digits = match first {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        char if char.is_whitespace() => {
            let space = rest.len() - rest.trim_start().len();
            return Some((space, 0));
        }
        char => return Some((char.len_utf8(), 1)),
    };
    let code = u32::from_str_radix(rest.get(1..=digits)?, 16).ok()?;
    Some((1 + digits, char::from_u32(code)?.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_a_text_is_found_in_each_way_to_write_it() {
        for (name, raw, text, meant, want) in [
            ("plain", "\".a | upcase\"", ".a | upcase", "upcase", 6..12),
            ("literal", "'.a | upcase'", ".a | upcase", "upcase", 6..12),
            (
                "behind escapes",
                "\".\\\"a\\\" | upcase\"",
                ".\"a\" | upcase",
                "upcase",
                10..16,
            ),
            (
                "behind letters by number",
                "\"\\u00e9\\U0001F600 | x\"",
                "é😀 | x",
                "x",
                20..21,
            ),
            (
                "several lines",
                "\"\"\"\n.a |\n  upcase\n\"\"\"",
                ".a |\n  upcase\n",
                "upcase",
                11..17,
            ),
            (
                "several literal lines",
                "'''\n.a |\n  upcase\n'''",
                ".a |\n  upcase\n",
                "upcase",
                11..17,
            ),
            (
                "a line that goes on",
                "\"\"\"\\\n  .a | \\\n  upcase\"\"\"",
                ".a | upcase",
                "upcase",
                16..22,
            ),
            ("at the end", "\".a | \"", ".a | ", "", 6..6),
        ] {
            let offset = if meant.is_empty() {
                text.len()
            } else {
                text.find(meant).expect(name)
            };
            assert_eq!(place_in(raw, text, offset), Some(want.clone()), "{name}");
            assert_eq!(&raw[want], meant, "{name}");
        }
        assert_eq!(place_in("bare", "bare", 1), None);
        assert_eq!(place_in("\"a\"", "abc", 2), None);
    }
}
