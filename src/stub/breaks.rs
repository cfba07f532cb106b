//! Breaks: a fault with the paths and the times it is for, read from `key=value` words.
//!
//! The control API's query, `--fault` on the command line and `[[fault]]` in a file all arrive here as
//! the same pairs, so that they mean the same and are refused with the same words.
//!
//! Keys for every kind: `kind`, `path`, `percent`, `at` (or `after`), `for`, `every`. The settings of
//! each kind: [`super::Fault`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use super::fault::{Fault, KINDS, RetryAfter};
use super::pattern::{PathPattern, PatternError};

/// A fault, where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The paths that are broken. Default: `*`.
    pub path: PathPattern,
    /// How they are broken.
    pub fault: Fault,
    /// Share of the requests it hits, by seeded chance, 1 to 100. Default: 100.
    pub percent: u8,
    /// Begins so long after it was given (in a file: after the start of the stub). Default: 0.
    pub after: Duration,
    /// Ends by itself after this time. Default: lasts until it is mended.
    pub lasting: Option<Duration>,
    /// Comes back at this interval; needs `lasting`, and is longer.
    pub every: Option<Duration>,
}

/// Why a text describes no break; the message says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakError {
    /// No `kind`.
    #[error("no kind given; kinds: {}", kinds().join(", "))]
    NoKind,
    /// A `kind` (or the `fault` of a flap) that does not exist.
    #[error("unknown kind '{kind}'{}", instead(kind, "kinds", &kinds()))]
    UnknownKind {
        /// The kind as it was written.
        kind: String,
    },
    /// A key that this kind does not take.
    #[error("unknown key '{key}' for kind '{kind}'{}", instead(key, "keys", &keys_of(kind)))]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The kind it was given for.
        kind: String,
    },
    /// A value that does not fit its key.
    #[error("{key}={value}: {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The value as it was written.
        value: String,
        /// What would be allowed.
        expected: String,
    },
    /// A path that is no pattern.
    #[error(transparent)]
    BadPath(#[from] PatternError),
    /// A word without `=`.
    #[error("'{0}' is not of the form key=value, as in 'kind=hang path=/prices/* for=5s'")]
    NotAPair(String),
    /// Keys that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
}

/// Keys that every kind takes.
const COMMON_KEYS: &[&str] = &["kind", "path", "percent", "at", "after", "for", "every"];

// --- Break ---

impl Break {
    /// `fault` on every request to `path`, from now until it is mended.
    pub fn new(path: PathPattern, fault: Fault) -> Self {
        Self {
            path,
            fault,
            percent: 100,
            after: Duration::ZERO,
            lasting: None,
            every: None,
        }
    }

    /// Reads a break from pairs of key and value, in any order.
    ///
    /// # Errors
    ///
    /// An unknown kind or key, a value out of range, or keys that contradict each other.
    pub fn from_pairs<I>(pairs: I) -> Result<Self, BreakError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let mut words = Words(pairs.into_iter().collect());
        let kind = words.take("kind").ok_or(BreakError::NoKind)?;
        let path = match words.take("path") {
            Some(text) => text.parse()?,
            None => PathPattern::all(),
        };
        let made = Self {
            path,
            percent: words.number("percent", 1..=100)?.unwrap_or(100),
            after: words
                .duration("at")?
                .or(words.duration("after")?)
                .unwrap_or_default(),
            lasting: words.duration("for")?,
            every: words.duration("every")?,
            fault: words.fault(&kind)?,
        };
        words.all_taken(&kind)?;
        made.checked()
    }

    /// Refuses what could not be kept: the one place for rules that span several keys, and for faults
    /// that were made without the text form.
    pub(crate) fn checked(self) -> Result<Self, BreakError> {
        let conflict = self.fault.conflict().or(self.conflict());
        conflict.map_or(Ok(self), |why| Err(BreakError::Conflict(why)))
    }

    fn conflict(&self) -> Option<&'static str> {
        let refuses = self.fault.refuses();
        let rules = [
            (
                refuses && !self.path.is_all(),
                "refuse closes the listening socket, so it needs path=*; for one path use kind=reset",
            ),
            (
                refuses && self.percent != 100,
                "refuse closes the listening socket, so it takes no percent; use kind=reset",
            ),
            (
                !(1..=100).contains(&self.percent),
                "percent must be from 1 to 100",
            ),
            (
                self.every.is_some() && self.lasting.is_none(),
                "every needs for: how long each outage lasts",
            ),
            (
                self.every.is_some() && self.every <= self.lasting,
                "every must be longer than for",
            ),
            (
                self.lasting == Some(Duration::ZERO),
                "for must be longer than 0s",
            ),
        ];
        let broken = rules.into_iter().find(|(is_broken, _)| *is_broken);
        broken.map(|(_, why)| why)
    }
}

impl FromStr for Break {
    type Err = BreakError;

    fn from_str(text: &str) -> Result<Self, BreakError> {
        let pair = |word: &str| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(BreakError::NotAPair(word.to_owned())),
        };
        let pairs: Vec<_> = text
            .split_whitespace()
            .map(pair)
            .collect::<Result<_, _>>()?;
        Self::from_pairs(pairs)
    }
}

impl fmt::Display for Break {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} path={}", self.fault, self.path)?;
        if self.percent != 100 {
            write!(out, " percent={}", self.percent)?;
        }
        if !self.after.is_zero() {
            write!(out, " after={:?}", self.after)?;
        }
        if let Some(lasting) = self.lasting {
            write!(out, " for={lasting:?}")?;
        }
        if let Some(every) = self.every {
            write!(out, " every={every:?}")?;
        }
        Ok(())
    }
}

/// The pairs not read yet: what is left at the end is an error, not a silent default.
struct Words(BTreeMap<String, String>);

// --- Words ---

impl Words {
    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn all_taken(mut self, kind: &str) -> Result<(), BreakError> {
        match self.0.pop_first() {
            None => Ok(()),
            Some((key, _)) => Err(BreakError::UnknownKey {
                key,
                kind: kind.to_owned(),
            }),
        }
    }

    fn number<N>(
        &mut self,
        key: &str,
        allowed: std::ops::RangeInclusive<N>,
    ) -> Result<Option<N>, BreakError>
    where
        N: FromStr + PartialOrd + fmt::Display,
    {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) if allowed.contains(&number) => Ok(Some(number)),
            _ => Err(bad_value(
                key,
                &value,
                &format!(
                    "a whole number from {} to {}",
                    allowed.start(),
                    allowed.end()
                ),
            )),
        }
    }

    fn duration(&mut self, key: &str) -> Result<Option<Duration>, BreakError> {
        self.take(key)
            .map(|value| duration(&value).map_err(|expected| bad_value(key, &value, &expected)))
            .transpose()
    }

    fn delay_range(&mut self, default: Duration) -> Result<(Duration, Duration), BreakError> {
        match self.take("delay") {
            None => Ok((default, default)),
            Some(value) => {
                delay_range(&value).map_err(|expected| bad_value("delay", &value, &expected))
            }
        }
    }

    fn fault(&mut self, kind: &str) -> Result<Fault, BreakError> {
        Ok(match kind {
            "refuse" => Fault::Refuse,
            "reset" => Fault::Reset,
            "reset_mid_body" => Fault::ResetMidBody,
            "close" => Fault::Close,
            "hang" => Fault::Hang,
            "slow_head" => Fault::SlowHead {
                delay: self.duration("delay")?.unwrap_or(Duration::from_secs(5)),
            },
            "drip" => Fault::Drip {
                bytes: self.number("bytes", 1..=1 << 20)?.unwrap_or(16),
                every: self.duration("gap")?.unwrap_or(Duration::from_millis(100)),
            },
            "truncate" => Fault::Truncate {
                chunked: self.choice("framing", ["length", "chunked"])? == 1,
            },
            "status" => self.status()?,
            "invalid_json" => Fault::InvalidJson,
            "html" => Fault::Html,
            "zero_price" => Fault::ZeroPrice,
            "missing_field" => Fault::MissingField {
                field: self.take("field").unwrap_or_else(|| "price".into()),
            },
            "empty" => Fault::Empty,
            "flap" => self.flap()?,
            "latency" => {
                let (min, max) = self.delay_range(Duration::from_secs(1))?;
                Fault::Latency { min, max }
            }
            "garbage" => Fault::Garbage,
            _ => {
                return Err(BreakError::UnknownKind {
                    kind: kind.to_owned(),
                });
            }
        })
    }

    fn status(&mut self) -> Result<Fault, BreakError> {
        let code = self.number("status", 200..=599)?.unwrap_or(503);
        let as_date = self.choice("retry_after_as", ["seconds", "date"])? == 1;
        let seconds = self.number("retry_after", 0..=u32::MAX)?;
        Ok(Fault::Status {
            status: StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            retry_after: seconds.map(|seconds| RetryAfter { seconds, as_date }),
        })
    }

    fn flap(&mut self) -> Result<Fault, BreakError> {
        let period = self.duration("period")?.unwrap_or(Duration::from_secs(2));
        let inner = self.take("fault").unwrap_or_else(|| "status".into());
        if inner == "flap" {
            return Err(bad_value("fault", &inner, "any kind but flap"));
        }
        Ok(Fault::Flap {
            period,
            fault: Box::new(self.fault(&inner)?),
        })
    }

    /// Which of two words was given; the first is the default.
    fn choice(&mut self, key: &str, words: [&str; 2]) -> Result<usize, BreakError> {
        let Some(value) = self.take(key) else {
            return Ok(0);
        };
        words
            .iter()
            .position(|word| *word == value)
            .ok_or_else(|| bad_value(key, &value, &format!("'{}' or '{}'", words[0], words[1])))
    }
}

/// A duration with its unit, like `200ms`, `10s` or `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "a duration with its unit, like '200ms', '10s' or '2m'".to_owned();
    let signed: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    Duration::try_from(signed).map_err(|_| expected())
}

/// One duration, or two as a range: `200ms..1s`.
pub(crate) fn delay_range(text: &str) -> Result<(Duration, Duration), String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (duration(min)?, duration(max)?);
    if min > max {
        return Err("a range from the shorter to the longer duration, like '200ms..1s'".into());
    }
    Ok((min, max))
}

fn bad_value(key: &str, value: &str, expected: &str) -> BreakError {
    BreakError::BadValue {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: format!("expected {expected}"),
    }
}

fn kinds() -> Vec<&'static str> {
    Fault::kinds().collect()
}

/// The keys `kind` takes; a flap also takes those of the fault inside it.
fn keys_of(kind: &str) -> Vec<&'static str> {
    let own = KINDS
        .iter()
        .filter(|(name, _)| *name == kind || kind == "flap");
    let own = own.flat_map(|(_, keys)| keys.iter());
    let mut keys: Vec<_> = COMMON_KEYS.iter().chain(own).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What could be written instead of `word`: the one that is close enough to be meant, then all.
pub(crate) fn instead(word: &str, noun: &str, allowed: &[&str]) -> String {
    let all = allowed.join(", ");
    let nearest = allowed
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4);
    match nearest {
        Some((_, nearest)) => format!(": did you mean '{nearest}'? {noun}: {all}"),
        None => format!("; {noun}: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back_as_the_same_break() {
        for text in [
            "kind=refuse path=*",
            "kind=reset path=/prices/* percent=50",
            "kind=reset_mid_body path=*",
            "kind=close path=*",
            "kind=hang path=/prices/* after=10s for=5s every=60s",
            "kind=slow_head delay=1.5s path=*",
            "kind=drip bytes=3 gap=20ms path=*",
            "kind=truncate path=*",
            "kind=truncate framing=chunked path=*",
            "kind=status status=429 retry_after=10 path=*",
            "kind=status status=503 retry_after=10 retry_after_as=date path=*",
            "kind=invalid_json path=*",
            "kind=html path=*",
            "kind=zero_price path=*",
            "kind=missing_field field=currency path=*",
            "kind=empty path=*",
            "kind=flap period=2s fault=status status=500 path=*",
            "kind=flap period=2s fault=refuse path=*",
            "kind=latency delay=200ms..1s path=*",
            "kind=latency delay=1s path=*",
            "kind=garbage path=*",
        ] {
            let parsed: Break = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!(KINDS.len(), 17, "a new kind needs a row here");
    }

    #[test]
    fn bad_words_are_refused_with_what_is_allowed() {
        for (text, want) in [
            ("path=*", "no kind given; kinds: refuse, reset"),
            (
                "kind=hangg",
                "unknown kind 'hangg': did you mean 'hang'? kinds: refuse, reset,",
            ),
            (
                "kind=hang pathh=/x",
                "unknown key 'pathh' for kind 'hang': did you mean 'path'?",
            ),
            (
                "kind=hang status=503",
                "unknown key 'status' for kind 'hang'",
            ),
            (
                "kind=status status=99",
                "status=99: expected a whole number from 200 to 599",
            ),
            ("kind=hang percent=0", "from 1 to 100"),
            ("kind=hang for=5", "a duration with its unit"),
            ("kind=hang for=-5s", "a duration with its unit"),
            (
                "kind=latency delay=2s..1s",
                "from the shorter to the longer",
            ),
            (
                "kind=refuse path=/prices/*",
                "refuse closes the listening socket, so it needs path=*",
            ),
            ("kind=refuse percent=50", "takes no percent"),
            ("kind=hang every=5s", "every needs for"),
            ("kind=hang every=5s for=5s", "every must be longer than for"),
            ("kind=flap fault=flap", "any kind but flap"),
            ("kind=hang for=0s", "for must be longer"),
            ("kind=flap period=1ms", "period must be at least 2ms"),
            (
                "kind=flap fault=status statuss=500",
                "did you mean 'status'?",
            ),
            ("kind=hang path=prices", "is no path pattern"),
            ("kind=hang now", "'now' is not of the form key=value"),
        ] {
            let why = text.parse::<Break>().expect_err(text).to_string();
            assert!(why.contains(want), "{text}: {why}");
        }
    }

    #[test]
    fn fault_that_could_not_be_written_is_refused_too() {
        let secs = Duration::from_secs;
        for (fault, want) in [
            (
                Fault::Latency {
                    min: secs(2),
                    max: secs(1),
                },
                "shorter to the longer",
            ),
            (
                Fault::status(StatusCode::CONTINUE),
                "status must be 200 to 599",
            ),
            (
                Fault::Drip {
                    bytes: 0,
                    every: secs(1),
                },
                "at least 1 byte",
            ),
            (
                Fault::Flap {
                    period: secs(1),
                    fault: Box::new(Fault::Flap {
                        period: secs(1),
                        fault: Box::new(Fault::Hang),
                    }),
                },
                "flap cannot hold a flap",
            ),
        ] {
            let broken = Break::new(PathPattern::all(), fault);
            let why = broken.checked().expect_err(want).to_string();
            assert!(why.contains(want), "{why}");
        }
    }
}
