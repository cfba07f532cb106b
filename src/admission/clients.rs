//! Clients: the rate of each client, for a bounded number of them.
//!
//! What is remembered of a client is one number ([`Arrival`]). One whose arrival time has passed is as good as never seen,
//! so forgetting it costs nothing. Where more clients than there is room for are active at once, the least active, whose
//! arrival time is the nearest, is forgotten and has its whole burst again: this errs for the client, never against one.
//!
//! # Invariants
//!
//! - At most `clients_max` are remembered.
//! - A client that is within its rate is never refused, whatever others do.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    client::ClientKey,
    rate::{Arrival, Cells},
};
use crate::{
    config::RateLimit,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Clients meet here on every request, so they do so in several places; a power of two.
const SHARDS: usize = 16;

/// The clients of one shard and what is known of them. Pure.
#[derive(Debug)]
struct Clients {
    cells: Cells,
    max: usize,
    by_client: HashMap<ClientKey, Arrival>,
    /// The same, the least active first.
    by_arrival: BTreeSet<(Arrival, ClientKey)>,
}

impl Clients {
    fn new(cells: Cells, max: usize) -> Self {
        Self {
            cells,
            max: max.max(1),
            by_client: HashMap::new(),
            by_arrival: BTreeSet::new(),
        }
    }

    /// Admits a request of this client, or says how long it has to wait.
    fn admit(&mut self, client: ClientKey, now: u64) -> Result<(), Duration> {
        let known = self.by_client.entry(client);
        let before = match &known {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(_) => 0,
        };
        let after = self.cells.admit(before, now, 0)?;
        self.by_arrival.remove(&(before, client));
        self.by_arrival.insert((after, client));
        known.insert_entry(after);
        if self.by_client.len() > self.max
            && let Some((_, forgotten)) = self.by_arrival.pop_first()
        {
            self.by_client.remove(&forgotten);
        }
        Ok(())
    }
}

/// `client_rate`: the shell.
#[derive(Debug)]
pub struct ClientRate {
    limit: RateLimit,
    shards: Box<[Mutex<Clients>]>,
    began: Instant,
    limited: AtomicU64,
}

impl ClientRate {
    /// Counts by `limit`; remembers about `clients_max` clients.
    pub fn new(limit: RateLimit, clients_max: usize) -> Self {
        let cells = Cells::new(limit);
        let shard = |_| Mutex::new(Clients::new(cells, clients_max / SHARDS));
        Self {
            limit,
            shards: (0..SHARDS).map(shard).collect(),
            began: Instant::now(),
            limited: AtomicU64::new(0),
        }
    }

    /// Admits a request of the client at this address.
    ///
    /// # Errors
    ///
    /// After how long it would be admitted.
    pub fn admit(&self, client: IpAddr) -> Result<(), Duration> {
        let client = ClientKey::from(client);
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut shard = self.shards[shard_of(client)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let admitted = shard.admit(client, now);
        drop(shard);
        if admitted.is_err() {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// The limit that holds.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Requests refused so far.
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }
}

/// By the bits in which neighbours differ.
fn shard_of(client: ClientKey) -> usize {
    let bits = match client {
        ClientKey::V4(bits) => u64::from(bits),
        ClientKey::V6(bits) => bits,
    };
    // Fibonacci hashing: neighbours go apart, and an attacker who knows it wins one shard of memory, not more.
    (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::config::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn limit(count: u32, burst: u32) -> RateLimit {
        let per = Duration::from_secs(1);
        let rate = Rate { count, per };
        RateLimit { rate, burst }
    }

    fn client(nth: u32) -> ClientKey {
        ClientKey::V4(nth)
    }

    #[test]
    fn one_over_its_rate_is_refused_and_the_others_are_not() {
        let mut clients = Clients::new(Cells::new(limit(1, 3)), 100);
        for _ in 0..3 {
            assert_eq!(clients.admit(client(1), 0), Ok(()));
        }
        assert_eq!(clients.admit(client(1), 0), Err(Duration::from_secs(1)));
        assert_eq!(clients.admit(client(2), 0), Ok(()));
        assert_eq!(clients.admit(client(1), SECOND), Ok(()));
    }

    #[test]
    fn the_least_active_is_forgotten_first() {
        let mut clients = Clients::new(Cells::new(limit(1, 3)), 2);
        for _ in 0..3 {
            clients.admit(client(1), 0).unwrap();
        }
        for nth in 2..1_000 {
            clients.admit(client(nth), 0).unwrap();
            assert_eq!(clients.by_client.len(), 2);
        }
        assert!(
            clients.admit(client(1), 0).is_err(),
            "the busiest is remembered"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_shell_counts_what_it_refuses_and_forgets_with_time() {
        let rate = ClientRate::new(limit(2, 1), 1_000);
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(rate.admit(address).is_ok());
        assert_eq!(
            rate.admit("2001:db8::2".parse().unwrap()),
            Err(Duration::from_millis(500))
        );
        assert!(rate.admit("2001:db9::1".parse().unwrap()).is_ok());
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(rate.admit(address).is_ok());
        assert_eq!(rate.limited(), 1);
    }

    proptest! {
        #[test]
        fn no_client_within_its_rate_is_refused_and_memory_is_bounded(
            max in 1..6usize,
            requests in vec((0..12u32, 0..2_000_000_000u64), 1..300),
        ) {
            let cells = Cells::new(limit(1, 2));
            let mut clients = Clients::new(cells, max);
            let mut alone: HashMap<u32, Arrival> = HashMap::new();
            let mut now = 0;
            for (nth, gap) in requests {
                now += gap / 8;
                // What a memory without a bound would say.
                let exact = cells.admit(alone.get(&nth).copied().unwrap_or(0), now, 0);
                let admitted = clients.admit(client(nth), now);
                prop_assert!(admitted.is_ok() || exact.is_err());
                if admitted.is_ok() {
                    let before = alone.get(&nth).copied().unwrap_or(0).max(now);
                    // Also what was admitted because it had been forgotten counts.
                    alone.insert(nth, before + cells.each);
                }
                prop_assert!(clients.by_client.len() <= max);
                prop_assert_eq!(clients.by_client.len(), clients.by_arrival.len());
            }
        }
    }
}
