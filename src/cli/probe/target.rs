//! Target: which URL is probed. Pure.
//!
//! # Invariants
//!
//! - A value that names itself a secret (`?api_key=…`) is in what is sent and in nothing that is shown or written.

use http::Uri;

/// Query parameters whose values are not shown: those that `log.redact_query` hides by default, and their like.
const SECRETS: [&str; 14] = [
    "token",
    "key",
    "api_key",
    "apikey",
    "api-key",
    "appid",
    "app_id",
    "access_token",
    "access_key",
    "client_secret",
    "signature",
    "sig",
    "password",
    "secret",
];

/// One URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether it is asked over TLS.
    pub(super) https: bool,
    /// Name or address; an IPv6 address has its brackets.
    pub(super) host: String,
    /// Also where the URL names none.
    pub(super) port: u16,
    /// From the first slash on, without the query.
    pub(super) path: String,
    /// Without the question mark.
    pub(super) query: Option<String>,
}

impl Target {
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!(
                "`{}` is no URL: write scheme and host, as in https://api.vendor.example/v1/prices",
                without_query(text)
            ));
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => {
                return Err(format!(
                    "`{other}` is not spoken here: write http:// or https://"
                ));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if rest[..end].contains('@') {
            return Err(
                "a URL with a user in it would show the password: pass it as --header 'Authorization: Basic …'"
                    .to_owned(),
            );
        }
        let uri: Uri = text.parse().map_err(|error| {
            format!(
                "`{}` is no URL ({error}): white space and letters beyond ASCII are written in percent-encoding, host \
                 names in their ASCII form",
                without_query(text)
            )
        })?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("`{}` names no host", without_query(text)))?;
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        if port == 0 || (uri.port_u16().is_none() && has_port(&rest[..end])) {
            return Err(format!(
                "`{}` has no port that can be connected to: 1 to 65535",
                &rest[..end]
            ));
        }
        Ok(Self {
            https,
            host: host.to_ascii_lowercase(),
            port,
            path: match uri.path() {
                "" => "/".to_owned(),
                path => path.to_owned(),
            },
            query: uri.query().map(str::to_owned),
        })
    }

    /// `https`, or `http`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Host, and port where it is not the scheme's own: what `Host` says.
    pub(super) fn authority(&self) -> String {
        match (self.https, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// `https://api.vendor.example`.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    /// Path and query as they are sent.
    pub(super) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The whole URL for people: without the values of what names itself a secret.
    pub(super) fn shown(&self) -> String {
        let url = format!("{}{}", self.origin(), self.path);
        match &self.query {
            Some(query) => format!("{url}?{}", redacted(query)),
            None => url,
        }
    }

    /// Names of its query parameters, each once, in their order.
    pub(super) fn parameters(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for pair in self.query.as_deref().unwrap_or_default().split('&') {
            let name = pair.split('=').next().unwrap_or_default();
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether a parameter's value is a secret by its name.
    pub(super) fn secret_parameters(&self) -> Vec<&str> {
        let mut names = self.parameters();
        names.retain(|name| is_secret(name));
        names
    }

    /// Whether both are asked over the same connection.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Where a `Location` leads from here (RFC 9110 10.2.2); `None` where it cannot be read.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let location = location.trim();
        let is_absolute = location.split_once("://").is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let url = if is_absolute {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.scheme())
        } else if location.starts_with('/') {
            format!("{}{location}", self.origin())
        } else if location.starts_with('?') {
            format!("{}{}{location}", self.origin(), self.path)
        } else {
            let folder = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
            format!("{}{folder}{location}", self.origin())
        };
        Self::parse(&url).ok()
    }
}

/// A URL that could not be read may hold a secret as any other may.
fn without_query(text: &str) -> &str {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let end = text
        .char_indices()
        .nth(120)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn has_port(authority: &str) -> bool {
    let after_address = authority.rsplit(']').next().unwrap_or_default();
    after_address.contains(':')
}

fn is_secret(name: &str) -> bool {
    SECRETS
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

/// A query without the values of what names itself a secret.
pub(super) fn redacted(query: &str) -> String {
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    query.split('&').map(shown).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_refused_with_what_to_write() {
        for (name, text, want) in [
            (
                "everything",
                "https://API.vendor.example:8443/v1/a?b=c#d",
                Ok("https api.vendor.example 8443 /v1/a?b=c"),
            ),
            ("a host alone", "http://a", Ok("http a 80 /")),
            ("a query without a path", "http://a?b", Ok("http a 80 /?b")),
            (
                "an IPv6 address",
                "http://[::1]:80/x",
                Ok("http [::1] 80 /x"),
            ),
            ("any letter case", "HTTPS://a/", Ok("https a 443 /")),
            (
                "no scheme",
                "api.vendor.example/v1",
                Err("is no URL: write scheme"),
            ),
            ("nothing", "", Err("is no URL")),
            (
                "another scheme",
                "ftp://a/b",
                Err("`ftp` is not spoken here"),
            ),
            ("a user", "https://u:p@a/", Err("would show the password")),
            ("white space", "https://a/b c", Err("is no URL")),
            ("no host", "https:///a", Err("is no URL")),
            ("a port beyond all ports", "http://a:99999/", Err("")),
            ("port 0", "http://a:0/", Err("1 to 65535")),
        ] {
            let got = Target::parse(text);
            match (got, want) {
                (Ok(got), Ok(want)) => {
                    let got = format!(
                        "{} {} {} {}",
                        got.scheme(),
                        got.host,
                        got.port,
                        got.path_and_query()
                    );
                    assert_eq!(got, want, "{name}");
                }
                (Err(got), Err(want)) => assert!(got.contains(want), "{name}: {got}"),
                (got, want) => panic!("{name}: {got:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn a_secret_in_a_url_is_shown_nowhere() {
        let target = Target::parse("https://a/b?q=1&API_KEY=s3cr3t&c").unwrap();
        assert_eq!(target.shown(), "https://a/b?q=1&API_KEY=***&c");
        assert_eq!(target.secret_parameters(), ["API_KEY"]);
        for broken in ["a/b?api_key=s3cr3t", "https://a/b c?api_key=s3cr3t"] {
            let why = Target::parse(broken).unwrap_err();
            assert!(!why.contains("s3cr3t"), "{why}");
        }
    }

    #[test]
    fn a_location_leads_on_from_where_it_was_found() {
        let from = Target::parse("https://a/b/c?d").unwrap();
        for (location, want) in [
            ("/x", Some("https://a/x")),
            ("x/y?z", Some("https://a/b/x/y?z")),
            ("?z", Some("https://a/b/c?z")),
            ("//other/x", Some("https://other/x")),
            ("http://a/x", Some("http://a/x")),
            ("mailto:x", Some("https://a/b/mailto:x")),
            ("ftp://a/", None),
        ] {
            let got = from.join(location).map(|target| target.shown());
            assert_eq!(got.as_deref(), want, "{location}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, location: String) {
            if let Ok(target) = Target::parse(&format!("http://a/{text}")) {
                let _ = (target.shown(), target.join(&location));
            }
            let _ = Target::parse(&text);
        }
    }
}
