//! Client: one endpoint over pooled connections, HTTP/1.1 and HTTP/2, TLS where the endpoint says so.
//!
//! `balance -> [client] -> network`
//!
//! Turns a request for a path into one for this endpoint, and every error into a [`Failure`] that says what was sent.
//! Never tries again by itself what may have been sent: retries are counted, budgeted and seen elsewhere. A request that
//! met a kept connection just as it closed (RFC 9112 9.3.1) goes on another one: if not a byte was written, or else by leave
//! of whoever counts retries (`kept.rs`). Interim responses (1xx) go to the client that is behind the request, if there is
//! one (`http/interim.rs`); over HTTP/2 hyper passes over them.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri, Version, header, uri::Authority, uri::PathAndQuery,
};
use hyper::ext::ReasonPhrase;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower::Service;

use super::{
    UpstreamError,
    cause::{self, ConnectElapsed},
    credentials::Credentials,
    expect::{self, Gate},
    kept::{Again, HasAnswered, Kept},
    network::{self, Network, Stream, Transport},
    resolve::Names,
};
use crate::{
    config::{UpstreamConfig, UpstreamHost, UpstreamProtocol},
    failure::{Cause, Failure, Sent},
    http::{
        Body, Request, Response, hop,
        interim::Interim,
        upgrade::{self, Switched, Upgrade},
    },
    resilience::Repeat,
};

/// An HTTP/2 connection with requests on it is asked for a sign of life this often …
const HTTP2_PING_EVERY: Duration = Duration::from_secs(10);
/// … and is dead without one for this long.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Most response fields over HTTP/1.1; hyper's own 100 is less than some servers send.
const HTTP1_FIELDS_MAX: usize = 1000;
/// Largest response head over HTTP/2; hyper's own 16 KiB is less than it takes over HTTP/1.1.
const HTTP2_HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Speaks to one endpoint. Clones share its connections.
#[derive(Clone)]
pub struct EndpointClient(Arc<Shared>);

struct Shared {
    /// Swapped when an address of the endpoint is gone: requests under way finish on the pool they began with, later ones
    /// find a new one.
    pools: ArcSwap<Pools>,
    plan: PoolPlan,
    target: Target,
    names: Arc<Names>,
}

/// Connections kept for later requests.
struct Pools {
    client: Client<Connector, Body>,
    /// A new connection for each request. Speaks HTTP/1.1 only: HTTP/2 knows no `Upgrade` (RFC 9113 8.6).
    upgrading: Client<Connector, Body>,
}

/// What a pool is made from.
struct PoolPlan {
    connector: Connector,
    upgrading: Connector,
    http2_only: bool,
    idle_timeout: Duration,
    idle_max: usize,
}

/// Boxed: what gets here is a miss already.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

impl EndpointClient {
    /// A client for `endpoint`, one of `upstream`'s. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Endpoint`] if it has no scheme or host; [`UpstreamError::Credential`].
    pub fn new(
        upstream: &UpstreamConfig,
        endpoint: &Uri,
        tls: &ClientConfig,
        network: &Network,
    ) -> Result<Self, UpstreamError> {
        let target = Target::new(upstream, endpoint)?;
        let (host, port) = (target.authority.host(), target.port());
        let names = Arc::new(Names::new(host, port, Arc::clone(&network.resolver)));
        let dialer = Dialer {
            names: Arc::clone(&names),
            transport: Arc::clone(&network.transport),
        };
        let connector = |protocol| Connector {
            inner: https_connector(protocol, tls.clone(), dialer.clone()),
            endpoint: endpoint.clone(),
            timeout: upstream.connect_timeout,
        };
        let plan = PoolPlan {
            connector: connector(upstream.protocol),
            upgrading: connector(UpstreamProtocol::Http1),
            http2_only: upstream.protocol == UpstreamProtocol::Http2,
            idle_timeout: upstream.pool_idle_timeout,
            idle_max: upstream.pool_idle_max,
        };
        Ok(Self(Arc::new(Shared {
            pools: ArcSwap::from_pointee(plan.pools()),
            plan,
            target,
            names,
        })))
    }

    pub(super) fn names(&self) -> &Names {
        &self.0.names
    }

    /// Leaves the connections that are kept to those that use them: later requests open their own.
    pub(super) fn leave_connections(&self) {
        self.0.pools.store(Arc::new(self.0.plan.pools()));
    }
}

impl PoolPlan {
    fn pools(&self) -> Pools {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(self.idle_max)
            .http1_max_headers(HTTP1_FIELDS_MAX)
            .http2_only(self.http2_only)
            .http2_max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            .http2_keep_alive_interval(HTTP2_PING_EVERY)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .retry_canceled_requests(true)
            .set_host(false)
            .build(self.connector.clone());
        // Its connections leave with their tunnels; only one that was refused an upgrade could be used again.
        let upgrading = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(0)
            .http1_max_headers(HTTP1_FIELDS_MAX)
            .retry_canceled_requests(true)
            .set_host(false)
            .build(self.upgrading.clone());
        Pools { client, upgrading }
    }
}

impl Service<Request> for EndpointClient {
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let upgrade = request.extensions_mut().remove::<Upgrade>();
        let interim = request.extensions_mut().remove::<Interim>();
        let leave = request.extensions_mut().remove::<Repeat>();
        let Shared {
            target,
            pools,
            names,
            ..
        } = &*self.0;
        names.touch();
        if let Err(failure) = target.aim(&mut request, upgrade.as_ref()) {
            return Box::pin(std::future::ready(Err(failure)));
        }
        let gate = (!target.http2 && expect::expects_continue(&request)).then(Gate::default);
        if let Some(gate) = &gate {
            request = request.map(|content| gate.before(content));
        }
        let pools = pools.load();
        let again = leave
            .and_then(|leave| Again::of(&request, leave, interim.clone(), pools.upgrading.clone()));
        if interim.is_some() || gate.is_some() {
            let gate = gate.clone();
            hyper::ext::on_informational(&mut request, move |response| {
                match (response.status(), &gate, &interim) {
                    (StatusCode::CONTINUE, Some(gate), _) => gate.open(),
                    (status, _, Some(interim)) => interim.send(status, response.headers()),
                    _ => {}
                }
            });
        }
        let client = match upgrade {
            Some(_) => &pools.upgrading,
            None => &pools.client,
        };
        let response = client.request(request);
        Box::pin(async move {
            let mut response = match (response.await, again) {
                (Err(error), Some(again)) => again.instead_of(error).await?,
                (result, _) => result.map_err(cause::failure)?,
            };
            HasAnswered::note(&mut response);
            let response = received(response, upgrade)?;
            Ok(match gate {
                Some(gate) => response.map(|body| gate.answered(body)),
                None => response,
            })
        })
    }
}

fn received(
    mut response: http::Response<hyper::body::Incoming>,
    asked: Option<Upgrade>,
) -> Result<Response, Failure> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocols = response.headers().get(header::UPGRADE).cloned();
    if response.status().canonical_reason().is_none() {
        // RFC 9112 4: empty rather than words of hyper's, where the upstream had none.
        let extensions = response.extensions_mut();
        extensions.get_or_insert_with(|| ReasonPhrase::from_static(b""));
    }
    framing(response.headers_mut())?;
    hop::strip_response(response.headers_mut());
    if switched {
        // RFC 9110 15.2.2: only to what was asked for.
        let (Some(protocols), Some(asked)) = (protocols, asked) else {
            return Err(switched_unasked());
        };
        upgrade::say(response.headers_mut(), protocols);
        if !upgrade::is_answer_to(response.headers(), &asked) {
            return Err(switched_unasked());
        }
        let ours = Switched(hyper::upgrade::on(&mut response));
        response.extensions_mut().insert(ours);
    }
    Ok(response.map(Body::received))
}

/// Which framing the body came in, said once. hyper has read it by the last coding and the first length.
fn framing(headers: &mut HeaderMap) -> Result<(), Failure> {
    // RFC 9112 7: these would be left on the body, and nothing would say so any more. A word that is no registered coding
    // says nothing about the body.
    let is_left_on = |coding: &str| {
        ["gzip", "x-gzip", "deflate", "compress", "x-compress"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    };
    if hop::tokens(headers, &header::TRANSFER_ENCODING).any(is_left_on) {
        return Err(Failure::new(Cause::Protocol, Sent::MayHaveActed)
            .with_source("a transfer coding that is not understood here"));
    }
    // RFC 9110 8.6: several that agree are one. Those that differ hyper has refused.
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).into_iter();
    if let Some(first) = lengths.next().cloned()
        && (lengths.next().is_some() || first.as_bytes().contains(&b','))
    {
        let one = first.as_bytes().split(|byte| *byte == b',').next();
        let one = HeaderValue::from_bytes(one.unwrap_or_default().trim_ascii());
        headers.insert(header::CONTENT_LENGTH, one.unwrap_or(first));
    }
    Ok(())
}

fn switched_unasked() -> Failure {
    Failure::new(Cause::Protocol, Sent::MayHaveActed).with_source("switched protocols unasked")
}

// --- Target ---

/// How a request is aimed at the endpoint.
struct Target {
    endpoint: Uri,
    authority: Authority,
    /// Without a trailing slash; empty for none.
    base_path: Box<str>,
    host: UpstreamHost,
    /// HTTP/2 may be spoken: then the URI's authority is what the upstream sees.
    http2: bool,
    credentials: Credentials,
}

impl Target {
    fn new(upstream: &UpstreamConfig, endpoint: &Uri) -> Result<Self, UpstreamError> {
        let unusable = || UpstreamError::Endpoint {
            uri: endpoint.to_string(),
        };
        let (Some(scheme), Some(authority)) = (endpoint.scheme_str(), endpoint.authority()) else {
            return Err(unusable());
        };
        // Of `user:password@host` only the host is anybody's business (RFC 9110 4.2.4).
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let authority = host.parse().map_err(|_| unusable())?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(unusable()),
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            authority,
            base_path: endpoint.path().trim_end_matches('/').into(),
            host: upstream.host.clone(),
            http2: match upstream.protocol {
                UpstreamProtocol::Auto => tls,
                UpstreamProtocol::Http1 => false,
                UpstreamProtocol::Http2 => true,
            },
            credentials: Credentials::new(&upstream.credentials)?,
        })
    }

    fn port(&self) -> u16 {
        let default = match self.endpoint.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        self.authority.port_u16().unwrap_or(default)
    }

    fn aim(&self, request: &mut Request, upgrade: Option<&Upgrade>) -> Result<(), Failure> {
        let host = self.host(request);
        *request.uri_mut() = self
            .uri(request.uri(), &host)
            .map_err(|error| Failure::new(Cause::Internal, Sent::Nothing).with_source(error))?;
        // The pool picks the version; hyper refuses a request that insists on another.
        *request.version_mut() = Version::HTTP_11;
        request.extensions_mut().clear();
        let headers = request.headers_mut();
        // The listener has done so already; this is the guard at the other border.
        hop::strip_request(headers);
        if headers.contains_key(header::TE) && (!self.http2 || upgrade.is_some()) {
            // RFC 9110 10.1.4: in HTTP/1.1 `TE` travels only with a `Connection` that names it.
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        if let Some(Upgrade(protocols)) = upgrade {
            upgrade::say(headers, protocols.clone());
        }
        headers.insert(header::HOST, host);
        self.credentials.apply(headers);
        Ok(())
    }

    fn host(&self, request: &Request) -> HeaderValue {
        let preserved = match &self.host {
            UpstreamHost::Fixed(value) => return value.clone(),
            UpstreamHost::Endpoint => None,
            UpstreamHost::Preserve => request.headers().get(header::HOST).cloned(),
        };
        preserved.unwrap_or_else(|| {
            HeaderValue::from_str(self.authority.as_str())
                .expect("an authority has only characters a field can carry")
        })
    }

    /// With HTTP/2 and a preserved host the pool is split by the hosts that come in; the routes' own bound them, and
    /// `pool_idle_timeout` ends what is left over.
    fn uri(&self, path: &Uri, host: &HeaderValue) -> Result<Uri, http::Error> {
        // RFC 9113 8.3.1: `:authority` and `Host` must agree. The connector goes to the endpoint whatever it says.
        let authority = self
            .http2
            .then(|| Authority::try_from(host.as_bytes()).ok())
            .flatten()
            .unwrap_or_else(|| self.authority.clone());
        let path = path.path_and_query().map_or("/", PathAndQuery::as_str);
        let builder = Uri::builder()
            .scheme(self.endpoint.scheme_str().unwrap_or("http"))
            .authority(authority);
        if self.base_path.is_empty() {
            builder.path_and_query(path).build()
        } else {
            let joined = format!("{}{path}", self.base_path);
            builder.path_and_query(joined).build()
        }
    }
}

// --- Connector ---

/// Connects to its endpoint, whatever authority a request names, within `connect_timeout`: name, TCP and TLS.
#[derive(Clone)]
struct Connector {
    inner: HttpsConnector<Dialer>,
    endpoint: Uri,
    timeout: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn https_connector(
    protocol: UpstreamProtocol,
    tls: ClientConfig,
    dialer: Dialer,
) -> HttpsConnector<Dialer> {
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    match protocol {
        UpstreamProtocol::Auto => builder.enable_all_versions().wrap_connector(dialer),
        UpstreamProtocol::Http1 => builder.enable_http1().wrap_connector(dialer),
        UpstreamProtocol::Http2 => builder.enable_http2().wrap_connector(dialer),
    }
}

impl Service<Uri> for Connector {
    type Response = Kept<MaybeHttpsStream<TokioIo<Stream>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let limit = self.timeout;
        let connecting = timeout(limit, self.inner.call(self.endpoint.clone()));
        Box::pin(async move {
            match connecting.await {
                Ok(result) => result.map(Kept::new),
                Err(_) => Err(ConnectElapsed(limit).into()),
            }
        })
    }
}

/// Opens a connection to one of the endpoint's addresses.
#[derive(Clone)]
struct Dialer {
    names: Arc<Names>,
    transport: Arc<dyn Transport>,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { names, transport } = self.clone();
        Box::pin(async move {
            let addresses = names.addresses().await?;
            let mut losers = Losers::of(&names);
            let (address, stream) =
                network::race(&*transport, &addresses, &mut losers.addresses).await?;
            names.connected(address);
            Ok(TokioIo::new(stream))
        })
    }
}

/// Addresses that were tried in vain, told when the race is over, won or given up.
struct Losers<'a> {
    names: &'a Names,
    addresses: Vec<SocketAddr>,
}

impl<'a> Losers<'a> {
    fn of(names: &'a Names) -> Self {
        Self {
            names,
            addresses: Vec::new(),
        }
    }
}

impl Drop for Losers<'_> {
    fn drop(&mut self) {
        self.names.not_connected(&self.addresses);
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
pub(crate) mod tests;
