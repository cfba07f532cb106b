//! A client that times its answers and reads `Cache-Status`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::within;

/// Longest wait for anything a client waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Speaks to one address over pooled connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    addr: SocketAddr,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub version: http::Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub elapsed: Duration,
}

/// An answer whose body is on its way.
pub struct Arriving {
    pub head: http::response::Parts,
    body: Incoming,
}

/// A request without a body, to be sent by [`Client::send`].
pub fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request
        .body(Full::default())
        .expect("the test names valid fields")
}

// --- Client ---

impl Client {
    /// HTTP/1.1.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            pool: Pool::builder(TokioExecutor::new()).build_http(),
            addr,
        }
    }

    /// HTTP/2 by prior knowledge.
    pub fn http2(addr: SocketAddr) -> Self {
        Self {
            pool: Pool::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
            addr,
        }
    }

    /// Where it speaks to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// `GET path` with these fields.
    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(request(Method::GET, path, fields)).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &str) -> Reply {
        let mut post = request(Method::POST, path, &[("content-type", "application/json")]);
        *post.body_mut() = Full::from(body.to_owned());
        self.send(post).await
    }

    /// Sends it and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        self.try_send(request)
            .await
            .unwrap_or_else(|error| panic!("no whole answer: {error}"))
    }

    /// The same where the answer may break.
    pub async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let started = Instant::now();
        let arriving = self.open(request).await?;
        let head = arriving.head;
        let body = within(PATIENCE, "a body ends", arriving.body.collect())
            .await
            .map_err(|error| format!("{error:?}"))?;
        Ok(Reply {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            elapsed: started.elapsed(),
        })
    }

    /// Sends it and waits for the head only.
    pub async fn open(&self, mut request: Request<Full<Bytes>>) -> Result<Arriving, String> {
        let target = format!("http://{}{}", self.addr, request.uri());
        *request.uri_mut() = target.parse().expect("the test names a valid target");
        let response: Response<Incoming> =
            within(PATIENCE, "a head arrives", self.pool.request(request))
                .await
                .map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        Ok(Arriving { head, body })
    }
}

// --- Arriving ---

impl Arriving {
    /// The next piece; `None` at the end.
    pub async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            let frame = within(PATIENCE, "a piece arrives", self.body.frame()).await?;
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The rest, or how it broke.
    pub async fn rest(mut self) -> Result<Vec<u8>, hyper::Error> {
        let mut rest = Vec::new();
        while let Some(piece) = self.piece().await {
            rest.extend_from_slice(&piece?);
        }
        Ok(rest)
    }
}

// --- Reply ---

impl Reply {
    /// A field that is there, as text.
    pub fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("fields are text"))
            .unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// A parameter of `Cache-Status`: its value, "" for one without.
    pub fn cache(&self, parameter: &str) -> Option<&str> {
        let mut parameters = self.field("cache-status").split(';').skip(1);
        parameters.find_map(|pair| {
            let pair = pair.trim();
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == parameter).then_some(value)
        })
    }

    /// Answered from the store without asking.
    pub fn is_hit(&self) -> bool {
        self.cache("hit").is_some()
    }

    /// Seconds of freshness left; negative when stale.
    pub fn ttl(&self) -> Option<i64> {
        self.cache("ttl").map(|ttl| ttl.parse().expect("a number"))
    }

    /// Marked as stale.
    pub fn is_stale(&self) -> bool {
        self.ttl().is_some_and(|ttl| ttl < 0)
    }
}
