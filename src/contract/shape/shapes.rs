//! The shell: the shapes of all routes, and the one thread that learns them.
//!
//! # Invariants
//!
//! - What is held for the thread is bounded ([`super::queue`]), bodies that still arrive included.
//! - Of more answers than there is time for, the latest are learnt: a change is noticed however fast answers come, and
//!   also where nobody asks any more.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Accepted, Change, Class, Place, Shape,
    bounds::DriftConfig,
    learner::{Learner, Skipped},
    pace::Pace,
    queue::{Answer, Job, Queue},
};
use crate::{
    clock::Clock,
    config::{Config, RouteConfig},
    contract::{Saved, Saver},
    observe::{Alert, Alerts, Samples, Source},
};

/// Changes of one answer that are an alert each; more are one together.
const ALERTS_AT_ONCE_MAX: usize = 10;
/// Answers of a route that wait until there is time for them; an older one makes room.
const LATEST_MAX: usize = 16;
/// Answers that wait for the thread, however short they are.
const JOBS_MAX: usize = 4_096;
/// How often the thread looks whether there is time for those.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The shapes of all routes, and the thread that learns them. Clones share both.
#[derive(Clone)]
pub struct Shapes(Arc<Inner>);

struct Inner {
    clock: Clock,
    started: Instant,
    alerts: Alerts,
    saver: Saver,
    queue: Arc<Queue>,
    routes: Mutex<BTreeMap<Arc<str>, Arc<Route>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

pub(super) struct Route {
    name: Arc<str>,
    pub(super) config: Mutex<Configured>,
    pub(super) shape: Mutex<Shape>,
    pace: Mutex<Pace>,
    /// The latest that came too fast, oldest first.
    latest: Mutex<VecDeque<Answer>>,
    saved: OnceLock<Saved>,
    pub(super) learnt: AtomicU64,
    skipped: [AtomicU64; Skipped::ALL.len()],
}

#[derive(Clone)]
pub(super) struct Configured {
    pub(super) drift: Arc<DriftConfig>,
    owner: Option<String>,
    runbook: Option<String>,
}

/// What is known of one route, for the admin API.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub route: String,
    /// Answers learnt, over restarts.
    pub answers: u64,
    /// Answers not learnt since the start, by reason.
    pub skipped: Vec<(&'static str, u64)>,
    /// Values of the latest answer beyond the bounds.
    pub unwatched: u64,
    /// Answers until something counts as known.
    pub answers_min: u64,
    /// Reported and suspected, worst first.
    pub changes: Vec<Change>,
    /// Who is called.
    pub owner: Option<String>,
    /// What they read then.
    pub runbook: Option<String>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A shape that a panic left behind is one that has missed a part of an answer.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- Shapes ---

impl Shapes {
    /// Nothing known yet; what is kept is loaded with each route.
    pub fn new(clock: Clock, alerts: Alerts, saver: Saver, queue_bytes_max: u64) -> Self {
        Self(Arc::new(Inner {
            clock,
            started: Instant::now(),
            alerts,
            saver,
            queue: Arc::new(Queue::new(queue_bytes_max)),
            routes: Mutex::default(),
            ended: Mutex::new(None),
        }))
    }

    /// Hears the answers of this route; `None` where it does not learn. The same route of another config goes on where it
    /// was. What is kept of it is loaded by the thread, before its first answer.
    pub fn learner(&self, route: &RouteConfig) -> Option<Learner> {
        let drift = route.drift.clone();
        let Some(drift) = drift else {
            lock(&self.0.routes).remove(&route.name);
            return None;
        };
        let configured = Configured {
            drift: Arc::clone(&drift),
            owner: route.upstream.owner.clone(),
            runbook: route.upstream.runbook.clone(),
        };
        let found = {
            let mut routes = lock(&self.0.routes);
            let made = || Arc::new(Route::new(&route.name, configured.clone()));
            Arc::clone(routes.entry(Arc::clone(&route.name)).or_insert_with(made))
        };
        *lock(&found.config) = configured;
        self.begin();
        self.0.queue.open(Arc::clone(&found));
        Some(Learner {
            route: found,
            drift,
            queue: Arc::clone(&self.0.queue),
            started: self.0.started,
        })
    }

    /// The thread, with the first route that learns.
    fn begin(&self) {
        let mut jobs = lock(&self.0.queue.jobs);
        let mut ended = lock(&self.0.ended);
        if jobs.is_some() || ended.is_some() {
            return;
        }
        let (sender, incoming) = mpsc::sync_channel(JOBS_MAX);
        let (alive, end) = oneshot::channel();
        let (clock, alerts, saver) = (
            self.0.clock.clone(),
            self.0.alerts.clone(),
            self.0.saver.clone(),
        );
        let at = self.0.started;
        let started = thread::Builder::new()
            .name("larder-drift".to_owned())
            .spawn(move || {
                let mut thread = LearningThread {
                    clock,
                    alerts,
                    saver,
                    started: at,
                    waiting: Vec::new(),
                };
                thread.run(&incoming);
                drop(alive);
            });
        match started {
            Ok(_) => (*jobs, *ended) = (Some(sender), Some(end)),
            Err(error) => tracing::error!(
                %error,
                "the thread that learns the shape of answers could not be started; changes of vendors are not noticed"
            ),
        }
    }

    /// What a new config no longer has is forgotten here; what is kept of it on disk stays.
    pub fn follow(&self, config: &Config) {
        let is_there = |name: &Arc<str>| config.routes.iter().any(|route| *route.name == **name);
        lock(&self.0.routes).retain(|name, _| is_there(name));
    }

    /// Learns what waits and ends the thread; one that takes longer than `within` is left behind.
    pub async fn close(&self, within: Duration) {
        drop(lock(&self.0.queue.jobs).take());
        let ended = lock(&self.0.ended).take();
        if let Some(ended) = ended {
            let _ = tokio::time::timeout(within, ended).await;
        }
    }

    /// What is known of every route that learns, by name.
    pub fn known(&self) -> Vec<Known> {
        let routes: Vec<_> = lock(&self.0.routes).values().cloned().collect();
        routes.iter().map(|route| route.known()).collect()
    }

    /// The same of one route, with its places.
    pub fn known_of(&self, name: &str) -> Option<(Known, Vec<Place>)> {
        let route = lock(&self.0.routes).get(name).cloned()?;
        let places = lock(&route.shape).places();
        Some((route.known(), places))
    }

    /// Takes reported changes of a route into what is known; `None` where no such route learns.
    pub fn accept(&self, name: &str, wanted: &Accepted) -> Option<Vec<Change>> {
        let route = lock(&self.0.routes).get(name).cloned()?;
        let done = lock(&route.shape).accept(wanted);
        route.changed();
        Some(done)
    }
}

impl fmt::Debug for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shapes").finish_non_exhaustive()
    }
}

impl Source for Shapes {
    fn sample(&self, samples: &mut Samples) {
        let routes: Vec<_> = lock(&self.0.routes).values().cloned().collect();
        for route in routes {
            let changes = lock(&route.shape).changes();
            for class in Class::ALL {
                let is_open = |it: &&Change| it.reported && !it.ended && it.class == class;
                samples.gauge(
                    "drift_changes",
                    "Changes in a vendor's answers that were reported, have not ended and are not accepted",
                    &[("route", &route.name), ("class", class.as_str())],
                    changes.iter().filter(is_open).count() as f64,
                );
            }
            let help = "Answers heard for their shape: learnt, or why not";
            let learnt = route.learnt.load(Ordering::Relaxed);
            let labels = [("route", &*route.name), ("result", "learnt")];
            samples.counter("drift_answers", help, &labels, learnt);
            for (why, count) in route.skips() {
                let labels = [("route", &*route.name), ("result", why)];
                samples.counter("drift_answers", help, &labels, count);
            }
        }
    }
}

// --- LearningThread ---

struct LearningThread {
    clock: Clock,
    alerts: Alerts,
    saver: Saver,
    started: Instant,
    /// Routes with answers that wait.
    waiting: Vec<Arc<Route>>,
}

impl LearningThread {
    fn run(&mut self, incoming: &mpsc::Receiver<Job>) {
        loop {
            let job = match self.waiting.is_empty() {
                true => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => incoming.recv_timeout(LOOK_EVERY),
            };
            match job {
                Ok(job) => self.safely(|thread| thread.take(job)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.safely(|thread| thread.look(None));
                    return;
                }
            }
            let now = self.started.elapsed();
            self.safely(|thread| thread.look(Some(now)));
        }
    }

    /// An answer that meets a defect of ours is passed over; the thread goes on.
    fn safely(&mut self, step: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_err() {
            tracing::error!("learning an answer met a defect of larder; it is passed over");
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Open(route) => route.open(&self.saver),
            Job::Answer(answer) => answer.learn(&self.clock, &self.alerts),
            Job::Waiting(route) => self.waiting.push(route),
        }
    }

    /// Learns of those that wait as many as there is time for; without a time, all.
    fn look(&mut self, now: Option<Duration>) {
        for route in std::mem::take(&mut self.waiting) {
            while let Some(answer) = route.next_waiting(now) {
                answer.learn(&self.clock, &self.alerts);
            }
            if !lock(&route.latest).is_empty() {
                self.waiting.push(route);
            }
        }
    }
}

// --- Route ---

impl Route {
    fn new(name: &Arc<str>, configured: Configured) -> Self {
        let pace = Pace::new(configured.drift.answers_burst, Duration::ZERO);
        Self {
            name: Arc::clone(name),
            config: Mutex::new(configured),
            shape: Mutex::default(),
            pace: Mutex::new(pace),
            latest: Mutex::default(),
            saved: OnceLock::new(),
            learnt: AtomicU64::new(0),
            skipped: Default::default(),
        }
    }

    /// To the thread, or to the latest that wait: where there is no time for it, or where others wait already.
    pub(super) fn hand_over(self: &Arc<Self>, answer: Answer, queue: &Queue, now: Duration) {
        let mut latest = lock(&self.latest);
        let is_first = latest.is_empty();
        if is_first && self.has_time(&answer, now) {
            drop(latest);
            if !queue.send(Job::Answer(answer)) {
                self.skip(Skipped::Full);
            }
            return;
        }
        if latest.len() == LATEST_MAX {
            latest.pop_front();
            self.skip(Skipped::Rate);
        }
        latest.push_back(answer);
        // Told under the lock: those that wait are known to the thread, or there are none.
        if is_first && !queue.send(Job::Waiting(Arc::clone(self))) {
            latest.clear();
            self.skip(Skipped::Full);
        }
    }

    fn has_time(&self, answer: &Answer, now: Duration) -> bool {
        let (rate, burst) = {
            let configured = lock(&self.config);
            let drift = &configured.drift;
            (drift.answers_per_second, drift.answers_burst)
        };
        let mut pace = lock(&self.pace);
        let has_time = pace.admit(rate, burst, now);
        if has_time {
            pace.charge(answer.held.bytes);
        }
        has_time
    }

    /// The next of those that wait, where there is time for it, or at the end in any case.
    fn next_waiting(&self, now: Option<Duration>) -> Option<Answer> {
        let mut latest = lock(&self.latest);
        let has_time = match (latest.front(), now) {
            (Some(answer), Some(now)) => self.has_time(answer, now),
            (answer, _) => answer.is_some(),
        };
        if has_time { latest.pop_front() } else { None }
    }

    /// What is kept of it, with what its config ignores by now.
    fn open(self: &Arc<Self>, saver: &Saver) {
        let name = format!("drift/{}", self.name);
        if self.saved.get().is_none() {
            if let Some(kept) = saver.load(&name) {
                match Shape::decode(&kept) {
                    Some(shape) => *lock(&self.shape) = shape,
                    None => tracing::warn!(
                        route = &*self.name,
                        "the shape that is kept of a route's answers is of another version of larder; it is learnt anew"
                    ),
                }
            }
            let route = Arc::clone(self);
            let write_down = Arc::new(move || lock(&route.shape).encode());
            let _ = self.saved.set(saver.source(name, write_down));
        }
        let drift = Arc::clone(&lock(&self.config).drift);
        lock(&self.shape).ignore(&drift.bounds.ignore);
    }

    pub(super) fn changed(&self) {
        if let Some(saved) = self.saved.get() {
            saved.mark();
        }
    }

    pub(super) fn skip(&self, why: Skipped) {
        self.skipped[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn skips(&self) -> Vec<(&'static str, u64)> {
        let counts = Skipped::ALL.iter().zip(&self.skipped);
        counts
            .map(|((_, word), count)| (*word, count.load(Ordering::Relaxed)))
            .collect()
    }

    fn known(&self) -> Known {
        let configured = lock(&self.config).clone();
        let shape = lock(&self.shape);
        Known {
            route: self.name.to_string(),
            answers: shape.answers(),
            skipped: self.skips(),
            unwatched: shape.unwatched(),
            answers_min: configured.drift.bounds.answers_min,
            changes: shape.changes(),
            owner: configured.owner,
            runbook: configured.runbook,
        }
    }

    pub(super) fn tell(&self, changes: &[Change], alerts: &Alerts) {
        let configured = lock(&self.config).clone();
        for (at, change) in changes.iter().enumerate() {
            tracing::info!(
                target: "larder::drift",
                route = &*self.name,
                path = change.path,
                change = change.change.as_str(),
                class = change.class.as_str(),
                "{change}"
            );
            let kind = match change.class {
                Class::Breaking => "drift_breaking",
                Class::Warning => "drift_warning",
                Class::Info => continue,
            };
            let more = changes.len() - at;
            let is_last = at + 1 == ALERTS_AT_ONCE_MAX && more > 1;
            let more = match is_last {
                true => format!("; {} more changes came with it", more - 1),
                false => String::new(),
            };
            let message = format!(
                "the vendor's answers changed: {change}{more}; `larder drift {name}` shows all, `larder drift accept {name}` \
                 takes them as they are now",
                name = self.name
            );
            alerts.raise(Alert {
                kind,
                // One subject per place and change: alerts of one subject are held back for a minute.
                subject: format!("route {}: {} {}", self.name, change.path, change.change),
                message,
                owner: configured.owner.clone(),
                runbook: configured.runbook.clone(),
            });
            if is_last {
                break;
            }
        }
    }
}
