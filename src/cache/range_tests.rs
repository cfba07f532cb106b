//! Tests of ranges: a row per rule of RFC 9110 14 and RFC 9111 3.3, 3.4.

use super::*;
use crate::{cache::purge::Labels, clock::Timestamp};

fn at(secs: u64) -> HeaderValue {
    let text = httpdate::fmt_http_date(Timestamp::from_secs(secs).into());
    HeaderValue::try_from(text).unwrap()
}

const TIME: Timestamp = Timestamp::from_secs(1_000_000);

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn stored(status: u16, lines: &[(&'static str, &str)], body: &'static str) -> StoredResponse {
    let status = StatusCode::from_u16(status).unwrap();
    let headers = fields(lines);
    StoredResponse {
        status,
        facts: Facts::new(status, &headers, TIME, TIME),
        headers,
        body: Bytes::from_static(body.as_bytes()),
        part: None,
        url: "/".into(),
        request_time: TIME,
        dead_at: Timestamp::NEVER,
        labels: Labels::default(),
        aside: None,
        judgement: Judgement::default(),
    }
}

fn part(asked: &str, lines: &[(&'static str, &str)], body: &'static str) -> StoredResponse {
    let mut stored = stored(206, lines, body);
    let request = fields(&[("range", asked)]);
    stored.part = Some(Part::received(&request, &stored.headers, &stored.body));
    stored
}

/// What comes of a request, as text.
fn got(request: &[(&'static str, &str)], stored: &StoredResponse) -> String {
    match cut(&fields(request), stored, || 7) {
        Cut::All => "all".to_owned(),
        Cut::One {
            bytes,
            content_range,
        } => {
            let bytes = std::str::from_utf8(&stored.body[bytes]).unwrap();
            format!("{bytes} {}", content_range.to_str().unwrap())
        }
        Cut::Several { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
        Cut::Unsatisfiable { content_range } => {
            format!("416 {}", content_range.to_str().unwrap())
        }
    }
}

#[test]
fn ranges_of_a_whole_response_follow_rfc9110_14() {
    let whole = stored(200, &[("etag", "\"a\"")], "0123456789");
    for (name, range, want) in [
        ("the beginning", "bytes=0-1", "01 bytes 0-1/10"),
        ("from a byte on", "bytes=7-", "789 bytes 7-9/10"),
        ("the last bytes", "bytes=-2", "89 bytes 8-9/10"),
        (
            "more last bytes than there are",
            "bytes=-99",
            "0123456789 bytes 0-9/10",
        ),
        ("beyond the end", "bytes=8-99", "89 bytes 8-9/10"),
        ("any case of the unit", "Bytes=0-0", "0 bytes 0-0/10"),
        ("nothing there", "bytes=10-", "416 bytes */10"),
        ("no last bytes", "bytes=-0", "416 bytes */10"),
        ("one of two is there", "bytes=50-60, 0-0", "0 bytes 0-0/10"),
        ("another unit is ignored", "lines=0-1", "all"),
        ("backwards is ignored", "bytes=5-4", "all"),
        ("no number is ignored", "bytes=a-b", "all"),
        ("a sign is ignored", "bytes=+1-2", "all"),
        ("nothing is ignored", "bytes=", "all"),
        (
            "overflow is far away",
            "bytes=99999999999999999999-",
            "416 bytes */10",
        ),
        ("more than there is, all told", "bytes=0-,0-,0-", "all"),
    ] {
        assert_eq!(got(&[("range", range)], &whole), want, "{name}");
    }
    assert_eq!(got(&[], &whole), "all", "no range");
    assert_eq!(
        got(&[("range", "bytes=0-1"), ("range", "bytes=0-2")], &whole),
        "all",
        "two lines are no range set"
    );
    let error = stored(404, &[], "0123456789");
    assert_eq!(got(&[("range", "bytes=0-1")], &error), "all", "not a 200");
    let refusing = stored(200, &[("accept-ranges", "none")], "0123456789");
    assert_eq!(got(&[("range", "bytes=0-1")], &refusing), "all");
    let empty = stored(200, &[], "");
    assert_eq!(got(&[("range", "bytes=0-")], &empty), "416 bytes */0");
}

#[test]
fn several_ranges_are_one_multipart_document() {
    let whole = stored(200, &[("content-type", "text/a")], "0123456789");
    let boundary = format!("--{:032x}", 7);
    let want = format!(
        "\r\n{boundary}\r\nContent-Type: text/a\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
         \r\n{boundary}\r\nContent-Type: text/a\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
         \r\n{boundary}--\r\n"
    );
    assert_eq!(got(&[("range", "bytes=0-1, -2")], &whole), want);
}

#[test]
fn if_range_needs_a_strong_validator_that_matches() {
    let (old, older) = (at(100), at(50));
    let (old, older) = (old.to_str().unwrap(), older.to_str().unwrap());
    let dated = [("last-modified", older), ("date", old)];
    for (name, response, if_range, want) in [
        ("the same tag", vec![("etag", "\"a\"")], "\"a\"", true),
        ("another tag", vec![("etag", "\"a\"")], "\"b\"", false),
        ("a weak tag", vec![("etag", "W/\"a\"")], "W/\"a\"", false),
        ("the same date", dated.to_vec(), older, true),
        ("another date", dated.to_vec(), old, false),
        (
            "a date of the second it was sent in",
            vec![("last-modified", old), ("date", old)],
            old,
            false,
        ),
    ] {
        let request = fields(&[("if-range", if_range)]);
        assert_eq!(if_range_holds(&request, &fields(&response)), want, "{name}");
    }
}

#[test]
fn a_part_answers_for_the_bytes_it_has_and_for_no_others() {
    let middle = part("bytes=4-7", &[("content-range", "bytes 4-7/10")], "4567");
    for (name, range, want) in [
        ("the same again", "bytes=4-7", Some("all")),
        ("some of them", "bytes=5-6", Some("56 bytes 5-6/10")),
        ("reaching before", "bytes=3-5", None),
        ("reaching behind", "bytes=6-8", None),
        ("to the end", "bytes=6-", None),
        ("last bytes", "bytes=-1", None),
        ("two ranges", "bytes=4-4,6-6", None),
    ] {
        let request = [("range", range)];
        let covers = middle
            .part
            .as_ref()
            .unwrap()
            .covers(&fields(&request), &middle);
        assert_eq!(covers, want.is_some(), "{name}");
        if let Some(want) = want {
            assert_eq!(got(&request, &middle), want, "{name}");
        }
    }
    let whole_request = fields(&[]);
    assert!(
        !middle
            .part
            .as_ref()
            .unwrap()
            .covers(&whole_request, &middle)
    );
    let end = part("bytes=-3", &[("content-range", "bytes 7-9/10")], "789");
    assert_eq!(got(&[("range", "bytes=-2")], &end), "89 bytes 8-9/10");
    assert_eq!(got(&[("range", "bytes=8-")], &end), "89 bytes 8-9/10");
}

#[test]
fn a_part_that_contradicts_itself_answers_only_the_same_again() {
    for (name, content_range) in [
        ("longer than what came", "bytes 4-9/10"),
        ("shorter than what came", "bytes 4-6/10"),
        ("backwards", "bytes 9-4/10"),
        ("beyond its own end", "bytes 4-7/6"),
        ("no range", "bytes */10"),
        ("another unit", "lines 4-7/10"),
        ("nonsense", "?"),
    ] {
        let odd = part("bytes=4-", &[("content-range", content_range)], "4567");
        let covers = |range| {
            let request = fields(&[("range", range)]);
            odd.part.as_ref().unwrap().covers(&request, &odd)
        };
        assert!(covers("bytes=4-"), "{name}");
        assert!(!covers("bytes=5-6"), "{name}");
    }
}

#[test]
fn parts_of_one_representation_become_one() {
    let tag = ("etag", "\"a\"");
    let range = |text| ("content-range", text);
    let first = part(
        "bytes=0-3",
        &[tag, range("bytes 0-3/10"), ("x-old", "1")],
        "0123",
    );
    for (name, newer, want) in [
        (
            "they touch",
            part("bytes=4-6", &[tag, range("bytes 4-6/10")], "456"),
            Some((206, "0123456")),
        ),
        (
            "they overlap",
            part("bytes=2-6", &[tag, range("bytes 2-6/10")], "23456"),
            Some((206, "0123456")),
        ),
        (
            "nothing is missing",
            part("bytes=4-", &[tag, range("bytes 4-9/10")], "456789"),
            Some((200, "0123456789")),
        ),
        (
            "one lies within the other",
            part("bytes=1-2", &[tag, range("bytes 1-2/10")], "12"),
            Some((206, "0123")),
        ),
        (
            "a gap",
            part("bytes=5-", &[tag, range("bytes 5-9/10")], "56789"),
            None,
        ),
        (
            "another tag",
            part(
                "bytes=4-",
                &[("etag", "\"b\""), range("bytes 4-9/10")],
                "456789",
            ),
            None,
        ),
        (
            "no tag",
            part("bytes=4-", &[range("bytes 4-9/10")], "456789"),
            None,
        ),
        (
            "another length",
            part("bytes=4-", &[tag, range("bytes 4-8/9")], "45678"),
            None,
        ),
    ] {
        let got = combined(&first, &newer);
        let got = got.as_ref();
        let body = got.map(|got| std::str::from_utf8(&got.body).unwrap());
        let status = got.map(|got| got.status.as_u16());
        assert_eq!(status.zip(body), want, "{name}");
        if let Some(got) = got {
            assert_eq!(got.headers["x-old"], "1", "{name}");
            let is_whole = got.status == StatusCode::OK;
            assert_eq!(
                !got.headers.contains_key("content-range"),
                is_whole,
                "{name}"
            );
        }
    }
    let weak = part(
        "bytes=0-3",
        &[("etag", "W/\"a\""), range("bytes 0-3/10")],
        "0123",
    );
    let rest = part(
        "bytes=4-",
        &[("etag", "W/\"a\""), range("bytes 4-9/10")],
        "456789",
    );
    assert_eq!(
        combined(&weak, &rest),
        None,
        "weak tags say nothing about bytes"
    );
}

#[test]
fn parts_put_together_are_judged_by_the_fields_of_both() {
    let tag = ("etag", "\"a\"");
    let range = |text| ("content-range", text);
    let older = part(
        "bytes=0-3",
        &[tag, range("bytes 0-3/10"), ("cache-control", "no-cache")],
        "0123",
    );
    let (now, later) = (at(0), at(1000));
    let dates = [
        ("date", now.to_str().unwrap()),
        ("expires", later.to_str().unwrap()),
    ];
    let lines = [&[tag, range("bytes 4-9/10")], &dates[..]].concat();
    let newer = part("bytes=4-", &lines, "456789");
    let both = combined(&older, &newer).unwrap();
    assert_eq!(both.headers["cache-control"], "no-cache");
    assert!(both.facts.directives.no_cache);
    assert!(both.facts.expires_in.is_some());
}

#[test]
fn the_rest_is_asked_for_only_where_it_can_be_put_behind() {
    let tag = ("etag", "\"a\"");
    let beginning = part(
        "bytes=0-3",
        &[tag, ("content-range", "bytes 0-3/10")],
        "0123",
    );
    let asked = |stored: &StoredResponse| {
        let mut request = HeaderMap::new();
        ask_for_rest(stored, &mut request);
        let field = |name| Some(request.get(name)?.to_str().unwrap().to_owned());
        (field("range"), field("if-range"))
    };
    let range = || Some("bytes=4-".to_owned());
    assert_eq!(asked(&beginning), (range(), Some("\"a\"".to_owned())));
    let rest = |lines: &[(&'static str, &str)]| completes(&beginning, &fields(lines));
    assert_eq!(rest(&[tag, ("content-range", "bytes 4-9/10")]), Some(10));
    assert_eq!(
        rest(&[tag, ("content-range", "bytes 4-8/10")]),
        None,
        "not all"
    );
    assert_eq!(rest(&[("content-range", "bytes 4-9/10")]), None, "no tag");

    let unnamed = part("bytes=0-3", &[("content-range", "bytes 0-3/10")], "0123");
    assert_eq!(asked(&unnamed), (range(), None), "the whole may come");
    let rest = fields(&[("content-range", "bytes 4-9/10")]);
    assert_eq!(completes(&unnamed, &rest), None, "a rest of who knows what");

    let (modified, sent) = (at(50), at(100));
    let (modified, sent) = (modified.to_str().unwrap(), sent.to_str().unwrap());
    let dates = [("last-modified", modified), ("date", sent)];
    let lines = [&dates[..], &[("content-range", "bytes 0-3/10")]].concat();
    let dated = part("bytes=0-3", &lines, "0123");
    assert_eq!(asked(&dated), (range(), Some(modified.to_owned())));
    let rest = fields(&[&dates[..], &[("content-range", "bytes 4-9/10")]].concat());
    assert_eq!(
        completes(&dated, &rest),
        Some(10),
        "a date can be strong too"
    );

    for (name, stored) in [
        (
            "an end",
            part(
                "bytes=4-",
                &[tag, ("content-range", "bytes 4-9/10")],
                "456789",
            ),
        ),
        ("a whole response", stored(200, &[tag], "0123456789")),
    ] {
        assert_eq!(asked(&stored), (None, None), "{name}");
        assert!(!can_be_completed(&stored), "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn a_range_is_never_more_than_there_is(range in "bytes=[0-9,\\- ]{0,24}", body in "[a-z]{0,12}") {
        let mut whole = stored(200, &[], "");
        whole.body = body.clone().into();
        let Ok(value) = HeaderValue::from_str(&range) else { return Ok(()) };
        let request = HeaderMap::from_iter([(header::RANGE, value)]);
        if let Cut::One { bytes, .. } = cut(&request, &whole, || 7) {
            proptest::prop_assert!(bytes.start < bytes.end && bytes.end <= body.len());
        }
    }

    #[test]
    fn what_a_part_gives_is_what_the_whole_would_give(
        first in 0usize..20, len in 1usize..20, from in 0usize..40, to in 0usize..40,
    ) {
        const WHOLE: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
        let last = first + len - 1;
        let content_range = format!("bytes {first}-{last}/{}", WHOLE.len());
        let piece = part("x", &[("content-range", &content_range)], &WHOLE[first..=last]);
        let range = format!("bytes={from}-{to}");
        let request = fields(&[("range", &range)]);
        if piece.part.as_ref().unwrap().covers(&request, &piece) {
            let whole = stored(200, &[], WHOLE);
            proptest::prop_assert_eq!(got(&[("range", &range)], &piece), got(&[("range", &range)], &whole));
        }
    }

    #[test]
    fn parsing_never_panics(bytes: Vec<u8>) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let headers = HeaderMap::from_iter([(header::RANGE, value.clone()), (header::CONTENT_RANGE, value)]);
        specs(&headers);
        span(&headers);
    }
}
