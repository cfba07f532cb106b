//! One response that may have been stored: whether it may, and for how long it is what (RFC 9111 3, 4.2).

use http::{HeaderMap, Uri};
use larder::cache::Mode;

use crate::{
    fields::{Directives, SECOND, delta, directives, http_date, list, response_directives, text},
    world::HOST,
};

/// What the route's policy says.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub overrides: bool,
    /// Seconds, as the origin writes them.
    pub fresh: Option<i64>,
    pub heuristic_percent: i64,
    pub while_revalidate: i64,
    pub max_stale: i64,
    /// Longest rest of a key after a fetch that brought nothing, in milliseconds.
    pub rest: i64,
    /// Lifetimes hold to the second: no spread, no early refresh.
    pub exact: bool,
}

impl Rules {
    /// Those of a policy that adds nothing: stale answers for a day where the origin fails.
    pub fn plain() -> Self {
        Self {
            max_stale: 24 * 3600,
            exact: true,
            ..Self::default()
        }
    }
}

/// A response that the cache may have stored.
#[derive(Clone, Debug)]
pub struct Known {
    pub serial: u64,
    pub target: String,
    pub asked: HeaderMap,
    pub by_post: bool,
    pub status: u16,
    pub fields: HeaderMap,
    pub asked_at: i64,
    pub received_at: i64,
    /// The strictest of what was said of it later: by a write (4.4), or by somebody who purged it.
    pub ended: Option<Mode>,
    /// The cache itself said that it stored this.
    pub said_stored: bool,
}

impl Known {
    pub fn end(&mut self, mode: Mode) {
        self.ended = self.ended.max(Some(mode));
    }

    pub fn directives(&self) -> Directives {
        response_directives(&self.fields)
    }

    /// 4.2.3 `corrected_initial_age`.
    pub fn initial_age(&self) -> i64 {
        let date = text(&self.fields, "date").and_then(http_date);
        let apparent = date.map_or(0, |date| (self.received_at - date).max(0));
        let first = list(&self.fields, "age").into_iter().next();
        let said = first.and_then(|age| delta(&age)).unwrap_or(0) * SECOND;
        apparent.max(said + self.received_at - self.asked_at)
    }

    pub fn age(&self, now: i64) -> i64 {
        self.initial_age() + (now - self.received_at).max(0)
    }

    /// 4.2.1, of the origin alone.
    pub fn explicit_lifetime(&self) -> Option<i64> {
        let directives = self.directives();
        let date = text(&self.fields, "date")
            .and_then(http_date)
            .unwrap_or(self.received_at);
        let expires = || {
            let mut lines = self.fields.get_all("expires").iter();
            let first = lines.next()?;
            let same = lines.all(|line| line == first);
            let at = first.to_str().ok().and_then(http_date).filter(|_| same);
            Some(at.map_or(0, |at| (at - date).max(0)))
        };
        let named = directives.secs("s-maxage").or(directives.secs("max-age"));
        named
            .map(|secs| secs * SECOND)
            .or_else(|| expires().filter(|_| !directives.targeted))
    }

    pub fn lifetime(&self, rules: &Rules) -> Option<i64> {
        if let Some(fresh) = rules.fresh.filter(|_| rules.overrides) {
            return Some(fresh * SECOND);
        }
        if self.directives().has("no-cache") && !rules.overrides {
            return Some(0);
        }
        let named = self
            .explicit_lifetime()
            .or(rules.fresh.map(|fresh| fresh * SECOND));
        named.or_else(|| self.guess(rules))
    }

    /// 4.2.2: a share of the time since `Last-Modified`, where the status or `public` allows it.
    pub fn guess(&self, rules: &Rules) -> Option<i64> {
        let may = self.keeps_without_lifetime() && rules.heuristic_percent > 0;
        let date = text(&self.fields, "date")
            .and_then(http_date)
            .unwrap_or(self.received_at);
        let modified = text(&self.fields, "last-modified").and_then(http_date)?;
        (may && modified <= date)
            .then(|| ((date - modified) * rules.heuristic_percent / 100).min(24 * 3600 * SECOND))
    }

    pub fn keeps_without_lifetime(&self) -> bool {
        self.directives().has("public")
            || matches!(
                self.status,
                200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
            )
    }

    /// 4.2.4: what forbids use once stale.
    pub fn forbids_stale(&self, rules: &Rules) -> bool {
        let directives = self.directives();
        let words = [
            "no-cache",
            "must-revalidate",
            "proxy-revalidate",
            "s-maxage",
        ];
        !rules.overrides && words.iter().any(|word| directives.has(word))
    }

    /// 3.5.
    pub fn is_for_everybody(&self) -> bool {
        let directives = self.directives();
        ["public", "must-revalidate", "s-maxage"]
            .iter()
            .any(|word| directives.has(word))
    }

    /// 3: why it must not have been stored.
    pub fn not_storable(&self, rules: &Rules) -> Option<&'static str> {
        let directives = self.directives();
        let wishes = directives_of_request(&self.asked, rules);
        let understood =
            matches!(self.status, 200..=206 | 300..=308 | 400..=417 | 421..=429 | 431 | 500..=511);
        let located = text(&self.fields, "content-location")
            .map(|at| named(&self.target, at).is_some_and(|it| it == self.target));
        match () {
            () if self.status == 304 || self.status < 200 => Some("not a final response (3)"),
            () if self.status >= 500 || self.status == 429 => {
                Some("a failure, and the policy trusts none")
            }
            () if self.status == 416 => Some("an answer to one range, for nobody else"),
            () if self.status == 206 && !self.asked.contains_key("range") => {
                Some("a part that nobody asked for (3.3)")
            }
            () if directives.has("must-understand") && !understood => {
                Some("must-understand (5.2.2.3)")
            }
            () if rules.overrides
                && self.asked.contains_key("authorization")
                && !self.is_for_everybody() =>
            {
                Some("Authorization (3.5)")
            }
            () if rules.overrides => None,
            () if directives.has("no-store") && !directives.has("must-understand") => {
                Some("no-store (5.2.2.5)")
            }
            () if directives.has("private") => Some("private (5.2.2.7)"),
            () if wishes.has("no-store") => Some("the request's no-store (5.2.1.5)"),
            () if self.asked.contains_key("authorization") && !self.is_for_everybody() => {
                Some("Authorization (3.5)")
            }
            () if self.fields.contains_key("set-cookie")
                && !directives.has("public")
                && !directives.has("s-maxage") =>
            {
                Some("Set-Cookie (7.3)")
            }
            () if self.explicit_lifetime().is_none() && !self.keeps_without_lifetime() => {
                Some("no lifetime, and a status that is not kept without (3)")
            }
            () if self.by_post
                && (self.status != 200
                    || self.explicit_lifetime().is_none()
                    || located != Some(true)) =>
            {
                Some("an answer to POST that is not the target's (RFC 9110 9.3.3)")
            }
            () => None,
        }
    }
}

/// Directives of a request (5.2.1), `Pragma` where there are none (5.4), nothing where the policy ignores them.
pub fn directives_of_request(asked: &HeaderMap, rules: &Rules) -> Directives {
    match (rules.overrides, asked.contains_key("cache-control")) {
        (true, _) => Directives::default(),
        (false, true) => directives(asked, "cache-control"),
        (false, false) => directives(asked, "pragma"),
    }
}

/// The target here that a URI in a response names, if it is of the same origin (4.4).
pub fn named(base: &str, reference: &str) -> Option<String> {
    // Of relative references (RFC 3986 5.2) there are only siblings in the scripts.
    if !reference.contains(['/', ':']) {
        let folder = &base.split('?').next()?[..=base.rfind('/')?];
        return Some(format!("{folder}{reference}"));
    }
    let uri: Uri = reference.parse().ok()?;
    let same = uri.host().is_none_or(|host| host == HOST);
    let target = uri.path_and_query()?.as_str();
    (same && target.starts_with('/')).then(|| target.to_owned())
}
