//! The state machine of one endpoint on a clock of its own.

use proptest::prelude::*;

use super::*;

const CONFIG: EjectionConfig = EjectionConfig {
    enabled: true,
    consecutive_failures: 3,
    eject_for: Duration::from_millis(100),
    eject_for_max: Duration::from_secs(1),
    percent_max: 50,
};

/// One endpoint and the time.
struct Lab {
    standing: Standing,
    now: Instant,
    may_go: bool,
}

impl Lab {
    fn new() -> Self {
        Self {
            standing: Standing::default(),
            now: Instant::now(),
            may_go: true,
        }
    }

    fn call(&mut self, outcome: Outcome) -> Option<Ejected> {
        let ticket = self.standing.begin(self.now);
        self.end(ticket, outcome)
    }

    fn end(&mut self, ticket: Ticket, outcome: Outcome) -> Option<Ejected> {
        self.standing
            .finish(ticket, outcome, self.may_go, &CONFIG, self.now, 0.0)
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Waits until it is tried again, and says for how many milliseconds.
    fn sit_out(&mut self) -> Option<u64> {
        let (Phase::Out { until } | Phase::Kept { until }) = self.standing.phase(self.now) else {
            return None;
        };
        let millis = (until - self.now).as_millis() as u64;
        self.now = until;
        Some(millis)
    }
}

#[tokio::test(start_paused = true)]
async fn what_leaves_an_endpoint_out() {
    use Outcome::{Begun, Failed, Unknown, Unreachable, Well};
    for (name, outcomes, want_out) in [
        ("answers", vec![Well, Well], false),
        ("one failed connect", vec![Unreachable], true),
        ("fewer failures than it takes", vec![Failed, Failed], false),
        ("enough of them", vec![Failed, Failed, Failed], true),
        (
            "an answer between",
            vec![Failed, Failed, Well, Failed, Failed],
            false,
        ),
        (
            "a body that broke after a good head is a failure in the run",
            vec![Failed, Failed, Begun, Failed],
            true,
        ),
        (
            "what was given up says nothing",
            vec![Failed, Failed, Unknown, Failed],
            true,
        ),
    ] {
        let mut lab = Lab::new();
        for outcome in outcomes {
            lab.call(outcome);
        }
        let is_out = matches!(lab.standing.phase(lab.now), Phase::Out { .. });
        assert_eq!(is_out, want_out, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_vain_return_doubles_the_time_and_staying_well_undoes_it() {
    let mut lab = Lab::new();
    assert_eq!(
        lab.call(Outcome::Unreachable),
        Some(Ejected::Out {
            rest: CONFIG.eject_for,
            unreachable: true
        })
    );
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(lab.sit_out().expect("out"));
        assert_eq!(lab.call(Outcome::Failed), None, "told once");
    }
    assert_eq!(times, [100, 200, 400, 800, 1_000, 1_000]);
    assert_eq!(lab.standing.ejections(), 7);
    lab.sit_out();
    assert_eq!(lab.call(Outcome::Well), Some(Ejected::Returned));
    assert_eq!(lab.standing.phase(lab.now), Phase::In);

    // Out again right away: still known as one that fails. After a long while well: as good as new.
    lab.call(Outcome::Unreachable);
    assert_eq!(lab.sit_out(), Some(1_000));
    lab.call(Outcome::Well);
    lab.wait(6_000);
    lab.call(Outcome::Unreachable);
    assert_eq!(lab.sit_out(), Some(400), "eight steps up, six undone");
    lab.call(Outcome::Well);
    lab.wait(60_000);
    lab.call(Outcome::Unreachable);
    assert_eq!(lab.sit_out(), Some(100));
}

#[tokio::test(start_paused = true)]
async fn a_returning_endpoint_is_tried_by_one_call_at_a_time() {
    let mut lab = Lab::new();
    lab.call(Outcome::Unreachable);
    lab.sit_out();
    let phase = |lab: &Lab| lab.standing.phase(lab.now);
    assert_eq!(phase(&lab), Phase::Returning { tried: false });
    let trial = lab.standing.begin(lab.now);
    assert_eq!(phase(&lab), Phase::Returning { tried: true });
    lab.end(trial, Outcome::Unknown);
    assert_eq!(phase(&lab), Phase::Returning { tried: false }, "given up");
    let trial = lab.standing.begin(lab.now);
    assert_eq!(lab.end(trial, Outcome::Begun), Some(Ejected::Returned));
    assert_eq!(phase(&lab), Phase::In);
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_under_way_together_fail_together() {
    let mut lab = Lab::new();
    let all: Vec<_> = (0..9).map(|_| lab.standing.begin(lab.now)).collect();
    for ticket in &all[..8] {
        lab.end(*ticket, Outcome::Failed);
    }
    assert_eq!(lab.standing.ejections(), 1);
    assert_eq!(lab.sit_out(), Some(100));
    lab.end(all[8], Outcome::Failed);
    assert_eq!(
        lab.standing.phase(lab.now),
        Phase::Returning { tried: false },
        "a hung call of the time before says nothing about now"
    );
}

#[tokio::test(start_paused = true)]
async fn where_it_may_not_go_it_is_kept_and_no_better_than_one_that_is_out() {
    let mut lab = Lab::new();
    lab.may_go = false;
    assert_eq!(
        lab.call(Outcome::Unreachable),
        None,
        "nobody is woken for it"
    );
    assert!(matches!(lab.standing.phase(lab.now), Phase::Kept { .. }));
    assert!(!lab.standing.is_ejected());
    lab.wait(50);
    assert_eq!(lab.call(Outcome::Unreachable), None);
    assert_eq!(
        lab.sit_out(),
        Some(100),
        "asked in vain: put off, not doubled"
    );
    assert_eq!(lab.call(Outcome::Well), None);
    assert_eq!(lab.standing.phase(lab.now), Phase::In);
    assert_eq!(lab.standing.ejections(), 0);

    lab.call(Outcome::Unreachable);
    lab.may_go = true;
    let told = lab.call(Outcome::Unreachable);
    assert!(matches!(told, Some(Ejected::Out { .. })), "others are back");
}

#[tokio::test(start_paused = true)]
async fn a_check_brings_back_what_could_only_not_be_connected_to() {
    for (outcome, runs, want) in [(Outcome::Unreachable, 1, true), (Outcome::Failed, 3, false)] {
        let mut lab = Lab::new();
        for _ in 0..runs {
            lab.call(outcome);
        }
        lab.standing.reached(lab.now);
        let is_tried = lab.standing.phase(lab.now) == Phase::Returning { tried: false };
        assert_eq!(is_tried, want, "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn an_ejection_lasts_at_least_its_jittered_base_and_at_most_its_max(
        steps in 0u32..200,
        jitter in 0.0f64..1.0,
        base_millis in 1u64..5_000,
        max_millis in 1u64..100_000,
    ) {
        let config = EjectionConfig {
            eject_for: Duration::from_millis(base_millis),
            eject_for_max: Duration::from_millis(max_millis),
            ..CONFIG
        };
        let time = rest_time(steps, &config, jitter);
        let least = config.eject_for.min(config.eject_for_max).mul_f64(1.0 - JITTER);
        prop_assert!(time >= least, "{time:?}");
        prop_assert!(time <= config.eject_for_max, "{time:?}");
        prop_assert!(rest_time(steps + 1, &config, jitter) >= time, "it grows");
    }

    #[test]
    fn whatever_happens_it_is_tried_again_and_one_answer_lets_it_in(
        calls in prop::collection::vec((0u8..5, 0u64..3_000, any::<bool>(), 0.0f64..1.0), 0..80)
    ) {
        let mut lab = Lab::new();
        let mut pending = Vec::new();
        for (what, wait, may_go, jitter) in calls {
            lab.may_go = may_go;
            lab.wait(wait);
            pending.push(lab.standing.begin(lab.now));
            let outcome = [
                Outcome::Well,
                Outcome::Begun,
                Outcome::Unreachable,
                Outcome::Failed,
                Outcome::Unknown,
            ][usize::from(what)];
            // Sometimes the oldest ends, sometimes the newest: order means nothing.
            let at = if may_go { 0 } else { pending.len() - 1 };
            let ticket = pending.remove(at);
            lab.standing.finish(ticket, outcome, may_go, &CONFIG, lab.now, jitter);
            if let Phase::Out { until } | Phase::Kept { until } = lab.standing.phase(lab.now) {
                prop_assert!(until <= lab.now + CONFIG.eject_for_max);
            }
        }
        for ticket in pending {
            lab.end(ticket, Outcome::Unknown);
        }
        lab.wait(1_000);
        let phase = lab.standing.phase(lab.now);
        prop_assert!(matches!(phase, Phase::In | Phase::Returning { tried: false }), "{phase:?}");
        lab.call(Outcome::Well);
        prop_assert_eq!(lab.standing.phase(lab.now), Phase::In);
    }
}
