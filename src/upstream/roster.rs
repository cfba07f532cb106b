//! Roster: all endpoints of one upstream, and which of them an attempt goes to.
//!
//! Pure: times, loads and chance are arguments. The shell is [`super::balance`].
//!
//! - A group (`priority`) is used only while every endpoint of the groups before it is out: ejected, unhealthy, or not
//!   connected to. One that comes back takes its traffic over from the group that stood in.
//! - Within a group: the less loaded of two drawn at random. Of one that fails the load says nothing, since it may fail
//!   quickly: against it chance decides.
//! - A retry or a hedge takes the endpoint of the attempt before for out.
//! - An endpoint in its slow start is out for the share of the traffic that it does not take yet.
//!
//! # Invariants
//!
//! - An attempt always goes somewhere. Where the rules leave nobody, all count (panic): it goes to the one that would be
//!   back soonest.
//! - Ejection leaves at least one endpoint in, over all groups. Of a group in whose place nobody stands by, failures eject
//!   at most `percent_max` (but one may always go): the others could not carry its load. One that cannot be connected to
//!   carries nothing, so it counts for the first of these rules only.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ejection::{Ejected, Outcome, Phase, Standing},
    health::{Health, HealthChange},
    slow_start,
};
use crate::config::EjectionConfig;

/// What the roster goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) ejection: EjectionConfig,
    pub(super) slow_start: Duration,
    /// Checks in a row that make an endpoint unhealthy, and healthy again.
    pub(super) unhealthy_after: u32,
    pub(super) healthy_after: u32,
}

/// The endpoints of one upstream, in the order of its config.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    members: Vec<Member>,
    rules: Rules,
}

#[derive(Clone, Debug)]
struct Member {
    priority: u32,
    standing: Standing,
    health: Health,
}

/// Leave for one attempt at one endpoint. Comes back through [`Roster::finish`], whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) index: usize,
    standing: super::ejection::Ticket,
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Ejected(Ejected),
    Health(HealthChange),
}

/// How an endpoint is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Asked as usual.
    Up,
    /// Coming back: tried by one call at a time, then by a growing share.
    SlowStart,
    /// Well, and not asked because a group before it is.
    Standby,
    /// Out of the choice after failures.
    Ejected,
    /// Out of the choice because its health checks fail.
    Unhealthy,
}

impl EndpointState {
    /// The word for it in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::SlowStart => "slow_start",
            Self::Standby => "standby",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The number that stands for it in the metrics, 0 for up to 4 for unhealthy.
    pub const fn as_number(self) -> u8 {
        self as u8
    }
}

impl Roster {
    /// Endpoints of these priorities, all of them well; at least one.
    pub(super) fn new(priorities: impl IntoIterator<Item = u32>, rules: Rules) -> Self {
        let member = |priority| Member {
            priority,
            standing: Standing::default(),
            health: Health::default(),
        };
        Self {
            members: priorities.into_iter().map(member).collect(),
            rules,
        }
    }

    /// Where an attempt goes that should rather not go to `avoid`. `cost` is an endpoint's load, `draw` draws evenly from
    /// 0 up to 1.
    pub(super) fn choose<C: PartialOrd>(
        &mut self,
        avoid: Option<usize>,
        now: Instant,
        cost: impl Fn(usize) -> C,
        draw: &mut impl FnMut() -> f64,
    ) -> Ticket {
        let candidates = self.candidates(avoid, now, draw);
        let index = self.of_two(&candidates, cost, draw);
        Ticket {
            index,
            standing: self.members[index].standing.begin(now),
        }
    }

    /// From whom to draw, never nobody.
    fn candidates(
        &self,
        avoid: Option<usize>,
        now: Instant,
        draw: &mut impl FnMut() -> f64,
    ) -> Vec<usize> {
        let eligible = self.eligible(now);
        // All that are in are in only because somebody has to be: then they are no better than the others.
        let is_kept = |index: &usize| self.is_kept(*index, now);
        if eligible.iter().all(is_kept) {
            return self.panic(now);
        }
        let others = |index: &usize| Some(*index) != avoid;
        let others: Vec<usize> = eligible.iter().copied().filter(others).collect();
        let full: Vec<usize> = (others.iter().copied())
            .filter(|index| {
                let weight = self.weight(*index, now);
                weight >= 1.0 || draw() < weight
            })
            .collect();
        // A share that nobody else takes is taken all the same.
        [full, others, eligible]
            .into_iter()
            .map(|some| self.first_group(some))
            .find(|group| !group.is_empty())
            .unwrap_or_else(|| self.panic(now))
    }

    /// In the choice, whatever their group.
    fn eligible(&self, now: Instant) -> Vec<usize> {
        let is_in = |index: &usize| self.members[*index].is_in(now);
        (0..self.members.len()).filter(is_in).collect()
    }

    fn is_kept(&self, index: usize, now: Instant) -> bool {
        matches!(self.members[index].standing.phase(now), Phase::Kept { .. })
    }

    /// Those of `some` that go before all others of them.
    fn first_group(&self, mut some: Vec<usize>) -> Vec<usize> {
        let priority = |index: &usize| self.members[*index].priority;
        let first = some.iter().map(priority).min();
        some.retain(|index| Some(priority(index)) == first);
        some
    }

    /// Those that would be back soonest.
    fn panic(&self, now: Instant) -> Vec<usize> {
        let back_at = |index: &usize| match self.members[*index].standing.phase(now) {
            Phase::Out { until } | Phase::Kept { until } => until,
            Phase::In | Phase::Returning { .. } => now,
        };
        let all = 0..self.members.len();
        let soonest = all.clone().map(|index| back_at(&index)).min();
        self.first_group(
            all.filter(|index| Some(back_at(index)) == soonest)
                .collect(),
        )
    }

    fn of_two<C: PartialOrd>(
        &self,
        candidates: &[usize],
        cost: impl Fn(usize) -> C,
        draw: &mut impl FnMut() -> f64,
    ) -> usize {
        if let [only] = candidates {
            return *only;
        }
        let (one, other) = draw_two(candidates.len(), draw(), draw());
        let (one, other) = (candidates[one], candidates[other]);
        let is_failing = |index: usize| self.members[index].standing.is_failing();
        let other_wins = if is_failing(one) || is_failing(other) {
            draw() < 0.5
        } else {
            cost(other) < cost(one)
        };
        if other_wins { other } else { one }
    }

    fn weight(&self, index: usize, now: Instant) -> f64 {
        slow_start::weight(
            self.members[index].standing.back_for(now),
            self.rules.slow_start,
        )
    }

    /// Tried by one call at a time, or by less than its share.
    fn is_coming_back(&self, index: usize, now: Instant) -> bool {
        let phase = self.members[index].standing.phase(now);
        matches!(phase, Phase::Returning { .. }) || self.weight(index, now) < 1.0
    }

    /// An attempt ends. `jitter` is from 0 to 1.
    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
        jitter: f64,
    ) -> Option<Change> {
        let rules = self.rules.ejection;
        // Nobody can be left out where there is nobody else.
        if !rules.enabled || self.members.len() == 1 {
            return None;
        }
        let may_go = match outcome {
            Outcome::Unreachable => self.others_in(ticket.index, now),
            Outcome::Failed => self.may_go(ticket.index, now),
            Outcome::Well | Outcome::Begun | Outcome::Unknown => false,
        };
        let standing = &mut self.members[ticket.index].standing;
        standing
            .finish(ticket.standing, outcome, may_go, &rules, now, jitter)
            .map(Change::Ejected)
    }

    /// Whether another endpoint would be asked next that has not failed of late.
    pub(super) fn others_well(&self, index: usize, now: Instant) -> bool {
        let is_well = |other: usize| other != index && !self.members[other].standing.is_failing();
        self.rules.ejection.enabled && self.eligible(now).into_iter().any(is_well)
    }

    fn others_in(&self, index: usize, now: Instant) -> bool {
        let eligible = self.eligible(now);
        eligible.into_iter().any(|other| other != index)
    }

    fn may_go(&self, index: usize, now: Instant) -> bool {
        if !self.others_in(index, now) {
            return false;
        }
        let priority = self.members[index].priority;
        let stands_by =
            |other: usize| self.members[other].priority > priority && !self.is_kept(other, now);
        if self.eligible(now).into_iter().any(stands_by) {
            return true;
        }
        let mates = (0..self.members.len()).filter(|at| self.members[*at].priority == priority);
        let size = mates.clone().count();
        let out = mates.filter(|at| *at != index && self.members[*at].standing.is_ejected());
        let most = (size * self.rules.ejection.percent_max as usize / 100).max(1);
        out.count() < most
    }

    /// A health check of the endpoint at `index` ended.
    pub(super) fn checked(&mut self, index: usize, passed: bool, now: Instant) -> Option<Change> {
        let (rules, member) = (self.rules, &mut self.members[index]);
        if passed {
            member.standing.reached(now);
        }
        let change = member
            .health
            .checked(passed, rules.unhealthy_after, rules.healthy_after)?;
        if change == HealthChange::Healthy {
            member.standing.back(now);
        }
        Some(Change::Health(change))
    }

    /// How each is doing.
    pub(super) fn states(&self, now: Instant) -> Vec<EndpointState> {
        let active = self.first_group(self.eligible(now));
        let active = active.first().map(|index| self.members[*index].priority);
        let state = |(index, member): (usize, &Member)| {
            if member.health.is_unhealthy() {
                EndpointState::Unhealthy
            } else if let Phase::Out { .. } = member.standing.phase(now) {
                EndpointState::Ejected
            } else if self.is_coming_back(index, now) {
                EndpointState::SlowStart
            } else if active.is_some_and(|active| active < member.priority) {
                EndpointState::Standby
            } else {
                EndpointState::Up
            }
        };
        self.members.iter().enumerate().map(state).collect()
    }

    /// Ejections of each since start.
    pub(super) fn ejections(&self) -> Vec<u64> {
        let ejections = |member: &Member| member.standing.ejections();
        self.members.iter().map(ejections).collect()
    }
}

impl Member {
    /// In the choice by what its checks and its calls say.
    fn is_in(&self, now: Instant) -> bool {
        !self.health.is_unhealthy()
            && matches!(
                self.standing.phase(now),
                Phase::In | Phase::Kept { .. } | Phase::Returning { tried: false }
            )
    }
}

/// Two places of `len`, drawn evenly, different where there are two.
fn draw_two(len: usize, first: f64, second: f64) -> (usize, usize) {
    let place = |drawn: f64, len: usize| ((drawn * len as f64) as usize).min(len.saturating_sub(1));
    let one = place(first, len);
    if len < 2 {
        return (one, one);
    }
    let other = place(second, len - 1);
    (one, if other >= one { other + 1 } else { other })
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
