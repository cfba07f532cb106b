//! Labelling what a fetch brings, and holding those who wait for it against purges that came meanwhile.

use std::sync::Arc;

use http::{HeaderMap, Uri, request::Parts};

use super::{
    RouteCache, Shared,
    entry::{Entry, StoredResponse},
    fetch::Fetch,
    fetched::{Fetched, Next},
    key::{self, kept_path_and_query},
    purge::{Labels, What, host_label, labels_of_head, one_spelling, tags_of_body},
};
use crate::config::RouteConfig;

/// Looking through a body of this size takes about as long as a thread of the runtime should be held up: what is larger
/// is looked through elsewhere.
const AT_ONCE_BYTES: usize = 64 << 10;

impl Fetch {
    /// The labels of a complete response.
    pub(super) async fn labels(&self, stored: &StoredResponse) -> Labels {
        let shared = &self.cache.shared;
        let (tags_max, bytes_max) = (shared.tags_max, shared.tag_body_bytes_max);
        let paths = Arc::clone(&self.cache.route.tags.paths);
        let mut labels = self.labels_of_head(&stored.headers);
        if stored.body.len() <= AT_ONCE_BYTES || stored.body.len() as u64 > bytes_max {
            let (fields, body) = (&stored.headers, &stored.body);
            tags_of_body(&mut labels, &paths, fields, body, tags_max, bytes_max);
            return labels;
        }
        if paths.is_empty() {
            return labels;
        }
        let (fields, body) = (stored.headers.clone(), stored.body.clone());
        let mut of_body = labels.clone();
        let looking = tokio::task::spawn_blocking(move || {
            tags_of_body(&mut of_body, &paths, &fields, &body, tags_max, bytes_max);
            of_body
        });
        looking.await.unwrap_or_else(|_| {
            labels.overflow = true;
            labels
        })
    }

    /// The labels of a response whose body is on its way: if it may name tags, any.
    pub(super) fn labels_for_now(&self, response: &HeaderMap) -> Labels {
        let mut labels = self.labels_of_head(response);
        labels.overflow |= !self.cache.route.tags.paths.is_empty();
        labels
    }

    fn labels_of_head(&self, response: &HeaderMap) -> Labels {
        let (route, parts) = (&self.cache.route, &self.parts);
        let host = key::host(&parts.uri, &parts.headers).filter(|_| route.key.host);
        let tags_max = self.cache.shared.tags_max;
        let mut labels = labels_of_head(route, parts.uri.path(), host, response, tags_max);
        labels.epoch = self.epoch;
        labels
    }
}

/// What a purge by URL says: the target of this request as this route stores it. Where answers may stand for other queries
/// of their path (`no_vary_search`), any query of it: which one is stored is for the origin to say.
pub fn urls_of(route: &RouteConfig, uri: &Uri, headers: &HeaderMap) -> Vec<What> {
    let host = key::host(uri, headers).filter(|_| route.key.host);
    let host = host.map(host_label);
    let url = |target: &str| What::Url {
        upstream: Box::from(&*route.upstream.name),
        host: host.clone(),
        target: target.into(),
    };
    let mut whats = vec![url(&one_spelling(&kept_path_and_query(&route.key, uri)))];
    if route.no_vary_search {
        whats.push(url(uri.path()));
        whats.push(What::Prefix {
            host: host.clone(),
            path: format!("{}?", uri.path()).into(),
        });
        whats.dedup();
    }
    whats
}

impl Shared {
    /// Removes from both tiers what is stored under the key of this request, so that its space is free at once.
    pub async fn remove(&self, route: &RouteConfig, uri: &Uri, headers: &HeaderMap) {
        self.forget(&key::primary_key(route, uri, headers)).await;
    }
}

impl RouteCache {
    /// What one who waited for another's fetch does if a purge overtook it: he may have asked after the purge, and what
    /// was asked for before it is no answer to that.
    pub(super) fn overtaken(&self, parts: &Parts, fetched: &Fetched) -> Option<Next> {
        let (purges, upstream) = (&self.shared.purges, &self.route.upstream.name);
        match fetched {
            Fetched::Stored(stored) => match &*stored.entry {
                Entry::Response(response) => purges
                    .mode_of(response, upstream)
                    .map(|_| Next::Again(Some(stored.key))),
                Entry::Variants { .. } => None,
            },
            Fetched::Streaming(streaming) => {
                let url = kept_path_and_query(&self.route.key, &parts.uri);
                let mode = purges.mode(&streaming.labels, upstream, &url);
                // The flight lasts as long as the body: joining again would join the same.
                mode.map(|_| Next::Alone)
            }
            Fetched::Unshared { .. } | Fetched::Failed(_) => None,
        }
    }
}
