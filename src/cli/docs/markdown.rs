//! Text as Markdown that shows it as it is, whatever stands in it. Pure.

/// Escaped for running text and table cells: nothing in it is markup, and it stays on its line.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&'
            | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A sentence of ours in which backquotes mean code: what is between them is code, the rest is escaped.
pub(super) fn sentence(sentence: &str) -> String {
    let parts = sentence.split('`');
    if parts.clone().count().is_multiple_of(2) {
        return text(sentence);
    }
    let shown = parts.enumerate().map(|(nth, part)| match nth % 2 {
        0 => text(part),
        _ => code(part),
    });
    shown.collect()
}

/// A code span, fit for a table cell too.
pub(super) fn code(code: &str) -> String {
    let clean: String = code
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // Only an escaped bar stays inside its cell, also in code.
    let clean = clean.replace('|', "\\|");
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    match clean.starts_with('`') || clean.ends_with('`') || clean.trim().is_empty() {
        true => format!("{fence} {clean} {fence}"),
        false => format!("{fence}{clean}{fence}"),
    }
}

/// A block of code in this language.
pub(super) fn block(language: &str, code: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let clean: String = code
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    format!("{fence}{language}\n{}\n{fence}", clean.trim_end())
}

/// A link where it is plainly an address of the web, else the text.
pub(super) fn link(address: &str) -> String {
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'()*+,;=%".contains(c);
    match is_web && address.chars().all(is_plain) {
        true => format!("<{address}>"),
        false => code(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_config_says_is_markup() {
        for (given, want) in [
            ("Desk <a@b.example>", "Desk \\<a@b.example\\>"),
            ("a | b\n# c", "a \\| b \\# c"),
            ("[x](javascript:1)", "\\[x\\](javascript:1)"),
            ("`a` *b* _c_", "\\`a\\` \\*b\\* \\_c\\_"),
            ("&amp;", "\\&amp;"),
        ] {
            assert_eq!(text(given), want);
        }
        for (given, want) in [
            ("/a/{b}", "`/a/{b}`"),
            ("a`b", "``a`b``"),
            ("`", "`` ` ``"),
            ("a|b", "`a\\|b`"),
            ("a\nb", "`a b`"),
        ] {
            assert_eq!(code(given), want);
        }
        assert_eq!(block("jq", "a ```\n"), "````jq\na ```\n````");
        assert_eq!(sentence("see `a_b` <c>"), "see `a_b` \\<c\\>");
        assert_eq!(sentence("an odd ` one"), "an odd \\` one");
        assert_eq!(link("https://a.example/x?y=1"), "<https://a.example/x?y=1>");
        assert_eq!(link("docs/a b.md"), "`docs/a b.md`");
        assert_eq!(link("https://a.example/> <b>"), "`https://a.example/> <b>`");
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_it_stays_on_its_line_and_in_its_cell(given in "\\PC{0,40}|[`|<>\n\\\\ ]{0,12}") {
            for shown in [text(&given), code(&given), sentence(&given), link(&given)] {
                proptest::prop_assert!(!shown.contains('\n'));
                let bare = shown.replace("\\\\", "").replace("\\|", "");
                proptest::prop_assert!(!bare.contains('|') || given.contains('\\'), "{}", shown);
            }
        }
    }
}
