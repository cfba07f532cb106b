//! Pace: how many answers of a route are learnt, so that learning costs a bounded part of a processor. Pure.
//!
//! Tokens come at a rate up to a burst; an answer takes one per begun 64 KiB. One that takes more than there are is learnt
//! where the burst is whole, and leaves a debt, so that a route of large answers only is learnt as well.

use std::time::Duration;

/// What one token pays for.
const TOKEN_BYTES: u64 = 64 << 10;

/// Tokens of one route, at some time of a clock of the caller's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    tokens: f64,
    at: Duration,
}

impl Pace {
    /// With the whole burst.
    pub(super) fn new(burst: u32, now: Duration) -> Self {
        Self {
            tokens: f64::from(burst),
            at: now,
        }
    }

    /// Whether one more answer is learnt, before its size is known.
    pub(super) fn admit(&mut self, per_second: u32, burst: u32, now: Duration) -> bool {
        let came = now.saturating_sub(self.at).as_secs_f64() * f64::from(per_second);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + came).min(f64::from(burst));
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// It is this long: what that costs beyond the first token.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.tokens -= bytes.saturating_sub(1).div_euclid(TOKEN_BYTES) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_burst_and_the_rate_are_learnt() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(5, ms(0));
        let mut learnt = 0;
        for now in 0..10_000 {
            learnt += u32::from(pace.admit(20, 5, ms(now)));
        }
        assert!((204..=205).contains(&learnt), "{learnt}");
        pace = Pace::new(5, ms(0));
        assert!(pace.admit(20, 5, ms(0)));
        pace.charge(1 << 20);
        assert!(!pace.admit(20, 5, ms(590)), "in debt: 16 tokens");
        assert!(pace.admit(20, 5, ms(640)));
        assert!(
            !pace.admit(20, 5, ms(0)),
            "a clock that goes back gives nothing"
        );
    }
}
