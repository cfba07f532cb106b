//! `Retry-After` (RFC 9110 10.2.3), read and capped. Pure: `now` is an argument.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

use crate::clock::Timestamp;

/// How long the upstream asks us to stay away, at most `max`. What cannot be read is as good as absent: never invented.
pub(in crate::resilience) fn retry_after(
    headers: &HeaderMap,
    now: Timestamp,
    max: Duration,
) -> Option<Duration> {
    let mut lines = headers.get_all(RETRY_AFTER).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let text = line.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit is a very long time, not an unreadable one.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date: SystemTime = httpdate::parse_http_date(text).ok()?;
        Timestamp::from(date).since(now)
    };
    Some(wait.min(max))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_capped_and_never_invented() {
        // 1994-11-06T08:49:37Z is 784111777.
        let now = Timestamp::from_secs(784_111_777 - 30);
        for (name, lines, want_secs) in [
            ("absent", &[][..], None),
            ("seconds", &["120"], Some(120)),
            ("zero", &["0"], Some(0)),
            ("capped", &["86400"], Some(900)),
            (
                "more digits than a u64",
                &["99999999999999999999999"],
                Some(900),
            ),
            ("a date", &["Sun, 06 Nov 1994 08:49:37 GMT"], Some(30)),
            (
                "a date in the past",
                &["Sat, 06 Nov 1993 08:49:37 GMT"],
                Some(0),
            ),
            ("negative", &["-1"], None),
            ("fraction", &["1.5"], None),
            ("words", &["soon"], None),
            ("empty", &[""], None),
            ("two that may disagree", &["1", "2"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(RETRY_AFTER, HeaderValue::from_static(line));
            }
            let got = retry_after(&headers, now, Duration::from_secs(900));
            assert_eq!(got.map(|wait| wait.as_secs()), want_secs, "{name}");
        }
    }
}
