//! `larder drift`: what vendors changed in their answers, and accepting it.

use clap::Args;
use serde_json::{Value, json};

use super::{
    CliError,
    admin_client::{AdminArgs, AdminClient},
};
use crate::clock::Clock;

const PATH: &str = "/api/v1/drift";
/// The first word of an order; a route of this name is shown by `larder drift -- accept`.
const ACCEPT: &str = "accept";

/// Arguments of `larder drift`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "larder drift [OPTIONS] [ROUTE]\n       larder drift [OPTIONS] accept ROUTE [PATH]",
    after_help = "larder drift                          every route that learns: what its vendor changed\n\
                  larder drift prices                   one route: its changes, and what is known of its answers\n\
                  larder drift accept prices $.price    the change at this path is how it is meant from now on\n\
                  larder drift accept prices            the same for all changes of the route\n\n\
                  A change is breaking (a field gone, another type, null), a warning (an amount far out of range, a new \
                  value of an enumeration, another format) or info (a new field). It is reported once, until it is \
                  accepted; one that went away again says \"ended\". Quote paths in the shell: '$.items[*].price'. What \
                  changes by nature is listed in `drift.ignore` of its route."
)]
pub(super) struct DriftArgs {
    #[command(flatten)]
    pub proxy: AdminArgs,
    /// A route, or `accept ROUTE [PATH]`; without it all routes are shown
    #[arg(value_name = "ROUTE", num_args = 0..=3)]
    pub words: Vec<String>,
    /// With `accept`: only changes of this kind (type_changed, field_removed, …)
    #[arg(long, value_name = "KIND")]
    pub change: Option<String>,
    /// Print what the proxy answers, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    All,
    Route(&'a str),
    Accept(&'a str, Option<&'a str>),
}

impl DriftArgs {
    fn wanted(&self) -> Result<Wanted<'_>, CliError> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match words[..] {
            [] => Ok(Wanted::All),
            [ACCEPT, route] => Ok(Wanted::Accept(route, None)),
            [ACCEPT, route, path] => Ok(Wanted::Accept(route, Some(path))),
            [ACCEPT] => Err(CliError::Setup(
                "say of which route: larder drift accept ROUTE [PATH]".to_owned(),
            )),
            [route] => Ok(Wanted::Route(route)),
            _ => Err(CliError::Setup(
                "write larder drift [ROUTE], or larder drift accept ROUTE [PATH]".to_owned(),
            )),
        }
    }
}

/// Shows what changed, or accepts it.
///
/// # Errors
///
/// [`CliError::Setup`] where it is not clear what is meant or where the proxy is; else [`CliError::Failed`].
pub(super) fn run(args: &DriftArgs) -> Result<(), CliError> {
    let wanted = args.wanted()?;
    let client = args.proxy.client()?;
    let answer = match wanted {
        Wanted::All => client.get(PATH)?,
        Wanted::Route(route) => client.get(&path_of(route, ""))?,
        Wanted::Accept(route, path) => accept(&client, route, path, args.change.as_deref())?,
    };
    if args.json {
        println!("{answer:#}");
        return Ok(());
    }
    let now = Clock::System.now().as_millis();
    let lines = match wanted {
        Wanted::All => list(&answer["routes"])
            .iter()
            .flat_map(|route| route_lines(route, now))
            .collect(),
        Wanted::Route(_) => {
            let mut lines = route_lines(&answer, now);
            lines.extend(list(&answer["places"]).iter().map(place_line));
            lines
        }
        Wanted::Accept(route, _) => accepted_lines(route, &answer),
    };
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

fn accept(
    client: &AdminClient,
    route: &str,
    path: Option<&str>,
    change: Option<&str>,
) -> Result<Value, CliError> {
    let mut order = json!({});
    for (name, value) in [("path", path), ("change", change)] {
        if let Some(value) = value {
            order[name] = json!(value);
        }
    }
    client.post(&path_of(route, "/accept"), &order)
}

/// The API's path of a route, whose name may be anything.
fn path_of(route: &str, behind: &str) -> String {
    let mut path = format!("{PATH}/");
    for byte in route.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => path.push(char::from(byte)),
            false => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path.push_str(behind);
    path
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn route_lines(route: &Value, now: u64) -> Vec<String> {
    let text = |name: &str| route[name].as_str().unwrap_or_default();
    let number = |name: &str| route[name].as_u64().unwrap_or_default();
    let changes = list(&route["changes"]);
    let suspected = list(&route["suspected"]).len();
    let open = changes.iter().filter(|change| change["ended"] != true);
    let mut head = match (route["learning"] == true, open.count()) {
        (true, _) => format!(
            "learning: {} of {} answers",
            number("answers"),
            number("answers_min")
        ),
        (false, 0) => format!("as always, {} answers", number("answers")),
        (false, 1) => format!("1 change, {} answers", number("answers")),
        (false, open) => format!("{open} changes, {} answers", number("answers")),
    };
    if suspected > 0 {
        head.push_str(&format!("; {suspected} suspected, not reported"));
    }
    if number("not_watched") > 0 {
        head.push_str(&format!("; {} values not watched", number("not_watched")));
    }
    let skipped = route["skipped"].as_object().into_iter().flatten();
    for (why, count) in skipped {
        head.push_str(&format!("; {count} not learnt ({why})"));
    }
    let mut lines = vec![format!("{:<24} {head}", text("route"))];
    lines.extend(changes.iter().map(|change| change_line(change, now)));
    let is_named = ["owner", "runbook"]
        .iter()
        .any(|name| !text(name).is_empty());
    if is_named && !changes.is_empty() {
        lines.push(format!(
            "  owner {}, runbook {}",
            text("owner"),
            text("runbook")
        ));
    }
    lines
}

fn change_line(change: &Value, now: u64) -> String {
    let text = |name: &str| change[name].as_str().unwrap_or_default();
    let number = |name: &str| change[name].as_u64().unwrap_or_default();
    let since = now.saturating_sub(number("first_seen_ms")) / 1_000;
    let since = match since {
        0..=119 => format!("{since} s"),
        120..=7_199 => format!("{} min", since / 60),
        7_200..=172_799 => format!("{} h", since / 3_600),
        _ => format!("{} days", since / 86_400),
    };
    let values: Vec<_> = list(&change["values"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let example = match values.len() {
        0 | 1 => text("example").to_owned(),
        _ => values.join(", "),
    };
    let ended = if change["ended"] == true {
        ", ended"
    } else {
        ""
    };
    format!(
        "  {:<8} {:<18} {}: was {}; now {example} ({} of {} answers, first seen {since} ago{ended})",
        text("class"),
        text("change"),
        text("path"),
        text("was"),
        number("answers"),
        number("of"),
    )
}

fn place_line(place: &Value) -> String {
    let words = |name: &str| -> Vec<&str> {
        list(&place[name])
            .iter()
            .filter_map(Value::as_str)
            .collect()
    };
    let mut said = vec![match place["ignored"] == true {
        true => "ignored".to_owned(),
        false => words("types").join(" or "),
    }];
    if let Some(present) = place["present"].as_f64().filter(|present| *present < 1.0) {
        said.push(format!("in {:.1} % of answers", present * 100.0));
    }
    let values = words("values");
    if !values.is_empty() {
        said.push(format!("values {}", values.join(", ")));
    }
    for (name, unit) in [("range", ""), ("elements", " elements")] {
        if let [least, most] = list(&place[name]) {
            said.push(format!("{least} to {most}{unit}"));
        }
    }
    let formats: Vec<_> = words("formats")
        .into_iter()
        .filter(|it| *it != "text")
        .collect();
    if !formats.is_empty() {
        said.push(formats.join(" or "));
    }
    if place["map"] == true {
        said.push("a map".to_owned());
    }
    format!(
        "  {} {}",
        place["path"].as_str().unwrap_or_default(),
        said.join("; ")
    )
}

fn accepted_lines(route: &str, answer: &Value) -> Vec<String> {
    let accepted = list(&answer["accepted"]);
    if accepted.is_empty() {
        return vec![format!(
            "nothing to accept: no change of {route} is reported"
        )];
    }
    let text = |change: &Value, name: &str| change[name].as_str().unwrap_or_default().to_owned();
    let lines = accepted.iter().map(|change| {
        format!(
            "accepted: {} {}",
            text(change, "path"),
            text(change, "change")
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: DriftArgs,
    }

    #[test]
    fn a_route_or_an_order_is_understood() {
        for (args, want) in [
            ("", Some(Wanted::All)),
            ("prices", Some(Wanted::Route("prices"))),
            ("accept prices", Some(Wanted::Accept("prices", None))),
            (
                "accept prices $.a",
                Some(Wanted::Accept("prices", Some("$.a"))),
            ),
            ("accept", None),
            ("prices $.a", None),
        ] {
            let words = std::iter::once("drift").chain(args.split_whitespace());
            let command = Command::try_parse_from(words).unwrap();
            assert_eq!(command.args.wanted().ok(), want, "{args}");
        }
    }

    #[test]
    fn a_route_of_any_name_is_one_segment() {
        assert_eq!(
            path_of("/prices/{sku}", "/accept"),
            "/api/v1/drift/%2Fprices%2F%7Bsku%7D/accept"
        );
        assert_eq!(path_of("prices-1", ""), "/api/v1/drift/prices-1");
    }

    #[test]
    fn a_change_is_one_line_for_people() {
        let change = json!({
            "path": "$.price", "change": "type_changed", "class": "breaking", "was": "number", "example": "string \"9\"",
            "first_seen_ms": 0, "answers": 4, "of": 5, "ended": true,
        });
        let route = json!({
            "route": "prices", "answers": 25, "answers_min": 20, "learning": false, "changes": [change], "suspected": [{}],
            "not_watched": 3, "skipped": { "private": 7 }, "owner": "Desk", "runbook": "read.md",
        });
        assert_eq!(
            route_lines(&route, 300_000),
            [
                "prices                   as always, 25 answers; 1 suspected, not reported; 3 values not watched; 7 not learnt (private)",
                "  breaking type_changed       $.price: was number; now string \"9\" (4 of 5 answers, first seen 5 min ago, ended)",
                "  owner Desk, runbook read.md",
            ]
        );
        let place = json!({
            "path": "$.items[*].price", "types": ["null", "number"], "present": 0.25, "range": [1.5, 9.0], "formats": [],
        });
        assert_eq!(
            place_line(&place),
            "  $.items[*].price null or number; in 25.0 % of answers; 1.5 to 9.0"
        );
    }
}
