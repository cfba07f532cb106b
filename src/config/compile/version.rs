//! `api_version` and `review_by`: which version of a vendor's API a site is built for, and when to look at that again.

use std::sync::Arc;

use http::HeaderValue;
use jiff::civil::Date;
use toml::de::DeValue;

use super::headers::{check_editable, header_name};
use crate::{
    config::{
        ApiVersion, PinnedVersion, RouteConfig, UpstreamConfig,
        reader::Table,
        template::{PathRewrite, PathTemplate, Segment},
        values::{self, Complaint, Parsed, kind},
    },
    contract::version::review,
};

/// `review_by` of an upstream. A day that is past is warned about.
pub(super) fn review_by(table: &Table<'_>) -> Option<Date> {
    let day = table.read("review_by", day)?;
    if let Some(days) = review::overdue_days(day, table.cx.env.now()) {
        let days = match days {
            1 => "yesterday".to_owned(),
            days => format!("{days} days ago"),
        };
        table
            .warning("review_by", format!("is past: the review was due {days}"))
            .hint("look at this integration, `larder docs` writes a page about it, and set the next day");
    }
    Some(day)
}

/// `2027-01-31`, with or without quotes.
fn day(value: &DeValue<'_>) -> Parsed<Date> {
    let text = match value {
        DeValue::Datetime(day) => day.to_string(),
        DeValue::String(text) => text.to_string(),
        other => {
            let message = format!("expected a day, found {}", kind(other));
            return Err(Complaint::new(message).hint("write 2027-01-31"));
        }
    };
    let is_day = text.len() == 10;
    let parsed = text.parse().ok().filter(|_| is_day);
    parsed.ok_or_else(|| {
        Complaint::new(format!("`{}` is not a day", text.escape_debug())).hint("write 2027-01-31")
    })
}

/// `api_version` of an upstream or a route.
pub(super) fn read(table: &Table<'_>) -> Option<ApiVersion> {
    let table = table.optional_table("api_version")?;
    let (header, path) = (table.is_written("header"), table.is_written("path"));
    let field = |value: &DeValue<'_>| {
        let name = header_name(value)?;
        check_editable(&name).map(|()| name)
    };
    let answer = table.read("answer", header_name);
    match (header, path) {
        (true, true) => {
            table
                .error("path", "and `header` cannot both pin the version")
                .related(&table.span_of("header"), "`header`")
                .hint("leave one of them out");
            None
        }
        (false, false) => {
            table.error("header", "is missing, and so is `path`").hint(
                "write { header = \"X-Api-Version\", value = \"2024-10-01\" } or { path = \"v2\" }",
            );
            None
        }
        (true, false) => {
            let name = table.read("header", field);
            let value = table.read("value", version);
            if !table.is_written("value") {
                table
                    .error("value", "is missing")
                    .hint("the version as the field has it: value = \"2024-10-01\"");
            }
            let (name, value) = (name?, value?);
            Some(ApiVersion {
                answer: answer.or_else(|| Some(name.clone())),
                pin: PinnedVersion::Header {
                    send: table.flag("send"),
                    name,
                    value,
                },
            })
        }
        (false, true) => {
            for name in ["value", "send"] {
                if table.is_written(name) {
                    table
                        .error(name, "has no meaning beside `path`")
                        .hint("leave it out, or pin the version by `header`");
                }
            }
            let segment = table.read("path", segment)?;
            let pin = PinnedVersion::Path { segment };
            Some(ApiVersion { pin, answer })
        }
    }
}

fn version(value: &DeValue<'_>) -> Parsed<HeaderValue> {
    let text = values::line(value)?;
    let is_visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    HeaderValue::from_str(text.trim())
        .ok()
        .filter(|_| is_visible)
        .ok_or_else(|| Complaint::new("cannot stand in a header field"))
}

fn segment(value: &DeValue<'_>) -> Parsed<Box<str>> {
    let text = values::line(value)?;
    let template = PathTemplate::parse(&format!("/{text}"));
    let segments = template.as_ref().map(PathTemplate::segments);
    match segments {
        Ok([Segment::Literal(segment)]) => Ok(segment.clone()),
        _ => Err(
            Complaint::new(format!("`{text}` is not one segment of a path"))
                .hint("write what stands between two slashes: \"v2\""),
        ),
    }
}

/// `api_version` of a route: a segment has to be in what its upstream is asked for.
pub(super) fn of_route(
    table: &Table<'_>,
    path: Option<&PathTemplate>,
    rewrite: &PathRewrite,
    upstream: Option<&UpstreamConfig>,
) -> Option<Arc<ApiVersion>> {
    let pinned = read(table)?;
    if let (PinnedVersion::Path { segment }, Some(path), Some(upstream)) =
        (&pinned.pin, path, upstream)
        && !is_in_endpoints(segment, upstream)
        && !is_in_path(segment, path, rewrite)
    {
        table
            .error(
                "api_version",
                format!("pins `{segment}`, which is in no path that this route asks for"),
            )
            .hint("it has to be in the route's `path` or `rewrite`, or in the endpoints of its upstream");
    }
    Some(Arc::new(pinned))
}

/// Whether the segments that upstreams pin are in what they are asked for.
pub(super) fn check(
    root: &Table<'_>,
    upstreams: &[Arc<UpstreamConfig>],
    routes: &[Arc<RouteConfig>],
) {
    for (name, table) in root.named_tables("upstream") {
        let Some(upstream) = upstreams.iter().find(|known| *known.name == *name) else {
            continue;
        };
        let Some(pinned) = &upstream.api_version else {
            continue;
        };
        let PinnedVersion::Path { segment } = &pinned.pin else {
            continue;
        };
        if is_in_endpoints(segment, upstream) {
            continue;
        }
        let theirs = routes.iter().filter(|route| {
            let is_its = |own: &Arc<ApiVersion>| Arc::ptr_eq(own, pinned);
            route.upstream.name == upstream.name && route.api_version.as_ref().is_some_and(is_its)
        });
        let lacks = |route: &&Arc<RouteConfig>| !is_in_path(segment, &route.path, &route.rewrite);
        let lacking: Vec<_> = theirs.clone().filter(lacks).collect();
        if lacking.is_empty() {
            continue;
        }
        let hint =
            "it has to be in the URL of the endpoints, or in the `path` or `rewrite` of the routes";
        if lacking.len() == theirs.count() {
            let message = format!("pins `{segment}`, which is in no path that it is asked for");
            table.error("api_version", message).hint(hint);
        } else {
            let names: Vec<_> = lacking.iter().map(|route| &*route.name).collect();
            let message = format!(
                "pins `{segment}`, which is not in what these routes ask for: {}",
                values::listed(names.into_iter())
            );
            table
                .warning("api_version", message)
                .hint("give them an `api_version` of their own, or put it into the endpoints' URL");
        }
    }
}

fn is_in_endpoints(segment: &str, upstream: &UpstreamConfig) -> bool {
    let mut endpoints = upstream.endpoints.iter();
    endpoints.all(|endpoint| endpoint.uri.path().split('/').any(|part| part == segment))
}

/// Whether every path that a route asks for has this segment.
fn is_in_path(segment: &str, path: &PathTemplate, rewrite: &PathRewrite) -> bool {
    let (segments, skipped) = match rewrite {
        PathRewrite::Unchanged => (path.segments(), 0),
        PathRewrite::StripPrefix(prefix) => (path.segments(), prefix.matches('/').count()),
        PathRewrite::Template(template) => (template.segments(), 0),
    };
    let is_it = |part: &Segment| matches!(part, Segment::Literal(text) if **text == *segment);
    segments.iter().skip(skipped).any(is_it)
}

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;
