//! The table of purges: which are remembered, and the strictest that matches a stored response.
//!
//! Pure. Of all purges of one thing only the latest of each mode counts, so the table holds one row per thing. Looking a
//! response up costs one probe per label it has, and one per distinct length of the prefixes that were purged; neither
//! depends on how much is stored.
//!
//! # Invariants
//!
//! - A response is matched exactly by those purges that describe it and are later than its epoch.
//! - Rows are bounded. What is folded to keep the bound matches more than before, never less.

use std::collections::{BTreeMap, HashMap};

use super::{
    labels::Labels,
    what::{Mode, Number, Purge, What},
};

/// Stands between the parts of a row's text. No label can hold it and be purged: parts are checked by who makes a `What`.
const END: char = '\0';

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct PurgeTable {
    rows: HashMap<Box<str>, Row>,
    all: Latest,
    /// The latest by any tag or group: for those whose labels are not all known.
    any_label: Latest,
    /// The latest by any route: for those whose route is not known.
    any_route: Latest,
    /// Prefixes with a host, by path alone: for those that answer for every host.
    any_host: HashMap<Box<str>, Latest>,
    /// How many prefixes there are of each length of path; without and with a host.
    lengths: [BTreeMap<usize, usize>; 2],
    latest: Number,
    rows_max: usize,
}

#[derive(Debug)]
struct Row {
    what: What,
    latest: Latest,
}

/// The latest purge of each mode; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Latest([Number; Mode::ALL.len()]);

/// A stored response, as purges see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) labels: &'a Labels,
    pub(super) upstream: &'a str,
    /// Path and query, in the spelling of keys.
    pub(super) url: &'a str,
}

impl Latest {
    fn raise(&mut self, mode: Mode, number: Number) {
        let latest = &mut self.0[mode.index()];
        *latest = number.max(*latest);
    }

    fn raise_all(&mut self, other: Self) {
        for mode in Mode::ALL {
            self.raise(mode, other.0[mode.index()]);
        }
    }

    /// The strictest that is later than `epoch`.
    fn after(self, epoch: Number) -> Option<Mode> {
        let is_later = |mode: &Mode| self.0[mode.index()] > epoch;
        Mode::ALL.into_iter().rfind(is_later)
    }

    fn newest(self) -> Number {
        self.0.into_iter().max().unwrap_or(0)
    }

    fn purges<'a>(self, what: &'a What) -> impl Iterator<Item = Purge> + 'a {
        let purge = move |mode: Mode| {
            let number = self.0[mode.index()];
            let what = what.clone();
            (number > 0).then_some(Purge { number, mode, what })
        };
        Mode::ALL.into_iter().filter_map(purge)
    }
}

impl PurgeTable {
    /// With nothing in it; holds at most `rows_max` rows.
    pub(super) fn new(rows_max: usize) -> Self {
        Self {
            rows: HashMap::new(),
            all: Latest::default(),
            any_label: Latest::default(),
            any_route: Latest::default(),
            any_host: HashMap::new(),
            lengths: Default::default(),
            latest: 0,
            rows_max: rows_max.max(1),
        }
    }

    /// The number of the latest purge, or what it was raised to.
    pub(super) fn latest(&self) -> Number {
        self.latest
    }

    /// From here on purges are later than this one.
    pub(super) fn raise(&mut self, number: Number) {
        self.latest = self.latest.max(number);
    }

    /// The number of a purge that comes `now_micros` after the epoch of the wall clock.
    pub(super) fn next_number(&self, now_micros: u64) -> Number {
        now_micros.max(self.latest.saturating_add(1))
    }

    /// Things that were purged.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Takes a purge in. Says how many rows were folded to make room.
    pub(super) fn insert(&mut self, purge: Purge) -> usize {
        self.raise(purge.number);
        self.place(purge);
        if self.rows.len() <= self.rows_max {
            return 0;
        }
        self.fold()
    }

    fn place(&mut self, Purge { number, mode, what }: Purge) {
        match &what {
            What::All => return self.all.raise(mode, number),
            What::Tag(_) | What::Group { .. } => self.any_label.raise(mode, number),
            What::Route(_) => self.any_route.raise(mode, number),
            What::Prefix {
                host: Some(_),
                path,
            } => self
                .any_host
                .entry(path.clone())
                .or_default()
                .raise(mode, number),
            What::Prefix { host: None, .. } | What::Upstream(_) | What::Url { .. } => {}
        }
        let mut text = String::new();
        write_row(&mut text, &what);
        if let Some(row) = self.rows.get_mut(text.as_str()) {
            return row.latest.raise(mode, number);
        }
        if let What::Prefix { host, path } = &what {
            let lengths = &mut self.lengths[usize::from(host.is_some())];
            *lengths.entry(path.len()).or_default() += 1;
        }
        let mut latest = Latest::default();
        latest.raise(mode, number);
        self.rows.insert(text.into(), Row { what, latest });
    }

    /// Makes one purge of everything out of the older half of the rows: of each mode the latest that was among them.
    fn fold(&mut self) -> usize {
        let mut rows: Vec<Row> = self.rows.drain().map(|(_, row)| row).collect();
        rows.sort_unstable_by_key(|row| row.latest.newest());
        let folded = rows.len() - self.rows_max / 2;
        let kept = rows.split_off(folded);
        for row in rows {
            self.all.raise_all(row.latest);
        }
        self.any_host.clear();
        self.lengths = Default::default();
        for row in kept {
            for purge in row.latest.purges(&row.what) {
                self.place(purge);
            }
        }
        folded
    }

    /// Every purge that still says something, in no order.
    pub(super) fn purges(&self) -> impl Iterator<Item = Purge> + '_ {
        let rows = self.rows.values();
        let rows = rows.flat_map(|row| row.latest.purges(&row.what));
        rows.chain(self.all.purges(&What::All))
    }

    /// The strictest mode of all purges that match.
    pub(super) fn verdict(&self, subject: &Subject<'_>) -> Option<Mode> {
        let epoch = subject.labels.epoch;
        if epoch >= self.latest {
            return None;
        }
        let Subject {
            labels,
            upstream,
            url,
        } = *subject;
        let mut text = String::new();
        let mut row = |parts: &[&str]| {
            text.clear();
            write_parts(&mut text, parts);
            let row = self.rows.get(text.as_str());
            row.and_then(|row| row.latest.after(epoch))
        };
        let mut found = self.all.after(epoch);
        found = found.max(row(&["upstream", upstream]));
        found = found.max(row(&["route", &labels.route]));
        for tag in &labels.tags {
            found = found.max(row(&["tag", tag]));
        }
        for group in &labels.groups {
            found = found.max(row(&["group", upstream, group]));
        }
        found = found.max(row(&["url", upstream, "", url]));
        if let Some(host) = &labels.host {
            found = found.max(row(&["url", upstream, host, url]));
        }
        for begin in beginnings(url, &self.lengths[0]) {
            found = found.max(row(&["prefix", "", begin]));
        }
        for begin in beginnings(url, &self.lengths[1]) {
            found = found.max(match &labels.host {
                Some(host) => row(&["prefix", host, begin]),
                None => {
                    let latest = self.any_host.get(begin);
                    latest.and_then(|latest| latest.after(epoch))
                }
            });
        }
        if labels.overflow {
            found = found.max(self.any_label.after(epoch));
        }
        if labels.route.is_empty() {
            found = found.max(self.any_route.after(epoch));
        }
        found
    }
}

/// The beginnings of `url` that have one of these lengths.
fn beginnings<'u>(url: &'u str, lengths: &BTreeMap<usize, usize>) -> impl Iterator<Item = &'u str> {
    let lengths = lengths.range(..=url.len());
    lengths.filter_map(move |(length, _)| url.get(..*length))
}

fn write_row(out: &mut String, what: &What) {
    let kind = what.kind();
    match what {
        What::All => write_parts(out, &[kind]),
        What::Upstream(name) | What::Route(name) | What::Tag(name) => {
            write_parts(out, &[kind, name]);
        }
        What::Group { upstream, group } => write_parts(out, &[kind, upstream, group]),
        What::Url {
            upstream,
            host,
            target,
        } => write_parts(
            out,
            &[kind, upstream, host.as_deref().unwrap_or_default(), target],
        ),
        What::Prefix { host, path } => {
            write_parts(out, &[kind, host.as_deref().unwrap_or_default(), path]);
        }
    }
}

fn write_parts(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
        out.push(END);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(texts: &[&str]) -> Box<[Box<str>]> {
        texts.iter().map(|text| Box::from(*text)).collect()
    }

    fn labels(epoch: Number) -> Labels {
        Labels {
            epoch,
            route: "prices".into(),
            host: Some("shop.example".into()),
            tags: texts(&["price", "sku:1"]),
            groups: texts(&["g"]),
            ..Labels::default()
        }
    }

    fn subject(labels: &Labels) -> Subject<'_> {
        Subject {
            labels,
            upstream: "pricing",
            url: "/prices/1?a=b",
        }
    }

    fn prefix(host: Option<&str>, path: &str) -> What {
        What::Prefix {
            host: host.map(Into::into),
            path: path.into(),
        }
    }

    fn url(upstream: &str, host: Option<&str>, target: &str) -> What {
        What::Url {
            upstream: upstream.into(),
            host: host.map(Into::into),
            target: target.into(),
        }
    }

    fn group(upstream: &str, group: &str) -> What {
        What::Group {
            upstream: upstream.into(),
            group: group.into(),
        }
    }

    fn of(what: What, mode: Mode, number: Number) -> Purge {
        Purge { number, mode, what }
    }

    #[test]
    fn a_purge_matches_what_it_describes_and_nothing_else() {
        let shop = Some("shop.example");
        for (name, what, want) in [
            ("everything", What::All, true),
            ("its upstream", What::Upstream("pricing".into()), true),
            ("another upstream", What::Upstream("booking".into()), false),
            ("its route", What::Route("prices".into()), true),
            ("another route", What::Route("price".into()), false),
            ("one of its tags", What::Tag("sku:1".into()), true),
            ("the beginning of a tag", What::Tag("sku:".into()), false),
            ("a group is no tag", What::Tag("g".into()), false),
            ("its group", group("pricing", "g"), true),
            ("the group of another origin", group("booking", "g"), false),
            ("a tag is no group", group("pricing", "price"), false),
            ("its URL", url("pricing", shop, "/prices/1?a=b"), true),
            ("of every host", url("pricing", None, "/prices/1?a=b"), true),
            (
                "the URL without its query",
                url("pricing", shop, "/prices/1"),
                false,
            ),
            (
                "of another host",
                url("pricing", Some("other"), "/prices/1?a=b"),
                false,
            ),
            (
                "the URL elsewhere",
                url("booking", shop, "/prices/1?a=b"),
                false,
            ),
            ("a prefix of its path", prefix(None, "/prices/"), true),
            ("all paths", prefix(None, "/"), true),
            ("the whole of it", prefix(None, "/prices/1?a=b"), true),
            ("more than that", prefix(None, "/prices/1?a=bc"), false),
            ("what is no prefix", prefix(None, "/price/"), false),
            ("a prefix of its host", prefix(shop, "/prices"), true),
            (
                "a prefix of another host",
                prefix(Some("other"), "/prices"),
                false,
            ),
        ] {
            let mut table = PurgeTable::new(100);
            table.insert(of(what, Mode::Soft, 5));
            let got = |labels| table.verdict(&subject(&labels));
            assert_eq!(got(labels(4)), want.then_some(Mode::Soft), "{name}");
            assert_eq!(got(labels(5)), None, "fetched after it: {name}");
        }
    }

    #[test]
    fn what_is_not_known_is_matched_more_not_less() {
        let unknown = Labels::unknown();
        let hostless = Labels {
            host: None,
            ..labels(0)
        };
        let overflowing = Labels {
            overflow: true,
            ..labels(0)
        };
        for (name, labels, what, want) in [
            (
                "no route known: any",
                &unknown,
                What::Route("x".into()),
                true,
            ),
            ("no tags known: any", &unknown, What::Tag("x".into()), true),
            (
                "too many tags: any tag",
                &overflowing,
                What::Tag("x".into()),
                true,
            ),
            ("and any group", &overflowing, group("booking", "x"), true),
            (
                "but only its route",
                &overflowing,
                What::Route("x".into()),
                false,
            ),
            (
                "every host: any",
                &hostless,
                prefix(Some("x"), "/prices"),
                true,
            ),
            (
                "but only its path",
                &hostless,
                prefix(Some("x"), "/other"),
                false,
            ),
        ] {
            let mut table = PurgeTable::new(100);
            table.insert(of(what, Mode::Hard, 1));
            let got = table.verdict(&subject(labels));
            assert_eq!(got, want.then_some(Mode::Hard), "{name}");
        }
    }

    #[test]
    fn the_strictest_of_several_counts_also_where_it_is_the_older() {
        let mut table = PurgeTable::new(100);
        let tag = || What::Tag("price".into());
        table.insert(of(tag(), Mode::Hard, 5));
        table.insert(of(tag(), Mode::Soft, 9));
        table.insert(of(What::All, Mode::Invalid, 7));
        let got = |epoch| table.verdict(&subject(&labels(epoch)));
        assert_eq!(got(4), Some(Mode::Hard));
        assert_eq!(got(5), Some(Mode::Invalid));
        assert_eq!(got(8), Some(Mode::Soft));
        assert_eq!(got(9), None);
        assert_eq!(table.rows(), 1, "one row per thing");
    }

    #[test]
    fn numbers_grow_whatever_the_clock_does() {
        let mut table = PurgeTable::new(100);
        assert_eq!(table.next_number(1_000), 1_000);
        table.insert(of(What::All, Mode::Soft, 1_000));
        assert_eq!(table.next_number(1_000), 1_001);
        assert_eq!(table.next_number(5), 1_001);
        table.raise(9_000);
        assert_eq!(table.next_number(5), 9_001);
    }

    #[test]
    fn the_oldest_become_one_purge_of_everything_before_them() {
        let mut table = PurgeTable::new(4);
        let tag = |n: u64| What::Tag(n.to_string().into());
        let modes = [
            Mode::Hard,
            Mode::Soft,
            Mode::Invalid,
            Mode::Soft,
            Mode::Soft,
        ];
        let folded: Vec<usize> = (1..)
            .zip(modes)
            .map(|(n, mode)| table.insert(of(tag(n), mode, n)))
            .collect();
        assert_eq!(folded, [0, 0, 0, 0, 3]);
        assert_eq!(table.rows(), 2);
        let other = |epoch| Labels {
            tags: texts(&["other"]),
            ..labels(epoch)
        };
        let got = |epoch| table.verdict(&subject(&other(epoch)));
        assert_eq!(got(0), Some(Mode::Hard), "a hard one was among them");
        assert_eq!(got(1), Some(Mode::Invalid));
        assert_eq!(got(2), Some(Mode::Invalid));
        assert_eq!(got(3), None, "those kept match only their own");
    }

    // --- against a list of all purges ---

    fn describes(what: &What, subject: &Subject<'_>) -> bool {
        let Subject {
            labels,
            upstream,
            url,
        } = *subject;
        let has = |texts: &[Box<str>], text: &str| texts.iter().any(|known| **known == *text);
        let host_fits = |host: &Option<Box<str>>| match (host, &labels.host) {
            (Some(host), Some(own)) => host == own,
            _ => true,
        };
        match what {
            What::All => true,
            What::Upstream(name) => **name == *upstream,
            What::Route(name) => labels.route.is_empty() || *name == labels.route,
            What::Tag(tag) => labels.overflow || has(&labels.tags, tag),
            What::Group {
                upstream: of,
                group,
            } => labels.overflow || (**of == *upstream && has(&labels.groups, group)),
            What::Url {
                upstream: of,
                host,
                target,
            } => **of == *upstream && **target == *url && (host.is_none() || *host == labels.host),
            What::Prefix { host, path } => url.starts_with(&**path) && host_fits(host),
        }
    }

    fn word() -> impl Strategy<Value = Box<str>> {
        "[ab]{0,2}".prop_map(Into::into)
    }

    fn host() -> impl Strategy<Value = Option<Box<str>>> {
        prop::option::of("[xy]".prop_map(Into::into))
    }

    fn path() -> impl Strategy<Value = Box<str>> {
        "/[aé]{0,3}".prop_map(Into::into)
    }

    fn what() -> impl Strategy<Value = What> {
        let group = |(upstream, group)| What::Group { upstream, group };
        let url = |(upstream, host, target)| What::Url {
            upstream,
            host,
            target,
        };
        prop_oneof![
            Just(What::All),
            word().prop_map(What::Upstream),
            word().prop_map(What::Route),
            word().prop_map(What::Tag),
            (word(), word()).prop_map(group),
            (word(), host(), path()).prop_map(url),
            (host(), path()).prop_map(|(host, path)| What::Prefix { host, path }),
        ]
    }

    fn mode() -> impl Strategy<Value = Mode> {
        prop::sample::select(&Mode::ALL[..])
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        let words = || prop::collection::vec(word(), 0..3);
        (
            0u64..30,
            word(),
            host(),
            words(),
            words(),
            prop::bool::weighted(0.2),
        )
            .prop_map(|(epoch, route, host, tags, groups, overflow)| Labels {
                epoch,
                route,
                host,
                tags: tags.into(),
                groups: groups.into(),
                overflow,
                ..Labels::default()
            })
    }

    proptest! {
        #[test]
        fn the_table_says_what_a_list_of_all_purges_says(
            purges in prop::collection::vec((what(), mode(), 1u64..30), 0..25),
            labels in any_labels(), upstream in word(), url in path(),
        ) {
            let subject = Subject { labels: &labels, upstream: &upstream, url: &url };
            let mut table = PurgeTable::new(1_000);
            let mut small = PurgeTable::new(4);
            let mut want = None;
            for (what, mode, number) in purges {
                if number > labels.epoch && describes(&what, &subject) {
                    want = want.max(Some(mode));
                }
                table.insert(of(what.clone(), mode, number));
                small.insert(of(what, mode, number));
            }
            prop_assert_eq!(table.verdict(&subject), want);
            prop_assert!(small.verdict(&subject) >= want, "folding matches more, never less");
            // What is listed is enough to know as much again.
            let mut again = PurgeTable::new(1_000);
            for purge in table.purges() {
                again.insert(purge);
            }
            prop_assert_eq!(again.verdict(&subject), want);
        }
    }
}
