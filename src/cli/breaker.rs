//! `larder breaker`: how the breakers of a running proxy stand, and one moved by hand.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    CliError,
    admin_client::{AdminArgs, AdminClient},
};
use crate::{admin::BreakerAction, clock::Clock};

const PATH: &str = "/api/v1/breakers";

/// Arguments of `larder breaker`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "larder breaker [OPTIONS] [list]\n       larder breaker [OPTIONS] NAME [open|close|isolate]",
    after_help = "larder breaker                    every breaker: phase, since when, why, what it counted\n\
                  larder breaker pricing isolate    the vendor is not asked until the breaker is closed by hand\n\
                  larder breaker pricing close      asked as usual again, counters at zero\n\
                  larder breaker pricing open       as if it had tripped: probes find out when to close it\n\n\
                  What is moved by hand is not kept over a restart of the proxy. Meanwhile stored answers are served, as in \
                  any outage."
)]
pub(super) struct BreakerArgs {
    #[command(flatten)]
    pub proxy: AdminArgs,
    /// An upstream, or a route that has a breaker of its own; without it (or `list`) all are shown
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// What to do with it; without it, it is shown
    #[arg(value_name = "ACTION", value_enum, requires = "name")]
    pub action: Option<ActionArg>,
    /// NAME is a route, also where an upstream has that name
    #[arg(long, requires = "name")]
    pub route: bool,
    /// Print what the proxy answers, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ActionArg {
    /// As if it had tripped: probes find out when to close it
    Open,
    /// Ask as usual from now on
    Close,
    /// Do not ask until it is closed by hand
    Isolate,
}

impl ActionArg {
    fn in_api(self) -> BreakerAction {
        match self {
            Self::Open => BreakerAction::Open,
            Self::Close => BreakerAction::Close,
            Self::Isolate => BreakerAction::Isolate,
        }
    }
}

/// Shows breakers, or moves one and shows how it stands then.
///
/// # Errors
///
/// [`CliError::Setup`] where it is not clear which breaker is meant or where the proxy is; else [`CliError::Failed`].
pub(super) fn run(args: &BreakerArgs) -> Result<(), CliError> {
    let client = args.proxy.client()?;
    let named = args
        .name
        .as_deref()
        .filter(|name| args.action.is_some() || args.route || *name != "list");
    let Some(name) = named else {
        let listed = client.get(PATH)?;
        show(args.json, &listed, breakers(&listed));
        return Ok(());
    };
    let listed = client.get(PATH)?;
    let (kind, found) = find(breakers(&listed), name, args.route)?;
    let breaker = match args.action {
        None => found.clone(),
        Some(action) => moved(&client, kind, name, action)?,
    };
    show(args.json, &breaker, std::slice::from_ref(&breaker));
    Ok(())
}

fn moved(
    client: &AdminClient,
    kind: &str,
    name: &str,
    action: ActionArg,
) -> Result<Value, CliError> {
    client.post(PATH, &json!({ kind: name, "action": action.in_api() }))
}

fn breakers(listed: &Value) -> &[Value] {
    listed["breakers"].as_array().map_or(&[], Vec::as_slice)
}

/// The breaker of this name, and what the API calls whose it is.
fn find<'b>(
    breakers: &'b [Value],
    name: &str,
    is_route: bool,
) -> Result<(&'static str, &'b Value), CliError> {
    let of_upstream = |breaker: &&Value| breaker["route"].is_null() && breaker["upstream"] == name;
    let of_route = |breaker: &&Value| breaker["route"] == name;
    if !is_route && let Some(found) = breakers.iter().find(of_upstream) {
        return Ok(("upstream", found));
    }
    if let Some(found) = breakers.iter().find(of_route) {
        return Ok(("route", found));
    }
    let known: Vec<String> = breakers.iter().map(title).collect();
    let whose = match is_route {
        true => "no route with a breaker of its own is",
        false => "no upstream, and no route with a breaker of its own, is",
    };
    Err(CliError::Setup(format!(
        "{whose} named `{name}`; there are: {}",
        known.join(", ")
    )))
}

fn show(as_json: bool, answer: &Value, breakers: &[Value]) {
    if as_json {
        println!("{answer:#}");
        return;
    }
    let now = Clock::System.now().as_millis();
    for breaker in breakers {
        println!("{}", line(breaker, now));
    }
}

fn title(breaker: &Value) -> String {
    let text = |name: &str| breaker[name].as_str().unwrap_or_default();
    match breaker["route"].is_null() {
        true => text("upstream").to_owned(),
        false => format!("route {}", text("route")),
    }
}

/// One breaker for people, at `now` in milliseconds since the epoch.
fn line(breaker: &Value, now: u64) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let phase = breaker["phase"].as_str().unwrap_or_default();
    let since = now.saturating_sub(number(&breaker["since_ms"]));
    let since = rough(Duration::from_millis(since));
    let reason = breaker["reason"].as_str().unwrap_or_default();
    let counts = &breaker["counts"];
    let beside = match phase {
        "closed" => format!(
            "{} calls, {} failed, {} slow, {} failures in a row",
            number(&counts["calls"]),
            number(&counts["failed"]),
            number(&counts["slow"]),
            number(&counts["failures_in_a_row"]),
        ),
        "open" => format!("a probe in {} ms", number(&breaker["rest_ms"])),
        "half_open" => format!("{} probes in flight", number(&breaker["probes_in_flight"])),
        _ => "until it is closed by hand".to_owned(),
    };
    let phase = phase.replace('_', "-");
    format!(
        "{:<24} {phase:<9} for {since}: {reason}; {beside}",
        title(breaker)
    )
}

/// In the two largest units.
pub(super) fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: BreakerArgs,
    }

    #[test]
    fn a_name_with_or_without_an_action_is_understood() {
        for (args, want) in [
            ("", Some((None, None))),
            ("list", Some((Some("list"), None))),
            ("pricing", Some((Some("pricing"), None))),
            (
                "pricing isolate",
                Some((Some("pricing"), Some(ActionArg::Isolate))),
            ),
            (
                "--route prices close",
                Some((Some("prices"), Some(ActionArg::Close))),
            ),
            ("pricing trip", None),
            ("--route", None),
        ] {
            let words = std::iter::once("breaker").chain(args.split_whitespace());
            let got = Command::try_parse_from(words).ok();
            let got = got
                .as_ref()
                .map(|command| (command.args.name.as_deref(), command.args.action));
            assert_eq!(got, want, "{args}");
        }
    }

    #[test]
    fn a_name_is_an_upstream_unless_it_can_only_be_a_route() {
        let breakers = [
            json!({"upstream": "pricing"}),
            json!({"upstream": "pricing", "route": "prices"}),
            json!({"upstream": "pricing", "route": "pricing"}),
        ];
        for (name, is_route, want) in [
            ("pricing", false, Some(("upstream", 0))),
            ("pricing", true, Some(("route", 2))),
            ("prices", false, Some(("route", 1))),
            ("prices", true, Some(("route", 1))),
            ("price", false, None),
        ] {
            let got = find(&breakers, name, is_route).ok();
            let want = want.map(|(kind, index): (_, usize)| (kind, &breakers[index]));
            assert_eq!(got, want, "{name} {is_route}");
        }
        let told = find(&breakers, "price", false).unwrap_err().to_string();
        assert!(
            told.ends_with("there are: pricing, route prices, route pricing"),
            "{told}"
        );
    }

    #[test]
    fn a_breaker_is_one_line_for_people() {
        let counts = json!({"calls": 9, "failed": 2, "slow": 1, "failures_in_a_row": 1});
        for (breaker, want) in [
            (
                json!({"upstream": "pricing", "phase": "closed", "since_ms": 0, "reason": "as it started", "counts": counts}),
                "pricing                  closed    for 2m 5s: as it started; 9 calls, 2 failed, 1 slow, 1 failures in a row",
            ),
            (
                json!({"upstream": "pricing", "route": "prices", "phase": "open", "since_ms": 124_000, "reason": "by hand", "rest_ms": 300}),
                "route prices             open      for 1s: by hand; a probe in 300 ms",
            ),
            (
                json!({"upstream": "pricing", "phase": "half_open", "since_ms": 125_000, "reason": "its rest is over", "probes_in_flight": 1}),
                "pricing                  half-open for 0s: its rest is over; 1 probes in flight",
            ),
            (
                json!({"upstream": "pricing", "phase": "isolated", "since_ms": 125_000, "reason": "by hand"}),
                "pricing                  isolated  for 0s: by hand; until it is closed by hand",
            ),
        ] {
            assert_eq!(line(&breaker, 125_000), want);
        }
        assert_eq!(rough(Duration::from_secs(90_000)), "1d 1h");
        assert_eq!(rough(Duration::from_secs(7_300)), "2h 1m");
    }
}
