//! The parsers of the cache as targets of `crate::fuzzing`. Fields are written as lines, `name: value`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::de::IgnoredAny;

use super::{
    canonical::canonical,
    control::{RequestDirectives, ResponseDirectives},
    cookies,
    entry::{Entry, StoredResponse},
    freshness::{Facts, State},
    invalidate::named_targets,
    judgement::Judgement,
    purge::{self, Labels},
    query,
    range::{self, Cut, Part},
    selecting, validate,
    vary::Vary,
};
use crate::{
    clock::Timestamp,
    config::{ParameterPattern, Policy, QueryKey},
    http::MediaType,
    store::Record,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const BODY: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// As many fields as there are lines that are some.
fn fields(bytes: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
            fields.append(name, value);
        }
    }
    fields
}

/// The same with one line more.
fn with(fields: &HeaderMap, name: HeaderName, value: &'static str) -> HeaderMap {
    let mut fields = fields.clone();
    fields.append(name, HeaderValue::from_static(value));
    fields
}

fn facts(fields: &HeaderMap) -> Facts {
    Facts::new(
        StatusCode::OK,
        fields,
        NOW,
        NOW.after(Duration::from_secs(1)),
    )
}

fn stored(headers: HeaderMap, part: Option<Part>) -> StoredResponse {
    let status = if part.is_some() { 206 } else { 200 };
    StoredResponse {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        facts: facts(&headers),
        headers,
        body: Bytes::from_static(BODY),
        part,
        url: "/".into(),
        request_time: NOW,
        dead_at: Timestamp::NEVER,
        labels: Labels::default(),
        aside: None,
        judgement: Judgement::default(),
    }
}

/// One more directive never makes a response more reusable, except the two that say so.
pub(crate) fn control(bytes: &[u8]) {
    let fields = fields(bytes);
    RequestDirectives::parse(&fields);
    let before = ResponseDirectives::parse(&fields);
    if before.targeted {
        return;
    }
    let lifetime = |it: &ResponseDirectives| it.s_maxage.or(it.max_age);
    for more in [
        "max-age=junk",
        "s-maxage=",
        "max-age=99999999999999999999",
        "no-store",
        "private",
        "x=\"y\"",
    ] {
        let after = ResponseDirectives::parse(&with(&fields, header::CACHE_CONTROL, more));
        assert!(after.no_store >= before.no_store && after.private >= before.private);
        assert!(after.no_cache >= before.no_cache && after.public == before.public);
        if let (Some(before), Some(after)) = (before.max_age, after.max_age) {
            assert!(after <= before, "{more}");
        }
        if before.s_maxage.is_some() || after.s_maxage.is_none() {
            let grows = lifetime(&before).is_some_and(|before| lifetime(&after) > Some(before));
            assert!(!grows, "{more}");
        }
    }
}

/// What cannot be read never lengthens a lifetime, time never makes anything fresher, and no sum overflows.
pub(crate) fn freshness(bytes: &[u8]) {
    let fields = fields(bytes);
    let facts = facts(&fields);
    let policy = Policy {
        spread_percent: 0,
        early: false,
        heuristic_percent: 10,
        ..Policy::default()
    };
    facts.dead_at(&policy);
    let lifetime = facts.lifetime(&policy);
    for (name, junk) in [
        (header::EXPIRES, "0"),
        (header::EXPIRES, "never"),
        (header::CACHE_CONTROL, "max-age=junk"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        let less = self::facts(&with(&fields, name, junk)).lifetime(&policy);
        let longer = lifetime.is_some_and(|lifetime| less > Some(lifetime));
        assert!(!longer, "{junk}: {lifetime:?} became {less:?}");
    }
    let mut last = State::Fresh;
    let mut age = Duration::ZERO;
    for secs in [1, 2, 61, 3_601, 90_000, 40_000_000, u64::MAX / 2_000_000] {
        let verdict = facts.judge(&policy, 0.0, NOW.after(Duration::from_secs(secs)), || 1.0);
        assert!(verdict.state >= last && verdict.age >= age);
        assert!(verdict.state != State::Fresh || verdict.age < verdict.lifetime);
        verdict.ttl_secs();
        (last, age) = (verdict.state, verdict.age);
    }
    let back = facts.judge(&policy, 0.0, NOW.before(Duration::from_secs(3_600)), || 1.0);
    assert!(back.state > State::Early, "fresh before it was there");
}

/// Conditions, 304s and what an answer invalidates.
pub(crate) fn conditions(bytes: &[u8]) {
    let at = bytes.len() / 2;
    let (request, response) = (fields(&bytes[..at]), fields(&bytes[at..]));
    let not_modified = validate::is_not_modified(&request, StatusCode::OK, &response);
    assert!(!not_modified || validate::has_condition(&request));
    assert!(!validate::is_not_modified(
        &request,
        StatusCode::NOT_FOUND,
        &response
    ));
    let known = stored(response, None);
    validate::confirms(&known, &request);
    let renewed = validate::freshened(&known, request.clone(), &Policy::default(), NOW, NOW);
    assert_eq!(renewed.body, known.body);
    let length = |it: &StoredResponse| it.headers.get(header::CONTENT_LENGTH).cloned();
    assert_eq!(length(&renewed), length(&known));
    for target in named_targets(&Uri::from_static("/a/b"), Some("shop.example"), &request) {
        assert!(target.path().starts_with('/') && target.authority().is_none());
    }
}

/// What is cut is within what is there, says what it is, and is the same from a part as from the whole.
pub(crate) fn range(bytes: &[u8]) {
    let at = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (request, response) = (fields(&bytes[..at]), fields(&bytes[at.min(bytes.len())..]));
    let whole = stored(response.clone(), None);
    if let Cut::One {
        bytes,
        content_range,
    } = range::cut(&request, &whole, || 7)
    {
        assert!(bytes.start < bytes.end && bytes.end <= BODY.len());
        let said = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, BODY.len());
        assert_eq!(content_range, said.as_str());
    }
    let body = Bytes::from_static(BODY);
    let received = Part::received(&request, &response, &body);
    let part = stored(response, Some(received));
    if part
        .part
        .as_ref()
        .is_some_and(|it| it.covers(&request, &part))
        && let Cut::One { bytes, .. } = range::cut(&request, &part, || 7)
    {
        assert!(bytes.end <= BODY.len());
    }
    range::combined(&part, &part);
    range::can_be_completed(&part);
    range::completes(&part, &request);
    range::ask_for_rest(&part, &mut HeaderMap::new());
}

/// Order and repetition in `Vary` mean nothing; what selects is told the same way twice.
pub(crate) fn vary(bytes: &[u8]) {
    let fields = fields(bytes);
    let vary = Vary::parse(&fields);
    let mut twice = fields.clone();
    for line in fields.get_all(header::VARY) {
        twice.append(header::VARY, line.clone());
    }
    assert_eq!(Vary::parse(&twice), vary);
    for name in fields.keys() {
        let told = || {
            let mut told = Vec::new();
            selecting::describe(name, &fields, |bytes| told.extend_from_slice(bytes));
            told
        };
        assert_eq!(told(), told());
    }
}

/// A record that is read is written as one that is read as the same.
pub(crate) fn entry(bytes: &[u8]) {
    let body = Bytes::from_static(BODY);
    let Ok(entry) = Entry::decode(bytes, body.clone()) else {
        return;
    };
    entry.weight();
    let again = Entry::decode(&entry.encode_meta(), body);
    match (entry, again) {
        (Entry::Response(one), Ok(Entry::Response(other))) => assert_eq!(one, other),
        (
            Entry::Variants { variants, dead_at },
            Ok(Entry::Variants {
                variants: others,
                dead_at: then,
            }),
        ) => assert!(variants == others && dead_at == then),
        (_, again) => panic!("became {again:?}"),
    }
}

#[cfg(test)]
#[test]
fn the_seeds_of_records_are_records() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/entry");
    for seed in std::fs::read_dir(folder).unwrap() {
        let meta = std::fs::read(seed.unwrap().path()).unwrap();
        Entry::decode(&meta, Bytes::from_static(BODY)).unwrap();
    }
}

/// A form is its own form; a media type is read or not.
pub(crate) fn json(bytes: &[u8]) {
    if let Some(form) = canonical(bytes) {
        assert_eq!(canonical(&form).as_ref(), Some(&form));
        assert!(serde_json::from_slice::<IgnoredAny>(&form).is_ok());
    }
    MediaType::of(&fields(bytes));
}

/// Keeping what was kept keeps it.
pub(crate) fn cookies(bytes: &[u8]) {
    let came = fields(bytes);
    let names: [Box<str>; 2] = ["a".into(), "session".into()];
    let mut once = came.clone();
    cookies::keep(&mut once, &names);
    let mut twice = once.clone();
    cookies::keep(&mut twice, &names);
    assert_eq!(once, twice);
    for name in &names {
        assert_eq!(
            cookies::value_of(&once, name),
            cookies::value_of(&came, name)
        );
    }
}

/// What is sent is keyed as what came was.
pub(crate) fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let rules = [
        QueryKey::Whole,
        QueryKey::Sorted,
        QueryKey::Only(vec!["a".into(), "b".into()]),
        QueryKey::Except(vec![
            ParameterPattern::Exact("a".into()),
            ParameterPattern::Prefix("utm_".into()),
        ]),
    ];
    for rule in rules {
        let keyed = query::keyed(&rule, Some(text));
        let sent = query::sent(&rule, Some(text));
        assert_eq!(query::keyed(&rule, sent.as_deref()), keyed, "{rule:?}");
    }
}

/// Tags and groups of an answer, and the groups that it ends.
pub(crate) fn purge(bytes: &[u8]) {
    let fields = fields(bytes);
    for (what, _) in purge::groups_invalidated(&fields, "v") {
        assert!(matches!(what, purge::What::Group { .. }));
    }
    let is_plain = validate::is_plain(&fields);
    assert!(!is_plain || !validate::is_for_origin_only(&Method::GET, &fields));
}
