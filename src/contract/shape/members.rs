//! Members of an object: which are there, which are missing, and when they are a map.

use super::{
    change::ChangeKind,
    node::{Learning, Node, shown},
    pattern::{Inside, push_step},
    sight::Sight,
    watch::{Exception, Since, Verdict, Watch},
};

impl Node {
    /// The members of the objects that one answer has here.
    pub(super) fn learn_members(
        &mut self,
        sight: &Sight,
        path: &mut String,
        cx: &mut Learning<'_>,
    ) {
        if sight.is_map && !self.is_map {
            self.fold(cx);
        }
        if self.is_map {
            if let Some(seen) = sight.as_map() {
                self.learn_inner(&seen, Inside::Rest, path, cx);
            }
            return;
        }
        if let Some(seen) = &sight.rest {
            self.learn_inner(seen, Inside::Rest, path, cx);
        }
        for (name, seen) in &sight.members {
            self.learn_member(name, seen, sight.objects, path, cx);
        }
        let is_known_here = |name: &str| sight.members.contains_key(name);
        for (name, member) in &mut self.members {
            if !is_known_here(name) && !member.is_ignored {
                stepping(path, Inside::Member(name), |path| {
                    member.miss(true, path, cx);
                });
            }
        }
        if self.members.len() > cx.now.bounds.members_max && self.is_varied() {
            self.fold(cx);
        }
    }

    fn learn_member(
        &mut self,
        name: &str,
        seen: &Sight,
        objects: u64,
        path: &mut String,
        cx: &mut Learning<'_>,
    ) {
        let before = self.objects;
        if !self.members.contains_key(name) {
            if cx.places >= cx.now.bounds.nodes_max {
                cx.unwatched += 1;
                return;
            }
            cx.places += 1;
        }
        let is_new = !self.members.contains_key(name);
        let member = self.members.entry(name.into()).or_default();
        stepping(path, Inside::Member(name), |path| {
            if is_new && before > 0 {
                member.parents = before;
                let mut missing = Watch::new(ChangeKind::FieldRemoved);
                missing.before = before;
                member.watches.push(missing);
            }
            if !seen.is_ignored {
                member.appear(is_new, seen, path, cx);
                if seen.holders < objects {
                    member.miss(false, path, cx);
                } else {
                    member.hold(path, cx);
                }
            }
            member.learn(seen, path, cx);
        });
    }

    /// Elements, or members without a name worth knowing.
    pub(super) fn learn_inner(
        &mut self,
        seen: &Sight,
        into: Inside<'_>,
        path: &mut String,
        cx: &mut Learning<'_>,
    ) {
        let slot = match into {
            Inside::Element => &mut self.element,
            _ => &mut self.rest,
        };
        if slot.is_none() {
            if cx.places >= cx.now.bounds.nodes_max {
                cx.unwatched += 1;
                return;
            }
            cx.places += 1;
        }
        let inner = slot.get_or_insert_default();
        stepping(path, into, |path| inner.learn(seen, path, cx));
    }

    /// It is there: news, where it never was.
    fn appear(&mut self, is_new: bool, seen: &Sight, path: &str, cx: &mut Learning<'_>) {
        let is_watched = |watch: &Watch| watch.kind == ChangeKind::FieldAdded;
        if !is_new && !self.watches.iter().any(is_watched) {
            return;
        }
        let exception = Exception {
            was: "not there".to_owned(),
            example: shown(seen, seen.kinds),
            ..Exception::default()
        };
        let news = cx.changes.len();
        let parents = self.parents;
        let kind = ChangeKind::FieldAdded;
        let verdict = self.note(kind, parents, Some(exception), &Since::default(), path, cx);
        self.settle(&verdict, cx.changes.len() > news);
    }

    /// In all objects of this answer.
    fn hold(&mut self, path: &str, cx: &mut Learning<'_>) {
        self.presence(None, path, cx);
    }

    /// Missing in some objects of this answer, or in all.
    fn miss(&mut self, is_whole: bool, path: &str, cx: &mut Learning<'_>) {
        if is_whole {
            let news = cx.changes.len();
            let parents = self.parents;
            let kind = ChangeKind::FieldAdded;
            let verdict = self.note(kind, parents, None, &Since::default(), path, cx);
            self.settle(&verdict, cx.changes.len() > news);
        }
        let exception = Exception {
            was: self.kinds.in_words(),
            example: match is_whole {
                true => "missing".to_owned(),
                false => "missing in some".to_owned(),
            },
            is_whole,
            ..Exception::default()
        };
        self.presence(Some(exception), path, cx);
    }

    fn presence(&mut self, exception: Option<Exception>, path: &str, cx: &mut Learning<'_>) {
        let kind = ChangeKind::FieldRemoved;
        let is_missing = exception.is_some();
        let is_new = self.is_new();
        let exception = exception.filter(|_| !is_new);
        let parents = self.parents;
        let verdict = self.note(kind, parents, exception, &Since::default(), path, cx);
        if is_missing && (is_new || matches!(verdict, Verdict::Learn)) {
            let watched = self.watches.iter_mut().find(|watch| watch.kind == kind);
            match watched {
                // Where it had learnt by itself, it has counted.
                Some(watch) if is_new => watch.before += 1,
                Some(_) => {}
                None => {
                    let mut watch = Watch::new(kind);
                    watch.before = 1;
                    self.watches.push(watch);
                }
            }
        }
        self.parents += 1;
    }

    /// Not known for long enough that its being missing means something.
    fn is_new(&self) -> bool {
        let mut watches = self.watches.iter();
        watches.any(|watch| {
            let window = watch.window.as_ref();
            watch.kind == ChangeKind::FieldAdded
                && window.is_some_and(|window| window.reported.is_none())
        })
    }

    /// A new member is one that counts from now on, or is nothing.
    fn settle(&mut self, verdict: &Verdict, is_reported: bool) {
        if is_reported {
            let added = ChangeKind::FieldAdded;
            let added = self.watches.iter().find(|watch| watch.kind == added);
            let counts = added.and_then(|watch| watch.window.as_ref());
            let counts = counts.map(|window| (window.of, window.of - window.exceptional));
            if let Some((of, missing)) = counts {
                // This answer is counted by the caller.
                self.parents = of.saturating_sub(1);
                let kind = ChangeKind::FieldRemoved;
                self.watches.retain(|watch| watch.kind != kind);
                if missing > 0 {
                    let mut watch = Watch::new(kind);
                    watch.before = missing;
                    self.watches.push(watch);
                }
            }
        }
        if matches!(verdict, Verdict::Nothing(_)) {
            let kind = ChangeKind::FieldAdded;
            self.watches.retain(|watch| watch.kind != kind);
        }
    }

    /// How many answers lack it somewhere, of those with an object for it.
    pub(super) fn missing(&self) -> u64 {
        let kind = ChangeKind::FieldRemoved;
        let watch = self.watches.iter().find(|watch| watch.kind == kind);
        watch.map_or(0, |watch| {
            let window = watch.window.as_ref();
            watch.before + window.map_or(0, |window| window.exceptional)
        })
    }

    /// Most members are missing in most answers.
    fn is_varied(&self) -> bool {
        let varied = self.members.values();
        let varied = varied.filter(|member| member.missing() * 2 >= member.parents);
        varied.count() * 2 > self.members.len()
    }

    /// From now on a map: all members are taken for one.
    fn fold(&mut self, cx: &mut Learning<'_>) {
        let before = self.places();
        self.is_map = true;
        for member in std::mem::take(&mut self.members).into_values() {
            if !member.is_ignored {
                self.rest.get_or_insert_default().merge(member);
            }
        }
        cx.places = cx
            .places
            .saturating_sub(before.saturating_sub(self.places()));
    }

    /// What is known of two places, as of one. What was suspected of either is forgotten.
    pub(super) fn merge(&mut self, other: Self) {
        use super::kinds::Range;
        self.answers += other.answers;
        self.valued += other.valued;
        self.numeric += other.numeric;
        self.numbers += other.numbers;
        self.strings += other.strings;
        self.lists += other.lists;
        self.objects += other.objects;
        self.kinds.add(other.kinds);
        Range::widen(&mut self.range, other.range);
        Range::widen(&mut self.lengths, other.lengths);
        Range::widen(&mut self.sizes, other.sizes);
        self.formats |= other.formats;
        self.values.merge(other.values);
        self.watches.clear();
        self.is_map |= other.is_map;
        if self.is_map {
            for member in std::mem::take(&mut self.members).into_values() {
                self.rest.get_or_insert_default().merge(member);
            }
        }
        for (name, member) in other.members {
            if self.is_map {
                self.rest.get_or_insert_default().merge(member);
            } else {
                let known = self.members.entry(name).or_default();
                known.parents += member.parents;
                known.merge(member);
                // Where it was missing is not known any more: it counts as optional.
                let mut missing = Watch::new(ChangeKind::FieldRemoved);
                missing.before = known.parents;
                known.watches.push(missing);
            }
        }
        if let Some(rest) = other.rest {
            self.rest.get_or_insert_default().merge(*rest);
        }
        if let Some(element) = other.element {
            self.element.get_or_insert_default().merge(*element);
        }
    }
}

/// Does something one step further down the path.
pub(super) fn stepping<T>(
    path: &mut String,
    into: Inside<'_>,
    inside: impl FnOnce(&mut String) -> T,
) -> T {
    let length = path.len();
    push_step(path, into);
    let done = inside(path);
    path.truncate(length);
    done
}
