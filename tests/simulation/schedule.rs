//! When which vendor is ill, and how: drawn from a seed before anything happens.

use std::fmt;

use crate::dice::Dice;

/// One way to be ill. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are refused.
    Refuse,
    /// Connections are never made.
    ConnectHang,
    /// The connection is reset once the request is read.
    Reset,
    /// It is closed then.
    Close,
    /// It is reset in the middle of the body.
    ResetInBody,
    /// It is closed in the middle of the body.
    Truncate,
    /// Nothing is answered.
    Hang,
    /// The head takes this long.
    SlowHead(u64),
    /// The body comes in pieces, this long apart.
    Drip(u64),
    /// The head stops after this many bytes, and nothing more comes.
    HalfHead(usize),
    /// What comes is no HTTP.
    Garbage,
    /// This status, with this many seconds of `Retry-After`.
    Status(u16, Option<u64>),
    /// The same, but an answer that looks as if it could be stored.
    StorableStatus(u16),
    /// Well and 503 by turns, each this long.
    Flap(u64),
    /// Everything takes this much longer.
    Latency(u64),
}

impl Fault {
    /// Whether it keeps any usable answer from coming, for as long as it strikes everything.
    pub fn is_total(self) -> bool {
        !matches!(
            self,
            Self::SlowHead(_) | Self::Drip(_) | Self::Flap(_) | Self::Latency(_)
        )
    }

    /// Whether connections that are open end with its beginning.
    pub fn cuts(self) -> bool {
        matches!(
            self,
            Self::Refuse | Self::ConnectHang | Self::Reset | Self::Close | Self::Garbage
        )
    }
}

/// A time of illness.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// Which vendor.
    pub upstream: usize,
    /// Which of its endpoints; `None`: all.
    pub endpoint: Option<usize>,
    /// Milliseconds after the start.
    pub from: u64,
    pub until: u64,
    pub fault: Fault,
    /// How many of a hundred requests it strikes.
    pub percent: u64,
}

impl Spell {
    fn holds(&self, upstream: usize, endpoint: usize, at: u64) -> bool {
        self.upstream == upstream
            && self.endpoint.is_none_or(|only| only == endpoint)
            && self.from <= at
            && at < self.until
    }

    fn is_total(&self) -> bool {
        self.endpoint.is_none() && self.percent == 100 && self.fault.is_total()
    }
}

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            upstream,
            endpoint,
            from,
            until,
            fault,
            percent,
        } = self;
        let endpoint = endpoint.map(|it| format!(".{it}")).unwrap_or_default();
        let name = crate::world::UPSTREAMS[*upstream];
        let (from, until) = (*from as f64 / 1e3, *until as f64 / 1e3);
        write!(
            f,
            "{name}{endpoint} {from:.3}..{until:.3} s: {fault:?}, {percent} %"
        )
    }
}

/// All illnesses of a run.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    pub spells: Vec<Spell>,
}

impl Schedule {
    /// Illnesses of every vendor until `end`.
    pub fn draw(dice: &mut Dice, upstreams: usize, end: u64) -> Self {
        let mut spells = Vec::new();
        for upstream in 0..upstreams {
            let mut at = between(dice, 5_000, 40_000);
            while at < end {
                let spell = spell(dice, upstream, at, end);
                spells.push(spell);
                // Now and then a second one on top.
                if dice.percent(30) {
                    let late = at + between(dice, 0, spell.until - spell.from + 1);
                    spells.push(self::spell(dice, upstream, late, end));
                }
                at = spell.until + healthy(dice);
            }
        }
        spells.retain(|spell| spell.from < spell.until);
        spells.sort_by_key(|spell| (spell.from, spell.upstream));
        Self { spells }
    }

    /// What may strike this endpoint of a vendor now.
    pub fn now(&self, upstream: usize, endpoint: usize, at: u64) -> impl Iterator<Item = &Spell> {
        self.spells
            .iter()
            .filter(move |spell| spell.holds(upstream, endpoint, at))
    }

    /// Whether nothing was wrong with this vendor in this time.
    pub fn is_well(&self, upstream: usize, from: u64, until: u64) -> bool {
        !self
            .spells
            .iter()
            .any(|spell| spell.upstream == upstream && spell.from <= until && from < spell.until)
    }

    /// Whether this vendor gave nothing usable at any moment of this time.
    pub fn is_out(&self, upstream: usize, from: u64, until: u64) -> bool {
        let mut covered = from;
        for spell in &self.spells {
            if spell.upstream == upstream && spell.is_total() && spell.from <= covered {
                covered = covered.max(spell.until);
            }
        }
        covered >= until
    }
}

/// From `low` to `high`, the latter not included.
pub fn between(dice: &mut Dice, low: u64, high: u64) -> u64 {
    low + dice.next() % (high - low).max(1)
}

fn healthy(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => between(dice, 500, 5_000),
        1 => between(dice, 5_000, 30_000),
        _ => between(dice, 30_000, 150_000),
    }
}

fn spell(dice: &mut Dice, upstream: usize, from: u64, end: u64) -> Spell {
    let lasts = match dice.below(6) {
        0 => between(dice, 100, 1_000),
        1 | 2 => between(dice, 1_000, 10_000),
        3 | 4 => between(dice, 10_000, 60_000),
        _ => between(dice, 60_000, 200_000),
    };
    let fault = fault(dice);
    let percent = dice.one_of(&[100, 100, 100, 60, 25]);
    let endpoint = dice
        .percent(30)
        .then(|| dice.below(crate::world::ENDPOINTS));
    Spell {
        upstream,
        endpoint,
        from,
        until: (from + lasts).min(end),
        fault,
        percent,
    }
}

fn fault(dice: &mut Dice) -> Fault {
    let retry_after = |dice: &mut Dice| dice.percent(50).then(|| between(dice, 1, 20));
    match dice.below(20) {
        0 | 1 => Fault::Refuse,
        2 => Fault::ConnectHang,
        3 => Fault::Reset,
        4 => Fault::Close,
        5 => Fault::ResetInBody,
        6 => Fault::Truncate,
        7 | 8 => Fault::Hang,
        9 => Fault::SlowHead(between(dice, 200, 4_000)),
        10 => Fault::Drip(between(dice, 20, 800)),
        11 => Fault::HalfHead(dice.one_of(&[1, 9, 30])),
        12 => Fault::Garbage,
        13 | 14 => Fault::Status(503, retry_after(dice)),
        15 => Fault::Status(500, None),
        16 => Fault::Status(429, retry_after(dice)),
        17 => Fault::StorableStatus(dice.one_of(&[500, 503])),
        18 => Fault::Flap(between(dice, 500, 4_000)),
        _ => Fault::Latency(between(dice, 50, 1_500)),
    }
}
