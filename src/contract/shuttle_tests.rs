//! The ledger under threads: interleavings tried one after another (see `crate::sync`).

use http::{HeaderMap, Method, Uri};

use super::{Answer, Breach, Kind, Ledger, Reporting, Telling, Visitors};
use crate::{
    clock::{Clock, Timestamp},
    observe::Alerts,
};

#[test]
fn shuttle_a_term_that_several_threads_find_broken_is_told_once() {
    shuttle::check_random(
        || {
            let clock = Clock::manual(Timestamp::from_secs(1_000_000));
            let alerts = Alerts::new(clock.clone());
            let reporting = Reporting {
                route: "prices".into(),
                upstream: "pricing".into(),
                owner: None,
                runbook: None,
                mode: "enforce",
                telling: Telling::default(),
            };
            let ledger = Ledger::new(reporting, clock.clone(), alerts.clone());
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let ledger = ledger.clone();
                    shuttle::thread::spawn(move || {
                        let uri = Uri::from_static("/prices/1");
                        if thread == 2 {
                            return ledger.good(&uri);
                        }
                        let answer = Answer {
                            method: &Method::GET,
                            uri: &uri,
                            status: 200,
                            headers: &HeaderMap::new(),
                            body: b"",
                            mapped: None,
                        };
                        let breach = Breach::new(Kind::Size, "size_min", "empty");
                        ledger.breach(&breach, &answer, Visitors::LastGood);
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("no panic");
            }
            let snapshot = ledger.snapshot();
            assert_eq!((snapshot.good, snapshot.breach), (1, 2));
            assert_eq!(alerts.recent().len(), 1, "told once");
            assert_eq!(snapshot.open[0].breaches, 2);
            // A good answer after all of it is heard: the flag says what the book says.
            ledger.good(&Uri::from_static("/prices/1"));
            clock.advance(Telling::default().quiet);
            ledger.settle();
            assert_eq!(ledger.snapshot().ended.len(), 1);
        },
        500,
    );
}
