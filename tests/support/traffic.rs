//! Traffic: visitors who ask at a steady rate whatever the answers are like, and what they saw.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::Method;
use larder::{clock::Clock, stub::Stub};
use tokio::task::JoinHandle;

use super::{Client, LagMeter, Proxy, request};

/// What one visitor saw.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// When it asked, since the traffic began.
    pub at: Duration,
    pub elapsed: Duration,
    /// 200, whole, and a price.
    pub good: bool,
    /// Good, and not past its lifetime.
    pub fresh: bool,
}

/// What all visitors saw, in the order in which they asked, and what the vendor had to do with it.
pub struct Seen {
    pub visits: Vec<Visit>,
    /// Attempts upstream meanwhile, those that were refused a connection included.
    pub attempts: u64,
    /// What this machine added to waits at worst.
    pub lag: Duration,
}

/// A steady stream of visitors over the keys `/prices/0` to `/prices/{keys - 1}`.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub keys: usize,
    pub per_second: u32,
}

/// Visitors under way at once: enough that slow answers do not slow the asking down.
const VISITORS: usize = 64;

impl Traffic {
    /// Asks once for each key.
    pub async fn warm(self, proxy: &Proxy) {
        const AT_ONCE: usize = 16;
        let client = proxy.client.clone();
        let warming = (0..AT_ONCE).map(|first| {
            let client = client.clone();
            async move {
                for key in (first..self.keys).step_by(AT_ONCE) {
                    let reply = client.get(&format!("/prices/{key}")).await;
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
            }
        });
        join_all(warming).await;
    }

    /// Asks for this long, and waits for the answers and for what goes on behind them.
    pub async fn run(self, proxy: &Proxy, lasting: Duration) -> Seen {
        let before = attempts(proxy).await;
        let lag = LagMeter::start();
        let visits = self.visits(&proxy.client, lasting).await;
        let lag = lag.worst();
        Seen {
            visits,
            attempts: attempts(proxy).await - before,
            lag,
        }
    }

    /// The visits alone.
    pub async fn visits(self, client: &Client, lasting: Duration) -> Vec<Visit> {
        let begun = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let visitors = (0..VISITORS).map(|_| {
            let (client, next) = (client.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut visits = Vec::new();
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let at =
                        Duration::from_secs(1).mul_f64(nth as f64 / f64::from(self.per_second));
                    if at >= lasting {
                        return visits;
                    }
                    tokio::time::sleep_until((begun + at).into()).await;
                    let key = nth as usize % self.keys;
                    visits.push(visit(&client, key, begun).await);
                }
            })
        });
        let mut all = Vec::new();
        for visits in join_all(visitors).await {
            all.extend(visits.expect("a visitor does not panic"));
        }
        all.sort_by_key(|visit| visit.at);
        all
    }
}

async fn visit(client: &Client, key: usize, begun: Instant) -> Visit {
    let at = begun.elapsed();
    let asked = request(Method::GET, &format!("/prices/{key}"), &[]);
    let started = Instant::now();
    let reply = client.try_send(asked).await;
    let elapsed = started.elapsed();
    let good = reply.as_ref().is_ok_and(|reply| {
        let price = serde_json::from_slice::<serde_json::Value>(&reply.body);
        reply.status == 200 && price.is_ok_and(|body| body["price"].as_f64() > Some(0.0))
    });
    Visit {
        at,
        elapsed,
        good,
        fresh: good && reply.is_ok_and(|reply| !reply.is_stale()),
    }
}

/// Attempts begun towards the first upstream.
pub async fn attempts(proxy: &Proxy) -> u64 {
    let status = proxy.status().await;
    let attempts = status["upstreams"][0]["attempts"].as_u64();
    attempts.expect("attempts are counted")
}

// --- Seen ---

impl Seen {
    /// Share of good answers, in per cent.
    pub fn good_percent(&self) -> f64 {
        percent(self.visits.iter().map(|visit| visit.good))
    }

    /// Attempts upstream for each visitor's request.
    pub fn amplification(&self) -> f64 {
        self.attempts as f64 / self.visits.len() as f64
    }

    /// The time within which `percent` of the answers were there.
    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(self.visits.iter().map(|visit| visit.elapsed), percent)
    }
}

/// The `percent`th percentile.
pub fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    let nth = (times.len() * percent / 100).min(times.len() - 1);
    times[nth]
}

/// How many of a hundred hold.
pub fn percent(holds: impl Iterator<Item = bool>) -> f64 {
    let (mut held, mut all) = (0_u32, 0_u32);
    for holds in holds {
        held += u32::from(holds);
        all += 1;
    }
    f64::from(held) * 100.0 / f64::from(all.max(1))
}

/// When the share of fresh answers rose to 9 in 10 for good: the end of the last tenth of a second in which it was lower.
pub fn fresh_again(visits: &[Visit]) -> Duration {
    const SLICE: Duration = Duration::from_millis(100);
    let mut again = Duration::ZERO;
    let mut from = Duration::ZERO;
    let end = visits.last().map_or(Duration::ZERO, |visit| visit.at);
    while from <= end {
        let until = from + SLICE;
        let slice = visits
            .iter()
            .filter(|visit| from <= visit.at && visit.at < until);
        if slice.clone().next().is_some() && percent(slice.map(|visit| visit.fresh)) < 90.0 {
            again = until;
        }
        from = until;
    }
    again
}

/// A manual clock that goes on as real time does, and can be set forward besides.
pub struct Ticking {
    ticking: JoinHandle<()>,
}

impl Ticking {
    /// Moves the clock on until it is dropped.
    pub fn start(clock: &Clock) -> Self {
        const TICK: Duration = Duration::from_millis(5);
        let clock = clock.clone();
        let ticking = tokio::spawn(async move {
            let mut last = Instant::now();
            loop {
                // The tick of a clock.
                tokio::time::sleep(TICK).await;
                let now = Instant::now();
                clock.advance(now - last);
                last = now;
            }
        });
        Self { ticking }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

/// Counts what the vendor is asked, second by second, until it is dropped.
pub struct Meter {
    counts: Arc<std::sync::Mutex<Vec<(Duration, u64)>>>,
    looking: JoinHandle<()>,
}

impl Meter {
    /// From now on.
    pub fn start(vendor: Arc<Stub>) -> Self {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        let counts = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = Arc::clone(&counts);
        let begun = Instant::now();
        let looking = tokio::spawn(async move {
            loop {
                let look = (begun.elapsed(), vendor.asked_total());
                kept.lock().expect("nobody panics").push(look);
                // The pace of looking.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { counts, looking }
    }

    /// The most that was asked within any second so far.
    pub fn peak_per_second(&self) -> u64 {
        let counts = self.counts.lock().expect("nobody panics");
        let second = Duration::from_secs(1);
        let mut first = 0;
        let mut peak = 0;
        for (at, count) in counts.iter() {
            while counts[first].0 + second < *at {
                first += 1;
            }
            peak = peak.max(count - counts[first].1);
        }
        peak
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.looking.abort();
    }
}
