//! Dates as HTTP writes them (RFC 9110 5.6.7), read as a cache has to (RFC 9111 4.2): in any letter case.
//!
//! Pure. All three forms: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
//! Apart from letter case nothing is forgiven: a date that is not written in one of them is none, and what it dates is
//! less reusable. The day of the week has to be one; that it is not that date's is no reason to doubt the date.
//!
//! The year of the second form has two digits. RFC 9110 takes what seems to be more than 50 years ahead for the past; here
//! 70 to 99 are always of the last century, which is never later.

use jiff::civil::DateTime;

use crate::clock::Timestamp;

const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Reads a date; `None` where it is none, or before 1970.
pub fn parse(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    imf_fixdate(text)
        .or_else(|| rfc850(text))
        .or_else(|| asctime(text))
        .and_then(timestamp)
}

/// What a date is made of.
#[derive(Clone, Copy)]
struct Parts<'t> {
    day: &'t str,
    month: &'t str,
    year: i16,
    time: &'t str,
}

fn imf_fixdate(text: &str) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(", ")?;
    let [day, month, year, time, zone] = pieces(rest)?;
    let is_form = is_day(day_name, 3) && day.len() == 2 && year.len() == 4 && is_gmt(zone);
    let year = number(year)?;
    is_form.then_some(Parts {
        day,
        month,
        year,
        time,
    })
}

fn rfc850(text: &str) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(", ")?;
    let [date, time, zone] = pieces(rest)?;
    let mut date = date.split('-');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    let is_date = date.next().is_none() && day.len() == 2 && year.len() == 2;
    let is_form = is_day(day_name, usize::MAX) && is_date && is_gmt(zone);
    let short = number(year)?;
    let year = if short < 70 { 2000 } else { 1900 } + short;
    is_form.then_some(Parts {
        day,
        month,
        year,
        time,
    })
}

fn asctime(text: &str) -> Option<Parts<'_>> {
    // One digit of a day has a blank before it.
    let (day_name, rest) = text.split_once(' ')?;
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let rest = rest.strip_prefix(' ')?;
    let (time, year) = rest.split_once(' ')?;
    let is_form = is_day(day_name, 3) && year.len() == 4;
    let (day, year) = (day.strip_prefix(' ').unwrap_or(day), number(year)?);
    is_form.then_some(Parts {
        day,
        month,
        year,
        time,
    })
}

/// As many pieces as are asked for, one blank between two.
fn pieces<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut pieces = text.split(' ');
    let mut found = [""; N];
    for place in &mut found {
        *place = pieces.next()?;
    }
    pieces.next().is_none().then_some(found)
}

fn is_day(name: &str, len: usize) -> bool {
    let of = |day: &'static str| day.get(..len).unwrap_or(day);
    DAYS.iter().any(|day| of(day).eq_ignore_ascii_case(name))
}

fn is_gmt(zone: &str) -> bool {
    zone.eq_ignore_ascii_case("GMT")
}

fn number(digits: &str) -> Option<i16> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn timestamp(parts: Parts<'_>) -> Option<Timestamp> {
    let mut months = MONTHS.iter();
    let month = months.position(|month| month.eq_ignore_ascii_case(parts.month))? + 1;
    let mut time = parts.time.split(':').map(|piece| {
        let piece = number(piece).filter(|_| piece.len() == 2);
        i8::try_from(piece?).ok()
    });
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if time.next().is_some() {
        return None;
    }
    // A leap second is as good as the one before it.
    let second = if second == 60 { 59 } else { second };
    let (day, month) = (number(parts.day)?, i8::try_from(month).ok()?);
    let day = i8::try_from(day).ok()?;
    let date = DateTime::new(parts.year, month, day, hour, minute, second, 0).ok()?;
    let secs = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_secs(u64::try_from(secs.as_second()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECS: u64 = 784_111_777;

    #[test]
    fn three_forms_in_any_letter_case_and_nothing_else() {
        for (name, text, want) in [
            (
                "the preferred form",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some(SECS),
            ),
            (
                "the one of RFC 850",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                Some(SECS),
            ),
            ("that of asctime", "Sun Nov  6 08:49:37 1994", Some(SECS)),
            (
                "asctime, two digits",
                "Wed Nov 16 08:49:37 1994",
                Some(SECS + 864_000),
            ),
            (
                "any letter case",
                "sUN, 06 nOV 1994 08:49:37 gmt",
                Some(SECS),
            ),
            (
                "not that date's day",
                "Mon, 06 Nov 1994 08:49:37 GMT",
                Some(SECS),
            ),
            (
                "a leap second",
                "Sat, 31 Dec 2016 23:59:60 GMT",
                Some(1_483_228_799),
            ),
            (
                "a year of this century",
                "Thursday, 18-Aug-50 02:01:18 GMT",
                Some(2_544_400_878),
            ),
            ("no day at all", "Xyz, 06 Nov 1994 08:49:37 GMT", None),
            ("another zone", "Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("no zone", "Sun, 06 Nov 1994 08:49:37", None),
            ("an offset", "Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("no comma", "Sun 06 Nov 1994 08:49:37 GMT", None),
            ("two blanks", "Sun, 06  Nov 1994 08:49:37 GMT", None),
            (
                "dashes in the preferred form",
                "Sun, 06-Nov-1994 08:49:37 GMT",
                None,
            ),
            ("one digit of a day", "Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("one digit of an hour", "Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("dots in the time", "Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("two digits of a year", "Sun, 06 Nov 94 08:49:37 GMT", None),
            ("a day that is not", "Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("an hour that is not", "Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("before 1970", "Sun, 06 Nov 1904 08:49:37 GMT", None),
            ("zero", "0", None),
            ("nothing", "", None),
        ] {
            let got = parse(text.as_bytes());
            assert_eq!(got, want.map(Timestamp::from_secs), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_date_that_is_written_is_read(secs in 0u64..250_000_000_000, bytes: Vec<u8>) {
            parse(&bytes);
            let time = Timestamp::from_secs(secs);
            let text = httpdate::fmt_http_date(time.into());
            proptest::prop_assert_eq!(parse(text.as_bytes()), Some(time));
        }
    }
}
