use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use super::{
    super::{
        certificate::Certificate,
        print,
        seen::{Answer, CertificateTrouble, Exchange, Reach, TlsSeen, Trouble},
        suggest::suggestion,
        target::Target,
    },
    *,
};
use crate::clock::Timestamp;

/// Fri, 15 Jan 2027 08:00:00 GMT.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(super) const DATE: &str = "Fri, 15 Jan 2027 08:00:00 GMT";

pub(super) fn exchange(
    purpose: Purpose,
    status: u16,
    fields: &[(&'static str, &str)],
    body: &str,
) -> Exchange {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    if !headers.contains_key("date") {
        headers.insert("date", HeaderValue::from_static(DATE));
    }
    Exchange {
        purpose,
        asked_at: NOW,
        answer: Answer {
            status: StatusCode::from_u16(status).unwrap(),
            version: Version::HTTP_11,
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            end: BodyEnd::Whole,
        },
        first_byte: Duration::from_millis(20),
        total: Duration::from_millis(30),
    }
}

/// Observations of a vendor that was reached and answered once.
pub(super) struct Scene {
    pub(super) seen: Observations,
}

impl Scene {
    pub(super) fn new(url: &str, status: u16, fields: &[(&'static str, &str)], body: &str) -> Self {
        let target = Target::parse(url).unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], target.port));
        let tls = target.https.then(|| TlsSeen {
            version: Some("TLS 1.3"),
            alpn: Some("h2".to_owned()),
            http1: Some(true),
            certificate: Some(Certificate {
                subject: "a.example".to_owned(),
                issuer: "An Authority".to_owned(),
                names: vec!["a.example".to_owned()],
                not_before: None,
                not_after: Some(NOW.after(Duration::from_secs(60 * 86_400))),
            }),
            handshake: Duration::from_millis(30),
        });
        Self {
            seen: Observations {
                target,
                now: NOW,
                reach: Reach {
                    addresses: vec![address.ip()],
                    lookup: Duration::from_millis(5),
                    tried: Vec::new(),
                    connected: Some(address),
                    connect: Duration::from_millis(20),
                },
                tls,
                exchanges: vec![exchange(Purpose::Plain, status, fields, body)],
                trouble: None,
                redirected_from: Vec::new(),
                fields_sent: Vec::new(),
                connections: 1,
                requests: 1,
            },
        }
    }

    pub(super) fn json(fields: &[(&'static str, &str)], body: &str) -> Self {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(fields);
        Self::new("https://a.example/v1", 200, &all, body)
    }

    pub(super) fn then(
        mut self,
        purpose: Purpose,
        status: u16,
        fields: &[(&'static str, &str)],
        body: &str,
    ) -> Self {
        let one = exchange(purpose, status, fields, body);
        self.seen.exchanges.push(one);
        self
    }

    fn in_trouble(url: &str, trouble: Trouble) -> Self {
        let mut scene = Self::new(url, 200, &[], "");
        scene.seen.exchanges.clear();
        scene.seen.reach.connected = None;
        scene.seen.trouble = Some(trouble);
        scene
    }

    fn findings(&self) -> Vec<Finding> {
        findings(&self.seen, &read(&self.seen))
    }

    pub(super) fn find(&self, name: &str) -> Finding {
        let findings = self.findings();
        let found = findings.iter().find(|one| one.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {findings:#?}"))
            .clone()
    }
}

#[test]
fn whatever_keeps_it_from_an_answer_is_a_problem_with_what_to_do() {
    let https = "https://a.example/";
    for (url, trouble, finding, words) in [
        (
            https,
            Trouble::NoAddress("x".to_owned()),
            "reach.connect",
            "typing error",
        ),
        (https, Trouble::LookupLate, "reach.connect", "name server"),
        (https, Trouble::Refused, "reach.connect", "443"),
        (https, Trouble::ConnectLate, "reach.connect", "firewall"),
        (
            https,
            Trouble::Unreachable("x".to_owned()),
            "reach.connect",
            "firewall",
        ),
        (
            https,
            Trouble::Certificate(CertificateTrouble::UnknownIssuer),
            "tls.certificate",
            "--ca-file",
        ),
        (
            https,
            Trouble::Certificate(CertificateTrouble::Expired),
            "tls.certificate",
            "renew",
        ),
        (
            https,
            Trouble::Certificate(CertificateTrouble::WrongName),
            "tls.certificate",
            "a.example",
        ),
        (https, Trouble::NotTls, "tls.handshake", "http://a.example"),
        (https, Trouble::TlsLate, "tls.handshake", "TLS 1.2"),
        (https, Trouble::AnswerLate, "http.answer", "--timeout"),
        (
            "http://a.example/",
            Trouble::Closed("x".to_owned()),
            "http.answer",
            "https://a.example",
        ),
        (
            https,
            Trouble::NotHttp("x".to_owned()),
            "http.answer",
            "base URL",
        ),
    ] {
        let scene = Scene::in_trouble(url, trouble.clone());
        let found = scene.find(finding);
        assert_eq!(found.level, Level::Problem, "{trouble:?}");
        let advice = found.advice.unwrap_or_default();
        assert!(advice.contains(words), "{trouble:?}: {advice}");
        assert!(!is_usable(&scene.findings()), "{trouble:?}");
    }
}

#[test]
fn findings_are_in_order_and_their_names_begin_with_their_topic() {
    let scene = Scene::json(
        &[
            ("etag", "\"1\""),
            ("cache-control", "max-age=60"),
            ("set-cookie", "a=b"),
        ],
        "{\"a\":1}",
    );
    let findings = scene.findings();
    assert!(findings.is_sorted_by_key(|one| one.topic));
    for finding in &findings {
        let topic = finding.name.split('.').next();
        assert_eq!(topic, Some(finding.topic.as_str()), "{finding:?}");
        assert!(!finding.text.ends_with('.'), "{finding:?}");
    }
    assert!(is_usable(&findings));
}

#[test]
fn a_report_fits_a_terminal_and_ends_with_a_verdict() {
    let scene = Scene::json(
        &[
            ("etag", "W/\"1\""),
            ("cache-control", "private, max-age=60, must-revalidate"),
            ("set-cookie", "a=b"),
            ("vary", "Cookie, Accept-Encoding"),
            ("deprecation", "@1799136000"),
        ],
        "{\"items\":[{\"sku\":\"a\",\"price\":1}],\"next_cursor\":\"x\"}",
    );
    let reading = read(&scene.seen);
    let findings = findings(&scene.seen, &reading);
    let suggestion = suggestion(&scene.seen, &reading);
    let text = print::people(&scene.seen, &reading, &findings, suggestion.as_ref());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert_eq!(line, line.trim_end(), "{text}");
    }
    for want in [
        "what is in it",
        "  items",
        "what larder can do",
        "override = true",
        "usable: 6 warnings",
    ] {
        assert!(text.contains(want), "no `{want}` in\n{text}");
    }
}

#[test]
fn a_verdict_says_what_is_needed() {
    use super::super::suggest::Freshness;
    let secs = Duration::from_secs;
    for (name, cache_control, want, forbidden) in [
        (
            "the vendor's own",
            "max-age=90",
            Freshness::Vendor(secs(90)),
            false,
        ),
        ("nobody's", "", Freshness::Policy(secs(60)), false),
        (
            "forbidden",
            "no-store",
            Freshness::Override("no-store", secs(60)),
            false,
        ),
        (
            "for one",
            "private",
            Freshness::Override("private", secs(60)),
            false,
        ),
        (
            "never without asking",
            "no-cache",
            Freshness::Override("no-cache", secs(60)),
            true,
        ),
        (
            "stale at once",
            "max-age=0",
            Freshness::Override("max-age=0", secs(60)),
            false,
        ),
        (
            "never stale",
            "s-maxage=9",
            Freshness::Vendor(secs(9)),
            true,
        ),
    ] {
        let scene = Scene::json(&[("cache-control", cache_control)], "{}");
        let got = suggestion(&scene.seen, &read(&scene.seen)).unwrap();
        assert_eq!(
            (got.freshness, got.stale_forbidden),
            (want, forbidden),
            "{name}"
        );
    }
}
