//! One run: what all its parts share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder::upstream::Upstream;
use tokio::{sync::Notify, time::Instant};

use crate::{
    book::{Book, Ticket},
    dice::Dice,
    network::Wire,
    schedule::{Fault, Schedule},
    vendor::Asked,
    world::{ENDPOINTS, Truth, UPSTREAMS},
};

/// See the module's documentation. One thread does everything, so that no lock is ever waited for.
pub struct Simulation {
    pub schedule: Schedule,
    pub truth: Truth,
    /// When the present life of the proxy began, by both clocks.
    born: Mutex<(u64, Instant)>,
    /// Everything is refused, whatever the schedule says.
    down: AtomicBool,
    vendor_dice: Mutex<Dice>,
    book: Mutex<Book>,
    cuts: [[Notify; ENDPOINTS]; UPSTREAMS.len()],
    upstreams: Mutex<Vec<Upstream>>,
}

impl Simulation {
    pub fn new(schedule: Schedule, truth: Truth, dice: Dice, book: Book) -> Arc<Self> {
        Arc::new(Self {
            schedule,
            truth,
            born: Mutex::new((0, Instant::now())),
            down: AtomicBool::new(false),
            vendor_dice: Mutex::new(dice),
            book: Mutex::new(book),
            cuts: Default::default(),
            upstreams: Mutex::default(),
        })
    }

    /// Virtual milliseconds since the start.
    pub fn at(&self) -> u64 {
        let (at, since) = *self.born.lock().expect("nobody panics with it");
        at + u64::try_from(since.elapsed().as_millis()).expect("no run takes that long")
    }

    /// The proxy starts, in a runtime whose clock has just been made, at this virtual time.
    pub fn begin_life(&self, at: u64) {
        *self.born.lock().expect("nobody panics with it") = (at, Instant::now());
        self.book().begin_life(at);
    }

    /// All vendors are down, or what the schedule says again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
        self.book().disturbed(self.at());
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with it")
    }

    pub fn note(&self, event: fmt::Arguments<'_>) {
        self.book().note(self.at(), event);
    }

    pub fn vendor_dice<T>(&self, draw: impl FnOnce(&mut Dice) -> T) -> T {
        draw(&mut self.vendor_dice.lock().expect("nobody panics with it"))
    }

    /// The proxy's own view of its upstreams.
    pub fn watch(&self, upstreams: &[Upstream]) {
        *self.upstreams.lock().expect("nobody panics with it") = upstreams.to_vec();
    }

    pub fn upstreams(&self) -> Vec<Upstream> {
        self.upstreams
            .lock()
            .expect("nobody panics with it")
            .clone()
    }

    /// Which illnesses strike what this endpoint of a vendor does now.
    pub fn strikes(&self, upstream: usize, endpoint: usize) -> Vec<Fault> {
        if self.down.load(Ordering::Relaxed) {
            return vec![Fault::Refuse];
        }
        let now = self.schedule.now(upstream, endpoint, self.at());
        self.vendor_dice(|dice| {
            now.filter(|spell| dice.percent(spell.percent))
                .map(|spell| spell.fault)
                .collect()
        })
    }

    /// When this endpoint's connections are cut.
    pub async fn cut(&self, upstream: usize, endpoint: usize) {
        self.cuts[upstream][endpoint].notified().await;
    }

    /// Plays what begins at a moment, not with a request.
    pub async fn play_schedule(self: Arc<Self>) {
        let now = self.at();
        for spell in self.schedule.spells.iter().filter(|it| it.from >= now) {
            tokio::time::sleep(Duration::from_millis(spell.from - self.at())).await;
            self.note(format_args!("begins: {spell}"));
            if spell.fault.cuts() && spell.percent == 100 {
                for (endpoint, cut) in self.cuts[spell.upstream].iter().enumerate() {
                    if spell.endpoint.is_none_or(|only| only == endpoint) {
                        cut.notify_waiters();
                    }
                }
            }
        }
    }

    /// A vendor reads a request.
    pub fn asked(self: &Arc<Self>, asked: &Asked, wire: &Arc<Wire>) -> Ticket {
        let at = self.at();
        let phase = self.upstreams().get(asked.upstream).map(|upstream| {
            let breaker = upstream.snapshot().breaker;
            (breaker.phase, breaker.probes_in_flight)
        });
        let ticket = self.book().asked(at, asked, wire, phase);
        let sim = Arc::clone(self);
        tokio::spawn(async move {
            // What was let go at this same moment may not be known to be yet.
            tokio::time::sleep(Duration::from_millis(2)).await;
            sim.book().check_together(sim.at(), ticket);
        });
        ticket
    }

    /// It is done with it. `whole`: the proxy waited for its end.
    pub fn answered(&self, ticket: Ticket, whole: bool) {
        let at = self.at();
        self.book().answered(at, ticket, whole, &self.schedule);
    }
}
