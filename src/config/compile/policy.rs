//! `[policy.NAME]`: how answers age.

use std::sync::Arc;

use crate::config::{Policy, reader::Table};

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
    let policy = Policy {
        name: Arc::from(name),
        fresh: table.optional_duration("fresh"),
        fresh_min: table.optional_duration("fresh_min"),
        fresh_max: table.optional_duration("fresh_max"),
        stale_while_revalidate: table.duration("stale_while_revalidate"),
        stale_after: table.duration("stale_after"),
        max_stale: table.duration("max_stale"),
        override_origin: table.flag("override"),
        spread_percent: table.count("spread_percent"),
        early: table.flag("early"),
        cool_down: table.duration("cool_down"),
    };
    check(&policy, table);
    policy
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
    fn an_empty_policy_is_the_built_in_one() {
        let config = parsed(
            "policy.default = {}\nupstream.a.endpoints = [\"http://a\"]\nroute = [{ path = \"/\", upstream = \"a\" }]",
        );
        assert_eq!(*config.routes[0].policy, Policy::default());
    }
}
