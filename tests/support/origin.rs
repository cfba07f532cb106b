//! An origin that answers by a script: a function from what it is asked to what it does, with a log, on a free port.
//!
//! For what the stub cannot do: answers that depend on who asks, and steps in an order that the test decides ([`Gate`]).
//! It adds no field of its own, not even `Date`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

type Script = dyn Fn(&Asked) -> Play + Send + Sync;
type OriginBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// A vendor that follows a script until it is dropped.
pub struct Origin {
    url: String,
    stage: Arc<Stage>,
    accepting: JoinHandle<()>,
}

struct Stage {
    script: Mutex<Arc<Script>>,
    log: Mutex<Vec<Asked>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Counted from 1.
    pub nth: usize,
    pub method: http::Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub content: Bytes,
}

/// What is done about a request.
#[derive(Clone, Debug)]
pub struct Play {
    gate: Option<Gate>,
    delay: Duration,
    acts: Option<Acts>,
}

#[derive(Clone, Debug)]
struct Acts {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<Piece>,
    length: Option<usize>,
}

/// A part of a body.
#[derive(Clone, Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing until the gate is open.
    Await(Gate),
    /// Nothing for a while.
    Pause(Duration),
    /// The connection breaks.
    BreakOff,
}

/// Closed until the test opens it, then open for good.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

/// A config with one route for every path, named `all`, on which nothing happens by chance or by default: no retries, no
/// breaker, no early refresh, no window after expiry. `policy` and `route` are further lines of their tables.
pub fn one_route(policy: &str, route: &str) -> String {
    format!(
        r#"
        [upstream.lab]
        endpoints = ["{{vendor}}"]
        retry = {{ retries_max = 0, retries_max_stale = 0 }}
        breaker = {{ enabled = false }}
        [policy.p]
        spread_percent = 0
        early = false
        {policy}
        [[route]]
        name = "all"
        path = "/{{*rest}}"
        upstream = "lab"
        policy = "p"
        {route}
        "#
    )
}

// --- Origin ---

impl Origin {
    /// Starts with this script.
    pub async fn start(script: impl Fn(&Asked) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let stage = Arc::new(Stage {
            script: Mutex::new(Arc::new(script)),
            log: Mutex::default(),
        });
        Self {
            url: format!("http://{addr}"),
            accepting: tokio::spawn(accept(listener, Arc::clone(&stage))),
            stage,
        }
    }

    /// From now on this script.
    pub fn now(&self, script: impl Fn(&Asked) -> Play + Send + Sync + 'static) {
        *lock(&self.stage.script) = Arc::new(script);
    }

    /// From now on every request ends in a broken connection.
    pub fn is_down(&self) {
        self.now(|_| Play::refuse());
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.stage.log).clone()
    }

    /// How often it was asked.
    pub fn asked_total(&self) -> usize {
        lock(&self.stage.log).len()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections end with this task.
async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let stage = Arc::clone(&stage);
        connections.spawn(async move {
            let service = service_fn(|request| perform(Arc::clone(&stage), request));
            // How a connection ends is a matter of the script.
            let _ = hyper::server::conn::http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn perform(
    stage: Arc<Stage>,
    request: Request<Incoming>,
) -> Result<Response<OriginBody>, std::io::Error> {
    let (head, content) = request.into_parts();
    // A request that breaks off is none; what of it came does not matter.
    let content = content.collect().await.map_err(std::io::Error::other)?;
    let asked = {
        let mut log = lock(&stage.log);
        let asked = Asked {
            nth: log.len() + 1,
            method: head.method,
            target: head.uri.to_string(),
            headers: head.headers,
            content: content.to_bytes(),
        };
        log.push(asked.clone());
        asked
    };
    let script = Arc::clone(&lock(&stage.script));
    let play = script(&asked);
    if let Some(gate) = &play.gate {
        gate.passed().await;
    }
    // Part of the play: this is how slow the origin is.
    tokio::time::sleep(play.delay).await;
    let acts = play.acts.ok_or_else(broken)?;
    Ok(acts.into_response())
}

fn broken() -> std::io::Error {
    std::io::Error::other("the script breaks off")
}

// --- Asked ---

impl Asked {
    /// A field as text, "" where it is absent.
    pub fn field(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("fields are text"))
    }

    /// Whether it asks if what is stored still holds.
    pub fn is_conditional(&self) -> bool {
        self.headers.contains_key(header::IF_NONE_MATCH)
            || self.headers.contains_key(header::IF_MODIFIED_SINCE)
    }
}

// --- Play ---

impl Play {
    /// An answer with `Content-Length`.
    pub fn answer(status: u16, fields: &[(&str, &str)], body: impl Into<String>) -> Self {
        let body = Bytes::from(body.into());
        let length = (status != 304 && status != 204).then_some(body.len());
        Self::acting(status, fields, vec![Piece::Bytes(body)], length)
    }

    /// An answer in pieces, of a length that is not told.
    pub fn pieces(status: u16, fields: &[(&str, &str)], body: Vec<Piece>) -> Self {
        Self::acting(status, fields, body, None)
    }

    fn acting(
        status: u16,
        fields: &[(&str, &str)],
        body: Vec<Piece>,
        length: Option<usize>,
    ) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            gate: None,
            delay: Duration::ZERO,
            acts: Some(Acts {
                status,
                fields: fields.iter().map(owned).collect(),
                body,
                length,
            }),
        }
    }

    /// No answer: the connection breaks.
    pub fn refuse() -> Self {
        Self {
            gate: None,
            delay: Duration::ZERO,
            acts: None,
        }
    }

    /// No answer, and no end either.
    pub fn hang() -> Self {
        Self::refuse().behind(&Gate::closed())
    }

    /// The same, once the gate is open.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// The same, later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

impl Acts {
    fn into_response(self) -> Response<OriginBody> {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).expect("the test names a valid status"));
        for (name, value) in &self.fields {
            response = response.header(name, value);
        }
        if let Some(length) = self.length {
            response = response.header(header::CONTENT_LENGTH, length);
        }
        let pieces = futures_util::stream::unfold(self.body.into_iter(), |mut left| async {
            loop {
                match left.next()? {
                    Piece::Bytes(bytes) if bytes.is_empty() => {}
                    Piece::Bytes(bytes) => return Some((Ok(Frame::data(bytes)), left)),
                    Piece::Await(gate) => gate.passed().await,
                    Piece::Pause(pause) => tokio::time::sleep(pause).await,
                    Piece::BreakOff => return Some((Err(broken()), left)),
                }
            }
        });
        response
            .body(StreamBody::new(pieces).boxed_unsync())
            .expect("the test names valid fields")
    }
}

// --- Gate ---

impl Gate {
    /// One that is closed.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.0.close();
    }

    async fn passed(&self) {
        // Never a permit: it ends when the semaphore is closed.
        let _closed = self.0.acquire().await;
    }
}
