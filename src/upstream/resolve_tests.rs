//! Names over a scripted resolver: time is virtual, nobody is asked.

use std::collections::VecDeque;

use super::*;

/// Answers in turn, the last one for good; counts how often it was asked.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Option<Vec<IpAddr>>>>>,
    asked: Arc<AtomicU64>,
}

impl Script {
    /// Each answer is a list of addresses, or `None` for a failure.
    fn new(answers: &[Option<&[IpAddr]>]) -> Self {
        let answers = answers.iter().map(|it| it.map(<[IpAddr]>::to_vec));
        Self {
            answers: Arc::new(Mutex::new(answers.collect())),
            asked: Arc::default(),
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }
}

impl Resolve for Script {
    fn resolve(&self, _: &str) -> Resolving {
        self.asked.fetch_add(1, Relaxed);
        let mut answers = self.answers.lock().expect("no panic under it");
        let answer = match answers.len() {
            0 | 1 => answers.front().cloned().flatten(),
            _ => answers.pop_front().flatten(),
        };
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("the resolver is down")) })
    }
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn names(script: &Script) -> Names {
    Names::new("api.vendor.example", 80, Arc::new(script.clone()))
}

async fn addresses(names: &Names) -> Vec<IpAddr> {
    let addresses = names.addresses().await.expect("known");
    addresses.iter().map(SocketAddr::ip).collect()
}

const LIMIT: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_stay_while_the_resolver_fails() {
    let (one, two, moved) = (ip(1), ip(2), ip(3));
    let script = Script::new(&[
        Some(&[one, two, one]),
        None,
        Some(&[]),
        Some(&[two, one]),
        Some(&[moved]),
    ]);
    let names = names(&script);
    assert_eq!(addresses(&names).await, [one, two], "looked up once");
    for (name, want, then) in [
        ("the first failure is told", Lookup::Failed, vec![one, two]),
        (
            "the next is not; empty is a failure",
            Lookup::Same,
            vec![one, two],
        ),
        (
            "recovered, in another order",
            Lookup::Recovered { left: false },
            vec![two, one],
        ),
        ("moved", Lookup::Left, vec![moved]),
    ] {
        assert_eq!(names.refresh(LIMIT).await, want, "{name}");
        assert_eq!(addresses(&names).await, then, "{name}");
    }
    assert_eq!(names.counts(), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_did_not_connect_comes_last_for_a_while() {
    let names = names(&Script::new(&[Some(&[ip(1), ip(2), ip(3)])]));
    assert_eq!(addresses(&names).await, [ip(1), ip(2), ip(3)]);
    names.not_connected(&[SocketAddr::new(ip(1), 80)]);
    assert_eq!(addresses(&names).await, [ip(2), ip(3), ip(1)]);
    tokio::time::advance(Duration::from_secs(1)).await;
    names.not_connected(&[SocketAddr::new(ip(2), 80)]);
    assert_eq!(
        addresses(&names).await,
        [ip(3), ip(1), ip(2)],
        "all are tried"
    );
    names.connected(SocketAddr::new(ip(1), 80));
    assert_eq!(addresses(&names).await, [ip(1), ip(3), ip(2)]);
    tokio::time::advance(ADDRESS_REST).await;
    assert_eq!(addresses(&names).await, [ip(1), ip(2), ip(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_while_in_use_and_an_address_never() {
    const EVERY: Duration = Duration::from_secs(30);
    let script = Script::new(&[Some(&[ip(1)])]);
    let names = names(&script);
    let is_due = || tokio::time::timeout(EVERY * 10, names.due(EVERY));
    assert!(is_due().await.is_err(), "nobody asked");
    names.touch();
    let _ = addresses(&names).await;
    let began = Instant::now();
    assert!(is_due().await.is_ok());
    assert!(began.elapsed() <= EVERY && began.elapsed() >= EVERY.mul_f64(0.9));
    let _ = names.refresh(LIMIT).await;
    assert_eq!(script.asked(), 2);

    names.touch();
    names.not_connected(&[SocketAddr::new(ip(1), 80)]);
    let began = Instant::now();
    assert!(is_due().await.is_ok());
    assert_eq!(
        began.elapsed(),
        LOOKUP_PAUSE,
        "sooner after a failed connect"
    );

    for literal in ["192.0.2.1", "[2001:db8::1]"] {
        let fixed = Names::new(literal, 80, Arc::new(script.clone()));
        assert_eq!(addresses(&fixed).await.len(), 1);
        fixed.touch();
        assert!(
            tokio::time::timeout(EVERY * 10, fixed.due(EVERY))
                .await
                .is_err()
        );
    }
    assert_eq!(
        script.asked(),
        2,
        "an address is none of a resolver's business"
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_knows_yet_is_looked_up_by_one_for_all() {
    let script = Script::new(&[None, Some(&[ip(1)])]);
    let names = names(&script);
    assert!(names.addresses().await.is_err(), "nothing to fall back on");
    let all = futures_util::future::join_all((0..5).map(|_| names.addresses())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(script.asked(), 2);
}
