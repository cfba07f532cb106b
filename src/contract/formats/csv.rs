//! Whether content is well-formed CSV (RFC 4180): a header, as many fields in each record, quotes that are closed.
//!
//! Pure: one pass over the bytes, nothing is kept but counts. Departures: beside the comma a semicolon, a tab or a bar may
//! separate fields, whichever is most frequent in the first record, since that is what spreadsheets send; and a line may end
//! in a line feed alone.

use crate::contract::{Breach, Effort, Kind, Limits};

/// What separates fields; earlier ones where several are as frequent.
const SEPARATORS: &[u8] = b",;\t|";

/// How the content is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Csv {
    /// Whether the first record names the fields (RFC 4180 3, `header`).
    pub(super) has_header: bool,
    /// Whether it has to be UTF-8.
    pub(super) is_utf8: bool,
    /// Tabs, whatever else there is.
    pub(super) is_tabs: bool,
}

/// Where a field stands while it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// Before its first byte.
    Start,
    /// In one without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that may end it or be the first of two.
    Closed,
}

/// Holds content against the rules.
pub(super) fn well_formed(
    body: &[u8],
    csv: Csv,
    limits: &Limits,
    effort: &Effort<'_>,
) -> Result<(), Breach> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if csv.is_utf8
        && let Err(error) = std::str::from_utf8(body)
    {
        return Err(wrong(line_of(body, error.valid_up_to()), "it is not UTF-8"));
    }
    if let Some(at) = body.iter().position(|byte| *byte == 0) {
        return Err(wrong(line_of(body, at), "there is a NUL in it"));
    }
    if csv.has_header {
        other_kind(body)?;
    }
    let separator = if csv.is_tabs { b'\t' } else { separator(body) };
    let mut records = Records {
        body,
        separator,
        at: 0,
        line: 1,
    };
    let Some(first) = records.next(effort)? else {
        return Err(wrong(1, "it is empty"));
    };
    if csv.has_header {
        header(&first)?;
    }
    let mut values = first.fields;
    while let Some(record) = records.next(effort)? {
        values = values.saturating_add(record.fields);
        if values > limits.values_max {
            let message = format!("there are more than {} fields", limits.values_max);
            return Err(Breach::new(Kind::TooComplex, "values_max", message));
        }
        if record.fields != first.fields {
            let message = format!(
                "a record has {} fields where the first one has {}",
                record.fields, first.fields
            );
            return Err(wrong(record.line, &message));
        }
    }
    Ok(())
}

struct Records<'a> {
    body: &'a [u8],
    separator: u8,
    at: usize,
    line: usize,
}

struct Record<'a> {
    bytes: &'a [u8],
    line: usize,
    fields: usize,
}

impl<'a> Records<'a> {
    fn next(&mut self, effort: &Effort<'_>) -> Result<Option<Record<'a>>, Breach> {
        // Empty lines at the end are no records.
        let rest = self.body.get(self.at..).unwrap_or_default();
        if rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Ok(None);
        }
        let (start, line) = (self.at, self.line);
        let (mut state, mut fields) = (In::Start, 1_usize);
        let mut end = self.body.len();
        while let Some(byte) = self.body.get(self.at).copied() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                if state != In::Quoted {
                    end = self.at - 1;
                    break;
                }
            }
            state = match (state, byte) {
                (In::Quoted, b'"') => In::Closed,
                (In::Quoted, _) => In::Quoted,
                (In::Closed, b'"') => In::Quoted,
                (_, byte) if byte == self.separator => {
                    fields += 1;
                    In::Start
                }
                (state, b'\r') => state,
                (In::Start, b'"') => In::Quoted,
                (In::Plain, b'"') => {
                    return Err(wrong(line, "a quote stands inside a field without quotes"));
                }
                (In::Closed, _) => {
                    return Err(wrong(line, "something follows a closing quote"));
                }
                (In::Start | In::Plain, _) => In::Plain,
            };
        }
        if state == In::Quoted {
            return Err(wrong(line, "a quote is never closed"));
        }
        let bytes = self.body.get(start..end).unwrap_or_default();
        effort.spend(fields as u64 + bytes.len() as u64 / 64)?;
        Ok(Some(Record {
            bytes,
            line,
            fields,
        }))
    }
}

/// A page of a vendor in trouble, or an error of it, is one column of CSV to whoever looks at commas alone.
fn other_kind(body: &[u8]) -> Result<(), Breach> {
    let text = body.trim_ascii_start();
    let begins = |with: &&[u8]| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let kinds: [&[u8]; 4] = [b"<!doctype", b"<html", b"<?xml", b"{"];
    if kinds.iter().any(begins) {
        return Err(wrong(1, "it is a document of another kind"));
    }
    Ok(())
}

/// The first record has to name something.
fn header(first: &Record<'_>) -> Result<(), Breach> {
    let is_name = |byte: &u8| !byte.is_ascii_whitespace() && !byte.is_ascii_punctuation();
    if first.bytes.iter().any(is_name) {
        return Ok(());
    }
    Err(wrong(1, "the header names nothing"))
}

/// What separates the fields of the first record.
fn separator(body: &[u8]) -> u8 {
    let mut counts = [0_usize; SEPARATORS.len()];
    let mut is_quoted = false;
    for byte in body {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            byte if !is_quoted => {
                if let Some(index) = SEPARATORS.iter().position(|one| one == byte) {
                    counts[index] += 1;
                }
            }
            _ => {}
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let first = counts.iter().position(|count| *count == most);
    first.map_or(b',', |index| SEPARATORS[index])
}

fn line_of(body: &[u8], at: usize) -> usize {
    let before = body.get(..at).unwrap_or(body);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn wrong(line: usize, what: &str) -> Breach {
    Breach::new(
        Kind::Malformed,
        "csv",
        format!("it is no well-formed CSV: line {line}: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: Csv = Csv {
        has_header: true,
        is_utf8: true,
        is_tabs: false,
    };

    fn check(body: &[u8], csv: Csv) -> Result<(), Breach> {
        let limits = Limits {
            values_max: 1000,
            ..Limits::default()
        };
        well_formed(body, csv, &limits, &Effort::new(&limits, &|| false))
    }

    #[test]
    fn what_is_well_formed_passes() {
        for (name, text) in [
            ("a header and a record", "sku,price\r\nA1,2\r\n"),
            ("line feeds alone", "sku,price\nA1,2"),
            ("a header alone", "sku,price"),
            ("one column", "sku\nA1\nA2\n"),
            (
                "quotes",
                "sku,text\n\"A,1\",\"he said \"\"no\"\"\nand left\"\nA2,\"\"\n",
            ),
            ("empty fields", "sku,,x\n,,\n"),
            (
                "semicolons, and commas in numbers",
                "sku;price\nA1;2,50\nA2;3\n",
            ),
            ("tabs", "sku\tprice\nA1\t2\n"),
            ("a byte order mark", "\u{feff}sku,price\nA1,2\n"),
            ("empty lines at the end", "sku\nA1\n\r\n\n"),
            ("beyond ASCII", "größe\né\n"),
        ] {
            assert_eq!(check(text.as_bytes(), CSV), Ok(()), "{name}");
        }
        let latin = Csv {
            is_utf8: false,
            ..CSV
        };
        assert_eq!(check(b"gr\xf6\xdfe\n1\n", latin), Ok(()));
        let headless = Csv {
            has_header: false,
            ..CSV
        };
        assert_eq!(check(b"-,-\n", headless), Ok(()));
        let tabs = Csv {
            is_tabs: true,
            ..CSV
        };
        assert_eq!(check(b"a,b,c\td\n1\t2\n", tabs), Ok(()));
    }

    #[test]
    fn what_is_not_is_named_with_its_line() {
        for (name, text, want) in [
            ("nothing", "", "line 1: it is empty"),
            ("empty lines", "\n\n", "line 1: it is empty"),
            (
                "a field too few",
                "a,b,c\n1,2,3\n1,2\n",
                "line 3: a record has 2 fields where the first one has 3",
            ),
            ("a field too many", "a,b\n1,2,3\n", "line 2: a record has 3"),
            (
                "an empty line between",
                "a,b\n\n1,2\n",
                "line 2: a record has 1",
            ),
            (
                "a quote that stays open",
                "a,b\n1,\"2\n3,4\n",
                "line 2: a quote is never closed",
            ),
            (
                "a quote in the middle",
                "a,b\n1,2\"3\n",
                "line 2: a quote stands inside",
            ),
            (
                "text behind a quote",
                "a,b\n1,\"2\"3\n",
                "line 2: something follows",
            ),
            (
                "a page",
                "<!DOCTYPE html>\n<html>\n</html>\n",
                "another kind",
            ),
            ("JSON", "{\"error\": 1}", "another kind"),
            ("no names", "-;-\n1;2\n", "the header names nothing"),
            ("a NUL", "a\n\0\n", "line 2: there is a NUL"),
        ] {
            let breach = check(text.as_bytes(), CSV).unwrap_err();
            assert_eq!(breach.kind, Kind::Malformed, "{name}: {breach}");
            assert!(breach.message.contains(want), "{name}: {breach}");
        }
        let breach = check(b"a\n1\n\xf6\n", CSV).unwrap_err();
        assert!(
            breach.message.contains("line 3: it is not UTF-8"),
            "{breach}"
        );
        let breach = check("a,b\n1,2\n".repeat(400).as_bytes(), CSV).unwrap_err();
        assert_eq!(breach.kind, Kind::TooComplex);
    }

    proptest! {
        /// The crate that others read CSV with is the judge of how many fields there are.
        #[test]
        fn what_a_writer_writes_passes_and_a_lost_field_does_not(
            rows in prop::collection::vec(prop::collection::vec("[a-z\",\\n\\r é;]{0,6}", 3), 1..8),
            lost in any::<prop::sample::Index>(),
        ) {
            let write = |rows: &[Vec<String>]| {
                let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
                writer.write_record(["one", "two", "three"]).unwrap();
                rows.iter().for_each(|row| writer.write_record(row).unwrap());
                writer.into_inner().unwrap()
            };
            prop_assert_eq!(check(&write(&rows), CSV), Ok(()));
            let mut short = rows;
            let at = lost.index(short.len());
            short[at].pop();
            prop_assert!(check(&write(&short), CSV).is_err());
        }

        #[test]
        fn no_bytes_are_too_odd(body in prop::collection::vec(prop::sample::select(b"a,;\"\r\n\t|\xff\0".to_vec()), 0..60)) {
            let _ = check(&body, CSV);
        }
    }
}
