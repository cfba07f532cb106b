//! The fault matrix: every fault of the stub, against every state of a copy and both kinds of method, as one table.
//!
//! Each cell is a vendor and a proxy of its own that see one request: what the client gets, from where, how soon, and how
//! often the vendor is asked for it. What storms of requests make of the same faults is in `tests/amplification.rs`.
//!
//! What is the same for every fault is said once, in [`Row::cells`]: a fresh copy answers without asking, and one that may
//! be revalidated behind answers at once.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use larder::{
    clock::Clock,
    stub::{Break, Fault},
};
use support::{LagMeter, NOW, Proxy, Setup, request};

/// Where nobody waits for the vendor.
const AT_ONCE: Duration = Duration::from_millis(50);
const STALE_AFTER: Duration = Duration::from_millis(600);
const DEADLINE: Duration = Duration::from_secs(2);
/// What a wait may take beyond its bound.
const GRACE: Duration = Duration::from_millis(150);
/// Proxies at once.
const CELLS_AT_ONCE: usize = 8;

const TOML: &str = r#"
    [upstream.vendor]
    endpoints = ["{vendor}"]
    attempt_timeout = "800ms"
    attempt_timeout_stale = "800ms"

    [policy.p]
    fresh = "60s"
    override = true
    stale_while_revalidate = "60s"
    stale_after = "600ms"
    spread_percent = 0
    early = false

    [[route]]
    name = "all"
    path = "/{*rest}"
    upstream = "vendor"
    policy = "p"
    deadline = "2s"
"#;

/// What is stored when the request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Fresh,
    /// Stale, within `stale_while_revalidate`.
    Revalidatable,
    /// Stale, past it: it is asked about, and stands in.
    Stale,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Post,
}

/// What a client gets, and the vendor.
#[derive(Clone, Debug)]
struct Cell {
    status: u16,
    /// The outcome, as log and metrics name it.
    source: &'static str,
    within: Duration,
    /// Requests upstream, those that go on behind the answer included.
    asked: RangeInclusive<u64>,
    /// The content ends as its framing promises.
    whole: bool,
}

fn cell(
    status: u16,
    source: &'static str,
    within: Duration,
    asked: impl Into<Option<RangeInclusive<u64>>>,
) -> Cell {
    Cell {
        status,
        source,
        within,
        asked: asked.into().unwrap_or(0..=0),
        whole: true,
    }
}

/// One fault, and the cells in which faults differ.
struct Row {
    /// As the stub reads it.
    fault: &'static str,
    /// GET with a copy that is asked about.
    stale: Cell,
    /// GET with nothing stored.
    nothing: Cell,
    /// POST, whatever is stored: it passes once.
    post: Cell,
}

impl Row {
    fn cells(&self) -> Vec<(Stored, Method, Cell)> {
        // A refresh behind is one request and at most one retry; where connecting is refused, nothing arrives.
        let behind = match self.fault {
            "kind=refuse" => 0..=0,
            _ => 1..=2,
        };
        vec![
            (Stored::Fresh, Method::Get, cell(200, "hit", AT_ONCE, None)),
            (
                Stored::Revalidatable,
                Method::Get,
                cell(200, "stale_while_revalidate", AT_ONCE, behind),
            ),
            (Stored::Stale, Method::Get, self.stale.clone()),
            (Stored::Nothing, Method::Get, self.nothing.clone()),
            (Stored::Fresh, Method::Post, self.post.clone()),
            (Stored::Stale, Method::Post, self.post.clone()),
            (Stored::Nothing, Method::Post, self.post.clone()),
        ]
    }
}

/// The table. With a copy a GET is always 200; without one it is asked for up to three times (`retries_max`); a POST is
/// sent once, because the vendor may have acted on it.
fn rows() -> Vec<Row> {
    // An error at once: the copy stands in after one retry; without one, up to three attempts.
    let fails = |fault, status: u16, post: u16| Row {
        fault,
        stale: cell(200, "stale_if_error", STALE_AFTER, 1..=2),
        nothing: cell(status, "error", DEADLINE, 1..=3),
        post: cell(post, "error", DEADLINE, 1..=1),
    };
    // Nothing in time: the copy stands in after `stale_after`.
    let hangs = |fault| Row {
        fault,
        stale: cell(200, "stale", STALE_AFTER, 1..=2),
        nothing: cell(504, "error", DEADLINE, 1..=3),
        post: cell(504, "error", DEADLINE, 1..=1),
    };
    // An answer like any other, as far as HTTP goes: it is passed on, and stored in place of the good copy. To tell that
    // it is nonsense takes a contract, which this proxy does not know yet.
    let nonsense = |fault, post| Row {
        fault,
        stale: cell(200, "miss", STALE_AFTER, 1..=1),
        nothing: cell(200, "miss", DEADLINE, 1..=1),
        post: cell(post, "pass", DEADLINE, 1..=1),
    };
    // A good head and half a content: a failure where it is read whole; a POST streams, and breaks at the client too.
    let breaks_off = |fault| {
        let mut row = fails(fault, 502, 201);
        row.post = cell(201, "pass", DEADLINE, 1..=1);
        row.post.whole = false;
        row
    };
    vec![
        Row {
            fault: "kind=refuse",
            stale: cell(200, "stale_if_error", STALE_AFTER, None),
            nothing: cell(502, "error", DEADLINE, None),
            post: cell(502, "error", DEADLINE, None),
        },
        fails("kind=reset", 502, 502),
        fails("kind=close", 502, 502),
        fails("kind=garbage", 502, 502),
        fails("kind=flap period=60s fault=reset", 502, 502),
        breaks_off("kind=reset_mid_body"),
        breaks_off("kind=truncate"),
        breaks_off("kind=truncate framing=chunked"),
        hangs("kind=hang"),
        hangs("kind=slow_head delay=60s"),
        hangs("kind=latency delay=60s"),
        // Slow, but good, and in time.
        nonsense("kind=latency delay=50ms", 201),
        // Good, and too slow for one who has a copy.
        Row {
            fault: "kind=drip bytes=16 gap=120ms",
            stale: cell(200, "stale", STALE_AFTER, 1..=2),
            nothing: cell(200, "miss", DEADLINE, 1..=1),
            post: cell(201, "pass", DEADLINE, 1..=1),
        },
        fails("kind=status status=500", 500, 500),
        fails("kind=status status=503", 503, 503),
        fails("kind=status status=503 retry_after=120", 503, 503),
        fails(
            "kind=status status=503 retry_after=120 retry_after_as=date",
            503,
            503,
        ),
        fails("kind=status status=429", 429, 429),
        fails("kind=status status=429 retry_after=120", 429, 429),
        // Neither a failure nor a better answer: for the one who asked, and nothing of it is kept.
        Row {
            fault: "kind=status status=403",
            stale: cell(403, "pass", STALE_AFTER, 1..=1),
            nothing: cell(403, "pass", DEADLINE, 1..=1),
            post: cell(403, "pass", DEADLINE, 1..=1),
        },
        nonsense("kind=zero_price", 201),
        nonsense("kind=missing_field field=price", 201),
        nonsense("kind=invalid_json", 200),
        nonsense("kind=html", 200),
        nonsense("kind=empty", 200),
    ]
}

// --- Playing a cell ---

/// What was seen.
#[derive(Debug)]
struct Seen {
    status: u16,
    source: String,
    elapsed: Duration,
    /// What this machine added to every wait.
    lag: Duration,
    asked: u64,
    whole: bool,
    /// Bookings made by the one request.
    booked: u64,
}

async fn play(fault: &str, stored: Stored, method: Method) -> Seen {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let proxy = Setup::new(&vendor, TOML).clock(&clock).start().await;
    let path = match method {
        Method::Get => "/prices/A",
        Method::Post => "/bookings",
    };
    if stored != Stored::Nothing {
        assert_eq!(proxy.get(path).await.status, 200);
    }
    proxy.advance(match stored {
        Stored::Fresh | Stored::Nothing => Duration::from_secs(10),
        Stored::Revalidatable => Duration::from_secs(90),
        Stored::Stale => Duration::from_secs(180),
    });
    let broken: Break = fault.parse().expect("the table names faults");
    vendor.break_with(broken).expect("the table names faults");
    let (outcomes, asked) = (proxy.outcomes("all").await, vendor.asked_total());
    let lag = LagMeter::start();
    let (status, elapsed, whole) = send(&proxy, path, method).await;
    let lag = lag.worst();
    proxy.settled().await;
    Seen {
        status,
        source: newest(&outcomes, &proxy.outcomes("all").await),
        elapsed,
        lag,
        asked: vendor.asked_total() - asked,
        whole,
        booked: vendor.bookings_made(),
    }
}

/// Status, time to the end of the content, and whether that was its end.
async fn send(proxy: &Proxy, path: &str, method: Method) -> (u16, Duration, bool) {
    let mut asked = match method {
        Method::Get => request(http::Method::GET, path, &[]),
        Method::Post => request(
            http::Method::POST,
            path,
            &[("content-type", "application/json")],
        ),
    };
    if method == Method::Post {
        *asked.body_mut() = r#"{"hotel":"grand"}"#.into();
    }
    let started = std::time::Instant::now();
    let arriving = proxy.client.open(asked).await.expect("a head arrives");
    let status = arriving.head.status.as_u16();
    let whole = arriving.rest().await.is_ok();
    (status, started.elapsed(), whole)
}

/// The outcome that was counted between the two.
fn newest(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let grown = |(outcome, count): &(&String, &u64)| before.get(*outcome) != Some(*count);
    let grown: Vec<_> = after
        .iter()
        .filter(grown)
        .map(|(name, _)| &**name)
        .collect();
    grown.join("+")
}

/// What is wrong with what was seen, if anything is.
fn complaint(want: &Cell, seen: &Seen) -> Option<String> {
    let bound = want.within + GRACE + seen.lag;
    let is_right = seen.status == want.status
        && seen.source == want.source
        && seen.elapsed <= bound
        && want.asked.contains(&seen.asked)
        && seen.whole == want.whole
        && seen.booked <= 1;
    (!is_right).then(|| format!("wanted {want:?} (within {bound:?}), saw {seen:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_answer_whatever_is_stored_and_whatever_is_asked() {
    let rows = rows();
    let named: BTreeSet<_> = rows.iter().map(|row| kind_of(row.fault)).collect();
    let kinds: BTreeSet<_> = Fault::kinds().collect();
    assert_eq!(named, kinds, "every kind of fault has a row, and no other");

    let cells = rows.iter().flat_map(|row| {
        let cells = row.cells().into_iter();
        cells.map(|(stored, method, want)| (row.fault, stored, method, want))
    });
    let played = cells.map(|(fault, stored, method, want)| async move {
        let cell = format!("{fault}, {stored:?}, {method:?}");
        let seen = tokio::spawn(play(fault, stored, method)).await;
        match seen {
            Ok(seen) => complaint(&want, &seen).map(|why| format!("{cell}: {why}")),
            Err(panic) => Some(format!("{cell}: {panic}")),
        }
    });
    let complaints: Vec<_> = stream::iter(played)
        .buffer_unordered(CELLS_AT_ONCE)
        .filter_map(|complaint| async { complaint })
        .collect()
        .await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn kind_of(fault: &str) -> &str {
    let kind = fault.split(' ').next().unwrap_or_default();
    kind.strip_prefix("kind=").unwrap_or_default()
}
