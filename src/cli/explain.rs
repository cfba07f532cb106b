//! `larder explain`: what would happen to a request, and why, in words that an operator reads in a minute.
//!
//! A running proxy is asked over its admin API. Where none runs the config alone says what it can: route, key, policy.

use std::{fmt::Write as _, time::Duration};

use clap::Args;

use super::{CliError, admin_client::AdminArgs};
use crate::{
    cache::{
        CheckShown, Departure, DepartureKind, Explained, Explanation, FoundShown, Pair, Reason,
        Refused, RouteShown, Setting, StoredShown, short,
    },
    config,
    front::{Question, explain_by_config},
};

/// Width of the headings on the left.
const HEADING: usize = 9;

/// Arguments of `larder explain`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Nothing is sent to the upstream, and nothing stored is changed. Each reason names the section of an RFC \
                  or the key of the config that decides, with its line; what has no line is a default."
)]
pub(super) struct ExplainArgs {
    /// The URL as a client asks for it, or its path where the host does not matter
    #[arg(value_name = "URL")]
    pub url: String,
    /// The request's method
    #[arg(long, short = 'X', value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// A field of the request; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub fields: Vec<String>,
    #[command(flatten)]
    pub proxy: AdminArgs,
    /// Print the explanation as JSON
    #[arg(long)]
    pub json: bool,
}

/// Explains, on standard output.
///
/// # Errors
///
/// [`CliError::Setup`] where it is not clear what is asked, or of whom; else what the proxy did not answer.
pub(super) fn run(args: &ExplainArgs) -> Result<(), CliError> {
    let question =
        Question::parse(&args.url, &args.method, &args.fields).map_err(CliError::Setup)?;
    let asked = args
        .proxy
        .client()
        .and_then(|client| client.get(&path(args)));
    let explained = match asked {
        Ok(answer) => serde_json::from_value(answer).map_err(|error| {
            CliError::Failed(format!(
                "the proxy is of another version of larder and explains in other words ({error})"
            ))
        })?,
        // Whoever named the admin API itself did not mean this folder's configuration.
        Err(CliError::NoProxy(why)) if args.proxy.admin.is_none() => {
            eprintln!("larder: {why}\nlarder: this is what the configuration alone says");
            let config = config::load(&args.proxy.config).map_err(CliError::setup)?;
            explain_by_config(&config, question)
        }
        Err(error) => return Err(error),
    };
    if args.json {
        let document = serde_json::to_string_pretty(&explained);
        println!(
            "{}",
            document.map_err(|error| CliError::Failed(error.to_string()))?
        );
    } else {
        print!("{}", text(&explained));
    }
    Ok(())
}

/// The question as the admin API takes it.
fn path(args: &ExplainArgs) -> String {
    let mut path = format!(
        "/api/v1/explain?url={}&method={}",
        encoded(&args.url),
        encoded(&args.method)
    );
    for field in &args.fields {
        path.push_str("&header=");
        path.push_str(&encoded(field));
    }
    path
}

/// Percent-encoded, but for unreserved characters (RFC 3986 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

// --- Text ---

/// An explanation for people.
fn text(explained: &Explained) -> String {
    let mut page = Page::default();
    match explained {
        Explained::Routed(explanation) => page.explanation(explanation),
        Explained::Refused(refused) => page.refused(refused),
    }
    page.0
}

/// Short headed blocks: a heading on the left, lines beside it.
#[derive(Default)]
struct Page(String);

impl Page {
    /// A block's first line.
    fn head(&mut self, heading: &str, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{heading:<HEADING$}{}", printable(line));
    }

    /// A further line of it.
    fn line(&mut self, line: &str) {
        self.head("", line);
    }

    /// A line that belongs to the one above.
    fn inner(&mut self, line: &str) {
        self.line(&format!("  {line}"));
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }

    fn refused(&mut self, refused: &Refused) {
        let asked = &refused.request;
        self.line_of_request(&asked.method, asked.host.as_deref(), &asked.target);
        self.head(
            "now",
            &format!("answered {}: {}", refused.status, refused.why),
        );
        if !refused.allow.is_empty() {
            let allow = refused.allow.join(", ");
            self.line(&format!("routes there take {allow} (RFC 9110 15.5.6)"));
        }
        for (nth, route) in refused.nearest.iter().enumerate() {
            let heading = if nth == 0 { "nearest" } else { "" };
            self.head(heading, &route_line(route));
        }
    }

    fn line_of_request(&mut self, method: &str, host: Option<&str>, target: &str) {
        let host = host
            .map(|host| format!("http://{host}"))
            .unwrap_or_default();
        let _ = writeln!(
            self.0,
            "{}\n",
            printable(&format!("{method} {host}{target}"))
        );
    }

    fn explanation(&mut self, explanation: &Explanation) {
        let (asked, route, key) = (&explanation.request, &explanation.route, &explanation.key);
        self.line_of_request(&asked.method, asked.host.as_deref(), &asked.target);
        self.head("route", &route_line(route));
        let policy = match &route.policy_place {
            Some(place) => format!("{}  ({place})", route.policy),
            None => format!("{}  (built in)", route.policy),
        };
        self.head("policy", &policy);
        self.gap();
        let host = key.host.as_deref().map(|host| format!("host {host}, "));
        let target = format!(
            "upstream {}, {}{}",
            key.upstream,
            host.unwrap_or_default(),
            key.target
        );
        self.head("key", &target);
        for pair in &key.fields {
            self.line(&pair_line(pair));
        }
        self.line(&key.hash);
        for reason in &key.left_out {
            self.line(&format!("not in it: {}", reason_line(reason)));
        }
        self.gap();
        match &explanation.found {
            Some(found) => self.found(found),
            None => self.head("stored", "not known: no proxy was asked"),
        }
        self.gap();
        self.departures(&explanation.departures);
    }

    fn found(&mut self, found: &FoundShown) {
        match &found.stored {
            Some(stored) => self.stored(stored),
            None if found.now.plan == "by_content" => {
                self.head("stored", "not looked up: the content is part of the key");
            }
            None => self.head("stored", "nothing under this key"),
        }
        if let Some(variants) = &found.variants {
            let fields: Vec<_> = variants.fields.iter().map(pair_line).collect();
            let selected = match variants.selected {
                true => "this request selects one",
                false => "this request selects none",
            };
            let count = variants.count;
            self.line(&format!(
                "one of {count} variants by {}: {selected} (RFC 9111 4.1)",
                fields.join(", ")
            ));
        }
        if let Some(not_stored) = &found.not_stored {
            for reason in &not_stored.known {
                self.line(&format!("known: {}", reason_line(reason)));
            }
            self.checks(&not_stored.checks);
        }
        self.gap();
        self.head("now", &found.now.what);
        for reason in &found.now.why {
            self.line(&format!("because {}", reason_line(reason)));
        }
        if let Some(question) = &found.now.question {
            self.line(&format!("the upstream is asked {}", question.what));
            for pair in &question.fields {
                self.inner(&pair_line(pair));
            }
        }
        if let Some(wait) = &found.now.wait {
            self.line(&format!(
                "a client waits at most {}, then gets {} ({})",
                length(wait.seconds),
                wait.then,
                setting_text(&wait.setting)
            ));
        }
        self.gap();
        let failing = &found.if_upstream_fails;
        let until = match (&failing.until, failing.for_seconds) {
            (Some(until), Some(seconds)) => {
                format!(" for another {}, until {until}", length(seconds))
            }
            _ => String::new(),
        };
        self.head("if the vendor fails", "");
        self.0.truncate(self.0.trim_end().len());
        self.gap();
        self.line(&format!("{}{until}", failing.what));
        for reason in &failing.why {
            self.line(&format!("because {}", reason_line(reason)));
        }
    }

    /// The words only: what they mean is in the JSON, and in the `Cache-Status` of the answer that is not stored.
    fn checks(&mut self, checks: &[CheckShown]) {
        let of = |setting: Option<&Setting>| {
            let alike = checks
                .iter()
                .filter(|check| check.gives_way.as_ref() == setting);
            alike
                .map(|check| check.word.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.line(&format!(
            "an answer is stored unless, as the `detail` of its `Cache-Status` says: {}",
            of(None)
        ));
        let mut settings: Vec<&Setting> = Vec::new();
        for setting in checks.iter().filter_map(|check| check.gives_way.as_ref()) {
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        for setting in settings {
            self.line(&format!(
                "here these give way: {} ({})",
                of(Some(setting)),
                setting_text(setting)
            ));
        }
    }

    fn stored(&mut self, stored: &StoredShown) {
        let does = if stored.answers {
            ""
        } else {
            ", does not answer this request"
        };
        self.head(
            "stored",
            &format!(
                "{} {}, {} old{does}; in {}",
                stored.status,
                stored.state.replace('_', " "),
                length(stored.age_seconds),
                stored.lies_in.join(" and ")
            ),
        );
        for reason in &stored.why {
            self.line(&reason_line(reason));
        }
        self.line(&format!("fresh for {}", length(stored.lifetime.seconds)));
        for reason in &stored.lifetime.from {
            self.inner(&reason_line(reason));
        }
        for step in &stored.becomes {
            let state = step.state.replace('_', " ");
            let when = if step.in_seconds < 0.0 {
                format!("{} ago", length(-step.in_seconds))
            } else {
                format!("in {}", length(step.in_seconds))
            };
            self.line(&format!("{state} {when}, {}", step.at));
        }
        let part = stored
            .part
            .as_ref()
            .map(|part| format!(", the part {part}"));
        self.line(&format!(
            "received {} for {}, {} bytes{}",
            stored.received_at,
            stored.url,
            stored.body_bytes,
            part.unwrap_or_default()
        ));
        for pair in &stored.validators {
            self.line(&pair_line(pair));
        }
        let labels = &stored.labels;
        for (name, texts) in [("tags", &labels.tags), ("groups", &labels.groups)] {
            if !texts.is_empty() {
                self.line(&format!("{name}: {}", texts.join(", ")));
            }
        }
        if labels.overflow {
            self.line("not all its tags are known: every purge of a tag matches it");
        }
    }

    fn departures(&mut self, departures: &[Departure]) {
        for (heading, kind) in [
            ("departs from the RFCs", DepartureKind::Departs),
            ("\nstricter than the RFCs ask", DepartureKind::Stricter),
        ] {
            let mut of_kind = departures.iter().filter(|one| one.kind == kind).peekable();
            if of_kind.peek().is_none() {
                continue;
            }
            let _ = writeln!(self.0, "{heading}");
            for one in of_kind {
                let setting = one
                    .setting
                    .as_ref()
                    .map(|setting| format!(" ({})", setting_text(setting)));
                self.line(&format!(
                    "{}: {}{}",
                    one.section,
                    one.what,
                    setting.unwrap_or_default()
                ));
            }
        }
    }
}

fn route_line(route: &RouteShown) -> String {
    let methods = match route.methods.is_empty() {
        true => "any method".to_owned(),
        false => route.methods.join(" "),
    };
    let breaker = route.breaker.as_ref();
    let breaker = breaker.map(|state| format!(", breaker {}", state.replace('_', "-")));
    let place = route.place.as_ref().map(|place| format!("  ({place})"));
    format!(
        "{}  {}{}  [{methods}]  -> {}{}{}",
        route.name,
        route.hosts.join("|"),
        route.path,
        route.upstream,
        breaker.unwrap_or_default(),
        place.unwrap_or_default()
    )
}

fn pair_line(pair: &Pair) -> String {
    match &pair.value {
        Some(value) => format!("{}: {value}", pair.name),
        None => format!("{}: not there", pair.name),
    }
}

/// `what (RFC 9111 4.2; policy.live.fresh, proxy.toml:14)`.
fn reason_line(reason: &Reason) -> String {
    let setting = reason.setting.as_ref().map(setting_text);
    let by: Vec<_> = reason.rule.iter().cloned().chain(setting).collect();
    match by.is_empty() {
        true => reason.what.clone(),
        false => format!("{} ({})", reason.what, by.join("; ")),
    }
}

fn setting_text(setting: &Setting) -> String {
    match &setting.place {
        Some(place) => format!("{}, {place}", setting.key),
        None => format!("{}, default", setting.key),
    }
}

fn length(seconds: f64) -> String {
    short(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Fields come from anywhere; a terminal must not see their control characters.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::FixedEnv;

    #[test]
    fn a_question_reaches_the_admin_api_as_it_was_asked() {
        let args = ExplainArgs {
            url: "/prices/1?currency=EUR&a=%20".to_owned(),
            method: "GET".to_owned(),
            fields: vec!["X-A: 1, 2".to_owned()],
            proxy: AdminArgs {
                config: "proxy.toml".into(),
                admin: None,
                token_env: None,
            },
            json: false,
        };
        assert_eq!(
            path(&args),
            "/api/v1/explain?url=/prices/1%3Fcurrency%3DEUR%26a%3D%2520&method=GET&header=X-A%3A%201%2C%202"
        );
    }

    #[test]
    fn what_the_config_alone_says_is_said_in_blocks() {
        let text = "[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\nfailures = [\"5xx\"]\n[policy.live]\nfresh = \"5s\"\nclient_directives = false\nstale_while_revalidate = \"0s\"\nmax_stale = \"0s\"\ncool_down = \"0s\"\n[[route]]\nname = \"prices\"\npath = \"/prices/{sku}\"\nmethods = [\"GET\"]\nupstream = \"v\"\npolicy = \"live\"\nkey = { query = [\"currency\"], headers = [\"X-Region\"] }\n";
        let config = config::parse(text, Path::new("proxy.toml"), &FixedEnv::default()).unwrap();
        let question = Question::parse("/prices/1?utm=1&currency=EUR", "GET", &[]).unwrap();
        let explained = explain_by_config(&config, question);
        let got = super::text(&explained);
        let hash = match &explained {
            Explained::Routed(explanation) => explanation.key.hash.clone(),
            Explained::Refused(_) => String::new(),
        };
        let want = format!(
            "\
GET /prices/1?utm=1&currency=EUR

route    prices  /prices/{{sku}}  [GET HEAD]  -> v  (proxy.toml:10)
policy   live  (proxy.toml:4)

key      upstream v, /prices/1?currency=EUR
         x-region: not there
         {hash}
         not in it: query parameters utm: neither in the key nor sent on (route.prices.key.query, proxy.toml:16)
         not in it: the client's host: all hosts of this route share (route.prices.key.host, default)
         not in it: all other fields of the request, unless a stored answer's `Vary` names them (RFC 9111 4.1)

stored   not known: no proxy was asked

departs from the RFCs
         RFC 9111 5.2.1: a client's own `Cache-Control` and `Pragma` are not obeyed (policy.live.client_directives, proxy.toml:6)
         RFC 9111 2: targets that differ in parameters that do not count, or in their order, are one key (and one target for the upstream) (route.prices.key.query, proxy.toml:16)
"
        );
        let departs = got.split("\nstricter than the RFCs ask").next().unwrap();
        assert_eq!(departs, want);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let mut page = Page::default();
        page.line("a\u{1b}[2Jb");
        assert_eq!(page.0, format!("{:<HEADING$}a\u{fffd}[2Jb\n", ""));
    }
}
