//! A deterministic simulation: the whole proxy below the listener, between clients and vendors that are played, in one
//! thread whose clock is virtual. Vendors fall ill by schedules drawn from a seed; the invariants of the design are checked
//! whenever something happens that could break one (`book.rs` has the list).
//!
//! What is real: routes, cache, coalescing, deadline, retry, breaker, bulkhead, attempt, balance, hyper's client and its
//! pool. What is not: sockets (`network.rs`), vendors (`vendor.rs`), clients (`clients.rs`), time and chance.
//!
//! A run that goes wrong prints its seed and the events before it. `LARDER_SEED=N cargo test --test simulation` plays it
//! again (`LARDER_TELL=1` prints all of it). `LARDER_MINUTES=N` plays so many virtual minutes under fresh seeds,
//! `LARDER_LONG=1` thousands of them, `LARDER_SECONDS=N` as many as it can in that time.

#![allow(unreachable_pub, reason = "modules of one binary")]

mod book;
mod clients;
#[path = "../model/dice.rs"]
mod dice;
mod diary;
mod network;
mod schedule;
mod simulation;
mod vendor;
mod world;

use std::{
    collections::VecDeque,
    env,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use larder::{
    app::App,
    chance,
    clock::Clock,
    config::{self, FixedEnv},
    failure::Cause,
    observe::TransactionLogger,
    resilience::breaker::Phase,
    upstream::Network,
};

use self::{
    book::{Book, Sample, Seen},
    diary::Diary,
    dice::Dice,
    schedule::Schedule,
    simulation::Simulation,
    vendor::Vendors,
    world::{ROUTES, Truth, UPSTREAMS},
};

/// Virtual milliseconds of one run; its illnesses end before its last two minutes.
const RUN: u64 = 12 * 60_000;
const WELL_AT_LAST: u64 = 2 * 60_000;
/// After the last answer everything is given back within this: an idle connection is kept for 30 s.
const GIVEN_BACK_WITHIN: u64 = 60_000;
/// Between two looks at what the proxy shows of itself.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a run came to.
#[derive(Clone, Copy, Debug)]
struct Done {
    seen: Seen,
    digest: (u64, u64),
}

/// One run, on a thread of its own: what chance draws follows from the seed there.
fn run(seed: u64) -> Result<Done, String> {
    let running = thread::spawn(move || {
        chance::seed_this_thread(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(play(seed))
    });
    let done = running.join();
    done.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

async fn play(seed: u64) -> Result<Done, String> {
    let mut dice = Dice::new(seed);
    let schedule = Schedule::draw(&mut dice, UPSTREAMS.len(), RUN - WELL_AT_LAST);
    let truth = Truth::draw(&mut dice);
    let vendor_dice = Dice::new(dice.next());
    let diary = Diary::new(env::var_os("LARDER_TELL").is_some());
    let sim = Simulation::new(schedule, truth, vendor_dice, Book::new(diary));
    let env = FixedEnv::default();
    let config = config::parse(&world::config(), Path::new("simulation.toml"), &env)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let clock = Clock::of_runtime(world::START);
    let network = Network::system().with_transport(Vendors(Arc::clone(&sim)));
    let app = App::start_over(&network, config, clock, TransactionLogger::off())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    sim.watch(app.upstreams());
    let background = [
        tokio::spawn(Arc::clone(&sim).play_schedule()),
        tokio::spawn(look(Arc::clone(&sim))),
    ];
    let front = app.front().clone();
    clients::come_and_go(&sim, &front, &mut dice, RUN).await;
    if !sim.book().is_wrong() {
        check_recovered(&sim, &front).await;
        background.iter().for_each(tokio::task::JoinHandle::abort);
        check_given_back(&sim, &app).await;
    }
    let book = sim.book();
    match book.wrong() {
        Some(wrong) => Err(wrong),
        None => Ok(Done {
            seen: book.seen,
            digest: book.digest(),
        }),
    }
}

/// Looks at what the proxy shows of itself, again and again.
async fn look(sim: Arc<Simulation>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (nth, upstream) in sim.upstreams().iter().enumerate() {
            let now = upstream.snapshot();
            let is_ours = |word: &str| OURS.iter().any(|cause| cause.as_str() == word);
            let refused = now.stats.failures.iter();
            let refused = refused.filter(|(word, _)| is_ours(word));
            let sample = Sample {
                phase: now.breaker.phase,
                attempts: now.stats.attempts,
                retries: now.stats.retries,
                refused: refused.map(|(_, count)| count).sum(),
            };
            sim.book().sample(sim.at(), nth, sample, &sim.schedule);
        }
    }
}

/// What keeps a request here.
const OURS: [Cause; 4] = [
    Cause::BreakerOpen,
    Cause::BulkheadFull,
    Cause::QuotaExhausted,
    Cause::Overloaded,
];

/// Everything has been well for long enough: whoever asks twice gets what is true now, and nothing is kept back.
async fn check_recovered(sim: &Arc<Simulation>, front: &larder::front::Front) {
    clients::ask_for_all(sim, front).await;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    for (visit, got) in clients::ask_for_all(sim, front).await {
        let at = sim.at();
        let path = visit.path();
        let body = got.and_then(|got| got.body.ok()).unwrap_or_default();
        let version = world::read(&body).map(|read| read.version);
        let route = &ROUTES[visit.route];
        let old = version.as_ref().map_or(u64::MAX, |version| {
            at.saturating_sub(sim.truth.ended(visit.route, visit.key, *version))
        });
        if old > route.fresh + 3_000 {
            let why = format!("{path} is not fresh at last: {version:?}, {old} ms old");
            sim.book().broken(at, 1, format_args!("{why}"));
        }
    }
    for (name, upstream) in UPSTREAMS.iter().zip(sim.upstreams()) {
        let phase = upstream.snapshot().breaker.phase;
        if phase != Phase::Closed {
            let why = format!("the breaker of {name} is {phase:?} although all is well");
            sim.book().broken(sim.at(), 5, format_args!("{why}"));
        }
    }
}

/// Nobody asks any more: nothing is in flight, nothing is held.
async fn check_given_back(sim: &Arc<Simulation>, app: &App) {
    tokio::time::sleep(Duration::from_millis(GIVEN_BACK_WITHIN)).await;
    let mut held = Vec::new();
    for (nth, upstream) in sim.upstreams().iter().enumerate() {
        let now = upstream.snapshot();
        let probes = now.breaker.probes_in_flight as usize;
        let (connections, asked) = sim.book().open(nth);
        let counts = [
            ("requests in flight", now.in_flight),
            ("probes", probes),
            ("connections", connections),
            ("requests with the vendor", asked),
        ];
        let kept = counts.iter().filter(|(_, count)| *count > 0);
        held.extend(kept.map(|(what, count)| format!("{}: {count} {what}", UPSTREAMS[nth])));
    }
    let metrics = app.metrics().encode();
    let gauges = metrics
        .lines()
        .filter(|line| line.contains("in_flight") && !line.starts_with('#'));
    held.extend(
        gauges
            .filter(|line| !line.ends_with(" 0.0"))
            .map(ToOwned::to_owned),
    );
    if !held.is_empty() {
        let at = sim.at();
        sim.book()
            .broken(at, 7, format_args!("not given back: {}", held.join(", ")));
    }
}

// --- Many runs ---

/// Runs of the short form, under the same seeds every time.
const RUNS: u64 = 16;
/// Virtual minutes of the long form.
const LONG_MINUTES: u64 = 3_000;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// A seed that nobody has played yet, most likely.
fn fresh_seed() -> u64 {
    u64::from(chance::word())
}

/// From which seed on, and how long.
fn wanted() -> (u64, Box<dyn Fn(u64, Duration) -> bool>) {
    let minutes = number("LARDER_MINUTES");
    let long = env::var_os("LARDER_LONG").map(|_| LONG_MINUTES);
    if let Some(seed) = number("LARDER_SEED") {
        (seed, Box::new(|played, _| played < 1))
    } else if let Some(seconds) = number("LARDER_SECONDS") {
        let enough = Duration::from_secs(seconds);
        (fresh_seed(), Box::new(move |_, took| took < enough))
    } else if let Some(minutes) = minutes.or(long) {
        let runs = minutes.div_ceil(RUN / 60_000);
        (fresh_seed(), Box::new(move |played, _| played < runs))
    } else {
        (1, Box::new(|played, _| played < RUNS))
    }
}

/// As many runs at once as there are cores. Returns how many there were.
fn play_all(first: u64, goes_on: &dyn Fn(u64, Duration) -> bool) -> (u64, Seen) {
    let began = Instant::now();
    let at_once = thread::available_parallelism().map_or(1, usize::from) as u64;
    let (mut seen, mut played) = (Seen::default(), 0);
    let mut running = VecDeque::new();
    loop {
        while (running.len() as u64) < at_once && goes_on(played, began.elapsed()) {
            let seed = first + played;
            running.push_back((seed, thread::spawn(move || run(seed))));
            played += 1;
        }
        let Some((seed, oldest)) = running.pop_front() else {
            return (played, seen);
        };
        match oldest.join().expect("a run contains its panics") {
            Ok(done) => seen.add(&done.seen),
            Err(wrong) => panic!(
                "seed {seed}: {wrong}\nplay it again: LARDER_SEED={seed} cargo test --test simulation invariants\n"
            ),
        }
    }
}

#[test]
fn invariants_hold_under_random_faults() {
    let began = Instant::now();
    let (first, goes_on) = wanted();
    println!("seeds from {first} on");
    let (played, seen) = play_all(first, &goes_on);
    println!(
        "{played} runs, {} virtual minutes in {:?}: {seen:?}",
        played * RUN / 60_000,
        began.elapsed()
    );
    let shows = [
        seen.hits,
        seen.stale_if_error,
        seen.errors,
        seen.hung_up,
        seen.orders,
        seen.aborted,
        seen.opened,
    ];
    assert!(
        played < RUNS || shows.iter().all(|count| *count >= 20),
        "runs that show nothing prove nothing: {seen:?}"
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let digests = [7, 7].map(|seed| run(seed).map(|done| done.digest));
    assert_eq!(digests[0], digests[1]);
    assert!(digests[0].is_ok(), "{digests:?}");
}
