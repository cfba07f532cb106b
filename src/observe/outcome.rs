//! Outcome: how a request was answered, as one closed set of words for logs, metrics and the admin API.

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From a fresh stored response.
    Hit,
    /// From a stale one, because the upstream was too slow (`stale_after`); the fetch went on behind.
    Stale,
    /// From a stale one at once, refreshed behind (RFC 5861 3).
    StaleWhileRevalidate,
    /// From a stale one, because the upstream failed (RFC 5861 4).
    StaleIfError,
    /// From a stored one that the upstream confirmed (304).
    Revalidated,
    /// By the upstream; now stored if that is allowed.
    Miss,
    /// By the upstream, past the store: an unsafe method, or what cannot be stored.
    Pass,
    /// By another request's fetch of the same key.
    Collapsed,
    /// From the stored response of the route's `sibling`, because the upstream failed and nothing else was stored.
    Sibling,
    /// From the route's fallback document.
    Fallback,
    /// With an error: the upstream's own or a problem made here.
    Error,
    /// Not at all: malformed, unknown route, shed.
    Refused,
}

impl Outcome {
    /// How many there are: the size of an array with a place for each.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their index.
    pub const ALL: [Self; 12] = [
        Self::Hit,
        Self::Stale,
        Self::StaleWhileRevalidate,
        Self::StaleIfError,
        Self::Revalidated,
        Self::Miss,
        Self::Pass,
        Self::Collapsed,
        Self::Sibling,
        Self::Fallback,
        Self::Error,
        Self::Refused,
    ];

    /// Its place in an array.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it: snake_case, stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::StaleWhileRevalidate => "stale_while_revalidate",
            Self::StaleIfError => "stale_if_error",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Collapsed => "collapsed",
            Self::Sibling => "sibling",
            Self::Fallback => "fallback",
            Self::Error => "error",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_place_and_word() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
            assert_eq!(
                Outcome::ALL
                    .iter()
                    .filter(|other| other.as_str() == outcome.as_str())
                    .count(),
                1
            );
        }
    }
}
