//! The clients: they come as they like, ask for what they like, and some do not wait.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use larder::{
    front::Front,
    http::{Body, Request},
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    dice::Dice,
    schedule::between,
    simulation::Simulation,
    world::{Kind, ROUTES},
};

/// One request of one client, and what the book expects of its answer.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    pub id: u64,
    pub route: usize,
    pub key: usize,
    pub method: &'static str,
    /// Whoever asks, where that matters.
    pub user: String,
    /// The client has this version already.
    pub has_version: Option<u64>,
    /// It takes only what is stored.
    pub only_if_cached: bool,
    /// It goes after so many milliseconds.
    pub patience: Option<u64>,
    /// When it came.
    pub at: u64,
    /// The latest version that somebody had been given by then.
    pub floor: u64,
    /// Whether something was stored by then that may answer whatever happens.
    pub has_copy: bool,
    /// Whether nothing kept requests from the upstream.
    pub is_undisturbed: bool,
}

impl Visit {
    pub fn path(&self) -> String {
        format!("{}{}", ROUTES[self.route].prefix, self.key)
    }

    fn request(&self) -> Request {
        let content = match self.method {
            "POST" => Body::full(format!("order {}", self.key)),
            _ => Body::empty(),
        };
        let mut request = Request::new(content);
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).expect("a method");
        *request.uri_mut() = self.path().parse().expect("a path");
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("shop.example"));
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        if !self.user.is_empty() {
            headers.insert(header::AUTHORIZATION, value(&self.user));
        }
        if self.only_if_cached {
            let only = HeaderValue::from_static("only-if-cached");
            headers.insert(header::CACHE_CONTROL, only);
        }
        if let Some(version) = self.has_version {
            headers.insert(header::IF_NONE_MATCH, value(&format!("\"{version}\"")));
        }
        request
    }
}

/// What a client got.
#[derive(Clone, Debug)]
pub struct Got {
    pub status: StatusCode,
    pub fields: HeaderMap,
    pub head_at: u64,
    pub body: Result<Bytes, String>,
}

/// Asks, and has the answer judged.
pub async fn visit(sim: Arc<Simulation>, front: Front, mut visit: Visit) -> Option<Got> {
    sim.book().arrives(sim.at(), &mut visit);
    let asking = ask(&sim, &front, &visit);
    let got = match visit.patience {
        Some(millis) => timeout(Duration::from_millis(millis), asking).await.ok(),
        None => Some(asking.await),
    };
    let at = sim.at();
    match &got {
        Some(got) => {
            let mut book = sim.book();
            book.leaves(at, &visit, got, &sim.truth, &sim.schedule);
        }
        None => sim.book().hangs_up(at, &visit),
    }
    got
}

/// Asks for what is stored of every resource, so that it is in memory, whatever the answer.
pub async fn look_into_store(sim: &Simulation, front: &Front) {
    for one in all() {
        let one = Visit {
            only_if_cached: true,
            ..one
        };
        drop(ask(sim, front, &one).await);
    }
}

async fn ask(sim: &Simulation, front: &Front, visit: &Visit) -> Got {
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, (visit.id % 250) as u8));
    let answer = front.answer(client, visit.request());
    let Ok(response) = answer.await;
    let head_at = sim.at();
    let (head, body) = response.into_parts();
    let body = body.collect().await;
    Got {
        status: head.status,
        fields: head.headers,
        head_at,
        body: body
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| error.to_string()),
    }
}

/// Clients until `end`, then until the last has gone.
pub async fn come_and_go(sim: &Arc<Simulation>, front: &Front, dice: &mut Dice, end: u64) {
    let mut under_way = come(sim, front, dice, end).await;
    while under_way.join_next().await.is_some() {}
}

/// Clients until `end`. Those who still wait then are returned.
pub async fn come(
    sim: &Arc<Simulation>,
    front: &Front,
    dice: &mut Dice,
    end: u64,
) -> JoinSet<Option<Got>> {
    let mut under_way = JoinSet::new();
    // Orders are told apart by it, in a second life too.
    let mut id = sim.at() * 1_000;
    let (mut pace, mut pace_until) = (300, 0);
    while sim.at() < end && !sim.book().is_wrong() {
        if sim.at() >= pace_until {
            pace = dice.one_of(&[60, 300, 1_000, 3_000, 10_000, 30_000]);
            pace_until = sim.at() + between(dice, 3_000, 60_000);
        }
        tokio::time::sleep(Duration::from_millis(between(dice, 0, 2 * pace))).await;
        id += 1;
        let one = draw(dice, id);
        // Now and then everybody wants the same.
        let crowd = match dice.below(50) {
            0 if one.method == "GET" => 2 + dice.below(20),
            _ => 1,
        };
        for nth in 0..crowd {
            let mut one = one.clone();
            if nth > 0 {
                id += 1;
                one.id = id;
                one.patience = patience(dice);
            }
            under_way.spawn(visit(Arc::clone(sim), front.clone(), one));
        }
        while under_way.try_join_next().is_some() {}
    }
    under_way
}

fn patience(dice: &mut Dice) -> Option<u64> {
    dice.percent(8).then(|| between(dice, 1, 400))
}

fn draw(dice: &mut Dice, id: u64) -> Visit {
    let route = dice.one_of(&[0, 0, 0, 1, 1, 2, 3, 3, 4, 5]);
    let mut visit = Visit {
        id,
        route,
        method: "GET",
        ..Visit::default()
    };
    match ROUTES[route].kind {
        Kind::Orders => {
            visit.method = "POST";
            visit.key = id as usize;
        }
        kind => {
            visit.key = dice.below(ROUTES[route].keys);
            visit.method = dice.one_of(&["GET", "GET", "GET", "GET", "GET", "HEAD"]);
            if kind == Kind::Private {
                visit.user = format!("user-{}", dice.below(3));
            }
        }
    }
    visit.patience = patience(dice);
    visit
}

/// A visit to every shared resource.
fn all() -> impl Iterator<Item = Visit> {
    let shared = ROUTES.iter().enumerate().filter(|(_, it)| it.is_shared());
    shared.flat_map(|(route, it)| {
        (0..it.keys).map(move |key| Visit {
            id: key as u64,
            route,
            key,
            method: "GET",
            ..Visit::default()
        })
    })
}

/// Asks for every shared resource, one after the other.
pub async fn ask_for_all(sim: &Arc<Simulation>, front: &Front) -> Vec<(Visit, Option<Got>)> {
    let mut answers = Vec::new();
    for one in all() {
        let got = visit(Arc::clone(sim), front.clone(), one.clone()).await;
        answers.push((one, got));
    }
    answers
}
