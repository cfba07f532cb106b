//! The race over scripted addresses: time is virtual, nothing is connected to.

use std::collections::HashMap;

use tokio::time::Instant;

use super::*;

/// What becomes of a connection, after how many milliseconds.
#[derive(Clone, Copy)]
enum End {
    Connects(u64),
    Refuses(u64),
    Hangs,
}

struct Scripted(HashMap<SocketAddr, End>);

impl Transport for Scripted {
    fn connect(&self, address: SocketAddr) -> Connecting {
        let end = self.0[&address];
        Box::pin(async move {
            match end {
                End::Connects(millis) => {
                    sleep(Duration::from_millis(millis)).await;
                    Ok(Stream::Other(Box::new(tokio::io::duplex(1).0)))
                }
                End::Refuses(millis) => {
                    sleep(Duration::from_millis(millis)).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                End::Hangs => std::future::pending().await,
            }
        })
    }
}

fn address(nth: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, nth as u8], 80))
}

#[tokio::test(start_paused = true)]
async fn every_address_is_tried_and_a_dead_one_costs_a_moment() {
    use End::{Connects, Hangs, Refuses};
    for (name, ends, want_winner, want_losers, want_millis) in [
        ("one that connects", vec![Connects(5)], Some(0), vec![], 5),
        (
            "the first in time wins",
            vec![Connects(5), Connects(1)],
            Some(0),
            vec![],
            5,
        ),
        (
            "the next at once where one refuses",
            vec![Refuses(2), Connects(3)],
            Some(1),
            vec![0],
            5,
        ),
        (
            "the next beside one that hangs",
            vec![Hangs, Connects(3)],
            Some(1),
            vec![0],
            253,
        ),
        (
            "a slow one may still win",
            vec![Connects(260), Connects(90)],
            Some(0),
            vec![1],
            260,
        ),
        (
            "all of them",
            vec![Refuses(1), Hangs, Refuses(1), Connects(1)],
            Some(3),
            vec![0, 1, 2],
            253,
        ),
        (
            "all refuse",
            vec![Refuses(1), Refuses(1)],
            None,
            vec![0, 1],
            2,
        ),
        ("none", vec![], None, vec![], 0),
    ] {
        let script = ends
            .iter()
            .enumerate()
            .map(|(nth, end)| (address(nth), *end));
        let transport = Scripted(script.collect());
        let addresses: Vec<_> = (0..ends.len()).map(address).collect();
        let (began, mut losers) = (Instant::now(), Vec::new());
        let raced = race(&transport, &addresses, &mut losers).await;
        let winner = raced.ok().map(|(winner, _)| winner);
        assert_eq!(winner, want_winner.map(address), "{name}");
        let want: Vec<_> = want_losers.into_iter().map(address).collect();
        assert_eq!(losers, want, "{name}");
        assert_eq!(began.elapsed().as_millis(), want_millis, "{name}");
    }
}
