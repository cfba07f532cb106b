//! Whether an answer made from a response has its status, fields, age and bytes, and questions their validators.

use http::{HeaderMap, Method};
use larder::cache::Mode;

use crate::{
    fields::{DELTA_MAX, SECOND, delta, http_date, list, text, weakly_equal},
    known::Known,
    rules::Turn,
    world::{content, one_range, opaque, within},
};

/// 4.3.1: a question carries the client's own conditions, or validators of a stored response of this target.
pub fn check_questions(known: &[Known], turn: &Turn<'_>) -> Result<(), String> {
    for exchange in turn.exchanges {
        for (condition, validator) in [
            ("if-none-match", "etag"),
            ("if-modified-since", "last-modified"),
            ("if-range", "etag"),
        ] {
            let Some(sent) = exchange.asked.get(condition) else {
                continue;
            };
            let of_client = turn.asked.get(condition) == Some(sent);
            let of_stored = known.iter().any(|known| {
                let has = |name| known.fields.get(name) == Some(sent);
                known.target == turn.target
                    && known.ended != Some(Mode::Hard)
                    && (has(validator) || (condition == "if-range" && has("last-modified")))
            });
            if !of_client && !of_stored {
                return Err(format!(
                    "asked with {condition}: {sent:?}, which nothing stored has (4.3.1)"
                ));
            }
        }
    }
    Ok(())
}

/// 5.1: the age of what is reused, to the second.
pub fn check_age(known: &Known, turn: &Turn<'_>, renewed: bool) -> Result<(), String> {
    let said = text(&turn.got.fields, "age")
        .and_then(delta)
        .map(|secs| secs * SECOND);
    let Some(said) = said else {
        // Only what was not validated has to tell.
        return if renewed {
            Ok(())
        } else {
            Err("it has no Age (5.1)".to_owned())
        };
    };
    let least = known.age(turn.arrived_at as i64);
    let most = known.age(turn.answered_at as i64);
    let from_the_future = known.received_at > turn.arrived_at as i64;
    let is_right = said + 2 * SECOND > least.min(DELTA_MAX * SECOND)
        && (from_the_future || said < most + 2 * SECOND);
    if is_right {
        return Ok(());
    }
    let renewed = if renewed { "renewed, " } else { "" };
    Err(format!(
        "{renewed}Age is {} s, not {} s",
        said / SECOND,
        least / SECOND
    ))
}

/// Status, fields and bytes of an answer made from this response. `evaluates`: the cache looks at conditions and ranges.
pub fn check_content(
    turn: &Turn<'_>,
    status: u16,
    fields: &HeaderMap,
    evaluates: bool,
) -> Result<(), String> {
    let got = turn.got;
    for name in [
        "etag",
        "last-modified",
        "cache-control",
        "vary",
        "x-version",
        "expires",
        "content-location",
    ] {
        let (ours, theirs): (Vec<_>, Vec<_>) = (
            got.fields.get_all(name).iter().collect(),
            fields.get_all(name).iter().collect(),
        );
        if ours != theirs {
            return Err(format!("{name} is {ours:?}, not {theirs:?}"));
        }
    }
    let whole = text(fields, "x-version").map(content).unwrap_or_default();
    let is_head = *turn.method == Method::HEAD;
    if !evaluates {
        // HEAD and unsafe methods: as it came.
        let unmodified =
            is_head && got.status == 304 && condition_fails(turn.asked, fields) != Some(false);
        return match (unmodified, got.status == status) {
            (true, _) => Ok(()),
            (false, false) => Err(format!("status {}, not {status}", got.status)),
            (false, true) if is_head && !got.body.is_empty() => Err("HEAD with content".to_owned()),
            (false, true) if !is_head && status == 200 && got.body != whole => {
                Err("other bytes".to_owned())
            }
            (false, true) => Ok(()),
        };
    }
    // RFC 9110 13.2.2: conditions first.
    let failing = match status {
        200 | 206 => condition_fails(turn.asked, fields),
        // 13.2.1 speaks of these too; a whole answer is never wrong.
        201..=299 => condition_fails(turn.asked, fields).filter(|fails| !fails),
        _ => Some(false),
    };
    if got.status == 304 {
        return match failing {
            Some(false) => {
                Err("304 although the client has something else (RFC 9110 13.2.2)".to_owned())
            }
            _ if got.body.is_empty() => Ok(()),
            _ => Err("304 with content".to_owned()),
        };
    }
    if failing == Some(true) {
        return Err(format!(
            "{} although the client has it (RFC 9110 13.2.2)",
            got.status
        ));
    }
    if is_head {
        let said =
            text(&got.fields, "content-length").and_then(|length| length.parse::<usize>().ok());
        return match said {
            _ if !got.body.is_empty() => Err("HEAD with content".to_owned()),
            // A part that was put together with the rest is whole.
            _ if got.status != status && (got.status, status) != (200, 206) => {
                Err(format!("status {}, not {status}", got.status))
            }
            Some(length) if status == 200 && length != whole.len() => {
                Err("another Content-Length".to_owned())
            }
            _ => Ok(()),
        };
    }
    check_bytes(turn, status, fields, &whole)
}

/// RFC 9110 14: the bytes that were asked for, or all of them.
pub fn check_bytes(
    turn: &Turn<'_>,
    status: u16,
    fields: &HeaderMap,
    whole: &[u8],
) -> Result<(), String> {
    let got = turn.got;
    let range = text(turn.asked, "range").filter(|_| matches!(status, 200 | 206 | 416));
    let may_cut = text(turn.asked, "if-range").is_none_or(|wanted| {
        let strong = text(fields, "etag").filter(|etag| etag.starts_with('"'));
        // A part that was chosen by its strong tag may have got a weak one of the same name from a 304.
        let renamed =
            status == 206 && text(fields, "etag").is_some_and(|etag| opaque(etag) == wanted);
        strong == Some(wanted) || renamed || text(fields, "last-modified") == Some(wanted)
    });
    match got.status {
        206 if got
            .fields
            .get("content-type")
            .is_some_and(|it| it.as_bytes().starts_with(b"multipart/")) =>
        {
            check_multipart(range, &got.body, whole)
        }
        // A part that does not say which one it is is one for who asks in the same words; the bytes are as they came.
        206 if status == 206 && range.is_some() && !fields.contains_key("content-range") => {
            if got.body == whole {
                Ok(())
            } else {
                Err("other bytes".to_owned())
            }
        }
        206 => {
            let said = text(&got.fields, "content-range").unwrap_or_default();
            let asked = range
                .filter(|_| may_cut)
                .and_then(one_range)
                .and_then(|range| within(range, whole.len()));
            let Some((first, last)) = asked else {
                return Err(format!("206 {said} that nobody asked for"));
            };
            if said != format!("bytes {first}-{last}/{}", whole.len()) {
                return Err(format!("Content-Range: {said} for bytes {first} to {last}"));
            }
            if got.body != whole[first..=last] {
                Err("other bytes".to_owned())
            } else {
                Ok(())
            }
        }
        416 => {
            let satisfiable = range
                .and_then(one_range)
                .and_then(|range| within(range, whole.len()));
            if range.is_none() || satisfiable.is_some() || !got.body.is_empty() {
                return Err("416 although there are such bytes (RFC 9110 15.5.17)".to_owned());
            }
            Ok(())
        }
        other if other == status || (status == 206 && other == 200) => {
            if got.body == whole {
                Ok(())
            } else {
                Err(format!(
                    "other bytes: {:?}, not {:?}",
                    String::from_utf8_lossy(&got.body),
                    String::from_utf8_lossy(whole)
                ))
            }
        }
        other => Err(format!("status {other}, not {status}")),
    }
}

pub fn check_multipart(range: Option<&str>, body: &[u8], whole: &[u8]) -> Result<(), String> {
    let body = String::from_utf8_lossy(body);
    let set = range
        .and_then(|range| range.strip_prefix("bytes="))
        .unwrap_or_default();
    let mut rest = &*body;
    for spec in set.split(',') {
        let Some((first, last)) =
            one_range(&format!("bytes={spec}")).and_then(|range| within(range, whole.len()))
        else {
            continue;
        };
        let head = format!(
            "Content-Range: bytes {first}-{last}/{}\r\n\r\n",
            whole.len()
        );
        let bytes = String::from_utf8_lossy(&whole[first..=last]);
        let Some((_, after)) = rest.split_once(&head) else {
            return Err(format!("no part for {spec}"));
        };
        rest = after.strip_prefix(&*bytes).ok_or("other bytes in a part")?;
    }
    if range.is_none() {
        Err("parts that nobody asked for".to_owned())
    } else {
        Ok(())
    }
}

/// Whether the client has this already (RFC 9110 13.2.2, RFC 9111 4.3.2). `None`: either answer is right.
pub fn condition_fails(asked: &HeaderMap, fields: &HeaderMap) -> Option<bool> {
    if asked.contains_key("if-none-match") {
        let etag = text(fields, "etag");
        return Some(
            list(asked, "if-none-match")
                .iter()
                .any(|tag| tag == "*" || etag.is_some_and(|etag| weakly_equal(tag, etag))),
        );
    }
    let Some(since) = text(asked, "if-modified-since") else {
        return Some(false);
    };
    let Some(since) = http_date(since) else {
        return Some(false);
    };
    // Without one, the date it was sent may stand in for it.
    let modified = text(fields, "last-modified").and_then(http_date);
    modified.map(|modified| modified <= since)
}
