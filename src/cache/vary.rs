//! `Vary`: which request fields select among the stored responses of one primary key (RFC 9111 4.1).
//!
//! Pure. A primary key holds either one response without `Vary`, or the list of its variants; each variant is stored
//! under a key of its own, so that a lookup is one more hash, whatever the number of variants.

use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};

use super::{control::split_list, freshness::AHEAD_MAX, key::variant_key};
use crate::{clock::Timestamp, store::Key};

/// What the `Vary` lines of a response come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Vary {
    /// No field: every request gets this response.
    Nothing,
    /// These fields, sorted, each once.
    Fields(Vec<HeaderName>),
    /// `*`, or something unreadable: no later request matches.
    Anything,
}

impl Vary {
    /// Reads every `Vary` line.
    pub(super) fn parse(headers: &HeaderMap) -> Self {
        let mut fields = Vec::new();
        for line in headers.get_all(header::VARY) {
            let Ok(line) = line.to_str() else {
                return Self::Anything;
            };
            for member in split_list(line) {
                match HeaderName::from_bytes(member.as_bytes()) {
                    Ok(_) if member == "*" => return Self::Anything,
                    Ok(name) => fields.push(name),
                    Err(_) => return Self::Anything,
                }
            }
        }
        if fields.is_empty() {
            return Self::Nothing;
        }
        Self::of(fields)
    }

    fn of(mut fields: Vec<HeaderName>) -> Self {
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        Self::Fields(fields)
    }

    /// The same with this field as well.
    #[must_use]
    pub(super) fn and(self, field: HeaderName) -> Self {
        match self {
            Self::Nothing => Self::of(vec![field]),
            Self::Fields(mut fields) => {
                fields.push(field);
                Self::of(fields)
            }
            Self::Anything => Self::Anything,
        }
    }
}

/// One stored response among several of a primary key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Names of the fields its `Vary` listed, lower case, sorted.
    pub fields: Vec<String>,
    /// Where it is stored.
    pub key: Key,
    /// When it was received: of several that match, the latest wins.
    pub response_time: Timestamp,
}

/// The variants of a primary key, latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants(Vec<Variant>);

impl Variants {
    /// Adds a variant or renews it. Returns the keys of those that had to make room.
    ///
    /// What seems to come from after `now` was received before the clock was set back, so before this one: it would else be
    /// selected instead of everything newer until the clock is there again.
    pub fn insert(&mut self, variant: Variant, now: Timestamp, variants_max: usize) -> Vec<Key> {
        self.0.retain(|known| known.key != variant.key);
        for known in &mut self.0 {
            if known.response_time > now.after(AHEAD_MAX) {
                known.response_time = variant.response_time;
            }
        }
        let at = self
            .0
            .partition_point(|known| known.response_time > variant.response_time);
        self.0.insert(at, variant);
        let kept = self.0.len().min(variants_max.max(1));
        self.0.drain(kept..).map(|dropped| dropped.key).collect()
    }

    /// The key of the latest variant that these request fields select.
    pub fn select(&self, primary: &Key, headers: &HeaderMap) -> Option<Key> {
        // Almost always all variants name the same fields: hash once, compare many.
        let mut computed: Option<(&[String], Key)> = None;
        self.0.iter().find_map(|variant| {
            let key = match computed {
                Some((fields, key)) if fields == variant.fields => key,
                _ => variant_key(primary, &field_names(&variant.fields), headers),
            };
            computed = Some((&variant.fields, key));
            (key == variant.key).then_some(key)
        })
    }

    /// The key a request that selects none of them would be stored under, going by the latest `Vary`.
    pub fn expected(&self, primary: &Key, headers: &HeaderMap) -> Option<Key> {
        let latest = self.0.first()?;
        Some(variant_key(primary, &field_names(&latest.fields), headers))
    }

    /// The latest `Vary`.
    pub(super) fn latest_vary(&self) -> Vary {
        self.0.first().map_or(Vary::Nothing, |latest| {
            Vary::Fields(field_names(&latest.fields))
        })
    }

    /// The fields that tell them apart, sorted, each once.
    pub(super) fn field_names(&self) -> Vec<HeaderName> {
        let all = self
            .0
            .iter()
            .flat_map(|variant| field_names(&variant.fields));
        match Vary::of(all.collect()) {
            Vary::Fields(fields) => fields,
            Vary::Nothing | Vary::Anything => Vec::new(),
        }
    }

    /// Every variant's key.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.iter().map(|variant| variant.key)
    }

    /// Bytes it takes in memory, roughly.
    pub fn weight(&self) -> u64 {
        let text: usize = self
            .0
            .iter()
            .flat_map(|variant| &variant.fields)
            .map(|field| field.len() + 24)
            .sum();
        (text + self.0.len() * size_of::<Variant>()) as u64
    }
}

fn field_names(fields: &[String]) -> Vec<HeaderName> {
    fields
        .iter()
        .filter_map(|field| HeaderName::from_bytes(field.as_bytes()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn request(language: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language))])
    }

    #[test]
    fn lines_are_read_as_one_list() {
        for (name, lines, want) in [
            ("no line", &[][..], Vary::Nothing),
            ("an empty line", &[""], Vary::Nothing),
            (
                "sorted, each once, any case",
                &["Origin, accept", "ACCEPT"],
                Vary::Fields(vec![header::ACCEPT, header::ORIGIN]),
            ),
            ("a star anywhere", &["accept", "origin, *"], Vary::Anything),
            ("what is no field name", &["acc ept"], Vary::Anything),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::VARY, HeaderValue::from_static(line));
            }
            assert_eq!(Vary::parse(&headers), want, "{name}");
        }
    }

    #[test]
    fn the_latest_of_several_matches_is_selected_and_the_oldest_makes_room() {
        let primary = Key::from_bytes([1; 32]);
        let mut variants = Variants::default();
        let variant = |language, secs| Variant {
            fields: vec!["accept-language".into()],
            key: variant_key(&primary, &[header::ACCEPT_LANGUAGE], &request(language)),
            response_time: Timestamp::from_secs(secs),
        };
        let (de, en, fr) = (variant("de", 1), variant("en", 2), variant("fr", 3));
        let now = Timestamp::from_secs(3);
        assert!(variants.insert(de.clone(), now, 2).is_empty());
        assert!(variants.insert(en.clone(), now, 2).is_empty());
        assert_eq!(variants.select(&primary, &request("de")), Some(de.key));
        assert_eq!(variants.insert(fr, now, 2), [de.key]);
        assert_eq!(variants.select(&primary, &request("de")), None);
        assert_eq!(variants.select(&primary, &request("en")), Some(en.key));
        assert_eq!(variants.expected(&primary, &request("de")), Some(de.key));
    }

    #[test]
    fn what_comes_after_the_clock_was_set_back_is_later_than_what_came_before() {
        let primary = Key::from_bytes([1; 32]);
        let mut variants = Variants::default();
        let variant = |name: HeaderName, secs| Variant {
            fields: vec![name.to_string()],
            key: variant_key(&primary, &[name], &request("de")),
            response_time: Timestamp::from_secs(secs),
        };
        let before = variant(header::ACCEPT_LANGUAGE, 7_200);
        let after = variant(header::ACCEPT_ENCODING, 3_600);
        let now = |secs| Timestamp::from_secs(secs);
        variants.insert(before, now(7_200), 9);
        variants.insert(after.clone(), now(3_600), 9);
        assert_eq!(variants.select(&primary, &request("de")), Some(after.key));
        // A body that took its time is not later for that.
        let slow = variant(header::ACCEPT, 3_500);
        variants.insert(slow, now(3_601), 9);
        assert_eq!(variants.select(&primary, &request("de")), Some(after.key));
    }
}
