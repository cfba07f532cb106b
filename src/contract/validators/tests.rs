//! Tags and fields, there and back.

use super::*;

const MAPPING: Mapping = Mapping(0x0123_abcd);

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}

#[test]
fn conditions_of_a_request_that_reads_become_the_vendors_or_go() {
    const DATE: &str = "Thu, 26 Nov 2026 20:00:00 GMT";
    for (name, tags, date, want_tags, want_date) in [
        (
            "a tag of this mapping is turned back",
            Some("\"abc;t=0123abcd\""),
            true,
            Some("\"abc\""),
            true,
        ),
        (
            "a weak one stays weak",
            Some("W/\"abc;t=0123abcd\""),
            false,
            Some("W/\"abc\""),
            false,
        ),
        (
            "an empty one, too",
            Some("\";t=0123abcd\""),
            false,
            Some("\"\""),
            false,
        ),
        (
            "a tag of another mapping goes, and the date with it",
            Some("\"abc;t=00000001\""),
            true,
            None,
            false,
        ),
        (
            "a tag from before there was a mapping goes, and the date with it",
            Some("\"abc\""),
            true,
            None,
            false,
        ),
        (
            "a tag made here goes; the date says when it was mapped",
            Some("\"0f;o=0123abcd\""),
            true,
            None,
            true,
        ),
        (
            "one made here for another mapping takes the date with it",
            Some("\"0f;o=00000001\""),
            true,
            None,
            false,
        ),
        (
            "a date alone says nothing about the mapping",
            None,
            true,
            None,
            false,
        ),
        (
            "of a list what is of this mapping stays",
            Some("\"a;t=0123abcd\", \"b\", W/\"c;t=0123abcd\""),
            true,
            Some("\"a\", W/\"c\""),
            false,
        ),
        (
            "a comma inside a tag is part of it",
            Some("\"a,b;t=0123abcd\", \"x\""),
            false,
            Some("\"a,b\""),
            false,
        ),
        (
            "any version is any version",
            Some("*"),
            false,
            Some("*"),
            false,
        ),
        ("what is no tag goes", Some("abc"), true, None, false),
        (
            "a tag that only looks like one is the vendor's",
            Some("\"abc;t=0123ABCD\""),
            false,
            None,
            false,
        ),
        (
            "a mapped tag of a tag that looks mapped loses one end",
            Some("\"a;t=11111111;t=0123abcd\""),
            false,
            Some("\"a;t=11111111\""),
            false,
        ),
        ("no condition stays none", None, false, None, false),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(tags) = tags {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(tags));
        }
        if date {
            headers.insert(header::IF_MODIFIED_SINCE, HeaderValue::from_static(DATE));
        }
        MAPPING.on_request(&mut headers, true);
        let got = headers
            .get(header::IF_NONE_MATCH)
            .and_then(|value| value.to_str().ok());
        assert_eq!(got, want_tags, "{name}");
        assert_eq!(
            headers.contains_key(header::IF_MODIFIED_SINCE),
            want_date,
            "{name}: the date"
        );
    }
}

#[test]
fn conditions_of_a_write_are_about_the_vendors_version() {
    for (name, field, given, want) in [
        (
            "this mapping's",
            "if-match",
            "\"abc;t=0123abcd\"",
            "\"abc\"",
        ),
        (
            "another mapping's: the version is the same",
            "if-match",
            "\"abc;t=00000001\"",
            "\"abc\"",
        ),
        ("the vendor's own", "if-match", "\"abc\"", "\"abc\""),
        (
            "made here: it matches nothing, so the vendor refuses",
            "if-match",
            "\"0f;o=0123abcd\"",
            "\"0f;o=0123abcd\"",
        ),
        ("any", "if-match", "*", "*"),
        ("what must not be there yet", "if-none-match", "*", "*"),
        (
            "a list",
            "if-match",
            "\"a;t=0123abcd\",\"b\"",
            "\"a\", \"b\"",
        ),
    ] {
        let mut headers = fields(&[(field, given)]);
        MAPPING.on_request(&mut headers, false);
        assert_eq!(
            headers.get(field).map(HeaderValue::as_bytes),
            Some(want.as_bytes()),
            "{name}"
        );
    }
}

#[test]
fn several_lines_of_one_condition_are_one_list() {
    let mut headers = HeaderMap::new();
    for tag in ["\"a;t=0123abcd\"", "\"b\"", "\"c;t=0123abcd\""] {
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(tag));
    }
    MAPPING.on_request(&mut headers, true);
    let got: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().collect();
    assert_eq!(got, ["\"a\", \"c\""]);
}

#[test]
fn fields_of_a_mapped_body_are_about_the_mapped_body() {
    let vendors = [
        ("content-length", "999"),
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
        ("content-md5", "x"),
        ("digest", "sha-256=x"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("accept-ranges", "bytes"),
        ("trailer", "digest"),
        ("last-modified", "Thu, 26 Nov 2026 20:00:00 GMT"),
        ("vary", "accept-encoding"),
        ("etag", "\"abc\""),
    ];
    let mut headers = fields(&vendors);
    MAPPING.on_body(&mut headers, b"{\"price\":1}");
    let want = fields(&[
        ("content-length", "11"),
        ("content-type", "application/json"),
        ("last-modified", "Thu, 26 Nov 2026 20:00:00 GMT"),
        ("vary", "accept-encoding"),
        ("etag", "\"abc;t=0123abcd\""),
    ]);
    assert_eq!(headers, want);

    // A 304 and an answer to HEAD name the same tag, and no length.
    let mut headers = fields(&vendors);
    MAPPING.on_no_body(&mut headers);
    assert_eq!(
        headers.get(header::ETAG).map(HeaderValue::as_bytes),
        Some(&b"\"abc;t=0123abcd\""[..])
    );
    assert!(!headers.contains_key(header::CONTENT_LENGTH));
    assert!(!headers.contains_key("repr-digest"));

    let mut trailers = fields(&[("digest", "x"), ("server-timing", "a")]);
    Mapping::on_trailers(&mut trailers);
    assert_eq!(trailers, fields(&[("server-timing", "a")]));
}

#[test]
fn a_body_without_a_tag_gets_one_of_its_own() {
    let tag = |body: &[u8], tag: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(tag) = tag {
            headers.insert(header::ETAG, HeaderValue::from_static(tag));
        }
        MAPPING.on_body(&mut headers, body);
        headers.remove(header::ETAG).expect("a tag")
    };
    assert_eq!(tag(b"1", None), tag(b"1", None));
    assert_ne!(tag(b"1", None), tag(b"2", None));
    // What is no tag is none.
    assert_eq!(tag(b"1", Some("abc")), tag(b"1", None));
    assert!(MAPPING.is_mapped_by(&tag(b"1", None)));
    assert!(MAPPING.is_mapped_by(&tag(b"1", Some("W/\"a\""))));
    assert!(!Mapping(7).is_mapped_by(&tag(b"1", None)));
    assert!(!MAPPING.is_mapped_by(&HeaderValue::from_static("\"abc\"")));
    // A 304 without a tag speaks of what the date was about.
    let mut headers = HeaderMap::new();
    MAPPING.on_no_body(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn whatever_the_vendors_tag_it_comes_back_as_it_was() {
    proptest::proptest!(|(tag in "(W/)?\"[!#-~]{0,40}\"", fingerprint: u64)| {
        let mapping = Mapping::new(fingerprint);
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("a value"));
        mapping.on_body(&mut headers, b"{}");
        let mapped = headers.remove(header::ETAG).expect("a tag");
        proptest::prop_assert!(mapping.is_mapped_by(&mapped));
        proptest::prop_assert_ne!(mapped.as_bytes(), tag.as_bytes());
        headers.insert(header::IF_NONE_MATCH, mapped);
        mapping.on_request(&mut headers, true);
        proptest::prop_assert_eq!(headers[header::IF_NONE_MATCH].as_bytes(), tag.as_bytes());
    });
}
