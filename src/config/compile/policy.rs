//! `[policy.NAME]`: how answers age.

use std::{ops::RangeInclusive, sync::Arc};

use crate::config::{
    NegativeLifetimes, Policy,
    reader::Table,
    values::{self, Complaint, Parsed},
};

pub(super) fn policies(root: &Table<'_>) -> Vec<Arc<Policy>> {
    let tables = root.named_tables("policy");
    let written = tables
        .iter()
        .map(|(name, table)| Arc::new(policy(name, table)));
    let mut policies: Vec<_> = written.collect();
    if !policies.iter().any(|policy| &*policy.name == "default") {
        policies.push(Arc::new(Policy::default()));
    }
    policies
}

fn policy(name: &str, table: &Table<'_>) -> Policy {
    let override_origin = table.flag("override");
    let policy = Policy {
        name: Arc::from(name),
        fresh: table.optional_duration("fresh"),
        fresh_min: table.optional_duration("fresh_min"),
        fresh_max: table.optional_duration("fresh_max"),
        stale_while_revalidate: table.duration("stale_while_revalidate"),
        stale_after: table.duration("stale_after"),
        max_stale: table.duration("max_stale"),
        override_origin,
        heuristic_percent: table.count("heuristic_percent"),
        heuristic_max: table.duration("heuristic_max"),
        negative: negative(table),
        negative_max: table.duration("negative_max"),
        share_set_cookie: table.flag("share_set_cookie"),
        client_directives: table
            .optional_flag("client_directives")
            .unwrap_or(!override_origin),
        spread_percent: table.count("spread_percent"),
        early: table.flag("early"),
        cool_down: table.duration("cool_down"),
        written: table.written(),
    };
    check(&policy, table);
    policy
}

fn negative(table: &Table<'_>) -> NegativeLifetimes {
    let mut lifetimes = Vec::new();
    for (status, span, item) in table.pairs("negative") {
        let read =
            statuses(status).and_then(|range| Ok((range, values::duration(item.value, true)?)));
        match read {
            Ok(lifetime) => lifetimes.push(lifetime),
            Err(complaint) => {
                table
                    .cx
                    .findings
                    .error(&item.key, &span, complaint.message)
                    .maybe_hint(complaint.hint);
            }
        }
    }
    NegativeLifetimes::new(lifetimes)
}

/// `404` or `5xx`: errors only.
fn statuses(text: &str) -> Parsed<RangeInclusive<u16>> {
    let complain = || {
        Complaint::new(format!("`{text}` is not an error status"))
            .hint("write codes or classes: { \"404\" = \"30s\", \"5xx\" = \"2s\" }")
    };
    match text.as_bytes() {
        [digit @ (b'4' | b'5'), b'x' | b'X', b'x' | b'X'] => {
            let class = u16::from(digit - b'0') * 100;
            Ok(class..=class + 99)
        }
        _ => {
            let code = text.parse::<u16>().map_err(|_| complain())?;
            let is_error = (400..=599).contains(&code);
            is_error.then_some(code..=code).ok_or_else(complain)
        }
    }
}

fn check(policy: &Policy, table: &Table<'_>) {
    if let (Some(min), Some(max)) = (policy.fresh_min, policy.fresh_max)
        && min > max
    {
        table
            .error("fresh_min", "is longer than `fresh_max`")
            .related(&table.span_of("fresh_max"), "`fresh_max`");
    }
    if let (Some(fresh), Some(max)) = (policy.fresh, policy.fresh_max)
        && fresh > max
    {
        table
            .warning(
                "fresh",
                "is longer than `fresh_max`, which bounds origins only",
            )
            .related(&table.span_of("fresh_max"), "`fresh_max`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parsed;

    #[test]
    fn lifetimes_of_errors_are_by_code_before_class() {
        let config = parsed(
            "policy.default.negative = { \"4xx\" = \"5s\", \"404\" = \"30s\", \"503\" = \"0s\" }\nupstream.a.endpoints = [\"http://a\"]\nroute = [{ path = \"/\", upstream = \"a\" }]",
        );
        let negative = &config.routes[0].policy.negative;
        for (status, want_secs) in [(404, Some(30)), (410, Some(5)), (503, Some(0)), (500, None)] {
            let status = http::StatusCode::from_u16(status).unwrap();
            let got = negative.of(status).map(|lifetime| lifetime.as_secs());
            assert_eq!(got, want_secs, "{status}");
        }
    }

    #[test]
    fn an_empty_policy_is_the_built_in_one() {
        let config = parsed(
            "policy.default = {}\nupstream.a.endpoints = [\"http://a\"]\nroute = [{ path = \"/\", upstream = \"a\" }]",
        );
        assert_eq!(*config.routes[0].policy, Policy::default());
    }
}
