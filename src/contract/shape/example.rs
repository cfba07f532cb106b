//! Values as examples in reports: cut short, and masked where they look personal.

use super::{bounds::EXAMPLE_CHARS_MAX, format::Format};

/// Digits in a row that look like a telephone number, an account or a card.
const LONG_DIGITS: usize = 7;

/// At most [`EXAMPLE_CHARS_MAX`] characters, without control characters, and nobody's address or number.
pub(super) fn cut(text: &str) -> String {
    let mut cut: String = text
        .chars()
        .take(EXAMPLE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let is_cut = text.chars().nth(EXAMPLE_CHARS_MAX).is_some();
    if !matches!(
        Format::of(text),
        Format::Date | Format::DateTime | Format::Uuid | Format::Decimal
    ) {
        cut = masked(&cut);
    }
    if is_cut {
        cut.push('…');
    }
    cut
}

/// Words with an `@`, and long runs of digits (spaces, dashes and dots between them or not), as stars.
fn masked(text: &str) -> String {
    let words: Vec<String> = text
        .split(' ')
        .map(|word| match word.contains('@') {
            true => "***".to_owned(),
            false => word.to_owned(),
        })
        .collect();
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for character in words.join(" ").chars().chain([' ', '\0']) {
        let joins = !run.is_empty() && "-. /()".contains(character);
        if character.is_ascii_digit() || joins {
            run.push(character);
            continue;
        }
        let digits = run.chars().filter(char::is_ascii_digit).count();
        if digits >= LONG_DIGITS {
            let behind = run.len() - run.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
            out.push_str("***");
            out.push_str(&run[run.len() - behind..]);
        } else {
            out.push_str(&run);
        }
        run.clear();
        out.push(character);
    }
    out.trim_end_matches('\0').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_short_and_nobodys() {
        for (text, want) in [
            ("in stock", "in stock"),
            ("write to anna@shop.example now", "write to *** now"),
            ("+49 170 1234567", "+***"),
            ("DE89 3704 0044 0532 0130 00", "DE***"),
            ("sku-12345", "sku-12345"),
            ("call 0170-1234567 now", "call *** now"),
            ("2026-11-26T12:00:00Z", "2026-11-26T12:00:00Z"),
            ("a\nb", "a b"),
            ("", ""),
        ] {
            assert_eq!(cut(text), want, "{text}");
        }
        let long = cut(&"ä".repeat(1_000));
        assert_eq!(long.chars().count(), EXAMPLE_CHARS_MAX + 1);
    }
}
