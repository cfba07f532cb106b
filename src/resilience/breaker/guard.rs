//! Admission by one breaker or two, and the guard that brings every ticket back.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::Instant;

use super::{Generation, Outcome, Refused, Ticket, shared::Shared};
use crate::{
    failure::{Cause, Failure, Sent},
    http::Response,
    resilience::Progress,
};

/// A ticket of one breaker.
struct Held {
    shared: Arc<Shared>,
    ticket: Ticket,
}

/// Tickets that find their way back.
pub(super) struct Guard {
    /// Of the route's breaker, if it has one, and of the upstream's.
    held: [Option<Held>; 2],
    admitted_at: Instant,
    /// The latency budget.
    slow_after: Duration,
    progress: Option<Progress>,
    /// How long the client had been waited for by then: what it takes to send its content is not the upstream's slowness.
    waited: Duration,
}

/// Leave to make one call, of both breakers or of none. `slow_after`: the latency budget, the upstream's own without one.
pub(super) fn try_admit(
    route: Option<&Arc<Shared>>,
    upstream: &Arc<Shared>,
    slow_after: Option<Duration>,
    progress: Option<Progress>,
) -> Result<Guard, Refused> {
    let now = Instant::now();
    let held = match route {
        None => [None, Some(admitted(upstream, now)?)],
        Some(route) => admitted_by_both(route, upstream, now)?.map(Some),
    };
    Ok(Guard {
        held,
        admitted_at: now,
        slow_after: slow_after.unwrap_or(upstream.config.slow_after),
        waited: waited_for_client(progress.as_ref()),
        progress,
    })
}

fn admitted(shared: &Arc<Shared>, now: Instant) -> Result<Held, Refused> {
    let mut state = shared.state();
    let (ticket, change) = state.try_admit(now);
    shared.mirror(&state, change);
    drop(state);
    shared.tell(change);
    Ok(Held {
        ticket: ticket?,
        shared: Arc::clone(shared),
    })
}

/// Both locks are held, so that nobody can take the second one's last slot after the first one's was taken.
fn admitted_by_both(
    route: &Arc<Shared>,
    upstream: &Arc<Shared>,
    now: Instant,
) -> Result<[Held; 2], Refused> {
    let (mut first, mut second) = (route.state(), upstream.state());
    let refusals = [first.refusal(now), second.refusal(now)];
    let longest = refusals.iter().flatten().map(|refused| refused.retry_after);
    if let Some(retry_after) = longest.max() {
        return Err(Refused { retry_after });
    }
    // Neither refuses, so both admit: this is no more than their changes, made known.
    let taken = [first.try_admit(now), second.try_admit(now)];
    route.mirror(&first, taken[0].1);
    upstream.mirror(&second, taken[1].1);
    drop((first, second));
    let [(first, first_change), (second, second_change)] = taken;
    route.tell(first_change);
    upstream.tell(second_change);
    let hold = |shared: &Arc<Shared>, ticket| Held {
        shared: Arc::clone(shared),
        ticket,
    };
    Ok([hold(route, first?), hold(upstream, second?)])
}

fn waited_for_client(progress: Option<&Progress>) -> Duration {
    progress.map_or(Duration::ZERO, Progress::waited_for_client)
}

impl Guard {
    /// Brings the tickets back with what became of the call.
    pub(super) fn finish(mut self, result: &Result<Response, Failure>) -> Streams {
        let streams = Streams(std::array::from_fn(|index| {
            let held = self.held[index].as_ref()?;
            Some((Arc::clone(&held.shared), held.ticket.generation()))
        }));
        self.give_back(|guard, retry_after_max| {
            let waited = waited_for_client(guard.progress.as_ref()).saturating_sub(guard.waited);
            let took = guard.admitted_at.elapsed().saturating_sub(waited);
            let is_slow = took >= guard.slow_after;
            outcome(result, is_slow, retry_after_max)
        });
        streams
    }

    fn give_back(&mut self, outcome: impl FnOnce(&Self, Duration) -> Outcome) {
        let upstream = self.held.iter().flatten().next_back();
        let Some(retry_after_max) = upstream.map(|held| held.shared.upstream.retry_after_max)
        else {
            return;
        };
        let outcome = outcome(self, retry_after_max);
        for held in &mut self.held {
            if let Some(Held { shared, ticket }) = held.take() {
                shared.finish(ticket, outcome);
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.give_back(|guard, _| {
            // Cut off by the deadline: the upstream did not answer in time. Given up before: nothing was learnt.
            let is_expired = guard.progress.as_ref().is_some_and(|progress| {
                Instant::now() >= progress.deadline() && !progress.upload().waits_for_client()
            });
            match is_expired {
                true => Outcome::Failure {
                    slow: true,
                    run: true,
                    retry_after: None,
                },
                false => Outcome::Unknown,
            }
        });
    }
}

fn outcome(
    result: &Result<Response, Failure>,
    is_slow: bool,
    retry_after_max: Duration,
) -> Outcome {
    match result {
        Ok(_) => Outcome::Success { slow: is_slow },
        // Ejection deals with that; the upstream is not to be left alone for it.
        Err(failure) if failure.is_of_one_endpoint() => Outcome::Unknown,
        // What it said was of no use, but it said it.
        Err(failure) if failure.is_excused() => Outcome::Success { slow: is_slow },
        Err(failure) if failure.cause().is_upstream() => Outcome::Failure {
            slow: is_slow || hung(failure.cause()),
            // A run of these may be one client's doing; their share in the window is not.
            run: !matches!(
                failure.cause(),
                Cause::Status(StatusCode::TOO_MANY_REQUESTS)
                    | Cause::GraphqlErrors
                    | Cause::Contract(_)
            ),
            retry_after: failure
                .retry_after()
                .map(|asked| asked.min(retry_after_max)),
        },
        Err(failure) if failure.sent() == Sent::Nothing => Outcome::NotAsked,
        Err(_) => Outcome::Unknown,
    }
}

/// It took as long as it was given, however short that was.
fn hung(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ConnectTimeout | Cause::ResponseTimeout | Cause::BodyTimeout | Cause::Deadline
    )
}

// --- Streams ---

/// The breakers that counted a response as a success at its head, should its body break.
pub(super) struct Streams([Option<(Arc<Shared>, Generation)>; 2]);

impl Streams {
    pub(super) fn broke(&self) {
        for (shared, admitted_in) in self.0.iter().flatten() {
            shared.body_broke(*admitted_in);
        }
    }
}
