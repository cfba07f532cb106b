//! Validation: asking the upstream whether a stored response still holds, and answering clients who ask us.
//!
//! Pure. RFC 9111 4.3 and 3.2; RFC 9110 13.
//!
//! - `If-Match` and `If-Unmodified-Since` are for the origin (RFC 9110 13.1.1): requests with them are passed on.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    control::split_list,
    entry::{StoredResponse, with_places},
    freshness::{Facts, date},
};
use crate::{clock::Timestamp, config::Policy};

/// Fields that make a request conditional on something other than our stored response.
const CONDITIONS: [HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

/// Whether a request is conditional.
pub(super) fn has_condition(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// Takes the client's own conditions off a request whose answer others will share.
pub(super) fn remove_conditions(headers: &mut HeaderMap) {
    for name in &CONDITIONS {
        headers.remove(name);
    }
}

/// Makes a request conditional on the stored response (RFC 9111 4.3.1). False: it has no validator.
pub(super) fn add_conditions(stored: &StoredResponse, headers: &mut HeaderMap) -> bool {
    let etag = stored.etag();
    let last_modified = stored.headers.get(header::LAST_MODIFIED);
    if let Some(etag) = etag {
        headers.insert(header::IF_NONE_MATCH, etag.clone());
    }
    if let Some(last_modified) = last_modified {
        headers.insert(header::IF_MODIFIED_SINCE, last_modified.clone());
    }
    etag.is_some() || last_modified.is_some()
}

/// Whether a 304 speaks of this stored response (RFC 9111 4.3.4): an entity tag it names must be the stored one.
pub(super) fn confirms(stored: &StoredResponse, not_modified: &HeaderMap) -> bool {
    match (not_modified.get(header::ETAG), stored.etag()) {
        (Some(named), Some(known)) => weak_eq(named.as_bytes(), known.as_bytes()),
        // A weak one that is new, beside the date that was asked about. Where nothing was, it can speak of anything.
        (Some(named), None) => {
            named.as_bytes().starts_with(b"W/")
                && stored.headers.contains_key(header::LAST_MODIFIED)
        }
        (None, _) => true,
    }
}

/// The stored response as a 304 renews it (RFC 9111 3.2): fields replaced by name, except those that describe the body
/// that we have and the 304 has not.
pub(super) fn freshened(
    stored: &StoredResponse,
    not_modified: HeaderMap,
    policy: &Policy,
    request_time: Timestamp,
    response_time: Timestamp,
) -> StoredResponse {
    let mut headers = stored.headers.clone();
    // The old answer's age and date must not outlive it where the 304 is silent.
    headers.remove(header::AGE);
    let mut replaced = None;
    for (name, value) in not_modified {
        if let Some(name) = name {
            replaced = updates(&name, &value, stored, policy).then_some(name);
            if let Some(name) = &replaced {
                headers.insert(name, value);
            }
        } else if let Some(name) = &replaced {
            headers.append(name, value);
        }
    }
    let facts = Facts {
        failing: stored.facts.failing,
        ..Facts::new(stored.status, &headers, request_time, response_time)
    };
    StoredResponse {
        headers: with_places(&headers),
        request_time,
        dead_at: facts.dead_at(policy),
        facts,
        ..stored.clone()
    }
}

/// Whether a field of a 304 replaces that of the stored response. RFC 9111 3.2 leaves out `Content-Length`, and lets a
/// cache leave out what the meaning of the bytes depends on; those have not changed, so a field that says otherwise is
/// wrong about them. A media type may be said more precisely, not become another.
fn updates(
    name: &HeaderName,
    value: &HeaderValue,
    stored: &StoredResponse,
    policy: &Policy,
) -> bool {
    match *name {
        header::CONTENT_LENGTH
        | header::CONTENT_ENCODING
        | header::CONTENT_RANGE
        | header::TRANSFER_ENCODING => false,
        header::CONTENT_TYPE => {
            let known = stored.headers.get(header::CONTENT_TYPE);
            known.is_some_and(|known| essence(known).eq_ignore_ascii_case(essence(value)))
        }
        // A cookie is for the one who asked; what is stored goes to everybody.
        header::SET_COOKIE => policy.share_set_cookie,
        _ => true,
    }
}

/// A media type without its parameters.
fn essence(content_type: &HeaderValue) -> &[u8] {
    let bytes = content_type.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b';');
    bytes[..end.unwrap_or(bytes.len())].trim_ascii()
}

/// Whether the client already has this response (RFC 9110 13.2.2, steps for GET and HEAD; RFC 9111 4.3.2).
pub(super) fn is_not_modified(
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
) -> bool {
    if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        return none_match_fails(request, response);
    }
    if !request.contains_key(header::IF_MODIFIED_SINCE) {
        return false;
    }
    let since = date(request, &header::IF_MODIFIED_SINCE);
    let modified = date(response, &header::LAST_MODIFIED).or_else(|| date(response, &header::DATE));
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

fn none_match_fails(request: &HeaderMap, response: &HeaderMap) -> bool {
    let etag = response.get(header::ETAG).map(HeaderValue::as_bytes);
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| {
        let Ok(line) = line.to_str() else {
            return false;
        };
        split_list(line)
            .any(|tag| tag == "*" || etag.is_some_and(|etag| weak_eq(tag.as_bytes(), etag)))
    })
}

/// RFC 9110 8.8.3.2.
fn weak_eq(a: &[u8], b: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag).to_vec();
    opaque(a) == opaque(b)
}

/// Takes everything off a response head that a 304 does not carry (RFC 9110 15.4.5).
pub(super) fn into_not_modified(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
    ] {
        headers.remove(name);
    }
}

/// Whether a request says anything at all that bears on how a cache answers it: one look at each name, where the rules
/// would each look up their own. A request that does not is answered by the plainest of paths.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| {
        matches!(
            name.as_str(),
            "authorization"
                | "cache-control"
                | "if-match"
                | "if-modified-since"
                | "if-none-match"
                | "if-range"
                | "if-unmodified-since"
                | "pragma"
                | "range"
                | "upgrade"
        )
    })
}

/// Whether this request must be judged by the origin alone, or carries what no cache may answer.
pub(super) fn is_for_origin_only(method: &Method, headers: &HeaderMap) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
        || headers.contains_key(header::IF_MATCH)
        || headers.contains_key(header::IF_UNMODIFIED_SINCE)
        || headers.contains_key(header::UPGRADE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::judgement::Judgement;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn stored(fields: &[(&'static str, &'static str)]) -> StoredResponse {
        let headers = headers(fields);
        let time = Timestamp::from_secs(1_000);
        StoredResponse {
            status: StatusCode::OK,
            facts: Facts::new(StatusCode::OK, &headers, time, time),
            headers,
            body: Bytes::from_static(b"{}"),
            part: None,
            url: "/".into(),
            request_time: time,
            dead_at: Timestamp::NEVER,
            labels: crate::cache::Labels::default(),
            aside: None,
            judgement: Judgement::default(),
        }
    }

    #[test]
    fn client_conditions_are_judged_as_rfc9110_13_2_2_orders() {
        const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
        for (name, request, response, want) in [
            ("no condition", vec![], vec![("etag", "\"a\"")], false),
            (
                "the same tag",
                vec![("if-none-match", "\"a\"")],
                vec![("etag", "\"a\"")],
                true,
            ),
            (
                "weak comparison",
                vec![("if-none-match", "W/\"a\"")],
                vec![("etag", "\"a\"")],
                true,
            ),
            (
                "one of a list, commas in tags",
                vec![("if-none-match", "\"x,y\", \"a\"")],
                vec![("etag", "\"a\"")],
                true,
            ),
            ("a star", vec![("if-none-match", "*")], vec![], true),
            (
                "another tag",
                vec![("if-none-match", "\"b\"")],
                vec![("etag", "\"a\"")],
                false,
            ),
            (
                "a tag wins over a date",
                vec![("if-none-match", "\"b\""), ("if-modified-since", NEW)],
                vec![("etag", "\"a\""), ("last-modified", OLD)],
                false,
            ),
            (
                "not modified since",
                vec![("if-modified-since", NEW)],
                vec![("last-modified", OLD)],
                true,
            ),
            (
                "modified since",
                vec![("if-modified-since", OLD)],
                vec![("last-modified", NEW)],
                false,
            ),
            (
                "an unreadable date is no condition",
                vec![("if-modified-since", "yesterday")],
                vec![("last-modified", OLD)],
                false,
            ),
        ] {
            let got = is_not_modified(&headers(&request), StatusCode::OK, &headers(&response));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_304_renews_fields_but_not_what_describes_the_body() {
        let old = stored(&[
            ("etag", "\"a\""),
            ("content-type", "text/a"),
            ("x-old", "1"),
            ("x-many", "1"),
            ("age", "90"),
        ]);
        let fresh = headers(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/b"),
            ("content-length", "0"),
            ("x-many", "2"),
            ("x-many", "3"),
        ]);
        let time = Timestamp::from_secs(2_000);
        let new = freshened(&old, fresh, &Policy::default(), time, time);
        assert_eq!(new.body, old.body);
        assert_eq!(new.headers["content-type"], "text/a");
        assert!(!new.headers.contains_key("content-length"));
        assert_eq!(new.headers["x-old"], "1");
        assert_eq!(
            new.headers.get_all("x-many").iter().collect::<Vec<_>>(),
            ["2", "3"]
        );
        assert_eq!(
            new.facts.age(time).as_secs(),
            0,
            "the age of the old answer is gone"
        );
        assert_eq!(new.facts.directives.max_age.unwrap().as_secs(), 60);
    }

    #[test]
    fn a_304_may_say_a_media_type_more_precisely() {
        let old = stored(&[("content-type", "text/plain")]);
        let time = Timestamp::from_secs(2_000);
        for (name, said, want) in [
            (
                "with its charset",
                "Text/Plain; charset=utf-8",
                "Text/Plain; charset=utf-8",
            ),
            ("another one", "text/html; charset=utf-8", "text/plain"),
        ] {
            let fields = headers(&[("content-type", said)]);
            let new = freshened(&old, fields, &Policy::default(), time, time);
            assert_eq!(new.headers["content-type"], want, "{name}");
        }
    }

    #[test]
    fn a_304_with_another_tag_confirms_nothing() {
        let stored = stored(&[("etag", "\"a\"")]);
        assert!(confirms(&stored, &headers(&[("etag", "\"a\"")])));
        assert!(confirms(&stored, &headers(&[])));
        assert!(!confirms(&stored, &headers(&[("etag", "\"b\"")])));
    }

    #[test]
    fn a_304_with_a_tag_where_none_was_known_confirms_what_was_asked_about_by_date() {
        let weak = headers(&[("etag", "W/\"b\"")]);
        let strong = headers(&[("etag", "\"b\"")]);
        let dated = stored(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert!(confirms(&dated, &weak) && !confirms(&dated, &strong));
        let bare = stored(&[]);
        assert!(!confirms(&bare, &weak) && !confirms(&bare, &strong));
        assert!(confirms(&bare, &headers(&[])));
    }
}
