//! What a string looks like: a handful of forms that are cheap to tell apart and that programs rely on.

use std::net::Ipv4Addr;

/// Longest string that is looked at for its form; longer ones are text.
const LOOKED_AT_BYTES: usize = 256;

/// The form of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum Format {
    /// None of the others.
    Text = 1,
    /// No characters.
    Empty = 1 << 1,
    /// ASCII digits only.
    Digits = 1 << 2,
    /// A number with a decimal point: how many APIs write prices.
    Decimal = 1 << 3,
    /// `2026-11-26`.
    Date = 1 << 4,
    /// `2026-11-26T12:00:00Z` (RFC 3339), a space for the `T` and a missing zone taken too.
    DateTime = 1 << 5,
    /// RFC 9562.
    Uuid = 1 << 6,
    /// `https://…`, `http://…`.
    Url = 1 << 7,
    /// Something before an `@` and something with a dot behind it.
    Email = 1 << 8,
    /// Four numbers with dots.
    Ipv4 = 1 << 9,
}

impl Format {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Text, "text"),
        (Self::Empty, "empty"),
        (Self::Digits, "digits"),
        (Self::Decimal, "decimal"),
        (Self::Date, "date"),
        (Self::DateTime, "date-time"),
        (Self::Uuid, "uuid"),
        (Self::Url, "url"),
        (Self::Email, "email"),
        (Self::Ipv4, "ipv4"),
    ];

    /// Of this string.
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        match bytes {
            [] => Self::Empty,
            _ if bytes.len() > LOOKED_AT_BYTES => match is_url(text) {
                true => Self::Url,
                false => Self::Text,
            },
            _ if bytes.iter().all(u8::is_ascii_digit) => Self::Digits,
            _ if is_decimal(bytes) => Self::Decimal,
            _ if is_date(bytes) => Self::Date,
            _ if is_date_time(bytes) => Self::DateTime,
            _ if is_uuid(bytes) => Self::Uuid,
            _ if is_url(text) => Self::Url,
            _ if is_email(text) => Self::Email,
            _ if text.parse::<Ipv4Addr>().is_ok() => Self::Ipv4,
            _ => Self::Text,
        }
    }

    /// As a set of one.
    pub(super) const fn bit(self) -> u16 {
        self as u16
    }

    /// The words for a set of them.
    pub(super) fn names(set: u16) -> Vec<&'static str> {
        let known = Self::ALL.iter();
        let named = known.filter(|(format, _)| set & format.bit() != 0);
        named.map(|(_, name)| *name).collect()
    }
}

/// Whether the name of a member is a value by itself (a number, a date, a UUID), so that its object is used as a map.
pub(super) fn is_generated_name(name: &str) -> bool {
    matches!(
        Format::of(name),
        Format::Digits | Format::Decimal | Format::Date | Format::DateTime | Format::Uuid
    ) || (name.len() >= 16
        && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        && name.bytes().any(|byte| byte.is_ascii_digit()))
}

fn is_decimal(bytes: &[u8]) -> bool {
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let mut parts = unsigned.splitn(2, |byte| *byte == b'.');
    let is_digits =
        |part: &[u8]| !part.is_empty() && part.len() <= 18 && part.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(is_digits) && parts.next().is_some_and(is_digits)
}

/// Whether bytes fit a pattern in which `0` is a digit and everything else stands for itself.
fn fits(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.len() == pattern.len()
        && bytes
            .iter()
            .zip(pattern)
            .all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                _ => byte == wanted,
            })
}

fn is_date(bytes: &[u8]) -> bool {
    fits(bytes, b"0000-00-00")
}

fn is_date_time(bytes: &[u8]) -> bool {
    let (Some(date), Some(between), Some(time)) = (bytes.get(..10), bytes.get(10), bytes.get(11..))
    else {
        return false;
    };
    let Some((hours, rest)) = time.split_at_checked(5) else {
        return false;
    };
    let is_rest = |byte: &u8| byte.is_ascii_digit() || b":.,Zz+-".contains(byte);
    is_date(date) && b"Tt ".contains(between) && fits(hours, b"00:00") && rest.iter().all(is_rest)
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !text.contains(char::is_whitespace)
}

fn is_email(text: &str) -> bool {
    let Some((before, behind)) = text.split_once('@') else {
        return false;
    };
    !before.is_empty()
        && behind.contains('.')
        && !behind.starts_with('.')
        && !behind.contains('@')
        && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_told_apart_by_form() {
        for (text, want) in [
            ("", Format::Empty),
            ("0012", Format::Digits),
            ("19.99", Format::Decimal),
            ("-0.5", Format::Decimal),
            ("1.2.3", Format::Text),
            (".5", Format::Text),
            ("2026-11-26", Format::Date),
            ("2026-11-2x", Format::Text),
            ("2026-11-26T12:00:00Z", Format::DateTime),
            ("2026-11-26 12:00", Format::DateTime),
            ("2026-11-26T12:00:00.123+01:00", Format::DateTime),
            ("2026-11-26T1", Format::Text),
            ("2026-11-26Té:00", Format::Text),
            ("123e4567-e89b-12d3-a456-426614174000", Format::Uuid),
            ("https://shop.example/1", Format::Url),
            ("https://", Format::Text),
            ("desk@vendor.example", Format::Email),
            ("@vendor", Format::Text),
            ("10.0.0.1", Format::Ipv4),
            ("in stock", Format::Text),
        ] {
            assert_eq!(Format::of(text), want, "{text}");
        }
    }

    #[test]
    fn names_that_are_values_are_known() {
        for (name, want) in [
            ("17", true),
            ("2026-11-26", true),
            ("123e4567-e89b-12d3-a456-426614174000", true),
            ("deadbeef00112233", true),
            ("price", false),
            ("line1", false),
            ("accessibility", false),
            ("", false),
        ] {
            assert_eq!(is_generated_name(name), want, "{name}");
        }
    }
}
