//! RFC 9111, as plainly as it can be written: a list of everything the origin ever sent, and for each answer of the cache
//! the question whether it may be.
//!
//! Nothing here comes from the cache's own code. Where the RFC leaves a choice every choice is allowed; where larder
//! promises more than the RFC asks (`Set-Cookie`, `Authorization`, unreadable values) the promise is what counts. Times are
//! milliseconds; a second either way is allowed where HTTP's dates have no finer grain.

use http::{HeaderMap, Method};
use larder::cache::{Mode, What};

use crate::{
    content::{check_age, check_content, check_questions},
    fields::{SECOND, delta, list, selected_alike, text, weakly_equal},
    known::{Known, Rules, directives_of_request, named},
    world::{Exchange, Got, opaque},
};

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
            // Where the newer has no date of its own, that of the older may stand.
            let mut both = newer.clone();
            for name in older.fields.keys().filter(|name| *name != "age") {
                if !newer.fields.contains_key(name) {
                    for value in older.fields.get_all(name) {
                        both.fields.append(name, value.clone());
                    }
                }
            }
            let mut dated_anew = both.clone();
            if !newer.fields.contains_key("date") {
                dated_anew.fields.remove("date");
            }
            self.known.push(dated_anew);
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
                    let since = text(&exchange.asked, "if-modified-since");
                    // Neither has a validator: then it can only mean the one that has none.
                    let is_bare = named.is_none() && !exchange.asked.contains_key("if-none-match");
                    text(&known.fields, "last-modified") == since && (since.is_some() || is_bare)
                }
                (Some(_), None) => false,
            };
            let confirmed = match (named, text(&known.fields, "etag")) {
                (Some(named), Some(etag)) => weakly_equal(named, etag),
                (Some(named), None) => {
                    named.starts_with("W/") && known.fields.contains_key("last-modified")
                }
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
            .and_then(|()| Self::judge_must(&must, turn));
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
        // Also a while later, because fetching may take its time.
        let then = Moment {
            now: now + 30 * SECOND,
            excused: true,
        };
        let stands_in = [excused(true), then]
            .iter()
            .all(|moment| self.not_reusable(sure, turn, moment).is_none());
        if stands_in {
            return Must::StandIn;
        }
        Must::Nothing
    }

    fn judge_must(must: &Must, turn: &Turn<'_>) -> Result<(), String> {
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
            let has_its_fields = |known: &Known| {
                ["etag", "cache-control", "vary", "x-version"]
                    .iter()
                    .all(|name| known.fields.get(*name) == turn.got.fields.get(*name))
            };
            let same = |known: &&mut Known| {
                Some(known.serial) == serial && known.target == turn.target && has_its_fields(known)
            };
            if let Some(known) = self.known.iter_mut().rfind(same) {
                known.said_stored = true;
            }
        }
    }
}
