//! Invariants of the state machine over any order of calls, outcomes, times and hands.

use proptest::prelude::*;

use super::{
    tests::{CRAWL, FAILED, HUNG, OK, TOO_MANY, config},
    *,
};

/// What can happen to a breaker, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    Finish(usize, usize),
    BodyBreaks(usize),
    Wait(u16),
    Order(Action),
}

const ASKED: Outcome = Outcome::Failure {
    slow: false,
    run: false,
    retry_after: Some(Duration::from_secs(20)),
};
const OUTCOMES: [Outcome; 8] = [
    OK,
    OK,
    CRAWL,
    FAILED,
    HUNG,
    TOO_MANY,
    ASKED,
    Outcome::Unknown,
];

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![
        Just(Action::Open),
        Just(Action::Close),
        Just(Action::Isolate)
    ];
    prop_oneof![
        12 => Just(Step::Admit),
        12 => (any::<usize>(), 0..OUTCOMES.len()).prop_map(|(which, how)| Step::Finish(which, how)),
        2 => any::<usize>().prop_map(Step::BodyBreaks),
        5 => (0u16..2_000).prop_map(Step::Wait),
        1 => action.prop_map(Step::Order),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..300)
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    (1u32..5, 1u32..6, 1u32..=100).prop_map(|(probes, probe_calls, probe_success_percent)| {
        BreakerConfig {
            probes,
            probe_calls,
            probe_success_percent,
            ..config()
        }
    })
}

/// A breaker in the middle of its calls, and what is known of them.
struct World {
    config: BreakerConfig,
    breaker: BreakerState,
    now: Instant,
    jitter: f64,
    tickets: Vec<Ticket>,
    /// Generations of responses whose bodies may still break.
    streams: Vec<Generation>,
    /// Results that count in this half-open phase.
    good: u32,
    results: u32,
}

impl World {
    fn new(config: BreakerConfig, jitter: f64) -> Self {
        let now = Instant::now();
        Self {
            config,
            breaker: BreakerState::new(config, now),
            now,
            jitter,
            tickets: Vec::new(),
            streams: Vec::new(),
            good: 0,
            results: 0,
        }
    }

    fn admit(&mut self) -> Result<(), TestCaseError> {
        let before = self.breaker.snapshot(self.now);
        let generation = self.breaker.generation;
        let foretold = self.breaker.refusal(self.now);
        let (admitted, change) = self.breaker.try_admit(self.now);
        prop_assert_eq!(foretold, admitted.as_ref().err().copied());
        match admitted {
            Err(_) => {
                prop_assert_eq!(change, None);
                prop_assert_eq!(
                    self.breaker.snapshot(self.now),
                    before,
                    "a refused call changes nothing"
                );
                prop_assert_eq!(self.breaker.generation, generation);
                prop_assert!(before.phase != Phase::Closed);
            }
            Ok(ticket) => {
                prop_assert!(before.phase != Phase::Isolated, "isolated admits nothing");
                let rested = before.rest.is_none_or(|rest| rest.is_zero());
                prop_assert!(rested, "open admits nothing before its rest is over");
                if change.is_some() {
                    (self.good, self.results) = (0, 0);
                }
                self.tickets.push(ticket);
            }
        }
        Ok(())
    }

    fn finish(&mut self, which: usize, outcome: Outcome) -> Option<BreakerChange> {
        if self.tickets.is_empty() {
            return None;
        }
        let ticket = self.tickets.swap_remove(which % self.tickets.len());
        let is_of_now = ticket.generation == self.breaker.generation;
        let is_old_news = ticket.kind == Kind::FirstProbe && self.good > 0;
        if is_of_now && !is_old_news && self.breaker.phase() == Phase::HalfOpen {
            self.good += u32::from(outcome == OK);
            let is_result = !matches!(outcome, Outcome::Unknown | Outcome::NotAsked);
            self.results += u32::from(is_result);
        }
        if matches!(outcome, Outcome::Success { .. }) {
            self.streams.push(ticket.generation());
        }
        self.breaker.finish(ticket, outcome, self.now, self.jitter)
    }

    fn body_breaks(&mut self, which: usize) -> Option<BreakerChange> {
        if self.streams.is_empty() {
            return None;
        }
        let admitted_in = self.streams.swap_remove(which % self.streams.len());
        let is_of_now = admitted_in == self.breaker.generation;
        if is_of_now && self.breaker.phase() == Phase::HalfOpen {
            self.good = self.good.saturating_sub(1);
        }
        self.breaker.body_broke(admitted_in, self.now, self.jitter)
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let before = self.breaker.phase();
        let change = match step {
            Step::Admit => return self.admit(),
            Step::Wait(millis) => {
                self.now += Duration::from_millis(millis.into());
                None
            }
            Step::BodyBreaks(which) => self.body_breaks(which),
            Step::Finish(which, how) => self.finish(which, OUTCOMES[how]),
            Step::Order(action) => {
                let change = self.breaker.order(action, self.now, self.jitter);
                let after = match action {
                    Action::Open => Phase::Open,
                    Action::Close => Phase::Closed,
                    Action::Isolate => Phase::Isolated,
                };
                prop_assert_eq!(self.breaker.phase(), after);
                return self.check_rest(change);
            }
        };
        if before == Phase::Isolated {
            prop_assert_eq!(self.breaker.phase(), before, "only a hand ends isolation");
        }
        if let Some(BreakerChange::Closed { reason }) = change {
            let needed =
                (self.config.probe_calls * self.config.probe_success_percent).div_ceil(100);
            prop_assert_eq!(before, Phase::HalfOpen, "only probes close it");
            prop_assert!(self.good >= needed && self.results >= self.config.probe_calls);
            let (good, results) = (self.good, self.results);
            prop_assert_eq!(reason, Reason::Recovered { good, results });
        }
        self.check_rest(change)
    }

    fn check_rest(&self, change: Option<BreakerChange>) -> Result<(), TestCaseError> {
        if let Some(BreakerChange::Opened { rest, reason }) = change {
            // Twenty seconds are what the upstream may ask for.
            prop_assert!(rest <= Duration::from_secs(20));
            let counts_from_now = !matches!(reason, Reason::Probes { .. });
            prop_assert!(!counts_from_now || rest >= Duration::from_millis(400));
        }
        Ok(())
    }

    fn check_slots(&self) -> Result<(), TestCaseError> {
        let out = self.tickets.iter().filter(|it| it.kind != Kind::Call);
        let snapshot = self.breaker.snapshot(self.now);
        prop_assert!(snapshot.probes_in_flight <= self.config.probes);
        prop_assert_eq!(
            snapshot.probes_in_flight as usize,
            out.count(),
            "a slot per probe, no more"
        );
        Ok(())
    }
}

proptest! {
    #[test]
    fn probes_are_capped_and_only_they_close_it(
        config in configs(),
        steps in steps(),
        jitter in 0.0f64..1.0,
    ) {
        let mut world = World::new(config, jitter);
        for step in steps {
            world.step(step)?;
            world.check_slots()?;
        }
    }

    #[test]
    fn there_is_always_a_way_back_to_closed(
        config in configs(),
        steps in steps(),
        jitter in 0.0f64..1.0,
    ) {
        let mut world = World::new(config, jitter);
        for step in steps {
            world.step(step)?;
        }
        // Whatever is under way ends, whatever was isolated is opened; then the upstream is well.
        while !world.tickets.is_empty() {
            world.finish(0, Outcome::Unknown);
        }
        prop_assert_eq!(world.breaker.snapshot(world.now).probes_in_flight, 0);
        if world.breaker.phase() == Phase::Isolated {
            world.breaker.order(Action::Open, world.now, jitter);
        }
        // The longest rest, or what the upstream asked for at most.
        world.now += Duration::from_secs(20);
        for _ in 0..2 * config.probe_calls {
            if world.breaker.phase() == Phase::Closed {
                break;
            }
            let (admitted, _) = world.breaker.try_admit(world.now);
            prop_assert!(admitted.is_ok(), "no way to a probe");
            if let Ok(ticket) = admitted {
                world.breaker.finish(ticket, OK, world.now, jitter);
            }
        }
        prop_assert_eq!(world.breaker.phase(), Phase::Closed);
    }

    #[test]
    fn a_sick_upstream_sees_at_most_one_probe_per_rest(
        waits in prop::collection::vec(0u64..900, 1..200),
        hangs_for in 0u64..6_000,
        jitter in 0.0f64..1.0,
    ) {
        let mut world = World::new(config(), jitter);
        world.breaker.order(Action::Open, world.now, jitter);
        let mut out: Vec<(Instant, Ticket)> = Vec::new();
        let mut last: Option<Instant> = None;
        for wait in waits {
            world.now += Duration::from_millis(wait);
            let now = world.now;
            out.sort_by_key(|(until, _)| *until);
            while out.first().is_some_and(|(until, _)| *until <= now) {
                let (until, ticket) = out.remove(0);
                world.breaker.finish(ticket, HUNG, until, jitter);
            }
            if let (Ok(ticket), _) = world.breaker.try_admit(now) {
                let apart = last.map(|last| now - last);
                prop_assert!(apart.is_none_or(|apart| apart >= Duration::from_millis(400)), "{apart:?}");
                last = Some(now);
                out.push((now + Duration::from_millis(hangs_for), ticket));
            }
        }
    }
}
