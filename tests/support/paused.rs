//! The whole proxy in virtual time: no socket, one thread, a vendor in memory. Times are exact, whatever the machine does,
//! and an hour passes as fast as its requests are answered.
//!
//! For a runtime whose clock is paused (`start_paused = true`). The vendor needs [`ROUND_TRIP`] for a good answer. What
//! only a real wire shows (resets, framing) is tested against the stub.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use larder::{
    app::App,
    chance,
    clock::Clock,
    config::{self, FixedEnv},
    http::Body,
    observe::TransactionLogger,
    upstream::{
        Network,
        network::{Connecting, Stream, Transport},
    },
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    NOW, framed,
    traffic::{Traffic, Visit},
};

/// What a good answer takes, and an error.
pub const ROUND_TRIP: Duration = Duration::from_millis(5);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is wrong with the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Every answer is an error, at once.
    Status {
        status: u16,
        retry_after: Option<u32>,
    },
    /// Every second answer is.
    Half(u16),
    /// No answer comes; connections stay.
    Hang,
    /// Good answers, this much later.
    Latency(Duration),
    /// Connections are refused, and those that are open end.
    Refuse,
    /// Nothing passes between us any more, and nobody is told: connections that are open then never answer again, not
    /// even after the end of the trouble.
    Vanish,
    /// This trouble in the first half of each period.
    Flap(Duration, Box<Trouble>),
}

/// The vendor; clones are the same one.
#[derive(Clone)]
pub struct Vendor(Arc<State>);

struct State {
    story: Mutex<Story>,
    /// Grows when connections that are open end (`Refuse`), or die (`Vanish`).
    ended: watch::Sender<u64>,
    died: watch::Sender<u64>,
}

struct Story {
    trouble: Trouble,
    since: Instant,
    /// When each request or refused connection came, for as long as anybody may look.
    asked: VecDeque<Instant>,
    answers: u64,
}

/// A proxy and its vendor.
pub struct Scene {
    pub vendor: Vendor,
    app: App,
}

// --- Vendor ---

impl Vendor {
    fn new() -> Self {
        Self(Arc::new(State {
            story: Mutex::new(Story {
                trouble: Trouble::None,
                since: Instant::now(),
                asked: VecDeque::new(),
                answers: 0,
            }),
            ended: watch::Sender::new(0),
            died: watch::Sender::new(0),
        }))
    }

    /// From now on.
    pub fn suffers(&self, trouble: Trouble) {
        match trouble {
            Trouble::Refuse => self.0.ended.send_modify(|count| *count += 1),
            Trouble::Vanish => self.0.died.send_modify(|count| *count += 1),
            _ => {}
        }
        let mut story = self.story();
        story.trouble = trouble;
        story.since = Instant::now();
    }

    /// The most it was asked within any second that began at `from` or later.
    pub fn peak_per_second(&self, from: Instant) -> usize {
        let story = self.story();
        let asked: Vec<_> = story.asked.iter().filter(|at| **at >= from).collect();
        let mut first = 0;
        let mut peak = 0;
        for (nth, at) in asked.iter().enumerate() {
            while *asked[first] + Duration::from_secs(1) <= **at {
                first += 1;
            }
            peak = peak.max(nth + 1 - first);
        }
        peak
    }

    /// How often it was asked since `from`.
    pub fn asked_since(&self, from: Instant) -> usize {
        let story = self.story();
        story.asked.iter().filter(|at| **at >= from).count()
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.0.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong at this moment. Counts as being asked.
    fn asked(&self) -> Trouble {
        const KEPT: usize = 1 << 20;
        let mut story = self.story();
        if story.asked.len() == KEPT {
            story.asked.pop_front();
        }
        story.asked.push_back(Instant::now());
        story.answers += 1;
        match story.now() {
            Trouble::Half(_) if story.answers.is_multiple_of(2) => Trouble::None,
            trouble => trouble.clone(),
        }
    }

    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let trouble = self.asked();
        let wait = match trouble {
            Trouble::Hang | Trouble::Vanish | Trouble::Refuse => std::future::pending().await,
            Trouble::Latency(more) => ROUND_TRIP + more,
            _ => ROUND_TRIP,
        };
        tokio::time::sleep(wait).await;
        let (status, retry_after) = match trouble {
            Trouble::Status {
                status,
                retry_after,
            } => (status, retry_after),
            Trouble::Half(status) => (status, None),
            _ => (200, None),
        };
        let body = format!(r#"{{"path":"{}","price":1}}"#, request.uri().path());
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        Ok(response)
    }
}

impl Story {
    fn now(&self) -> &Trouble {
        match &self.trouble {
            Trouble::Flap(period, trouble) => {
                let into = self.since.elapsed().as_nanos() % period.as_nanos();
                match into < period.as_nanos() / 2 {
                    true => trouble,
                    false => &Trouble::None,
                }
            }
            trouble => trouble,
        }
    }
}

impl Transport for Vendor {
    fn connect(&self, _: SocketAddr) -> Connecting {
        let vendor = self.clone();
        Box::pin(async move {
            let trouble = vendor.story().now().clone();
            match trouble {
                Trouble::Refuse => {
                    vendor.asked();
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Trouble::Vanish => std::future::pending().await,
                _ => {}
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(vendor.serve(theirs));
            Ok(Stream::Other(Box::new(ours)))
        })
    }
}

impl Vendor {
    async fn serve(self, io: tokio::io::DuplexStream) {
        let (mut ended, mut died) = (self.0.ended.subscribe(), self.0.died.subscribe());
        let service = service_fn(move |request| self.clone().answer(request));
        let mut protocol = hyper::server::conn::http1::Builder::new();
        // It would be the system's, which is not the time here.
        protocol.auto_date_header(false);
        let mut serving = std::pin::pin!(protocol.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            // How a connection ends is a matter of the story.
            _ = &mut serving => {}
            _ = ended.changed() => {}
            // Held, and never looked at again.
            Ok(()) = died.changed() => std::future::pending().await,
        }
    }
}

// --- Scene ---

impl Scene {
    /// A proxy by this config, whose upstreams all are one vendor. What is drawn by chance follows from `seed`.
    pub async fn start(toml: &str, seed: u64) -> Self {
        chance::seed_this_thread(seed);
        let toml = framed(&toml.replace("{vendor}", "http://192.0.2.1"), false);
        let config = config::parse(&toml, Path::new("test.toml"), &FixedEnv::default())
            .unwrap_or_else(|errors| panic!("{errors}"));
        let vendor = Vendor::new();
        let network = Network::system().with_transport(vendor.clone());
        let clock = Clock::of_runtime(NOW);
        let app = App::start_over(&network, config, clock, TransactionLogger::off())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Self { vendor, app }
    }

    /// Asks once for each key, one after the other.
    pub async fn warm(&self, keys: usize) {
        for key in 0..keys {
            let visit = visit(self.app.front().clone(), key, Instant::now()).await;
            assert!(visit.good, "{visit:?}");
        }
    }

    /// Attempts begun so far towards all upstreams.
    pub fn attempts(&self) -> u64 {
        let upstreams = self.app.upstreams().iter();
        upstreams.map(|it| it.snapshot().stats.attempts).sum()
    }

    /// The breaker's phase.
    pub fn breaker(&self) -> &'static str {
        self.app.upstreams()[0].snapshot().breaker.phase.as_str()
    }

    /// Visitors who ask at a steady rate for this long, and wait for their answers.
    pub async fn visits(&self, traffic: Traffic, lasting: Duration) -> Vec<Visit> {
        let begun = Instant::now();
        let mut visits = JoinSet::new();
        let mut all = Vec::new();
        for nth in 0_u64.. {
            let at = Duration::from_secs(1).mul_f64(nth as f64 / f64::from(traffic.per_second));
            if at >= lasting {
                break;
            }
            // Virtual.
            tokio::time::sleep_until(begun + at).await;
            let key = nth as usize % traffic.keys;
            visits.spawn(visit(self.app.front().clone(), key, begun));
            while let Some(done) = visits.try_join_next() {
                all.push(done.expect("a visitor does not panic"));
            }
        }
        all.extend(visits.join_all().await);
        all.sort_by_key(|visit| visit.at);
        all
    }
}

async fn visit(front: larder::front::Front, key: usize, begun: Instant) -> Visit {
    let at = begun.elapsed();
    let asked = http::Request::builder()
        .uri(format!("/prices/{key}"))
        .header("host", "shop.example")
        .body(Body::empty())
        .expect("a valid request");
    let started = Instant::now();
    let Ok(answer) = front.answer(CLIENT, asked).await;
    let status = answer.status();
    let is_stale = answer
        .headers()
        .get("cache-status")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("ttl=-"));
    let body = answer.into_body().collect().await;
    let elapsed = started.elapsed();
    let wanted = format!(r#"{{"path":"/prices/{key}","price":1}}"#);
    let good = status == 200 && body.is_ok_and(|body| body.to_bytes() == wanted);
    Visit {
        at,
        elapsed,
        good,
        fresh: good && !is_stale,
    }
}
