//! Versions: what vendors announce of the end of what a site relies on, and whether they still answer as was pinned.
//!
//! `... -> attempt -> [ears] -> balance`
//!
//! The head of every answer that comes back from an upstream is heard, good or bad: `Deprecation` and `Sunset` ([`fields`]),
//! links to successors, and statements about the pinned version ([`pin`]). [`watch`] decides what of it is news; this shell
//! holds one record per route, tells, and keeps what was told over restarts.
//!
//! # Invariants
//!
//! - An answer that says nothing costs look-ups by name and one atomic load: no lock, no allocation, no look at a clock.
//! - Nothing waits: what changed is marked, and written down by the [`Saver`]'s thread.
//! - What was told is kept: a restart repeats nothing, a crash at most what was told in the moment before it.
//!
//! What this does not do: change or refuse an answer.

pub mod fields;
pub mod pin;
pub mod review;
pub mod watch;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

pub use self::{
    fields::{Deprecation, Form, Sunset, Told, VersionLink, told},
    pin::{How, Statement},
    watch::{Change, Left, Mismatch, Notice, NoticeKind, RouteRecord},
};
use super::saver::{Saved, Saver};
use crate::{
    clock::{Clock, Timestamp},
    config::{RouteConfig, UpstreamConfig},
    http::Response,
};

/// Routes remembered that the config no longer has; of more, those not heard for longest are forgotten.
const FORMER_ROUTES_MAX: usize = 256;
/// A route that the config no longer has is forgotten after this.
const FORMER_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// Something about versions that a person should hear of.
#[derive(Debug)]
pub enum VersionEvent<'e> {
    /// A vendor announced something, or answers as another version.
    Changed {
        /// On which route.
        route: &'e RouteConfig,
        /// What.
        change: &'e Change,
    },
    /// The day of an integration's review is past.
    ReviewOverdue {
        /// Whose.
        upstream: &'e UpstreamConfig,
        /// Since how many days, at least 1.
        days: u64,
    },
}

type Tell = dyn Fn(&VersionEvent<'_>) + Send + Sync;

/// The versions of all routes. Clones share them.
#[derive(Clone)]
pub struct Versions(Arc<Shared>);

struct Shared {
    clock: Clock,
    /// Set once, after what is written down exists.
    saved: OnceLock<Saved>,
    tell: Box<Tell>,
    routes: Mutex<BTreeMap<Arc<str>, Arc<RouteWatch>>>,
    /// When each upstream's overdue review was told of last.
    reviews: Mutex<BTreeMap<String, Timestamp>>,
}

/// One route, heard by its ears.
struct RouteWatch {
    record: Mutex<RouteRecord>,
    /// Whether the record has to be looked at where an answer says nothing.
    has_notices: AtomicBool,
    mismatches: AtomicU64,
}

/// What is kept: records by route.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    format: u32,
    routes: BTreeMap<String, RouteRecord>,
    reviews: BTreeMap<String, Timestamp>,
}

const FORMAT: u32 = 1;

/// The name under which it is kept.
const KEPT_AS: &str = "versions";

/// A route at one moment.
#[derive(Clone, Debug)]
pub struct RouteSnapshot {
    /// What its vendor announced, and which versions it named.
    pub record: RouteRecord,
    /// Answers so far that named another version than the pinned one.
    pub mismatches: u64,
}

// --- Versions ---

impl Versions {
    /// With what `saver` kept, and kept by it. Blocks: for starts, off the async threads. `tell` hears of every event and
    /// must not wait.
    pub fn open(
        clock: Clock,
        saver: &Saver,
        tell: impl Fn(&VersionEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        let versions = Self::new(clock, saver.load(KEPT_AS).as_deref(), tell);
        let weak = Arc::downgrade(&versions.0);
        let write_down = move || {
            let shared = weak.upgrade();
            shared.map_or_else(Vec::new, |shared| shared.written_down())
        };
        let saved = saver.source(KEPT_AS, Arc::new(write_down));
        versions.0.saved.get_or_init(|| saved);
        versions
    }

    /// With what was kept (`None`: nothing), and kept by nobody.
    fn new(
        clock: Clock,
        kept: Option<&[u8]>,
        tell: impl Fn(&VersionEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        let kept = kept.map_or_else(Kept::default, Kept::read);
        let routes = kept.routes.into_iter();
        let routes = routes.map(|(name, record)| (Arc::from(name), RouteWatch::new(record)));
        Self(Arc::new(Shared {
            clock,
            saved: OnceLock::new(),
            tell: Box::new(tell),
            routes: Mutex::new(routes.collect()),
            reviews: Mutex::new(kept.reviews),
        }))
    }

    /// Tells nobody and keeps nothing.
    pub fn deaf() -> Self {
        Self::new(Clock::System, None, |_| {})
    }

    /// What hears the head of every answer of this route; as close to the upstream as there is one.
    pub fn ears(
        &self,
        route: &Arc<RouteConfig>,
    ) -> impl Fn(Response) -> Response + Clone + Send + Sync + 'static + use<> {
        let (versions, route) = (self.clone(), Arc::clone(route));
        let watch = self.watch(&route.name);
        move |response| {
            versions.heard(&route, &watch, response.status(), response.headers());
            response
        }
    }

    /// The record of the route of this name; the same one for the same name, so that a reload goes on with it.
    fn watch(&self, name: &Arc<str>) -> Arc<RouteWatch> {
        let mut routes = lock(&self.0.routes);
        let watch = routes.entry(Arc::clone(name));
        Arc::clone(watch.or_insert_with(|| RouteWatch::new(RouteRecord::default())))
    }

    fn heard(
        &self,
        route: &RouteConfig,
        watch: &RouteWatch,
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        let told = told(headers);
        let pinned = route.api_version.as_deref();
        let statements = pinned.map_or_else(Vec::new, |pinned| {
            pin::statements(pinned, status, headers, &told.links)
        });
        if told.is_nothing() && statements.is_empty() && !watch.has_notices.load(Ordering::Relaxed)
        {
            return;
        }
        let now = self.0.clock.now();
        // A 304 speaks for the answer it confirms (RFC 9110 15.4.5).
        let is_success = status.is_success() || status == StatusCode::NOT_MODIFIED;
        let changes = {
            let mut record = lock(&watch.record);
            let mut changes = record.hear(&told, is_success, now);
            if let Some(pinned) = pinned
                && !statements.is_empty()
            {
                watch.mismatches.fetch_add(1, Ordering::Relaxed);
                changes.extend(record.compare(pinned.text(), statements, now));
            }
            let has_notices = record.has_notices();
            watch.has_notices.store(has_notices, Ordering::Relaxed);
            changes
        };
        self.tell(route, &changes);
    }

    fn tell(&self, route: &RouteConfig, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.keep_now();
        for change in changes {
            (self.0.tell)(&VersionEvent::Changed { route, change });
        }
    }

    /// What time alone makes worth telling: dates that came nearer while nobody asked, reviews that are overdue. To be
    /// called at start and about once an hour.
    pub fn remind(&self, routes: &[Arc<RouteConfig>], upstreams: &[Arc<UpstreamConfig>]) {
        let now = self.0.clock.now();
        for route in routes {
            let watch = self.watch(&route.name);
            let changes = lock(&watch.record).due(now);
            self.tell(route, &changes);
        }
        for upstream in upstreams {
            self.review(upstream, now);
        }
        self.forget(routes, now);
        self.keep();
    }

    fn review(&self, upstream: &UpstreamConfig, now: Timestamp) {
        let overdue = upstream
            .review_by
            .and_then(|day| review::overdue_days(day, now));
        let mut reviews = lock(&self.0.reviews);
        let Some(days) = overdue else {
            reviews.remove(&*upstream.name);
            return;
        };
        if !review::is_due(reviews.get(&*upstream.name).copied(), now) {
            return;
        }
        reviews.insert(upstream.name.to_string(), now);
        drop(reviews);
        self.keep_now();
        (self.0.tell)(&VersionEvent::ReviewOverdue { upstream, days });
    }

    /// Forgets routes that the config no longer has, later or sooner by how many they are.
    fn forget(&self, routes: &[Arc<RouteConfig>], now: Timestamp) {
        let mut watches = lock(&self.0.routes);
        let is_configured = |name: &str| routes.iter().any(|route| *route.name == *name);
        let mut former: Vec<_> = watches
            .iter()
            .filter(|(name, _)| !is_configured(name))
            .map(|(name, watch)| (lock(&watch.record).last_seen(), Arc::clone(name)))
            .collect();
        former.sort_unstable_by(|a, b| b.cmp(a));
        for (nth, (last_seen, name)) in former.iter().enumerate() {
            if nth >= FORMER_ROUTES_MAX || now.since(*last_seen) > FORMER_FOR {
                watches.remove(name);
            }
        }
    }

    /// One route as it stands; `None`: nothing was heard of it.
    pub fn snapshot(&self, route: &str) -> Option<RouteSnapshot> {
        let watch = lock(&self.0.routes).get(route).cloned()?;
        let record = lock(&watch.record).clone();
        Some(RouteSnapshot {
            record,
            mismatches: watch.mismatches.load(Ordering::Relaxed),
        })
    }

    /// The clock by which days are counted.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// What was told is not told again, even if this process ends in a moment.
    fn keep_now(&self) {
        if let Some(saved) = self.0.saved.get() {
            saved.mark_urgent();
        }
    }

    fn keep(&self) {
        if let Some(saved) = self.0.saved.get() {
            saved.mark();
        }
    }
}

impl Shared {
    fn written_down(&self) -> Vec<u8> {
        let routes = lock(&self.routes).clone();
        let routes = routes
            .iter()
            .map(|(name, watch)| (name.to_string(), lock(&watch.record).clone()))
            .filter(|(_, record)| *record != RouteRecord::default());
        let kept = Kept {
            format: FORMAT,
            routes: routes.collect(),
            reviews: lock(&self.reviews).clone(),
        };
        // Text and numbers by name: nothing in it that JSON could not say.
        serde_json::to_vec(&kept).unwrap_or_default()
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").finish_non_exhaustive()
    }
}

impl Kept {
    /// What cannot be read is as good as nothing: it is told once more.
    fn read(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(kept) if kept.format == FORMAT => kept,
            Ok(_) => Self::default(),
            Err(error) => {
                tracing::warn!(%error, "what was known of versions cannot be read: it is told once more");
                Self::default()
            }
        }
    }
}

impl RouteWatch {
    fn new(record: RouteRecord) -> Arc<Self> {
        Arc::new(Self {
            has_notices: AtomicBool::new(record.has_notices()),
            record: Mutex::new(record),
            mismatches: AtomicU64::new(0),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Records whose parts stand each for itself: at worst something is told twice.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
