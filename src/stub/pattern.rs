//! Patterns: which paths a fault covers, and which path template a resource answers.
//!
//! Pure text matching. A fault names a [`PathPattern`] (`*`, `/prices/*`, `/prices/A-1`); a resource
//! names a [`Template`] (`/prices/{sku}`). Neither decodes percent-escapes: the stub compares what was
//! asked, byte for byte.

use std::fmt;
use std::str::FromStr;

/// The paths a fault covers: `*` for all, `*` inside a path for any run of characters, else exact.
///
/// A pattern with a `?` is compared with path and query, one without it with the path alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPattern(String);

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no path pattern: write '*', '/prices/*' or an exact path that begins with '/'")]
pub struct PatternError(String);

// --- PathPattern ---

impl PathPattern {
    /// The pattern that covers every path.
    pub fn all() -> Self {
        Self("*".into())
    }

    /// Whether this is `*`, the pattern that covers the stub as a whole.
    pub fn is_all(&self) -> bool {
        self.0 == "*"
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `target` (path, perhaps with `?query`) is covered.
    pub fn matches(&self, target: &str) -> bool {
        let with_query = self.0.contains('?');
        let seen = if with_query {
            target
        } else {
            target.split('?').next().unwrap_or(target)
        };
        glob_matches(self.0.as_bytes(), seen.as_bytes())
    }

    /// How narrow the pattern is: exact before any wildcard, then the one with more written out.
    pub fn specificity(&self) -> (bool, usize) {
        let wildcards = self.0.bytes().filter(|byte| *byte == b'*').count();
        (wildcards == 0, self.0.len() - wildcards)
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" || text.starts_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(PatternError(text.to_owned()))
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Greedy match with one remembered star: at most `pattern.len() * text.len()` steps, no recursion.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, seen));
            at += 1;
        } else if pattern.get(at) == Some(&text[seen]) {
            at += 1;
            seen += 1;
        } else if let Some((star_at, star_seen)) = star {
            star = Some((star_at, star_seen + 1));
            at = star_at + 1;
            seen = star_seen + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// A resource's path: literal segments and `{name}` segments that match one segment each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Named(String),
}

// --- Template ---

impl Template {
    /// The segments of `path`, with what they bind, or `None` where it is another path.
    pub(crate) fn bind(&self, path: &str) -> Option<Vec<(String, String)>> {
        let mut asked = path.strip_prefix('/')?.split('/');
        let mut bound = Vec::new();
        for segment in &self.0 {
            let value = asked.next()?;
            match segment {
                Segment::Literal(text) if text == value => {}
                Segment::Named(name) if !value.is_empty() => {
                    bound.push((name.clone(), value.to_owned()));
                }
                _ => return None,
            }
        }
        asked.next().is_none().then_some(bound)
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text
            .strip_prefix('/')
            .ok_or_else(|| format!("path '{text}' must begin with '/'"))?;
        path.split('/')
            .map(segment)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    match text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        Some(name) if !name.is_empty() => Ok(Segment::Named(name.to_owned())),
        None if !text.contains(['{', '}']) => Ok(Segment::Literal(text.to_owned())),
        _ => Err(format!(
            "segment '{text}' must be plain text or one '{{name}}'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_covers_what_it_says() {
        for (pattern, target, want) in [
            ("*", "/anything/at/all?x=1", true),
            ("/prices/*", "/prices/A-1", true),
            ("/prices/*", "/prices/", true),
            ("/prices/*", "/prices", false),
            ("/prices/A-1", "/prices/A-1?currency=USD", true),
            ("/prices/A-1", "/prices/A-11", false),
            ("/prices/A-1?currency=USD", "/prices/A-1?currency=USD", true),
            ("/prices/A-1?currency=USD", "/prices/A-1", false),
            ("/hotels/*/rooms", "/hotels/h1/rooms", true),
            ("/hotels/*/rooms", "/hotels/h1/rates", false),
            ("/*a*b", "/xxaxxab", true),
        ] {
            let parsed: PathPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(target), want, "{pattern} against {target}");
        }
    }

    #[test]
    fn narrower_pattern_is_more_specific() {
        let order = ["*", "/*", "/prices/*", "/prices/A-*", "/p"];
        let specificities: Vec<_> = order
            .iter()
            .map(|text| text.parse::<PathPattern>().unwrap().specificity())
            .collect();
        assert!(specificities.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn relative_path_is_no_pattern() {
        assert!("prices/*".parse::<PathPattern>().is_err());
    }

    #[test]
    fn template_binds_one_segment_per_name() {
        let template: Template = "/hotels/{hotel}/rooms/{room}".parse().unwrap();
        let bound = template.bind("/hotels/h1/rooms/2").unwrap();
        assert_eq!(
            bound,
            [("hotel".into(), "h1".into()), ("room".into(), "2".into())]
        );
        for other in [
            "/hotels/h1/rooms",
            "/hotels/h1/rooms/2/3",
            "/hotels//rooms/2",
        ] {
            assert_eq!(template.bind(other), None, "{other}");
        }
        assert!("/a{b}".parse::<Template>().is_err());
    }
}
