//! Whether something new is news: how likely a steady vendor would show it by chance.
//!
//! Of `before` answers some (mostly none) were exceptional, and of the `since` that followed the first odd one, more are.
//! If answers came in any order with equal chance, how likely is it that so many of all exceptional ones are among the
//! later ones? That is Fisher's exact test, one-sided: no model of the vendor, no learning rate, and it is right for 20
//! answers as for 20 million.

/// Terms of the sum that are looked at; they shrink fast where the result is of interest.
const TERMS_MAX: u64 = 1_000;

/// The chance that of `exceptions_before + exceptions` exceptional answers among `before + since` at least `exceptions`
/// are among the `since` latest, if order meant nothing.
pub(super) fn by_chance(before: u64, exceptions_before: u64, since: u64, exceptions: u64) -> f64 {
    let exceptions = exceptions.min(since);
    let exceptional = exceptions_before.min(before) + exceptions;
    let all = ln_choose(before + since, exceptional);
    let most = since.min(exceptional).min(exceptions + TERMS_MAX);
    let mut chance = 0.0;
    for later in exceptions..=most {
        let earlier = exceptional - later;
        if earlier > before {
            continue;
        }
        let term = (ln_choose(since, later) + ln_choose(before, earlier) - all).exp();
        chance += term;
        if term < chance * 1e-9 {
            break;
        }
    }
    chance.min(1.0)
}

fn ln_choose(of: u64, chosen: u64) -> f64 {
    match chosen <= of {
        true => ln_factorial(of) - ln_factorial(chosen) - ln_factorial(of - chosen),
        false => f64::NEG_INFINITY,
    }
}

/// Exact for small numbers, by Stirling's series for others.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let n = n as f64;
    let root = 0.5 * (std::f64::consts::TAU * n).ln();
    n * n.ln() - n + root + 1.0 / (12.0 * n) - 1.0 / (360.0 * n * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_exact_test() {
        for (name, (before, exceptions_before, since, exceptions), want) in [
            ("the next answer after 20", (20, 0, 1, 1), 1.0 / 21.0),
            ("the next two after 20", (20, 0, 2, 2), 1.0 / 231.0),
            ("four after 20", (20, 0, 4, 4), 1.0 / 10_626.0),
            ("two of four after 20", (20, 0, 4, 2), 6.0 / 276.0),
            (
                "three after 1,000",
                (1_000, 0, 3, 3),
                6.0 / (1_003.0 * 1_002.0 * 1_001.0),
            ),
            ("one before, one of one", (3, 1, 1, 1), 0.5),
            ("nothing exceptional", (20, 0, 5, 0), 1.0),
        ] {
            let got = by_chance(before, exceptions_before, since, exceptions);
            assert!((got / want - 1.0).abs() < 1e-6, "{name}: {got} {want}");
        }
    }

    #[test]
    fn it_is_a_chance_whatever_the_numbers() {
        for before in [0, 1, 31, 32, 1_000, u64::MAX / 8] {
            for since in [0, 1, 50, 1_000_000] {
                for exceptions in [0, 1, 49, 2_000_000] {
                    let got = by_chance(before, before / 10, since, exceptions);
                    assert!(
                        (0.0..=1.0).contains(&got),
                        "{before} {since} {exceptions} {got}"
                    );
                }
            }
        }
    }
}
