//! What is simulated: two vendors, the routes to them, what their resources say at which time, and the proxy's config.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use larder::clock::Timestamp;

use crate::dice::Dice;

/// The wall clock when a run starts.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The vendors, by the names of their upstreams.
pub const UPSTREAMS: [&str; 2] = ["alpha", "beta"];
/// `in_flight_max` of each.
pub const IN_FLIGHT_MAX: [usize; 2] = [24, 6];
/// `breaker.probes` of each.
pub const PROBES: [u32; 2] = [3, 2];
/// `retry.budget_percent` and `retry.budget_min_per_second` of both.
pub const BUDGET: (u64, u64) = (20, 1);
/// `server.fetches_max`.
pub const FETCHES_MAX: usize = 28;
/// How long a client of the simulation waits for a connection at most: `connect_timeout`.
pub const CONNECT_TIMEOUT: u64 = 500;

/// What a route's resources are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The policy decides; the vendor says nothing or `no-cache`.
    Overridden,
    /// The vendor says `max-age`.
    ByOrigin,
    /// One answer per user, which the vendor says in one way or another.
    Private,
    /// Taken by POST.
    Orders,
}

/// One route. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub name: &'static str,
    pub prefix: &'static str,
    pub upstream: usize,
    pub kind: Kind,
    pub keys: usize,
    pub fresh: u64,
    pub while_revalidate: u64,
    pub stale_after: u64,
    pub max_stale: u64,
    pub deadline: u64,
    pub attempt_timeout: u64,
    /// What its table says beside.
    pub more: &'static str,
}

impl Route {
    /// Whether its answers are stored and shared.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Overridden | Kind::ByOrigin)
    }

    /// Whether a second request may be sent where the first is slow.
    pub fn is_hedged(&self) -> bool {
        self.more.contains("hedge")
    }

    /// Whether stale copies are answered on purpose.
    pub fn is_drilled(&self) -> bool {
        self.more.contains("drill")
    }
}

/// All routes.
pub const ROUTES: [Route; 6] = [
    Route {
        name: "prices",
        prefix: "/prices/",
        upstream: 0,
        kind: Kind::Overridden,
        keys: 10,
        fresh: 8_000,
        while_revalidate: 10_000,
        stale_after: 200,
        max_stale: 3_600_000,
        deadline: 4_000,
        attempt_timeout: 1_500,
        more: "",
    },
    Route {
        name: "rooms",
        prefix: "/rooms/",
        upstream: 0,
        kind: Kind::ByOrigin,
        keys: 8,
        fresh: 5_000,
        while_revalidate: 0,
        stale_after: 300,
        max_stale: 86_400_000,
        deadline: 10_000,
        attempt_timeout: 5_000,
        more: "hedge = {}\n",
    },
    Route {
        name: "orders",
        prefix: "/orders/",
        upstream: 0,
        kind: Kind::Orders,
        keys: 0,
        fresh: 0,
        while_revalidate: 0,
        stale_after: 300,
        max_stale: 0,
        deadline: 3_000,
        attempt_timeout: 2_000,
        more: "",
    },
    Route {
        name: "fares",
        prefix: "/fares/",
        upstream: 1,
        kind: Kind::Overridden,
        keys: 6,
        fresh: 3_000,
        while_revalidate: 5_000,
        stale_after: 150,
        max_stale: 600_000,
        deadline: 2_000,
        attempt_timeout: 1_000,
        more: "",
    },
    Route {
        name: "seats",
        prefix: "/seats/",
        upstream: 1,
        kind: Kind::Overridden,
        keys: 4,
        fresh: 4_000,
        while_revalidate: 0,
        stale_after: 250,
        max_stale: 30_000,
        deadline: 3_000,
        attempt_timeout: 1_500,
        more: "drill_percent = 20\n",
    },
    Route {
        name: "accounts",
        prefix: "/accounts/",
        upstream: 1,
        kind: Kind::Private,
        keys: 3,
        fresh: 5_000,
        while_revalidate: 0,
        stale_after: 300,
        max_stale: 86_400_000,
        deadline: 3_000,
        attempt_timeout: 1_500,
        more: "",
    },
];

/// The route of a path, and which of its resources.
pub fn route_of(path: &str) -> Option<(usize, &str)> {
    ROUTES
        .iter()
        .enumerate()
        .find_map(|(nth, route)| Some((nth, path.strip_prefix(route.prefix)?)))
}

/// Endpoints of each vendor. Those of the first share its requests, the second of the other stands by.
pub const ENDPOINTS: usize = 2;

/// Where an endpoint of a vendor is.
fn address(upstream: usize, endpoint: usize) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, (1 + 10 * upstream + endpoint) as u8).into()
}

fn endpoints(upstream: usize) -> String {
    let one = |nth| {
        let priority = if upstream == 1 { nth } else { 0 };
        let address = address(upstream, nth);
        format!("{{ url = \"http://{address}\", priority = {priority} }}")
    };
    let all: Vec<_> = (0..ENDPOINTS).map(one).collect();
    all.join(", ")
}

/// Which vendor that is, and which of its endpoints.
pub fn endpoint_at(address: IpAddr) -> Option<(usize, usize)> {
    let all = (0..UPSTREAMS.len()).flat_map(|nth| (0..ENDPOINTS).map(move |it| (nth, it)));
    all.into_iter()
        .find(|(nth, endpoint)| self::address(*nth, *endpoint) == address)
}

/// The proxy's config.
pub fn config(folder: Option<&Path>) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nfetches_max = {FETCHES_MAX}\n[admin]\nenabled = false\n\
         [store]\n"
    );
    let _ = match folder {
        Some(folder) => writeln!(text, "path = \"{}\"", folder.display()),
        None => writeln!(text, "disk = \"0\""),
    };
    for (nth, name) in UPSTREAMS.iter().enumerate() {
        let endpoints = endpoints(nth);
        let _ = write!(
            text,
            "[upstream.{name}]\nendpoints = [{endpoints}]\nowner = \"{name} desk\"\n\
             connect_timeout = \"{CONNECT_TIMEOUT}ms\"\nin_flight_max = {}\nbreaker.probes = {}\n\
             retry.budget_percent = {}\nretry.budget_min_per_second = {}\nbody_idle_timeout = \"5s\"\n",
            IN_FLIGHT_MAX[nth], PROBES[nth], BUDGET.0, BUDGET.1
        );
    }
    for route in &ROUTES {
        let _ = write!(
            text,
            "[policy.{name}]\nstale_while_revalidate = \"{}ms\"\nstale_after = \"{}ms\"\nmax_stale = \"{}ms\"\n\
             client_directives = true\n",
            route.while_revalidate,
            route.stale_after,
            route.max_stale,
            name = route.name,
        );
        if route.kind == Kind::Overridden {
            let _ = write!(text, "override = true\nfresh = \"{}ms\"\n", route.fresh);
        }
    }
    for route in &ROUTES {
        let _ = write!(
            text,
            "[[route]]\nname = \"{name}\"\npath = \"{}{{*rest}}\"\nupstream = \"{}\"\npolicy = \"{name}\"\n\
             deadline = \"{}ms\"\nattempt_timeout = \"{}ms\"\n{}",
            route.prefix,
            UPSTREAMS[route.upstream],
            route.deadline,
            route.attempt_timeout,
            route.more,
            name = route.name,
        );
    }
    text
}

// --- Truth ---

/// What the vendors' resources are at which time: versions that follow each other.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Per route and resource: how long a version holds, and how far into one the run starts.
    periods: Vec<Vec<(u64, u64)>>,
}

impl Truth {
    pub fn draw(dice: &mut Dice) -> Self {
        let mut period = |_| {
            let length = 500 + dice.next() % 40_000;
            (length, dice.next() % length)
        };
        let periods = ROUTES
            .iter()
            .map(|route| (0..route.keys).map(&mut period).collect())
            .collect();
        Self { periods }
    }

    /// The version of a resource at this time.
    pub fn version(&self, route: usize, key: usize, at: u64) -> u64 {
        let (length, phase) = self.periods[route][key];
        1 + (at + phase) / length
    }

    /// When this version stopped being true.
    pub fn ended(&self, route: usize, key: usize, version: u64) -> u64 {
        let (length, phase) = self.periods[route][key];
        (version * length).saturating_sub(phase)
    }
}

// --- Documents ---

/// What a vendor says of a resource: as a document that tells when it is not whole.
pub fn document(path: &str, version: u64, user: &str) -> String {
    let long = path.bytes().map(usize::from).sum::<usize>() % 7;
    let filler = "price list ".repeat([2, 5, 10, 40, 100, 300, 800][long]);
    let price = 100 + version % 900;
    let mut text = format!(
        "{{\"path\":\"{path}\",\"version\":{version},\"user\":\"{user}\",\"price\":{price},\"of\":\"{filler}\""
    );
    let check = checksum(&text);
    let _ = write!(text, ",\"check\":{check}}}");
    text
}

/// A document as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub path: String,
    pub version: u64,
    pub user: String,
}

/// Reads a document, if it is a whole one.
pub fn read(body: &[u8]) -> Result<Read, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let (said, check) = text
        .rsplit_once(",\"check\":")
        .ok_or("it has no end".to_owned())?;
    if check.strip_suffix('}') != Some(&checksum(said).to_string()) {
        return Err("its end does not fit its beginning".to_owned());
    }
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let word = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    if json["price"].as_u64().unwrap_or_default() == 0 {
        return Err("it names no price".to_owned());
    }
    Ok(Read {
        path: word("path"),
        version: json["version"].as_u64().unwrap_or_default(),
        user: word("user"),
    })
}

fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) & 0xffff_ffff_ffff
    })
}
