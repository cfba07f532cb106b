//! Explaining: what would happen to a request now, and why, down to the section and the line of the config.
//!
//! `larder explain URL -> admin API -> front (route) -> [explain]`
//!
//! Everything is looked at first (`Seen`), without asking the upstream and without leaving a trace in the store; the rest
//! is pure. The decisions are those of the rules themselves (`Facts::judge`, `plan`, `storable`, `key`, `ask`), which
//! hand out their reasons beside what they decide: nothing here decides a second time.
//!
//! `model`: what is said. `request`, `stored`, `now`: the three sides of it. `departures`: where a route leaves the RFCs.
//!
//! # Invariants
//!
//! - Nothing is sent, stored, counted as used or refreshed for an explanation.
//! - Values that may be secrets (`Authorization`, cookies) are said to be there, not shown.

mod departures;
mod model;
mod now;
mod request;
mod seen;
mod stored;
#[cfg(test)]
mod tests;
mod words;

use http::{Method, request::Parts};

pub use self::{
    departures::{departures, departures_of_route, markdown as departures_markdown},
    model::*,
    request::{asked, route_shown, unasked},
    words::short,
};
use self::{
    now::{failing_shown, now_shown},
    request::{key_shown, variants_shown},
    seen::{Seen, Way},
    stored::{not_stored_shown, stored_shown},
};
use super::{
    RouteCache, content::Asking, entry::Entry, fetch::response_in, key::primary_key,
    lookup::Reading, plan::Plan,
};
use crate::{
    http::{Body, method::is_query, upgrade::Upgrade},
    store::{DiskLook, Look},
};

impl RouteCache {
    /// Explains a request without content on this route.
    pub(super) async fn explain(&self, mut parts: Parts) -> Explanation {
        let (route, shared) = (&*self.route, &self.shared);
        let explained = unasked(route, &parts);
        let primary = primary_key(route, &parts.uri, &parts.headers);
        let asks_by_content =
            is_query(&parts.method) || (route.cache_post && parts.method == Method::POST);
        let upgrades = parts.extensions.get::<Upgrade>().is_some();
        let way = match self.asking(&mut parts, Body::empty(), &primary).await {
            _ if upgrades => Way::Past,
            Asking::Plain => Way::Cache,
            _ if asks_by_content => Way::Content,
            Asking::ByContent(_) | Asking::Elsewhere(_) | Asking::Broken(_) => Way::Past,
        };
        let (method, headers) = (&parts.method, &parts.headers);
        let own = self
            .lookup_by(&primary, method, headers, Reading::Looking)
            .await;
        let other = match way {
            Way::Cache => self.equivalent(&parts, &primary, Reading::Looking).await,
            Way::Content | Way::Past => None,
        };
        let wishes = self.wishes(headers);
        // As `answer_with_content` does it: it answers where nobody has to be asked, else it is better than nothing.
        let found = match &other {
            Some(other) if self.plan(Some(other), &wishes) == (Plan::Serve { refresh: false }) => {
                other
            }
            _ => &own,
        };
        let list = shared.store.look(&primary).await;
        let variants = match list.record().map(|entry| &**entry) {
            Some(Entry::Variants { variants, .. }) => {
                Some(variants_shown(variants, &primary, headers))
            }
            _ => None,
        };
        let look = shared.store.look(&found.key).await;
        let stored = look.record().and_then(response_in);
        let now = shared.clock.now();
        let doubted = stored.is_some_and(|stored| shared.is_doubted(&found.key, stored, now));
        let sibling = match way == Way::Past || found.is_last_known_good() {
            true => None,
            false => self.sibling(&parts, Reading::Looking).await,
        };
        let seen = Seen {
            route,
            parts: &parts,
            way,
            doubted,
            sibling: sibling.as_ref(),
            wishes,
            found,
            equivalent: other.as_ref(),
            stored,
            lies_in: lies_in(&look),
            variants,
            purged: stored.and_then(|stored| shared.purges.mode_of(stored, &route.upstream.name)),
            alone: self.alone(&wishes, headers, &found.key),
            prospects: self.prospects(Some(found)),
            resting_until: shared.marks.rest_of(&found.key).map(|rest| rest.until),
            now,
        };
        Explanation {
            key: key_shown(route, &parts, &primary).with_left_out(explained.key.left_out),
            found: Some(found_shown(seen)),
            ..explained
        }
    }
}

/// The tiers that hold a record.
fn lies_in(look: &Look<Entry>) -> Vec<String> {
    let disk = match look.disk {
        DiskLook::Record(_) => Some("disk"),
        DiskLook::Nothing => None,
        DiskLook::Late => Some("disk did not say in time"),
    };
    let tiers = [
        look.memory.as_ref().map(|_| "memory"),
        look.waiting.as_ref().map(|_| "waiting to be written"),
        disk,
    ];
    tiers.into_iter().flatten().map(str::to_owned).collect()
}

fn found_shown(mut seen: Seen<'_>) -> FoundShown {
    let lies_in = std::mem::take(&mut seen.lies_in);
    // What is stored for the target alone is no answer to a question by content.
    if seen.way == Way::Content {
        (seen.stored, seen.variants) = (None, None);
    }
    let stored = seen
        .stored
        .map(|stored| stored_shown(&seen, &seen.found.key, stored, lies_in));
    let lacks = seen.way == Way::Cache && stored.as_ref().is_none_or(|stored| !stored.answers);
    FoundShown {
        at: words::instant(seen.now),
        stored,
        not_stored: lacks.then(|| not_stored_shown(&seen)),
        now: now_shown(&seen),
        if_upstream_fails: failing_shown(&seen),
        variants: seen.variants,
    }
}
