//! From pages to Markdown: a page per integration, and the index. Pure and deterministic: the same in, the same out.

use std::fmt::Write as _;

use super::{
    markdown::{block, code, link, sentence, text},
    model::{Observation, Page, Relied, Route, Seen},
};

/// The first line of everything that is written, by which it is known again.
pub(super) const MARKER: &str = "<!-- Written by `larder docs`; changes made here are lost. -->";

/// The page of one integration.
pub(super) fn page(page: &Page, observation: &Observation) -> String {
    let mut out = String::new();
    let seen = observation.of(&page.name);
    line(&mut out, MARKER);
    head(&mut out, 1, &text(&page.name));
    table_of(page, &mut out);
    match observation {
        Observation::Offline => {}
        Observation::Absent(why) => {
            line(&mut out, &format!("Not observed: {}", text(why)));
            line(&mut out, "");
        }
        Observation::At { time, admin, .. } => {
            let at = format!("Observed at {} on {}:", text(time), link(admin));
            list_under(
                &mut out,
                &at,
                seen.map_or(&[][..], |seen| &seen.upstream),
                text,
            );
        }
    }
    head(&mut out, 2, "Where it is");
    list(
        &mut out,
        page.endpoints
            .iter()
            .map(|endpoint| match endpoint.priority {
                0 => code(&endpoint.url),
                priority => format!("{}, standby of priority {priority}", code(&endpoint.url)),
            }),
    );
    list(&mut out, page.connection.iter().map(|it| sentence(it)));
    head(&mut out, 2, "How it is asked");
    auth(page, &mut out);
    list(&mut out, page.version.iter().map(|it| sentence(it)));
    list(&mut out, page.limits.iter().map(|it| sentence(it)));
    head(&mut out, 2, "When it fails");
    list(&mut out, page.failing.iter().map(|it| sentence(it)));
    head(&mut out, 2, "Routes");
    if page.routes.is_empty() {
        line(&mut out, "No route leads to it.");
        line(&mut out, "");
    }
    for known in &page.routes {
        route(&mut out, known, seen);
    }
    ended(&out)
}

fn table_of(page: &Page, out: &mut String) {
    let none = |what: &str| format!("**none** (set `{what}`)");
    line(out, "| | |");
    line(out, "| --- | --- |");
    let owner = page.owner.as_deref().map_or_else(|| none("owner"), text);
    line(out, &format!("| Owner | {owner} |"));
    let runbook = page.runbook.as_deref();
    let runbook = runbook.map_or_else(|| none("runbook"), link);
    line(out, &format!("| Runbook | {runbook} |"));
    let review = page.review_by.as_deref();
    let review = review.map_or_else(|| none("review_by"), text);
    line(out, &format!("| Review by | {review} |"));
    line(out, "");
}

fn auth(page: &Page, out: &mut String) {
    if page.auth.is_empty() {
        list(out, ["No credentials are sent.".to_owned()].into_iter());
    }
    list(
        out,
        page.auth.iter().map(|auth| {
            let header = code(&auth.header);
            format!(
                "Credentials in {header}, from the {}.",
                sentence(&auth.source)
            )
        }),
    );
}

fn route(out: &mut String, route: &Route, seen: Option<&Seen>) {
    head(out, 3, &text(&route.name));
    let asked = format!("Visitors ask for {}", code(&route.asked));
    let sent = format!("the vendor is asked for {}.", code(&route.sent));
    line(out, &format!("{asked}, {sent}"));
    line(out, "");
    list(out, route.sends.iter().map(|it| sentence(it)));
    list(out, route.version.iter().map(|it| sentence(it)));
    list_under(out, "Freshness:", &route.promise, sentence);
    line(
        out,
        "What visitors see when it breaks, the first that there is:",
    );
    line(out, "");
    for (index, step) in route.ladder.iter().enumerate() {
        line(out, &format!("{}. {}", index + 1, sentence(step)));
    }
    line(out, "");
    relied(out, &route.relied);
    let seen = seen.and_then(|seen| seen.routes.iter().find(|(name, _)| *name == route.name));
    if let Some((_, lines)) = seen {
        list_under(out, "Observed:", lines, text);
    }
}

fn relied(out: &mut String, relied: &Relied) {
    if relied.fields.is_empty() && relied.notes.is_empty() && relied.transform.is_none() {
        line(
            out,
            "No contract says which fields of its answers are relied on.",
        );
        line(out, "");
        return;
    }
    list_under(out, "What is relied on:", &relied.notes, sentence);
    if !relied.fields.is_empty() {
        line(out, "| field | has to be | by |");
        line(out, "| --- | --- | --- |");
    }
    for field in &relied.fields {
        let what = text(&field.what);
        line(
            out,
            &format!("| {} | {what} | {} |", code(&field.field), field.by),
        );
    }
    if relied.more > 0 {
        line(out, &format!("| … | {} more | |", relied.more));
    }
    if !relied.fields.is_empty() {
        line(out, "");
    }
    if let Some(program) = &relied.transform {
        line(out, "Answers are mapped before that:");
        line(out, "");
        line(out, &block("jq", program));
        line(out, "");
    }
}

/// The index: README.md of the folder.
pub(super) fn index(pages: &[Page], observation: &Observation) -> String {
    let mut out = String::new();
    line(&mut out, MARKER);
    head(&mut out, 1, "Integrations");
    line(
        &mut out,
        "| integration | owner | review by | routes | state |",
    );
    line(&mut out, "| --- | --- | --- | --- | --- |");
    for page in pages {
        let owner = page
            .owner
            .as_deref()
            .map_or_else(|| "**none**".to_owned(), text);
        let review = page
            .review_by
            .as_deref()
            .map_or_else(|| "**none**".to_owned(), text);
        let routes = page.routes.iter().map(|route| text(&route.name));
        let routes: Vec<_> = routes.collect();
        let state = match observation {
            Observation::Offline | Observation::Absent(_) => "not observed".to_owned(),
            Observation::At { .. } => {
                let seen = observation.of(&page.name);
                seen.map_or_else(|| "not known there".to_owned(), |seen| text(&seen.state))
            }
        };
        let name = format!("[{}]({})", text(&page.name), page.file);
        line(
            &mut out,
            &format!(
                "| {name} | {owner} | {review} | {} | {state} |",
                routes.join(", ")
            ),
        );
    }
    line(&mut out, "");
    match observation {
        Observation::Offline => {}
        Observation::Absent(why) => line(&mut out, &format!("Not observed: {}", text(why))),
        Observation::At { time, admin, .. } => {
            line(
                &mut out,
                &format!("Observed at {} on {}.", text(time), link(admin)),
            );
        }
    }
    ended(&out)
}

// --- Lines ---

fn line(out: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

fn head(out: &mut String, level: usize, heading: &str) {
    if level > 1 {
        // Lists before it end without a blank line of their own.
        while !out.ends_with("\n\n") {
            out.push('\n');
        }
    }
    line(out, &format!("{} {heading}", "#".repeat(level)));
    line(out, "");
}

fn list(out: &mut String, items: impl Iterator<Item = String>) {
    for item in items {
        line(out, &format!("- {item}"));
    }
}

fn list_under(out: &mut String, heading: &str, items: &[String], shown: fn(&str) -> String) {
    if items.is_empty() {
        return;
    }
    if !out.ends_with("\n\n") {
        line(out, "");
    }
    line(out, heading);
    line(out, "");
    list(out, items.iter().map(|item| shown(item)));
    line(out, "");
}

/// One line end at the end.
fn ended(out: &str) -> String {
    format!("{}\n", out.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::docs::model::{Auth, Endpoint, Field};

    fn example() -> Page {
        Page {
            name: "pricing".to_owned(),
            file: "pricing.md".to_owned(),
            owner: Some("Desk <a@b.example>".to_owned()),
            runbook: Some("https://wiki.example/pricing".to_owned()),
            review_by: None,
            endpoints: vec![
                Endpoint {
                    url: "https://a.example/v2".to_owned(),
                    priority: 0,
                },
                Endpoint {
                    url: "https://b.example/v2".to_owned(),
                    priority: 1,
                },
            ],
            connection: vec!["No health checks.".to_owned()],
            auth: vec![Auth {
                header: "authorization".to_owned(),
                source: "environment variable `TOKEN`".to_owned(),
            }],
            limits: vec!["No quota is configured.".to_owned()],
            failing: vec!["It is left alone.".to_owned()],
            version: Some("Version `v2` is pinned.".to_owned()),
            routes: vec![Route {
                name: "prices".to_owned(),
                asked: "GET /p/{sku}".to_owned(),
                sent: "/v2/{sku}".to_owned(),
                sends: vec![],
                version: None,
                promise: vec!["Fresh for 5s.".to_owned()],
                ladder: vec![
                    "the last good answer".to_owned(),
                    "an error page".to_owned(),
                ],
                relied: Relied {
                    notes: vec!["Enforced.".to_owned()],
                    fields: vec![Field {
                        field: "/price".to_owned(),
                        what: "required; above 0 | 1".to_owned(),
                        by: "rule",
                    }],
                    more: 3,
                    transform: Some(".price = .cost".to_owned()),
                },
            }],
        }
    }

    const GOLDEN: &str = r#"<!-- Written by `larder docs`; changes made here are lost. -->
# pricing

| | |
| --- | --- |
| Owner | Desk \<a@b.example\> |
| Runbook | <https://wiki.example/pricing> |
| Review by | **none** (set `review_by`) |

## Where it is

- `https://a.example/v2`
- `https://b.example/v2`, standby of priority 1
- No health checks.

## How it is asked

- Credentials in `authorization`, from the environment variable `TOKEN`.
- Version `v2` is pinned.
- No quota is configured.

## When it fails

- It is left alone.

## Routes

### prices

Visitors ask for `GET /p/{sku}`, the vendor is asked for `/v2/{sku}`.

Freshness:

- Fresh for 5s.

What visitors see when it breaks, the first that there is:

1. the last good answer
2. an error page

What is relied on:

- Enforced.

| field | has to be | by |
| --- | --- | --- |
| `/price` | required; above 0 \| 1 | rule |
| … | 3 more | |

Answers are mapped before that:

```jq
.price = .cost
```
"#;

    #[test]
    fn a_page_is_complete_and_the_same_each_time() {
        let got = page(&example(), &Observation::Offline);
        assert_eq!(got, GOLDEN, "{got}");
    }

    #[test]
    fn what_was_observed_is_told_with_its_time_or_why_not() {
        let absent = Observation::Absent("no running larder at 127.0.0.1:9090".to_owned());
        let got = page(&example(), &absent);
        assert!(
            got.contains("Not observed: no running larder at 127.0.0.1:9090"),
            "{got}"
        );
        assert!(index(&[example()], &absent).contains("| not observed |"));
        let seen = Seen {
            state: "asked as usual".to_owned(),
            upstream: vec!["Its breaker is closed.".to_owned()],
            routes: vec![(
                "prices".to_owned(),
                vec!["Its sunset is near <b>.".to_owned()],
            )],
        };
        let at = Observation::At {
            time: "2027-01-15T08:00:00Z".to_owned(),
            admin: "http://127.0.0.1:9090".to_owned(),
            seen: vec![("pricing".to_owned(), seen)],
        };
        let got = page(&example(), &at);
        for want in [
            "Observed at 2027-01-15T08:00:00Z on <http://127.0.0.1:9090>:\n\n- Its breaker is closed.\n",
            "Observed:\n\n- Its sunset is near \\<b\\>.\n",
        ] {
            assert!(got.contains(want), "{want} in {got}");
        }
        let got = index(&[example()], &at);
        let row = "| [pricing](pricing.md) | Desk \\<a@b.example\\> | **none** | prices | asked as usual |";
        assert!(got.contains(row), "{got}");
    }
}
