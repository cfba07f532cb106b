//! What is no JSON: a maintenance page, a list of values, a broken answer. Its beginning as text, with what may be about a
//! person or open a door masked by how it looks: that is a guess, and where it is in doubt it masks.

use super::push_printable;

/// Digits, with what people write between them, that may be the number of somebody or something.
const DIGITS_MIN: usize = 6;
/// The local part of an address is no longer (RFC 5321 4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;
/// Words of this length are no words; with digits among letters, shorter ones are none either.
const TOKEN_CHARS_MIN: usize = 24;
const MIXED_TOKEN_CHARS_MIN: usize = 12;
/// What stands after these words and a sign is hidden.
const SECRETS: [&str; 12] = [
    "authorization",
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "session",
    "cookie",
    "credential",
    "signature",
];
/// What stands after these words is hidden without a sign, too (RFC 9110 11.4).
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// What the words so far say about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Anything,
    /// Hidden if a sign (`:`, `=`) comes before it.
    AfterSign,
    Hidden,
}

/// See [`super::redact`].
pub(super) fn redact(body: &[u8], bytes_max: usize) -> String {
    let start = &body[..body.len().min(bytes_max.saturating_mul(2))];
    let text = String::from_utf8_lossy(start);
    let text: Vec<char> = text.trim().chars().collect();
    if text.is_empty() && start.len() == body.len() {
        return "(empty)".to_owned();
    }
    let is_strange = |character: &&char| {
        **character == char::REPLACEMENT_CHARACTER
            || (character.is_control() && !character.is_whitespace())
    };
    if text.iter().filter(is_strange).count() * 3 > text.len() {
        return format!("({} bytes that are no text)", body.len());
    }
    let mut out = String::new();
    let (mut at, mut next) = (0, Next::Anything);
    while at < text.len() {
        let (took, piece) = piece(&text[at..], &mut next);
        if out.len() + piece.len() > bytes_max {
            out.push('\u{2026}');
            return out;
        }
        out.push_str(&piece);
        at += took;
    }
    if start.len() < body.len() {
        out.push('\u{2026}');
    }
    out
}

/// The next piece, what it is shown as, and how many characters it is.
fn piece(text: &[char], next: &mut Next) -> (usize, String) {
    let first = text[0];
    if first.is_whitespace() {
        let run = text
            .iter()
            .take_while(|character| character.is_whitespace());
        return (run.count(), " ".to_owned());
    }
    if !is_word(first) {
        *next = match (first, *next) {
            ('<' | '>', _) => Next::Anything,
            (':' | '=', Next::AfterSign) => Next::Hidden,
            (_, unchanged) => unchanged,
        };
        let mut shown = String::new();
        push_printable(&mut shown, first);
        return (1, shown);
    }
    let word: String = text
        .iter()
        .take_while(|character| is_word(**character))
        .collect();
    let length = word.chars().count();
    if *next == Next::Hidden {
        *next = said_by(&word);
        return (length, "(hidden)".to_owned());
    }
    *next = said_by(&word);
    if let Some(took) = address(text) {
        return (took, "(email)".to_owned());
    }
    if let Some(took) = digits(text) {
        return (took.max(length), "(digits)".to_owned());
    }
    if is_token(&word, length) {
        return (length, "(token)".to_owned());
    }
    (length, word)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

fn said_by(word: &str) -> Next {
    let word = word.to_lowercase();
    if SCHEMES.contains(&word.as_str()) {
        return Next::Hidden;
    }
    // A form that is filled in.
    let is_secret = word == "value" || SECRETS.iter().any(|secret| word.contains(secret));
    if is_secret {
        Next::AfterSign
    } else {
        Next::Anything
    }
}

fn is_token(word: &str, length: usize) -> bool {
    let is_mixed = word.contains(char::is_alphabetic) && word.contains(char::is_numeric);
    length >= TOKEN_CHARS_MIN || (is_mixed && length >= MIXED_TOKEN_CHARS_MIN)
}

/// An e-mail address that begins here.
fn address(text: &[char]) -> Option<usize> {
    let is_part = |character: &&char| is_word(**character) || matches!(character, '.' | '%' | '+');
    let local = text
        .iter()
        .take(LOCAL_PART_MAX + 1)
        .take_while(is_part)
        .count();
    (text.get(local) == Some(&'@')).then_some(())?;
    let domain = text[local + 1..]
        .iter()
        .take_while(|character| is_word(**character) || **character == '.')
        .count();
    (domain > 0).then_some(local + 1 + domain)
}

/// A number of somebody or something that begins here, with what is written between its digits.
fn digits(text: &[char]) -> Option<usize> {
    let (mut digits, mut took) = (0, 0);
    for (at, character) in text.iter().enumerate() {
        if character.is_numeric() {
            digits += 1;
            took = at + 1;
        } else if !matches!(character, ' ' | '-' | '.' | '/' | '(' | ')') || at > took + 1 {
            break;
        }
    }
    (digits >= DIGITS_MIN).then_some(took)
}
