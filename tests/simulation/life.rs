//! The lives of the proxy in one run: one, or one that ends as by `kill -9` and another over what had reached the disk.

use std::{
    env, fs,
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use larder::{
    app::App,
    chance,
    clock::Clock,
    config::{self, FixedEnv},
    failure::Cause,
    front::Front,
    observe::TransactionLogger,
    resilience::breaker::Phase,
    upstream::Network,
};
use tokio::task::JoinHandle;

use crate::{
    book::{Book, Sample, Seen},
    clients,
    diary::Diary,
    dice::Dice,
    schedule::{Schedule, between},
    simulation::Simulation,
    vendor::Vendors,
    world::{self, ROUTES, Truth, UPSTREAMS},
};

/// Virtual milliseconds of one run; its illnesses end before its last two minutes.
pub const RUN: u64 = 12 * 60_000;
const WELL_AT_LAST: u64 = 2 * 60_000;
/// After the last answer everything is given back within this: an idle connection is kept for 30 s.
const GIVEN_BACK_WITHIN: u64 = 60_000;
/// Between two looks at what the proxy shows of itself.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long, by a real clock, the disk is waited for.
const DISK_WAITED_FOR: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug)]
pub struct Done {
    pub seen: Seen,
    /// Every event, in order.
    pub story: Vec<String>,
}

/// One run, on a thread of its own: what chance draws follows from the seed there.
pub fn run(seed: u64) -> Result<Done, String> {
    let running = thread::spawn(move || {
        chance::seed_this_thread(seed);
        play(seed)
    });
    let done = running.join();
    done.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

fn play(seed: u64) -> Result<Done, String> {
    let mut dice = Dice::new(seed);
    let schedule = Schedule::draw(&mut dice, UPSTREAMS.len(), RUN - WELL_AT_LAST);
    let truth = Truth::draw(&mut dice);
    let vendor_dice = Dice::new(dice.next());
    let diary = Diary::new(env::var_os("LARDER_TELL").is_some());
    let sim = Simulation::new(schedule, truth, vendor_dice, Book::new(diary));
    // Half of the runs have a disk, and die once.
    let folder = seed
        .is_multiple_of(2)
        .then(|| tempfile::tempdir().expect("there is a place for temporary folders"));
    let (mut at, mut store) = (0, None);
    if let Some(folder) = &folder {
        let flushed_at = between(&mut dice, 60_000, RUN / 2);
        let killed_at = flushed_at + between(&mut dice, 0, 60_000);
        let (used, saved) = (folder.path().join("used"), folder.path().join("saved"));
        let life = first_life(&sim, &mut dice, flushed_at, killed_at, &used, &saved);
        at = in_a_runtime(life);
        store = Some(saved);
    }
    if !sim.book().is_wrong() {
        in_a_runtime(last_life(&sim, &mut dice, at, store));
    }
    let mut book = sim.book();
    match book.wrong() {
        Some(wrong) => Err(wrong),
        None => Ok(Done {
            seen: book.seen,
            story: book.take_story(),
        }),
    }
}

/// What is left when this ends is dropped where it stands.
fn in_a_runtime<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(life)
}

async fn first_life(
    sim: &Arc<Simulation>,
    dice: &mut Dice,
    flushed_at: u64,
    killed_at: u64,
    used: &Path,
    saved: &Path,
) -> u64 {
    let (app, _background) = start(sim, 0, Some(used)).await;
    let front = app.front().clone();
    let _before = clients::come(sim, &front, dice, flushed_at).await;
    flush(sim, &app, used, saved);
    let _after = clients::come(sim, &front, dice, killed_at).await;
    sim.note(format_args!("the proxy is killed"));
    sim.at()
}

async fn last_life(sim: &Arc<Simulation>, dice: &mut Dice, at: u64, store: Option<PathBuf>) {
    let (app, background) = start(sim, at, store.as_deref()).await;
    let front = app.front().clone();
    if store.is_some() {
        check_survival(sim, &front).await;
    }
    clients::come_and_go(sim, &front, dice, RUN).await;
    if !sim.book().is_wrong() {
        check_recovered(sim, &app, &front).await;
        background.iter().for_each(JoinHandle::abort);
        check_given_back(sim, &app).await;
    }
}

async fn start(sim: &Arc<Simulation>, at: u64, store: Option<&Path>) -> (App, [JoinHandle<()>; 2]) {
    sim.begin_life(at);
    let env = FixedEnv::default();
    let config = config::parse(&world::config(store), Path::new("simulation.toml"), &env)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let clock = Clock::of_runtime(world::START.after(Duration::from_millis(at)));
    let network = Network::system().with_transport(Vendors(Arc::clone(sim)));
    let app = App::start_over(&network, config, clock, TransactionLogger::off())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    if store.is_some() {
        bring_in(sim, &app);
    }
    sim.watch(app.upstreams());
    for upkeep in app
        .upstreams()
        .iter()
        .flat_map(larder::upstream::Upstream::upkeep)
    {
        tokio::spawn(upkeep);
    }
    let background = [
        tokio::spawn(Arc::clone(sim).play_schedule()),
        tokio::spawn(look(Arc::clone(sim))),
    ];
    (app, background)
}

// --- The disk ---

/// Does what threads of the store take part in, and nothing else of this run: time stands still, and no task of it is
/// polled. When those threads are done is for the machine to say; by a clock that went on meanwhile, or by who came between,
/// it would show in the run.
fn while_all_stands<T>(work: impl Future<Output = T>) -> T {
    // tokio would have it rest after a while, which is of no use where nobody else gets a turn.
    let mut work = pin!(tokio::task::unconstrained(work));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let until = Instant::now() + DISK_WAITED_FOR;
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "the disk of this machine is too slow");
        thread::park_timeout(left);
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Has everything on the disk in memory, and known what is not on it: from then on no request asks its threads. A disk that
/// is not counted yet is asked by every miss, an empty one too.
fn bring_in(sim: &Simulation, app: &App) {
    let counted = poll_fn(|cx| {
        if app.store().stats().disk_is_counted {
            return Poll::Ready(());
        }
        thread::sleep(Duration::from_millis(1));
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    while_all_stands(async {
        counted.await;
        clients::look_into_store(sim, app.front()).await;
    });
}

/// Flushes, and keeps what is on the disk then.
fn flush(sim: &Simulation, app: &App, used: &Path, saved: &Path) {
    if let Err(error) = while_all_stands(app.store().flush()) {
        panic!("the disk of this machine fails: {error}");
    }
    let drops = app.store().stats().drops;
    assert_eq!(
        drops, 0,
        "the disk of this machine has so little room that the store writes nothing"
    );
    sim.book().flushed(sim.at());
    copy(used, saved).unwrap_or_else(|error| panic!("{error}"));
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What was flushed answers, whatever the vendors do.
async fn check_survival(sim: &Arc<Simulation>, front: &Front) {
    let usable = sim.book().usable(sim.at());
    sim.book().seen.survived += usable;
    sim.set_down(true);
    clients::ask_for_all(sim, front).await;
    sim.set_down(false);
}

// --- Watching ---

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
                // A hedge is one more attempt too, out of the same budget.
                retries: now.stats.retries + now.stats.hedges,
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

// --- The end ---

/// Everything has been well for long enough: whoever asks twice gets what is true now, and nothing is kept back.
async fn check_recovered(sim: &Arc<Simulation>, app: &App, front: &Front) {
    clients::ask_for_all(sim, front).await;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    for (visit, got) in clients::ask_for_all(sim, front).await {
        let at = sim.at();
        let path = visit.path();
        let is_drill = |got: &clients::Got| {
            let told = got.fields.get("cache-status");
            told.is_some_and(|told| told.as_bytes().ends_with(b"detail=drill"))
        };
        if got.as_ref().is_some_and(is_drill) {
            // It is old on purpose.
            continue;
        }
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
    for (nth, name) in UPSTREAMS.iter().enumerate() {
        let is_told = |kind| {
            let told = app.alerts().recent();
            told.iter()
                .any(|alert| alert.kind == kind && alert.subject == *name)
        };
        let opened = sim.book().opened(nth);
        if opened > 0 && !(is_told("breaker_open") && is_told("breaker_closed")) {
            let why = format!("the breaker of {name} opened {opened} times and nobody was told");
            sim.book().broken(sim.at(), 10, format_args!("{why}"));
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
        let probes = upstream.snapshot().breaker.probes_in_flight as usize;
        let (connections, asked) = sim.book().open(nth);
        let counts = [
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
        .filter(|line| line.contains("in_flight") && !line.starts_with('#'))
        // What may be held, not what is.
        .filter(|line| !line.contains("in_flight_limit"));
    let kept = gauges.filter(|line| !line.ends_with(" 0.0"));
    held.extend(kept.map(ToOwned::to_owned));
    if !held.is_empty() {
        let at = sim.at();
        let why = format!("not given back: {}", held.join(", "));
        sim.book().broken(at, 7, format_args!("{why}"));
    }
}
