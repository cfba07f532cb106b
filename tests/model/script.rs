//! What happens in a run: steps, drawn from a seed, printed so that a person can follow them.
//!
//! A step stands for itself, so that any of them can be left out: values that depend on what came before are written as
//! words in braces (`{t+60}` a date, `{strong}` the entity tag of the moment) and filled in when the step is played.

use std::fmt;

use larder::{cache::Mode, failure::Cause};

use crate::dice::Dice;

pub type Fields = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
pub enum Step {
    /// A client asks; these answers come, one for each question that reaches the origin.
    Ask(Ask),
    /// The wall clock moves by seconds, perhaps back.
    Clock(i64),
    /// Somebody purges.
    Purge(Mode, Purged),
}

/// What is purged; paths are within the run's folder.
#[derive(Clone, Copy, Debug)]
pub enum Purged {
    All,
    Tag(&'static str),
    Url(&'static str),
    Prefix(&'static str),
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    /// Without the folder that each run has for itself.
    pub path: &'static str,
    pub fields: Fields,
    /// What the target is was changed just before.
    pub changed: bool,
    pub plays: Vec<Play>,
}

/// One answer of the origin.
#[derive(Clone, Debug)]
pub struct Play {
    pub what: What,
    /// Seconds it takes.
    pub takes: u64,
    /// Whether it looks at `Range` and `If-Range`.
    pub ranges: bool,
    pub fields: Fields,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A response with content, whatever the condition.
    Whole(u16),
    /// A 304 where the request's condition says so; else a 200.
    Evaluated,
    /// A 304 whatever was asked.
    Unmodified,
    /// No answer at all.
    Fails(Cause),
}

const PATHS: [&str; 4] = ["/a", "/a?x=1", "/b", "/c"];

const CACHE_CONTROL: &[&str] = &[
    "max-age=60",
    "max-age=60",
    "max-age=10",
    "max-age=10",
    "max-age=0",
    "max-age=3600",
    "s-maxage=30",
    "s-maxage=0",
    "no-store",
    "no-cache",
    "private",
    "public",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "stale-while-revalidate=30",
    "stale-if-error=30",
    "stale-if-error=0",
    "stale-while-revalidate=never",
    "max-age=\"60\"",
    "max-age=abc",
    "max-age=-5",
    "max-age=1.5",
    "max-age",
    "max-age=",
    "max-age=99999999999999999999",
    "s-maxage=x",
    "s-maxage=18446744073709551616",
    "MAX-AGE=60",
    "No-Store",
    "private=\"set-cookie\"",
    "no-cache=\"x-a, x-b\"",
    "foo=\"max-age=100, public\"",
    "immutable",
    "",
];

const TARGETED: &[&str] = &[
    "max-age=60",
    "max-age=5",
    "max-age=60, private",
    "no-store",
    "max-age=60, no-cache=?0",
    "max-age=\"60\"",
    "max-age=60;foo",
    "s-maxage=20, max-age=90",
    "Max-Age=60",
    "max-age=60,,no-store",
    "max-age=60, ",
    "",
    "&",
    "max-age=10, must-revalidate",
];

const WISHES: &[&str] = &[
    "no-cache",
    "no-cache",
    "no-store",
    "max-age=0",
    "max-age=5",
    "max-age=30",
    "max-stale",
    "max-stale=20",
    "min-fresh=20",
    "only-if-cached",
    "only-if-cached",
    "only-if-cached, max-stale",
    "max-age=x",
    "max-stale=x",
    "max-age=10, max-stale=20",
    "foo",
];

const RANGES: &[&str] = &[
    "bytes=0-9",
    "bytes=0-9",
    "bytes=10-19",
    "bytes=5-",
    "bytes=20-",
    "bytes=-7",
    "bytes=0-",
    "bytes=0-3,10-12",
    "bytes=9999-",
    "bytes=5-2",
    "lines=0-1",
];

/// Steps of one run.
pub fn script(dice: &mut Dice) -> Vec<Step> {
    let len = 4 + dice.below(16);
    // A run of few targets meets itself more often.
    let paths = dice.one_of(&[1, 1, 1, 2, 2, 3, PATHS.len()]);
    (0..len).map(|_| step(dice, paths)).collect()
}

fn step(dice: &mut Dice, paths: usize) -> Step {
    if dice.percent(25) {
        return Step::Clock(match dice.below(20) {
            0 => -3600,
            1 => 3600,
            2 => -(dice.below(120) as i64),
            3..=8 => dice.below(200) as i64,
            _ => dice.one_of(&[1, 5, 9, 10, 11, 29, 30, 31, 59, 60, 61, 90]),
        });
    }
    if dice.percent(6) {
        let mode = dice.one_of(&Mode::ALL);
        let path = PATHS[dice.below(paths)];
        let what = match dice.below(5) {
            0 => Purged::All,
            1 => Purged::Tag(dice.one_of(&["sku:1", "sku:2"])),
            2 => Purged::Prefix(dice.one_of(&["/a", "/a?x", "/"])),
            _ => Purged::Url(path),
        };
        return Step::Purge(mode, what);
    }
    let method = match dice.below(100) {
        0..=74 => "GET",
        75..=84 => "HEAD",
        85..=91 => "POST",
        92..=96 => "PUT",
        _ => "DELETE",
    };
    let plays = (0..3).map(|nth| play(dice, method, nth)).collect();
    Step::Ask(Ask {
        method,
        path: PATHS[dice.below(paths)],
        fields: asked(dice),
        changed: dice.percent(15),
        plays,
    })
}

fn asked(dice: &mut Dice) -> Fields {
    let mut fields = Fields::new();
    let mut add = |name, value: &str| fields.push((name, value.to_owned()));
    match dice.below(10) {
        0 => add("authorization", "Bearer alice"),
        1 => add("cookie", "session=bob"),
        _ => {}
    }
    if dice.percent(40) {
        add(
            "accept-language",
            dice.one_of(&["en", "de", "en, de", "de,en", ""]),
        );
    }
    if dice.percent(15) {
        add("x-other", dice.one_of(&["1", "2"]));
    }
    if dice.percent(20) {
        add("cache-control", dice.one_of(WISHES));
    } else if dice.percent(5) {
        add("pragma", "no-cache");
    }
    if dice.percent(18) {
        add("range", dice.one_of(RANGES));
        if dice.percent(30) {
            add(
                "if-range",
                dice.one_of(&["{strong}", "{weak}", "{old}", "{lm}"]),
            );
        }
    }
    if dice.percent(15) {
        add(
            "if-none-match",
            dice.one_of(&[
                "{strong}",
                "{weak}",
                "{old}",
                "*",
                "\"x\", {strong}",
                "\"x\"",
            ]),
        );
    }
    if dice.percent(10) {
        add(
            "if-modified-since",
            dice.one_of(&["{lm}", "{t}", "{t-200000}", "yesterday"]),
        );
    }
    if dice.percent(3) {
        add("if-match", dice.one_of(&["{strong}", "*"]));
    }
    fields
}

fn play(dice: &mut Dice, method: &str, nth: usize) -> Play {
    let what = match dice.below(100) {
        0..=36 => What::Whole(200),
        37..=71 if nth == 0 => What::Evaluated,
        72..=74 if nth == 0 => What::Unmodified,
        75..=91 => What::Whole(dice.one_of(&[
            203, 204, 206, 299, 301, 302, 403, 404, 404, 410, 500, 503, 503, 429,
        ])),
        92..=97 => What::Fails(dice.one_of(&[
            Cause::ConnectRefused,
            Cause::ConnectionTerminated,
            Cause::ResponseTimeout,
        ])),
        _ => What::Whole(200),
    };
    let mut fields = Fields::new();
    let mut add = |name, value: &str| fields.push((name, value.to_owned()));
    for _ in 0..dice.one_of(&[0, 1, 1, 1, 2, 2, 3]) {
        add("cache-control", dice.one_of(CACHE_CONTROL));
    }
    if dice.percent(8) {
        let name = dice.one_of(&["cdn-cache-control", "larder-cache-control"]);
        add(name, dice.one_of(TARGETED));
    }
    if dice.percent(25) {
        let values = [
            "{t+30}", "{t+30}", "{t+100}", "{t-30}", "0", "-1", "{t+30}x", "junk",
        ];
        add("expires", dice.one_of(&values));
        if dice.percent(10) {
            add("expires", dice.one_of(&values));
        }
    }
    if dice.percent(75) {
        add(
            "date",
            dice.one_of(&[
                "{t}", "{t}", "{t}", "{t}", "{t-5}", "{t-100}", "{t+100}", "junk",
            ]),
        );
    }
    if dice.percent(12) {
        add(
            "age",
            dice.one_of(&["0", "5", "40", "-3", "x", "5, 70", "99999999999999999999"]),
        );
    }
    if dice.percent(65) {
        let tags = [
            "{strong}", "{strong}", "{strong}", "{weak}", "{weak}", "\"odd\"",
        ];
        add("etag", dice.one_of(&tags));
    }
    if dice.percent(40) {
        add(
            "last-modified",
            dice.one_of(&["{lm}", "{lm}", "{t-86400}", "{t}", "junk"]),
        );
    }
    if dice.percent(30) {
        add(
            "vary",
            dice.one_of(&[
                "accept-language",
                "accept-language",
                "Accept-Language, X-Other",
                "x-other",
                "*",
                "",
            ]),
        );
    }
    if dice.percent(20) {
        add(
            "cache-tag",
            dice.one_of(&["sku:1", "sku:2", "sku:1, sku:2"]),
        );
    }
    if dice.percent(10) {
        add(
            "cache-groups",
            dice.one_of(&["\"one\"", "\"two\"", "\"one\", \"two\""]),
        );
    }
    if dice.percent(if method == "GET" { 2 } else { 20 }) {
        add(
            "cache-group-invalidation",
            dice.one_of(&["\"one\"", "\"two\""]),
        );
    }
    if dice.percent(8) {
        add("set-cookie", "session=for-one");
    }
    if dice.percent(if method == "GET" { 4 } else { 45 }) {
        let name = dice.one_of(&["location", "content-location"]);
        add(
            name,
            dice.one_of(&[
                "{base}/a",
                "{base}/b",
                "http://shop.example{base}/b",
                "http://other.example{base}/b",
                "http://other.example{base}/a",
                "{self}",
                "b",
            ]),
        );
    }
    Play {
        what,
        takes: if dice.percent(10) {
            1 + dice.below(20) as u64
        } else {
            0
        },
        ranges: dice.percent(80),
        fields,
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(secs) => write!(f, "clock {secs:+} s"),
            Self::Purge(mode, what) => write!(f, "purge {} {what:?}", mode.as_str()),
            Self::Ask(ask) => {
                let changed = if ask.changed { " (changed)" } else { "" };
                write!(f, "{} {}{changed}", ask.method, ask.path)?;
                write_fields(f, &ask.fields)?;
                for play in &ask.plays {
                    write!(f, "\n      -> {:?}", play.what)?;
                    if play.takes > 0 {
                        write!(f, " after {} s", play.takes)?;
                    }
                    if !play.ranges {
                        f.write_str(" no ranges")?;
                    }
                    write_fields(f, &play.fields)?;
                }
                Ok(())
            }
        }
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &Fields) -> fmt::Result {
    fields
        .iter()
        .try_for_each(|(name, value)| write!(f, " | {name}: {value}"))
}

/// The same steps with one thing less each, the largest first.
pub fn smaller(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for at in 0..steps.len() {
        let mut fewer = steps.to_vec();
        fewer.remove(at);
        all.push(fewer);
    }
    let mut with = |at: usize, ask: Ask| {
        let mut fewer = steps.to_vec();
        fewer[at] = Step::Ask(ask);
        all.push(fewer);
    };
    for (at, step) in steps.iter().enumerate() {
        let Step::Ask(ask) = step else { continue };
        for nth in 0..ask.fields.len() {
            let mut less = ask.clone();
            less.fields.remove(nth);
            with(at, less);
        }
        for nth in 0..ask.plays.len() {
            let mut less = ask.clone();
            less.plays.remove(nth);
            with(at, less);
            for field in 0..ask.plays[nth].fields.len() {
                let mut less = ask.clone();
                less.plays[nth].fields.remove(field);
                with(at, less);
            }
            if ask.plays[nth].takes > 0 {
                let mut less = ask.clone();
                less.plays[nth].takes = 0;
                with(at, less);
            }
        }
        if ask.changed {
            let mut less = ask.clone();
            less.changed = false;
            with(at, less);
        }
    }
    all
}
