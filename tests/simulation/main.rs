//! A deterministic simulation: the whole proxy below the listener, between clients and vendors that are played, in one
//! thread whose clock is virtual. Vendors fall ill by schedules drawn from a seed; the invariants of the design are checked
//! whenever something happens that could break one (`book.rs` has the list).
//!
//! What is real: routes, cache, coalescing, deadline, retry, breaker, bulkhead, attempt, balance, hyper's client and its
//! pool. What is not: sockets (`network.rs`), vendors (`vendor.rs`), clients (`clients.rs`), time and chance.
//!
//! A run that goes wrong prints its seed and the events before it. `LARDER_SEED=N cargo test --test simulation` plays it
//! again (`LARDER_TELL=1` prints all of it). `LARDER_MINUTES=N` plays so many virtual minutes under fresh seeds,
//! `LARDER_LONG=1` thousands of them, `LARDER_SECONDS=N` as many as it can in that time. With `LARDER_FROM=N` seeds count
//! from N on instead: the same every time, which is what a gate has to be.

#![allow(unreachable_pub, reason = "modules of one binary")]

mod book;
mod clients;
#[path = "../model/dice.rs"]
mod dice;
mod diary;
mod life;
mod network;
mod schedule;
mod simulation;
mod vendor;
mod world;

use std::{
    collections::VecDeque,
    env, thread,
    time::{Duration, Instant},
};

use larder::chance;

use self::{
    book::Seen,
    life::{RUN, run},
};

/// Runs of the short form, under the same seeds every time.
const RUNS: u64 = 16;
/// Virtual minutes of the long form.
const LONG_MINUTES: u64 = 3_000;
/// So many runs that go wrong are enough to look at.
const WRONG_MAX: usize = 5;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// The first seed: the one that is asked for, or one that nobody has played yet, most likely.
fn first_seed() -> u64 {
    number("LARDER_FROM").unwrap_or_else(|| u64::from(chance::word()))
}

/// From which seed on, and how long.
fn wanted() -> (u64, Box<dyn Fn(u64, Duration) -> bool>) {
    let minutes = number("LARDER_MINUTES");
    let long = env::var_os("LARDER_LONG").map(|_| LONG_MINUTES);
    if let Some(seed) = number("LARDER_SEED") {
        (seed, Box::new(|played, _| played < 1))
    } else if let Some(seconds) = number("LARDER_SECONDS") {
        let enough = Duration::from_secs(seconds);
        (first_seed(), Box::new(move |_, took| took < enough))
    } else if let Some(minutes) = minutes.or(long) {
        let runs = minutes.div_ceil(RUN / 60_000);
        (first_seed(), Box::new(move |played, _| played < runs))
    } else {
        (1, Box::new(|played, _| played < RUNS))
    }
}

/// As many runs at once as there are cores. Returns how many there were.
fn play_all(first: u64, goes_on: &dyn Fn(u64, Duration) -> bool) -> (u64, Seen) {
    let began = Instant::now();
    let at_once = thread::available_parallelism().map_or(1, usize::from) as u64;
    let (mut seen, mut played, mut wrong) = (Seen::default(), 0, Vec::new());
    let mut running = VecDeque::new();
    loop {
        while (running.len() as u64) < at_once
            && wrong.len() < WRONG_MAX
            && goes_on(played, began.elapsed())
        {
            let seed = first + played;
            running.push_back((seed, thread::spawn(move || run(seed))));
            played += 1;
        }
        let Some((seed, oldest)) = running.pop_front() else {
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            return (played, seen);
        };
        match oldest.join().expect("a run contains its panics") {
            Ok(done) => seen.add(&done.seen),
            Err(why) => wrong.push(format!(
                "seed {seed}: {why}\nplay it again: LARDER_SEED={seed} cargo test --test simulation invariants\n"
            )),
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
        seen.survived as u64,
    ];
    assert!(
        played < RUNS || shows.iter().all(|count| *count >= 20),
        "runs that show nothing prove nothing: {seen:?}"
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    // One without a disk, one with.
    let seeds = number("LARDER_SEED").map_or(vec![7, 8], |seed| vec![seed]);
    for seed in seeds {
        let story = || match run(seed) {
            Ok(done) => done.story,
            Err(why) => panic!("seed {seed}: {why}"),
        };
        let (one, other) = (story(), story());
        let mut events =
            (0..one.len().max(other.len())).map(|nth| (nth, one.get(nth), other.get(nth)));
        let first = events.find(|(_, one, other)| one != other);
        assert_eq!(first, None, "seed {seed}: the first event that differs");
    }
}
