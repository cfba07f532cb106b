//! What is known of a route's answers, place by place, for people and scripts.

use serde::Serialize;

use super::{
    example,
    format::Format,
    kinds::{Kinds, Range},
    node::Node,
};

/// One place. Names are part of the admin API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// `$.items[*].price`.
    pub path: String,
    /// Types seen.
    pub types: Vec<&'static str>,
    /// Answers with something here.
    pub answers: u64,
    /// Share of the answers that have an object for it in which no object lacks it, 0 to 1; absent where it is no member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<f64>,
    /// Whether it was `null`.
    pub nullable: bool,
    /// The values of an enumeration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Smallest and largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// Formats of its strings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<&'static str>,
    /// Shortest and longest string, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<(f64, f64)>,
    /// Shortest and longest list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<(f64, f64)>,
    /// Left alone by `ignore`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
    /// An object whose members come and go: they are learnt together, as `*`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub map: bool,
}

impl Node {
    pub(super) fn view(&self, is_member: bool, path: &mut String, places: &mut Vec<Place>) {
        let pair = |range: Option<Range>| range.map(|range| (range.min, range.max));
        let missing = self.missing();
        let present = (is_member && self.parents > 0).then(|| {
            let share = 1.0 - missing as f64 / self.parents as f64;
            (share.max(0.0) * 1_000.0).round() / 1_000.0
        });
        let words = self.values.counts.keys();
        places.push(Place {
            path: path.clone(),
            types: self.kinds.names(),
            answers: self.answers,
            present,
            nullable: self.kinds.has(Kinds::NULL),
            values: words.map(|word| example::cut(word)).collect(),
            range: pair(self.range),
            formats: Format::names(self.formats),
            length: pair(self.lengths),
            elements: pair(self.sizes),
            ignored: self.is_ignored,
            map: self.is_map,
        });
        let has_member = |path: &str, length: usize| !path[length..].starts_with("[*]");
        let length = path.len();
        self.each_inside(path, |node, path| {
            let is_member = has_member(path, length) && path[length..] != *".*";
            node.view(is_member, path, places);
        });
    }
}
