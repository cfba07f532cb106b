//! Which endpoint is chosen, on a clock of its own and with draws by a script.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    ejection: EjectionConfig {
        enabled: true,
        consecutive_failures: 3,
        eject_for: Duration::from_millis(100),
        eject_for_max: Duration::from_secs(1),
        percent_max: 50,
    },
    slow_start: Duration::ZERO,
    unhealthy_after: 1,
    healthy_after: 1,
};

/// Endpoints, the time, and even chance.
struct Lab {
    roster: Roster,
    now: Instant,
    chance: Chance,
}

/// Even draws, the same in every run (Knuth's MMIX generator).
#[derive(Clone, Copy)]
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> f64 {
        let Self(state) = self;
        *state =
            (state.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 32) as f64 / f64::from(u32::MAX) * 0.999_999
    }
}

impl Lab {
    fn new(priorities: &[u32], rules: Rules) -> Self {
        Self {
            roster: Roster::new(priorities.iter().copied(), rules),
            now: Instant::now(),
            chance: Chance(7),
        }
    }

    fn choose(&mut self, avoid: Option<usize>) -> Ticket {
        let chance = &mut self.chance;
        let mut draw = || chance.draw();
        self.roster.choose(avoid, self.now, |_| 0, &mut draw)
    }

    fn end(&mut self, ticket: Ticket, outcome: Outcome) -> Option<Change> {
        self.roster.finish(ticket, outcome, self.now, 0.0)
    }

    /// Whom a hundred attempts go to that are given up.
    fn asked(&mut self, avoid: Option<usize>) -> Vec<usize> {
        let mut asked = Vec::new();
        for _ in 0..100 {
            let ticket = self.choose(avoid);
            self.end(ticket, Outcome::Unknown);
            asked.push(ticket.index);
        }
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// Makes calls to this one fail until it is left out, or would be.
    fn fails(&mut self, index: usize, outcome: Outcome) -> Option<Change> {
        (0..3)
            .map(|_| {
                let ticket = Ticket {
                    index,
                    standing: self.roster.members[index].standing.begin(self.now),
                };
                self.end(ticket, outcome)
            })
            .find(Option::is_some)
            .flatten()
    }

    fn states(&self) -> Vec<&'static str> {
        let states = self.roster.states(self.now);
        states.iter().map(|state| state.as_str()).collect()
    }
}

/// What happens before, in order.
#[derive(Clone, Copy)]
enum Deed {
    Fails(usize),
    Unreachable(usize),
    Unhealthy(usize),
    Healthy(usize),
    Waits(u64),
}

fn after(priorities: &[u32], deeds: &[Deed]) -> Lab {
    let mut lab = Lab::new(priorities, RULES);
    for deed in deeds {
        match *deed {
            Deed::Fails(index) => drop(lab.fails(index, Outcome::Failed)),
            Deed::Unreachable(index) => drop(lab.fails(index, Outcome::Unreachable)),
            Deed::Unhealthy(index) => drop(lab.roster.checked(index, false, lab.now)),
            Deed::Healthy(index) => drop(lab.roster.checked(index, true, lab.now)),
            Deed::Waits(millis) => lab.now += Duration::from_millis(millis),
        }
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn an_attempt_always_goes_somewhere_sensible() {
    use Deed::{Fails, Healthy, Unhealthy, Unreachable, Waits};
    for (name, priorities, deeds, avoid, want) in [
        (
            "all are well",
            &[0, 0, 0][..],
            &[][..],
            None,
            &[0, 1, 2][..],
        ),
        ("a retry goes elsewhere", &[0, 0], &[], Some(1), &[0]),
        ("a single one", &[0], &[], Some(0), &[0]),
        (
            "a single one that fails",
            &[0],
            &[Unreachable(0), Fails(0)],
            None,
            &[0],
        ),
        (
            "one cannot be connected to",
            &[0, 0],
            &[Unreachable(0)],
            None,
            &[1],
        ),
        ("one fails", &[0, 0, 0], &[Fails(0)], None, &[1, 2]),
        (
            "its time is over",
            &[0, 0],
            &[Unreachable(0), Waits(100)],
            None,
            &[0, 1],
        ),
        (
            "rather the one that failed than one that is out",
            &[0, 0],
            &[Unreachable(0)],
            Some(1),
            &[1],
        ),
        (
            "nobody can be connected to: the soonest",
            &[0, 0, 0],
            &[
                Unreachable(1),
                Waits(10),
                Unreachable(0),
                Waits(10),
                Unreachable(2),
            ],
            Some(1),
            &[1],
        ),
        (
            "standby is not asked while the primary is well",
            &[0, 1],
            &[],
            None,
            &[0],
        ),
        ("but for a retry", &[0, 1], &[], Some(0), &[1]),
        ("the primary is out", &[0, 1], &[Unreachable(0)], None, &[1]),
        (
            "one of two primaries is out",
            &[0, 0, 1],
            &[Unreachable(0)],
            None,
            &[1],
        ),
        ("both are", &[0, 0, 1], &[Fails(0), Fails(1)], None, &[2]),
        (
            "one is back",
            &[0, 0, 1],
            &[Fails(0), Waits(50), Fails(1), Waits(60)],
            None,
            &[0],
        ),
        (
            "two groups are out",
            &[0, 1, 2],
            &[Fails(0), Fails(1)],
            None,
            &[2],
        ),
        ("groups by number, not by place", &[1, 0], &[], None, &[1]),
        ("unhealthy is out", &[0, 0], &[Unhealthy(0)], None, &[1]),
        (
            "and healthy is in again",
            &[0, 0],
            &[Unhealthy(0), Healthy(0)],
            None,
            &[0, 1],
        ),
        ("an unhealthy primary", &[0, 1], &[Unhealthy(0)], None, &[1]),
        (
            "all are unhealthy: all count",
            &[0, 0],
            &[Unhealthy(0), Unhealthy(1)],
            None,
            &[0, 1],
        ),
        (
            "all are unhealthy: the primary group",
            &[0, 1],
            &[Unhealthy(0), Unhealthy(1)],
            None,
            &[0],
        ),
        (
            "rather one that is called unhealthy than one that has just failed",
            &[0, 0],
            &[Unhealthy(0), Unreachable(1)],
            None,
            &[0],
        ),
    ] {
        let mut lab = after(priorities, deeds);
        assert_eq!(lab.asked(avoid), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn how_many_may_go() {
    use Deed::{Fails, Unreachable};
    for (name, priorities, deeds, want) in [
        (
            "one of two",
            &[0, 0][..],
            &[Fails(0), Fails(1)][..],
            "ejected up",
        ),
        (
            "half of four",
            &[0, 0, 0, 0],
            &[Fails(0), Fails(1), Fails(2), Fails(3)],
            "ejected ejected up up",
        ),
        (
            "half of three is one",
            &[0, 0, 0],
            &[Fails(0), Fails(1)],
            "ejected up up",
        ),
        (
            "those that cannot be connected to carry nothing",
            &[0, 0, 0],
            &[Unreachable(0), Unreachable(1), Unreachable(2)],
            "ejected ejected up",
        ),
        (
            "a whole group with a standby",
            &[0, 0, 1],
            &[Fails(0), Fails(1)],
            "ejected ejected up",
        ),
        (
            "but not the standby too",
            &[0, 0, 1],
            &[Fails(0), Fails(1), Fails(2)],
            "ejected ejected up",
        ),
        ("never a single one", &[0], &[Unreachable(0)], "up"),
        ("a standby waits", &[0, 1], &[], "up standby"),
    ] {
        let lab = after(priorities, deeds);
        assert_eq!(lab.states().join(" "), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_they_are_asked_in_turn_so_that_the_first_to_recover_is_found() {
    let mut lab = Lab::new(&[0, 0, 1], RULES);
    for index in 0..3 {
        lab.fails(index, Outcome::Unreachable);
    }
    let mut asked = Vec::new();
    for _ in 0..30 {
        lab.now += Duration::from_millis(5);
        let ticket = lab.choose(None);
        lab.end(ticket, Outcome::Unreachable);
        asked.push(ticket.index);
    }
    for index in 0..3 {
        let count = asked.iter().filter(|it| **it == index).count();
        assert!(count >= 5, "{index}: {asked:?}");
    }
    let ticket = lab.choose(None);
    let told = lab.end(ticket, Outcome::Well);
    assert_eq!(lab.asked(None), [ticket.index], "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_endpoints_own_while_another_one_is_well() {
    use Deed::{Fails, Unhealthy, Unreachable};
    for (name, priorities, deeds, index, want) in [
        ("the other is well", &[0, 0][..], &[][..], 0, true),
        ("a standby is", &[0, 1], &[Unreachable(0)], 0, true),
        ("all fail", &[0, 0], &[Unreachable(0), Fails(1)], 1, false),
        ("the other is unhealthy", &[0, 0], &[Unhealthy(1)], 0, false),
        ("there is no other", &[0], &[], 0, false),
    ] {
        let lab = after(priorities, deeds);
        assert_eq!(lab.roster.others_well(index, lab.now), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn against_one_that_fails_chance_decides_not_its_load() {
    let mut lab = Lab::new(&[0, 0], RULES);
    let ticket = Ticket {
        index: 0,
        standing: lab.roster.members[0].standing.begin(lab.now),
    };
    lab.end(ticket, Outcome::Failed);
    // It fails quickly, so it looks idle.
    let cost = |index: usize| if index == 0 { 0 } else { 100 };
    let mut chance = Chance(7);
    let mut draw = || chance.draw();
    let chosen = (0..200).map(|_| lab.roster.choose(None, lab.now, cost, &mut draw).index);
    let share = chosen.filter(|index| *index == 0).count();
    assert!((60..=140).contains(&share), "{share} of 200");
}

#[tokio::test(start_paused = true)]
async fn what_a_returned_primary_does_not_take_yet_goes_to_the_standby() {
    let rules = Rules {
        slow_start: Duration::from_secs(10),
        ..RULES
    };
    let mut lab = Lab::new(&[0, 1], rules);
    lab.fails(0, Outcome::Unreachable);
    lab.now += Duration::from_millis(100);
    let trial = lab.choose(None);
    assert_eq!(trial.index, 0);
    assert_eq!(lab.choose(None).index, 1, "until the first has answered");
    let told = lab.end(trial, Outcome::Well);
    assert_eq!(told, Some(Change::Ejected(Ejected::Returned)));
    assert_eq!(lab.states(), ["slow_start", "standby"]);
    let mut shares = Vec::new();
    for _ in 0..3 {
        let chosen = (0..1_000).filter(|_| lab.choose(None).index == 0).count();
        shares.push(chosen);
        lab.now += Duration::from_secs(5);
    }
    assert!((50..=150).contains(&shares[0]), "a tenth: {shares:?}");
    assert!((480..=620).contains(&shares[1]), "half: {shares:?}");
    assert_eq!(shares[2], 1_000, "all");
    assert_eq!(lab.states(), ["up", "standby"]);
}

proptest! {
    /// Whatever happens: somebody is asked, ejection never takes the last one, and after the longest time all are eligible.
    #[test]
    fn never_all_are_ejected_and_never_nobody_is_asked(
        priorities in prop::collection::vec(0u32..3, 1..6),
        percent_max in 1u32..=100,
        slow_start_secs in 0u64..3,
        steps in prop::collection::vec((0u8..8, 0u64..400, 0.0f64..1.0, 0usize..6), 0..120),
    ) {
        let rules = Rules {
            ejection: EjectionConfig { percent_max, ..RULES.ejection },
            slow_start: Duration::from_secs(slow_start_secs),
            ..RULES
        };
        let size = priorities.len();
        let mut lab = Lab::new(&priorities, rules);
        let mut pending = Vec::new();
        for (what, wait, chance, index) in steps {
            lab.now += Duration::from_millis(wait);
            match what {
                0 | 1 => {
                    let avoid = (what == 1).then_some(index % size);
                    pending.push(lab.choose(avoid));
                }
                2..=6 if !pending.is_empty() => {
                    let outcome = [
                        Outcome::Well,
                        Outcome::Begun,
                        Outcome::Unreachable,
                        Outcome::Failed,
                        Outcome::Unknown,
                    ][usize::from(what) - 2];
                    let ticket = pending.remove(index % pending.len());
                    lab.roster.finish(ticket, outcome, lab.now, chance);
                }
                2..=6 => {}
                _ => drop(lab.roster.checked(index % size, chance < 0.5, lab.now)),
            }
            let out = |it: &EndpointState| *it == EndpointState::Ejected;
            let states = lab.roster.states(lab.now);
            prop_assert!(!states.iter().all(out), "{states:?}");
            let asked = lab.choose(None);
            prop_assert!(asked.index < size);
            lab.end(asked, Outcome::Unknown);
        }
        for ticket in pending {
            lab.end(ticket, Outcome::Unknown);
        }
        for index in 0..size {
            lab.roster.checked(index, true, lab.now);
        }
        lab.now += Duration::from_secs(1);
        prop_assert_eq!(lab.roster.eligible(lab.now).len(), size);
    }

    #[test]
    fn two_are_drawn_and_they_differ(len in 1usize..9, first in 0.0f64..1.0, second in 0.0f64..1.0) {
        let (one, other) = draw_two(len, first, second);
        prop_assert!(one < len && other < len);
        prop_assert_eq!(one == other, len == 1);
    }
}
