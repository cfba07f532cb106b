//! Print: findings for people, 80 columns wide, and for scripts. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    findings::{Finding, Level, Reading, count},
    seen::Observations,
    suggest::Suggestion,
};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Of the topic.
const TOPIC: usize = 12;
/// Of the topic and the level.
const INDENT: usize = TOPIC + 9;
/// Lines of the tree.
const TREE_LINES_MAX: usize = 40;

/// For people.
pub(super) fn people(
    seen: &Observations,
    reading: &Reading,
    findings: &[Finding],
    suggestion: Option<&Suggestion>,
) -> String {
    let mut out = format!("{}\n\n", seen.target.shown());
    let mut above = None;
    for finding in findings {
        let topic = finding.topic.as_str();
        let heading = if above == Some(topic) { "" } else { topic };
        above = Some(topic);
        let level = finding.level.as_str();
        let begin = format!("{heading:<TOPIC$}{level:<9}");
        wrap(&mut out, &begin, &finding.text, INDENT);
        if let Some(advice) = &finding.advice {
            let begin = format!("{:INDENT$}-> ", "");
            wrap(&mut out, &begin, advice, INDENT + 3);
        }
    }
    tree(&mut out, reading);
    verdict(&mut out, seen, findings, suggestion);
    out
}

fn tree(out: &mut String, reading: &Reading) {
    let Some(shape) = &reading.shape else {
        return;
    };
    let (leaves, is_all) = shape.tree(TREE_LINES_MAX);
    if leaves.is_empty() {
        return;
    }
    let of = count(
        usize::try_from(reading.documents).unwrap_or(usize::MAX),
        "answer",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\nwhat is in it (from {of})");
    let width = |leaf: &super::shape::Leaf| 2 + 2 * leaf.depth + leaf.name.chars().count();
    let widest = leaves.iter().map(width).max().unwrap_or_default().min(36);
    for leaf in &leaves {
        let begin = format!("{:indent$}{}", "", leaf.name, indent = 2 + 2 * leaf.depth);
        let _ = writeln!(out, "{begin:<widest$}  {}", leaf.about);
    }
    if !is_all {
        out.push_str("  ... and more; --json has all of it\n");
    }
}

fn verdict(
    out: &mut String,
    seen: &Observations,
    findings: &[Finding],
    suggestion: Option<&Suggestion>,
) {
    let number = |level| findings.iter().filter(|one| one.level == level).count();
    let problems = number(Level::Problem);
    if let Some(suggestion) = suggestion.filter(|_| problems == 0) {
        out.push_str("\nwhat larder can do for you here\n");
        for (heading, text) in suggestion.lines() {
            wrap(out, &format!("  {heading:<11}"), &text, 13);
        }
    }
    let asked = count(seen.requests, "request");
    let warnings = count(number(Level::Warning), "warning");
    let verdict = match problems {
        0 => format!("usable: {warnings}, after {asked}"),
        _ => format!(
            "not usable like this: {}, {warnings}, after {asked}",
            count(problems, "problem")
        ),
    };
    let _ = writeln!(out, "\n{verdict}");
}

/// A text behind its beginning, broken between words where a line would be too long.
fn wrap(out: &mut String, begin: &str, text: &str, indent: usize) {
    out.push_str(begin);
    let (mut at, mut is_first) = (begin.chars().count(), true);
    for word in words(text) {
        let len = word.chars().count();
        if !is_first && at + 1 + len > WIDTH {
            let _ = write!(out, "\n{:indent$}", "");
            at = indent;
        } else if !is_first {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += len;
        is_first = false;
    }
    out.push('\n');
}

/// Words of a text; what stands between backticks is one, so that it can be copied.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    let words = text.split(move |c: char| {
        inside ^= c == '`';
        c == ' ' && !inside
    });
    words.filter(|word| !word.is_empty())
}

/// For scripts: names and their meaning stay.
pub(super) fn script(
    seen: &Observations,
    reading: &Reading,
    findings: &[Finding],
    suggestion: Option<&Suggestion>,
    is_usable: bool,
) -> Value {
    let shown: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "topic": finding.topic.as_str(),
                "name": finding.name,
                "level": finding.level.as_str(),
                "text": finding.text,
                "advice": finding.advice,
                "value": finding.value,
            })
        })
        .collect();
    json!({
        "url": seen.target.shown(),
        "usable": is_usable,
        "requests": seen.requests,
        "findings": shown,
        "suggestion": suggestion.map(Suggestion::json),
        "schema": reading.shape.as_ref().map(super::shape::Shape::schema),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal_unless_a_word_is() {
        let mut out = String::new();
        wrap(&mut out, "topic   ", &"word ".repeat(60), 8);
        assert!(out.lines().count() > 3);
        assert!(
            out.lines().all(|line| line.chars().count() <= WIDTH),
            "{out}"
        );
        assert!(
            out.lines()
                .skip(1)
                .all(|line| line.starts_with("        w")),
            "{out}"
        );
        let mut out = String::new();
        wrap(&mut out, "a ", &format!("{} `b = c`.", "x".repeat(70)), 2);
        assert_eq!(out.lines().nth(1), Some("  `b = c`."));
        let mut out = String::new();
        wrap(&mut out, "a ", &"x".repeat(100), 8);
        assert_eq!(out.lines().count(), 1);
    }
}
