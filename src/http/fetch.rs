//! What the cache and the layers below it tell each other about one fetch, as extensions of the request and the response.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, response::Parts};

use crate::{clock::Timestamp, failure::Cause};

/// Who is served by a fetch, and so who goes first where an upstream's room or quota is short. In order of worth: what
/// compares greater is served longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A scheduled refresh: nobody waits for it.
    Sync,
    /// A refresh that the vendor asked for.
    Webhook,
    /// A client asked, and a stored copy stands behind.
    UserRevalidate,
    /// A client asked, and has nothing but this.
    #[default]
    UserMiss,
}

impl Priority {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [
        Self::Sync,
        Self::Webhook,
        Self::UserRevalidate,
        Self::UserMiss,
    ];

    /// The word for it in the config, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Webhook => "webhook",
            Self::UserRevalidate => "user_revalidate",
            Self::UserMiss => "user_miss",
        }
    }
}

/// What the caller has behind it, so that layers below choose well. A request extension, inserted by the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchContext {
    /// A stored copy can answer if this fetch fails: fewer retries are worth it (`retries_max_stale`).
    pub stale_copy: bool,
    /// Somebody waits for it. A refresh behind an answer is not worth a second request: its key is asked about again soon.
    pub awaited: bool,
    /// Who is served by it.
    pub priority: Priority,
    /// `Some`: a body of up to this many bytes is read whole inside the attempt. `None`: it is streamed.
    pub whole_bytes_max: Option<u64>,
    /// A body that there is no room to hold (`bodies_max`) is a failure of ours, not streamed: it has to be judged before
    /// anybody sees it.
    pub unseen_before_whole: bool,
    /// `Some`: a body that has not ended this long after its head is streamed all the same. `None`: it is waited for.
    pub hold_back: Option<Duration>,
    /// One budget of time over all attempts, to the head (or to the end of a body that is read whole).
    pub deadline: Duration,
    /// Time for one attempt, to the same point. A `deadline` that is nearer cuts it short, and so does the upstream's
    /// `attempt_timeout_stale` where there is a `stale_copy`.
    pub attempt_timeout: Duration,
    /// `Some`: the latency budget; a call that takes longer is slow for the breakers. `None`: as the breaker has it.
    pub slow_after: Option<Duration>,
}

impl Default for FetchContext {
    /// The defaults of a route: nothing stored, streamed, 10 s over attempts of 5 s.
    fn default() -> Self {
        Self {
            stale_copy: false,
            awaited: true,
            priority: Priority::default(),
            whole_bytes_max: None,
            unseen_before_whole: false,
            hold_back: None,
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(5),
            slow_after: None,
        }
    }
}

type HeadPredicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// Which responses are worth reading whole, decided at their head. An optional request extension: without it every
/// response but `text/event-stream` is, where [`FetchContext::whole_bytes_max`] asks for it.
#[derive(Clone)]
pub struct WholeIf(Arc<HeadPredicate>);

impl WholeIf {
    /// Reads whole where `predicate` holds (the response can be stored, say); streams at once where not.
    pub fn new(predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(predicate))
    }

    /// Whole where either asks for it.
    #[must_use]
    pub fn or(self, other: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::new(move |head| self.holds(head) || other(head))
    }

    /// Whether a response with this head is read whole.
    pub fn holds(&self, head: &Parts) -> bool {
        (self.0)(head)
    }
}

impl fmt::Debug for WholeIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WholeIf")
    }
}

/// Which whole responses are failures for what their body says. An optional request extension; holds where a body is read
/// whole.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Whether there is anything to judge about a response with this head.
    pub applies: fn(&Parts) -> bool,
    /// Why a response with this body is no usable answer.
    pub verdict: fn(&[u8]) -> Option<Cause>,
}

/// Larger bodies are judged on a thread of its own.
const JUDGE_AT_ONCE_BYTES: usize = 64 << 10;

impl Judge {
    /// Why a response with this head and body is no usable answer.
    pub async fn judge(self, head: &Parts, body: Bytes) -> Option<Cause> {
        if !(self.applies)(head) {
            return None;
        }
        if body.len() <= JUDGE_AT_ONCE_BYTES {
            return (self.verdict)(&body);
        }
        let judging = tokio::task::spawn_blocking(move || (self.verdict)(&body));
        // A verdict that panicked is no acquittal.
        judging.await.unwrap_or(Some(Cause::Internal))
    }
}

/// The stored answer that a fetch would renew, whole: what a new one is compared with. A request extension, inserted by the
/// cache where there is one.
#[derive(Clone, Debug)]
pub struct LastGood {
    /// Its content, as it is stored.
    pub body: Bytes,
    /// Its `Content-Encoding`.
    pub encoding: Option<HeaderValue>,
}

/// The contract under which a response was found good, by its fingerprint; never 0. A response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedGood(pub u64);

/// The mapping that the content of a response came by, by its fingerprint; never 0. A response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedBy(pub u64);

/// How an upstream fares, as far as whoever decides about asking it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// It is asked as usual: its breaker is closed.
    pub well: bool,
    /// How often it has been found recovered (its breaker closed after it had opened). Never goes back.
    pub recoveries: u64,
}

impl Default for Condition {
    /// Well from the start.
    fn default() -> Self {
        Self {
            well: true,
            recoveries: 0,
        }
    }
}

/// The latest [`Condition`] of an upstream. Cheap to ask: it is asked for every answer that is not fresh.
#[derive(Clone)]
pub struct Outlook(Arc<dyn Fn() -> Condition + Send + Sync>);

impl Outlook {
    /// What `condition` says, which must neither wait nor lock.
    pub fn new(condition: impl Fn() -> Condition + Send + Sync + 'static) -> Self {
        Self(Arc::new(condition))
    }

    /// Well where both are, recovered whenever either did.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::new(move || {
            let (one, other) = (self.now(), other.now());
            Condition {
                well: one.well && other.well,
                recoveries: one.recoveries + other.recoveries,
            }
        })
    }

    /// The condition at this moment.
    pub fn now(&self) -> Condition {
        (self.0)()
    }
}

impl Default for Outlook {
    /// Always well.
    fn default() -> Self {
        Self::new(Condition::default)
    }
}

impl fmt::Debug for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outlook").field(&self.now()).finish()
    }
}

/// This request only reads, whatever its method may do elsewhere: the route says so. It may be repeated as a GET may. A
/// request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads;

/// The field by which each attempt says how many whole milliseconds it has left. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineHeader(pub HeaderName);

/// Attempts behind a response, at least 1. A response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempts(pub u32);

/// The body of this response was not read whole: it arrives as it is read, and may still break. A response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streaming;

/// Wall-clock times of the attempt that answered, for the age of RFC 9111 4.2.3. A response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the response head arrived.
    pub response_time: Timestamp,
}
