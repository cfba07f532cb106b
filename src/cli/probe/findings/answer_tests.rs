use http::{HeaderMap, HeaderValue};

use super::{super::tests::exchange, *};

#[test]
fn challenges_are_read_as_rfc9110_11_6_1_has_them() {
    for (name, lines, want) in [
        ("one", &["Bearer realm=\"api\""][..], "Bearer (api)"),
        ("without parameters", &["Negotiate"], "Negotiate"),
        (
            "two in one line",
            &["Basic realm=\"a, b\", charset=\"UTF-8\", Bearer error=\"x\""],
            "Basic (a, b)|Bearer",
        ),
        (
            "two lines",
            &["Basic realm=x", "Digest nonce=\"1\", realm=\"y\""],
            "Basic (x)|Digest (y)",
        ),
        (
            "credentials in place of parameters",
            &["Negotiate a87421000492aa874209af8bc028=="],
            "Negotiate",
        ),
        (
            "blanks around =",
            &["Bearer realm = \"api\""],
            "Bearer (api)",
        ),
        ("empty members", &[", ,Basic realm=\"a\""], "Basic (a)"),
        ("nothing", &[""], ""),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(line));
        }
        let mut one = exchange(Purpose::Plain, 401, &[], "");
        one.answer.headers = headers;
        let got: Vec<String> = schemes(&one).iter().map(Scheme::words).collect();
        assert_eq!(got.join("|"), want, "{name}");
    }
}

#[test]
fn latency_is_told_from_whole_answers() {
    let mut scene = super::super::tests::Scene::new("http://a/", 200, &[], "{}");
    for millis in [10, 2_000, 30] {
        let mut one = exchange(Purpose::Plain, 200, &[], "{}");
        one.total = Duration::from_millis(millis);
        scene.seen.exchanges.push(one);
    }
    let finding = scene.find("latency.total");
    assert_eq!(finding.level, super::super::Level::Warning);
    assert_eq!(finding.value["max_ms"], 2_000);
    assert_eq!(finding.value["answers"], 4);
}
