//! What bounds the requests to an upstream: `adaptive`, `shares` and `quota`.

use toml::de::DeValue;

use crate::config::{
    AdaptiveConfig, LimitAlgorithm, QuotaConfig, SharesConfig, rate::rate as parse_rate,
    reader::Table,
};

/// Written at all, an empty table too, the limit adapts.
pub(super) fn adaptive(above: &Table<'_>, in_flight_max: usize) -> Option<AdaptiveConfig> {
    let table = above.optional_table("adaptive")?;
    let adaptive = AdaptiveConfig {
        algorithm: match table.word("algorithm") {
            "aimd" => LimitAlgorithm::Aimd,
            _ => LimitAlgorithm::Gradient,
        },
        in_flight_min: table.count("in_flight_min"),
        backoff_percent: table.count("backoff_percent"),
        latency_max: table.duration("latency_max"),
        tolerance_percent: table.count("tolerance_percent"),
        measure_every: table.duration("measure_every"),
    };
    if adaptive.in_flight_min > in_flight_max {
        let message = format!("is more than `in_flight_max` ({in_flight_max})");
        table
            .error("in_flight_min", message)
            .hint("the limit is found between the two");
    }
    let (other, idle): (_, &[&str]) = match adaptive.algorithm {
        LimitAlgorithm::Aimd => ("gradient", &["tolerance_percent", "measure_every"]),
        LimitAlgorithm::Gradient => ("aimd", &["latency_max"]),
    };
    for key in idle {
        if table.is_written(key) {
            table.warning(
                key,
                format!("changes nothing without `algorithm = \"{other}\"`"),
            );
        }
    }
    Some(adaptive)
}

/// Of a lower priority never more than of a higher one.
pub(super) fn shares(table: &Table<'_>) -> SharesConfig {
    let shares = SharesConfig {
        user_revalidate: table.count("user_revalidate"),
        webhook: table.count("webhook"),
        sync: table.count("sync"),
    };
    for (low, at_low, high, at_high) in [
        (
            "webhook",
            shares.webhook,
            "user_revalidate",
            shares.user_revalidate,
        ),
        ("sync", shares.sync, "webhook", shares.webhook),
    ] {
        if at_low <= at_high {
            continue;
        }
        match table.is_written(low) {
            true => table.error(low, format!("is more than `{high}` ({at_high})")),
            false => table.error(high, format!("is less than `{low}` ({at_low})")),
        }
        .hint("in this order: user_revalidate >= webhook >= sync");
    }
    shares
}

/// A table, or the rate alone.
pub(super) fn quota(table: &Table<'_>) -> Option<QuotaConfig> {
    let item = table.item("quota")?;
    if let DeValue::Table(_) = item.value {
        let table = table.optional_table("quota")?;
        let rate = table.read("rate", parse_rate)?;
        let burst = table
            .optional_count("burst")
            .unwrap_or_else(|| QuotaConfig::burst_of(rate.count));
        if burst > rate.count {
            table
                .error(
                    "burst",
                    format!("is more than the rate has ({})", rate.count),
                )
                .hint("the burst is part of the rate");
        }
        return Some(QuotaConfig { rate, burst });
    }
    match parse_rate(item.value) {
        Ok(rate) => Some(QuotaConfig {
            rate,
            burst: QuotaConfig::burst_of(rate.count),
        }),
        Err(complaint) => {
            item.complain(complaint);
            None
        }
    }
}
