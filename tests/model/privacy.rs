//! What is made for one client reaches no other: whatever is asked at the same moment, coalesced, renewed, cut or failed.
//!
//! Three clients ask the same few targets, several at once. The origin puts the name of whoever asked into the content and
//! the fields of every answer that it gives to that client alone, and nothing of the kind into the others. A run is drawn
//! from a seed (`LARDER_SEED` plays one again), down to the order in which tasks go on.

use std::{
    collections::VecDeque,
    env,
    fmt::Write,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use larder::{
    clock::Clock,
    failure::{Cause, Failure, Sent},
    http::{Body, BodyError, Request, Response, fetch::Attempts},
};
use tower::Service;

use crate::{
    dice::Dice,
    world::{HOST, START, cache_over},
};

const RUNS: u64 = 300;
const CLIENTS: [&str; 3] = ["alice", "bob", "carol"];

/// Says that it is for one, in every way there is.
const FOR_ONE: &[(&str, &str)] = &[
    ("cache-control", "private"),
    ("cache-control", "private, max-age=60"),
    ("cache-control", "PRIVATE=\"x-a\", max-age=60"),
    ("cache-control", "no-store"),
    ("cache-control", "max-age=60, No-Store"),
    ("cache-control", "public, private, s-maxage=60"),
    ("cdn-cache-control", "private, max-age=60"),
    ("larder-cache-control", "no-store"),
];

const FOR_ALL: &[&str] = &[
    "max-age=60",
    "public, max-age=10",
    "s-maxage=10",
    "no-cache",
    "max-age=0",
    "must-revalidate, max-age=10",
    "",
];

/// A body that comes in pieces, with pauses between them.
struct Pieces {
    pieces: VecDeque<Bytes>,
    paused: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.pieces.pop_front();
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

/// The name that an answer of this kind must not show to others.
fn marker(client: &str) -> String {
    format!("for-{client}-alone")
}

/// Who else's name is in there.
fn others_in(client: &str, fields: &HeaderMap, body: &[u8]) -> Option<&'static str> {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for (name, value) in fields {
        let _ = writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        );
    }
    let mut others = CLIENTS.into_iter().filter(|other| *other != client);
    others.find(|other| text.contains(&marker(other)))
}

fn value<'h>(fields: &'h HeaderMap, name: &str) -> &'h str {
    fields
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What the origin says to this request.
fn answer(dice: &mut Dice, request: &Request) -> Result<Response, Failure> {
    let asked = request.headers();
    let client = value(asked, "x-client").to_owned();
    assert_eq!(
        others_in(&client, asked, &[]),
        None,
        "the origin was asked in another's words: {asked:?}"
    );
    if dice.percent(8) {
        return Err(Failure::new(
            Cause::ConnectionTerminated,
            Sent::MayHaveActed,
        ));
    }
    let mut fields = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        fields.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a value"),
        );
    };
    let mut is_for_one = dice.percent(45);
    let (mut is_shared_in_writing, mut is_silent) = (false, false);
    if is_for_one {
        let (name, text) = dice.one_of(FOR_ONE);
        add(name, text);
        if name != "cache-control" && dice.percent(50) {
            add("cache-control", "public, max-age=60");
        }
    } else {
        let text = dice.one_of(FOR_ALL);
        add("cache-control", text);
        is_silent = text.is_empty();
        is_shared_in_writing = ["public", "s-maxage", "must-revalidate"]
            .iter()
            .any(|word| text.contains(word));
    }
    // RFC 9111 3.5 and 5.2.1.5: what credentials brought, and what the client wants nobody to keep.
    is_for_one |= asked.contains_key(header::AUTHORIZATION) && !is_shared_in_writing;
    is_for_one |= value(asked, "cache-control").contains("no-store");
    if dice.percent(8) {
        add("vary", "*");
        is_for_one = true;
    } else if dice.percent(20) {
        add("vary", "accept-language");
    }
    let mark = marker(&client);
    let mut sets_cookie = false;
    if dice.percent(10) && !is_shared_in_writing {
        add("set-cookie", &format!("session={mark}"));
        sets_cookie = true;
    }
    let condition = value(asked, "if-none-match");
    let mut status = match dice.below(20) {
        0 => 404,
        1 => 403,
        2 => 500,
        3 => 503,
        4 => 302,
        5 => 203,
        _ if condition.contains("v1") && dice.percent(70) => 304,
        _ => 200,
    };
    // An error to somebody who showed who he is says what it says to him.
    let shows_who = asked.contains_key(header::AUTHORIZATION) || asked.contains_key(header::COOKIE);
    is_for_one |= status >= 500 && shows_who && is_silent;
    // Of a 304 the cookie is for the one who asked; the rest renews what everybody gets.
    is_for_one |= sets_cookie && status != 304;
    add("etag", "\"v1\"");
    if dice.percent(60) {
        add("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    }
    if is_for_one {
        add("x-for", &mark);
    }
    if *request.method() == Method::POST && dice.percent(50) {
        add("content-location", &request.uri().to_string());
    }
    let words = if is_for_one {
        mark
    } else {
        "for everybody".to_owned()
    };
    let mut body = Bytes::from(format!("{words}, {words}, {words}."));
    if value(asked, "range") == "bytes=0-39" && status == 200 && dice.percent(80) {
        let last = body.len().min(40) - 1;
        add("content-range", &format!("bytes 0-{last}/{}", body.len()));
        body.truncate(40);
        status = 206;
    }
    if status == 304 || *request.method() == Method::HEAD {
        body.clear();
    }
    let is_failure = status >= 500;
    let body = if dice.percent(50) && !is_failure {
        let half = body.len() / 2;
        let pieces = [body.slice(..half), body.slice(half..)].into();
        Body::stream(Pieces {
            pieces,
            paused: false,
        })
    } else {
        Body::full(body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    *response.headers_mut() = fields;
    response.extensions_mut().insert(Attempts(1));
    Ok(response)
}

fn request(dice: &mut Dice, run: u64) -> (&'static str, Request) {
    let client = dice.one_of(&CLIENTS);
    let mut request = Request::new(Body::empty());
    let path = dice.one_of(&["a", "a", "b"]);
    *request.uri_mut() = format!("/{run}/{path}").parse().expect("a target");
    *request.method_mut() = dice.one_of(&[
        Method::GET,
        Method::GET,
        Method::GET,
        Method::GET,
        Method::HEAD,
        Method::POST,
    ]);
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static(HOST));
    headers.insert("x-client", HeaderValue::from_static(client));
    match client {
        "alice" if dice.percent(70) => {
            headers.insert(
                header::AUTHORIZATION,
                HeaderValue::from_static("Bearer alice"),
            );
        }
        "bob" if dice.percent(70) => {
            headers.insert(header::COOKIE, HeaderValue::from_static("session=bob"));
        }
        _ => {}
    }
    let mut maybe = |percent, name: HeaderName, values: &[&'static str]| {
        if dice.percent(percent) {
            headers.insert(name, HeaderValue::from_static(dice.one_of(values)));
        }
    };
    maybe(
        25,
        header::CACHE_CONTROL,
        &[
            "no-cache",
            "max-age=0",
            "no-store",
            "max-stale",
            "only-if-cached",
        ],
    );
    maybe(
        20,
        header::RANGE,
        &["bytes=0-39", "bytes=0-", "bytes=-5", "bytes=0-3,8-9"],
    );
    maybe(15, header::IF_NONE_MATCH, &["\"v1\"", "\"v0\"", "*"]);
    maybe(25, header::ACCEPT_LANGUAGE, &["en", "de"]);
    (client, request)
}

async fn hold(policy: &str) {
    let clock = Clock::manual(START);
    let dice = Arc::new(Mutex::new(Dice::new(0)));
    let origin = {
        let dice = Arc::clone(&dice);
        move |request: Request| {
            let dice = Arc::clone(&dice);
            let (answer, pauses, secs) = {
                let mut dice = dice.lock().expect("nobody panics with it");
                (answer(&mut dice, &request), dice.below(6), dice.below(3))
            };
            async move {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                if secs == 2 {
                    // An origin slower than `stale_after`; the clock is paused.
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                answer
            }
        }
    };
    let (cache, _purges, tasks) = cache_over(policy, &clock, origin);
    let given = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let runs = if env::var_os("LARDER_LONG").is_some() {
        20 * RUNS
    } else {
        RUNS
    };
    let seeds = given("LARDER_SEED").map_or(0..runs, |seed| seed..seed + 1);
    let mut shared = 0;
    for seed in seeds {
        let draw = |from: &Mutex<Dice>| from.lock().expect("nobody panics with it").next();
        *dice.lock().expect("nobody panics with it") = Dice::new(seed);
        for _ in 0..8 {
            let mut own = Dice::new(draw(&dice));
            let at_once = 1 + own.below(4);
            let asked: Vec<_> = (0..at_once).map(|_| request(&mut own, seed)).collect();
            let answering = asked.into_iter().map(|(client, request)| {
                let (mut cache, pauses) = (cache.clone(), own.below(8));
                async move {
                    for _ in 0..pauses {
                        tokio::task::yield_now().await;
                    }
                    let told = format!(
                        "{} {} {:?}",
                        request.method(),
                        request.uri(),
                        request.headers()
                    );
                    let answer = match cache.at_once(&request) {
                        Some(answer) => answer,
                        None => {
                            let Ok(answer) = cache.call(request).await;
                            answer
                        }
                    };
                    let (head, body) = answer.response.into_parts();
                    let body = body
                        .collect()
                        .await
                        .map(http_body_util::Collected::to_bytes);
                    (client, told, head, body.unwrap_or_default())
                }
            });
            for (client, told, head, body) in join_all(answering).await {
                let words = String::from_utf8_lossy(&body);
                assert_eq!(
                    others_in(client, &head.headers, &body),
                    None,
                    "seed {seed}: {client} asked {told} and got {} {:?} {words:?}",
                    head.status,
                    head.headers,
                );
                shared += u64::from(value(&head.headers, "cache-status").contains("; hit"));
            }
            clock.advance(Duration::from_secs(own.below(15) as u64));
        }
        while !tasks.is_empty() {
            // Lets the paused clock move on to what the tasks wait for.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(shared > 0, "nothing was shared at all");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_ever_given_what_was_marked_private_for_another() {
    hold("stale_while_revalidate = \"0s\"").await;
}

#[tokio::test(start_paused = true)]
async fn nor_where_stale_and_guessed_answers_stand_in() {
    hold("stale_while_revalidate = \"60s\"\nheuristic_percent = 50\nnegative_max = \"1m\"\nnegative = { \"4xx\" = \"5s\" }").await;
}
