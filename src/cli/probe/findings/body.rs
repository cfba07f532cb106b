//! What the answer holds: type, size, encoding, framing, shape.

use http::{StatusCode, Version, header::TRANSFER_ENCODING};
use serde_json::json;

use super::{
    super::{
        ask::told_length,
        content::{Content, Kind, codings},
        seen::{BodyEnd, Exchange, Observations, Purpose, shown},
    },
    Found, Reading, count, size,
};

pub(super) fn content(seen: &Observations, first: &Exchange, reading: &Reading, found: &mut Found) {
    if !first.answer.status.is_success() {
        return;
    }
    let Some(content) = &reading.content else {
        return;
    };
    media_type(content, found);
    length(first, content, found);
    encoding(seen, first, found);
    framing(first, found);
}

fn media_type(content: &Content, found: &mut Found) {
    let Some(claimed) = &content.claimed else {
        if content.kind != Kind::Empty {
            found
                .warning(
                    "content.type",
                    "it does not say what it is (no Content-Type)",
                )
                .advise("name the types that a contract takes: `content_type = [\"...\"]`");
        }
        return;
    };
    let charset = claimed.charset.as_deref();
    let text = match charset {
        Some(charset) => format!("{}, charset {charset}", claimed.essence),
        None => claimed.essence.clone(),
    };
    // RFC 8259 8.1: between systems JSON is UTF-8.
    let is_odd =
        claimed.is_json() && charset.is_some_and(|one| one != "utf-8" && one != "us-ascii");
    let finding = match is_odd {
        true => found.note("content.type", format!("{text} (JSON is UTF-8)")),
        false => found.ok("content.type", text),
    };
    finding.value(json!({ "type": claimed.essence, "charset": charset }));
}

fn length(first: &Exchange, content: &Content, found: &mut Found) {
    let sent = first.answer.body.len() as u64;
    let told = told_length(&first.answer.headers);
    let value = json!({ "bytes": sent, "decoded_bytes": content.decoded_len, "told": told });
    let finding = match &first.answer.end {
        BodyEnd::Bound => {
            let of = told.map_or_else(String::new, |told| format!(" of {}", size(told)));
            found
                .warning(
                    "content.size",
                    format!("large: {}{of} were read and no more", size(sent)),
                )
                .advise(
                    "beyond store.body_max (16 MiB) it is passed on and not stored: ask for pages",
                )
        }
        BodyEnd::Late => found
            .problem(
                "content.size",
                format!("it did not end in time: {} came", size(sent)),
            )
            .advise(
                "an endless stream, or slow: longer --timeout; what does not end is not stored",
            ),
        BodyEnd::Broken(why) => found
            .problem(
                "content.size",
                format!("it broke off after {} ({why})", size(sent)),
            )
            .advise("probe again; what is cut short is never stored"),
        BodyEnd::Whole if first.answer.status == StatusCode::NO_CONTENT => found
            .problem("content.size", "no content, by its status")
            .advise("there is nothing here that could be kept for later"),
        BodyEnd::Whole if sent == 0 => found
            .problem("content.size", "nothing: the body is empty")
            .advise("does it need a parameter, or another Accept?"),
        BodyEnd::Whole if content.decoded_len != sent => found.ok(
            "content.size",
            format!("{}, unpacked {}", size(sent), size(content.decoded_len)),
        ),
        BodyEnd::Whole => found.ok("content.size", format!("{} long", size(sent))),
    };
    finding.value(value);
}

fn encoding(seen: &Observations, first: &Exchange, found: &mut Found) {
    let plain = codings(&first.answer);
    if !plain.is_empty() {
        found
            .note(
                "content.encoding_unasked",
                format!(
                    "encoded as {} though nobody asked for it",
                    shown(&plain.join(", "), 60)
                ),
            )
            .advise("clients that cannot read that have to say so; larder stores it as it comes");
    }
    let Some(encoded) = seen.of(Purpose::Encoded).next() else {
        return;
    };
    let offered = codings(&encoded.answer);
    let vary = encoded.answer.field("vary").unwrap_or_default();
    let varies = vary == "*" || vary.to_ascii_lowercase().contains("accept-encoding");
    if offered.is_empty() {
        found
            .ok(
                "content.encoding",
                "not compressed (gzip, br and zstd were offered)",
            )
            .value(json!({ "offered": [] }));
        return;
    }
    let text = format!(
        "{} if asked: {} instead of {}",
        shown(&offered.join(", "), 60),
        size(encoded.answer.body.len() as u64),
        size(first.answer.body.len() as u64)
    );
    let value = json!({ "offered": offered, "bytes": encoded.answer.body.len() });
    let finding = match varies || !plain.is_empty() {
        true => found.ok("content.encoding", text),
        // RFC 9110 12.5.5: a cache has to be told.
        false => found
            .warning(
                "content.encoding",
                format!("{text}, without Vary: Accept-Encoding"),
            )
            .advise(
                "one client's gzip may be answered to another; set `request_headers.set = \
                 { Accept-Encoding = \"identity\" }` on the route",
            ),
    };
    finding.value(value);
}

fn framing(first: &Exchange, found: &mut Found) {
    let has_length = told_length(&first.answer.headers).is_some();
    let is_chunked = first.answer.headers.contains_key(TRANSFER_ENCODING);
    let (level_ok, text, word) = match (first.answer.version, has_length, is_chunked) {
        (_, true, _) => (true, "its length is told (Content-Length)", "length"),
        (Version::HTTP_2, ..) => (true, "its end is told by HTTP/2", "http2"),
        (_, _, true) => (
            true,
            "chunked: its length is not told, its end is",
            "chunked",
        ),
        _ if first.answer.status == StatusCode::NO_CONTENT => return,
        _ => (
            false,
            "it ends when the connection does: what is cut short looks whole",
            "close",
        ),
    };
    let finding = match level_ok {
        true => found.ok("content.framing", text),
        false => found
            .warning("content.framing", text)
            .advise("a contract is the only thing that sees a truncated answer here"),
    };
    finding.value(word);
}

// --- Shape ---

pub(super) fn shape(first: &Exchange, reading: &Reading, found: &mut Found) {
    if !first.answer.status.is_success() {
        return;
    }
    let Some(content) = &reading.content else {
        return;
    };
    match &content.kind {
        Kind::Empty => {}
        Kind::Json(_) => json_shape(reading, found),
        Kind::Csv {
            columns,
            rows,
            delimiter,
        } => {
            let number = count(columns.len(), "column");
            let names = columns.join(", ");
            let delimiter = match delimiter {
                '\t' => " by tabs".to_owned(),
                ',' => String::new(),
                other => format!(" by `{other}`"),
            };
            found
                .ok(
                    "shape.csv",
                    format!("CSV{delimiter}, {}, {number}: {names}", count(*rows, "row")),
                )
                .value(json!({ "columns": columns, "rows": rows }));
        }
        Kind::Xml { root } => {
            found
                .ok(
                    "shape.xml",
                    format!("XML, well-formed, root element <{root}>"),
                )
                .value(json!({ "root": root }));
        }
        Kind::Html => {
            found
                .warning("shape.html", "this answers a page for people, not data")
                .advise("look for the API's own host or path; --header 'Accept: application/json'")
                .value(true);
        }
        Kind::Text => {
            found.note(
                "shape.text",
                "text: a contract can only judge type and size",
            );
        }
        Kind::Binary => {
            found.note(
                "shape.binary",
                "binary: a contract can only judge type and size",
            );
        }
        Kind::Malformed { claimed, why } => {
            found
                .problem(
                    "shape.malformed",
                    format!("it says {claimed} and is not: {why}"),
                )
                .advise("tell the vendor; a contract keeps such answers from your visitors")
                .value(json!({ "claimed": claimed }));
        }
        Kind::Unread(why) => {
            found.note("shape.unread", format!("not looked into: {why}"));
        }
    }
}

fn json_shape(reading: &Reading, found: &mut Found) {
    let Some(shape) = &reading.shape else {
        return;
    };
    let documents = reading.documents;
    let alike = match documents {
        1 => "one answer".to_owned(),
        _ => format!("{documents} answers"),
    };
    let value = json!({ "documents": documents, "schema": shape.schema() });
    found
        .ok(
            "shape.json",
            format!("JSON, {} ({alike}, below)", shape.word()),
        )
        .value(value);
    if let Some(list) = &shape.list
        && list.len_max == 0
    {
        found
            .warning(
                "shape.empty_list",
                "the list is empty: nothing is learnt from it",
            )
            .advise("probe a URL that has something to say");
    }
}
