//! What is wrong with a config, said so that it can be mended: key, file, line, column, the line itself, a hint.
//!
//! Findings are collected while the file is read and compiled, never one at a time; their text is made at the end. A value
//! that is, or may be, a secret written in plain is masked in the quoted lines: messages end up in journals.

use std::{
    cell::RefCell,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Most findings that are shown; the rest is counted. A file with more is better read from the top.
const SHOWN_MAX: usize = 50;

/// Whether a finding keeps the config from taking effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but it is hardly what was meant.
    Warning,
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps the config from taking effect.
    pub severity: Severity,
    /// Full key path (`upstream.pricing.retry.backoff_min`), empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The config file, or one that it names.
    pub file: PathBuf,
    /// Where in the file; `None` where it could not be read.
    pub place: Option<Place>,
    /// A second place that belongs to it, and what it is.
    pub related: Option<(Place, String)>,
}

/// A stretch of one line of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, secrets masked.
    pub text: String,
    /// Bytes of `text` that are meant.
    pub span: Range<usize>,
}

/// Everything that keeps a config from taking effect, and the warnings beside it. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    findings: Vec<Finding>,
}

// --- ConfigErrors ---

impl ConfigErrors {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// A config file that cannot be read at all.
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "name another file with --config, or start from the annotated proxy.toml"
            }
            _ => "the user that runs larder has to be able to read it",
        };
        Self::new(vec![Finding {
            severity: Severity::Error,
            key: String::new(),
            message: format!("cannot read {}: {error}", file.display()),
            hint: Some(hint.to_owned()),
            file: file.to_owned(),
            place: None,
            related: None,
        }])
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter()
    }

    /// How many of them are errors, not warnings.
    pub fn errors_count(&self) -> usize {
        let is_error = |finding: &&Finding| finding.severity == Severity::Error;
        self.findings.iter().filter(is_error).count()
    }

    /// The whole report, several lines per finding. `color` for a terminal.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for finding in self.findings.iter().take(SHOWN_MAX) {
            out.push_str(&finding.render(color));
            out.push_str("\n\n");
        }
        let hidden = self.findings.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            out.push_str(&format!("and {hidden} more\n\n"));
        }
        out.push_str(&match self.errors_count() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        });
        out
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

// --- Finding ---

impl Finding {
    /// The finding with its line and a caret. `color` for a terminal.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = printable(&self.title());
        let mut group = match &self.place {
            Some(place) => level.primary_title(title).element(self.snippet(
                place,
                AnnotationKind::Primary,
                None,
            )),
            None => Group::with_title(level.primary_title(title)),
        };
        if let Some((place, label)) = &self.related {
            group = group.element(self.snippet(place, AnnotationKind::Context, Some(label)));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(printable(hint)));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[group])
    }

    fn title(&self) -> String {
        if self.key.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.key, self.message)
        }
    }

    fn snippet(
        &self,
        place: &Place,
        kind: AnnotationKind,
        label: Option<&str>,
    ) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
        let mut annotation = kind.span(place.span.clone());
        if let Some(label) = label {
            annotation = annotation.label(label.to_owned());
        }
        Snippet::source(place.text.clone())
            .line_start(place.line)
            .path(self.file.display().to_string())
            .fold(false)
            .annotation(annotation)
    }
}

impl fmt::Display for Finding {
    /// One line: `proxy.toml:3:9: server.listen: …; hint`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", printable(&self.title()))?;
        match &self.hint {
            Some(hint) => write!(f, "; {}", printable(hint)),
            None => Ok(()),
        }
    }
}

/// Text from the file may hold control characters; a terminal must not see them.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

// --- Findings ---

/// The findings of one file while it is read: byte ranges until [`Findings::finish`] turns them into lines.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    source: &'a str,
    file: &'a Path,
    open: RefCell<Vec<Open>>,
    masked: RefCell<Vec<Range<usize>>>,
}

#[derive(Clone, Debug)]
struct Open {
    severity: Severity,
    key: String,
    message: String,
    hint: Option<String>,
    span: Range<usize>,
    related: Option<(Range<usize>, String)>,
    /// Where it is in another file, which the value at `span` names.
    elsewhere: Option<(PathBuf, Place)>,
}

/// A finding that was just added, so that a hint or a second place can follow.
pub(super) struct Added<'f> {
    open: &'f RefCell<Vec<Open>>,
    at: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn new(source: &'a str, file: &'a Path) -> Self {
        Self {
            source,
            file,
            open: RefCell::default(),
            masked: RefCell::default(),
        }
    }

    pub(super) fn error(
        &self,
        key: impl Into<String>,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Added<'_> {
        self.add(Severity::Error, key.into(), span, message.into())
    }

    pub(super) fn warning(
        &self,
        key: impl Into<String>,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Added<'_> {
        self.add(Severity::Warning, key.into(), span, message.into())
    }

    /// An error in another file: the key that names it and where, the file with its text and where in it.
    pub(super) fn error_in(
        &self,
        (key, span): (&str, &Range<usize>),
        (file, text, at): (&Path, &str, &Range<usize>),
        message: impl Into<String>,
    ) -> Added<'_> {
        let place = place_in(text, at, &[]);
        let added = self.error(key, span, message);
        added.update(|open| open.elsewhere = Some((file.to_owned(), place)))
    }

    /// What is written there.
    pub(super) fn written(&self, span: &Range<usize>) -> &str {
        let start = floor_char_boundary(self.source, span.start);
        let end = floor_char_boundary(self.source, span.end).max(start);
        &self.source[start..end]
    }

    fn add(
        &self,
        severity: Severity,
        key: String,
        span: &Range<usize>,
        message: String,
    ) -> Added<'_> {
        let mut open = self.open.borrow_mut();
        open.push(Open {
            severity,
            key,
            message,
            hint: None,
            span: span.clone(),
            related: None,
            elsewhere: None,
        });
        Added {
            open: &self.open,
            at: open.len() - 1,
        }
    }

    /// Never quotes these bytes of the source.
    pub(super) fn mask(&self, span: &Range<usize>) {
        self.masked.borrow_mut().push(span.clone());
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &Path {
        self.file
    }

    /// The line on which a span begins, from 1.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        let start = floor_char_boundary(self.source, span.start);
        self.source[..start].matches('\n').count() + 1
    }

    pub(super) fn has_errors(&self) -> bool {
        let is_error = |open: &Open| open.severity == Severity::Error;
        self.open.borrow().iter().any(is_error)
    }

    /// All findings in the order of the file.
    pub(super) fn finish(&self) -> Vec<Finding> {
        let mut open = self.open.borrow().clone();
        open.sort_by_key(|finding| (finding.span.start, finding.severity));
        let finding = |open: Open| {
            let own = || (self.file.to_owned(), self.place(&open.span));
            let (file, place) = open.elsewhere.unwrap_or_else(own);
            Finding {
                severity: open.severity,
                key: open.key,
                message: open.message,
                hint: open.hint,
                file,
                place: Some(place),
                related: open.related.map(|(span, label)| (self.place(&span), label)),
            }
        };
        open.into_iter().map(finding).collect()
    }

    fn place(&self, span: &Range<usize>) -> Place {
        place_in(self.source, span, &self.masked.borrow())
    }
}

/// The first line of a span. A span that ends on a later line is cut off at the end of its first.
fn place_in(source: &str, span: &Range<usize>, masked: &[Range<usize>]) -> Place {
    let start = floor_char_boundary(source, span.start);
    let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = source[start..]
        .find('\n')
        .map_or(source.len(), |at| start + at);
    let end = floor_char_boundary(source, span.end).clamp(start, line_end);
    let line = source[line_start..line_end].trim_end_matches('\r');
    let span = start - line_start..(end - line_start).min(line.len());
    let (text, span) = quoted(line, line_start, span, masked);
    Place {
        line: source[..line_start].matches('\n').count() + 1,
        column: source[line_start..start].chars().count() + 1,
        text,
        span,
    }
}

/// A line with its masked parts and control characters as stars, byte for byte, so that positions stay.
fn quoted(
    line: &str,
    line_start: usize,
    span: Range<usize>,
    masked: &[Range<usize>],
) -> (String, Range<usize>) {
    let is_masked = |at: usize| masked.iter().any(|range| range.contains(&at));
    let mut text = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        if is_masked(line_start + at) {
            (0..c.len_utf8()).for_each(|_| text.push('*'));
        } else if c.is_control() {
            (0..c.len_utf8()).for_each(|_| text.push(' '));
        } else {
            text.push(c);
        }
    }
    // An empty span (end of line, end of file) is shown as one caret behind the text. Carriage returns at the end of a
    // line have places, and are not text.
    let end = span.end.max(span.start).min(text.len());
    (text, span.start.min(end)..end)
}

impl Added<'_> {
    /// What to do about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        self.update(|open| open.hint = Some(hint.into()))
    }

    /// [`Added::hint`] where there is something to say.
    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Another place that belongs to it.
    pub(super) fn related(self, span: &Range<usize>, label: impl Into<String>) -> Self {
        self.update(|open| open.related = Some((span.clone(), label.into())))
    }

    fn update(self, change: impl FnOnce(&mut Open)) -> Self {
        if let Some(open) = self.open.borrow_mut().get_mut(self.at) {
            change(open);
        }
        self
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_key_place_line_caret_and_hint() {
        let source = "[server]\nlisten = \"nowhere\"\n";
        let findings = Findings::new(source, Path::new("proxy.toml"));
        findings
            .error("server.listen", &(18..27), "not an address")
            .hint("write 127.0.0.1:8080");
        let errors = ConfigErrors::new(findings.finish());
        let text = errors.render(false);
        for want in [
            "server.listen: not an address",
            "proxy.toml:2:10",
            "listen = \"nowhere\"",
            "^^^^^^^^^",
            "write 127.0.0.1:8080",
            "1 error",
        ] {
            assert!(text.contains(want), "{want} in:\n{text}");
        }
        assert_eq!(
            errors.iter().next().unwrap().to_string(),
            "proxy.toml:2:10: server.listen: not an address; write 127.0.0.1:8080"
        );
    }

    #[test]
    fn findings_come_in_the_order_of_the_file() {
        let findings = Findings::new("a = 1\nb = 2\n", Path::new("f"));
        findings.error("b", &(6..7), "second");
        findings.warning("a", &(0..1), "first");
        let keys: Vec<_> = findings.finish().into_iter().map(|f| f.key).collect();
        assert_eq!(keys, ["a", "b"]);
    }

    #[test]
    fn a_masked_value_is_never_quoted() {
        let source = "value = \"hunter2\" # x";
        let findings = Findings::new(source, Path::new("f"));
        findings.mask(&(8..17));
        findings.error("value", &(8..17), "a literal");
        let text = ConfigErrors::new(findings.finish()).to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("value = *********"), "{text}");
    }

    #[test]
    fn odd_spans_do_not_panic() {
        let source = "a = \"\u{e4}\u{1b}[0m\"\r\nb\r\n\r\nc = \"h\r\r\r";
        let findings = Findings::new(source, Path::new("f"));
        for start in 0..source.len() + 3 {
            for end in [start, start + 1, start + 100, 0] {
                findings.error("a", &Range { start, end }, "\u{1b}odd");
            }
        }
        let text = ConfigErrors::new(findings.finish()).render(false);
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("more"));
    }
}
