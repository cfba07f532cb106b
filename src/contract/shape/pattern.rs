//! Which places of an answer are meant: `/updated_at`, `$.items[*].id`, `$..etag`. Pure.
//!
//! A pattern is a JSON Pointer (RFC 6901), in which `*` stands for any one step, or the part of JSONPath (RFC 9535) that
//! names places: names, `[*]`, `.*`, indices (which stand for any index, since elements are learnt together), and `..`.
//! It means the place itself and everything inside.

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The member of this name; a pointer's may be an element as well.
    Name(Box<str>),
    /// Any member or element.
    Any,
    /// Any element.
    Element,
    /// Any number of steps.
    Descend,
}

/// Places that are meant, with everything inside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    written: Box<str>,
    steps: Vec<Step>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It begins with neither.
    #[error("begins neither with `/` (a JSON Pointer) nor with `$` (a JSONPath)")]
    Start,
    /// From this byte on.
    #[error("cannot be read from `{0}` on")]
    Rest(String),
    /// It means the whole answer.
    #[error("means the whole answer")]
    Whole,
    /// More steps than any answer is learnt deep.
    #[error("has more than 64 steps")]
    Long,
}

const STEPS_MAX: usize = 64;

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// It is neither a pointer nor a path, or means everything.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let steps = match text.as_bytes() {
            [] | b"$" => return Err(PatternError::Whole),
            [b'/', ..] => pointer(&text[1..]),
            [b'$', ..] => path(&text[1..])?,
            _ => return Err(PatternError::Start),
        };
        if steps.len() > STEPS_MAX {
            return Err(PatternError::Long);
        }
        Ok(Self {
            written: text.into(),
            steps,
        })
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

fn pointer(text: &str) -> Vec<Step> {
    let steps = text.split('/').map(|token| match token {
        "*" => Step::Any,
        // RFC 6901 4: `~1` first, so that `~01` is `~1`.
        _ => Step::Name(token.replace("~1", "/").replace("~0", "~").into()),
    });
    steps.collect()
}

fn path(mut rest: &str) -> Result<Vec<Step>, PatternError> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let unread = || PatternError::Rest(rest.chars().take(20).collect());
        let after = if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Descend);
            match after.as_bytes() {
                [b'[', ..] => after,
                _ => named(after, &mut steps).ok_or_else(unread)?,
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            named(after, &mut steps).ok_or_else(unread)?
        } else {
            bracketed(rest, &mut steps).ok_or_else(unread)?
        };
        rest = after;
    }
    match steps.last() {
        Some(Step::Descend) | None => Err(PatternError::Whole),
        _ => Ok(steps),
    }
}

/// A name without quotes, or `*`; what follows it.
fn named<'t>(text: &'t str, steps: &mut Vec<Step>) -> Option<&'t str> {
    if let Some(after) = text.strip_prefix('*') {
        steps.push(Step::Any);
        return Some(after);
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    if name.is_empty() || name.contains([']', '\'', '"', '*', '?']) {
        return None;
    }
    steps.push(Step::Name(name.into()));
    Some(after)
}

/// `[*]`, `[0]`, `['name']`; what follows it.
fn bracketed<'t>(text: &'t str, steps: &mut Vec<Step>) -> Option<&'t str> {
    let inner = text.strip_prefix('[')?;
    let quote = inner.chars().next()?;
    if quote == '\'' || quote == '"' {
        let mut name = String::new();
        let mut characters = inner[1..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => name.push(characters.next()?.1),
                _ if character == quote => {
                    steps.push(Step::Name(name.into()));
                    return inner[1 + at + 1..].strip_prefix(']');
                }
                _ => name.push(character),
            }
        }
        return None;
    }
    let (index, after) = inner.split_once(']')?;
    let is_index = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    (is_index || index == "*").then(|| steps.push(Step::Element))?;
    Some(after)
}

// --- matching on the way down ---

/// How far patterns have come at one place. Empty where nothing can match below it, so that it costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Matching(Vec<(u16, u16)>);

/// One step into a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inside<'n> {
    Member(&'n str),
    /// A member of a map, whatever its name.
    Rest,
    Element,
}

impl Matching {
    /// At the answer as a whole.
    pub(super) fn start(patterns: &[Pattern]) -> Self {
        Self((0..patterns.len()).map(|at| (at as u16, 0)).collect())
    }

    /// One step further; `None` where a pattern means this place.
    pub(super) fn step(&self, patterns: &[Pattern], into: Inside<'_>) -> Option<Self> {
        let mut next = Vec::new();
        for (at, position) in &self.0 {
            let Some(pattern) = patterns.get(usize::from(*at)) else {
                continue;
            };
            let steps = &pattern.steps[usize::from(*position).min(pattern.steps.len())..];
            let (steps, is_descending) = match steps {
                [Step::Descend, rest @ ..] => (rest, true),
                _ => (steps, false),
            };
            if is_descending {
                next.push((*at, *position));
            }
            let Some(step) = steps.first() else { continue };
            if step.fits(into) {
                if steps.len() == 1 {
                    return None;
                }
                next.push((*at, position + 1 + u16::from(is_descending)));
            }
        }
        Some(Self(next))
    }
}

impl Step {
    fn fits(&self, into: Inside<'_>) -> bool {
        match (self, into) {
            (Self::Any, _) | (Self::Element, Inside::Element) => true,
            (Self::Name(wanted), Inside::Member(name)) => **wanted == *name,
            // A pointer's `0` or `-` is an element where it stands at a list.
            (Self::Name(wanted), Inside::Element) => {
                **wanted == *"-" || wanted.bytes().all(|byte| byte.is_ascii_digit())
            }
            _ => false,
        }
    }
}

/// Writes one more step to a path, as drift prints it: `.name`, `['a b']`, `.*`, `[*]`.
pub(super) fn push_step(path: &mut String, into: Inside<'_>) {
    match into {
        Inside::Element => path.push_str("[*]"),
        Inside::Rest => path.push_str(".*"),
        Inside::Member(name) => {
            let is_plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            if !name.is_empty() && name.chars().all(is_plain) {
                path.push('.');
                path.push_str(name);
            } else {
                path.push_str("['");
                for character in name.chars() {
                    if matches!(character, '\'' | '\\') {
                        path.push('\\');
                    }
                    path.push(character);
                }
                path.push_str("']");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_meant(pattern: &str, place: &[Inside<'_>]) -> bool {
        let patterns = [Pattern::parse(pattern).unwrap()];
        let mut matching = Matching::start(&patterns);
        for into in place {
            match matching.step(&patterns, *into) {
                None => return true,
                Some(next) => matching = next,
            }
        }
        false
    }

    #[test]
    fn pointers_and_paths_mean_places_and_all_inside() {
        use Inside::{Element, Member, Rest};
        for (pattern, place, want) in [
            ("/updated_at", &[Member("updated_at")][..], true),
            ("/updated_at", &[Member("a"), Member("updated_at")], false),
            ("/meta", &[Member("meta"), Member("id")], true),
            (
                "/items/0/id",
                &[Member("items"), Element, Member("id")],
                true,
            ),
            (
                "/items/*/id",
                &[Member("items"), Element, Member("id")],
                true,
            ),
            ("/items/*/id", &[Member("items"), Element], false),
            ("/a~1b/~01", &[Member("a/b"), Member("~1")], true),
            (
                "$.items[*].id",
                &[Member("items"), Element, Member("id")],
                true,
            ),
            (
                "$.items[3].id",
                &[Member("items"), Element, Member("id")],
                true,
            ),
            (
                "$.items[*].id",
                &[Member("items"), Member("x"), Member("id")],
                false,
            ),
            ("$['a b'].c", &[Member("a b"), Member("c")], true),
            (r"$['it\'s']", &[Member("it's")], true),
            ("$.prices.*", &[Member("prices"), Rest], true),
            ("$.prices.*", &[Member("prices"), Member("EUR")], true),
            (
                "$..etag",
                &[Member("a"), Element, Member("b"), Member("etag")],
                true,
            ),
            ("$..etag", &[Member("etag")], true),
            ("$..a.b", &[Member("a"), Member("a"), Member("b")], true),
            ("$..a.b", &[Member("a"), Member("c"), Member("b")], false),
        ] {
            assert_eq!(is_meant(pattern, place), want, "{pattern} {place:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (text, want) in [
            ("updated_at", PatternError::Start),
            ("", PatternError::Whole),
            ("$", PatternError::Whole),
            ("$.a[?@.b]", PatternError::Rest("[?@.b]".into())),
            ("$.", PatternError::Rest(".".into())),
            ("$a", PatternError::Rest("a".into())),
            ("$['a", PatternError::Rest("['a".into())),
        ] {
            assert_eq!(Pattern::parse(text), Err(want), "{text}");
        }
        assert_eq!(
            Pattern::parse(&"/a".repeat(65)),
            Err(PatternError::Long),
            "steps are bounded"
        );
    }

    #[test]
    fn a_printed_path_is_a_pattern_for_its_place() {
        for name in ["price", "a b", "it's", "back\\slash", "x.y", "é", ""] {
            let mut path = "$".to_owned();
            push_step(&mut path, Inside::Member("items"));
            push_step(&mut path, Inside::Element);
            push_step(&mut path, Inside::Member(name));
            let place = [
                Inside::Member("items"),
                Inside::Element,
                Inside::Member(name),
            ];
            assert!(is_meant(&path, &place), "{path}");
        }
    }
}
