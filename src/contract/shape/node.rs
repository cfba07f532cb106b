//! Node: what is known of one place of a route's answers, and how one more answer is learnt.
//!
//! # Invariants
//!
//! - What is exceptional is not learnt as long as it may become a change: a range that doubles every day is not, one that
//!   is a hundred times what it was is.
//! - Each thing is learnt by answers, not by values: a list of 1,000 is one answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    change::{Change, ChangeKind},
    example,
    format::Format,
    kinds::{Kinds, Range},
    sight::Sight,
    values::Values,
    watch::{Exception, Now, Since, Verdict, Watch, Window},
};

/// Whole numbers below this are counts, of which ten times as many is no news: from 1 to 20.
const COUNT: f64 = 10.0;

/// One place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    /// Left alone by the config; only its being there is known.
    pub(super) is_ignored: bool,
    /// Answers with a value here, and of those with what kinds of them.
    pub(super) answers: u64,
    pub(super) valued: u64,
    pub(super) numeric: u64,
    pub(super) numbers: u64,
    pub(super) strings: u64,
    pub(super) lists: u64,
    pub(super) objects: u64,
    /// Answers with an object that could have it as a member.
    pub(super) parents: u64,
    pub(super) kinds: Kinds,
    pub(super) range: Option<Range>,
    pub(super) lengths: Option<Range>,
    pub(super) sizes: Option<Range>,
    pub(super) formats: u16,
    pub(super) values: Values,
    pub(super) members: BTreeMap<Box<str>, Node>,
    /// Its members come and go, so that their names say nothing.
    pub(super) is_map: bool,
    /// Members whose names say nothing.
    pub(super) rest: Option<Box<Node>>,
    pub(super) element: Option<Box<Node>>,
    pub(super) watches: Vec<Watch>,
}

/// What learning one answer needs and brings.
pub(super) struct Learning<'b> {
    pub(super) now: Now<'b>,
    /// Places there are.
    pub(super) places: usize,
    pub(super) unwatched: u64,
    pub(super) changes: Vec<Change>,
}

impl Node {
    /// One more answer with something here.
    pub(super) fn learn(&mut self, sight: &Sight, path: &mut String, cx: &mut Learning<'_>) {
        if sight.is_ignored {
            self.forget_values();
            self.is_ignored = true;
            return;
        }
        self.is_ignored = false;
        let is_foreign = self.learn_kinds(sight, path, cx);
        let is_far = self.learn_numbers(sight, path, cx);
        self.learn_strings(sight, path, cx);
        let takes_values = !is_foreign && !is_far;
        self.learn_values(sight, takes_values, path, cx);
        self.learn_lists(sight, path, cx);
        self.answers += 1;
        if sight.objects > 0 {
            self.learn_members(sight, path, cx);
            self.objects += 1;
        }
        if let Some(seen) = &sight.element {
            self.learn_inner(seen, super::pattern::Inside::Element, path, cx);
        }
    }

    /// Whether it has a type that it never had.
    fn learn_kinds(&mut self, sight: &Sight, path: &str, cx: &mut Learning<'_>) -> bool {
        let known = self.kinds;
        let valued = sight.kinds.without(Kinds::NULL);
        let since = Since {
            kinds: sight.kinds,
            ..Since::default()
        };
        let mut taken = sight.kinds;
        let exception = (sight.kinds.has(Kinds::NULL) && !known.has(Kinds::NULL)).then(|| {
            self.exception(
                known.in_words(),
                match valued.is_empty() {
                    true => "null".to_owned(),
                    false => format!("null or {}", valued.in_words()),
                },
            )
        });
        let kind = ChangeKind::BecameNullable;
        let verdict = self.note(kind, self.answers, exception, &since, path, cx);
        if self.is_kept_out(&verdict, kind, self.answers) {
            taken = taken.without(Kinds::NULL);
        }
        let mut is_foreign = false;
        if !valued.is_empty() {
            let foreign = sight.kinds.foreign_to(known);
            // What was always null has a type at last: nothing that anybody relied on.
            let has_type = !known.without(Kinds::NULL).is_empty();
            let exception = (!foreign.is_empty() && has_type)
                .then(|| self.exception(known.in_words(), shown(sight, foreign)));
            is_foreign = exception.is_some();
            let kind = ChangeKind::TypeChanged;
            let verdict = self.note(kind, self.valued, exception, &since, path, cx);
            if self.is_kept_out(&verdict, kind, self.valued) {
                taken = taken.without(foreign);
            } else {
                is_foreign = false;
            }
            self.valued += 1;
        }
        if sight.kinds.is_numeric() {
            let is_new =
                sight.kinds.has(Kinds::NUMBER) && known.is_numeric() && !known.has(Kinds::NUMBER);
            let exception = is_new
                .then(|| self.exception("whole numbers".to_owned(), shown(sight, Kinds::NUMBER)));
            let kind = ChangeKind::IntegerToNumber;
            let verdict = self.note(kind, self.numeric, exception, &since, path, cx);
            if self.is_kept_out(&verdict, kind, self.numeric) {
                taken = taken.without(Kinds::NUMBER);
            }
            self.numeric += 1;
        }
        self.kinds.add(taken);
        is_foreign
    }

    /// Whether numbers are far from what they were.
    fn learn_numbers(&mut self, sight: &Sight, path: &str, cx: &mut Learning<'_>) -> bool {
        let Some(range) = sight.numbers else {
            return false;
        };
        let since = Since {
            range: sight.numbers,
            ..Since::default()
        };
        let is_whole = self.kinds.has(Kinds::INTEGER) && !self.kinds.has(Kinds::NUMBER);
        let floor = if is_whole { COUNT } else { 0.0 };
        let factor = cx.now.bounds.range_factor;
        let known = self.range;
        let is_far = known.is_some_and(|known| range.is_far_from(known, factor, floor));
        let was = || known.map(Range::in_words).unwrap_or_default();
        let exception = is_far.then(|| self.exception(was(), range.in_words()));
        let kind = ChangeKind::RangeChanged;
        let far = self.note(kind, self.numbers, exception, &since, path, cx);
        let is_negative = known.is_some_and(|known| known.min >= 0.0) && range.min < 0.0;
        let exception = is_negative.then(|| self.exception(was(), range.in_words()));
        let kind = ChangeKind::SignChanged;
        let sign = self.note(kind, self.numbers, exception, &since, path, cx);
        self.numbers += 1;
        let is_held = matches!(far, Verdict::Held) || matches!(sign, Verdict::Held);
        for (verdict, kind) in [
            (far, ChangeKind::RangeChanged),
            (sign, ChangeKind::SignChanged),
        ] {
            if let Some(window) = self.over(verdict, kind) {
                Range::widen(&mut self.range, window.since.range);
            }
        }
        if !is_held {
            Range::widen(&mut self.range, sight.numbers);
        }
        is_far
    }

    fn learn_strings(&mut self, sight: &Sight, path: &str, cx: &mut Learning<'_>) {
        if sight.formats == 0 {
            return;
        }
        let mut known = self.formats;
        if known & Format::Decimal.bit() != 0 {
            known |= Format::Digits.bit();
        }
        let new = sight.formats & !known;
        let is_new = new != 0 && known != 0 && known & Format::Text.bit() == 0;
        let since = Since {
            formats: sight.formats,
            ..Since::default()
        };
        let exception = is_new.then(|| {
            let text = sight.text.as_deref().unwrap_or_default();
            let new = format!("{} (\"{text}\")", Format::names(new).join(" or "));
            self.exception(Format::names(self.formats).join(" or "), new)
        });
        let kind = ChangeKind::FormatChanged;
        let verdict = self.note(kind, self.strings, exception, &since, path, cx);
        if !self.is_kept_out(&verdict, kind, self.strings) {
            self.formats |= sight.formats;
        }
        Range::widen(&mut self.lengths, sight.lengths);
        self.strings += 1;
    }

    fn learn_values(&mut self, sight: &Sight, takes: bool, path: &str, cx: &mut Learning<'_>) {
        let words = &sight.words;
        if words.total == 0 && !words.is_open {
            return;
        }
        let is_closed = self.values.is_enumeration(&cx.now);
        let new = match is_closed && takes {
            true => self.values.new_among(words, sight.text.as_deref()),
            false => Vec::new(),
        };
        let exception = (!new.is_empty()).then(|| Exception {
            was: self.values.in_words(),
            example: new.first().map(ToString::to_string).unwrap_or_default(),
            values: new,
            is_whole: false,
        });
        let kind = ChangeKind::EnumValueAdded;
        let usual = self.values.answers();
        let verdict = self.note(kind, usual, exception, &Since::default(), path, cx);
        let is_held = matches!(verdict, Verdict::Held);
        if let Some(window) = self.over(verdict, kind) {
            self.values.admit(&window.values, cx.now.bounds.enum_max);
        }
        let is_foreign = !takes && is_closed;
        if !is_held && !is_foreign {
            self.values.learn(words, cx.now.bounds.enum_max);
        } else {
            self.values.recall(words);
        }
    }

    fn learn_lists(&mut self, sight: &Sight, path: &str, cx: &mut Learning<'_>) {
        let Some(sizes) = sight.sizes else { return };
        let since = Since {
            range: sight.sizes,
            ..Since::default()
        };
        let known = self.sizes;
        let was = || {
            known
                .map(|known| format!("{} elements", known.in_words()))
                .unwrap_or_default()
        };
        // Empty ones are another matter.
        let filled = (sizes.max > 0.0).then_some(Range {
            min: if sizes.min > 0.0 {
                sizes.min
            } else {
                sizes.max
            },
            max: sizes.max,
        });
        let factor = cx.now.bounds.range_factor;
        let is_far = known
            .zip(filled)
            .is_some_and(|(known, new)| new.is_far_from(known, factor, COUNT));
        let new = || format!("{} elements", sizes.in_words());
        let exception = is_far.then(|| self.exception(was(), new()));
        let kind = ChangeKind::ListSizeChanged;
        let far = self.note(kind, self.lists, exception, &since, path, cx);
        let is_empty = known.is_some_and(|known| known.min > 0.0) && sizes.min == 0.0;
        let exception = is_empty.then(|| self.exception(was(), "empty".to_owned()));
        let kind = ChangeKind::ListBecameEmpty;
        let empty = self.note(kind, self.lists, exception, &since, path, cx);
        self.lists += 1;
        let is_held = matches!(far, Verdict::Held) || matches!(empty, Verdict::Held);
        for (verdict, kind) in [
            (far, ChangeKind::ListSizeChanged),
            (empty, ChangeKind::ListBecameEmpty),
        ] {
            if let Some(window) = self.over(verdict, kind) {
                Range::widen(&mut self.sizes, window.since.range);
            }
        }
        if !is_held {
            Range::widen(&mut self.sizes, sight.sizes);
        }
    }

    // --- watches ---

    /// One more answer for which `kind` matters, after `usual` others.
    pub(super) fn note(
        &mut self,
        kind: ChangeKind,
        usual: u64,
        exception: Option<Exception>,
        since: &Since,
        path: &str,
        cx: &mut Learning<'_>,
    ) -> Verdict {
        let at = self.watches.iter().position(|watch| watch.kind == kind);
        let at = match (at, &exception) {
            (Some(at), _) => at,
            (None, None) => return Verdict::Usual,
            (None, Some(_)) if usual < cx.now.bounds.answers_min => return Verdict::Learn,
            (None, Some(_)) => {
                self.watches.push(Watch::new(kind));
                self.watches.len() - 1
            }
        };
        let watch = &mut self.watches[at];
        let (verdict, report) = watch.note(usual, exception, since, &cx.now);
        if report.is_some() {
            cx.changes.extend(watch.change(path));
        }
        verdict
    }

    /// Whether what was exceptional stays so: it is not learnt.
    fn is_kept_out(&self, verdict: &Verdict, kind: ChangeKind, answers: u64) -> bool {
        let is_frequent = || {
            let mut watches = self.watches.iter();
            watches.any(|watch| watch.kind == kind && watch.is_frequent(answers))
        };
        match verdict {
            Verdict::Usual | Verdict::Learn => false,
            Verdict::Held => true,
            Verdict::Nothing(_) => !is_frequent(),
        }
    }

    /// The window that came to nothing. What it held is learnt, so that nothing is left to watch.
    fn over(&mut self, verdict: Verdict, kind: ChangeKind) -> Option<Box<Window>> {
        let Verdict::Nothing(window) = verdict else {
            return None;
        };
        self.watches.retain(|watch| watch.kind != kind);
        Some(window)
    }

    fn exception(&self, was: String, example: String) -> Exception {
        Exception {
            was,
            example,
            ..Exception::default()
        }
    }

    /// Everything but that it is there.
    pub(super) fn forget_values(&mut self) {
        let parents = self.parents;
        *self = Self {
            parents,
            ..Self::default()
        };
    }

    // --- places ---

    /// Places below this one.
    pub(super) fn places(&self) -> usize {
        let inner = [&self.rest, &self.element].into_iter().flatten();
        let inner: usize = inner.map(|inner| 1 + inner.places()).sum();
        let members: usize = self
            .members
            .values()
            .map(|member| 1 + member.places())
            .sum();
        inner + members
    }
}

/// A value of these types, as an example.
pub(super) fn shown(sight: &Sight, kinds: Kinds) -> String {
    let quoted = || format!("\"{}\"", sight.text.as_deref().unwrap_or_default());
    let names = || {
        let names: Vec<_> = sight.members.keys().take(5).map(|name| &**name).collect();
        names.join(", ")
    };
    if kinds.has(Kinds::STRING) {
        format!("string {}", quoted())
    } else if kinds.is_numeric() {
        let range = sight.numbers.map(Range::in_words).unwrap_or_default();
        let is_whole = !sight.kinds.has(Kinds::NUMBER);
        format!("{} {range}", if is_whole { "integer" } else { "number" })
    } else if kinds.has(Kinds::BOOLEAN) {
        format!("boolean {}", sight.boolean.unwrap_or_default())
    } else if kinds.has(Kinds::ARRAY) {
        let sizes = sight.sizes.map(Range::in_words).unwrap_or_default();
        format!("array of {sizes}")
    } else if kinds.has(Kinds::OBJECT) {
        example::cut(&format!("object with {}", names()))
    } else {
        "null".to_owned()
    }
}
