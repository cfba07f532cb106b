//! Limits against a vendor that is played in virtual time: it has a capacity, and latency grows with what is beyond it.

use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::prelude::*;

use super::*;

fn config(algorithm: LimitAlgorithm) -> AdaptiveConfig {
    AdaptiveConfig {
        algorithm,
        // Twice what the vendors below need.
        latency_max: millis(100),
        ..AdaptiveConfig::default()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// So many requests at once without a queue, each in this time.
#[derive(Clone, Copy, Debug)]
struct Vendor {
    capacity: usize,
    latency: Duration,
}

impl Vendor {
    /// Little's law: beyond its capacity it answers no more of them, only later.
    fn answers_in(&self, in_flight: usize, noise: f64) -> Duration {
        let queue = (in_flight as f64 / self.capacity as f64).max(1.0);
        self.latency.mul_f64(queue * (1.0 + 0.1 * noise))
    }
}

/// A limiter in front of a vendor, and clients that always want more.
struct Play {
    limiter: Limiter,
    now: Instant,
    under_way: BinaryHeap<Reverse<(Instant, u64)>>,
    samples: Vec<Sample>,
    answers: usize,
    dice: u64,
}

impl Play {
    fn new(algorithm: LimitAlgorithm, in_flight_max: usize) -> Self {
        let now = Instant::now();
        Self {
            limiter: Limiter::new(in_flight_max, Some(&config(algorithm)), now),
            now,
            under_way: BinaryHeap::new(),
            samples: Vec::new(),
            answers: 0,
            dice: 1,
        }
    }

    /// From -1 to 1.
    fn noise(&mut self) -> f64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.dice >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    /// Plays for a while with so many clients. The mean of the limit, and the share of the vendor's throughput.
    fn run(&mut self, vendor: Vendor, clients: usize, length: Duration) -> (f64, f64) {
        let (end, begun) = (self.now + length, self.now);
        let (mut area, answers) = (0.0, self.answers);
        while self.now < end {
            while self.under_way.len() < self.limiter.limit().min(clients) {
                let in_flight = self.under_way.len() + 1;
                let noise = self.noise();
                let latency = vendor.answers_in(in_flight, noise);
                let sample = Sample {
                    latency,
                    in_flight,
                    outcome: Outcome::Answered,
                };
                let number = self.samples.len() as u64;
                self.samples.push(sample);
                self.under_way.push(Reverse((self.now + latency, number)));
            }
            let Some(Reverse((at, number))) = self.under_way.pop() else {
                break;
            };
            area += self.limiter.limit() as f64 * (at - self.now).as_secs_f64();
            self.now = at;
            self.answers += 1;
            let sample = self.samples[number as usize];
            self.limiter.on_sample(&sample, self.now);
        }
        let seconds = (self.now - begun).as_secs_f64();
        let most = vendor.capacity as f64 / vendor.latency.as_secs_f64() * seconds;
        (area / seconds, (self.answers - answers) as f64 / most)
    }
}

const BOTH: [LimitAlgorithm; 2] = [LimitAlgorithm::Gradient, LimitAlgorithm::Aimd];

#[test]
fn the_limit_comes_near_the_capacity_and_follows_it_down_and_back() {
    let vendor = |capacity| Vendor {
        capacity,
        latency: millis(50),
    };
    for algorithm in BOTH {
        let mut play = Play::new(algorithm, 200);
        for capacity in [10, 40, 6, 40] {
            play.run(vendor(capacity), 500, secs(60));
            let (limit, throughput) = play.run(vendor(capacity), 500, secs(60));
            let relative = limit / capacity as f64;
            assert!(
                (0.8..2.5).contains(&relative),
                "{algorithm:?}: {limit} of {capacity}"
            );
            assert!(
                throughput > 0.85,
                "{algorithm:?}: {throughput} of {capacity}"
            );
        }
    }
}

#[test]
fn a_vendor_with_room_for_all_is_given_all() {
    let vendor = Vendor {
        capacity: 1_000,
        latency: millis(20),
    };
    for algorithm in BOTH {
        let mut play = Play::new(algorithm, 64);
        play.run(vendor, 500, secs(30));
        let (limit, _) = play.run(vendor, 500, secs(60));
        assert!(limit > 60.0, "{algorithm:?}: {limit}");
    }
}

#[test]
fn neither_a_lucky_latency_nor_a_sick_one_stays_for_good() {
    let usual = Vendor {
        capacity: 30,
        latency: millis(100),
    };
    for (name, before) in [
        (
            "lucky",
            Vendor {
                latency: millis(5),
                ..usual
            },
        ),
        (
            "sick",
            Vendor {
                latency: millis(1_500),
                ..usual
            },
        ),
        (
            "crowded",
            Vendor {
                capacity: 2,
                ..usual
            },
        ),
    ] {
        let mut play = Play::new(LimitAlgorithm::Gradient, 64);
        play.run(before, 500, secs(60));
        play.run(usual, 500, secs(90));
        let (limit, throughput) = play.run(usual, 500, secs(60));
        assert!((24.0..60.0).contains(&limit), "{name}: {limit}");
        assert!(throughput > 0.8, "{name}: {throughput}");
    }
}

#[test]
fn a_limit_that_is_not_in_use_does_not_grow() {
    let vendor = Vendor {
        capacity: 100,
        latency: millis(20),
    };
    for algorithm in BOTH {
        let mut play = Play::new(algorithm, 64);
        let started = play.limiter.limit();
        for _ in 0..10 {
            play.run(vendor, 3, secs(20));
            // Nobody comes for an hour.
            play.under_way.clear();
            play.now += secs(3600);
            assert!(play.limiter.limit() <= started, "{algorithm:?}");
        }
        play.run(vendor, 100, secs(30));
        assert!(play.limiter.limit() > started, "{algorithm:?}: now it is");
    }
}

#[test]
fn errors_that_come_quickly_never_raise_the_limit() {
    for algorithm in BOTH {
        for (outcome, want) in [(Outcome::Unknown, 20), (Outcome::Overloaded, 4)] {
            let mut play = Play::new(algorithm, 64);
            for _ in 0..1_000 {
                play.now += millis(2);
                let sample = Sample {
                    latency: millis(1),
                    in_flight: 20,
                    outcome,
                };
                play.limiter.on_sample(&sample, play.now);
            }
            assert_eq!(play.limiter.limit(), want, "{algorithm:?} {outcome:?}");
        }
    }
}

#[test]
fn requests_that_time_out_together_lower_it_once() {
    for algorithm in BOTH {
        let mut play = Play::new(algorithm, 64);
        play.now += secs(10);
        let sample = Sample {
            latency: secs(2),
            in_flight: 20,
            outcome: Outcome::Overloaded,
        };
        for _ in 0..20 {
            play.now += millis(1);
            play.limiter.on_sample(&sample, play.now);
        }
        assert_eq!(play.limiter.limit(), 18, "{algorithm:?}");
    }
}

#[test]
fn a_class_may_fill_its_share_and_never_less_than_one() {
    for (limit, percent, want) in [
        (64, 100, 64),
        (64, 80, 51),
        (10, 40, 4),
        (1, 40, 1),
        (2, 40, 1),
        (usize::MAX, 100, usize::MAX),
    ] {
        assert_eq!(room(limit, percent), want, "{percent} % of {limit}");
    }
}

#[test]
fn a_fixed_limit_stays() {
    let now = Instant::now();
    let mut limiter = Limiter::new(64, None, now);
    let sample = Sample {
        latency: secs(60),
        in_flight: 64,
        outcome: Outcome::Overloaded,
    };
    limiter.on_sample(&sample, now);
    assert_eq!(limiter.limit(), 64);
}

proptest! {
    #[test]
    fn whatever_happens_the_limit_stays_between_floor_and_cap_and_only_answers_raise_it(
        gradient: bool,
        floor in 1usize..20,
        cap in 1usize..100,
        steps in prop::collection::vec((0u64..500, 0u64..5_000, 0usize..120, 0u8..4), 1..400),
    ) {
        let algorithm = if gradient { LimitAlgorithm::Gradient } else { LimitAlgorithm::Aimd };
        let config = AdaptiveConfig { in_flight_min: floor, ..config(algorithm) };
        let mut now = Instant::now() + secs(10);
        let mut limiter = Limiter::new(cap, Some(&config), now);
        for (wait, latency, in_flight, kind) in steps {
            now += millis(wait);
            let before = limiter.limit();
            let outcome = match kind {
                0 => Outcome::Overloaded,
                1 => Outcome::Unknown,
                _ => Outcome::Answered,
            };
            let sample = Sample { latency: millis(latency), in_flight, outcome };
            limiter.on_sample(&sample, now);
            let limit = limiter.limit();
            prop_assert!(limit >= floor.min(cap) && limit <= cap, "{} of {}..{}", limit, floor, cap);
            if outcome != Outcome::Answered {
                prop_assert!(limit <= before);
            }
            if outcome == Outcome::Unknown {
                prop_assert_eq!(limit, before);
            }
        }
    }
}
