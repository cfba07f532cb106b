//! Suggest: what larder can do with a URL like this, and what a config needs for it. Pure.

use std::time::Duration;

use http::{
    StatusCode,
    header::{ETAG, LAST_MODIFIED},
};
use serde_json::{Value, json};

use super::{
    content::Kind,
    findings::{
        Reading,
        caching::{facts, limits, named_lifetime},
    },
    seen::{Observations, Purpose},
};
use crate::cache::short;

/// What is suggested where nobody names a lifetime.
const FRESH: Duration = Duration::from_secs(60);

/// What a config for this URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggestion {
    /// How answers stay fresh.
    pub(super) freshness: Freshness,
    /// What of the vendor's words forbids an answer in an outage.
    pub(super) stale_forbidden: bool,
    /// The vendor's own limit: so many in so long.
    pub(super) quota: Option<(u64, Duration)>,
    /// Whether a refresh of what did not change costs no content; absent where it is not known.
    pub(super) conditional: Option<bool>,
    /// What a contract can look at.
    pub(super) contract: Contract,
}

/// How answers stay fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// As long as the vendor says.
    Vendor(Duration),
    /// The vendor says nothing: so long by policy.
    Policy(Duration),
    /// The vendor forbids it by this word: so long, if the operator overrides that.
    Override(&'static str, Duration),
}

/// What a contract can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contract {
    /// A schema, and rules.
    Schema,
    /// Whether it is well-formed.
    WellFormed(&'static str),
    /// Type and size.
    Type,
}

/// What follows from an answer that can be used; `None` where there is none.
pub(super) fn suggestion(seen: &Observations, reading: &Reading) -> Option<Suggestion> {
    let first = seen.first()?;
    if !first.answer.status.is_success() {
        return None;
    }
    let facts = facts(first);
    let directives = facts.directives;
    let freshness = match named_lifetime(first) {
        _ if directives.no_store => Freshness::Override("no-store", FRESH),
        _ if directives.private => Freshness::Override("private", FRESH),
        _ if directives.no_cache => Freshness::Override("no-cache", FRESH),
        None => Freshness::Policy(FRESH),
        Some(named) if named.is_zero() => Freshness::Override("max-age=0", FRESH),
        Some(named) => Freshness::Vendor(named),
    };
    let quota = seen.exchanges.iter().rev().find_map(|one| {
        let told = limits(one).into_iter();
        // Of several, the one that allows least over time.
        told.filter_map(|limit| Some((limit.limit?, limit.window?)))
            .min_by(|a, b| {
                let rate = |(count, window): &(u64, Duration)| *count as f64 / window.as_secs_f64();
                rate(a).total_cmp(&rate(b))
            })
    });
    let is_304 = |purpose| {
        let mut asked = seen.of(purpose);
        asked
            .next()
            .map(|one| one.answer.status == StatusCode::NOT_MODIFIED)
    };
    let has = |name| first.answer.headers.contains_key(name);
    let conditional = match (
        is_304(Purpose::IfNoneMatch),
        is_304(Purpose::IfModifiedSince),
    ) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (None, None) if has(ETAG) || has(LAST_MODIFIED) => None,
        _ => Some(false),
    };
    let contract = match reading.content.as_ref().map(|content| &content.kind) {
        Some(Kind::Json(_)) => Contract::Schema,
        Some(Kind::Csv { .. }) => Contract::WellFormed("CSV"),
        Some(Kind::Xml { .. }) => Contract::WellFormed("XML"),
        _ => Contract::Type,
    };
    Some(Suggestion {
        freshness,
        stale_forbidden: directives.must_revalidate
            || directives.proxy_revalidate
            || directives.s_maxage.is_some()
            || directives.no_cache,
        quota,
        conditional,
        contract,
    })
}

impl Suggestion {
    /// As a heading and a sentence each, for people.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let freshness = match self.freshness {
            Freshness::Vendor(named) => format!(
                "fresh for {} as the vendor says: answered from the store, then refreshed",
                short(named)
            ),
            Freshness::Policy(fresh) => format!(
                "the vendor names no lifetime: `fresh = \"{}\"` of a policy does",
                short(fresh)
            ),
            Freshness::Override(word, fresh) => format!(
                "only with `override = true` and `fresh = \"{}\"` of a policy: the vendor says {word}. Do so only if \
                 every visitor may see the same answer",
                short(fresh)
            ),
        };
        let outage = match (self.freshness, self.stale_forbidden) {
            (Freshness::Override("no-store" | "private", _), _) => {
                "nothing is kept, so nothing stands in, unless a policy overrides"
            }
            (_, true) => {
                "the vendor forbids stale answers: none stands in, unless a policy overrides"
            }
            (_, false) => "the last good answer stands in for a day (max_stale)",
        };
        let refreshes = match self.conditional {
            Some(true) => "cheap: what did not change is answered 304, without content",
            Some(false) => "a whole answer each time: conditional requests do not work",
            None => "not tried: more --requests would tell",
        };
        let quota = match self.quota {
            Some((count, window)) => {
                format!(
                    "`quota = \"{count} / {}\"` of the upstream, and what it says is heeded",
                    short(window)
                )
            }
            None => "not told: look it up in the vendor's terms".to_owned(),
        };
        let contract = match self.contract {
            Contract::Schema => {
                "a schema from these answers, and rules: --write DIR writes both".to_owned()
            }
            Contract::WellFormed(kind) => format!("well-formed {kind}, by its Content-Type"),
            Contract::Type => "its Content-Type, and a minimum size".to_owned(),
        };
        vec![
            ("freshness", freshness),
            ("outage", outage.to_owned()),
            ("refreshes", refreshes.to_owned()),
            ("quota", quota),
            ("contract", contract),
        ]
    }

    /// The same for scripts.
    pub(super) fn json(&self) -> Value {
        let (source, fresh) = match self.freshness {
            Freshness::Vendor(fresh) => ("vendor", fresh),
            Freshness::Policy(fresh) => ("policy", fresh),
            Freshness::Override(_, fresh) => ("override", fresh),
        };
        json!({
            "fresh_s": fresh.as_secs(),
            "fresh_by": source,
            "stale_forbidden": self.stale_forbidden,
            "quota": self.quota.map(|(count, window)| json!({ "count": count, "window_s": window.as_secs() })),
            "conditional_requests": self.conditional,
            "contract": match self.contract {
                Contract::Schema => "schema",
                Contract::WellFormed(_) => "well_formed",
                Contract::Type => "type",
            },
        })
    }
}
