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
