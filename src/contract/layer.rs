//! The contract as a layer: asks for what can be judged, has it judged, and answers with what is good or with a failure.
//!
//! `breaker -> [contract] -> bulkhead -> quota -> verdict -> attempt`
//!
//! Inside retry and breaker, so that a breach can be asked about again and can count, where the route says so; outside the
//! bulkhead, so that nobody waits for a verdict with a slot in hand.
//!
//! # Invariants
//!
//! - What is judged was read whole by the attempt. An answer that cannot be (too large, a stream without end) is a breach.
//! - The content of a breach goes nowhere but into the ledger's sample: the failure does not carry it.
//! - Larger content, and whatever a program maps, is judged on a thread of its own, within `time_max`; how many at once is
//!   bounded, for one route to half of that, so that a program that does not end holds up no other route.
//! - Content that was mapped has validators of its own, and no condition about other content reaches the upstream
//!   ([`super::Mapping`]).
//! - What only the cache could judge (a part, a head, a 304, an error) passes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, response::Parts};
use tokio::{sync::Semaphore, time::Instant};
use tower::{Layer, Service};

use super::{
    Answer, Breach, Contract, Kind, Ledger, Mode, RouteDatasets, Visitors,
    encoding::restrict_accept_encoding,
    judge::{Behind, Broken, Good, too_large},
};
use crate::{
    failure::{Cause, Failure, Sent},
    http::{
        Body, Request, Response,
        fetch::{Attempts, FetchContext, JudgedGood, LastGood, MappedBy, Reads, WholeIf},
        method::is_safe,
        upgrade::Upgrade,
    },
};

/// Larger content is judged on a thread of its own.
const AT_ONCE_BYTES: usize = 64 << 10;

/// The contract of one route.
#[derive(Clone, Debug)]
pub struct ContractLayer(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    contract: Arc<Contract>,
    /// What is told and kept of its verdicts.
    ledger: Option<Ledger>,
    /// Figures that are added up over many answers.
    datasets: Option<RouteDatasets>,
    /// Verdicts at once that have a thread of their own, of all routes and of this one.
    threads: Arc<Semaphore>,
    own_threads: Arc<Semaphore>,
}

impl ContractLayer {
    /// Judges by `contract`, with as many threads at once as `threads` has permits, half of `threads_max` for itself, compares with `datasets` and tells
    /// `ledger`; passes everything where there is none.
    pub fn new(
        contract: Option<&Arc<Contract>>,
        ledger: Option<Ledger>,
        datasets: Option<RouteDatasets>,
        threads: &Arc<Semaphore>,
        threads_max: usize,
    ) -> Self {
        Self(contract.map(|contract| {
            Arc::new(Shared {
                contract: Arc::clone(contract),
                ledger,
                datasets,
                threads: Arc::clone(threads),
                own_threads: Arc::new(Semaphore::new((threads_max / 2).max(1))),
            })
        }))
    }
}

impl<S> Layer<S> for ContractLayer {
    type Service = Judged<S>;

    fn layer(&self, inner: S) -> Judged<S> {
        Judged {
            inner,
            shared: self.0.clone(),
        }
    }
}

/// Lets through what is good.
#[derive(Clone, Debug)]
pub struct Judged<S> {
    inner: S,
    /// `None` where the route has no contract.
    shared: Option<Arc<Shared>>,
}

type BoxFuture = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

impl<S> Service<Request> for Judged<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Failure;
    /// Boxed only where there is something to judge.
    type Future = Either<S::Future, BoxFuture>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(shared) = self.shared.as_ref().map(Arc::clone) else {
            return Either::Left(self.inner.call(request));
        };
        let only_reads = only_reads(&request);
        if let Some(mapping) = shared.contract.mapping() {
            mapping.on_request(request.headers_mut(), only_reads);
        }
        if !only_reads {
            return Either::Left(self.inner.call(request));
        }
        let asked = Asked::prepare(&mut request, &shared.contract);
        let answer = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let response = answer.await?;
            shared.conclude(response, asked).await
        }))
    }
}

/// What a request that writes brought about has happened, whatever the answer looks like.
fn only_reads(request: &Request) -> bool {
    let extensions = request.extensions();
    (is_safe(request.method()) || extensions.get::<Reads>().is_some())
        && extensions.get::<Upgrade>().is_none()
}

// --- The way down ---

/// What is remembered of a request until its answer comes.
struct Asked {
    method: Method,
    uri: Uri,
    /// What the transaction's line is found by.
    request_id: Option<HeaderValue>,
    last_good: Option<LastGood>,
}

impl Asked {
    /// Asks for an answer that can be judged: whole, and readable.
    fn prepare(request: &mut Request, contract: &Arc<Contract>) -> Self {
        let asked = Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            request_id: request.headers().get("x-request-id").cloned(),
            last_good: request.extensions_mut().remove(),
        };
        // A part cannot be judged. Whoever asked for one gets it of the whole, or the whole (RFC 9110 14.2).
        let headers = request.headers_mut();
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
        restrict_accept_encoding(headers);
        let extensions = request.extensions_mut();
        let mut context = extensions
            .get::<FetchContext>()
            .copied()
            .unwrap_or_default();
        let wished = context.whole_bytes_max.unwrap_or_default();
        context.whole_bytes_max = Some(wished.max(contract.limits.body_bytes_max));
        if contract.mode == Mode::Enforce {
            context.hold_back = None;
            context.unseen_before_whole = true;
        }
        extensions.insert(context);
        let judged = asked.method != Method::HEAD;
        // Without a wish of the cache's nothing else is worth reading whole.
        let wished = extensions.remove::<WholeIf>();
        let wished = wished.unwrap_or_else(|| WholeIf::new(|_| false));
        extensions.insert(wished.or(move |head| judged && is_judged(head)));
        asked
    }
}

/// An answer that means what it says: errors and redirections have content of another kind. One without content (204) is
/// judged as empty.
fn is_judged(head: &Parts) -> bool {
    head.status.is_success()
}

// --- The way up ---

impl Shared {
    async fn conclude(&self, response: Response, asked: Asked) -> Result<Response, Failure> {
        let (mut head, body) = response.into_parts();
        if asked.method == Method::HEAD || !is_judged(&head) {
            let speaks_of_content =
                head.status == StatusCode::NOT_MODIFIED || head.status.is_success();
            if let Some(mapping) = self.contract.mapping().filter(|_| speaks_of_content) {
                mapping.on_no_body(&mut head.headers);
            }
            if head.status == StatusCode::NOT_MODIFIED
                && let Some(ledger) = &self.ledger
            {
                ledger.confirmed(&asked.uri);
            }
            return Ok(Response::from_parts(head, body));
        }
        let began = Instant::now();
        let visitors = match (self.contract.mode, &asked.last_good) {
            (Mode::Observe, _) => Visitors::Served,
            (Mode::Enforce, Some(_)) => Visitors::LastGood,
            (Mode::Enforce, None) => Visitors::Nothing,
        };
        let has_last_good = asked.last_good.is_some();
        let verdict = match body.bytes() {
            _ if head.status == StatusCode::PARTIAL_CONTENT => Err(Breach::new(
                Kind::Encoding,
                "part",
                "the answer is a part, where the whole was asked for",
            )
            .into()),
            Some(bytes) => self.judge(&head.headers, bytes, asked.last_good).await,
            None => Err(too_large(self.contract.limits.body_bytes_max).into()),
        };
        let verdict = verdict.and_then(|good| {
            match self.reconcile(&asked.method, &asked.uri, &good, has_last_good) {
                Ok(()) => Ok(good),
                Err(breach) => Err(Broken {
                    breach,
                    mapped: good.rewritten,
                }),
            }
        });
        if let Some(ledger) = &self.ledger {
            ledger.took(began.elapsed());
            match &verdict {
                Ok(good) => {
                    let fate = self.contract.remedy().into();
                    let (bad, all) = (good.bad_records, good.records);
                    ledger.good_but_for(&asked.uri, bad, all, fate, &good.sentence);
                }
                Err(Broken { breach, mapped }) => {
                    let content = body.bytes().unwrap_or_default();
                    let answer = Answer {
                        method: &asked.method,
                        uri: &asked.uri,
                        status: head.status.as_u16(),
                        headers: &head.headers,
                        body: &content,
                        mapped: mapped.as_deref(),
                    };
                    ledger.breach(breach, &answer, visitors);
                }
            }
        }
        match verdict {
            Ok(good) => {
                if self.contract.fingerprint != 0 {
                    head.extensions
                        .insert(JudgedGood(self.contract.fingerprint));
                }
                Ok(self.with_content(head, body, good))
            }
            Err(Broken { breach, mapped }) => match self.contract.mode {
                Mode::Observe => Ok(self.with_mapped(head, body, mapped)),
                Mode::Enforce => {
                    log(&breach, asked.request_id.as_ref(), has_last_good);
                    Err(self.failure(&head, breach))
                }
            },
        }
    }

    /// At once where that is quick.
    async fn judge(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        last_good: Option<LastGood>,
    ) -> Result<Good, Broken> {
        let contract = &self.contract;
        // A program takes as long as it likes, up to its bound.
        if body.len() <= AT_ONCE_BYTES && contract.transform.is_none() {
            let behind = Behind {
                last_good: last_good.as_ref(),
                is_late: None,
            };
            return contract.judge(headers, &body, behind);
        }
        // Nobody closes it; whoever waits here is bounded by the request's deadline.
        let own = Arc::clone(&self.own_threads).acquire_owned().await.ok();
        let permit = Arc::clone(&self.threads).acquire_owned().await.ok();
        let (contract, headers) = (Arc::clone(contract), headers.clone());
        let late = Arc::new(AtomicBool::new(false));
        let is_late = Arc::clone(&late);
        let judging = tokio::task::spawn_blocking(move || {
            // One that goes on after `time_max` still has its thread.
            let _permits = (own, permit);
            let behind = Behind {
                last_good: last_good.as_ref(),
                is_late: Some(&|| is_late.load(Ordering::Relaxed)),
            };
            contract.judge(&headers, &body, behind)
        });
        // Also where nobody waits for the verdict any more.
        let _until = OnDrop(late);
        let time_max = self.contract.limits.time_max;
        // A program that takes too long is stopped at that time, and says so a little later.
        let patience = match self.contract.transform {
            Some(_) => time_max.saturating_add(time_max / 4),
            None => time_max,
        };
        match tokio::time::timeout(patience, judging).await {
            Ok(Ok(verdict)) => verdict,
            // A verdict that panicked is no acquittal.
            Ok(Err(_)) => Err(Breach::new(
                Kind::TooComplex,
                "defect",
                "judging it failed here: please report this answer",
            )
            .into()),
            Err(_) => {
                let message = format!("judging it takes longer than `time_max`, {time_max:?}");
                Err(Breach::new(Kind::TooComplex, "time_max", message).into())
            }
        }
    }

    /// The answer with the content it has now.
    fn with_content(&self, head: Parts, body: Body, good: Good) -> Response {
        // Where records may be dropped, what lost none has the tag of what could have.
        self.with_mapped(head, body, Some(good.rewritten.unwrap_or(good.content)))
    }

    /// The answer with what a mapping made of its content, if there is one.
    fn with_mapped(&self, mut head: Parts, body: Body, mapped: Option<Bytes>) -> Response {
        let (Some(mapping), Some(bytes)) = (self.contract.mapping(), mapped) else {
            return Response::from_parts(head, body);
        };
        mapping.on_body(&mut head.headers, &bytes);
        head.extensions.insert(MappedBy(self.contract.mapping));
        Response::from_parts(head, Body::full(bytes))
    }

    /// Last, so that only what is good otherwise is taken into a dataset. Answers are told apart by their target: where one
    /// target has several (`POST` by content), a figure of one is no measure of another.
    fn reconcile(
        &self,
        method: &Method,
        uri: &Uri,
        good: &Good,
        has_last_good: bool,
    ) -> Result<(), Breach> {
        let Some(datasets) = self.datasets.as_ref().filter(|_| *method == Method::GET) else {
            return Ok(());
        };
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let is_enforced = self.contract.mode == Mode::Enforce;
        datasets.take(target, &good.figures, has_last_good, is_enforced)
    }

    fn failure(&self, head: &Parts, breach: Breach) -> Failure {
        let attempts = head.extensions.get::<Attempts>();
        let mut failure = Failure::new(Cause::Contract(head.status), Sent::MayHaveActed)
            .with_attempts(attempts.map_or(1, |attempts| attempts.0))
            .with_source(breach);
        if !self.contract.retry {
            failure = failure.that_stands();
        }
        if !self.contract.breaker {
            failure = failure.excused();
        }
        failure
    }
}

/// Says in words why a visitor got an error; where the last good answer stood in, only to those who look closely.
fn log(breach: &Breach, request_id: Option<&HeaderValue>, has_last_good: bool) {
    let id = request_id.and_then(|id| id.to_str().ok());
    let Breach {
        kind,
        term,
        message,
        ..
    } = breach;
    if has_last_good {
        tracing::debug!(
            id,
            "an answer breaks the contract ({kind} {term}): {message}"
        );
    } else {
        tracing::warn!(
            id,
            "an answer breaks the contract ({kind} {term}), and nothing is stored in its place: {message}"
        );
    }
}

/// Tells a thread that judges to stop.
struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
