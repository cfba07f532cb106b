//! Front: what stands above the caches. Brings a request into one form, finds its route, and finishes the answer.
//!
//! `listener -> [sanitize -> route -> finish] -> cache`
//!
//! Everything below answers; nothing here can fail. A hit is answered without a box or a task switch.
//!
//! # Invariants
//!
//! - Every answer carries `X-Request-Id`, is counted, and can be logged.
//! - Secrets are not seen here: credentials are added below the cache.

mod explain;

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service;

use crate::{
    admission::ClientRate,
    cache::{Answer, Cache, Note},
    clock::Clock,
    config::{Network, RouteConfig, ServerConfig},
    failure::Cause,
    http::{
        Body, BodyError, Problem, Request, Response,
        forwarded::{self, Forwarded},
        interim::{Exchange, Interims},
        max_forwards::{self, is_last_hop},
        upgrade::{self, Switched, Upgrade},
        uri::{AsWritten, normalize_path},
    },
    listener::{Peer, Sanitized, Sanitizer},
    observe::{Outcome, RouteMetrics, Transaction, TransactionLogger},
    route::{Match, RouteTable},
    tunnel::{Ends, Tunnels},
};

pub use self::explain::{Question, explain_by_config};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What hangs on a route.
pub struct Mounted {
    /// Its configuration.
    pub route: Arc<RouteConfig>,
    /// Its cache, with everything below.
    pub cache: Cache,
    /// Its counters.
    pub metrics: RouteMetrics,
}

/// The whole proxy as seen from the listener. Clones share everything; a reload swaps the table.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

struct Shared {
    sanitizer: Sanitizer,
    table: ArcSwap<RouteTable<Arc<Mounted>>>,
    /// Counts what never reached a route.
    unrouted: RouteMetrics,
    transactions: TransactionLogger,
    clock: Clock,
    tunnels: Tunnels,
    trusted_proxies: Vec<Network>,
    client_rate: Option<ClientRate>,
    request_body_bytes_max: u64,
}

impl Front {
    /// A front over this table of routes.
    pub fn new(
        server: &ServerConfig,
        table: RouteTable<Arc<Mounted>>,
        unrouted: RouteMetrics,
        transactions: TransactionLogger,
        clock: Clock,
        tunnels: Tunnels,
    ) -> Self {
        Self(Arc::new(Shared {
            sanitizer: Sanitizer::new(server),
            table: ArcSwap::from_pointee(table),
            unrouted,
            transactions,
            clock,
            tunnels,
            trusted_proxies: server.trusted_proxies.clone(),
            client_rate: server
                .client_rate
                .map(|limit| ClientRate::new(limit, server.clients_max)),
            request_body_bytes_max: server.request_body_bytes_max,
        }))
    }

    /// Puts this table in the place of the one there is. Requests under way end on the old one.
    pub fn mount(&self, table: RouteTable<Arc<Mounted>>) {
        self.0.table.store(Arc::new(table));
    }

    /// Requests refused so far because their client had sent too many.
    pub fn client_limited(&self) -> u64 {
        self.0.client_rate.as_ref().map_or(0, ClientRate::limited)
    }

    /// The service of one connection.
    pub fn for_peer(&self, peer: Peer) -> Connection {
        Connection {
            front: self.clone(),
            client: peer.address.ip(),
            interims: peer.interims,
        }
    }

    /// Answers one request. The body may come from anywhere, so that it can be measured alone.
    pub fn answer(&self, client: IpAddr, request: Request) -> Answering {
        self.answer_to(client, None, request)
    }

    /// The same, with a way for interim responses to the client.
    fn answer_to(
        &self,
        client: IpAddr,
        interims: Option<&Interims>,
        request: Request,
    ) -> Answering {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let told = forwarded::told(&self.0.trusted_proxies, client, &parts.headers);
        let arrival = |request_id| Arrival {
            started,
            client,
            request_id,
        };
        let sanitized = match self.0.sanitizer.sanitize(&mut parts) {
            Ok(sanitized) => sanitized,
            Err(refusal) => {
                let response = refusal.response(&parts.method, &parts.headers);
                return self.refuse(&arrival(refusal.request_id), &parts, response);
            }
        };
        if let Some(rate) = &self.0.client_rate
            && let Some(client) = forwarded::client(&self.0.trusted_proxies, client, told.as_ref())
            && let Err(wait) = rate.admit(client)
        {
            let response = limited_to(rate, wait, &sanitized, &parts);
            return self.refuse(&arrival(sanitized.request_id), &parts, response);
        }
        normalize(&mut parts);
        let table = self.0.table.load();
        let mounted = match mounted(&table, &sanitized, &parts) {
            Ok(mounted) => mounted,
            Err(response) => return self.refuse(&arrival(sanitized.request_id), &parts, response),
        };
        if body.size_hint().lower() > self.0.request_body_bytes_max {
            let response = too_large(&sanitized, &parts);
            return self.refuse(&arrival(sanitized.request_id), &parts, response);
        }
        let host = sanitized.host().clone();
        let arrival = arrival(sanitized.request_id);
        if is_last_hop(&parts.method, &mut parts.headers) {
            let response = max_forwards::answer(mounted.route.methods.as_deref());
            return self.answer_here(&arrival, Some(mounted), &parts, Outcome::Refused, response);
        }
        mounted.route.request_headers.apply(&mut parts.headers);
        let mut request = Request::from_parts(parts, limited(body, self.0.request_body_bytes_max));
        let tell = |request: &mut Request| {
            let forwarded = Forwarded::new(mounted.route.forwarded, client, &host, told);
            if let Some(forwarded) = forwarded {
                request.extensions_mut().insert(forwarded);
            }
        };
        if let Some(offered) = &sanitized.upgrade
            && let Some(upgrade) = upgrade::allowed(offered, &mounted.route.upgrade)
            && request.body().is_end_stream()
        {
            tell(&mut request);
            let exchange = begun(interims, &mut request);
            return self.upgrade(arrival, Arc::clone(mounted), request, upgrade, exchange);
        }
        if let Some(answer) = mounted.cache.at_once(&request) {
            let line = Line {
                method: request.method(),
                target: request.uri(),
                version: request.version(),
            };
            return Answering::AtOnce(Some(self.finish(&arrival, line, Some(mounted), answer)));
        }
        tell(&mut request);
        request
            .headers_mut()
            .insert(X_REQUEST_ID, arrival.request_id.clone());
        let mounted = Arc::clone(mounted);
        let exchange = begun(interims, &mut request);
        let answer = self.clone().wait(arrival, mounted, request);
        Answering::Waiting(Box::pin(with_interims(exchange, answer)))
    }

    /// Asks for a switch of protocols. Whatever comes instead is an answer like any other (RFC 9110 7.8).
    fn upgrade(
        &self,
        arrival: Arrival,
        mounted: Arc<Mounted>,
        mut request: Request,
        upgrade: Upgrade,
        exchange: Option<Exchange>,
    ) -> Answering {
        let client = hyper::upgrade::on(&mut request);
        let Some(place) = self.0.tunnels.place() else {
            let (parts, _no_content) = request.into_parts();
            return self.no_place(&arrival, &mounted, &parts);
        };
        let headers = request.headers_mut();
        headers.insert(X_REQUEST_ID, arrival.request_id.clone());
        request.extensions_mut().insert(upgrade);
        let front = self.clone();
        Answering::Waiting(Box::pin(async move {
            let (idle_timeout, route) = (
                mounted.route.upgrade_idle_timeout,
                Arc::clone(&mounted.route.name),
            );
            let request_id = arrival.request_id.to_str().unwrap_or_default().to_owned();
            let answer = front.clone().wait(arrival, mounted, request);
            let mut response = with_interims(exchange, answer).await;
            if let Some(Switched(upstream)) = response.extensions_mut().remove() {
                let ends = Ends {
                    client,
                    upstream,
                    idle_timeout,
                    route,
                    request_id,
                };
                front.0.tunnels.open(ends, place);
            }
            response
        }))
    }

    fn no_place(&self, arrival: &Arrival, mounted: &Mounted, parts: &Parts) -> Answering {
        let response = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .detail("too many upgraded connections are open at the moment")
            .request_id(arrival.request_id.clone())
            .response(&parts.method, &parts.headers);
        self.answer_here(arrival, Some(mounted), parts, Outcome::Error, response)
    }

    /// The answer of disk or upstream. A defect on the way costs one request, not the connection.
    async fn wait(self, arrival: Arrival, mounted: Arc<Mounted>, request: Request) -> Response {
        let (method, target, version) = (
            request.method().clone(),
            request.uri().clone(),
            request.version(),
        );
        let mut cache = mounted.cache.clone();
        let answer = AssertUnwindSafe(cache.call(request)).catch_unwind().await;
        let answer = answer.map_or_else(
            |panic| defect(&arrival.request_id, panic.as_ref()),
            |Ok(answer)| answer,
        );
        let line = Line {
            method: &method,
            target: &target,
            version,
        };
        self.finish(&arrival, line, Some(&mounted), answer)
    }

    fn refuse(&self, arrival: &Arrival, parts: &Parts, response: Response) -> Answering {
        self.answer_here(arrival, None, parts, Outcome::Refused, response)
    }

    /// An answer that is made here, past every cache.
    fn answer_here(
        &self,
        arrival: &Arrival,
        mounted: Option<&Mounted>,
        parts: &Parts,
        outcome: Outcome,
        mut response: Response,
    ) -> Answering {
        // No cache was asked; that too is said (RFC 9211 2).
        let status = HeaderValue::from_static("larder; detail=refused");
        response.headers_mut().append(CACHE_STATUS, status);
        let answer = Answer {
            response,
            note: Note::new(outcome),
        };
        let line = Line {
            method: &parts.method,
            target: &parts.uri,
            version: parts.version,
        };
        Answering::AtOnce(Some(self.finish(arrival, line, mounted, answer)))
    }

    /// The route's own fields, the request's name, the counters and the log line.
    fn finish(
        &self,
        arrival: &Arrival,
        line: Line<'_>,
        mounted: Option<&Mounted>,
        answer: Answer,
    ) -> Response {
        let Answer { mut response, note } = answer;
        if let Some(mounted) = mounted {
            mounted.route.response_headers.apply(response.headers_mut());
        }
        response
            .headers_mut()
            .insert(X_REQUEST_ID, arrival.request_id.clone());
        let took = arrival.started.elapsed();
        let status = response.status();
        let metrics = mounted.map_or(&self.0.unrouted, |mounted| &mounted.metrics);
        metrics.record(note.outcome, status, took);
        if self.0.transactions.wants(status, note.cause.is_some()) {
            let time = self.0.clock.now().before(took);
            let route = mounted.map(|mounted| &*mounted.route);
            self.0.transactions.emit(&Transaction {
                time,
                request_id: arrival.request_id.to_str().unwrap_or_default(),
                route: route.map_or("-", |route| &route.name),
                method: line.method,
                target: line
                    .target
                    .path_and_query()
                    .map_or("*", PathAndQuery::as_str),
                client: Some(arrival.client),
                version: line.version,
                status,
                outcome: note.outcome,
                upstream: route.map(|route| &*route.upstream.name),
                cause: note.cause,
                attempts: note.attempts,
                sent: note.sent,
                age: note.age,
                bytes: response.body().exact_len(),
                took,
            });
        }
        response
    }
}

/// The time of a request in which interim responses can reach its client. RFC 9110 15.2: HTTP/1.0 knows no 1xx.
fn begun(interims: Option<&Interims>, request: &mut Request) -> Option<Exchange> {
    let exchange = interims
        .filter(|_| request.version() == Version::HTTP_11)?
        .begin();
    request.extensions_mut().insert(exchange.interim());
    Some(exchange)
}

async fn with_interims<T>(exchange: Option<Exchange>, answer: impl Future<Output = T>) -> T {
    match exchange {
        Some(exchange) => exchange.until(answer).await,
        None => answer.await,
    }
}

/// When and from where a request came, and the name it goes by.
struct Arrival {
    started: Instant,
    client: IpAddr,
    request_id: HeaderValue,
}

/// What a request's line said.
#[derive(Clone, Copy)]
struct Line<'a> {
    method: &'a Method,
    target: &'a Uri,
    version: Version,
}

fn mounted<'t>(
    table: &'t RouteTable<Arc<Mounted>>,
    sanitized: &Sanitized,
    parts: &Parts,
) -> Result<&'t Arc<Mounted>, Response> {
    let host = Some(sanitized.host_name()).filter(|host| !host.is_empty());
    let (status, detail, allow) = match table.find(host, parts.uri.path(), &parts.method) {
        Match::Found { route, .. } => return Ok(route),
        Match::MethodNotAllowed { allow } => (
            StatusCode::METHOD_NOT_ALLOWED,
            "no route takes this method here",
            Some(allow),
        ),
        Match::NotFound => (StatusCode::NOT_FOUND, "no route leads here", None),
    };
    let mut response = Problem::new(status)
        .detail(detail)
        .request_id(sanitized.request_id.clone())
        .response(&parts.method, &parts.headers);
    if let Some(allow) = allow {
        let allow = max_forwards::allow(Some(&allow));
        response.headers_mut().insert(header::ALLOW, allow);
    }
    Err(response)
}

fn too_large(sanitized: &Sanitized, parts: &Parts) -> Response {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
        .detail("the request's content is larger than this proxy accepts")
        .request_id(sanitized.request_id.clone())
        .response(&parts.method, &parts.headers)
}

/// The answer to a client that has sent too many (RFC 6585 4), with the fields of draft-ietf-httpapi-ratelimit-headers.
fn limited_to(rate: &ClientRate, wait: Duration, sanitized: &Sanitized, parts: &Parts) -> Response {
    let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS)
        .detail("more requests came from this address than this proxy accepts")
        .request_id(sanitized.request_id.clone())
        .retry_after(Some(wait))
        .response(&parts.method, &parts.headers);
    let (limit, whole) = (rate.limit(), |time: Duration| {
        time.as_nanos().div_ceil(1_000_000_000)
    });
    let policy = format!(
        "\"client\";q={};w={}",
        limit.rate.count,
        whole(limit.rate.per)
    );
    let left = format!("\"client\";r=0;t={}", whole(wait));
    for (name, text) in [(RATELIMIT_POLICY, policy), (RATELIMIT, left)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer where larder itself has a defect.
fn defect(request_id: &HeaderValue, panic: &(dyn Any + Send)) -> Answer {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(
        request_id = ?request_id,
        panic = words.unwrap_or_default(),
        "a request ended in a defect of larder; the client got a 500"
    );
    let response = Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        .detail("something went wrong here")
        .request_id(request_id.clone())
        .response(&Method::GET, &HeaderMap::new());
    Answer {
        response,
        note: Note {
            cause: Some(Cause::Internal),
            ..Note::new(Outcome::Error)
        },
    }
}

/// Decodes what RFC 3986 says is equal, so that no second spelling of a path finds another route or key.
fn normalize(parts: &mut Parts) {
    let path = match normalize_path(parts.uri.path()) {
        std::borrow::Cow::Borrowed(_) => return,
        std::borrow::Cow::Owned(path) => path,
    };
    let written = AsWritten::new(parts.uri.path());
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(uri) = target.parse() {
        parts.uri = uri;
        if let Some(written) = written {
            parts.extensions.insert(written);
        }
    }
}

/// A body of unknown length is cut off at the limit; one of known length was judged before.
fn limited(body: Body, bytes_max: u64) -> Body {
    if body.exact_len().is_some() {
        return body;
    }
    Body::stream(http_body_util::BodyExt::map_err(
        http_body_util::Limited::new(body, usize::try_from(bytes_max).unwrap_or(usize::MAX)),
        move |error| match error.downcast::<BodyError>() {
            Ok(error) => *error,
            Err(_) => BodyError::TooLarge {
                limit_bytes: bytes_max,
            },
        },
    ))
}

/// The front for one client connection.
#[derive(Clone)]
pub struct Connection {
    front: Front,
    client: IpAddr,
    interims: Interims,
}

impl hyper::service::Service<http::Request<Incoming>> for Connection {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        let answer = AssertUnwindSafe(|| {
            let request = request.map(Body::received);
            self.front
                .answer_to(self.client, Some(&self.interims), request)
        });
        // Costs nothing where nothing panics; where something does, the connection's other requests go on.
        catch_unwind(answer).unwrap_or_else(|panic| {
            let request_id = HeaderValue::from_static("");
            Answering::AtOnce(Some(defect(&request_id, panic.as_ref()).response))
        })
    }
}

/// The answer, here already or to come.
pub enum Answering {
    /// From memory, or refused.
    AtOnce(Option<Response>),
    /// From disk or upstream.
    Waiting(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::AtOnce(response) => Poll::Ready(Ok(response
                .take()
                .expect("polled again after it was ready"))),
            Self::Waiting(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}
