//! What an explanation says. The names of members are part of the admin API; they are written there and read by the
//! command line.

use serde::{Deserialize, Serialize};

/// What would happen to one request now, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Explained {
    /// A route takes it.
    Routed(Box<Explanation>),
    /// It is answered before any cache is asked.
    Refused(Refused),
}

/// A request that no route takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The request as it was understood.
    pub request: Asked,
    /// What a client gets.
    pub status: u16,
    /// Why.
    pub why: String,
    /// Methods that routes take there (RFC 9110 15.5.6); empty where no route has the path.
    pub allow: Vec<String>,
    /// Routes whose path looks alike, nearest first.
    pub nearest: Vec<RouteShown>,
}

/// What is known of a request on its route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request as it was understood.
    pub request: Asked,
    /// The route that takes it.
    pub route: RouteShown,
    /// What it is stored under.
    pub key: KeyShown,
    /// What the proxy holds and would do. `None`: no proxy was asked, only the config is known.
    pub found: Option<FoundShown>,
    /// Where this route's policy and keys leave the RFCs, or are stricter than they have to be.
    pub departures: Vec<Departure>,
}

/// A request as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its host, where one was named.
    pub host: Option<String>,
    /// Path and query, in the proxy's spelling.
    pub target: String,
}

/// A route, or what is shown of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteShown {
    /// Its name.
    pub name: String,
    /// Hosts it answers for; none: any.
    pub hosts: Vec<String>,
    /// Its path as the config has it.
    pub path: String,
    /// Methods it takes; none: all.
    pub methods: Vec<String>,
    /// Where it leads.
    pub upstream: String,
    /// Whether the upstream is asked at the moment: "closed", "half_open", "open"; `None` where no proxy was asked.
    pub breaker: Option<String>,
    /// Its line in the config.
    pub place: Option<String>,
    /// Its policy.
    pub policy: String,
    /// The policy's line in the config; `None`: it is the built-in one.
    pub policy_place: Option<String>,
}

/// Something that decides, and where it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What is the case.
    pub what: String,
    /// The section that makes it count: `RFC 9111 4.2.4`.
    pub rule: Option<String>,
    /// The key of the config that decides.
    pub setting: Option<Setting>,
}

/// A key of the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its full path: `policy.live.fresh`.
    pub key: String,
    /// `proxy.toml:14`; `None`: it is not written, its default holds.
    pub place: Option<String>,
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value; `None`: it is not there, which counts too.
    pub value: Option<String>,
}

/// What a request is stored under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyShown {
    /// SHA-256 over the parts, in hexadecimal.
    pub hash: String,
    /// The upstream, which is always part of it.
    pub upstream: String,
    /// The client's host, where it counts.
    pub host: Option<String>,
    /// Path and the query that counts.
    pub target: String,
    /// Request fields and cookies that count (`cookie:NAME`).
    pub fields: Vec<Pair>,
    /// What does not count, and why.
    pub left_out: Vec<Reason>,
}

/// What is stored, and what would be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundShown {
    /// The time this was looked at (RFC 3339).
    pub at: String,
    /// Variants of the key, where a `Vary` tells them apart.
    pub variants: Option<VariantsShown>,
    /// The stored response this request leads to.
    pub stored: Option<StoredShown>,
    /// Where nothing is stored: what is known of why, and what an answer would be held against.
    pub not_stored: Option<NotStoredShown>,
    /// What would happen now.
    pub now: NowShown,
    /// What would happen if the upstream gave no usable answer.
    pub if_upstream_fails: FailingShown,
}

/// The variants of a key (RFC 9111 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantsShown {
    /// How many are stored.
    pub count: usize,
    /// Request fields that tell them apart.
    pub fields: Vec<Pair>,
    /// Whether this request selects one of them.
    pub selected: bool,
    /// The key of the variant that this request selects, or would be stored under.
    pub hash: String,
}

/// A stored response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredShown {
    /// The key it is stored under, in hexadecimal.
    pub hash: String,
    /// The target it was stored for.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// When it was received or last confirmed (RFC 3339).
    pub received_at: String,
    /// Where it is in its life: "fresh", "stale_while_revalidate", "stale", "gone".
    pub state: String,
    /// Whether it may answer this request at all, and if not why.
    pub answers: bool,
    /// Why it is in this state, or does not answer.
    pub why: Vec<Reason>,
    /// RFC 9111 4.2.3.
    pub age_seconds: f64,
    /// Its lifetime under the policy, spread included.
    pub lifetime: LifetimeShown,
    /// What becomes of it, and when.
    pub becomes: Vec<BecomesShown>,
    /// `ETag`, `Last-Modified`.
    pub validators: Vec<Pair>,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// Which part of a whole it is; `None`: it is whole.
    pub part: Option<String>,
    /// It is an error that counts as a failure of the upstream.
    pub failing: bool,
    /// Tiers that hold it: "memory", "waiting to be written", "disk", "disk did not say in time".
    pub lies_in: Vec<String>,
    /// What purges know it by.
    pub labels: LabelsShown,
}

/// How long a stored response is fresh, and who said so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LifetimeShown {
    /// Seconds.
    pub seconds: f64,
    /// Who named it, and what the policy made of it, in that order.
    pub from: Vec<Reason>,
}

/// A step in the life of a stored response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BecomesShown {
    /// The state it enters.
    pub state: String,
    /// When (RFC 3339).
    pub at: String,
    /// Seconds from now; negative: it did so already.
    pub in_seconds: f64,
}

/// What purges know a stored response by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsShown {
    /// Its tags.
    pub tags: Vec<String>,
    /// Its groups (RFC 9875).
    pub groups: Vec<String>,
    /// The number of the latest purge when its fetch began; later purges can match it.
    pub epoch: u64,
    /// Not all of them are known: every purge of a tag or a group matches it.
    pub overflow: bool,
}

/// Why nothing is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotStoredShown {
    /// What is known to keep answers to this request from being stored or shared.
    pub known: Vec<Reason>,
    /// What an answer is held against before it is stored, in this order. The first that fails is the `detail` of its
    /// `Cache-Status`.
    pub checks: Vec<CheckShown>,
}

/// One thing that an answer is held against before it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckShown {
    /// The word for it in `Cache-Status`.
    pub word: String,
    /// What is not stored.
    pub what: String,
    /// Where that is written.
    pub rule: String,
    /// The key that makes it give way on this route.
    pub gives_way: Option<Setting>,
}

/// What would happen now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NowShown {
    /// "serve", "serve_and_refresh", "ask", "pass_on", "by_content", "gateway_timeout".
    pub plan: String,
    /// The same as a sentence.
    pub what: String,
    /// What decides.
    pub why: Vec<Reason>,
    /// How the upstream would be asked, where it would be.
    pub question: Option<QuestionShown>,
    /// How long a client would wait.
    pub wait: Option<WaitShown>,
}

/// How the upstream would be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionShown {
    /// What is asked, as a phrase.
    pub what: String,
    /// Fields of ours that say so.
    pub fields: Vec<Pair>,
}

/// How long a client would wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitShown {
    /// At most this long.
    pub seconds: f64,
    /// What it gets then.
    pub then: String,
    /// The key that says so.
    pub setting: Setting,
}

/// What would happen if the upstream failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailingShown {
    /// "stored", "sibling", "fallback", "error".
    pub answer: String,
    /// The same as a sentence.
    pub what: String,
    /// Until when (RFC 3339), where that ends.
    pub until: Option<String>,
    /// Seconds from now.
    pub for_seconds: Option<f64>,
    /// What decides.
    pub why: Vec<Reason>,
}

/// One place where a route leaves an RFC, or is stricter than it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The section it is about.
    pub section: String,
    /// What is done.
    pub what: String,
    /// Which way.
    pub kind: DepartureKind,
    /// The key that says so; `None`: it is always so.
    pub setting: Option<Setting>,
}

/// Which way a departure goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepartureKind {
    /// The section asks for something else.
    Departs,
    /// The section allows more reuse than is made.
    Stricter,
}

impl Reason {
    /// By a section of an RFC.
    pub(in crate::cache) fn rule(what: impl Into<String>, rule: &str) -> Self {
        Self {
            what: what.into(),
            rule: Some(rule.to_owned()),
            setting: None,
        }
    }

    /// By a key of the config.
    pub(in crate::cache) fn set(what: impl Into<String>, setting: Setting) -> Self {
        Self {
            what: what.into(),
            rule: None,
            setting: Some(setting),
        }
    }

    /// By itself.
    pub(in crate::cache) fn plain(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            rule: None,
            setting: None,
        }
    }

    /// The same, by this section too.
    #[must_use]
    pub(in crate::cache) fn by(self, rule: &str) -> Self {
        Self {
            rule: Some(rule.to_owned()),
            ..self
        }
    }

    /// The same, by this key too.
    #[must_use]
    pub(in crate::cache) fn with(self, setting: Setting) -> Self {
        Self {
            setting: Some(setting),
            ..self
        }
    }
}

impl KeyShown {
    /// The same with these reasons: they are about the request as it came.
    pub(super) fn with_left_out(self, left_out: Vec<Reason>) -> Self {
        Self { left_out, ..self }
    }
}
