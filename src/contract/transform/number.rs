//! Numbers: as they were written while they are only passed on, calculated with as jq does.

use jaq_json::Num;

/// Characters of a number. More digits than that say nothing, and cost much to calculate with.
pub(super) const CHARS_MAX: usize = 1024;
/// Bits of a whole number; larger ones go on as floating point.
const BITS_MAX: u64 = 4096;

/// A number of JSON text that is one (RFC 8259 6). Whole ones are exact, others keep their text.
pub(super) fn from_json(text: &str) -> Num {
    let is_whole = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    // "-0" is not 0: it keeps its sign.
    if is_whole
        && text != "-0"
        && let Some(num) = Num::from_str_radix(text, 10)
    {
        return num;
    }
    Num::Dec(text.to_owned().into())
}

/// A number of text that people and programs write: JSON's, or one that leaves a digit out (`.5`, `1.`, `007`).
pub(super) fn from_text(text: &str) -> Option<Num> {
    if text.len() > CHARS_MAX {
        return None;
    }
    if is_json(text.as_bytes()) {
        return Some(from_json(text));
    }
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let float = text.parse::<f64>().ok().filter(|_| is_plain)?;
    Some(Num::Float(float))
}

/// Whether this is a number as RFC 8259 6 has it.
pub(super) fn is_json(text: &[u8]) -> bool {
    len_of_json(text) == Some(text.len())
}

/// How long the number is that `text` begins with.
pub(super) fn len_of_json(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        text.get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    // No leading zeros.
    if whole == 0 || (whole > 1 && text.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let signed = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(signed);
        if exponent == 0 {
            return None;
        }
        at = signed + exponent;
    }
    Some(at)
}

/// As floating point; what is too large is infinite.
pub(super) fn as_f64(num: &Num) -> f64 {
    match num {
        Num::Int(int) => *int as f64,
        Num::Float(float) => *float,
        Num::Dec(text) => text.parse().unwrap_or(f64::NAN),
        // The crate that has them is not ours to name: the sum of a whole number and a float is a float.
        Num::BigInt(_) => match num.clone() + Num::Float(0.0) {
            Num::Float(float) => float,
            _ => f64::NAN,
        },
    }
}

/// Whether it has no fraction by its kind.
pub(super) fn is_int(num: &Num) -> bool {
    matches!(num, Num::Int(_) | Num::BigInt(_))
}

/// As a place in a list: the next whole number below.
pub(super) fn as_place(num: &Num) -> Option<i64> {
    match num {
        Num::Int(int) => i64::try_from(*int).ok(),
        other => {
            let float = as_f64(other).floor();
            // Casts of floats saturate, and no list is that long.
            (!float.is_nan()).then_some(float as i64)
        }
    }
}

/// What was calculated, bounded in size.
pub(super) fn bounded(num: Num) -> Num {
    match &num {
        Num::BigInt(int) if int.bits() > BITS_MAX => Num::Float(as_f64(&num)),
        _ => num,
    }
}

/// Its text in JSON; none where JSON cannot say it.
pub(super) fn to_json(num: &Num) -> Option<String> {
    match num {
        Num::Int(_) | Num::BigInt(_) => Some(num.to_string()),
        Num::Dec(text) if is_json(text.as_bytes()) => Some(text.to_string()),
        Num::Dec(_) => to_json(&Num::Float(as_f64(num))),
        Num::Float(float) if !float.is_finite() => None,
        // As jq has it: 12, not 12.0.
        Num::Float(float) if float.fract() == 0.0 && float.abs() < 1e17 => {
            Some(format!("{float:.0}"))
        }
        Num::Float(_) => Some(num.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_text_or_get_the_shortest_one() {
        for (name, num, want) in [
            (
                "a fraction keeps its zeros",
                from_json("12.50"),
                Some("12.50"),
            ),
            (
                "a long whole number keeps every digit",
                from_json("123456789012345678901234567890"),
                Some("123456789012345678901234567890"),
            ),
            (
                "a negative zero keeps its sign",
                from_json("-0"),
                Some("-0"),
            ),
            (
                "an exponent stays as it was written",
                from_json("1E+2"),
                Some("1E+2"),
            ),
            (
                "what floating point has no room for stays",
                from_json("1e400"),
                Some("1e400"),
            ),
            (
                "a calculated whole number has no fraction",
                Num::Float(12.0),
                Some("12"),
            ),
            (
                "a calculated fraction is short",
                Num::Float(12.5),
                Some("12.5"),
            ),
            (
                "a large one gets an exponent",
                Num::Float(1e300),
                Some("1e300"),
            ),
            ("infinity is not JSON", Num::Float(f64::INFINITY), None),
            ("nothing is not JSON", Num::Float(f64::NAN), None),
            (
                "of a product that grows without end only the size is kept",
                bounded(from_json(&"9".repeat(1024)) * from_json(&"9".repeat(1024))),
                None,
            ),
        ] {
            assert_eq!(to_json(&num).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn what_people_write_as_a_number_is_one() {
        for (text, want) in [
            ("12.50", Some("12.50")),
            (".5", Some("0.5")),
            ("007", Some("7")),
            ("1.", Some("1")),
            ("1e2", Some("1e2")),
            ("", None),
            ("-", None),
            ("1,5", None),
            ("0x10", None),
            ("NaN", None),
            ("infinity", None),
        ] {
            let got = from_text(text).and_then(|num| to_json(&num));
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn what_a_number_is_follows_rfc8259_6() {
        for (text, want) in [
            ("0", true),
            ("-0.0e-0", true),
            ("01", false),
            ("+1", false),
            ("1.", false),
            (".1", false),
            ("1e", false),
            ("--1", false),
            ("", false),
        ] {
            assert_eq!(is_json(text.as_bytes()), want, "{text:?}");
        }
    }
}
