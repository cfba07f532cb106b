//! Rates: so many in so long, as `"100 / minute"` says it.

use std::{fmt, time::Duration};

use super::values::{self, Complaint, Parsed};
use toml::de::DeValue;

/// Most that a rate may count. More is no limit.
const COUNT_MAX: u32 = 1_000_000_000;
/// Longest time that a rate may count over: a quota of a month.
const PER_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how long; longer than zero.
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {:?}", self.count, self.per)
    }
}

/// `"100 / minute"`, `"5/s"`, `"300 / 15m"`.
pub(super) fn rate(value: &DeValue<'_>) -> Parsed<Rate> {
    let text = match value {
        DeValue::Integer(number) => {
            return Err(Complaint::new("a rate needs a time").hint(format!(
                "write \"{number} / second\" or \"{number} / minute\""
            )));
        }
        value => values::text(value)?,
    };
    let not_a_rate = || {
        Complaint::new(format!("`{text}` is not a rate"))
            .hint("write how many in how long: \"100 / second\", \"600 / minute\", \"300 / 15m\"")
    };
    let (count, per) = text.split_once('/').ok_or_else(not_a_rate)?;
    let count = count.trim();
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_rate());
    }
    let per = period(per.trim()).ok_or_else(not_a_rate)?;
    let count = count.parse().ok().filter(|count| *count <= COUNT_MAX);
    let count = count.ok_or_else(|| Complaint::new("counts more than a billion"))?;
    if count == 0 {
        return Err(Complaint::new("would let nothing through")
            .hint("write 1 at least, or leave the key out for no limit"));
    }
    if per > PER_MAX {
        return Err(Complaint::new("counts over more than 31 days"));
    }
    Ok(Rate { count, per })
}

/// A unit alone is one of it.
fn period(text: &str) -> Option<Duration> {
    let secs = match text {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        "d" | "day" => 24 * 3600,
        text => return values::length(text).filter(|length| !length.is_zero()),
    };
    Some(Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parsed<Rate> {
        rate(&DeValue::parse(text).unwrap().into_inner())
    }

    #[test]
    fn a_rate_is_so_many_in_so_long() {
        for (text, count, per_ms) in [
            ("\"100 / minute\"", 100, 60_000),
            ("\"100/min\"", 100, 60_000),
            ("\"5 / second\"", 5, 1_000),
            ("\"5/s\"", 5, 1_000),
            ("\"1 / hour\"", 1, 3_600_000),
            ("\"10000 / day\"", 10_000, 86_400_000),
            ("\"300 / 15m\"", 300, 900_000),
            ("\"300 / 1h 30m\"", 300, 5_400_000),
            ("\" 7 /  100ms \"", 7, 100),
        ] {
            let want = Rate {
                count,
                per: Duration::from_millis(per_ms),
            };
            assert_eq!(read(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_says_what_to_write() {
        for (text, want) in [
            ("100", "\"100 / second\""),
            ("\"100\"", "\"100 / second\""),
            ("\"100 per minute\"", "\"600 / minute\""),
            ("\"/ minute\"", "is not a rate"),
            ("\"-1 / minute\"", "is not a rate"),
            ("\"1.5 / minute\"", "is not a rate"),
            ("\"100 / fortnight\"", "is not a rate"),
            ("\"100 / 0s\"", "is not a rate"),
            ("\"0 / minute\"", "leave the key out"),
            ("\"9999999999 / minute\"", "more than a billion"),
            ("\"1 / 32d\"", "31 days"),
            ("true", "text in quotes"),
        ] {
            let complaint = read(text).unwrap_err();
            let said = format!(
                "{} {}",
                complaint.message,
                complaint.hint.unwrap_or_default()
            );
            assert!(said.contains(want), "{text}: {said}");
        }
    }
}
