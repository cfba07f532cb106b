//! The cache: answers from the store where HTTP and the route's policy allow, and makes an answer of everything else.
//!
//! `route -> admission -> [cache -> store] -> coalesce -> deadline -> retry -> breaker -> contract -> ...`
//!
//! Above it every service answers; below it every service may fail. This is the one place where a `Failure` becomes an
//! answer (`answer.rs`). The rules are pure and each in a file of its own (`control`, `freshness`, `plan`, `storable`,
//! `validate`, `vary`, `key`, `status`); what is left here and in `fetch.rs` is the order in which they are asked.
//!
//! # Invariants
//!
//! - A hit in memory waits for nothing and boxes nothing.
//! - One key, one fetch; the fetch belongs to no client (`coalesce.rs`, `fetch.rs`).
//! - With a usable copy, nobody waits longer than `stale_after`, from the start of the fetch and from their own arrival.
//! - A failed fetch never replaces, shortens or removes what is stored.

mod answer;
mod arrival;
mod aside;
mod ask;
mod canonical;
mod coalesce;
mod commit;
mod content;
mod control;
mod cookies;
mod doubt;
mod drill;
mod entry;
mod explain;
mod fetch;
mod fetched;
mod freshness;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod graphql;
mod invalidate;
mod judgement;
mod key;
mod label;
mod lookout;
mod lookup;
mod marks;
mod no_vary_search;
mod pass;
mod plan;
mod post;
mod purge;
mod query;
mod range;
mod read_along;
mod selecting;
mod sibling;
mod status;
mod storable;
mod validate;
mod vary;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use http::{HeaderMap, Method, header, request::Parts};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;
use tower::{Service, util::BoxCloneSyncService};

pub use self::{
    answer::{Answer, Note},
    entry::{Entry, StoredResponse},
    explain::{
        Asked, CheckShown, Departure, DepartureKind, Explained, Explanation, FailingShown,
        FoundShown, KeyShown, NowShown, Pair, Reason, Refused, RouteShown, Setting, StoredShown,
        asked, departures, departures_markdown, departures_of_route, route_shown, short, unasked,
    },
    freshness::{Facts, State, Verdict},
    key::primary_key,
    label::urls_of,
    purge::{
        Issued, LABEL_BYTES_MAX, Labels, Mode, Number, Purge, PurgeStats, Purges, Undurable, What,
        host_label,
    },
    storable::NotStored,
};
use self::{
    coalesce::{Flights, Joined},
    commit::VariantLocks,
    content::{Asking, written_as},
    control::RequestDirectives,
    fetched::{Fetched, Next, Reply, Waited},
    lookout::Lookout,
    lookup::{Found, Reading},
    marks::Marks,
    no_vary_search::Equivalents,
    pass::{only_reads, priority},
    plan::{Plan, Prospects, plan},
    status::{CacheStatus, Forward},
    storable::has_unkeyed_authorization,
};
use crate::{
    admission::{Admission, Permit, RouteAdmission},
    clock::Clock,
    config::{Config, RouteConfig},
    failure::{Cause, Failure, Sent},
    http::{Body, Request, Response, bodies::Bodies, fetch::Outlook, upgrade::Upgrade},
    observe::{Outcome, RouteMetrics},
    store::{Key, Store},
};

/// The whole stack below the cache.
pub type FetchService = BoxCloneSyncService<Request, Response, Failure>;

/// How often one request may find that what it waited for was for others. After that it fetches alone.
const JOINS_MAX: usize = 3;

/// `Cache-Status` says so where a purge is why a request is forwarded or answered stale.
const PURGED: &str = "purged";

/// How long the disk may take where the alternative is an error.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What the caches of all routes share.
pub struct Shared {
    store: Store<Entry>,
    flights: Arc<Flights<Fetched>>,
    admission: Admission,
    bodies: Bodies,
    marks: Marks,
    purges: Arc<Purges>,
    equivalents: Equivalents,
    variant_locks: VariantLocks,
    routes: ArcSwap<Vec<Arc<RouteConfig>>>,
    clock: Clock,
    tasks: TaskTracker,
    body_bytes_max: u64,
    variants_max: usize,
    read_timeout: Duration,
    tags_max: usize,
    tag_body_bytes_max: u64,
}

impl Shared {
    /// `tasks` owns every fetch; whoever shuts down waits for it.
    pub fn new(
        config: &Config,
        store: Store<Entry>,
        purges: Arc<Purges>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            flights: Flights::new(),
            admission: Admission::new(config),
            bodies: Bodies::new(config.server.bodies_bytes_max),
            marks: Marks::new(config.store.marks_max),
            purges,
            equivalents: Equivalents::new(config.store.marks_max),
            variant_locks: VariantLocks::default(),
            routes: ArcSwap::from_pointee(config.routes.clone()),
            clock,
            tasks,
            body_bytes_max: config.store.body_bytes_max,
            variants_max: config.store.variants_max,
            read_timeout: config.store.read_timeout,
            tags_max: config.store.tags_max,
            tag_body_bytes_max: config.store.tag_body_bytes_max,
        })
    }

    /// Fetches under way.
    pub fn fetches(&self) -> usize {
        self.admission.fetches()
    }

    /// The places that requests and fetches take.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// What is held of bodies.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// The purges that are in force.
    pub fn purges(&self) -> &Purges {
        &self.purges
    }

    /// From now on these are all the routes there are.
    pub fn follow(&self, config: &Config) {
        self.routes.store(Arc::new(config.routes.clone()));
    }

    fn routes_to(&self, upstream: &str) -> Vec<Arc<RouteConfig>> {
        let routes = self.routes.load();
        let theirs = routes
            .iter()
            .filter(|route| *route.upstream.name == *upstream);
        theirs.cloned().collect()
    }
}

/// One route's cache, a service that always answers.
#[derive(Clone)]
pub struct Cache(Arc<RouteCache>);

struct RouteCache {
    route: Arc<RouteConfig>,
    admission: RouteAdmission,
    shared: Arc<Shared>,
    below: FetchService,
    lookout: Lookout,
    metrics: RouteMetrics,
}

impl Cache {
    /// A cache for this route over everything `below`, of which nothing is known beforehand; nobody counts its failures.
    pub fn new(route: Arc<RouteConfig>, shared: Arc<Shared>, below: FetchService) -> Self {
        let (outlook, metrics) = (Outlook::default(), RouteMetrics::detached());
        Self::counted(route, shared, below, outlook, metrics)
    }

    /// The same where `below` fares as `outlook` says, and `metrics` count what fetches end with.
    pub fn counted(
        route: Arc<RouteConfig>,
        shared: Arc<Shared>,
        below: FetchService,
        outlook: Outlook,
        metrics: RouteMetrics,
    ) -> Self {
        let admission = shared.admission.route(&route.name);
        Self(Arc::new(RouteCache {
            admission,
            route,
            shared,
            below,
            lookout: Lookout::new(outlook),
            metrics,
        }))
    }

    /// The answer, if memory has it: waits for nothing, boxes nothing. `None`: call the service.
    pub fn at_once(&self, request: &Request) -> Option<Answer> {
        self.0.at_once(request)
    }

    /// What would happen to this request, were it sent without content, and why. Asks nobody, changes nothing.
    pub async fn explain(&self, request: Parts) -> Explanation {
        self.0.explain(request).await
    }
}

impl Service<Request> for Cache {
    type Response = Answer;
    type Error = Infallible;
    type Future = AnswerFuture;

    /// Always ready: what is busy below is known only when it is asked, and becomes an answer then.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> AnswerFuture {
        Box::pin(Arc::clone(&self.0).answer(request).map(Ok))
    }
}

/// The answer, once disk or upstream have it. Boxed: what gets here is no hit in memory.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// Why a request is fetched for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    /// The client says `no-store`.
    NoStore,
    /// It asks for a part.
    Range,
    /// It has credentials that the key does not hold.
    Authorization,
    /// The latest answer could not be shared.
    Unshared,
}

impl RouteCache {
    /// The hot path: what memory can answer without waiting. Anything unusual is left to [`RouteCache::answer`].
    fn at_once(self: &Arc<Self>, request: &Request) -> Option<Answer> {
        let (method, headers) = (request.method(), request.headers());
        if !http_body::Body::is_end_stream(request.body()) {
            return None;
        }
        let is_plain = *method == Method::GET && validate::is_plain(headers);
        if !is_plain && validate::is_for_origin_only(method, headers) {
            return None;
        }
        let primary = primary_key(&self.route, request.uri(), headers);
        let found = self.lookup_cached(&primary, method, headers)?;
        let wishes = if is_plain {
            RequestDirectives::default()
        } else {
            self.wishes(headers)
        };
        let plan = self.plan(Some(&found), &wishes);
        let Plan::Serve { refresh } = plan else {
            return None;
        };
        if refresh {
            if let Some(answer) = self.drill(method, headers, &found, &wishes, plan) {
                return Some(answer);
            }
            self.refresh_behind(request.uri(), headers, None, &found, primary);
        }
        Some(self.serve(method, headers, &found))
    }

    async fn answer(self: Arc<Self>, request: Request) -> Answer {
        let is_head = request.method() == Method::HEAD;
        let mut answer = self.answer_with_content(request).await;
        if is_head {
            without_content(&mut answer.response);
        }
        answer
    }

    async fn answer_with_content(self: &Arc<Self>, request: Request) -> Answer {
        let (mut parts, body) = request.into_parts();
        if parts.extensions.get::<Upgrade>().is_some() {
            return self.pass(parts, body, Forward::Bypass).await;
        }
        let target = primary_key(&self.route, &parts.uri, &parts.headers);
        let primary = match self.asking(&mut parts, body, &target).await {
            Asking::Plain => target,
            Asking::ByContent(key) => key,
            Asking::Elsewhere(body) => {
                let why = if only_reads(&parts) {
                    Forward::Bypass
                } else {
                    Forward::Method
                };
                return self.pass(parts, body, why).await;
            }
            Asking::Broken(failure) => {
                let status = CacheStatus::forwarded(Forward::Method);
                return answer::from_failure(&self.route, &parts, None, None, &failure, status);
            }
        };
        let wishes = self.wishes(&parts.headers);
        let (mut known_key, mut alone, mut place) = (None, false, None);
        let arrived = Instant::now();
        let mut earlier: Option<Found> = None;
        if primary == target
            && let Some(found) = self
                .equivalent(&parts, &target, Reading::Within(self.shared.read_timeout))
                .await
        {
            if self.plan(Some(&found), &wishes) == (Plan::Serve { refresh: false }) {
                return self.serve(&parts.method, &parts.headers, &found);
            }
            // It cannot be renewed by what is stored for another query, but it is better than nothing.
            earlier = Some(found).filter(Found::is_last_known_good);
        }
        for nth in 0..=JOINS_MAX {
            let found = self.lookup(&primary, &parts.method, &parts.headers).await;
            let mut found = self.unless_written(found, &parts);
            let plan = self.plan(found.copy.is_some().then_some(&found), &wishes);
            // Once for each request: it drew, and that is it.
            if nth == 0
                && let Some(answer) =
                    self.drill(&parts.method, &parts.headers, &found, &wishes, plan)
            {
                return answer;
            }
            match plan {
                Plan::Unsatisfiable => return answer::unsatisfiable(&self.route, &parts),
                Plan::Serve { refresh } => {
                    if refresh {
                        let content = parts.extensions.get();
                        self.refresh_behind(&parts.uri, &parts.headers, content, &found, primary);
                    }
                    return self.serve(&parts.method, &parts.headers, &found);
                }
                Plan::Ask => {}
            }
            let mut forward = found.forward(&wishes);
            if found.copy.is_none() {
                // The answer to a HEAD is a head, which is nothing to share.
                if parts.method == Method::HEAD && earlier.is_none() {
                    return self
                        .pass_for(parts, Body::empty(), forward, Some(&found))
                        .await;
                }
                if parts.headers.contains_key(header::RANGE) || found.part.is_some() {
                    forward = Forward::Partial;
                }
                found.key = known_key.unwrap_or(found.key);
                alone |= self.alone(&wishes, &parts.headers, &found.key).is_some();
            }
            // A copy that ended while this request waited is still what it would have got by not waiting.
            let standby = match &earlier {
                Some(earlier) if found.copy.is_none() => earlier,
                _ => &found,
            };
            let patience = self.patience(standby, arrived);
            let (waited, collapsed) = if let Err(failure) = self.seat(&mut place, standby) {
                (Waited::Shed(failure), false)
            } else if alone || nth == JOINS_MAX {
                let waited = self.fetch_alone(&parts, &found, primary, patience).await;
                (waited, false)
            } else {
                self.fetch_together(&parts, &found, primary, patience).await
            };
            let status = CacheStatus {
                collapsed,
                detail: found.purged.then_some(PURGED),
                ..CacheStatus::forwarded(forward)
            };
            match self.conclude(&parts, &primary, standby, waited, status) {
                Next::Answered(answer) => return answer,
                Next::Failed(failure) => {
                    let standby = earlier.filter(|_| found.copy.is_none()).unwrap_or(found);
                    return self
                        .failed(&parts, &primary, standby, &failure, status)
                        .await;
                }
                Next::Again(key) => known_key = key,
                Next::Alone => alone = true,
            }
            if found.is_last_known_good() {
                earlier = Some(found);
            }
        }
        // An answer that came for this request alone is for this request, so this is not reached; if it is, it is a
        // failure like any other, with whatever is stored to fall back on.
        let found = self.lookup(&primary, &parts.method, &parts.headers).await;
        let found = self.unless_written(found, &parts);
        let failure = Failure::new(Cause::Internal, Sent::MayHaveActed);
        let status = CacheStatus::forwarded(found.forward(&wishes));
        self.failed(&parts, &primary, found, &failure, status).await
    }

    /// The client's own directives, where the policy obeys them (`client_directives`).
    fn wishes(&self, headers: &HeaderMap) -> RequestDirectives {
        let says_nothing =
            !headers.contains_key(header::CACHE_CONTROL) && !headers.contains_key(header::PRAGMA);
        if says_nothing || !self.route.policy.client_directives {
            return RequestDirectives::default();
        }
        RequestDirectives::parse(headers)
    }

    /// Why a request for which nothing is stored does not wait for another's answer: what it sends already says that its
    /// answer is for it alone (a part is for those who want that part), or the last ones turned out to be.
    fn alone(&self, wishes: &RequestDirectives, headers: &HeaderMap, key: &Key) -> Option<Alone> {
        if wishes.no_store {
            Some(Alone::NoStore)
        } else if headers.contains_key(header::RANGE) {
            Some(Alone::Range)
        } else if has_unkeyed_authorization(&self.route, headers) {
            Some(Alone::Authorization)
        } else if self.shared.marks.is_unshared(key) {
            Some(Alone::Unshared)
        } else {
            None
        }
    }

    fn plan(&self, found: Option<&Found>, wishes: &RequestDirectives) -> Plan {
        let verdict = found.and_then(|found| found.verdict.as_ref());
        // Mark and outlook are looked at only where they could matter: not for a plain fresh hit.
        match plan(verdict, wishes, Prospects::default()) {
            Plan::Serve { refresh: false } => Plan::Serve { refresh: false },
            _ => plan(verdict, wishes, self.prospects(found)),
        }
    }

    /// What this request may expect of the upstream.
    fn prospects(&self, found: Option<&Found>) -> Prospects {
        let shared = &self.shared;
        let rest = found.and_then(|found| shared.marks.rest_of(&found.key));
        self.lookout.prospects(rest, shared.clock.now())
    }

    /// An answer that needs no upstream.
    fn serve(&self, method: &Method, headers: &HeaderMap, found: &Found) -> Answer {
        let (stored, verdict) = found
            .copy_and_verdict()
            .expect("a plan to serve has something to serve");
        let (outcome, detail) = match verdict.state {
            State::Fresh | State::Early => (Outcome::Hit, None),
            State::StaleWhileRevalidate => (
                Outcome::StaleWhileRevalidate,
                Some("stale-while-revalidate"),
            ),
            State::Stale | State::Gone => (Outcome::Stale, Some("stale")),
        };
        let status = CacheStatus {
            detail: found.purged.then_some(PURGED).or(detail),
            ..CacheStatus::hit(verdict)
        };
        answer::from_stored(
            method,
            headers,
            stored,
            verdict.age,
            &status,
            Note::new(outcome),
        )
    }

    /// From here on a request may wait for the upstream: in one place, for as long as it does.
    fn seat(&self, place: &mut Option<Permit>, standby: &Found) -> Result<(), Failure> {
        if place.is_none() {
            let priority = priority(standby.is_last_known_good());
            *place = Some(self.admission.wait(priority)?);
        }
        Ok(())
    }

    /// Joins the fetch of this key or starts it; says also whether it was another's.
    async fn fetch_together(
        self: &Arc<Self>,
        parts: &Parts,
        found: &Found,
        primary: Key,
        patience: Option<Instant>,
    ) -> (Waited, bool) {
        let priority = priority(found.is_last_known_good());
        let admit = || self.admission.fetch(priority);
        match self.shared.flights.join(found.key, admit) {
            Joined::Shed(failure) => (Waited::Shed(failure), false),
            Joined::Leader(guard) => {
                let started = guard.flight().started();
                let reply = self.spawn_fetch(parts.clone(), found, primary, Some(guard), None);
                let waited = self.patiently(patience, started, replied(reply)).await;
                (waited, false)
            }
            // What was asked before the target was invalidated, or a write may have changed it, is no answer to what is
            // asked after.
            Joined::Follower(flight)
                if self
                    .shared
                    .marks
                    .was_written_since(&written_as(parts, &primary), flight.started()) =>
            {
                let waited = self.fetch_alone(parts, found, primary, patience).await;
                (waited, false)
            }
            Joined::Follower(flight) => {
                let outcome = async {
                    let outcome = flight.outcome().await;
                    outcome.map_or(Waited::GivenUp, |fetched| {
                        Waited::Reply(Reply::Shared(fetched))
                    })
                };
                let started = flight.started();
                (self.patiently(patience, started, outcome).await, true)
            }
        }
    }

    /// Fetches without waiting for others or making them wait; what can be stored still is.
    async fn fetch_alone(
        self: &Arc<Self>,
        parts: &Parts,
        found: &Found,
        primary: Key,
        patience: Option<Instant>,
    ) -> Waited {
        let priority = priority(found.is_last_known_good());
        let permit = match self.admission.fetch(priority) {
            Ok(permit) => permit,
            Err(failure) => return Waited::Shed(failure),
        };
        let started = Instant::now();
        let reply = self.spawn_fetch(parts.clone(), found, primary, None, Some(permit));
        self.patiently(patience, started, replied(reply)).await
    }

    /// When a request that arrived then stops waiting, if there is a usable copy to stop for.
    fn patience(&self, standby: &Found, arrived: Instant) -> Option<Instant> {
        let usable = standby.is_last_known_good();
        usable.then(|| arrived + self.route.policy.stale_after)
    }

    /// With a usable copy the wait ends `stale_after` from the start of the fetch, whoever started it, and `stale_after`
    /// from the arrival of the request, however many fetches it waits for.
    async fn patiently(
        &self,
        patience: Option<Instant>,
        started: Instant,
        outcome: impl Future<Output = Waited>,
    ) -> Waited {
        let Some(until) = patience else {
            return outcome.await;
        };
        let until = until.min(started + self.route.policy.stale_after);
        tokio::time::timeout_at(until, outcome)
            .await
            .unwrap_or(Waited::TooSlow)
    }

    /// Makes an answer of what the waiting brought, or says what to do instead.
    fn conclude(
        &self,
        parts: &Parts,
        primary: &Key,
        found: &Found,
        waited: Waited,
        status: CacheStatus,
    ) -> Next {
        if matches!(waited, Waited::TooSlow) && !status.collapsed {
            // Said once for each fetch, by whoever started it.
            self.lookout.waited_in_vain(self.shared.clock.now());
        }
        if let Waited::Reply(Reply::Shared(fetched)) = &waited
            && status.collapsed
            && let Some(next) = self.overtaken(parts, fetched)
        {
            return next;
        }
        // A body that still arrives may break; a copy that is here does not.
        let copy_instead = || self.stale_instead(parts, found, status);
        match waited {
            Waited::TooSlow => copy_instead().map_or(Next::Alone, Next::Answered),
            Waited::GivenUp => {
                Next::Failed(self.counted(Failure::new(Cause::Internal, Sent::MayHaveActed)))
            }
            Waited::Shed(failure) => Next::Failed(self.counted(failure)),
            Waited::Reply(Reply::Own(own)) => Next::Answered(own.into_answer(parts, status)),
            Waited::Reply(Reply::Reading(streaming, body)) => Next::Answered(
                copy_instead().unwrap_or_else(|| streaming.answer(parts, body, status)),
            ),
            Waited::Reply(Reply::WithCookies(fetched, cookies)) => {
                let waited = Waited::Reply(Reply::Shared(fetched));
                let mut next = self.conclude(parts, primary, found, waited, status);
                if let Next::Answered(answer) = &mut next {
                    for cookie in cookies {
                        let headers = answer.response.headers_mut();
                        headers.append(header::SET_COOKIE, cookie);
                    }
                }
                next
            }
            Waited::Reply(Reply::Shared(fetched)) => match fetched {
                Fetched::Failed(failure) => Next::Failed(failure),
                Fetched::Unshared { by_request: true } => Next::Again(None),
                Fetched::Unshared { by_request: false } => Next::Alone,
                Fetched::Stored(stored) => {
                    let now = self.shared.clock.now();
                    stored.conclude(parts, primary, &self.route, now, status)
                }
                Fetched::Streaming(streaming) => match copy_instead() {
                    Some(answer) => Next::Answered(answer),
                    None => streaming.conclude(parts, primary, status),
                },
            },
        }
    }

    /// This failure, counted: where it came about, not where somebody learns of it.
    fn counted(&self, failure: Failure) -> Failure {
        self.metrics.failed(&self.route.upstream.name, &failure);
        failure
    }

    /// The usable copy, while the fetch goes on behind.
    fn stale_instead(&self, parts: &Parts, found: &Found, status: CacheStatus) -> Option<Answer> {
        let (stored, verdict) = found
            .copy_and_verdict()
            .filter(|(_, verdict)| verdict.is_last_known_good())?;
        let status = CacheStatus {
            ttl_secs: Some(verdict.ttl_secs()),
            detail: Some("stale-after"),
            ..status
        };
        Some(answer::from_stored(
            &parts.method,
            &parts.headers,
            stored,
            verdict.age,
            &status,
            Note::new(Outcome::Stale),
        ))
    }

    /// The answer where the upstream gave none. Before a client goes without, the store is looked into once more, with
    /// patience: a disk that was too slow for a hit is still better than an error.
    async fn failed(
        &self,
        parts: &Parts,
        primary: &Key,
        mut found: Found,
        failure: &Failure,
        status: CacheStatus,
    ) -> Answer {
        if found.copy.is_none() {
            found = self
                .lookup_by(
                    primary,
                    &parts.method,
                    &parts.headers,
                    Reading::Within(LAST_LOOK),
                )
                .await;
            found = self.unless_written(found, parts);
        }
        self.fall_back(parts, Some(&found), failure, status).await
    }

    /// Down the ladder. `found`: what is stored for the request itself, where that was looked up.
    async fn fall_back(
        &self,
        parts: &Parts,
        found: Option<&Found>,
        failure: &Failure,
        status: CacheStatus,
    ) -> Answer {
        let is_lacking = found.is_some_and(|found| !found.is_last_known_good());
        let sibling = match is_lacking && !failure.cause().is_clients() {
            true => self.sibling(parts, Reading::Within(LAST_LOOK)).await,
            false => None,
        };
        let copy = found.and_then(Found::copy_and_verdict);
        answer::from_failure(&self.route, parts, copy, sibling.as_ref(), failure, status)
    }
}

async fn replied(reply: oneshot::Receiver<Reply>) -> Waited {
    reply.await.map_or(Waited::GivenUp, Waited::Reply)
}

/// RFC 9110 9.3.2: an answer to HEAD has the fields of the answer to GET and no content.
fn without_content(response: &mut Response) {
    let length = response.body().exact_len().filter(|length| *length > 0);
    if let Some(length) = length {
        let headers = response.headers_mut();
        headers
            .entry(header::CONTENT_LENGTH)
            .or_insert(length.into());
    }
    *response.body_mut() = Body::empty();
}
