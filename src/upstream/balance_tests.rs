//! The shell: what is taken comes back, and what changes is told, once.

use tower::{Layer, ServiceExt};

use super::*;
use crate::{
    http::Body,
    upstream::{
        EndpointState, VerdictLayer,
        client::tests::{Refusing, origin},
        client_config,
        network::Network,
    },
};

fn balance(endpoints: &[&str], events: Events) -> Balance {
    let config = std::sync::Arc::new(client_config(endpoints));
    let endpoints = endpoint::endpoints(&config, &Network::system()).expect("sound config");
    Balance::new(config, endpoints, events)
}

fn states(balance: &Balance) -> Vec<EndpointState> {
    let snapshot = balance.snapshot();
    snapshot.iter().map(|endpoint| endpoint.state).collect()
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_left_out_and_its_owner_told_once() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&told);
    let events = Events::none().and_of_endpoints(move |event: &EndpointEvent| {
        let mut told = sink.lock().expect("no panic under it");
        told.push((event.endpoint.to_string(), event.change.clone()));
    });
    let refusing = Refusing::new();
    let origin = origin(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"; 40]).await;
    let balance = balance(&[refusing.uri(), origin.uri()], events);
    let service = VerdictLayer.layer(balance.clone());
    let mut failed = 0;
    for _ in 0..40 {
        let mut request = Request::new(Body::empty());
        let progress = Progress::new(Instant::now());
        request.extensions_mut().insert(progress.clone());
        failed += usize::from(service.clone().oneshot(request).await.is_err());
        assert!(progress.last_endpoint().is_some());
        if failed > 0 {
            break;
        }
    }
    assert_eq!(failed, 1);
    assert_eq!(
        states(&balance),
        [EndpointState::Ejected, EndpointState::Up]
    );
    let told = told.lock().expect("no panic under it");
    let [
        (
            endpoint,
            EndpointChange::Ejected {
                unreachable: true, ..
            },
        ),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!(endpoint, refusing.uri());
}

#[tokio::test]
async fn what_is_taken_comes_back_when_an_attempt_is_dropped_or_nobody_judges_it() {
    let refusing = Refusing::new();
    let origin = origin(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"; 8]).await;
    let balance = balance(&[refusing.uri(), origin.uri()], Events::none());
    let service = VerdictLayer.layer(balance.clone());
    for _ in 0..8 {
        drop(service.clone().oneshot(Request::new(Body::empty())));
        // Without the layer nothing is learnt.
        let _ = balance.clone().oneshot(Request::new(Body::empty())).await;
    }
    assert_eq!(states(&balance), [EndpointState::Up, EndpointState::Up]);
    assert_eq!(
        Arc::strong_count(&balance.ledger.0),
        2,
        "the balance and the layer over it"
    );
}

#[cfg(shuttle)]
mod shuttle_tests {
    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// However threads interleave: an endpoint on its return is tried by one call at a time, and what is taken comes back.
    #[test]
    fn shuttle_one_call_at_a_time_tries_a_returning_endpoint() {
        shuttle::check_random(
            || {
                let mut config = client_config(&["http://a", "http://b"]);
                config.endpoints[1].priority = 1;
                // Back at once, so that every call meets an endpoint that returns.
                config.ejection.eject_for = std::time::Duration::ZERO;
                let uris = vec!["http://a".into(), "http://b".into()];
                let ledger = Ledger::new(std::sync::Arc::new(config), uris, Events::none());
                let taken = ledger.take(None, |_| 0);
                assert_eq!(taken.index(), 0);
                assert!(taken.finish(Outcome::Unreachable), "the standby is well");
                let trials = Arc::new(AtomicUsize::new(0));
                let threads: Vec<_> = (0..3)
                    .map(|nth| {
                        let (ledger, trials) = (ledger.clone(), Arc::clone(&trials));
                        shuttle::thread::spawn(move || {
                            let taken = ledger.take(None, |_| 0);
                            let tries = taken.index() == 0;
                            if tries {
                                assert_eq!(trials.fetch_add(1, SeqCst), 0, "two at a time");
                            }
                            shuttle::thread::yield_now();
                            if tries {
                                trials.fetch_sub(1, SeqCst);
                            }
                            // The standby is well throughout: were it out too, somebody had to be asked all the same.
                            let outcome = match tries {
                                true => Outcome::Unreachable,
                                false => Outcome::Well,
                            };
                            match nth {
                                0 => drop(taken),
                                _ => {
                                    let _others_well = taken.finish(outcome);
                                }
                            }
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
                assert_eq!(ledger.take(None, |_| 0).index(), 0, "it can be tried again");
            },
            1_000,
        );
    }
}
