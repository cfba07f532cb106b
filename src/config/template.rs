//! Path templates (`/prices/{sku}`, `/files/{*rest}`) and the rewriting of a matched path for the upstream.
//!
//! Pure text. A template is parsed once from the config and compared with paths that are already normalised
//! (`http::uri::normalize_path`); its literals are normalised the same way here, so plain comparison of bytes is enough.
//! Parameters are never decoded: what a client wrote in `{sku}` is what the upstream reads.
//!
//! # Invariants
//!
//! - A parameter is one whole, non-empty segment. The rest parameter comes last and takes what remains, also nothing:
//!   `/files/{*rest}` matches `/files`, `/files/` and `/files/a/b`.
//! - Two templates that match one path either have the same shape or one of them is more specific (`PathTemplate::cmp_specificity`).

use std::{borrow::Cow, cmp::Ordering, fmt, sync::Arc};

use crate::http::uri::normalize_path;

/// A route's path: literals, parameters, a rest.
#[derive(Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: Arc<str>,
    segments: Arc<[Segment]>,
}

/// What stands between two slashes of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// `prices`: exactly this. Empty where the path ends in a slash.
    Literal(Box<str>),
    /// `{sku}`: any one segment that is not empty.
    Param(Box<str>),
    /// `{*rest}`: everything from here on, or nothing.
    Rest(Box<str>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is not an absolute path.
    #[error("a path starts with `/`")]
    NotAbsolute,
    /// A `?` or `#`: routes look at paths only.
    #[error("a path has no query and no fragment (`{0}`)")]
    QueryOrFragment(char),
    /// A character that cannot stand in a path (RFC 3986 3.3).
    #[error("`{0}` cannot stand in a path; write it percent-encoded")]
    Character(char),
    /// A `%` without two hexadecimal digits.
    #[error("`%` is followed by two hexadecimal digits")]
    PercentEncoding,
    /// `.` or `..`: normalised paths have none, so this would never match.
    #[error("`.` and `..` never reach a route")]
    DotSegment,
    /// A brace that does not enclose a whole segment.
    #[error("a parameter takes a whole segment: `/{{name}}/`, not `{0}`")]
    PartialSegment(String),
    /// `{}` or `{*}`, or a name with other characters than letters, digits and `_`.
    #[error("`{0}` is not a parameter name: letters, digits and `_`")]
    ParameterName(String),
    /// The same name twice.
    #[error("the parameter `{0}` appears twice")]
    DuplicateParameter(String),
    /// Something follows the rest parameter.
    #[error("`{{*{0}}}` takes everything that remains, so it has to come last")]
    RestNotLast(String),
}

// --- PathTemplate ---

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] where the text is no absolute path or its braces are not whole segments.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let path = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        let mut segments: Vec<Segment> = Vec::new();
        for part in path.split('/') {
            if let Some(Segment::Rest(name)) = segments.last() {
                return Err(TemplateError::RestNotLast(name.to_string()));
            }
            let segment = Segment::parse(part)?;
            if let Some(name) = segment.name()
                && segments.iter().any(|earlier| earlier.name() == Some(name))
            {
                return Err(TemplateError::DuplicateParameter(name.to_owned()));
            }
            segments.push(segment);
        }
        Ok(Self {
            text: Arc::from(text),
            segments: segments.into(),
        })
    }

    /// As the config wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments from left to right; at least one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Names of its parameters from left to right.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }

    /// The literal segments before the first parameter, without a trailing slash: `/api` for `/api/{id}`, empty for `/{*rest}`.
    pub fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in self.segments.iter() {
            match segment {
                Segment::Literal(text) if !text.is_empty() => {
                    prefix.push('/');
                    prefix.push_str(text);
                }
                _ => break,
            }
        }
        prefix
    }

    /// Whether a normalised path has this form.
    pub fn matches(&self, path: &str) -> bool {
        let mut parts = Segments::of(path);
        for segment in self.segments.iter() {
            match segment {
                Segment::Rest(_) => return true,
                Segment::Literal(text) if parts.next() == Some(text) => {}
                Segment::Param(_) if parts.next().is_some_and(|part| !part.is_empty()) => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// The parameters of a path that matches. Nothing is computed until they are asked for.
    pub fn params<'a>(&'a self, path: &'a str) -> Params<'a> {
        Params {
            segments: &self.segments,
            path,
        }
    }

    /// `Less` where `self` is the more specific: at the first segment in which they differ a literal comes before a
    /// parameter, a parameter before the end, the end before a rest. `Equal` for templates that no path tells apart, and
    /// for those that differ in literals only (no path matches both).
    pub fn cmp_specificity(&self, other: &Self) -> Ordering {
        let ranks = |template: &Self| template.segments.iter().map(Segment::rank).collect();
        let (mut left, mut right): (Vec<u8>, Vec<u8>) = (ranks(self), ranks(other));
        left.push(END_RANK);
        right.push(END_RANK);
        left.cmp(&right)
    }

    /// The template with its parameter names taken out. Equal shapes match the same paths.
    pub fn shape(&self) -> String {
        self.segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Param(_) => "/{}".to_owned(),
                Segment::Rest(_) => "/{*}".to_owned(),
            })
            .collect()
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathTemplate({:?})", self.text)
    }
}

impl std::str::FromStr for PathTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text)
    }
}

// --- Segment ---

/// Rank of "the path ends here", between a parameter and a rest.
const END_RANK: u8 = 2;

impl Segment {
    fn parse(part: &str) -> Result<Self, TemplateError> {
        if !part.contains(['{', '}']) {
            return Self::literal(part);
        }
        let inner = part
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|inner| !inner.contains(['{', '}']))
            .ok_or_else(|| TemplateError::PartialSegment(part.to_owned()))?;
        let name = inner.strip_prefix('*').unwrap_or(inner);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_word) {
            return Err(TemplateError::ParameterName(name.to_owned()));
        }
        Ok(if inner.starts_with('*') {
            Self::Rest(name.into())
        } else {
            Self::Param(name.into())
        })
    }

    fn literal(part: &str) -> Result<Self, TemplateError> {
        check_literal(part)?;
        // Normalised like the paths it will be compared with: `%7e` is `~`.
        let absolute = format!("/{part}");
        let normal = normalize_path(&absolute);
        let normal = normal.strip_prefix('/').unwrap_or(&normal);
        // `.` and `..`, also in disguise (`%2e`), are the only segments that vanish.
        if normal.is_empty() != part.is_empty() {
            return Err(TemplateError::DotSegment);
        }
        Ok(Self::Literal(normal.into()))
    }

    /// The parameter's name; `None` for a literal.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param(name) | Self::Rest(name) => Some(name),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Param(_) => 1,
            Self::Rest(_) => END_RANK + 1,
        }
    }
}

/// Only what RFC 3986 3.3 lets stand in a segment.
fn check_literal(part: &str) -> Result<(), TemplateError> {
    let bytes = part.as_bytes();
    for (at, c) in part.char_indices() {
        match c {
            '?' | '#' => return Err(TemplateError::QueryOrFragment(c)),
            '%' => {
                let hex = |offset: usize| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
                if !(hex(1) && hex(2)) {
                    return Err(TemplateError::PercentEncoding);
                }
            }
            _ if c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c) => {}
            _ => return Err(TemplateError::Character(c)),
        }
    }
    Ok(())
}

// --- Params ---

/// The parameters of one matched path, read from it on demand.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    segments: &'a [Segment],
    path: &'a str,
}

impl<'a> Params<'a> {
    /// The raw value of a parameter, percent-encoding as it came. A rest that matched nothing is empty.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Names and raw values from left to right.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut parts = Segments::of(self.path);
        self.segments.iter().filter_map(move |segment| {
            let value = match segment {
                Segment::Rest(_) => parts.remainder(),
                _ => parts.next().unwrap_or(""),
            };
            segment.name().map(|name| (name, value))
        })
    }
}

/// The segments of a path: what stands behind each of its slashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'a>(Option<&'a str>);

impl<'a> Segments<'a> {
    pub(crate) fn of(path: &'a str) -> Self {
        Self(Some(path.strip_prefix('/').unwrap_or(path)))
    }

    /// All segments that were not taken yet, slashes included.
    pub(crate) fn remainder(&mut self) -> &'a str {
        self.0.take().unwrap_or("")
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let path = self.0?;
        // Paths are short: a plain scan beats the set-up of a searcher.
        match path.bytes().position(|byte| byte == b'/') {
            Some(slash) => {
                self.0 = Some(&path[slash + 1..]);
                Some(&path[..slash])
            }
            None => {
                self.0 = None;
                Some(path)
            }
        }
    }
}

// --- PathRewrite ---

/// How a path is changed on its way to the upstream. The query is not touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// As the client sent it (normalised).
    #[default]
    Unchanged,
    /// Without these leading segments (`strip_prefix`): normalised, starts with a slash, does not end in one.
    StripPrefix(Box<str>),
    /// Built anew from the route's parameters (`rewrite`).
    Template(PathTemplate),
}

/// Why a rewrite does not fit its route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The text is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The route's path has no such parameter.
    #[error("the path has no parameter `{0}`")]
    UnknownParameter(String),
    /// The prefix is not made of the leading literal segments of the route's path.
    #[error("`{prefix}` is not a whole leading part of `{path}`")]
    NotAPrefix {
        /// What `strip_prefix` says.
        prefix: String,
        /// The route's path.
        path: String,
    },
    /// The prefix holds a parameter.
    #[error("a prefix to strip is literal, without `{{}}`")]
    PrefixWithParameter,
}

impl PathRewrite {
    /// `strip_prefix`: takes leading literal segments of `path` away.
    ///
    /// # Errors
    ///
    /// Where the prefix is no path, holds a parameter, or is not what every path of the route starts with.
    pub fn strip_prefix(prefix: &str, path: &PathTemplate) -> Result<Self, RewriteError> {
        let without_slash = prefix.strip_suffix('/').filter(|text| !text.is_empty());
        let template = PathTemplate::parse(without_slash.unwrap_or(prefix))?;
        if template.parameter_names().next().is_some() {
            return Err(RewriteError::PrefixWithParameter);
        }
        let literal = template.literal_prefix();
        if !path.segments.starts_with(&template.segments) || literal.is_empty() {
            return Err(RewriteError::NotAPrefix {
                prefix: prefix.to_owned(),
                path: path.to_string(),
            });
        }
        Ok(Self::StripPrefix(literal.into()))
    }

    /// `rewrite`: a path built from the parameters of `path`.
    ///
    /// # Errors
    ///
    /// Where the text is no template, or names a parameter that `path` does not have.
    pub fn template(text: &str, path: &PathTemplate) -> Result<Self, RewriteError> {
        let template = PathTemplate::parse(text)?;
        if let Some(unknown) = template
            .parameter_names()
            .find(|name| !path.parameter_names().any(|known| known == *name))
        {
            return Err(RewriteError::UnknownParameter(unknown.to_owned()));
        }
        Ok(Self::Template(template))
    }

    /// The path for the upstream, always absolute. `params` are those of `path` under the route's template.
    pub fn apply<'p>(&self, path: &'p str, params: Params<'_>) -> Cow<'p, str> {
        match self {
            Self::Unchanged => Cow::Borrowed(path),
            Self::StripPrefix(prefix) => match path.strip_prefix(&**prefix) {
                Some("") => Cow::Borrowed("/"),
                Some(rest) if rest.starts_with('/') => Cow::Borrowed(rest),
                _ => Cow::Borrowed(path),
            },
            Self::Template(template) => Cow::Owned(render(template, path, params)),
        }
    }
}

fn render(template: &PathTemplate, path: &str, params: Params<'_>) -> String {
    let mut out = String::with_capacity(path.len() + template.text.len());
    for segment in template.segments.iter() {
        match segment {
            Segment::Literal(text) => {
                out.push('/');
                out.push_str(text);
            }
            Segment::Param(name) | Segment::Rest(name) => {
                let value = params.get(name).unwrap_or("");
                // `/files` and `/files/` stay two paths: an absent rest brings no slash of its own.
                let is_absent = value.is_empty() && !path.ends_with('/');
                if !is_absent || out.is_empty() {
                    out.push('/');
                    out.push_str(value);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        PathTemplate::parse(text).unwrap()
    }

    #[test]
    fn a_template_matches_whole_segments() {
        for (text, path, want) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/prices/{sku}", "/prices/1", true),
            ("/prices/{sku}", "/prices/", false),
            ("/prices/{sku}", "/prices/1/", false),
            ("/prices/{sku}", "/prices/1/2", false),
            ("/a/{b}/c", "/a/x/c", true),
            ("/a/{b}/c", "/a//c", false),
            ("/{*rest}", "/", true),
            ("/{*rest}", "/a/b/", true),
            ("/files/{*rest}", "/files", true),
            ("/files/{*rest}", "/files/", true),
            ("/files/{*rest}", "/filesystem", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("/%7euser", "/~user", true),
            ("/a%2fb", "/a%2Fb", true),
        ] {
            assert_eq!(template(text).matches(path), want, "{text} {path}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_reason() {
        for (text, want) in [
            ("prices", TemplateError::NotAbsolute),
            ("", TemplateError::NotAbsolute),
            ("/a?b=c", TemplateError::QueryOrFragment('?')),
            ("/a#b", TemplateError::QueryOrFragment('#')),
            ("/a b", TemplateError::Character(' ')),
            ("/caf\u{e9}", TemplateError::Character('\u{e9}')),
            ("/a%2", TemplateError::PercentEncoding),
            ("/a/../b", TemplateError::DotSegment),
            ("/%2e/b", TemplateError::DotSegment),
            ("/a{b}", TemplateError::PartialSegment("a{b}".into())),
            ("/{a}{b}", TemplateError::PartialSegment("{a}{b}".into())),
            ("/{a", TemplateError::PartialSegment("{a".into())),
            ("/{}", TemplateError::ParameterName(String::new())),
            ("/{*}", TemplateError::ParameterName(String::new())),
            ("/{a-b}", TemplateError::ParameterName("a-b".into())),
            ("/{a}/{a}", TemplateError::DuplicateParameter("a".into())),
            ("/{a}/{*a}", TemplateError::DuplicateParameter("a".into())),
            ("/{*a}/b", TemplateError::RestNotLast("a".into())),
            ("/{*a}/", TemplateError::RestNotLast("a".into())),
        ] {
            assert_eq!(PathTemplate::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn parameters_are_raw_and_a_rest_keeps_its_slashes() {
        let files = template("/{shop}/files/{*rest}");
        let params = files.params("/north%20sea/files/a/b%2Fc");
        assert_eq!(params.get("shop"), Some("north%20sea"));
        assert_eq!(params.get("rest"), Some("a/b%2Fc"));
        assert_eq!(params.get("other"), None);
        assert_eq!(files.params("/x/files").get("rest"), Some(""));
    }

    #[test]
    fn literals_come_before_parameters_before_the_end_before_a_rest() {
        let order = [
            "/a/b",
            "/a/{b}",
            "/a",
            "/a/{*rest}",
            "/{a}/b",
            "/{a}/{b}",
            "/{a}",
            "/{*rest}",
        ];
        for pair in order.windows(2) {
            let (more, less) = (template(pair[0]), template(pair[1]));
            assert_eq!(more.cmp_specificity(&less), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn a_shape_forgets_names_only() {
        assert_eq!(template("/a/{b}").shape(), template("/a/{c}").shape());
        assert_ne!(template("/a/{b}").shape(), template("/a/{*b}").shape());
        assert_ne!(template("/a/{b}").shape(), template("/b/{b}").shape());
    }

    #[test]
    fn a_path_is_rewritten_for_the_upstream() {
        let strip = |prefix: &str, path: &PathTemplate| PathRewrite::strip_prefix(prefix, path);
        for (route, rewrite, path, want) in [
            ("/a/{b}", None, "/a/x%20y", "/a/x%20y"),
            ("/api/{*rest}", Some(Ok("/api")), "/api/v1/x", "/v1/x"),
            ("/api/{*rest}", Some(Ok("/api/")), "/api", "/"),
            ("/api/{*rest}", Some(Ok("/api")), "/api/", "/"),
            (
                "/p/{sku}",
                Some(Err("/v2/items/{sku}")),
                "/p/7%2F8",
                "/v2/items/7%2F8",
            ),
            ("/{a}/{b}", Some(Err("/{b}/{a}")), "/1/2", "/2/1"),
            ("/f/{*rest}", Some(Err("/g/{*rest}")), "/f/a/b/", "/g/a/b/"),
            ("/f/{*rest}", Some(Err("/g/{*rest}")), "/f/", "/g/"),
            ("/f/{*rest}", Some(Err("/g/{*rest}")), "/f", "/g"),
            ("/f/{*rest}", Some(Err("/{*rest}")), "/f", "/"),
        ] {
            let route = template(route);
            let rewrite = match rewrite {
                None => PathRewrite::Unchanged,
                Some(Ok(prefix)) => strip(prefix, &route).unwrap(),
                Some(Err(text)) => PathRewrite::template(text, &route).unwrap(),
            };
            assert_eq!(rewrite.apply(path, route.params(path)), want, "{path}");
        }
    }

    #[test]
    fn a_rewrite_that_does_not_fit_its_route_is_refused() {
        let route = template("/api/v1/{id}");
        assert_eq!(
            PathRewrite::template("/{sku}", &route),
            Err(RewriteError::UnknownParameter("sku".into()))
        );
        assert_eq!(
            PathRewrite::strip_prefix("/api/{id}", &route),
            Err(RewriteError::PrefixWithParameter)
        );
        for prefix in ["/ap", "/other", "/api/v1/x", "/"] {
            assert!(
                matches!(
                    PathRewrite::strip_prefix(prefix, &route),
                    Err(RewriteError::NotAPrefix { .. })
                ),
                "{prefix}"
            );
        }
    }
}
