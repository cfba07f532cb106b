//! `request_headers` and `response_headers`: which fields a config may change, and how they are written.

use http::{HeaderName, HeaderValue, header};
use toml::de::DeValue;

use crate::config::{
    HeaderEdits,
    reader::Table,
    values::{self, Complaint, Parsed},
};

/// Fields that are the proxy's own business: hop-by-hop (RFC 9110 7.6.1) and framing (RFC 9112 6).
const UNTOUCHABLE: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-range",
];

pub(super) fn edits(table: &Table<'_>) -> HeaderEdits {
    HeaderEdits {
        remove: table.list("remove", |value| {
            let name = header_name(value)?;
            check_editable(&name).map(|()| name)
        }),
        set: fields(table, "set"),
        add: fields(table, "add"),
    }
}

fn fields(table: &Table<'_>, key: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    for (name, name_span, item) in table.pairs(key) {
        match field(name, item.value) {
            Ok(field) => fields.push(field),
            Err(complaint) => {
                if is_secret(name) {
                    item.mask();
                }
                table
                    .cx
                    .findings
                    .error(&item.key, &name_span, complaint.message)
                    .maybe_hint(complaint.hint);
            }
        }
    }
    fields
}

fn field(name: &str, value: &DeValue<'_>) -> Parsed<(HeaderName, HeaderValue)> {
    let name = parsed_name(name)?;
    check_editable(&name)?;
    if is_secret(name.as_str()) {
        return Err(Complaint::new("a secret is never written into the config")
            .hint("use the upstream's `credentials`"));
    }
    let text = values::text(value)?;
    let value = HeaderValue::from_str(&text)
        .map_err(|_| Complaint::new("has a value that cannot stand in a header field"))?;
    Ok((name, value))
}

fn is_secret(name: &str) -> bool {
    let secrets = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION];
    secrets
        .iter()
        .any(|secret| secret.as_str().eq_ignore_ascii_case(name))
}

/// A field name (RFC 9110 5.1).
pub(super) fn header_name(value: &DeValue<'_>) -> Parsed<HeaderName> {
    parsed_name(&values::text(value)?)
}

fn parsed_name(text: &str) -> Parsed<HeaderName> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Complaint::new(format!("`{}` is not a field name", text.escape_debug())))
}

/// Whether a config may change this field at all.
pub(super) fn check_editable(name: &HeaderName) -> Parsed<()> {
    if name == header::HOST {
        let complaint = Complaint::new("`host` cannot be changed here");
        return Err(complaint.hint("set `host` of the upstream"));
    }
    if UNTOUCHABLE.contains(&name.as_str()) {
        let message = format!("`{name}` belongs to the connection and cannot be changed");
        return Err(
            Complaint::new(message).hint("leave it out; larder sets it as the message needs")
        );
    }
    Ok(())
}
