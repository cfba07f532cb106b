//! `larder contracts`: what is known of answers against the contracts of a running proxy, and samples of those that broke one.

use std::{fmt::Write as _, time::Duration};

use clap::Args;
use serde_json::Value;

use super::{CliError, admin_client::AdminArgs, breaker::rough};
use crate::clock::Clock;

const PATH: &str = "/api/v1/contracts";
/// A terminal's width, less what looks crowded.
const WIDTH: usize = 78;

/// Arguments of `larder contracts`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "larder contracts            every route with a contract: answers judged, and what is broken now\n\
                  larder contracts prices     what is and was broken on one route, and samples of those answers\n\n\
                  In a sample the values that are wrong are shown; others are masked (\"string(12)\", \"number\")."
)]
pub(super) struct ContractsArgs {
    #[command(flatten)]
    pub proxy: AdminArgs,
    /// A route; without it all that have a contract are listed
    #[arg(value_name = "ROUTE")]
    pub route: Option<String>,
    /// Print what the proxy answers, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Lists contracts, or tells of one.
///
/// # Errors
///
/// [`CliError::Setup`] where no such route has a contract, or it is not clear where the proxy is; else [`CliError::Failed`].
pub(super) fn run(args: &ContractsArgs) -> Result<(), CliError> {
    let client = args.proxy.client()?;
    let listed = client.get(PATH)?;
    let contracts = listed["contracts"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let now = Clock::System.now().as_millis();
    let (answer, text) = match &args.route {
        None => {
            let text = list(contracts, now);
            (listed, text)
        }
        Some(route) => {
            find(contracts, route)?;
            let report = client.get(&format!("{PATH}/{}", in_path(route)))?;
            let text = report_of(&report, now);
            (report, text)
        }
    };
    match args.json {
        true => println!("{answer:#}"),
        false => print!("{text}"),
    }
    Ok(())
}

fn find(contracts: &[Value], route: &str) -> Result<(), CliError> {
    let mut names = contracts
        .iter()
        .filter_map(|contract| contract["route"].as_str());
    if names.clone().any(|name| name == route) {
        return Ok(());
    }
    let first = names.next().ok_or_else(|| {
        CliError::Setup("no route has a contract: write `contract` to one and reload".to_owned())
    })?;
    let others: String = names.fold(String::new(), |mut others, name| {
        // Writing to a String has no way to fail.
        let _ = write!(others, ", {name}");
        others
    });
    Err(CliError::Setup(format!(
        "no route named `{route}` has a contract; there are: {first}{others}"
    )))
}

/// Percent-encoded (RFC 3986 section 2.1) but for what stands in a path as it is.
fn in_path(route: &str) -> String {
    let mut path = String::new();
    for byte in route.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            true => path.push(char::from(byte)),
            false => drop(write!(path, "%{byte:02X}")),
        }
    }
    path
}

// --- For people ---

fn list(contracts: &[Value], now: u64) -> String {
    if contracts.is_empty() {
        return "no route has a contract\n".to_owned();
    }
    let mut out = String::new();
    for contract in contracts {
        let head = format!(
            "{:<24} {:<8}",
            text(&contract["route"]),
            text(&contract["mode"])
        );
        lines(&mut out, 0, &format!("{head} {}", counts(contract)));
        for episode in items(&contract["open"]) {
            let told = format!("! {}: {}", named(episode), since(episode, now));
            lines(&mut out, 2, &told);
        }
    }
    out
}

fn report_of(report: &Value, now: u64) -> String {
    let mut out = String::new();
    let head = format!(
        "{}: {}, upstream {}",
        text(&report["route"]),
        text(&report["mode"]),
        text(&report["upstream"])
    );
    lines(&mut out, 0, &head);
    for word in ["owner", "runbook"] {
        if let Some(whom) = report[word].as_str() {
            lines(&mut out, 0, &format!("{word}: {whom}"));
        }
    }
    lines(&mut out, 0, &counts(report));
    for (title, list) in [("Broken now", "open"), ("Over", "ended")] {
        let episodes = items(&report[list]);
        if !episodes.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for episode in episodes {
            lines(&mut out, 2, &named(episode));
            lines(&mut out, 4, &since(episode, now));
            lines(&mut out, 4, text(&episode["message"]));
        }
    }
    let samples = items(&report["samples"]);
    if !samples.is_empty() {
        let _ = writeln!(out, "\nSamples, newest first");
    }
    for sample in samples {
        show_sample(&mut out, sample, now);
    }
    out
}

fn show_sample(out: &mut String, sample: &Value, now: u64) {
    let content_type = sample["content_type"].as_str().unwrap_or("no content type");
    lines(
        out,
        2,
        &format!(
            "{} ago: {}",
            ago(&sample["at_ms"], now),
            text(&sample["request"])
        ),
    );
    lines(
        out,
        4,
        &format!(
            "{} {content_type}, {} bytes",
            number(&sample["status"]),
            number(&sample["bytes"])
        ),
    );
    lines(
        out,
        4,
        &format!("{}: {}", named(sample), text(&sample["message"])),
    );
    for violation in items(&sample["violations"]) {
        let place = match text(&violation["place"]) {
            "" => "the whole",
            place => place,
        };
        lines(
            out,
            4,
            &format!("- {place}: {}", text(&violation["message"])),
        );
    }
    lines(out, 4, text(&sample["body"]));
}

fn counts(contract: &Value) -> String {
    let mut told = format!("{} good", number(&contract["good"]));
    for (name, word) in [("breach", "broken"), ("observed", "broken but served")] {
        let count = number(&contract[name]);
        if count > 0 {
            let _ = write!(told, ", {count} {word}");
        }
    }
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let by_kind = members(&contract["breaches"]);
    let by_kind: Vec<_> = by_kind
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    if !by_kind.is_empty() {
        let _ = write!(told, " ({})", by_kind.join(", "));
    }
    for (fate, count) in members(&contract["bad_records"]) {
        let _ = write!(told, ", {count} bad records {fate}");
    }
    told
}

fn named(episode: &Value) -> String {
    let (kind, term) = (text(&episode["kind"]), text(&episode["term"]));
    match kind == term {
        true => kind.to_owned(),
        false => format!("{kind} {term}"),
    }
}

fn since(episode: &Value, now: u64) -> String {
    let breaches = match number(&episode["breaches"]) {
        1 => "1 answer".to_owned(),
        count => format!("{count} answers"),
    };
    let (first, last) = (
        ago(&episode["first_ms"], now),
        ago(&episode["last_ms"], now),
    );
    let visitors = match text(&episode["visitors"]) {
        "served" => "served all the same",
        "nothing" => "no good answer was in store",
        _ => "the last good answer was served",
    };
    let ended = match episode["ended_ms"].is_null() {
        true => String::new(),
        false => format!(", over {} ago", ago(&episode["ended_ms"], now)),
    };
    format!("{breaches}, first {first} ago, last {last} ago{ended}; {visitors}")
}

fn ago(at: &Value, now: u64) -> String {
    rough(Duration::from_millis(now.saturating_sub(number(at))))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text in lines that fit a terminal, broken at spaces where there are any, each indented by so much.
fn lines(out: &mut String, indent: usize, text: &str) {
    let width = WIDTH - indent;
    let mut rest = text.trim_end();
    loop {
        let end = rest
            .char_indices()
            .nth(width)
            .map_or(rest.len(), |(at, _)| at);
        let cut = match end == rest.len() || rest[end..].starts_with(' ') {
            true => end,
            // No word is broken that fits a line.
            false => rest[..end].rfind(' ').filter(|at| *at > 0).unwrap_or(end),
        };
        let _ = writeln!(out, "{:indent$}{}", "", rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
        if rest.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "route": "prices", "upstream": "pricing", "mode": "enforce", "owner": "desk", "runbook": null,
            "good": 1204, "observed": 0, "breach": 18, "breaches": {"content_type": 1, "rule": 17},
            "bad_records": {"kept": 3},
            "open": [{"kind": "rule", "term": "/price: above", "first_ms": 0, "last_ms": 122_000, "breaches": 17,
                "message": "`/price` is 0, which is not above 0, as the contract of this route demands of each", "visitors": "last_good"}],
            "ended": [{"kind": "content_type", "term": "content_type", "first_ms": 0, "last_ms": 0, "ended_ms": 5_000,
                "breaches": 1, "message": "it is text/html", "visitors": "nothing"}],
            "samples": [{"at_ms": 122_000, "request": "GET /v1/prices/42?key=*", "status": 200,
                "content_type": "application/json", "bytes": 40, "kind": "rule", "term": "/price: above",
                "message": "`/price` is 0", "violations": [{"place": "/price", "term": "/price: above", "message": "0 is not above 0"}],
                "body": "{\"price\": 0, \"sku\": \"string(7)\"}"}],
        })
    }

    #[test]
    fn a_route_is_told_of_in_lines_that_fit_a_terminal() {
        let want = "\
prices: enforce, upstream pricing
owner: desk
1204 good, 18 broken (content_type 1, rule 17), 3 bad records kept

Broken now
  rule /price: above
    17 answers, first 2m 5s ago, last 3s ago; the last good answer was served
    `/price` is 0, which is not above 0, as the contract of this route demands
    of each

Over
  content_type
    1 answer, first 2m 5s ago, last 2m 5s ago, over 2m 0s ago; no good answer
    was in store
    it is text/html

Samples, newest first
  3s ago: GET /v1/prices/42?key=*
    200 application/json, 40 bytes
    rule /price: above: `/price` is 0
    - /price: 0 is not above 0
    {\"price\": 0, \"sku\": \"string(7)\"}
";
        assert_eq!(report_of(&report(), 125_000), want);
    }

    #[test]
    fn a_list_has_a_line_per_route_and_one_per_broken_term() {
        let want = "\
prices                   enforce  1204 good, 18 broken (content_type 1, rule
17), 3 bad records kept
  ! rule /price: above: 17 answers, first 2m 5s ago, last 3s ago; the last
  good answer was served
";
        assert_eq!(list(&[report()], 125_000), want);
        assert_eq!(list(&[], 0), "no route has a contract\n");
    }

    #[test]
    fn a_name_that_is_not_there_names_those_that_are() {
        assert!(find(&[report()], "prices").is_ok());
        let told = find(&[report()], "price").unwrap_err().to_string();
        assert!(told.ends_with("there are: prices"), "{told}");
        assert!(find(&[], "price").is_err());
        assert_eq!(in_path("a b/{sku}\u{e9}"), "a%20b/%7Bsku%7D%C3%A9");
    }

    #[test]
    fn what_has_no_spaces_is_broken_where_the_line_ends() {
        let mut out = String::new();
        lines(&mut out, 4, &"\u{e9}".repeat(100));
        let lengths: Vec<_> = out.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [78, 30]);
    }
}
