//! Certificate: whom a server says it is, and until when. Pure.
//!
//! Reads of X.509 (RFC 5280 4.1) what is worth a line: subject, issuer, validity, names. Decides nothing: whether a
//! certificate is believed is for rustls.
//!
//! # Invariants
//!
//! - Whatever the bytes, it ends, in one pass over them; what cannot be read is absent.

use jiff::civil::DateTime;
use rustls_pki_types::CertificateDer;

use crate::clock::Timestamp;

/// Most names that are kept.
const NAMES_MAX: usize = 100;

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Its common name, or the first of its names.
    pub(super) subject: String,
    /// Organization and common name of who signed it.
    pub(super) issuer: String,
    /// The hosts it is for.
    pub(super) names: Vec<String>,
    /// Valid from.
    pub(super) not_before: Option<Timestamp>,
    /// Valid until.
    pub(super) not_after: Option<Timestamp>,
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed: the version.
const VERSION: u8 = 0xa0;
/// `[3]`, constructed: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` in a list of general names: a host (RFC 5280 4.2.1.6).
const DNS_NAME: u8 = 0x82;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 29, 17];

impl Certificate {
    /// Reads one; `None` where it is none.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let mut outer = Reader(der.as_ref());
        let mut whole = Reader(outer.expect(SEQUENCE)?);
        let mut signed = Reader(whole.expect(SEQUENCE)?);
        if signed.peek() == Some(VERSION) {
            signed.next_one()?;
        }
        signed.expect(INTEGER)?;
        signed.expect(SEQUENCE)?;
        let issuer = Name::read(signed.expect(SEQUENCE)?);
        let mut validity = Reader(signed.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.time(), validity.time());
        let subject = Name::read(signed.expect(SEQUENCE)?);
        let mut names = Vec::new();
        while let Some((tag, content)) = signed.next_one() {
            if tag == EXTENSIONS {
                names = alternative_names(content).unwrap_or_default();
            }
        }
        let subject = subject
            .common
            .or_else(|| names.first().cloned())
            .or(subject.organization);
        let issuer = match (issuer.organization, issuer.common) {
            (Some(organization), Some(common)) => format!("{organization}, {common}"),
            (one, other) => one.or(other).unwrap_or_else(|| "nobody".to_owned()),
        };
        Some(Self {
            subject: subject.unwrap_or_else(|| "nobody".to_owned()),
            issuer,
            names,
            not_before,
            not_after,
        })
    }

    /// Whole days until its end, negative after it.
    pub(super) fn days_left(&self, now: Timestamp) -> Option<i64> {
        Some(days_between(now, self.not_after?))
    }
}

/// Whole days from one moment to another, rounded down.
pub(super) fn days_between(from: Timestamp, to: Timestamp) -> i64 {
    let millis = |time: Timestamp| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    millis(to)
        .saturating_sub(millis(from))
        .div_euclid(86_400_000)
}

// --- Name ---

#[derive(Default)]
struct Name {
    common: Option<String>,
    organization: Option<String>,
}

impl Name {
    fn read(content: &[u8]) -> Self {
        let mut found = Self::default();
        let mut sets = Reader(content);
        while let Some(set) = sets.expect(SET) {
            let mut pairs = Reader(set);
            while let Some(pair) = pairs.expect(SEQUENCE) {
                let mut pair = Reader(pair);
                let (Some(kind), Some((_, value))) = (pair.expect(OBJECT_ID), pair.next_one())
                else {
                    continue;
                };
                let slot = match kind {
                    COMMON_NAME => &mut found.common,
                    ORGANIZATION => &mut found.organization,
                    _ => continue,
                };
                *slot = Some(printable(value));
            }
        }
        found
    }
}

/// What stands in a certificate was written by anybody: no control character of it reaches a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(100).collect()
}

fn alternative_names(content: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Reader(Reader(content).expect(SEQUENCE)?);
    while let Some(extension) = extensions.expect(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.expect(OBJECT_ID)? != ALTERNATIVE_NAMES {
            continue;
        }
        // Between them stands whether it is critical, if it is.
        while let Some((tag, value)) = extension.next_one() {
            if tag == OCTET_STRING {
                return Some(hosts(Reader(value).expect(SEQUENCE)?));
            }
        }
    }
    None
}

fn hosts(content: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut all = Reader(content);
    while let Some((tag, value)) = all.next_one() {
        if tag == DNS_NAME && names.len() < NAMES_MAX {
            names.push(printable(value));
        }
    }
    names
}

// --- Reader ---

/// Values of DER (ITU-T X.690), one after another.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value: its tag and its content.
    fn next_one(&mut self) -> Option<(u8, &'b [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = len
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                (len, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The same where it has this tag; what has another one stays where it is.
    fn expect(&mut self, tag: u8) -> Option<&'b [u8]> {
        if self.peek()? != tag {
            return None;
        }
        Some(self.next_one()?.1)
    }

    /// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 4.1.2.5).
    fn time(&mut self) -> Option<Timestamp> {
        let (tag, content) = self.next_one()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let year_len = match tag {
            UTC_TIME => 2,
            GENERALIZED_TIME => 4,
            _ => return None,
        };
        let (year, rest) = text.split_at_checked(year_len)?;
        let year: i16 = year.parse().ok()?;
        let year = match tag {
            UTC_TIME if year < 50 => 2000 + year,
            UTC_TIME => 1900 + year,
            _ => year,
        };
        let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
        let date = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
        let time = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_secs(u64::try_from(time.as_second()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(names: &[&str], common: &str, until: (i32, u8, u8)) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_tells_for_whom_and_until_when() {
        for (name, until, want_days) in [
            ("this century, in two digits", (2027, 1, 11), 10),
            ("past", (2026, 12, 30), -2),
            ("after 2049, in four digits", (2060, 1, 1), 12_053),
        ] {
            let der = signed(&["a.example", "b.example"], "the vendor", until);
            let read = Certificate::read(&der).unwrap();
            assert_eq!(read.subject, "the vendor", "{name}");
            assert_eq!(read.issuer, "the vendor", "{name}");
            assert_eq!(read.names, ["a.example", "b.example"], "{name}");
            let now = crate::http::date::parse(b"Fri, 01 Jan 2027 00:00:00 GMT").unwrap();
            assert_eq!(read.days_left(now), Some(want_days), "{name}");
        }
    }

    #[test]
    fn what_is_cut_short_is_none_or_says_less() {
        let der = signed(&["a.example"], "the vendor", (2027, 1, 1));
        for len in 0..der.len() {
            let cut = CertificateDer::from(der[..len].to_vec());
            assert_eq!(Certificate::read(&cut), None, "{len}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: usize, byte: u8) {
            let _ = Certificate::read(&CertificateDer::from(bytes));
            let mut der = signed(&["a.example"], "v", (2027, 1, 1)).to_vec();
            let at = at % der.len();
            der[at] = byte;
            let _ = Certificate::read(&CertificateDer::from(der));
        }
    }
}
