//! Shares of a whole, as the config writes them: `"5%"`, `"0.5%"`.
//!
//! Kept in thousandths of a percent, so that "more than 5 of 100" is a comparison of whole numbers and never one that a
//! binary fraction decides.

use std::fmt;

/// Thousandths of a percent in a percent.
const PER_PERCENT: u32 = 1000;

/// A share, in thousandths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

/// Why a text is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PercentError {
    /// Not a number with `%` behind it.
    #[error("`{0}` is not a share: write a number and `%`")]
    Form(String),
    /// More than a thousandth of a percent can tell.
    #[error("`{0}` has more than three digits behind the point")]
    TooFine(String),
    /// More than was asked for at most.
    #[error("`{0}` is more than {1}%")]
    TooLarge(String, u32),
}

impl Percent {
    /// Nothing of it.
    pub const ZERO: Self = Self(0);

    /// A whole number of percent.
    pub const fn whole(percent: u32) -> Self {
        Self(percent.saturating_mul(PER_PERCENT))
    }

    /// Reads `"5%"`, `"0.5%"`, `"5 %"`; at most `max` percent.
    ///
    /// # Errors
    ///
    /// Where it is no such text, or more.
    pub fn parse(text: &str, max: u32) -> Result<Self, PercentError> {
        let form = || PercentError::Form(text.to_owned());
        let number = text.trim().strip_suffix('%').ok_or_else(form)?.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return Err(form());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 3 {
            return Err(PercentError::TooFine(text.to_owned()));
        }
        let too_large = || PercentError::TooLarge(text.to_owned(), max);
        let whole: u32 = whole.parse().map_err(|_| too_large())?;
        let thousandths: u32 = format!("{fraction:0<3}").parse().unwrap_or_default();
        let sum = whole.checked_mul(PER_PERCENT);
        let sum = sum.and_then(|whole| whole.checked_add(thousandths));
        sum.filter(|sum| *sum <= max.saturating_mul(PER_PERCENT))
            .map(Self)
            .ok_or_else(too_large)
    }

    /// Whether `part` is more than this share of `whole`.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        let hundred = u128::from(PER_PERCENT) * 100;
        u128::from(part) * hundred > u128::from(self.0) * u128::from(whole)
    }

    /// As a factor: 0.05 for 5%.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(PER_PERCENT * 100)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / PER_PERCENT, self.0 % PER_PERCENT);
        if thousandths == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{thousandths:03}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_with_a_percent_sign() {
        for (text, want) in [
            ("5%", Some("5%")),
            ("0%", Some("0%")),
            ("0.5%", Some("0.5%")),
            ("0.050%", Some("0.05%")),
            ("100%", Some("100%")),
            (" 7 % ", Some("7%")),
            ("100.001%", None),
            ("0.0005%", None),
            ("5", None),
            ("-5%", None),
            ("+5%", None),
            (".5%", None),
            ("5.%", None),
            ("1e1%", None),
            ("%", None),
            ("", None),
            ("99999999999%", None),
        ] {
            let got = Percent::parse(text, 100).ok().map(|it| it.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn exactly_the_share_is_not_more_than_it() {
        let share = Percent::parse("0.5%", 100).unwrap();
        for (part, whole, want) in [
            (5, 1000, false),
            (6, 1000, true),
            (0, 0, false),
            (1, 0, true),
            (u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(share.is_exceeded_by(part, whole), want, "{part} of {whole}");
        }
    }
}
