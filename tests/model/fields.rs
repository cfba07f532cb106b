//! Fields, read as plainly as the RFCs say it. Nothing here comes from the cache's own code.

use http::HeaderMap;

use crate::world::opaque;

pub const SECOND: i64 = 1000;
/// RFC 9111 1.2.2.
pub const DELTA_MAX: i64 = 1 << 31;

pub fn text<'h>(fields: &'h HeaderMap, name: &str) -> Option<&'h str> {
    fields.get(name)?.to_str().ok()
}

/// 5.6.1 of RFC 9110: members between commas that are not in quotes.
pub fn list(fields: &HeaderMap, name: &str) -> Vec<String> {
    let mut members = vec![];
    for line in fields.get_all(name) {
        let (mut member, mut quoted) = (String::new(), false);
        for c in line.to_str().unwrap_or_default().chars() {
            quoted ^= c == '"';
            if c == ',' && !quoted {
                members.push(std::mem::take(&mut member));
            } else {
                member.push(c);
            }
        }
        members.push(member);
    }
    let trimmed = members.iter().map(|member| member.trim().to_owned());
    trimmed.filter(|member| !member.is_empty()).collect()
}

#[derive(Clone, Debug, Default)]
pub struct Directives {
    pub targeted: bool,
    pub list: Vec<(String, Option<String>)>,
}

impl Directives {
    pub fn has(&self, name: &str) -> bool {
        self.list.iter().any(|(known, _)| known == name)
    }

    /// Of several the shortest; what cannot be read is nothing (4.2.1).
    pub fn secs(&self, name: &str) -> Option<i64> {
        let all = self.list.iter().filter(|(known, _)| known == name);
        all.map(|(_, value)| value.as_deref().and_then(delta).unwrap_or(0))
            .min()
    }
}

pub fn delta(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(DELTA_MAX).min(DELTA_MAX))
}

/// 5.2: names in any case, arguments quoted or not.
pub fn directives(fields: &HeaderMap, name: &str) -> Directives {
    let of = |member: String| match member.split_once('=') {
        Some((name, value)) => {
            let bare = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            (name.to_lowercase(), Some(bare.unwrap_or(value).to_owned()))
        }
        None => (member.to_lowercase(), None),
    };
    Directives {
        targeted: false,
        list: list(fields, name).into_iter().map(of).collect(),
    }
}

/// RFC 9213 2.2: the first targeted field that is a dictionary and not empty, or else `Cache-Control`.
pub fn response_directives(fields: &HeaderMap) -> Directives {
    for name in ["larder-cache-control", "cdn-cache-control"] {
        let lines: Vec<_> = fields.get_all(name).iter().collect();
        if lines.is_empty() {
            continue;
        }
        let all: Vec<_> = lines
            .iter()
            .map(|line| line.to_str().unwrap_or("&"))
            .collect();
        if let Some(list) = dictionary(&all.join(", ")) {
            return Directives {
                targeted: true,
                list,
            };
        }
    }
    directives(fields, "cache-control")
}

/// RFC 9651 3.2, for the values that the runs have: integers, booleans, strings without commas, parameters without values.
pub fn dictionary(text: &str) -> Option<Vec<(String, Option<String>)>> {
    if text.trim().is_empty() {
        return None;
    }
    let mut members: Vec<(String, Option<String>)> = vec![];
    for member in text.split(',') {
        let member = member.trim().split(';').next()?;
        let (name, value) = member
            .split_once('=')
            .map_or((member, None), |(n, v)| (n, Some(v)));
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c));
        if !is_name {
            return None;
        }
        members.retain(|(known, _)| known != name);
        match value {
            Some("?0") => {}
            value => members.push((name.to_owned(), value.map(ToOwned::to_owned))),
        }
    }
    Some(members)
}

pub fn http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// 4.1: absent only matches absent; what the syntax lets vary does not count.
pub fn selected_alike(name: &str, one: &HeaderMap, other: &HeaderMap) -> bool {
    let form = |fields: &HeaderMap| {
        fields.contains_key(name).then(|| {
            let mut members = list(fields, name);
            if name.starts_with("accept") {
                members.sort();
            }
            members
        })
    };
    form(one) == form(other)
}

pub fn weakly_equal(one: &str, other: &str) -> bool {
    opaque(one) == opaque(other)
}
