//! Accepting: what was reported becomes what is known. And leaving alone what the config says to ignore.

use super::{
    change::{Change, ChangeKind},
    kinds::Kinds,
    members::stepping,
    node::Node,
    pattern::{Inside, Matching, Pattern},
    values::Values,
    watch::{Watch, Window},
};

/// Which changes are accepted. `None`: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// At this path, as drift prints it.
    pub path: Option<String>,
    /// Of this kind.
    pub change: Option<ChangeKind>,
}

impl Accepted {
    fn takes(&self, change: &Change) -> bool {
        change.reported
            && self.path.as_ref().is_none_or(|path| *path == change.path)
            && self.change.is_none_or(|kind| kind == change.change)
    }
}

impl Node {
    /// Takes reported changes into what is known, here and below; whether this place is no more.
    pub(super) fn accept(
        &mut self,
        wanted: &Accepted,
        path: &mut String,
        done: &mut Vec<Change>,
    ) -> bool {
        let watches = std::mem::take(&mut self.watches);
        let mut is_gone = false;
        for watch in watches {
            let change = watch.change(path).filter(|change| wanted.takes(change));
            match (change, watch) {
                (
                    Some(change),
                    Watch {
                        kind,
                        window: Some(window),
                        ..
                    },
                ) => {
                    done.push(change);
                    is_gone |= self.adopt(kind, &window);
                }
                (_, watch) => self.watches.push(watch),
            }
        }
        self.members.retain(|name, member| {
            let into = Inside::Member(name);
            !stepping(path, into, |path| member.accept(wanted, path, done))
        });
        if let Some(rest) = &mut self.rest {
            stepping(path, Inside::Rest, |path| rest.accept(wanted, path, done));
        }
        if let Some(element) = &mut self.element {
            stepping(path, Inside::Element, |path| {
                element.accept(wanted, path, done)
            });
        }
        is_gone
    }

    fn adopt(&mut self, kind: ChangeKind, window: &Window) -> bool {
        let since = &window.since;
        match kind {
            ChangeKind::FieldRemoved | ChangeKind::BecameOptional => {
                self.parents = window.of;
                let mut watch = Watch::new(ChangeKind::FieldRemoved);
                watch.before = window.exceptional;
                self.watches.push(watch);
                return window.is_missing_now()
                    && window.reported == Some(ChangeKind::FieldRemoved);
            }
            ChangeKind::TypeChanged => {
                self.kinds = since.kinds;
                self.valued = window.of;
                self.forget_other_kinds();
            }
            ChangeKind::BecameNullable => self.kinds.add(Kinds::NULL),
            ChangeKind::IntegerToNumber => self.kinds.add(Kinds::NUMBER),
            ChangeKind::RangeChanged | ChangeKind::SignChanged => {
                self.range = since.range;
                self.numbers = window.of;
            }
            ChangeKind::EnumValueAdded => self.values.admit(&window.values, usize::MAX),
            ChangeKind::FormatChanged => {
                self.formats = since.formats;
                self.strings = window.of;
            }
            ChangeKind::ListSizeChanged | ChangeKind::ListBecameEmpty => {
                self.sizes = since.range;
                self.lists = window.of;
            }
            ChangeKind::FieldAdded => {}
        }
        false
    }

    /// What was known of types that it no longer has.
    fn forget_other_kinds(&mut self) {
        if !self.kinds.is_numeric() {
            self.numeric = 0;
            if !self.kinds.has(Kinds::STRING) {
                (self.range, self.numbers) = (None, 0);
            }
        }
        if !self.kinds.has(Kinds::STRING) {
            (self.formats, self.lengths, self.strings) = (0, None, 0);
        }
        if !self.kinds.has(Kinds::ARRAY) {
            (self.sizes, self.lists, self.element) = (None, 0, None);
        }
        if !self.kinds.has(Kinds::OBJECT) {
            (self.objects, self.rest, self.is_map) = (0, None, false);
            self.members.clear();
        }
        self.values = Values::default();
    }

    /// Forgets what patterns mean, here and below.
    pub(super) fn ignore(&mut self, patterns: &[Pattern], matching: &Matching) {
        for (name, member) in &mut self.members {
            match matching.step(patterns, Inside::Member(name)) {
                None => member.forget_values(),
                Some(inner) => member.ignore(patterns, &inner),
            }
        }
        for (into, slot) in [
            (Inside::Rest, &mut self.rest),
            (Inside::Element, &mut self.element),
        ] {
            match (matching.step(patterns, into), &mut *slot) {
                (None, _) => *slot = None,
                (Some(inner), Some(node)) => node.ignore(patterns, &inner),
                (Some(_), None) => {}
            }
        }
    }

    /// What changed, here and below.
    pub(super) fn changes(&self, path: &mut String, found: &mut Vec<Change>) {
        found.extend(self.watches.iter().filter_map(|watch| watch.change(path)));
        self.each_inside(path, |node, path| node.changes(path, found));
    }

    /// Does something with every place directly below.
    pub(super) fn each_inside(&self, path: &mut String, mut with: impl FnMut(&Self, &mut String)) {
        for (name, member) in &self.members {
            stepping(path, Inside::Member(name), |path| with(member, path));
        }
        if let Some(rest) = &self.rest {
            stepping(path, Inside::Rest, |path| with(rest, path));
        }
        if let Some(element) = &self.element {
            stepping(path, Inside::Element, |path| with(element, path));
        }
    }
}
