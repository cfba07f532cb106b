//! Drift as operators see it: what is known of each route, its changes, and what they accept.

use serde_json::{Value, json};

use super::report::Report;
use crate::{
    admin::DriftAccept,
    contract::shape::{Accepted, ChangeKind, Known},
};

impl Report {
    pub(super) fn list_drift(&self) -> Value {
        let known = self.shapes.known();
        json!({ "routes": known.iter().map(shown).collect::<Vec<_>>() })
    }

    pub(super) fn show_drift(&self, route: &str) -> Result<Value, String> {
        let found = self.shapes.known_of(route);
        let (known, places) = found.ok_or_else(|| self.unknown_to_drift(route))?;
        let mut shown = shown(&known);
        shown["places"] = json!(places);
        Ok(shown)
    }

    pub(super) fn take_drift(&self, route: &str, order: DriftAccept) -> Result<Value, String> {
        let change = match order.change.as_deref() {
            None => None,
            Some(word) => Some(ChangeKind::from_word(word).ok_or_else(|| {
                let words: Vec<_> = ChangeKind::ALL.iter().map(|kind| kind.as_str()).collect();
                format!(
                    "there is no change `{word}`; there are {}",
                    words.join(", ")
                )
            })?),
        };
        let path = order.path;
        let accepted = Accepted { path, change };
        let done = self.shapes.accept(route, &accepted);
        let done = done.ok_or_else(|| self.unknown_to_drift(route))?;
        for change in &done {
            tracing::info!(
                target: "larder::drift",
                route,
                path = change.path,
                change = change.change.as_str(),
                "a change is accepted by hand"
            );
        }
        if done.is_empty()
            && let Some(path) = &accepted.path
        {
            return Err(format!(
                "nothing is reported at `{path}`; write the path as `larder drift {route}` prints it"
            ));
        }
        Ok(json!({ "route": route, "accepted": done }))
    }

    fn unknown_to_drift(&self, route: &str) -> String {
        let config = self.config();
        let mut routes = config.routes.iter();
        if routes.any(|known| *known.name == *route) {
            return format!("route `{route}` does not learn: its `drift.mode` is \"off\"");
        }
        let known = config.routes.iter();
        let known: Vec<_> = known.map(|route| format!("`{}`", route.name)).collect();
        format!(
            "there is no route named `{route}`; there are {}",
            known.join(", ")
        )
    }
}

fn shown(known: &Known) -> Value {
    let skipped = known.skipped.iter().filter(|(_, count)| *count > 0);
    let skipped: serde_json::Map<_, _> = skipped
        .map(|(why, count)| ((*why).to_owned(), json!(count)))
        .collect();
    let (changes, suspected): (Vec<_>, Vec<_>) =
        known.changes.iter().partition(|change| change.reported);
    json!({
        "route": known.route,
        "answers": known.answers,
        "learning": known.answers < known.answers_min,
        "answers_min": known.answers_min,
        "skipped": skipped,
        "not_watched": known.unwatched,
        "owner": known.owner,
        "runbook": known.runbook,
        "changes": changes,
        "suspected": suspected,
    })
}
