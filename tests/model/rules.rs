//! RFC 9111, as plainly as it can be written: a list of everything the origin ever sent, and for each answer of the cache
//! the question whether it may be.
//!
//! Nothing here comes from the cache's own code. Where the RFC leaves a choice every choice is allowed; where larder
//! promises more than the RFC asks (`Set-Cookie`, `Authorization`, unreadable values) the promise is what counts. Times are
//! milliseconds; a second either way is allowed where HTTP's dates have no finer grain.

use http::{HeaderMap, Method, Uri};
use larder::cache::{Mode, What};

use crate::world::{Exchange, Got, HOST, content, one_range, opaque, within};

const SECOND: i64 = 1000;
/// RFC 9111 1.2.2.
const DELTA_MAX: i64 = 1 << 31;

/// What the route's policy says.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub overrides: bool,
    /// Seconds, as the origin writes them.
    pub fresh: Option<i64>,
    pub heuristic_percent: i64,
    pub while_revalidate: i64,
    pub max_stale: i64,
    /// Longest rest of a key after a fetch that brought nothing, in milliseconds.
    pub rest: i64,
    /// Lifetimes hold to the second: no spread, no early refresh.
    pub exact: bool,
}

/// A response that the cache may have stored.
#[derive(Clone, Debug)]
struct Known {
    serial: u64,
    target: String,
    asked: HeaderMap,
    by_post: bool,
    status: u16,
    fields: HeaderMap,
    asked_at: i64,
    received_at: i64,
    /// The strictest of what was said of it later: by a write (4.4), or by somebody who purged it.
    ended: Option<Mode>,
    /// The cache itself said that it stored this.
    said_stored: bool,
}

/// Everything that was ever sent.
#[derive(Debug)]
pub struct Model {
    rules: Rules,
    known: Vec<Known>,
    /// Per target, when a fetch last ended.
    fetched: Vec<(String, i64)>,
    /// What was seen, for whoever wants to know that runs are not empty.
    pub seen: Seen,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub hits: u64,
    pub stale: u64,
    pub renewed: u64,
    pub parts: u64,
    pub unmodified: u64,
    pub forwarded: u64,
    pub refused: u64,
}

/// A request and its answer.
pub struct Turn<'t> {
    pub method: &'t Method,
    pub target: &'t str,
    pub asked: &'t HeaderMap,
    pub arrived_at: u64,
    pub answered_at: u64,
    pub exchanges: &'t [Exchange],
    pub got: &'t Got,
}

// --- Fields ---

fn text<'h>(fields: &'h HeaderMap, name: &str) -> Option<&'h str> {
    fields.get(name)?.to_str().ok()
}

/// 5.6.1 of RFC 9110: members between commas that are not in quotes.
fn list(fields: &HeaderMap, name: &str) -> Vec<String> {
    let mut members = vec![];
    for line in fields.get_all(name) {
        let (mut member, mut quoted) = (String::new(), false);
        for c in line.to_str().unwrap_or_default().chars() {
            quoted ^= c == '"';
            if c == ',' && !quoted {
                members.push(std::mem::take(&mut member));
            } else {
                member.push(c);
            }
        }
        members.push(member);
    }
    let trimmed = members.iter().map(|member| member.trim().to_owned());
    trimmed.filter(|member| !member.is_empty()).collect()
}

#[derive(Clone, Debug, Default)]
struct Directives {
    targeted: bool,
    list: Vec<(String, Option<String>)>,
}

impl Directives {
    fn has(&self, name: &str) -> bool {
        self.list.iter().any(|(known, _)| known == name)
    }

    /// Of several the shortest; what cannot be read is nothing (4.2.1).
    fn secs(&self, name: &str) -> Option<i64> {
        let all = self.list.iter().filter(|(known, _)| known == name);
        all.map(|(_, value)| value.as_deref().and_then(delta).unwrap_or(0))
            .min()
    }
}

fn delta(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(DELTA_MAX).min(DELTA_MAX))
}

/// 5.2: names in any case, arguments quoted or not.
fn directives(fields: &HeaderMap, name: &str) -> Directives {
    let of = |member: String| match member.split_once('=') {
        Some((name, value)) => {
            let bare = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            (name.to_lowercase(), Some(bare.unwrap_or(value).to_owned()))
        }
        None => (member.to_lowercase(), None),
    };
    Directives {
        targeted: false,
        list: list(fields, name).into_iter().map(of).collect(),
    }
}

/// RFC 9213 2.2: the first targeted field that is a dictionary and not empty, or else `Cache-Control`.
fn response_directives(fields: &HeaderMap) -> Directives {
    for name in ["larder-cache-control", "cdn-cache-control"] {
        let lines: Vec<_> = fields.get_all(name).iter().collect();
        if lines.is_empty() {
            continue;
        }
        let all: Vec<_> = lines
            .iter()
            .map(|line| line.to_str().unwrap_or("&"))
            .collect();
        if let Some(list) = dictionary(&all.join(", ")) {
            return Directives {
                targeted: true,
                list,
            };
        }
    }
    directives(fields, "cache-control")
}

/// RFC 9651 3.2, for the values that the runs have: integers, booleans, strings without commas, parameters without values.
fn dictionary(text: &str) -> Option<Vec<(String, Option<String>)>> {
    if text.trim().is_empty() {
        return None;
    }
    let mut members: Vec<(String, Option<String>)> = vec![];
    for member in text.split(',') {
        let member = member.trim().split(';').next()?;
        let (name, value) = member
            .split_once('=')
            .map_or((member, None), |(n, v)| (n, Some(v)));
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c));
        if !is_name {
            return None;
        }
        members.retain(|(known, _)| known != name);
        match value {
            Some("?0") => {}
            value => members.push((name.to_owned(), value.map(ToOwned::to_owned))),
        }
    }
    Some(members)
}

fn http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// 4.1: absent only matches absent; what the syntax lets vary does not count.
fn selected_alike(name: &str, one: &HeaderMap, other: &HeaderMap) -> bool {
    let form = |fields: &HeaderMap| {
        fields.contains_key(name).then(|| {
            let mut members = list(fields, name);
            if name.starts_with("accept") {
                members.sort();
            }
            members
        })
    };
    form(one) == form(other)
}

fn weakly_equal(one: &str, other: &str) -> bool {
    opaque(one) == opaque(other)
}

// --- One stored response ---

impl Known {
    fn end(&mut self, mode: Mode) {
        self.ended = self.ended.max(Some(mode));
    }

    fn directives(&self) -> Directives {
        response_directives(&self.fields)
    }

    /// 4.2.3 `corrected_initial_age`.
    fn initial_age(&self) -> i64 {
        let date = text(&self.fields, "date").and_then(http_date);
        let apparent = date.map_or(0, |date| (self.received_at - date).max(0));
        let first = list(&self.fields, "age").into_iter().next();
        let said = first.and_then(|age| delta(&age)).unwrap_or(0) * SECOND;
        apparent.max(said + self.received_at - self.asked_at)
    }

    fn age(&self, now: i64) -> i64 {
        self.initial_age() + (now - self.received_at).max(0)
    }

    /// 4.2.1, of the origin alone.
    fn explicit_lifetime(&self) -> Option<i64> {
        let directives = self.directives();
        let date = text(&self.fields, "date")
            .and_then(http_date)
            .unwrap_or(self.received_at);
        let expires = || {
            let mut lines = self.fields.get_all("expires").iter();
            let first = lines.next()?;
            let same = lines.all(|line| line == first);
            let at = first.to_str().ok().and_then(http_date).filter(|_| same);
            Some(at.map_or(0, |at| (at - date).max(0)))
        };
        let named = directives.secs("s-maxage").or(directives.secs("max-age"));
        named
            .map(|secs| secs * SECOND)
            .or_else(|| expires().filter(|_| !directives.targeted))
    }

    fn lifetime(&self, rules: &Rules) -> Option<i64> {
        if let Some(fresh) = rules.fresh.filter(|_| rules.overrides) {
            return Some(fresh * SECOND);
        }
        if self.directives().has("no-cache") && !rules.overrides {
            return Some(0);
        }
        let named = self
            .explicit_lifetime()
            .or(rules.fresh.map(|fresh| fresh * SECOND));
        named.or_else(|| self.guess(rules))
    }

    /// 4.2.2: a share of the time since `Last-Modified`, where the status or `public` allows it.
    fn guess(&self, rules: &Rules) -> Option<i64> {
        let may = self.keeps_without_lifetime() && rules.heuristic_percent > 0;
        let date = text(&self.fields, "date")
            .and_then(http_date)
            .unwrap_or(self.received_at);
        let modified = text(&self.fields, "last-modified").and_then(http_date)?;
        (may && modified <= date)
            .then(|| ((date - modified) * rules.heuristic_percent / 100).min(24 * 3600 * SECOND))
    }

    fn keeps_without_lifetime(&self) -> bool {
        self.directives().has("public")
            || matches!(
                self.status,
                200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
            )
    }

    /// 4.2.4: what forbids use once stale.
    fn forbids_stale(&self, rules: &Rules) -> bool {
        let directives = self.directives();
        let words = [
            "no-cache",
            "must-revalidate",
            "proxy-revalidate",
            "s-maxage",
        ];
        !rules.overrides && words.iter().any(|word| directives.has(word))
    }

    /// 3.5.
    fn is_for_everybody(&self) -> bool {
        let directives = self.directives();
        ["public", "must-revalidate", "s-maxage"]
            .iter()
            .any(|word| directives.has(word))
    }

    /// 3: why it must not have been stored.
    fn not_storable(&self, rules: &Rules) -> Option<&'static str> {
        let directives = self.directives();
        let wishes = directives_of_request(&self.asked, rules);
        let understood =
            matches!(self.status, 200..=206 | 300..=308 | 400..=417 | 421..=429 | 431 | 500..=511);
        let located = text(&self.fields, "content-location")
            .map(|at| named(&self.target, at).is_some_and(|it| it == self.target));
        match () {
            () if self.status == 304 || self.status < 200 => Some("not a final response (3)"),
            () if self.status >= 500 || self.status == 429 => {
                Some("a failure, and the policy trusts none")
            }
            () if self.status == 416 => Some("an answer to one range, for nobody else"),
            () if self.status == 206 && !self.asked.contains_key("range") => {
                Some("a part that nobody asked for (3.3)")
            }
            () if directives.has("must-understand") && !understood => {
                Some("must-understand (5.2.2.3)")
            }
            () if rules.overrides
                && self.asked.contains_key("authorization")
                && !self.is_for_everybody() =>
            {
                Some("Authorization (3.5)")
            }
            () if rules.overrides => None,
            () if directives.has("no-store") && !directives.has("must-understand") => {
                Some("no-store (5.2.2.5)")
            }
            () if directives.has("private") => Some("private (5.2.2.7)"),
            () if wishes.has("no-store") => Some("the request's no-store (5.2.1.5)"),
            () if self.asked.contains_key("authorization") && !self.is_for_everybody() => {
                Some("Authorization (3.5)")
            }
            () if self.fields.contains_key("set-cookie")
                && !directives.has("public")
                && !directives.has("s-maxage") =>
            {
                Some("Set-Cookie (7.3)")
            }
            () if self.explicit_lifetime().is_none() && !self.keeps_without_lifetime() => {
                Some("no lifetime, and a status that is not kept without (3)")
            }
            () if self.by_post
                && (self.status != 200
                    || self.explicit_lifetime().is_none()
                    || located != Some(true)) =>
            {
                Some("an answer to POST that is not the target's (RFC 9110 9.3.3)")
            }
            () => None,
        }
    }
}

/// Directives of a request (5.2.1), `Pragma` where there are none (5.4), nothing where the policy ignores them.
fn directives_of_request(asked: &HeaderMap, rules: &Rules) -> Directives {
    match (rules.overrides, asked.contains_key("cache-control")) {
        (true, _) => Directives::default(),
        (false, true) => directives(asked, "cache-control"),
        (false, false) => directives(asked, "pragma"),
    }
}

/// The target here that a URI in a response to one for `base` names, if it is of the same origin (4.4). Of relative
/// references (RFC 3986 5.2) there are only siblings in the scripts.
fn named(base: &str, reference: &str) -> Option<String> {
    if !reference.contains(['/', ':']) {
        let folder = &base.split('?').next()?[..=base.rfind('/')?];
        return Some(format!("{folder}{reference}"));
    }
    let uri: Uri = reference.parse().ok()?;
    let same = uri.host().is_none_or(|host| host == HOST);
    let target = uri.path_and_query()?.as_str();
    (same && target.starts_with('/')).then(|| target.to_owned())
}

// --- Taking note of what the origin sent ---

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            known: vec![],
            fetched: vec![],
            seen: Seen::default(),
        }
    }

    pub fn begin(&mut self) {
        self.known.clear();
        self.fetched.clear();
    }

    /// Somebody purges what this is about.
    pub fn purge(&mut self, mode: Mode, what: &What) {
        for known in &mut self.known {
            let is_meant = match what {
                What::Url { target, .. } => known.target == **target,
                What::Prefix { path, .. } => known.target.starts_with(&**path),
                What::Tag(tag) => list(&known.fields, "cache-tag")
                    .iter()
                    .any(|known| **known == **tag),
                _ => true,
            };
            if is_meant {
                known.end(mode);
            }
        }
    }

    fn note(&mut self, exchange: &Exchange, asked_by: &HeaderMap) {
        let (asked_at, received_at) = (exchange.asked_at as i64, exchange.answered_at as i64);
        let Ok(got) = &exchange.got else { return };
        let is_safe = matches!(exchange.method, Method::GET | Method::HEAD);
        if !is_safe && (200..400).contains(&got.status) {
            let names = ["location", "content-location"]
                .map(|name| named(&exchange.target, text(&got.fields, name)?));
            for target in names.into_iter().flatten().chain([exchange.target.clone()]) {
                for known in self.known.iter_mut().filter(|known| known.target == target) {
                    known.end(Mode::Invalid);
                }
            }
        }
        if !is_safe && (200..400).contains(&got.status) {
            // RFC 9875 3.
            for group in list(&got.fields, "cache-group-invalidation") {
                let member =
                    |known: &&mut Known| list(&known.fields, "cache-groups").contains(&group);
                self.known
                    .iter_mut()
                    .filter(member)
                    .for_each(|known| known.end(Mode::Invalid));
            }
        }
        if got.status == 304 {
            self.renew(exchange, got, asked_by);
        } else if matches!(exchange.method, Method::GET | Method::POST) {
            let alone = Known {
                serial: exchange.serial,
                target: exchange.target.clone(),
                asked: exchange.asked.clone(),
                by_post: exchange.method == Method::POST,
                status: got.status,
                fields: got.fields.clone(),
                asked_at,
                received_at,
                ended: None,
                said_stored: false,
            };
            if got.status == 206 {
                self.put_together(&alone);
            }
            self.known.push(alone);
        }
    }

    /// 3.4: a part with every part of the same strong validator that is known: its fields, and those only the other has.
    fn put_together(&mut self, newer: &Known) {
        let strong = |known: &Known| {
            let etag = text(&known.fields, "etag").map(ToOwned::to_owned);
            match etag {
                Some(etag) => Some(etag).filter(|etag| etag.starts_with('"')),
                None => text(&known.fields, "last-modified").map(ToOwned::to_owned),
            }
        };
        let validator = strong(newer);
        let is_other = |known: &&Known| {
            known.target == newer.target
                && known.status == 206
                && known.ended != Some(Mode::Hard)
                && strong(known) == validator
        };
        if validator.is_none() {
            return;
        }
        let others: Vec<_> = self.known.iter().filter(is_other).cloned().collect();
        for older in others {
            let mut both = newer.clone();
            for name in older.fields.keys().filter(|name| *name != "age") {
                if !newer.fields.contains_key(name) && (*name != "date") {
                    for value in older.fields.get_all(name) {
                        both.fields.append(name, value.clone());
                    }
                }
            }
            self.known.push(both);
        }
    }

    /// 4.3.4 and 3.2: every stored response that the 304 can mean, with its fields replaced by name.
    fn renew(&mut self, exchange: &Exchange, not_modified: &Got, asked_by: &HeaderMap) {
        let named = text(&not_modified.fields, "etag");
        let means = |known: &&Known| {
            let asked_about = match (
                text(&known.fields, "etag"),
                text(&exchange.asked, "if-none-match"),
            ) {
                (Some(etag), Some(asked)) => asked.contains(opaque(etag)),
                (None, _) => {
                    text(&known.fields, "last-modified")
                        == text(&exchange.asked, "if-modified-since")
                }
                (Some(_), None) => false,
            };
            let confirmed = match (named, text(&known.fields, "etag")) {
                (Some(named), Some(etag)) => weakly_equal(named, etag),
                (Some(named), None) => named.starts_with("W/"),
                (None, _) => true,
            };
            known.target == exchange.target
                && known.ended != Some(Mode::Hard)
                && asked_about
                && confirmed
        };
        let renewed: Vec<_> = self.known.iter().filter(means).cloned().collect();
        for old in renewed {
            let mut fields = old.fields.clone();
            fields.remove("age");
            if !not_modified.fields.contains_key("date") {
                fields.remove("date");
            }
            for name in not_modified.fields.keys() {
                let describes_content =
                    name.as_str().starts_with("content-") && *name != "content-location";
                if describes_content || *name == "set-cookie" {
                    continue;
                }
                fields.remove(name);
                for value in not_modified.fields.get_all(name) {
                    fields.append(name, value.clone());
                }
            }
            // Its own request still selects it, and so does the one that it was confirmed for.
            for asked in [old.asked.clone(), asked_by.clone()] {
                self.known.push(Known {
                    serial: exchange.serial,
                    asked,
                    fields: fields.clone(),
                    asked_at: exchange.asked_at as i64,
                    received_at: exchange.answered_at as i64,
                    said_stored: false,
                    ended: None,
                    ..old.clone()
                });
            }
        }
    }
}

// --- Judging an answer ---

/// What a reuse is measured by.
struct Moment {
    now: i64,
    /// The origin failed meanwhile, or a fetch has just failed and the key rests.
    excused: bool,
}

impl Model {
    /// 4: why this stored response must not answer this request now.
    fn not_reusable(&self, known: &Known, turn: &Turn<'_>, moment: &Moment) -> Option<String> {
        let rules = &self.rules;
        let no = |why: &str| Some(why.to_owned());
        if known.target != turn.target {
            return no("it is another target's");
        }
        if let Some(why) = known.not_storable(rules) {
            return Some(format!("it must not be stored: {why}"));
        }
        match known.ended {
            Some(Mode::Hard) => return no("it was purged"),
            Some(Mode::Invalid) if !(rules.overrides && moment.excused) => {
                return no("a write made it obsolete, or a purge (4.4)");
            }
            _ => {}
        }
        for name in list(&known.fields, "vary") {
            if name == "*" || !selected_alike(&name.to_lowercase(), &known.asked, turn.asked) {
                return Some(format!(
                    "another request was answered, by Vary: {name} (4.1)"
                ));
            }
        }
        if turn.asked.contains_key("authorization") && !known.is_for_everybody() {
            return no(
                "the request has Authorization, and nobody said that it is for everybody (3.5)",
            );
        }
        self.not_fresh_enough(known, turn, moment)
    }

    fn not_fresh_enough(&self, known: &Known, turn: &Turn<'_>, moment: &Moment) -> Option<String> {
        let rules = &self.rules;
        let wishes = directives_of_request(turn.asked, rules);
        let named = known.lifetime(rules);
        let lifetime = named.unwrap_or(0);
        let came_later = known.received_at > moment.now + 2 * SECOND;
        let age = if came_later {
            known.initial_age().max(lifetime)
        } else {
            known.age(moment.now)
        };
        let max_stale = wishes.has("max-stale").then(|| {
            match wishes.list.iter().rfind(|(name, _)| name == "max-stale") {
                Some((_, Some(secs))) => delta(secs).unwrap_or(0) * SECOND,
                _ => i64::MAX / 4,
            }
        });
        if !moment.excused {
            if wishes.has("no-cache") {
                return Some("the request says no-cache (5.2.1.4)".to_owned());
            }
            if let Some(max_age) = wishes
                .list
                .iter()
                .find(|(name, _)| name == "max-age")
                .and(wishes.secs("max-age"))
            {
                let readable = max_age * SECOND + max_stale.unwrap_or(0) + SECOND;
                if age > readable {
                    return Some(format!(
                        "age {age} ms, and the request takes {max_age} s (5.2.1.1)"
                    ));
                }
            }
            let min_fresh = wishes.list.iter().find(|(name, _)| name == "min-fresh");
            if let Some(wanted) = min_fresh.and_then(|(_, secs)| delta(secs.as_deref()?))
                && lifetime - age + SECOND < wanted * SECOND
            {
                return Some("not fresh for long enough (5.2.1.3)".to_owned());
            }
        }
        if known.ended == Some(Mode::Soft) {
            // Its lifetime is over; whoever purged it so wants it used for as long as it would have been.
            let would_be = age < lifetime + SECOND
                || self.may_be_stale(known, age - lifetime, named, max_stale, moment);
            let may = !known.forbids_stale(rules) && would_be;
            return (!may).then(|| "it was purged, and must not be used once stale".to_owned());
        }
        if age < lifetime + SECOND && !came_later {
            // A second's grace is for HTTP's dates; nothing is fresh that never was (4.2.1).
            return (lifetime <= 0 && !self.may_be_stale(known, 0, named, max_stale, moment))
                .then(|| "it was stale from the start".to_owned());
        }
        let stale_for = age - lifetime;
        if self.may_be_stale(known, stale_for, named, max_stale, moment) {
            return None;
        }
        Some(format!(
            "stale for {stale_for} ms (age {age}, lifetime {lifetime}{}), and nothing allows that (4.2.4)",
            if came_later {
                ", from a clock that was set back"
            } else {
                ""
            }
        ))
    }

    fn may_be_stale(
        &self,
        known: &Known,
        stale_for: i64,
        named: Option<i64>,
        max_stale: Option<i64>,
        moment: &Moment,
    ) -> bool {
        let rules = &self.rules;
        if known.forbids_stale(rules) {
            return false;
        }
        let directives = known.directives();
        let window = |name: &str, own: i64| {
            let said = directives.secs(name).filter(|_| !rules.overrides);
            said.unwrap_or(own).min(rules.max_stale.max(own)) * SECOND
        };
        // RFC 5861 3: a window after a lifetime; without one there is none.
        let behind = if named.is_some() {
            window("stale-while-revalidate", rules.while_revalidate)
        } else {
            0
        };
        let on_error = window("stale-if-error", rules.max_stale).max(behind);
        (behind > 0 && stale_for < behind + SECOND)
            || (moment.excused && stale_for < on_error + SECOND)
            || max_stale.is_some_and(|max| stale_for <= max.saturating_add(SECOND))
    }

    /// Takes note of what was sent and says what is wrong with the answer.
    pub fn judge(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        let before = self.known.len();
        let must = self.must(turn);
        for exchange in turn.exchanges {
            self.note(exchange, turn.asked);
        }
        let verdict = check_questions(&self.known[..before], turn)
            .and_then(|()| self.judge_answer(turn))
            .and_then(|()| self.judge_must(must, turn));
        self.remember(turn);
        verdict
    }

    fn judge_answer(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        let got = turn.got;
        let failed = turn
            .exchanges
            .iter()
            .any(|exchange| is_failure(&exchange.got));
        let Some(serial) =
            text(&got.fields, "x-serial").and_then(|serial| serial.parse::<u64>().ok())
        else {
            self.seen.refused += 1;
            return self.judge_own(turn, failed);
        };
        let sent = turn
            .exchanges
            .iter()
            .find(|exchange| exchange.serial == serial);
        // What came for this request answers it, whatever it says of others.
        if let Some(Exchange {
            got: Ok(sent),
            method,
            asked,
            ..
        }) = sent
            && sent.status != 304
        {
            self.seen.forwarded += 1;
            let is_asked = matches!(*turn.method, Method::GET | Method::HEAD);
            // The origin looked at the client's own conditions and range: its word is as good as ours.
            let same = |names: [&str; 2]| {
                names
                    .iter()
                    .all(|name| asked.get(*name) == turn.asked.get(*name))
            };
            let is_odd_part = sent.status == 206
                && !(asked.contains_key("range") && sent.fields.contains_key("content-range"));
            let as_asked = is_odd_part
                || same(["range", "if-range"]) && same(["if-none-match", "if-modified-since"]);
            let as_it_came = got.status == sent.status && got.body == sent.body && as_asked;
            let evaluates = is_asked && *method == Method::GET && !as_it_came;
            let checked = check_content(turn, sent.status, &sent.fields, evaluates);
            // 3.4: or put together with a part that was there.
            let is_part = sent.status == 206 && asked.contains_key("range");
            let parts = self
                .known
                .iter()
                .filter(|known| known.serial == serial && is_part);
            let mut put_together = parts.map(|known| check_content(turn, 206, &known.fields, true));
            return checked.or_else(|why| {
                let why = format!("the origin's answer {serial} was passed on wrongly: {why}");
                put_together.find(Result::is_ok).unwrap_or(Err(why))
            });
        }
        let mut why_not = vec![];
        let is_renewed = sent.is_some();
        if is_renewed && got.status == 304 && turn.asked == own_condition(turn, sent) {
            self.seen.unmodified += 1;
            return Ok(());
        }
        for known in self.known.iter().filter(|known| known.serial == serial) {
            let refused = if is_renewed {
                // 4.3.3: validated for this request.
                (known.target != turn.target).then(|| "it is another target's".to_owned())
            } else {
                self.refusal(known, turn, failed)
            };
            let checked = match refused {
                Some(why) => Err(why),
                None => check_content(turn, known.status, &known.fields, true)
                    .and_then(|()| check_age(known, turn, is_renewed)),
            };
            match checked {
                Err(why) => why_not.push(why),
                Ok(()) => {
                    let is_stale = known.age(turn.answered_at as i64)
                        > known.lifetime(&self.rules).unwrap_or(0);
                    self.seen.count(turn, is_renewed, is_stale);
                    return Ok(());
                }
            }
        }
        why_not.dedup();
        Err(match why_not.as_slice() {
            [] => format!("serial {serial}: nothing that could be reused has it"),
            reasons => format!("serial {serial} must not answer: {}", reasons.join("; or ")),
        })
    }

    /// Judged when it arrived or when it was answered, whichever is kinder: the cache has to look at some moment.
    fn refusal(&self, known: &Known, turn: &Turn<'_>, failed: bool) -> Option<String> {
        let rests = |now: i64| {
            let mut fetched = self.fetched.iter();
            fetched.any(|(target, at)| target == turn.target && now < at + self.rules.rest)
        };
        let at = |now: u64| {
            let excused = failed || rests(now as i64);
            self.not_reusable(
                known,
                turn,
                &Moment {
                    now: now as i64,
                    excused,
                },
            )
        };
        at(turn.arrived_at).and_then(|_| at(turn.answered_at))
    }

    /// Answers that the cache makes up itself.
    fn judge_own(&self, turn: &Turn<'_>, failed: bool) -> Result<(), String> {
        let status = turn.got.status;
        let is_asked = matches!(*turn.method, Method::GET | Method::HEAD);
        let wishes = directives_of_request(turn.asked, &self.rules);
        let odd = turn.exchanges.iter().any(|exchange| {
            matches!(&exchange.got, Ok(got) if got.status == 304 && !exchange.asked.contains_key("if-none-match")
                && !exchange.asked.contains_key("if-modified-since"))
        });
        match status {
            502..=504 if failed || odd => Ok(()),
            504 if turn.exchanges.is_empty() && is_asked && wishes.has("only-if-cached") => Ok(()),
            _ => Err(format!("status {status} was made up without need")),
        }
    }
}

fn own_condition<'t>(turn: &'t Turn<'_>, sent: Option<&Exchange>) -> &'t HeaderMap {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    let same = sent.is_some_and(|sent| {
        ["if-none-match", "if-modified-since"]
            .iter()
            .all(|name| sent.asked.get(*name) == turn.asked.get(*name))
    });
    if same { turn.asked } else { &NONE }
}

fn is_failure(got: &Result<Got, larder::failure::Cause>) -> bool {
    got.as_ref()
        .map_or(true, |got| got.status >= 500 || got.status == 429)
}

impl Seen {
    fn count(&mut self, turn: &Turn<'_>, renewed: bool, stale: bool) {
        let slot = match turn.got.status {
            206 | 416 => &mut self.parts,
            304 => &mut self.unmodified,
            _ if renewed => &mut self.renewed,
            _ if stale => &mut self.stale,
            _ => &mut self.hits,
        };
        *slot += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.stale += other.stale;
        self.renewed += other.renewed;
        self.parts += other.parts;
        self.unmodified += other.unmodified;
        self.forwarded += other.forwarded;
        self.refused += other.refused;
    }
}

/// 4.3.1: a question carries the client's own conditions, or validators of a stored response of this target.
fn check_questions(known: &[Known], turn: &Turn<'_>) -> Result<(), String> {
    for exchange in turn.exchanges {
        for (condition, validator) in [
            ("if-none-match", "etag"),
            ("if-modified-since", "last-modified"),
            ("if-range", "etag"),
        ] {
            let Some(sent) = exchange.asked.get(condition) else {
                continue;
            };
            let of_client = turn.asked.get(condition) == Some(sent);
            let of_stored = known.iter().any(|known| {
                let has = |name| known.fields.get(name) == Some(sent);
                known.target == turn.target
                    && known.ended != Some(Mode::Hard)
                    && (has(validator) || (condition == "if-range" && has("last-modified")))
            });
            if !of_client && !of_stored {
                return Err(format!(
                    "asked with {condition}: {sent:?}, which nothing stored has (4.3.1)"
                ));
            }
        }
    }
    Ok(())
}

/// 5.1: the age of what is reused, to the second.
fn check_age(known: &Known, turn: &Turn<'_>, renewed: bool) -> Result<(), String> {
    let said = text(&turn.got.fields, "age")
        .and_then(delta)
        .map(|secs| secs * SECOND);
    let Some(said) = said else {
        // Only what was not validated has to tell.
        return if renewed {
            Ok(())
        } else {
            Err("it has no Age (5.1)".to_owned())
        };
    };
    let least = known.age(turn.arrived_at as i64);
    let most = known.age(turn.answered_at as i64);
    let from_the_future = known.received_at > turn.arrived_at as i64;
    let is_right = said + 2 * SECOND > least.min(DELTA_MAX * SECOND)
        && (from_the_future || said < most + 2 * SECOND);
    if is_right {
        return Ok(());
    }
    let renewed = if renewed { "renewed, " } else { "" };
    Err(format!(
        "{renewed}Age is {} s, not {} s",
        said / SECOND,
        least / SECOND
    ))
}

/// Status, fields and bytes of an answer made from this response. `evaluates`: the cache looks at conditions and ranges.
fn check_content(
    turn: &Turn<'_>,
    status: u16,
    fields: &HeaderMap,
    evaluates: bool,
) -> Result<(), String> {
    let got = turn.got;
    for name in [
        "etag",
        "last-modified",
        "cache-control",
        "vary",
        "x-version",
        "expires",
        "content-location",
    ] {
        let (ours, theirs): (Vec<_>, Vec<_>) = (
            got.fields.get_all(name).iter().collect(),
            fields.get_all(name).iter().collect(),
        );
        if ours != theirs {
            return Err(format!("{name} is {ours:?}, not {theirs:?}"));
        }
    }
    let whole = text(fields, "x-version").map(content).unwrap_or_default();
    let is_head = *turn.method == Method::HEAD;
    if !evaluates {
        // HEAD and unsafe methods: as it came.
        let unmodified =
            is_head && got.status == 304 && condition_fails(turn.asked, fields) != Some(false);
        return match (unmodified, got.status == status) {
            (true, _) => Ok(()),
            (false, false) => Err(format!("status {}, not {status}", got.status)),
            (false, true) if is_head && !got.body.is_empty() => Err("HEAD with content".to_owned()),
            (false, true) if !is_head && status == 200 && got.body != whole => {
                Err("other bytes".to_owned())
            }
            (false, true) => Ok(()),
        };
    }
    // RFC 9110 13.2.2: conditions first.
    let failing = match status {
        200 | 206 => condition_fails(turn.asked, fields),
        // 13.2.1 speaks of these too; a whole answer is never wrong.
        201..=299 => condition_fails(turn.asked, fields).filter(|fails| !fails),
        _ => Some(false),
    };
    if got.status == 304 {
        return match failing {
            Some(false) => {
                Err("304 although the client has something else (RFC 9110 13.2.2)".to_owned())
            }
            _ if got.body.is_empty() => Ok(()),
            _ => Err("304 with content".to_owned()),
        };
    }
    if failing == Some(true) {
        return Err(format!(
            "{} although the client has it (RFC 9110 13.2.2)",
            got.status
        ));
    }
    if is_head {
        let said =
            text(&got.fields, "content-length").and_then(|length| length.parse::<usize>().ok());
        return match said {
            _ if !got.body.is_empty() => Err("HEAD with content".to_owned()),
            // A part that was put together with the rest is whole.
            _ if got.status != status && (got.status, status) != (200, 206) => {
                Err(format!("status {}, not {status}", got.status))
            }
            Some(length) if status == 200 && length != whole.len() => {
                Err("another Content-Length".to_owned())
            }
            _ => Ok(()),
        };
    }
    check_bytes(turn, status, fields, &whole)
}

/// RFC 9110 14: the bytes that were asked for, or all of them.
fn check_bytes(
    turn: &Turn<'_>,
    status: u16,
    fields: &HeaderMap,
    whole: &[u8],
) -> Result<(), String> {
    let got = turn.got;
    let range = text(turn.asked, "range").filter(|_| matches!(status, 200 | 206 | 416));
    let may_cut = text(turn.asked, "if-range").is_none_or(|wanted| {
        let strong = text(fields, "etag").filter(|etag| etag.starts_with('"'));
        strong == Some(wanted) || text(fields, "last-modified") == Some(wanted)
    });
    match got.status {
        206 if got
            .fields
            .get("content-type")
            .is_some_and(|it| it.as_bytes().starts_with(b"multipart/")) =>
        {
            check_multipart(range, &got.body, whole)
        }
        206 => {
            let said = text(&got.fields, "content-range").unwrap_or_default();
            let asked = range
                .filter(|_| may_cut)
                .and_then(first_range)
                .and_then(|range| within(range, whole.len()));
            let Some((first, last)) = asked else {
                return Err(format!("206 {said} that nobody asked for"));
            };
            if said != format!("bytes {first}-{last}/{}", whole.len()) {
                return Err(format!("Content-Range: {said} for bytes {first} to {last}"));
            }
            if got.body != whole[first..=last] {
                Err("other bytes".to_owned())
            } else {
                Ok(())
            }
        }
        416 => {
            let satisfiable = range
                .and_then(one_range)
                .and_then(|range| within(range, whole.len()));
            if range.is_none() || satisfiable.is_some() || !got.body.is_empty() {
                return Err("416 although there are such bytes (RFC 9110 15.5.17)".to_owned());
            }
            Ok(())
        }
        other if other == status || (status == 206 && other == 200) => {
            if got.body == whole {
                Ok(())
            } else {
                Err(format!(
                    "other bytes: {:?}, not {:?}",
                    String::from_utf8_lossy(&got.body),
                    String::from_utf8_lossy(whole)
                ))
            }
        }
        other => Err(format!("status {other}, not {status}")),
    }
}

/// Of one satisfiable range among several the answer may be a plain part.
fn first_range(field: &str) -> Option<(Option<usize>, Option<usize>)> {
    one_range(field)
}

fn check_multipart(range: Option<&str>, body: &[u8], whole: &[u8]) -> Result<(), String> {
    let body = String::from_utf8_lossy(body);
    let set = range
        .and_then(|range| range.strip_prefix("bytes="))
        .unwrap_or_default();
    let mut rest = &*body;
    for spec in set.split(',') {
        let Some((first, last)) =
            one_range(&format!("bytes={spec}")).and_then(|range| within(range, whole.len()))
        else {
            continue;
        };
        let head = format!(
            "Content-Range: bytes {first}-{last}/{}\r\n\r\n",
            whole.len()
        );
        let bytes = String::from_utf8_lossy(&whole[first..=last]);
        let Some((_, after)) = rest.split_once(&head) else {
            return Err(format!("no part for {spec}"));
        };
        rest = after.strip_prefix(&*bytes).ok_or("other bytes in a part")?;
    }
    if range.is_none() {
        Err("parts that nobody asked for".to_owned())
    } else {
        Ok(())
    }
}

/// Whether the client has this already (RFC 9110 13.2.2, RFC 9111 4.3.2). `None`: either answer is right.
fn condition_fails(asked: &HeaderMap, fields: &HeaderMap) -> Option<bool> {
    if asked.contains_key("if-none-match") {
        let etag = text(fields, "etag");
        return Some(
            list(asked, "if-none-match")
                .iter()
                .any(|tag| tag == "*" || etag.is_some_and(|etag| weakly_equal(tag, etag))),
        );
    }
    let Some(since) = text(asked, "if-modified-since") else {
        return Some(false);
    };
    let Some(since) = http_date(since) else {
        return Some(false);
    };
    // Where there is none, the date it was sent may stand in for it.
    let modified = text(fields, "last-modified").and_then(http_date)?;
    Some(modified <= since)
}

// --- What must be answered from the store ---

/// What the cache owes this request because of what it said that it stored.
#[derive(Clone, Copy)]
enum Must {
    Nothing,
    /// It is fresh: nobody is asked.
    Hit,
    /// It stands in for a failure.
    StandIn,
}

impl Model {
    fn must(&self, turn: &Turn<'_>) -> Must {
        let plain = ![
            "range",
            "if-match",
            "if-unmodified-since",
            "cache-control",
            "pragma",
            "authorization",
        ]
        .iter()
        .any(|name| turn.asked.contains_key(*name));
        let asks = matches!(*turn.method, Method::GET | Method::HEAD);
        let Some(sure) = self
            .known
            .iter()
            .rfind(|known| known.said_stored && known.target == turn.target)
        else {
            return Must::Nothing;
        };
        let now = turn.arrived_at as i64;
        let excused = |excused| Moment { now, excused };
        // An error without `Vary` is taken to vary as the others do.
        let is_grouped = sure.fields.contains_key("cache-groups");
        if !plain
            || !asks
            || sure.ended.is_some()
            || is_grouped
            || sure.status == 206
            || sure.status >= 400
            || sure.received_at > now
        {
            return Must::Nothing;
        }
        let age = sure.age(now);
        let Some(lifetime) = sure.lifetime(&self.rules) else {
            return Must::Nothing;
        };
        if self.not_reusable(sure, turn, &excused(false)).is_none()
            && age + SECOND < lifetime
            && self.rules.exact
        {
            return Must::Hit;
        }
        let grace = HeaderMap::new();
        let later = Turn {
            asked: &grace,
            ..*turn
        };
        let stays = |turn: &Turn<'_>| {
            let then = Moment {
                now: now + 30 * SECOND,
                excused: true,
            };
            self.not_reusable(sure, turn, &then).is_none()
        };
        if self.not_reusable(sure, turn, &excused(true)).is_none()
            && stays(&Turn {
                asked: turn.asked,
                ..later
            })
        {
            return Must::StandIn;
        }
        Must::Nothing
    }

    fn judge_must(&self, must: Must, turn: &Turn<'_>) -> Result<(), String> {
        match must {
            Must::Hit if !turn.exchanges.is_empty() => {
                Err("it was asked although a stored response is fresh".to_owned())
            }
            Must::StandIn => match turn.exchanges.last() {
                Some(last) if is_failure(&last.got) && turn.got.status >= 500 => Err(
                    "an error was answered although a stored response may stand in (4.2.4)"
                        .to_owned(),
                ),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// What is still stored for sure: what the cache said that it stored, until something else comes for its target.
    fn remember(&mut self, turn: &Turn<'_>) {
        for exchange in turn.exchanges {
            self.fetched
                .push((exchange.target.clone(), exchange.answered_at as i64));
            let is_failure = is_failure(&exchange.got);
            if !is_failure {
                let same = |known: &&mut Known| known.target == exchange.target;
                self.known
                    .iter_mut()
                    .filter(same)
                    .for_each(|known| known.said_stored = false);
            }
        }
        let said = turn.got.fields.get_all("cache-status").iter();
        let stored = said
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.contains("; stored"));
        let serial =
            text(&turn.got.fields, "x-serial").and_then(|serial| serial.parse::<u64>().ok());
        let last = turn.exchanges.last().map(|exchange| exchange.serial);
        if stored && serial.is_some() && serial == last {
            let same =
                |known: &&mut Known| Some(known.serial) == serial && known.target == turn.target;
            if let Some(known) = self.known.iter_mut().rfind(same) {
                known.said_stored = true;
            }
        }
    }
}
