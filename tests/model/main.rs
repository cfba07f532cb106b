//! The cache against a naive model of RFC 9111: random requests, responses, failures, purges and clocks, thousands of runs.
//!
//! Every run is drawn from a seed. One that goes wrong is cut down to the steps that matter and printed with its seed;
//! `LARDER_SEED=N cargo test --test model` plays it again, `LARDER_LONG=1` plays twenty times as many.

#![allow(unreachable_pub, reason = "modules of one binary")]

mod content;
mod dice;
mod fields;
mod found;
mod known;
mod privacy;
mod rules;
mod script;
mod world;

use std::{env, fmt::Write};

use http::request::Parts;
use larder::clock::Timestamp;

use self::{
    dice::Dice,
    known::Rules,
    rules::{Model, Seen, Turn},
    script::Step,
    world::{Exchange, Got, World},
};

/// Runs of one policy.
const RUNS: u64 = 750;
/// Attempts to make a run that goes wrong smaller.
const CUTS_MAX: usize = 4000;

/// What went wrong, and what had happened until then.
struct Wrong {
    why: String,
    story: String,
}

/// Plays these steps. `tells`: with a story of it, which takes longer than the playing.
async fn play(
    world: &mut World,
    model: &mut Model,
    steps: &[Step],
    tells: bool,
) -> Result<(), Wrong> {
    world.begin();
    model.begin();
    let mut story = String::new();
    for step in steps {
        match step {
            Step::Clock(secs) => {
                let now = world.now().saturating_add_signed(secs * 1000);
                world.clock.set(Timestamp::from_millis(now));
                let _ = writeln!(story, "  clock {secs:+} s");
            }
            Step::Purge(mode, purged) => {
                let what = world.purge(*mode, *purged);
                let _ = writeln!(story, "  purge {} {what:?}", mode.as_str());
                model.purge(*mode, &what);
            }
            Step::Ask(ask) => {
                let arrived_at = world.now();
                let request = world.request(ask);
                let (parts, body) = request.into_parts();
                let again = http::Request::from_parts(parts.clone(), body);
                let (got, exchanges, answered_at) = world.ask(again).await;
                if tells {
                    tell(&mut story, &parts, &got, &exchanges);
                }
                let target = parts.uri.to_string();
                let turn = Turn {
                    method: &parts.method,
                    target: &target,
                    asked: &parts.headers,
                    arrived_at,
                    answered_at,
                    exchanges: &exchanges,
                    got: &got,
                };
                model.judge(&turn).map_err(|why| Wrong {
                    why,
                    story: story.clone(),
                })?;
            }
        }
    }
    Ok(())
}

fn tell(story: &mut String, parts: &Parts, got: &Got, exchanges: &[Exchange]) {
    let fields = |fields: &http::HeaderMap| {
        let mut text = String::new();
        for (name, value) in fields {
            let _ = write!(
                text,
                " | {name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            );
        }
        text
    };
    let _ = writeln!(
        story,
        "  {} {}{}",
        parts.method,
        parts.uri,
        fields(&parts.headers)
    );
    for exchange in exchanges {
        let _ = writeln!(
            story,
            "    origin, {}..{} ms: {} {}{}",
            exchange.asked_at,
            exchange.answered_at,
            exchange.method,
            exchange.target,
            fields(&exchange.asked)
        );
        let _ = match &exchange.got {
            Ok(got) => writeln!(story, "      {}{}", got.status, fields(&got.fields)),
            Err(cause) => writeln!(story, "      {cause:?}"),
        };
    }
    let _ = writeln!(story, "    answer: {}{}", got.status, fields(&got.fields));
}

/// Takes away what can be taken away while it still goes wrong.
async fn cut_down(
    world: &mut World,
    model: &mut Model,
    mut steps: Vec<Step>,
) -> (Vec<Step>, Wrong) {
    let mut cuts = 0;
    'again: loop {
        for smaller in script::smaller(&steps) {
            cuts += 1;
            if cuts > CUTS_MAX {
                break 'again;
            }
            if play(world, model, &smaller, false).await.is_err() {
                steps = smaller;
                continue 'again;
            }
        }
        break;
    }
    let wrong = play(world, model, &steps, true).await;
    (steps, wrong.expect_err("it goes wrong each time"))
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// Plays many runs under a policy; the seeds differ from day to day only if somebody says so.
async fn holds(policy: &str, rules: Rules) {
    let mut world = World::new(policy);
    let mut model = Model::new(rules);
    let runs = if env::var_os("LARDER_LONG").is_some() {
        20 * RUNS
    } else {
        RUNS
    };
    let seeds = match number("LARDER_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("LARDER_FIRST").unwrap_or_default();
            first..first + runs
        }
    };
    let single = seeds.end - seeds.start == 1;
    let mut seen = Seen::default();
    for seed in seeds {
        let steps = script::script(&mut Dice::new(seed));
        if play(&mut world, &mut model, &steps, false).await.is_err() {
            let (steps, wrong) = cut_down(&mut world, &mut model, steps).await;
            let steps: String = steps.iter().map(|step| format!("    {step}\n")).collect();
            panic!(
                "seed {seed}: {}\n  these steps suffice:\n{steps}  what happens:\n{}",
                wrong.why, wrong.story
            );
        }
        seen.add(std::mem::take(&mut model.seen));
    }
    println!("{seen:?}");
    assert!(
        single
            || [
                seen.hits,
                seen.stale,
                seen.renewed,
                seen.parts,
                seen.unmodified,
                seen.forwarded,
                seen.refused
            ]
            .iter()
            .all(|count| *count >= 20),
        "runs that show nothing prove nothing: {seen:?}"
    );
}

/// As near to the RFC as a policy gets: nothing is answered stale but in an outage, lifetimes hold to the second.
const PLAIN: &str = "stale_while_revalidate = \"0s\"\nstale_after = \"1h\"\nspread_percent = 0\nearly = false\ncool_down = \"0s\"\n";

#[tokio::test(start_paused = true)]
async fn the_plain_policy_does_what_rfc9111_allows() {
    holds(PLAIN, Rules::plain()).await;
}

#[tokio::test(start_paused = true)]
async fn guessed_lifetimes_stay_within_rfc9111_4_2_2() {
    let policy = format!("{PLAIN}heuristic_percent = 10\n");
    let rules = Rules {
        heuristic_percent: 10,
        ..Rules::plain()
    };
    holds(&policy, rules).await;
}

#[tokio::test(start_paused = true)]
async fn stale_answers_end_where_rfc5861_and_the_policy_say() {
    let policy = "stale_while_revalidate = \"20s\"\nmax_stale = \"40s\"\n";
    let rules = Rules {
        while_revalidate: 20,
        max_stale: 40,
        rest: 750,
        ..Rules::default()
    };
    holds(policy, rules).await;
}

#[tokio::test(start_paused = true)]
async fn an_overriding_policy_departs_only_where_it_says_so() {
    let policy = "override = true\nfresh = \"30s\"\nstale_while_revalidate = \"10s\"\nmax_stale = \"1h\"\n\
                  cool_down = \"0s\"\nspread_percent = 0\nearly = false\n";
    let rules = Rules {
        overrides: true,
        fresh: Some(30),
        while_revalidate: 10,
        max_stale: 3600,
        exact: true,
        ..Rules::default()
    };
    holds(policy, rules).await;
}
