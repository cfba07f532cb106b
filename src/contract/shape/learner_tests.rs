//! What is heard, what is not, and what becomes of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{Shapes, shapes::Known},
    *,
};
use crate::{
    clock::{Clock, Timestamp},
    config::{self, FixedEnv, RouteConfig},
    contract::{Kept, Saver},
    http::BodyError,
    observe::Alerts,
};

fn route(drift: &str) -> RouteConfig {
    let text = format!(
        r#"
        [upstream.vendor]
        endpoints = ["http://127.0.0.1:1"]
        owner = "Desk"
        runbook = "read.md"
        [[route]]
        name = "prices"
        path = "/prices"
        upstream = "vendor"
        {drift}
        "#
    );
    let config = config::parse(&text, std::path::Path::new("t.toml"), &FixedEnv::default());
    RouteConfig::clone(&config.unwrap().routes[0])
}

fn shapes(saver: &Saver) -> (Shapes, Alerts) {
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let alerts = Alerts::new(clock.clone());
    (
        Shapes::new(clock, alerts.clone(), saver.clone(), 1 << 20),
        alerts,
    )
}

fn answer(fields: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::builder().header("content-type", "application/json");
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(Body::full(body.into())).unwrap()
}

fn price(number: u64) -> Value {
    json!({ "price": 10 + number % 7, "currency": "EUR" })
}

fn hear(learner: &Learner, request: &[(&str, &str)], response: Response) {
    let mut headers = HeaderMap::new();
    for (name, value) in request {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    let uri = "/prices?sku=1".parse().unwrap();
    if let Some(question) = learner.asked(&Method::GET, &uri, &headers) {
        question.listen(response);
    }
}

/// What was learnt and skipped once everything that waits is done.
async fn settled(shapes: &Shapes) -> Known {
    shapes.close(Duration::from_secs(60)).await;
    shapes.known().remove(0)
}

#[tokio::test]
async fn good_json_is_learnt_and_what_may_be_personal_is_not() {
    let gzip = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"{\"price\":1}").unwrap();
        encoder.finish().unwrap()
    };
    let json = || Bytes::from_static(b"{\"price\":1}");
    let large = Bytes::from(format!("\"{}\"", "x".repeat(2_000)));
    let none: &[(&str, &str)] = &[];
    let open = "drift = { private = true }";
    for (name, drift, request, fields, body, want) in [
        ("plain", "", none, none, json(), "learnt"),
        (
            "shared",
            "",
            none,
            &[("cache-control", "public, max-age=9")],
            json(),
            "learnt",
        ),
        (
            "private",
            "",
            none,
            &[("cache-control", "max-age=9, Private")],
            json(),
            "private",
        ),
        (
            "no-store",
            "",
            none,
            &[("cache-control", "no-store")],
            json(),
            "private",
        ),
        (
            "a cookie",
            "",
            none,
            &[("set-cookie", "a=b")],
            json(),
            "private",
        ),
        (
            "credentials",
            "",
            &[("authorization", "Basic x")],
            none,
            json(),
            "private",
        ),
        (
            "all of it, as the route says",
            open,
            &[("authorization", "Basic x")],
            &[("set-cookie", "a=b"), ("cache-control", "private")],
            json(),
            "learnt",
        ),
        (
            "gzip",
            "",
            none,
            &[("content-encoding", "gzip")],
            gzip.into(),
            "learnt",
        ),
        (
            "no gzip",
            "",
            none,
            &[("content-encoding", "gzip")],
            json(),
            "unreadable",
        ),
        (
            "brotli",
            "",
            none,
            &[("content-encoding", "br")],
            json(),
            "unreadable",
        ),
        (
            "no JSON",
            "",
            none,
            none,
            Bytes::from_static(b"{"),
            "unreadable",
        ),
        (
            "long",
            "drift = { body_max = \"1 KiB\" }",
            none,
            none,
            large,
            "large",
        ),
    ]
        as [(_, _, &[(&str, &str)], &[(&str, &str)], _, _); 12]
    {
        let (shapes, _) = shapes(&Saver::nowhere());
        let learner = shapes.learner(&route(drift)).unwrap();
        hear(&learner, request, answer(fields, body));
        let known = settled(&shapes).await;
        let skipped: Vec<_> = known
            .skipped
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        match want {
            "learnt" => assert_eq!((known.answers, &skipped[..]), (1, &[][..]), "{name}"),
            why => assert_eq!(skipped, [(why, 1)], "{name}"),
        }
    }
}

#[tokio::test]
async fn other_methods_statuses_and_types_are_not_heard_at_all() {
    let (shapes, _) = shapes(&Saver::nowhere());
    assert!(
        shapes
            .learner(&route("drift = { mode = \"off\" }"))
            .is_none()
    );
    let learner = shapes.learner(&route("")).unwrap();
    let uri = "/prices".parse().unwrap();
    for method in [Method::POST, Method::HEAD, Method::DELETE] {
        assert!(learner.asked(&method, &uri, &HeaderMap::new()).is_none());
    }
    for status in [204, 206, 301, 404, 500] {
        let mut response = answer(&[], "{}");
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        hear(&learner, &[], response);
    }
    let html = http::Response::builder().header("content-type", "text/html");
    hear(&learner, &[], html.body(Body::full("{}")).unwrap());
    let known = settled(&shapes).await;
    assert_eq!(known.answers, 0);
    assert!(known.skipped.iter().all(|(_, count)| *count == 0));
}

#[tokio::test]
async fn a_body_that_streams_is_learnt_at_its_end_and_passes_as_it_is() {
    use http_body_util::{BodyExt, StreamBody};
    let (shapes, _) = shapes(&Saver::nowhere());
    let learner = shapes.learner(&route("")).unwrap();
    for (pieces, want) in [
        (vec![Ok("{\"pri"), Ok("ce\":1}")], Some("{\"price\":1}")),
        (vec![Ok("{\"price\":1}"), Err(BodyError::Timeout)], None),
    ] {
        let frames = pieces.into_iter().map(|piece| {
            piece.map(|piece| http_body::Frame::data(Bytes::from_static(piece.as_bytes())))
        });
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut response = answer(&[], "");
        *response.body_mut() = Body::stream(body);
        let uri = "/prices".parse().unwrap();
        let question = learner
            .asked(&Method::GET, &uri, &HeaderMap::new())
            .unwrap();
        let heard = question.listen(response).into_body().collect().await;
        let heard = heard.ok().map(http_body_util::Collected::to_bytes);
        assert_eq!(heard.as_deref(), want.map(str::as_bytes));
    }
    assert_eq!(settled(&shapes).await.answers, 1);
}

#[tokio::test]
async fn no_more_is_held_than_there_is_room_for() {
    let clock = Clock::manual(Timestamp::from_secs(1));
    let room = 1_000;
    let shapes = Shapes::new(clock, Alerts::default(), Saver::nowhere(), room);
    let learner = shapes.learner(&route("")).unwrap();
    hear(
        &learner,
        &[],
        answer(&[], format!("\"{}\"", "x".repeat(2_000))),
    );
    hear(&learner, &[], answer(&[], "1"));
    let queue = Arc::clone(&learner.queue);
    let known = settled(&shapes).await;
    assert_eq!(known.answers, 1);
    assert_eq!(known.skipped[3], ("full", 1));
    assert_eq!(queue.held(), 0, "given back");
}

#[tokio::test]
async fn a_change_is_one_alert_with_owner_and_runbook_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let route = route("");
    let every = Duration::from_millis(1);
    let mut raised = Vec::new();
    for life in 0..2 {
        let kept = Kept::open(Some(folder.path().to_owned()), 1 << 20, Alerts::default());
        let saver = Saver::start(kept, every);
        let (shapes, alerts) = shapes(&saver);
        let learner = shapes.learner(&route).unwrap();
        if life == 0 {
            for number in 0..30 {
                hear(&learner, &[], answer(&[], price(number).to_string()));
            }
        }
        for _ in 0..10 {
            hear(
                &learner,
                &[],
                answer(&[], json!({ "currency": "EUR" }).to_string()),
            );
        }
        let known = settled(&shapes).await;
        assert_eq!(known.answers, 40 + life * 10);
        assert_eq!(known.changes.len(), 1);
        saver.close(Duration::from_secs(60)).await;
        raised.extend(alerts.recent());
    }
    let [alert] = &raised[..] else {
        panic!("{raised:?}")
    };
    assert_eq!(alert.kind, "drift_breaking");
    assert_eq!(alert.subject, "route prices: $.price field_removed");
    assert_eq!(alert.owner.as_deref(), Some("Desk"));
    assert_eq!(alert.runbook.as_deref(), Some("read.md"));
    assert!(
        alert.message.contains("$.price is gone"),
        "{}",
        alert.message
    );
}

#[tokio::test]
async fn what_is_kept_of_another_version_is_learnt_anew() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(Some(folder.path().to_owned()), 1 << 20, Alerts::default());
    kept.save("drift/prices", &[99, 1, 2, 3]);
    let saver = Saver::start(kept, Duration::from_millis(1));
    let (shapes, _) = shapes(&saver);
    let learner = shapes.learner(&route("")).unwrap();
    hear(&learner, &[], answer(&[], "{}"));
    assert_eq!(settled(&shapes).await.answers, 1);
    saver.close(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn of_more_answers_than_there_is_time_for_the_latest_are_learnt() {
    let (shapes, alerts) = shapes(&Saver::nowhere());
    let slow = "drift = { answers_burst = 30, answers_per_second = 1 }";
    let learner = shapes.learner(&route(slow)).unwrap();
    for number in 0..1_000 {
        hear(&learner, &[], answer(&[], price(number).to_string()));
    }
    for _ in 0..10 {
        hear(
            &learner,
            &[],
            answer(&[], json!({ "currency": "EUR" }).to_string()),
        );
    }
    let known = settled(&shapes).await;
    assert!((40..200).contains(&known.answers), "{known:?}");
    let (why, skipped) = known.skipped[1];
    assert_eq!((why, known.answers + skipped), ("rate", 1_010));
    assert_eq!(alerts.recent().len(), 1, "they show the change");
}
