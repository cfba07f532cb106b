//! Committing: a complete response goes into the store, and the key's marks say how things stand.
//!
//! # Invariants
//!
//! - What was asked before its target was invalidated is not stored after (RFC 9111 4.4).
//! - Of two answers the one that was asked for later stays, whichever arrives first (RFC 9111 4: the most recent one is
//!   used). An error that counts as a failure takes no other answer's place.
//! - The list of a key's variants is read and written under a lock of that key, so that none is lost.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    Shared,
    entry::{Entry, StoredResponse},
    vary::{Variant, Variants, Vary},
};
use crate::{clock::Timestamp, store::Key};

/// More than fetches that end at the same moment; a power of two.
const LOCKS: usize = 64;

/// The locks of the variant lists.
pub(super) struct VariantLocks([Mutex<()>; LOCKS]);

impl Default for VariantLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl VariantLocks {
    fn of(&self, primary: &Key) -> &Mutex<()> {
        &self.0[usize::from(primary.as_bytes()[0]) % LOCKS]
    }
}

impl Shared {
    /// Stores a response under `key`, and lists it under `primary` where it has variants.
    pub(super) async fn commit(
        &self,
        primary: Key,
        key: Key,
        stored: StoredResponse,
        vary: &Vary,
    ) -> Arc<Entry> {
        let (response_time, dead_at) = (stored.facts.response_time, stored.dead_at);
        let now = self.clock.now();
        let (asked_at, epoch, failing) = (
            stored.request_time,
            stored.labels.epoch,
            stored.facts.failing,
        );
        let entry = Arc::new(Entry::Response(stored));
        self.store
            .put_unless(key, Arc::clone(&entry), |known| match known {
                Entry::Response(known) => {
                    let is_later = known.request_time > asked_at && known.request_time <= now;
                    let is_purged_later = known.labels.epoch > epoch;
                    is_later || is_purged_later || (failing && !known.facts.failing)
                }
                Entry::Variants { .. } => failing,
            });
        if let Vary::Fields(fields) = vary {
            let variant = Variant {
                fields: fields.iter().map(ToString::to_string).collect(),
                key,
                response_time,
            };
            self.list_variant(primary, variant, dead_at).await;
        }
        entry
    }

    /// Removes what was purged hard from both tiers, unless something newer has taken its place.
    pub(super) fn drop_purged(&self, key: &Key, purged: &Arc<Entry>) {
        let current = self.store.cached(key);
        if current.is_some_and(|current| Arc::ptr_eq(&current, purged)) {
            self.store.remove(key);
        }
    }

    async fn list_variant(&self, primary: Key, variant: Variant, dead_at: Timestamp) {
        let _alone = self.variant_locks.of(&primary).lock().await;
        let known = self.store.load(&primary).await;
        let (mut variants, known_dead_at) = match known.as_deref() {
            Some(Entry::Variants { variants, dead_at }) => (variants.clone(), *dead_at),
            _ => (Variants::default(), Timestamp::EPOCH),
        };
        let now = self.clock.now();
        for dropped in variants.insert(variant, now, self.variants_max) {
            self.store.remove(&dropped);
        }
        let dead_at = dead_at.max(known_dead_at);
        let list = Arc::new(Entry::Variants { variants, dead_at });
        self.store.put(primary, list);
    }

    /// Removes a primary key with all its variants; fetches under way do not bring it back.
    pub(super) async fn forget(&self, primary: &Key) {
        self.marks.forget(*primary, self.clock.now());
        let _alone = self.variant_locks.of(primary).lock().await;
        if let Some(entry) = self.store.load(primary).await
            && let Entry::Variants { variants, .. } = &*entry
        {
            for key in variants.keys() {
                self.store.remove(&key);
            }
        }
        self.store.remove(primary);
    }
}
