use http::HeaderValue;

use super::*;

/// 2027-01-15T08:00:00Z
const NOW: u64 = 1_800_000_000;

fn read(lines: &[(&'static str, &str)]) -> Vec<ServiceLimit> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a field value");
        headers.append(HeaderName::from_static(name), value);
    }
    service_limits(&headers, Timestamp::from_secs(NOW))
}

/// remaining, limit, seconds to the reset, seconds of a window
type Row = (u64, Option<u64>, u64, Option<u64>);

/// Name, fields, what is read of them.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [Row],
);

fn rows(limits: &[ServiceLimit]) -> Vec<Row> {
    let row = |limit: &ServiceLimit| {
        let window = limit.window.map(|window| window.as_secs());
        (limit.remaining, limit.limit, limit.reset.as_secs(), window)
    };
    limits.iter().map(row).collect()
}

#[test]
fn every_spelling_in_use_is_read() {
    let table: &[Case] = &[
        ("nothing said", &[], &[]),
        (
            "the current draft",
            &[("ratelimit", "\"default\";r=50;t=30")],
            &[(50, None, 30, None)],
        ),
        (
            "with its policy",
            &[
                ("ratelimit", "\"default\";r=50;t=30"),
                ("ratelimit-policy", "\"default\";q=100;w=60"),
            ],
            &[(50, Some(100), 30, Some(60))],
        ),
        (
            "a name that is a token",
            &[("ratelimit", "default;r=50;t=30")],
            &[(50, None, 30, None)],
        ),
        (
            "without a time: at most the window",
            &[
                ("ratelimit", "\"hour\";r=0"),
                ("ratelimit-policy", "\"hour\";q=10;w=3600"),
            ],
            &[(0, Some(10), 3600, Some(3600))],
        ),
        (
            "several policies on several lines",
            &[
                ("ratelimit", "\"burst\";r=3;t=1"),
                ("ratelimit", "\"day\";r=900;t=40000"),
                (
                    "ratelimit-policy",
                    "\"burst\";q=10;w=1, \"day\";q=1000;w=86400",
                ),
            ],
            &[
                (3, Some(10), 1, Some(1)),
                (900, Some(1000), 40_000, Some(86_400)),
            ],
        ),
        (
            "units that are not requests say nothing about requests",
            &[
                ("ratelimit", "\"bytes\";r=0;t=99, \"calls\";r=7;t=9"),
                (
                    "ratelimit-policy",
                    "\"bytes\";q=9;qu=\"content-bytes\";w=99, \"calls\";q=9;qu=\"requests\"",
                ),
            ],
            &[(7, Some(9), 9, None)],
        ),
        (
            "draft 07",
            &[
                ("ratelimit", "limit=100, remaining=50, reset=30"),
                ("ratelimit-policy", "100;w=60"),
            ],
            &[(50, Some(100), 30, Some(60))],
        ),
        (
            "drafts up to 06",
            &[
                ("ratelimit-limit", "100, 100;w=60"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-reset", "30"),
            ],
            &[(50, Some(100), 30, Some(60))],
        ),
        (
            "GitHub: seconds since the epoch",
            &[
                ("x-ratelimit-limit", "5000"),
                ("x-ratelimit-remaining", "4999"),
                ("x-ratelimit-reset", "1800003000"),
                ("x-ratelimit-used", "1"),
                ("x-ratelimit-resource", "core"),
            ],
            &[(4999, Some(5000), 3000, None)],
        ),
        (
            "X, Okta: with a hyphen more",
            &[
                ("x-rate-limit-limit", "900"),
                ("x-rate-limit-remaining", "0"),
                ("x-rate-limit-reset", "1800000900"),
            ],
            &[(0, Some(900), 900, None)],
        ),
        (
            "milliseconds since the epoch",
            &[
                ("x-ratelimit-remaining", "1"),
                ("x-ratelimit-reset", "1800000002500"),
            ],
            &[(1, None, 2, None)],
        ),
        (
            "Discord: a fraction, and a time from now",
            &[
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset-after", "64.57"),
            ],
            &[(0, None, 64, None)],
        ),
        (
            "Reddit: a remainder with a fraction",
            &[
                ("x-ratelimit-remaining", "595.0"),
                ("x-ratelimit-reset", "325"),
            ],
            &[(595, None, 325, None)],
        ),
        (
            "OpenAI: durations, and tokens that are no requests",
            &[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-reset-requests", "6m0s"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "1s"),
            ],
            &[(59, Some(60), 360, None)],
        ),
        (
            "Kong: a limit for each unit of time, no reset",
            &[
                ("x-ratelimit-limit-minute", "20"),
                ("x-ratelimit-remaining-minute", "4"),
                ("x-ratelimit-limit-hour", "500"),
                ("x-ratelimit-remaining-hour", "344"),
            ],
            &[
                (4, Some(20), 60, Some(60)),
                (344, Some(500), 3600, Some(3600)),
            ],
        ),
        (
            "Brave: several limits in one line",
            &[
                ("x-ratelimit-limit", "1, 15000"),
                ("x-ratelimit-policy", "1;w=1, 15000;w=2592000"),
                ("x-ratelimit-remaining", "1, 1000"),
                ("x-ratelimit-reset", "1, 1419704"),
            ],
            &[
                (1, Some(1), 1, Some(1)),
                (1000, Some(15_000), 1_419_704, Some(2_592_000)),
            ],
        ),
        (
            "Atlassian: a date as ISO 8601 has it",
            &[
                ("x-ratelimit-remaining", "3"),
                ("x-ratelimit-reset", "2027-01-15T08:01:00Z"),
            ],
            &[(3, None, 60, None)],
        ),
        (
            "a date as HTTP has it, read against the vendor's own clock",
            &[
                ("date", "Fri, 15 Jan 2027 07:59:30 GMT"),
                ("x-ratelimit-remaining", "3"),
                ("x-ratelimit-reset", "Fri, 15 Jan 2027 08:00:00 GMT"),
            ],
            &[(3, None, 30, None)],
        ),
        (
            "a reset that is past is now",
            &[
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1700000000"),
            ],
            &[(0, None, 0, None)],
        ),
    ];
    for (name, lines, want) in table {
        assert_eq!(rows(&read(lines)), *want, "{name}");
    }
}

#[test]
fn garbage_is_absent_and_what_is_silly_has_a_cap() {
    let table: &[Case] = &[
        (
            "not a structured field",
            &[("ratelimit", "\"default;r=50")],
            &[],
        ),
        (
            "a negative remainder",
            &[("ratelimit", "\"a\";r=-1;t=5")],
            &[],
        ),
        (
            "a remainder that is text",
            &[("ratelimit", "\"a\";r=\"1\";t=5")],
            &[],
        ),
        ("no time at all", &[("ratelimit", "\"a\";r=1")], &[]),
        (
            "words",
            &[
                ("x-ratelimit-remaining", "none"),
                ("x-ratelimit-reset", "soon"),
            ],
            &[],
        ),
        (
            "a negative one",
            &[("x-ratelimit-remaining", "-5"), ("x-ratelimit-reset", "9")],
            &[],
        ),
        (
            "only a limit",
            &[("x-ratelimit-limit", "9"), ("x-ratelimit-reset", "9")],
            &[],
        ),
        ("never invented", &[("x-ratelimit-remaining", "0")], &[]),
        (
            "empty",
            &[("x-ratelimit-remaining", ""), ("x-ratelimit-reset", "")],
            &[],
        ),
        (
            "three remainders and two resets: whose is which?",
            &[
                ("x-ratelimit-remaining", "1, 2, 3"),
                ("x-ratelimit-reset", "1, 2"),
            ],
            &[],
        ),
        (
            "several dots",
            &[
                ("x-ratelimit-remaining", "1"),
                ("x-ratelimit-reset", "1.2.3"),
            ],
            &[],
        ),
        (
            "an answer from a cache on the way",
            &[
                ("age", "7"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "9"),
            ],
            &[],
        ),
        (
            "many digits",
            &[
                ("x-ratelimit-remaining", "99999999999999999999999"),
                ("x-ratelimit-reset", "999999999"),
            ],
            &[(REQUESTS_MAX, None, 31 * 24 * 3600, None)],
        ),
        (
            "a limit of none is none",
            &[
                ("x-ratelimit-limit", "0"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "2"),
            ],
            &[(0, None, 2, None)],
        ),
    ];
    for (name, lines, want) in table {
        assert_eq!(rows(&read(lines)), *want, "{name}");
    }
    let many = vec!["\"a\";r=1;t=1"; 50].join(", ");
    assert_eq!(read(&[("ratelimit", &many)]).len(), LIMITS_MAX);
}

#[test]
fn limits_are_told_apart_by_their_names() {
    let limits = read(&[("ratelimit", "\"a\";r=1;t=1, \"b\";r=2;t=2")]);
    let names: Vec<_> = limits.iter().map(|limit| limit.policy.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let of = |resource| {
        let limits = read(&[
            ("x-ratelimit-remaining", "1"),
            ("x-ratelimit-reset", "1"),
            ("x-ratelimit-resource", resource),
        ]);
        limits[0].policy.clone()
    };
    assert_ne!(of("core"), of("search"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_it(name in 0usize..6, value in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
        let names = ["ratelimit", "ratelimit-policy", "x-ratelimit-remaining", "x-ratelimit-reset", "date", "x-ratelimit-limit"];
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining", HeaderValue::from_static("1"));
        headers.insert("x-ratelimit-reset", HeaderValue::from_static("1"));
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(names[name], value);
        }
        for limit in service_limits(&headers, Timestamp::from_secs(NOW)) {
            proptest::prop_assert!(limit.reset <= RESET_MAX && limit.remaining <= REQUESTS_MAX);
        }
    }
}
