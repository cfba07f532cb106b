//! `larder purge`: what is stored is declared stale, or void, in a running proxy.

use clap::Args;
use serde_json::{Value, json};

use super::{CliError, admin_client::AdminArgs};
use crate::admin::{ORDERS_MAX, PurgeMode, PurgeOrder};

/// Arguments of `larder purge`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Without --hard, what is purged counts as stale: it is answered at once and refreshed behind, and \
                  stays the last known good answer. With --hard it is never answered again."
)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    pub proxy: AdminArgs,
    #[command(flatten)]
    pub what: WhatArgs,
    /// As if it had never been stored: not answered again, not even in an outage
    #[arg(long)]
    pub hard: bool,
    /// Print what the proxy answers, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Of what; several may be named at once.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = true)]
pub(super) struct WhatArgs {
    /// Answers with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Answers of this URL, as clients ask for it; a path alone means every host
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// Answers of every URL that begins so: /path or host/path
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Vec<String>,
    /// Answers that this route stored
    #[arg(long, value_name = "NAME")]
    pub route: Vec<String>,
    /// Answers of this group (RFC 9875) of --upstream
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// The upstream of --group; without --group, all its answers
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Everything
    #[arg(long)]
    pub all: bool,
}

impl WhatArgs {
    fn orders(&self) -> Vec<PurgeOrder> {
        let none = PurgeOrder::default;
        let mut orders = Vec::new();
        for tag in &self.tag {
            orders.push(PurgeOrder {
                tag: Some(tag.clone()),
                ..none()
            });
        }
        for url in &self.url {
            orders.push(PurgeOrder {
                url: Some(url.clone()),
                ..none()
            });
        }
        for prefix in &self.prefix {
            orders.push(PurgeOrder {
                prefix: Some(prefix.clone()),
                ..none()
            });
        }
        for route in &self.route {
            orders.push(PurgeOrder {
                route: Some(route.clone()),
                ..none()
            });
        }
        for group in &self.group {
            orders.push(PurgeOrder {
                group: Some(group.clone()),
                upstream: self.upstream.clone(),
                ..none()
            });
        }
        if self.group.is_empty()
            && let Some(upstream) = &self.upstream
        {
            orders.push(PurgeOrder {
                upstream: Some(upstream.clone()),
                ..none()
            });
        }
        if self.all {
            orders.push(PurgeOrder {
                all: true,
                ..none()
            });
        }
        orders
    }
}

/// Purges, and says what that came to.
///
/// # Errors
///
/// [`CliError::Setup`] where nothing was purged because it is not clear what or where; else [`CliError::Failed`].
pub(super) fn run(args: &PurgeArgs) -> Result<(), CliError> {
    let mut orders = args.what.orders();
    if orders.len() > ORDERS_MAX {
        return Err(CliError::Setup(format!(
            "{} things at once are too many: name at most {ORDERS_MAX}, or a prefix, a route or a tag",
            orders.len()
        )));
    }
    if args.hard {
        for order in &mut orders {
            order.mode = PurgeMode::Hard;
        }
    }
    let answer = args
        .proxy
        .client()?
        .post("/api/v1/purge", &json!({ "purges": orders }))?;
    if args.json {
        println!("{answer:#}");
        return Ok(());
    }
    for purge in answer["purges"].as_array().into_iter().flatten() {
        println!("{}", line(purge));
    }
    Ok(())
}

/// One purge for people.
fn line(purge: &Value) -> String {
    let words = purge["what"].as_object().into_iter().flatten();
    let words: Vec<String> = words
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            Value::Bool(true) => name.clone(),
            other => format!("{name} {other}"),
        })
        .collect();
    format!(
        "purged ({}) {}, number {}",
        purge["mode"].as_str().unwrap_or_default(),
        words.join(", "),
        purge["number"]
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: PurgeArgs,
    }

    fn orders(args: &str) -> Option<String> {
        let words = std::iter::once("purge").chain(args.split_whitespace());
        let command = Command::try_parse_from(words).ok()?;
        Some(
            json!(command.args.what.orders())
                .to_string()
                .replace(r#","mode":"soft""#, ""),
        )
    }

    #[test]
    fn what_is_named_is_ordered_and_nothing_is_an_error() {
        for (args, want) in [
            ("--tag a --tag b", Some(r#"[{"tag":"a"},{"tag":"b"}]"#)),
            (
                "--group g --upstream u",
                Some(r#"[{"group":"g","upstream":"u"}]"#),
            ),
            ("--group g", Some(r#"[{"group":"g"}]"#)),
            ("--upstream u", Some(r#"[{"upstream":"u"}]"#)),
            ("--all", Some(r#"[{"all":true}]"#)),
            (
                "--url /a --prefix /b --route r",
                Some(r#"[{"url":"/a"},{"prefix":"/b"},{"route":"r"}]"#),
            ),
            ("", None),
            ("--hard", None),
        ] {
            let got = orders(args).map(|text| text.replace(r#""mode":"soft","#, ""));
            assert_eq!(got.as_deref(), want, "{args}");
        }
    }

    #[test]
    fn a_purge_is_one_line_for_people() {
        for (purge, want) in [
            (
                json!({"number": 7, "mode": "soft", "what": {"tag": "a"}}),
                "purged (soft) tag a, number 7",
            ),
            (
                json!({"number": 7, "mode": "hard", "what": {"all": true}}),
                "purged (hard) all, number 7",
            ),
        ] {
            assert_eq!(line(&purge), want);
        }
    }
}
