//! Two clients, a vendor that says anything, and chance: whatever the order of requests and answers, nobody is given what
//! was made for the other.
//!
//! In this process, without sockets: the upstream is a function that marks an answer with the client it was made for
//! wherever it says something that keeps the answer from being shared. Rounds are seeded, so that a failure repeats.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use larder::{
    cache::{self, Answer, Cache, Purges},
    clock::{Clock, Timestamp},
    config::{self, FixedEnv},
    failure::{Failure, UpstreamAnswer},
    http::{Body, BodyError, Request, Response},
    observe::Alerts,
    store::Store,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio_util::task::TaskTracker;
use tower::{ServiceExt, util::BoxCloneSyncService};

const ROUNDS: u64 = 200;
const STEPS: usize = 40;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const FOR_ALL: &str = "all";

/// What a vendor says about sharing, lifetimes short enough to end within a round.
const CONTROLS: [&str; 10] = [
    "",
    "max-age=2",
    "public, max-age=2",
    "public",
    "s-maxage=2",
    "must-revalidate, max-age=1",
    "max-age=1, stale-while-revalidate=3",
    "private, max-age=2",
    "no-store",
    "no-cache",
];

// --- The vendor ---

struct Vendor {
    chance: Mutex<StdRng>,
    policy_names_lifetime: bool,
    asked_total: AtomicUsize,
}

impl Vendor {
    async fn answer(self: Arc<Self>, request: Request) -> Result<Response, Failure> {
        self.asked_total.fetch_add(1, Ordering::Relaxed);
        let (patience, result) = {
            let mut chance = self.chance.lock().expect("nothing panicked with it");
            (chance.random_range(0..4), self.made(&mut chance, &request))
        };
        // Others come in between.
        for _ in 0..patience {
            tokio::task::yield_now().await;
        }
        result
    }

    fn made(&self, chance: &mut StdRng, request: &Request) -> Result<Response, Failure> {
        let asked = request.headers();
        let conditional = asked.contains_key(header::IF_NONE_MATCH);
        let status = *[200, 200, 200, 404, 403, 503]
            .choose(chance)
            .expect("there is a choice");
        let status = if conditional && chance.random_bool(0.4) {
            304
        } else {
            status
        };
        let mut fields = HeaderMap::new();
        let mut add = |name, value: &str| {
            fields.append(name, HeaderValue::from_str(value).expect("a field value"))
        };
        let control = *CONTROLS.choose(chance).expect("there is a choice");
        if !control.is_empty() {
            add(header::CACHE_CONTROL, control);
        }
        if status != 503 {
            add(header::ETAG, "\"same\"");
        }
        if chance.random_bool(0.2) {
            add(header::VARY, "accept-language");
        }
        let varies_by_all = chance.random_bool(0.05);
        if varies_by_all {
            add(header::VARY, "*");
        }
        let sets_cookie = chance.random_bool(0.2);
        let for_one = varies_by_all || self.is_for_one(asked, control, status, sets_cookie);
        let owner = if for_one {
            text(asked, "x-client")
        } else {
            FOR_ALL
        };
        if sets_cookie {
            add(header::SET_COOKIE, &format!("made-for={owner}"));
        }
        let body = if status == 304 {
            Body::empty()
        } else {
            content(chance, owner)
        };
        let status = StatusCode::from_u16(status).expect("a status");
        if status.is_server_error() {
            return Err(Failure::from_answer(UpstreamAnswer {
                status,
                headers: fields,
                extensions: http::Extensions::new(),
                body: Bytes::from(owner.to_owned()),
            }));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        Ok(response)
    }

    /// Whether what was said and asked keeps the answer from being shared (RFC 9111 3, 3.5, and the departures in
    /// `cache/storable.rs`).
    fn is_for_one(&self, asked: &HeaderMap, control: &str, status: u16, sets_cookie: bool) -> bool {
        let says = |word| control.contains(word);
        let public = says("public") || says("s-maxage");
        let names_lifetime =
            says("max-age") || says("maxage") || says("no-cache") || self.policy_names_lifetime;
        let has_session = asked.contains_key(header::COOKIE);
        says("private")
            || says("no-store")
            || text(asked, "cache-control").contains("no-store")
            || sets_cookie && (!public || status == 503 || status == 304)
            || asked.contains_key(header::AUTHORIZATION) && !public && !says("must-revalidate")
            || has_session && (!names_lifetime || status == 503)
    }
}

/// Says for whom it was made, at once or in pieces.
fn content(chance: &mut StdRng, owner: &str) -> Body {
    if chance.random_bool(0.7) {
        return Body::full(owner.to_owned());
    }
    let pieces: Vec<_> = owner.bytes().map(|byte| Bytes::from(vec![byte])).collect();
    let frames = futures_util::stream::unfold(pieces.into_iter(), |mut left| async {
        tokio::task::yield_now().await;
        Some((Ok::<_, BodyError>(Frame::data(left.next()?)), left))
    });
    Body::stream(StreamBody::new(Box::pin(frames)))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

// --- The clients ---

/// What a client asks, with or without something that says who it is.
fn request(chance: &mut StdRng, client: &str) -> Request {
    let mut request = http::Request::builder()
        .uri(*["/a", "/b"].choose(chance).expect("there is a choice"))
        .header("host", "shop.example")
        .header("x-client", client);
    request = match chance.random_range(0..4) {
        0 => request.header("authorization", format!("Bearer {client}")),
        1 => request.header("cookie", format!("session={client}")),
        _ => request,
    };
    if chance.random_bool(0.5) {
        request = request.header(
            "accept-language",
            *["de", "en"].choose(chance).expect("there is a choice"),
        );
    }
    match chance.random_range(0..8) {
        0 => request = request.header("cache-control", "no-cache"),
        1 => request = request.header("cache-control", "no-store"),
        _ => {}
    }
    request.body(Body::empty()).unwrap()
}

/// Asks, and looks for whom the answer was made.
async fn ask(cache: Cache, request: Request, client: &str) -> Result<(), String> {
    let asked = format!("{request:?}");
    let answer = cache.at_once(&request);
    let Answer { response, .. } = match answer {
        Some(answer) => answer,
        None => cache
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {}),
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    let cookie = text(&head.headers, "set-cookie").trim_start_matches("made-for=");
    let is_ours = |owner: &str| [client, FOR_ALL, ""].contains(&owner);
    // A problem document was made for nobody.
    let is_problem = text(&head.headers, "content-type").contains("problem");
    if is_ours(cookie) && (is_problem || is_ours(&body)) {
        return Ok(());
    }
    Err(format!(
        "{client} asked {asked} and got {body:?} with {head:?}"
    ))
}

fn cache(policy: &str, clock: &Clock, vendor: &Arc<Vendor>) -> Cache {
    let toml = format!(
        "[store]\ndisk = \"0\"\n[log]\ntransactions = \"off\"\n\
         [upstream.vendor]\nendpoints = [\"http://127.0.0.1:9100\"]\n\
         [policy.default]\nspread_percent = 0\nstale_while_revalidate = \"1s\"\n{policy}\n\
         [[route]]\npath = \"/{{*rest}}\"\nupstream = \"vendor\"\n"
    );
    let config = config::parse(&toml, Path::new("test.toml"), &FixedEnv::default())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let store = Store::open(&config.store, clock.clone(), Alerts::default()).unwrap();
    let purges = Arc::new(Purges::in_memory(config.store.purges_max, clock.clone()));
    let shared = cache::Shared::new(&config, store, purges, clock.clone(), TaskTracker::new());
    let vendor = Arc::clone(vendor);
    let below = tower::service_fn(move |request| Arc::clone(&vendor).answer(request));
    let route = Arc::clone(&config.routes[0]);
    Cache::new(route, shared, BoxCloneSyncService::new(below))
}

#[tokio::test(start_paused = true)]
async fn nobody_is_ever_given_what_was_made_for_the_other() {
    let (mut requests_total, mut asked_total) = (0, 0);
    for round in 0..ROUNDS {
        let mut chance = StdRng::seed_from_u64(round);
        let policy_names_lifetime = round % 2 == 1;
        let vendor = Arc::new(Vendor {
            chance: Mutex::new(StdRng::seed_from_u64(!round)),
            policy_names_lifetime,
            asked_total: AtomicUsize::new(0),
        });
        let clock = Clock::manual(NOW);
        let lifetime = if policy_names_lifetime {
            "fresh = \"2s\""
        } else {
            ""
        };
        let cache = cache(lifetime, &clock, &vendor);
        for step in 0..STEPS {
            let crowd: Vec<_> = (0..chance.random_range(1..=4))
                .map(|_| {
                    let client = *["ann", "bob"].choose(&mut chance).unwrap();
                    ask(cache.clone(), request(&mut chance, client), client)
                })
                .collect();
            requests_total += crowd.len();
            for outcome in join_all(crowd).await {
                outcome.unwrap_or_else(|found| panic!("round {round}, step {step}: {found}"));
            }
            clock.advance(Duration::from_millis(chance.random_range(0..1500)));
        }
        asked_total += vendor.asked_total.load(Ordering::Relaxed);
    }
    assert!(
        asked_total < requests_total * 4 / 5,
        "hardly anything was shared: {asked_total} of {requests_total}"
    );
}
