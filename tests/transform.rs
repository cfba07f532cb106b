//! A route that maps what its vendor answers: the site stays as it is while the vendor changes.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use larder::clock::Clock;
use support::{Asked, NOW, Origin, Piece, Play, Proxy, Reply, Setup, one_route, request};

const RENAME: &str = "transform = \".price = .cost | del(.cost)\"";
const SITE: &str = r#"{"sku":"a","price":12.50}"#;
const VENDOR: &str = r#"{"sku":"a","cost":12.50}"#;

/// A vendor that has version `v1` of one document for ever, and knows conditions.
fn vendors(asked: &Asked) -> Play {
    if asked.field("if-none-match").contains("\"v1\"") {
        return Play::answer(304, &[("etag", "\"v1\"")], "");
    }
    json(VENDOR, &[("etag", "\"v1\"")])
}

fn json(body: &str, fields: &[(&str, &str)]) -> Play {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(fields);
    Play::answer(200, &all, body)
}

fn fresh(seconds: u64) -> String {
    format!(
        "fresh = \"{seconds}s\"\noverride = true\nstale_while_revalidate = \"0s\"\nstale_after = \"20s\""
    )
}

async fn proxy(origin: &Origin, clock: &Clock, route: &str) -> Proxy {
    Setup::before(origin, &one_route(&fresh(10), route))
        .clock(clock)
        .start()
        .await
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn field<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().expect("fields are text"))
}

#[tokio::test]
async fn a_vendor_that_renames_a_field_does_not_change_the_site() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(vendors).await;
    let proxy = proxy(&origin, &clock, RENAME).await;

    let first = proxy.get("/p").await;
    assert_eq!(
        (first.status.as_u16(), text(&first)),
        (200, SITE.to_owned())
    );
    assert_eq!(
        field(&first.headers, "content-length"),
        SITE.len().to_string()
    );
    let tag = field(&first.headers, "etag").to_owned();
    assert!(tag.starts_with("\"v1;t="), "{tag}");

    // A hit is what was mapped; so are a part, a head and a condition.
    let part = proxy.client.get_with("/p", &[("range", "bytes=0-5")]).await;
    assert_eq!(
        (part.status.as_u16(), text(&part)),
        (206, SITE[..6].to_owned())
    );
    let head = proxy.client.send(request(Method::HEAD, "/p", &[])).await;
    assert_eq!(field(&head.headers, "etag"), tag);
    let known = proxy
        .client
        .get_with("/p", &[("if-none-match", &tag)])
        .await;
    assert_eq!(known.status.as_u16(), 304);
    assert_eq!(origin.asked_total(), 1);

    // What is stale is asked about by the vendor's own tag, and the 304 confirms what was mapped.
    clock.advance(Duration::from_secs(60));
    let again = proxy.get("/p").await;
    assert_eq!(
        (again.status.as_u16(), text(&again)),
        (200, SITE.to_owned())
    );
    assert_eq!(field(&again.headers, "etag"), tag);
    let asked = origin.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].field("if-none-match"), "\"v1\"");
}

#[tokio::test]
async fn an_answer_without_a_tag_gets_one_and_its_date_still_asks() {
    const DATE: &str = "Thu, 26 Nov 2026 20:00:00 GMT";
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|asked| {
        if asked.field("if-modified-since") == DATE {
            return Play::answer(304, &[], "");
        }
        json(VENDOR, &[("last-modified", DATE)])
    })
    .await;
    let proxy = proxy(&origin, &clock, RENAME).await;
    let first = proxy.get("/p").await;
    let tag = field(&first.headers, "etag").to_owned();
    assert!(tag.contains(";o="), "{tag}");
    clock.advance(Duration::from_secs(60));
    let again = proxy.get("/p").await;
    assert_eq!(
        (text(&again), field(&again.headers, "etag")),
        (SITE.to_owned(), &*tag)
    );
    let asked = origin.asked();
    assert_eq!(asked[1].field("if-none-match"), "");
    assert_eq!(asked[1].field("if-modified-since"), DATE);
}

#[tokio::test]
async fn what_another_program_mapped_is_fetched_anew_after_a_restart() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(vendors).await;
    let setup = |route: &str| {
        Setup::before(&origin, &one_route(&fresh(10), route))
            .clock(&clock)
            .on_disk()
    };
    let first = setup(RENAME).start().await;
    assert_eq!(text(&first.get("/p").await), SITE);
    first.settled().await;
    let second = setup("transform = \"{sku, amount: .cost}\"").where_was(&first);
    first.stop().await;

    clock.advance(Duration::from_secs(60));
    let second = second.start().await;
    let got = second.get("/p").await;
    assert_eq!(text(&got), r#"{"sku":"a","amount":12.50}"#);
    // The vendor would have said 304, of what the other program made.
    assert!(!origin.asked()[1].is_conditional());

    // Taken out of the config, nothing is mapped any more.
    second.settled().await;
    let third = setup("").where_was(&second);
    second.stop().await;
    clock.advance(Duration::from_secs(60));
    let third = third.start().await;
    let got = third.get("/p").await;
    assert_eq!(
        (text(&got), field(&got.headers, "etag")),
        (VENDOR.to_owned(), "\"v1\"")
    );
}

#[tokio::test]
async fn a_program_that_fails_is_a_breach_and_the_last_good_answer_stands_in() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(vendors).await;
    let route = "transform = \".price = (.cost | tonumber) | del(.cost)\"\nmessage = \"Prices are being looked up.\"";
    let proxy = proxy(&origin, &clock, route).await;
    assert_eq!(text(&proxy.get("/p").await), SITE);

    for bad in [
        r#"{"sku":"a","cost":"on request"}"#,
        r#"{"sku":"a"}"#,
        r#"{"sku":"a","#,
        "<html>Back soon</html>",
        "",
    ] {
        origin.now(move |_| json(bad, &[]));
        clock.advance(Duration::from_secs(60));
        let kept = proxy.get("/p").await;
        assert_eq!(
            (kept.status.as_u16(), text(&kept)),
            (200, SITE.to_owned()),
            "{bad}"
        );
        // Nothing is stored for this one.
        let none = proxy.get("/other").await;
        assert_eq!(none.status.as_u16(), 502, "{bad}");
        assert!(text(&none).contains("Prices are being looked up."), "{bad}");
        if !bad.is_empty() {
            assert!(!text(&none).contains(bad), "{bad}");
        }
    }
}

#[tokio::test]
async fn where_it_is_only_observed_what_cannot_be_mapped_is_served_as_it_came() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|_| json(r#"{"cost":"x"}"#, &[("etag", "\"v1\"")])).await;
    let route = "transform = \".price = (.cost | tonumber)\"\ncontract.mode = \"observe\"";
    let proxy = proxy(&origin, &clock, route).await;
    let got = proxy.get("/p").await;
    assert_eq!(
        (text(&got), field(&got.headers, "etag")),
        (r#"{"cost":"x"}"#.to_owned(), "\"v1\"")
    );
    origin.now(|_| json(r#"{"cost":"1"}"#, &[("etag", "\"v2\"")]));
    clock.advance(Duration::from_secs(60));
    assert_eq!(text(&proxy.get("/p").await), r#"{"cost":"1","price":1}"#);
}

#[tokio::test]
async fn digests_of_the_vendors_bytes_are_not_served_with_others() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|_| {
        json(
            VENDOR,
            &[
                ("repr-digest", "sha-256=:AAAA:"),
                ("content-md5", "AAAA"),
                ("accept-ranges", "bytes"),
                ("vary", "accept-encoding"),
            ],
        )
    })
    .await;
    let proxy = proxy(&origin, &clock, RENAME).await;
    let got = proxy.get("/p").await;
    assert_eq!(text(&got), SITE);
    for gone in ["repr-digest", "content-md5", "content-encoding"] {
        assert_eq!(field(&got.headers, gone), "", "{gone}");
    }
    assert_eq!(field(&got.headers, "vary"), "accept-encoding");
}

#[tokio::test]
async fn what_came_zipped_is_mapped_and_served_as_it_is() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|asked| {
        assert_eq!(asked.field("accept-encoding"), "gzip");
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut zipped, VENDOR.as_bytes()).expect("memory takes it");
        let zipped = zipped.finish().expect("memory takes it");
        let fields = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("etag", "\"v1\""),
        ];
        Play::pieces(200, &fields, vec![Piece::Bytes(zipped.into())])
    })
    .await;
    let proxy = proxy(&origin, &clock, RENAME).await;
    let got = proxy
        .client
        .get_with("/p", &[("accept-encoding", "gzip, br")])
        .await;
    assert_eq!(text(&got), SITE);
    assert_eq!(field(&got.headers, "content-encoding"), "");
}

#[tokio::test]
async fn what_is_written_is_not_mapped_and_names_the_vendors_version() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|asked| match asked.method {
        Method::GET => vendors(asked),
        _ => json(r#"{"cost":1}"#, &[("etag", "\"v2\"")]),
    })
    .await;
    let proxy = proxy(&origin, &clock, RENAME).await;
    let tag = field(&proxy.get("/p").await.headers, "etag").to_owned();
    let put = proxy
        .client
        .send(request(Method::PUT, "/p", &[("if-match", &tag)]))
        .await;
    assert_eq!(text(&put), r#"{"cost":1}"#);
    assert_eq!(origin.asked()[1].field("if-match"), "\"v1\"");
}

#[tokio::test]
async fn a_post_that_only_reads_is_mapped() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|_| json(VENDOR, &[])).await;
    let proxy = proxy(&origin, &clock, &format!("{RENAME}\ncache_post = true")).await;
    let mut post = request(Method::POST, "/p", &[("content-type", "application/json")]);
    *post.body_mut() = http_body_util::Full::new(Bytes::from_static(b"{\"q\":1}"));
    assert_eq!(text(&proxy.client.send(post).await), SITE);
}

#[tokio::test]
async fn a_program_that_does_not_end_holds_up_nobody_else() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|_| json(VENDOR, &[])).await;
    let routes = |own: &str| {
        format!(
            "[server]\njudges_max = 2\n{}\n[[route]]\nname = \"well\"\npath = \"/well/{{*rest}}\"\nupstream = \"lab\"\npolicy = \"p\"\n{RENAME}\n",
            one_route(&fresh(10), own)
        )
    };
    let endless = "transform = \"def f: f; f\"\ncontract.time_max = \"2s\"\ndeadline = \"20s\"";
    let proxy = Setup::before(&origin, &routes(endless))
        .clock(&clock)
        .start()
        .await;
    let (stuck, well) = tokio::join!(
        async {
            let replies = (0..4).map(|n| {
                let (client, path) = (&proxy.client, format!("/p{n}"));
                async move { client.get(&path).await }
            });
            futures_util::future::join_all(replies).await
        },
        async {
            let mut elapsed = Duration::ZERO;
            for n in 0..5 {
                let reply = proxy.get(&format!("/well/{n}")).await;
                assert_eq!(text(&reply), SITE);
                elapsed += reply.elapsed;
            }
            elapsed
        }
    );
    for reply in &stuck {
        assert_eq!(reply.status.as_u16(), 502);
    }
    let slowest = stuck.iter().map(|reply| reply.elapsed).max();
    assert!(Some(well) < slowest, "{well:?} {slowest:?}");
}
