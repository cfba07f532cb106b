//! The cache in a world without sockets: an origin that plays a script and remembers what it was asked.
//!
//! What a target is follows from its name: version `STATUS/PATH/LANGUAGE/NUMBER` has the content that [`content`] makes of
//! those words, so that from an answer's `X-Version` its bytes can be told. `X-Serial` numbers everything the origin sends.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use larder::{
    cache::{self, Cache, Mode, Purges, What},
    clock::{Clock, Timestamp},
    config::{self, FixedEnv},
    failure::{Cause, Failure, Sent, UpstreamAnswer},
    http::{
        Body, Request, Response,
        fetch::{Attempts, Timing},
    },
    observe::Alerts,
    store::Store,
};
use tokio_util::task::TaskTracker;
use tower::{Service, util::BoxCloneSyncService};

use crate::script::{Ask, Fields, Play, Purged, What as Does};

/// Where every clock starts.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub const HOST: &str = "shop.example";

/// One question that reached the origin, and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub serial: u64,
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub asked: HeaderMap,
    pub asked_at: u64,
    pub answered_at: u64,
    pub got: Result<Got, Cause>,
}

/// A response, of the origin or of the cache.
#[derive(Clone, Debug)]
pub struct Got {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Bytes,
}

#[derive(Default)]
struct Origin {
    plays: VecDeque<Play>,
    exchanges: Vec<Exchange>,
    numbers: HashMap<String, u64>,
    base: String,
    serial: u64,
}

/// One cache over one scripted origin.
pub struct World {
    pub clock: Clock,
    origin: Arc<Mutex<Origin>>,
    cache: Cache,
    tasks: TaskTracker,
    purges: Arc<Purges>,
    runs: u64,
}

/// A cache in memory over an origin that is a function. An answer whose status the upstream counts as a failure becomes
/// one. Call within a runtime.
pub fn cache_over<O, A>(policy: &str, clock: &Clock, origin: O) -> (Cache, Arc<Purges>, TaskTracker)
where
    O: Fn(Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    let text = format!(
        "[store]\ndisk = \"0\"\n[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n[policy.p]\n{policy}\n\
         [[route]]\npath = \"/{{*rest}}\"\nupstream = \"v\"\npolicy = \"p\"\n"
    );
    let config = config::parse(&text, Path::new("model.toml"), &FixedEnv::default())
        .expect("a sound config");
    let store =
        Store::open(&config.store, clock.clone(), Alerts::default()).expect("a store in memory");
    let (tasks, purges_max) = (TaskTracker::new(), config.store.purges_max);
    let purges = Arc::new(Purges::in_memory(purges_max, clock.clone()));
    let shared = {
        let (purges, clock, tasks) = (Arc::clone(&purges), clock.clone(), tasks.clone());
        cache::Shared::new(&config, store, purges, clock, tasks)
    };
    let route = Arc::clone(&config.routes[0]);
    let failures = route.upstream.failures.clone();
    let below = tower::service_fn(move |request| {
        let (answer, failures) = (origin(request), failures.clone());
        async move {
            let answer = answer.await?;
            if !failures.contains(answer.status()) {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            Err(Failure::from_answer(UpstreamAnswer {
                status: head.status,
                headers: head.headers,
                body: body.bytes().unwrap_or_default(),
                extensions: head.extensions,
            }))
        }
    });
    let cache = Cache::new(route, shared, BoxCloneSyncService::new(below));
    (cache, purges, tasks)
}

impl World {
    /// A route with this policy. Call within a runtime.
    pub fn new(policy: &str) -> Self {
        let clock = Clock::manual(START);
        let origin = Arc::new(Mutex::new(Origin::default()));
        let below = {
            let (origin, clock) = (Arc::clone(&origin), clock.clone());
            move |request: Request| {
                let mut origin = origin.lock().expect("nobody panics with it");
                let answer = origin.answer(&request, &clock);
                async move { answer }
            }
        };
        let (cache, purges, tasks) = cache_over(policy, &clock, below);
        Self {
            clock,
            origin,
            cache,
            tasks,
            purges,
            runs: 0,
        }
    }

    pub fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// A folder of its own, so that a run meets nothing of those before it.
    pub fn begin(&mut self) -> String {
        self.runs += 1;
        self.clock.set(START);
        let mut origin = self.origin.lock().expect("nobody panics with it");
        *origin = Origin {
            base: format!("/{}", self.runs),
            serial: origin.serial,
            ..Origin::default()
        };
        origin.base.clone()
    }

    /// Purges, and tells what.
    pub fn purge(&self, mode: Mode, purged: Purged) -> What {
        let within = |path| -> Box<str> {
            let origin = self.origin.lock().expect("nobody panics with it");
            format!("{}{path}", origin.base).into()
        };
        let what = match purged {
            Purged::All => What::All,
            Purged::Tag(tag) => What::Tag(tag.into()),
            Purged::Prefix(path) => What::Prefix {
                host: None,
                path: within(path),
            },
            Purged::Url(path) => What::Url {
                upstream: "v".into(),
                host: None,
                target: within(path),
            },
        };
        drop(self.purges.issue(vec![(what.clone(), mode)]));
        what
    }

    /// What a request of this step is, its words filled in.
    pub fn request(&self, ask: &Ask) -> Request {
        let mut origin = self.origin.lock().expect("nobody panics with it");
        let target = format!("{}{}", origin.base, ask.path);
        if ask.changed {
            *origin.numbers.entry(target.clone()).or_default() += 1;
        }
        origin.plays = ask.plays.iter().cloned().collect();
        let mut request = Request::new(Body::empty());
        *request.method_mut() = ask.method.parse().expect("a method");
        *request.uri_mut() = target.parse().expect("a target");
        let language = language(
            &ask.fields
                .iter()
                .map(|(n, v)| (*n, v.as_str()))
                .collect::<Vec<_>>(),
        );
        let words = origin.words(&target, &language, self.now());
        *request.headers_mut() = filled(&ask.fields, &words);
        let host = HeaderValue::from_static(HOST);
        request.headers_mut().insert(header::HOST, host);
        request
    }

    /// Asks as the front does, lets what goes on behind the answer end, and tells what the origin saw meanwhile.
    pub async fn ask(&mut self, request: Request) -> (Got, Vec<Exchange>, u64) {
        let answer = match self.cache.at_once(&request) {
            Some(answer) => answer,
            None => {
                let Ok(answer) = self.cache.call(request).await;
                answer
            }
        };
        let (head, body) = answer.response.into_parts();
        let body = body.collect().await.expect("a body that ends").to_bytes();
        let answered_at = self.now();
        self.settle().await;
        let mut origin = self.origin.lock().expect("nobody panics with it");
        let exchanges = std::mem::take(&mut origin.exchanges);
        let got = Got {
            status: head.status.as_u16(),
            fields: head.headers,
            body,
        };
        (got, exchanges, answered_at)
    }

    /// Lets all fetches end. Invalidations are told from fetches by the runtime's clock, so that moves on too.
    pub async fn settle(&self) {
        while !self.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
}

impl Origin {
    fn answer(&mut self, request: &Request, clock: &Clock) -> Result<Response, Failure> {
        let asked_at = clock.now();
        let play = self.plays.pop_front().unwrap_or(Play {
            what: Does::Whole(200),
            takes: 0,
            ranges: false,
            fields: Fields::new(),
        });
        clock.advance(Duration::from_secs(play.takes));
        let answered_at = clock.now();
        self.serial += 1;
        let got = self.got(&play, request, answered_at.as_millis());
        self.exchanges.push(Exchange {
            serial: self.serial,
            method: request.method().clone(),
            target: request.uri().to_string(),
            asked: request.headers().clone(),
            asked_at: asked_at.as_millis(),
            answered_at: answered_at.as_millis(),
            got: got.clone(),
        });
        let got = got.map_err(|cause| Failure::new(cause, Sent::MayHaveActed).with_attempts(1))?;
        let status = StatusCode::from_u16(got.status).expect("a status");
        let mut response = Response::new(Body::full(got.body));
        *response.status_mut() = status;
        *response.headers_mut() = got.fields;
        response.extensions_mut().insert(Attempts(1));
        response.extensions_mut().insert(Timing {
            request_time: asked_at,
            response_time: answered_at,
        });
        Ok(response)
    }

    fn got(&self, play: &Play, request: &Request, now: u64) -> Result<Got, Cause> {
        let target = request.uri().to_string();
        let asked = request.headers();
        let value = |name| {
            asked
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let language = language(&[("accept-language", value("accept-language").unwrap_or("-"))]);
        let words = self.words(&target, &language, now);
        let mut fields = filled(&play.fields, &words);
        let serial = HeaderValue::from(self.serial);
        fields.insert("x-serial", serial);
        let answers = |fields: &HeaderMap, name| {
            let known = fields
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok());
            known.map(ToOwned::to_owned)
        };
        let status = match play.what {
            Does::Fails(cause) => return Err(cause),
            Does::Unmodified => 304,
            Does::Whole(status) => status,
            Does::Evaluated => {
                let (etag, modified) =
                    (answers(&fields, "etag"), answers(&fields, "last-modified"));
                let holds = match (value("if-none-match"), value("if-modified-since")) {
                    (Some(wanted), _) => etag.is_some_and(|etag| wanted.contains(opaque(&etag))),
                    (None, Some(since)) => modified.is_some_and(|modified| modified == since),
                    (None, None) => false,
                };
                if holds { 304 } else { 200 }
            }
        };
        if status == 304 {
            let body = Bytes::new();
            return Ok(Got {
                status,
                fields,
                body,
            });
        }
        let number = self.numbers.get(&target).copied().unwrap_or_default();
        let version = format!("{status}{target}/{language}/{number}");
        let mut whole = content(&version);
        fields.insert(
            "x-version",
            HeaderValue::try_from(version).expect("a version"),
        );
        fields.insert("content-type", HeaderValue::from_static("text/plain"));
        let mut got = Got {
            status,
            fields,
            body: Bytes::new(),
        };
        let if_range = value("if-range").is_none_or(|wanted| {
            Some(wanted) == answers(&got.fields, "etag").as_deref() && wanted.starts_with('"')
        });
        if status == 200
            && *request.method() == Method::GET
            && play.ranges
            && if_range
            && let Some(range) = value("range").and_then(one_range)
        {
            let len = whole.len();
            match within(range, len) {
                Some((first, last)) => {
                    let text = format!("bytes {first}-{last}/{len}");
                    got.fields.insert(
                        "content-range",
                        HeaderValue::try_from(text).expect("digits"),
                    );
                    got.status = 206;
                    whole = whole.slice(first..=last);
                }
                None => {
                    let text = format!("bytes */{len}");
                    got.fields.insert(
                        "content-range",
                        HeaderValue::try_from(text).expect("digits"),
                    );
                    got.status = 416;
                    whole = Bytes::new();
                }
            }
        }
        if *request.method() != Method::HEAD {
            got.body = whole;
        }
        Ok(got)
    }

    /// Values for the words in braces.
    fn words(&self, target: &str, language: &str, now: u64) -> Words {
        let number = self.numbers.get(target).copied().unwrap_or_default();
        let name = target.strip_prefix(&*self.base).unwrap_or(target);
        Words {
            now,
            words: vec![
                ("{strong}", format!("\"{name}-{language}-{number}\"")),
                ("{weak}", format!("W/\"{name}-{language}-{number}\"")),
                (
                    "{old}",
                    format!("\"{name}-{language}-{}\"", number.wrapping_sub(1)),
                ),
                ("{lm}", date(START.as_millis() / 1000 - 100_000 + number)),
                ("{base}", self.base.clone()),
                ("{self}", target.to_owned()),
            ],
        }
    }
}

struct Words {
    now: u64,
    words: Vec<(&'static str, String)>,
}

fn filled(fields: &Fields, words: &Words) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let mut value = value.clone();
        for (word, meaning) in &words.words {
            value = value.replace(word, meaning);
        }
        if let Some((before, rest)) = value.split_once("{t")
            && let Some((offset, after)) = rest.split_once('}')
        {
            let secs = (words.now / 1000).saturating_add_signed(offset.parse().unwrap_or(0));
            value = format!("{before}{}{after}", date(secs));
        }
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::try_from(value).expect("a value"),
        );
    }
    headers
}

pub fn date(secs: u64) -> String {
    httpdate::fmt_http_date(Timestamp::from_secs(secs).into())
}

pub fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The language that a request gets: the first it names.
fn language(fields: &[(&str, &str)]) -> String {
    let named = fields.iter().find(|(name, _)| *name == "accept-language");
    let first = named.map_or("-", |(_, value)| value.split(',').next().unwrap_or("-"));
    if first.is_empty() {
        "-".into()
    } else {
        first.trim().into()
    }
}

/// The bytes of a version.
pub fn content(version: &str) -> Bytes {
    if version.starts_with("204") {
        return Bytes::new();
    }
    (0..6)
        .map(|nth| format!("{version}:{nth};"))
        .collect::<String>()
        .into()
}

/// First and last byte of the only range of a `Range` field, as far as they are said.
pub fn one_range(field: &str) -> Option<(Option<usize>, Option<usize>)> {
    let set = field.strip_prefix("bytes=")?;
    let (first, last) = set.split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let range = (number(first)?, number(last)?);
    match range {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        range => Some(range),
    }
}

/// Which bytes of so many that is, if any.
pub fn within(range: (Option<usize>, Option<usize>), len: usize) -> Option<(usize, usize)> {
    match range {
        (Some(first), last) if first < len => Some((first, last.unwrap_or(len - 1).min(len - 1))),
        (None, Some(count)) if count > 0 && len > 0 => Some((len.saturating_sub(count), len - 1)),
        _ => None,
    }
}
