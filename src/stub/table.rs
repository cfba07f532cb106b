//! The fault table: which fault applies to this request at this time?
//!
//! Pure: `now` is the time since the stub started and chance is an argument, so that every rule is a
//! row in a test and a run with the same seed can be repeated.
//!
//! # Invariants
//!
//! - The most specific pattern that is active now decides, alone: when its `percent` spares a request,
//!   no wider pattern gets it.
//! - One switched break per pattern (a later one replaces it); it beats a scheduled one of that pattern.
//! - Never more than [`RULES_MAX`] rules.

use std::time::Duration;

use rand::Rng;

use super::breaks::Break;
use super::fault::Fault;
use super::pattern::PathPattern;

/// Rules held at a time; the oldest goes first.
pub const RULES_MAX: usize = 256;

/// All breaks, scheduled and switched.
#[derive(Clone, Debug, Default)]
pub struct FaultTable {
    rules: Vec<Rule>,
}

/// One break, placed in time.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) broken: Break,
    /// Since the start of the stub.
    starts: Duration,
    scheduled: bool,
}

/// The fault for a request to `path` at `now` since the start.
///
/// A flap is resolved to the fault inside it, a latency range to one wait.
pub fn fault_at(
    table: &FaultTable,
    path: &str,
    now: Duration,
    rng: &mut impl Rng,
) -> Option<Fault> {
    if table.is_refusing(now) {
        return Some(Fault::Refuse);
    }
    let rule = table.decisive(now, |pattern| pattern.matches(path))?;
    if rule.broken.percent < 100 && rng.random_range(0..100) >= rule.broken.percent {
        return None;
    }
    match rule.fault_now(now)? {
        Fault::Latency { min, max } if min < max => {
            Some(Fault::latency(rng.random_range(*min..=*max)))
        }
        fault => Some(fault.clone()),
    }
}

// --- FaultTable ---

impl FaultTable {
    /// Adds a break of a file or the command line; several may share a pattern.
    pub fn schedule(&mut self, broken: Break) {
        self.push(broken, Duration::ZERO, true);
    }

    /// Breaks from `now` on; replaces what was switched on for the same pattern.
    pub fn switch(&mut self, broken: Break, now: Duration) {
        self.rules
            .retain(|rule| rule.scheduled || rule.broken.path != broken.path);
        self.rules.retain(|rule| !rule.is_over(now));
        self.push(broken, now, false);
    }

    /// Ends every break, also the scheduled, whose pattern is `path`; says how many there were.
    pub fn mend(&mut self, path: &PathPattern) -> usize {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.broken.path != *path);
        before - self.rules.len()
    }

    /// Ends every break, also the scheduled; says how many there were.
    pub fn mend_all(&mut self) -> usize {
        std::mem::take(&mut self.rules).len()
    }

    /// Whether connections are refused at `now`.
    pub fn is_refusing(&self, now: Duration) -> bool {
        self.decisive(now, PathPattern::is_all)
            .and_then(|rule| rule.fault_now(now))
            .is_some_and(Fault::refuses)
    }

    /// When [`Self::is_refusing`] may next change by time alone.
    pub fn next_edge(&self, now: Duration) -> Option<Duration> {
        self.rules
            .iter()
            .filter(|rule| rule.broken.path.is_all())
            .filter_map(|rule| rule.next_edge(now))
            .min()
    }

    /// The rules with whether each is active at `now`, in the order they were given.
    pub(crate) fn rules(&self, now: Duration) -> impl Iterator<Item = (&Rule, bool)> {
        self.rules
            .iter()
            .map(move |rule| (rule, rule.is_active(now)))
    }

    fn push(&mut self, broken: Break, now: Duration, scheduled: bool) {
        if self.rules.len() == RULES_MAX {
            self.rules.remove(0);
        }
        let starts = now.saturating_add(broken.after);
        self.rules.push(Rule {
            broken,
            starts,
            scheduled,
        });
    }

    /// Most specific first, then switched before scheduled, then the later given.
    fn decisive(&self, now: Duration, covers: impl Fn(&PathPattern) -> bool) -> Option<&Rule> {
        self.rules
            .iter()
            .filter(|rule| rule.is_active(now) && covers(&rule.broken.path))
            .max_by_key(|rule| (rule.broken.path.specificity(), !rule.scheduled))
    }
}

// --- Rule ---

impl Rule {
    /// Whether the rule was scheduled, rather than switched on.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.scheduled
    }

    fn is_active(&self, now: Duration) -> bool {
        let Some(since) = now.checked_sub(self.starts) else {
            return false;
        };
        let since = self
            .broken
            .every
            .map_or(since, |every| modulo(since, every));
        self.broken.lasting.is_none_or(|lasting| since < lasting)
    }

    fn is_over(&self, now: Duration) -> bool {
        self.broken.every.is_none()
            && (self.broken.lasting)
                .is_some_and(|lasting| now >= self.starts.saturating_add(lasting))
    }

    /// What the rule does at `now`, while it is active; `None` in the good half of a flap.
    fn fault_now(&self, now: Duration) -> Option<&Fault> {
        match &self.broken.fault {
            Fault::Flap { period, fault } => {
                let phase = modulo(now.saturating_sub(self.starts), *period);
                (phase < *period / 2).then_some(fault)
            }
            fault => Some(fault),
        }
    }

    fn next_edge(&self, now: Duration) -> Option<Duration> {
        let Some(since) = now.checked_sub(self.starts) else {
            return Some(self.starts);
        };
        let mut edges = Vec::new();
        if let Some(lasting) = self.broken.lasting {
            edges.extend(next_in_cycle(since, lasting, self.broken.every));
        }
        if let Fault::Flap { period, .. } = &self.broken.fault {
            edges.extend(next_in_cycle(since, *period / 2, Some(*period)));
        }
        edges
            .into_iter()
            .min()
            .map(|edge| self.starts.saturating_add(edge))
    }
}

/// The next of `edge`, `cycle`, `cycle + edge`, ... that is later than `since`.
fn next_in_cycle(since: Duration, edge: Duration, cycle: Option<Duration>) -> Option<Duration> {
    let Some(cycle) = cycle else {
        return (since < edge).then_some(edge);
    };
    let phase = modulo(since, cycle);
    let next = if phase < edge { edge } else { cycle };
    Some(since.saturating_sub(phase).saturating_add(next))
}

/// `span % cycle`; a cycle is never zero, which [`Break`] has checked.
fn modulo(span: Duration, cycle: Duration) -> Duration {
    let nanos = span.as_nanos() % cycle.as_nanos().max(1);
    Duration::from_secs((nanos / 1_000_000_000) as u64)
        + Duration::from_nanos((nanos % 1_000_000_000) as u64)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn kind_at(table: &FaultTable, path: &str, now: Duration) -> Option<&'static str> {
        fault_at(table, path, now, &mut StdRng::seed_from_u64(1)).map(|fault| fault.kind())
    }

    fn scheduled(texts: &[&str]) -> FaultTable {
        let mut table = FaultTable::default();
        for text in texts {
            table.schedule(text.parse().unwrap());
        }
        table
    }

    #[test]
    fn fault_follows_pattern_and_time() {
        let wide_and_narrow = &["kind=hang path=*", "kind=reset path=/prices/*"][..];
        let with_exact = &["kind=html path=/prices/A", "kind=reset path=/prices/*"][..];
        let window = &["kind=hang at=10s for=5s"][..];
        let repeated = &["kind=hang at=10s for=5s every=60s"][..];
        let two_windows = &["kind=hang at=1s for=1s", "kind=close at=5s for=1s"][..];
        let flap = &["kind=flap period=2s fault=status at=1s"][..];
        for (name, rules, path, now, want) in [
            ("no rule, no fault", &[][..], "/x", 0, None),
            (
                "wide pattern covers the rest",
                wide_and_narrow,
                "/x",
                0,
                Some("hang"),
            ),
            (
                "narrow pattern wins",
                wide_and_narrow,
                "/prices/A",
                0,
                Some("reset"),
            ),
            ("exact path wins", with_exact, "/prices/A", 0, Some("html")),
            ("before its time", window, "/x", 9, None),
            ("at its time", window, "/x", 10, Some("hang")),
            ("after its time", window, "/x", 15, None),
            ("comes back", repeated, "/x", 72, Some("hang")),
            ("rests between", repeated, "/x", 69, None),
            ("first of two windows", two_windows, "/x", 1, Some("hang")),
            ("second of two windows", two_windows, "/x", 5, Some("close")),
            ("flap begins bad", flap, "/x", 1, Some("status")),
            ("flap is good in its second half", flap, "/x", 2, None),
            ("flap is bad again", flap, "/x", 3, Some("status")),
        ] {
            assert_eq!(kind_at(&scheduled(rules), path, secs(now)), want, "{name}");
        }
    }

    #[test]
    fn later_break_replaces_the_same_pattern() {
        let mut table = scheduled(&["kind=hang path=/a"]);
        table.switch("kind=reset path=/a".parse().unwrap(), secs(1));
        assert_eq!(
            kind_at(&table, "/a", secs(1)),
            Some("reset"),
            "switched beats scheduled"
        );
        table.switch("kind=html path=/a for=2s".parse().unwrap(), secs(2));
        assert_eq!(kind_at(&table, "/a", secs(2)), Some("html"));
        assert_eq!(
            kind_at(&table, "/a", secs(4)),
            Some("hang"),
            "the schedule goes on"
        );
        assert_eq!(table.mend(&"/a".parse().unwrap()), 2);
        assert_eq!(kind_at(&table, "/a", secs(4)), None);
    }

    #[test]
    fn percent_spares_the_rest_and_repeats_with_its_seed() {
        let table = scheduled(&["kind=hang path=/a percent=30", "kind=reset path=*"]);
        let run = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let hits = (0..1000).map(|_| fault_at(&table, "/a", secs(0), &mut rng).is_some());
            hits.collect::<Vec<_>>()
        };
        let hit = run(7).iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&hit), "{hit} of 1000 at 30 percent");
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn refusal_covers_every_path_and_knows_its_edges() {
        let table = scheduled(&["kind=refuse at=10s for=5s every=60s", "kind=html path=/a"]);
        for (now, refusing, edge) in [
            (0, false, 10),
            (10, true, 15),
            (15, false, 70),
            (70, true, 75),
        ] {
            assert_eq!(table.is_refusing(secs(now)), refusing, "at {now}");
            assert_eq!(table.next_edge(secs(now)), Some(secs(edge)), "after {now}");
        }
        assert_eq!(kind_at(&table, "/a", secs(11)), Some("refuse"));
        let flap = scheduled(&["kind=flap period=4s fault=refuse"]);
        assert!(flap.is_refusing(secs(1)) && !flap.is_refusing(secs(2)));
        assert_eq!(flap.next_edge(secs(5)), Some(secs(6)));
    }

    #[test]
    fn latency_is_drawn_from_its_range() {
        let table = scheduled(&["kind=latency delay=200ms..300ms"]);
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let Some(Fault::Latency { min, max }) = fault_at(&table, "/", secs(0), &mut rng) else {
                panic!("no latency");
            };
            assert!(
                min == max && (200..=300).contains(&min.as_millis()),
                "{min:?}"
            );
        }
    }

    #[test]
    fn table_is_bounded() {
        let mut table = FaultTable::default();
        for n in 0..RULES_MAX + 10 {
            table.switch(format!("kind=hang path=/{n}").parse().unwrap(), secs(0));
        }
        assert_eq!(table.rules(secs(0)).count(), RULES_MAX);
        assert_eq!(
            kind_at(&table, "/0", secs(0)),
            None,
            "the oldest went first"
        );
    }
}
