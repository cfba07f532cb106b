//! The book: what has happened so far, and the invariants of the design, each checked when something happens that could
//! break it. Numbers are those of the design's list.
//!
//! 1. A failure never makes things worse: an answer is some version that was true not longer ago than the route allows,
//!    and never an older one than was answered before; with a usable copy there is no error.
//! 2. Whole or nothing: a body that ends cleanly is whole.
//! 3. With a usable copy nobody waits longer than `stale_after`; nobody waits longer than `deadline`.
//! 4. One key, one fetch; one that is under way is not given up because a client is.
//! 5. A sick upstream is left alone: retries inside the budget, probes capped, few contacts while it is out.
//! 6. Survives its own death: what was flushed before a kill is there after it, with every vendor down.
//! 7. Bounded: requests in flight; everything is given back.
//! 9. Private stays private.
//! 10. Every answer explains itself.
//!
//! What an order (POST) did is done once (RFC 9110 9.2.2).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use http::{HeaderMap, StatusCode};
use larder::resilience::breaker::Phase;

use crate::{
    clients::{Got, Visit},
    diary::Diary,
    network::Wire,
    schedule::Schedule,
    vendor::Asked,
    world::{self, BUDGET, IN_FLIGHT_MAX, Kind, PROBES, ROUTES, Truth, UPSTREAMS},
};

/// Virtual milliseconds that an answer may be late: timers have whole ones.
const SLACK: u64 = 20;
/// How long nothing was wrong before an answer has to be as fresh as in good times.
const RECOVERED_AFTER: u64 = 60_000;
/// The window that retries and contacts are counted in.
const WINDOW: u64 = 10_000;
/// The longest `attempt_timeout`, and a look.
const LONGEST_ATTEMPT: u64 = 5_500;
/// Most contacts in a window with a vendor that has been out for one window, and for seven.
const CONTACTS_MAX: (usize, usize) = (60, 30);

/// A vendor's number for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A request that a vendor works at.
struct Exchange {
    asked: Asked,
    route: Option<usize>,
    at: u64,
    wire: Arc<Wire>,
}

impl Exchange {
    fn is_shared_get(&self) -> bool {
        self.asked.method == "GET" && self.route.is_some_and(|route| ROUTES[route].is_shared())
    }
}

/// What is known of a resource from the answers that were given.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The latest version that somebody was given.
    newest: u64,
    /// A copy is stored since then …
    stored_since: u64,
    /// … and of use at least until then.
    usable_until: u64,
}

/// What one upstream showed of late.
#[derive(Default)]
struct Watched {
    contacts: VecDeque<u64>,
    /// Since when it has been contacted without a pause as long as the window: only then can anything be known of it.
    contacted_since: u64,
    connections: usize,
    /// Time, attempts and retries so far.
    samples: VecDeque<(u64, u64, u64)>,
    closed_since: Option<u64>,
    opened: u64,
    /// Refused here, so far, and when that grew last.
    refused: (u64, u64),
}

/// How often what happened: a run in which nothing does proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub visits: u64,
    pub asked: u64,
    pub hits: u64,
    pub stale: u64,
    pub stale_if_error: u64,
    pub errors: u64,
    pub broken: u64,
    pub hung_up: u64,
    pub orders: u64,
    pub aborted: u64,
    pub opened: u64,
    /// Copies that had to answer after a kill.
    pub survived: usize,
    pub contacts_while_out: usize,
    pub contacts_while_long_out: usize,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.visits += other.visits;
        self.asked += other.asked;
        self.hits += other.hits;
        self.stale += other.stale;
        self.stale_if_error += other.stale_if_error;
        self.errors += other.errors;
        self.broken += other.broken;
        self.hung_up += other.hung_up;
        self.orders += other.orders;
        self.aborted += other.aborted;
        self.opened += other.opened;
        self.survived += other.survived;
        self.contacts_while_out = self.contacts_while_out.max(other.contacts_while_out);
        self.contacts_while_long_out = self
            .contacts_while_long_out
            .max(other.contacts_while_long_out);
    }
}

/// See the module's documentation.
pub struct Book {
    diary: Diary,
    wrong: Option<String>,
    next: u64,
    exchanges: BTreeMap<u64, Exchange>,
    known: Vec<Vec<Known>>,
    orders: HashMap<String, u32>,
    watched: [Watched; UPSTREAMS.len()],
    /// What was known when the store was flushed last.
    flushed: Vec<Vec<Known>>,
    disturbed_at: u64,
    pub seen: Seen,
}

impl Book {
    pub fn new(diary: Diary) -> Self {
        let known: Vec<_> = ROUTES
            .iter()
            .map(|route| vec![Known::default(); route.keys])
            .collect();
        Self {
            diary,
            wrong: None,
            next: 0,
            exchanges: BTreeMap::new(),
            flushed: known.clone(),
            known,
            disturbed_at: 0,
            orders: HashMap::new(),
            watched: Default::default(),
            seen: Seen::default(),
        }
    }

    pub fn note(&mut self, at: u64, event: fmt::Arguments<'_>) {
        if self.wrong.is_none() {
            self.diary.note(at, event);
        }
    }

    /// What went wrong first, with the events before it.
    pub fn wrong(&self) -> Option<String> {
        let wrong = self.wrong.as_ref()?;
        Some(format!("{wrong}\n{}", self.diary.tail()))
    }

    pub fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }

    /// Every event, in order.
    pub fn take_story(&mut self) -> Vec<String> {
        self.diary.take_all()
    }

    /// An invariant does not hold.
    pub fn broken(&mut self, at: u64, number: u32, why: fmt::Arguments<'_>) {
        self.note(at, format_args!("BROKEN {number}: {why}"));
        if self.wrong.is_none() {
            self.wrong = Some(format!("invariant {number}: {why}"));
        }
    }
}

// --- Life and death of the proxy ---

impl Book {
    /// Everything that was put into the store so far is durable.
    pub fn flushed(&mut self, at: u64) {
        self.flushed = self.known.clone();
        self.note(at, format_args!("the store is flushed"));
    }

    /// The proxy starts with what was flushed, and with nobody connected.
    pub fn begin_life(&mut self, at: u64) {
        self.note(at, format_args!("the proxy starts"));
        self.known = self.flushed.clone();
        self.exchanges.clear();
        for watched in &mut self.watched {
            *watched = Watched::default();
        }
        self.disturbed(at);
    }

    /// Something happened that the schedule does not know of.
    pub fn disturbed(&mut self, at: u64) {
        self.disturbed_at = at;
    }

    /// How many resources have to be answered whatever happens.
    pub fn usable(&self, at: u64) -> usize {
        let known = self.known.iter().flatten();
        known.filter(|it| it.usable_until > at + 10_000).count()
    }
}

// --- What vendors see ---

impl Book {
    /// Somebody tried to connect, or sent a request.
    pub fn contacted(&mut self, at: u64, upstream: usize) {
        let watched = &mut self.watched[upstream];
        if watched.contacts.back().is_none_or(|it| it + WINDOW < at) {
            watched.contacted_since = at;
        }
        watched.contacts.push_back(at);
    }

    /// A connection is made; its number.
    pub fn connected(&mut self, upstream: usize) -> u64 {
        self.watched[upstream].connections += 1;
        self.next += 1;
        self.next
    }

    pub fn disconnected(&mut self, upstream: usize) {
        self.watched[upstream].connections -= 1;
    }

    /// A request is read to its end. `phase`: the breaker's, and its probes in flight.
    pub fn asked(
        &mut self,
        at: u64,
        asked: &Asked,
        wire: &Arc<Wire>,
        phase: Option<(Phase, u32)>,
    ) -> Ticket {
        self.next += 1;
        let number = self.next;
        let name = UPSTREAMS[asked.upstream];
        let condition = asked.field("if-none-match").unwrap_or_default();
        self.note(
            at,
            format_args!(
                "  {name}.{} is asked, {number}: {} {} {condition}",
                asked.endpoint, asked.method, asked.path
            ),
        );
        self.seen.asked += 1;
        self.contacted(at, asked.upstream);
        let route = world::route_of(&asked.path).map(|(route, _)| route);
        if let Some((Phase::HalfOpen, probes)) = phase
            && probes > PROBES[asked.upstream]
        {
            self.broken(at, 5, format_args!("{probes} probes in flight to {name}"));
        }
        if asked.method == "POST" {
            let times = self.orders.entry(asked.path.clone()).or_default();
            *times += 1;
            if *times > 1 {
                let path = &asked.path;
                self.broken(at, 5, format_args!("{path} reached {name} twice"));
            }
        }
        let exchange = Exchange {
            asked: asked.clone(),
            route,
            at,
            wire: Arc::clone(wire),
        };
        self.exchanges.insert(number, exchange);
        Ticket(number)
    }

    /// A request is done with. `whole`: the proxy did not let go before the end.
    pub fn answered(&mut self, at: u64, ticket: Ticket, whole: bool, schedule: &Schedule) {
        let Some(exchange) = self.exchanges.remove(&ticket.0) else {
            return;
        };
        if whole {
            return;
        }
        self.seen.aborted += 1;
        let took = at - exchange.at;
        self.note(
            at,
            format_args!("  {} is given up after {took} ms", ticket.0),
        );
        let since = exchange.at.saturating_sub(RECOVERED_AFTER);
        if since > self.disturbed_at
            && !exchange
                .route
                .is_some_and(|route| ROUTES[route].is_hedged())
            && exchange.is_shared_get()
            && schedule.is_well(exchange.asked.upstream, since, at)
        {
            let path = &exchange.asked.path;
            self.broken(
                at,
                4,
                format_args!("the fetch of {path} was given up while the vendor was well"),
            );
        }
    }

    /// A moment after a request came: what else is under way.
    pub fn check_together(&mut self, at: u64, ticket: Ticket) {
        let Some(exchange) = self.exchanges.get(&ticket.0).filter(|it| it.wire.is_held()) else {
            return;
        };
        let (upstream, path) = (exchange.asked.upstream, exchange.asked.path.clone());
        let held = self.exchanges.values().filter(|it| it.wire.is_held());
        let in_flight = held
            .clone()
            .filter(|it| it.asked.upstream == upstream)
            .count();
        // A body that drips past the deadline is waited for by nobody who comes later.
        let joinable = |it: &&Exchange| {
            let deadline = it.route.map_or(0, |route| ROUTES[route].deadline);
            it.at + deadline > exchange.at
        };
        let same = held.filter(|it| it.is_shared_get() && it.asked.path == path);
        let same = same.filter(joinable);
        let same = same.count();
        let is_hedged = exchange
            .route
            .is_some_and(|route| ROUTES[route].is_hedged());
        if exchange.is_shared_get() && same > 1 + usize::from(is_hedged) {
            self.broken(at, 4, format_args!("{same} fetches of {path} at once"));
        }
        if in_flight > IN_FLIGHT_MAX[upstream] {
            let name = UPSTREAMS[upstream];
            self.broken(at, 7, format_args!("{in_flight} requests with {name}"));
        }
    }

    /// Connections and requests that a vendor has.
    pub fn open(&self, upstream: usize) -> (usize, usize) {
        let exchanges = self.exchanges.values();
        let asked = exchanges.filter(|it| it.asked.upstream == upstream).count();
        (self.watched[upstream].connections, asked)
    }
}

// --- What the proxy shows of itself ---

/// An upstream's counts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub phase: Phase,
    pub attempts: u64,
    pub retries: u64,
    /// Failures of ours: what was not sent.
    pub refused: u64,
}

impl Book {
    /// Looks at an upstream; often.
    pub fn sample(&mut self, at: u64, upstream: usize, sample: Sample, schedule: &Schedule) {
        let name = UPSTREAMS[upstream];
        let watched = &mut self.watched[upstream];
        let was_closed = watched.closed_since.is_some();
        watched.closed_since = match sample.phase {
            Phase::Closed => watched.closed_since.or(Some(at)),
            _ => None,
        };
        if was_closed && watched.closed_since.is_none() {
            watched.opened += 1;
            self.seen.opened += 1;
        }
        if sample.refused > watched.refused.0 {
            watched.refused = (sample.refused, at);
        }
        // What allows a retry is a first attempt that has ended, which may have begun an `attempt_timeout` earlier. Retries are
        // among the attempts only where the breaker let them go, so all attempts are counted.
        watched
            .samples
            .push_back((at, sample.attempts, sample.retries));
        while watched
            .samples
            .front()
            .is_some_and(|it| it.0 + WINDOW + LONGEST_ATTEMPT < at)
        {
            watched.samples.pop_front();
        }
        let within = watched.samples.iter().find(|it| it.0 + WINDOW >= at);
        let (oldest, newest) = (watched.samples.front(), watched.samples.back());
        if let (Some(within), Some(oldest), Some(newest)) = (within, oldest, newest) {
            let retries = newest.2 - within.2;
            let allowed =
                BUDGET.1 * WINDOW / 1000 + newest.1.saturating_sub(oldest.1) * BUDGET.0 / 100 + 2;
            if retries > allowed {
                let why = format!("{retries} retries to {name} in 10 s, {allowed} allowed");
                self.broken(at, 5, format_args!("{why}"));
            }
        }
        self.look_at_contacts(at, upstream, schedule);
    }

    fn look_at_contacts(&mut self, at: u64, upstream: usize, schedule: &Schedule) {
        // A proxy that was started meanwhile has to find out, and so has one that had no reason to ask.
        let known_since = self
            .disturbed_at
            .max(self.watched[upstream].contacted_since);
        let contacts = &mut self.watched[upstream].contacts;
        while contacts.front().is_some_and(|it| it + WINDOW < at) {
            contacts.pop_front();
        }
        let contacts = contacts.len();
        let is_out = |windows| {
            let begun = at.checked_sub(windows * WINDOW);
            begun.is_some_and(|begun| begun >= known_since && schedule.is_out(upstream, begun, at))
        };
        let max = if is_out(8) {
            let seen = &mut self.seen.contacts_while_long_out;
            *seen = (*seen).max(contacts);
            CONTACTS_MAX.1
        } else if is_out(2) {
            let seen = &mut self.seen.contacts_while_out;
            *seen = (*seen).max(contacts);
            CONTACTS_MAX.0
        } else {
            return;
        };
        if contacts > max {
            let name = UPSTREAMS[upstream];
            let why = format!("{name} is out and was contacted {contacts} times in 10 s");
            self.broken(at, 5, format_args!("{why}"));
        }
    }

    /// How often its breaker was seen to open in this life.
    pub fn opened(&self, upstream: usize) -> u64 {
        self.watched[upstream].opened
    }

    /// Whether nothing has kept a request from this upstream for a while.
    fn is_undisturbed(&self, upstream: usize, at: u64) -> bool {
        let watched = &self.watched[upstream];
        let a_while = 5_000;
        watched
            .closed_since
            .is_some_and(|since| since + a_while < at)
            && (watched.refused.1 == 0 || watched.refused.1 + a_while < at)
    }
}

// --- What clients see ---

impl Book {
    /// A client asks. Says what it may expect.
    pub fn arrives(&mut self, at: u64, visit: &mut Visit) {
        self.seen.visits += 1;
        visit.at = at;
        let route = &ROUTES[visit.route];
        if let Some(known) = self.known[visit.route].get(visit.key) {
            visit.floor = known.newest;
            visit.has_copy = route.is_shared()
                && known.usable_until > at + route.deadline
                && known.stored_since + 5 < at;
        }
        visit.is_undisturbed = self.is_undisturbed(route.upstream, at);
        let (id, method, path) = (visit.id, visit.method, visit.path());
        self.note(at, format_args!("{id} {method} {path}"));
    }

    /// A client went before it had an answer.
    pub fn hangs_up(&mut self, at: u64, visit: &Visit) {
        self.seen.hung_up += 1;
        self.note(at, format_args!("{} hangs up", visit.id));
    }

    /// A client has its answer, to the end.
    pub fn leaves(
        &mut self,
        at: u64,
        visit: &Visit,
        got: &Got,
        truth: &Truth,
        schedule: &Schedule,
    ) {
        let told = text(&got.fields, "cache-status");
        let waited = got.head_at - visit.at;
        let ended = match &got.body {
            Ok(body) => format!("{} bytes", body.len()),
            Err(error) => format!("broken off: {error}"),
        };
        self.note(
            at,
            format_args!(
                "{} gets {} after {waited} ms, {ended}, {told}",
                visit.id, got.status
            ),
        );
        self.count(visit, got, &told);
        self.check_words(at, visit, got, &told);
        self.check_wait(at, visit, got, waited);
        let well = {
            let since = visit.at.saturating_sub(RECOVERED_AFTER);
            let upstream = ROUTES[visit.route].upstream;
            let why = format!("{told}, {}", text(&got.fields, "proxy-status"));
            let mut crowded = ["bulkhead_full", "overloaded"].iter();
            visit.is_undisturbed
                && !crowded.any(|word| why.contains(word))
                && visit.at > self.disturbed_at + RECOVERED_AFTER
                && self.is_undisturbed(upstream, at)
                && schedule.is_well(upstream, since, at)
        };
        let is_good = matches!(got.status.as_u16(), 200 | 201 | 304);
        let path = visit.path();
        if !is_good && (visit.has_copy || well) {
            let why = if visit.has_copy {
                "there is a usable copy"
            } else {
                "nothing is wrong"
            };
            let status = got.status;
            let why = format!("{} got {status} for {path} although {why}", visit.id);
            self.broken(at, 1, format_args!("{why}"));
        }
        if let Some(version) = self.check_body(at, visit, got) {
            self.check_version(at, visit, got, version, well, truth);
        }
    }

    fn count(&mut self, visit: &Visit, got: &Got, told: &str) {
        let seen = &mut self.seen;
        seen.hits += u64::from(told.contains("; hit"));
        seen.stale += u64::from(told.contains("stale"));
        seen.stale_if_error += u64::from(told.contains("stale-if-error"));
        seen.errors += u64::from(got.status.is_server_error());
        seen.broken += u64::from(got.body.is_err());
        seen.orders += u64::from(visit.method == "POST" && got.status == StatusCode::CREATED);
    }

    fn check_words(&mut self, at: u64, visit: &Visit, got: &Got, told: &str) {
        let id = &visit.id;
        if !told.contains("larder") {
            self.broken(at, 10, format_args!("{id} got no Cache-Status"));
        }
        if !got.fields.contains_key("x-request-id") {
            self.broken(at, 10, format_args!("{id} got no X-Request-Id"));
        }
        let failed = told.contains("stale-if-error") || got.status.is_server_error();
        if failed && !text(&got.fields, "proxy-status").contains("larder") {
            self.broken(at, 10, format_args!("{id} got no Proxy-Status: {told}"));
        }
    }

    fn check_wait(&mut self, at: u64, visit: &Visit, got: &Got, waited: u64) {
        let route = &ROUTES[visit.route];
        let (limit, word) = if visit.has_copy {
            (route.stale_after, "stale_after")
        } else {
            (route.deadline, "deadline")
        };
        if waited > limit + SLACK {
            let why = format!(
                "{} waited {waited} ms for {} of {}, {word} is {limit} ms",
                visit.id,
                got.status,
                visit.path()
            );
            self.broken(at, 3, format_args!("{why}"));
        }
    }

    /// The version that an answer is, if it is one.
    fn check_body(&mut self, at: u64, visit: &Visit, got: &Got) -> Option<u64> {
        let (id, path) = (&visit.id, visit.path());
        let body = match &got.body {
            Ok(body) => body,
            Err(_) if visit.has_copy => {
                let why = format!("{id} had {path} broken off although there is a usable copy");
                self.broken(at, 1, format_args!("{why}"));
                return None;
            }
            Err(_) => return None,
        };
        if got.status == StatusCode::NOT_MODIFIED {
            return visit.has_version;
        }
        if visit.method == "HEAD" || !matches!(got.status.as_u16(), 200 | 201) {
            return None;
        }
        let read = match world::read(body) {
            Ok(read) => read,
            Err(error) => {
                let why = format!("{id} got {path} as if it were whole: {error}");
                self.broken(at, 2, format_args!("{why}"));
                return None;
            }
        };
        if read.path != path {
            let why = format!("{id} asked for {path} and got {}", read.path);
            self.broken(at, 1, format_args!("{why}"));
        }
        if ROUTES[visit.route].kind == Kind::Private && read.user != visit.user {
            let why = format!(
                "{id} is {} and got what {} asked for",
                visit.user, read.user
            );
            self.broken(at, 9, format_args!("{why}"));
        }
        Some(read.version)
    }

    fn check_version(
        &mut self,
        at: u64,
        visit: &Visit,
        got: &Got,
        version: u64,
        well: bool,
        truth: &Truth,
    ) {
        let route = &ROUTES[visit.route];
        if !route.is_shared() {
            return;
        }
        let (id, path) = (&visit.id, visit.path());
        if version < visit.floor {
            let floor = visit.floor;
            let why = format!("{id} got version {version} of {path}, {floor} was there before");
            self.broken(at, 1, format_args!("{why}"));
        }
        if version > truth.version(visit.route, visit.key, at) {
            let why = format!("{id} got version {version} of {path}, which is not yet");
            self.broken(at, 1, format_args!("{why}"));
        }
        let told = text(&got.fields, "cache-status");
        let (allowed, word) = if told.contains("; hit") && !told.contains("stale") {
            (route.fresh, "as fresh")
        } else if well && !route.is_drilled() {
            (route.fresh + route.while_revalidate, "in good times")
        } else {
            (route.fresh + route.max_stale, "at all")
        };
        // The vendor says its word a moment before it is heard.
        let allowed = allowed + route.deadline.min(2_000);
        let ended = truth.ended(visit.route, visit.key, version);
        if ended + allowed < got.head_at {
            let ago = got.head_at - ended;
            let why = format!(
                "{id} got version {version} of {path} {word}, which ended {ago} ms ago: {told}"
            );
            self.broken(at, 1, format_args!("{why}"));
        }
        if got.status == StatusCode::OK && visit.method == "GET" {
            let age: u64 = text(&got.fields, "age").parse().unwrap_or_default();
            let stored = got.head_at.saturating_sub((age + 1) * 1000);
            // Lifetimes are shortened by up to a tenth.
            let until = stored + route.fresh * 9 / 10 + route.max_stale;
            let known = &mut self.known[visit.route][visit.key];
            known.newest = known.newest.max(version);
            if known.usable_until < at {
                known.stored_since = at;
            }
            known.usable_until = known.usable_until.max(until);
        }
    }
}

fn text(fields: &HeaderMap, name: &str) -> String {
    let values = fields.get_all(name).iter();
    let texts: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    texts.join(", ")
}
