//! A field of an answer: what a rule is about.
//!
//! Pure. Two ways to write one, told apart by their first character: a JSON Pointer (RFC 6901) names one value, `""` the
//! whole; a JSONPath (RFC 9535) names any number of them.
//!
//! # Invariants
//!
//! - Finding is linear in the document (times its depth): a path that could find a value many times over, or look through
//!   the document once per value, is refused when the config is read.
//! - It finds no more values than the document has, or few times as many; that has a bound (`values_max`).

use std::fmt;

use serde_json::Value;
use serde_json_path::{JsonPath, NormalizedPath, PathElement};

/// One value, or all that a path names.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    text: Box<str>,
    way: Way,
}

#[derive(Clone, PartialEq, Eq)]
enum Way {
    /// The reference tokens, unescaped.
    Pointer(Box<[Box<str>]>),
    Path(JsonPath),
}

/// A value that was found, and where.
#[derive(Clone, Debug)]
pub struct Found<'v> {
    /// What stands there.
    pub value: &'v Value,
    place: Place<'v>,
}

#[derive(Clone, Debug)]
enum Place<'v> {
    Pointer(&'v str),
    Path(NormalizedPath<'v>),
}

/// Why a text names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Begins with neither `/` nor `$`.
    #[error("`{0}` is neither a JSON Pointer nor a JSONPath")]
    Neither(String),
    /// RFC 6901 3: `~` stands only in `~0` and `~1`.
    #[error("`{0}` is no JSON Pointer: `~` is written `~0`, and `/` inside a name `~1`")]
    Escape(String),
    /// RFC 6901 4: digits without a leading zero. It could only name a member of an object.
    #[error("`{0}` cannot exist in a list: an index has no leading zero")]
    LeadingZero(String),
    /// RFC 6901 4: `-` is the element behind the last, which is never there.
    #[error("`{0}` names the element behind the last one, which is never there")]
    BehindTheLast(String),
    /// RFC 9535.
    #[error("`{0}` is not a JSONPath: {1}")]
    Path(String, String),
    /// It could find far more than the document has.
    #[error("`{0}` {1}, which could take longer than anybody waits")]
    Costly(String, &'static str),
}

impl FieldError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Neither(text) if text.starts_with('.') => {
                format!("write \"${text}\", or \"{}\"", text.replace('.', "/"))
            }
            Self::Neither(text) => {
                format!(
                    "write \"/{}\"; a JSONPath begins with `$`",
                    text.replace('.', "/")
                )
            }
            Self::Escape(_) => {
                "a member `a/b` of the whole is \"/a~1b\", one `a~b` is \"/a~0b\"".to_owned()
            }
            Self::LeadingZero(_) => {
                "write the index without it: \"/items/0\", \"/items/7\"".to_owned()
            }
            Self::BehindTheLast(_) => {
                "the last element is \"$.items[-1]\", all are \"$.items[*]\"".to_owned()
            }
            Self::Path(..) => {
                "write it as RFC 9535 has it: \"$.product.id\", \"$.items[*].sku\"".to_owned()
            }
            Self::Costly(..) => "name the members on the way: \"$.items[*].sku\"".to_owned(),
        }
    }
}

// --- Field ---

impl Field {
    /// Reads a JSON Pointer or a JSONPath.
    ///
    /// # Errors
    ///
    /// Where the text is neither, or names what cannot exist.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let way = if text.is_empty() || text.starts_with('/') {
            Way::Pointer(tokens(text)?)
        } else if text.starts_with('$') {
            let path = JsonPath::parse(text)
                .map_err(|error| FieldError::Path(text.to_owned(), error.to_string()))?;
            if let Some(why) = cost(text) {
                return Err(FieldError::Costly(text.to_owned(), why));
            }
            Way::Path(path)
        } else {
            return Err(FieldError::Neither(text.to_owned()));
        };
        Ok(Self {
            text: text.into(),
            way,
        })
    }

    /// As the config wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it may name several values.
    pub fn is_path(&self) -> bool {
        matches!(self.way, Way::Path(_))
    }

    /// The reference tokens of a pointer, unescaped.
    pub fn tokens(&self) -> Option<&[Box<str>]> {
        match &self.way {
            Way::Pointer(tokens) => Some(tokens),
            Way::Path(_) => None,
        }
    }

    /// The values that it names, in the order of the document. Of a pointer: at most one.
    pub fn find<'v>(&'v self, document: &'v Value) -> Vec<Found<'v>> {
        match &self.way {
            Way::Pointer(tokens) => {
                let mut value = Some(document);
                for token in tokens {
                    value = value.and_then(|value| step(value, token));
                }
                let found = value.map(|value| Found {
                    value,
                    place: Place::Pointer(&self.text),
                });
                found.into_iter().collect()
            }
            Way::Path(path) => {
                let found = path.query_located(document).into_iter();
                let found = found.map(|node| Found {
                    value: node.node(),
                    place: Place::Path(node.to_location()),
                });
                found.collect()
            }
        }
    }

    /// The values alone, where nobody asks for their places.
    pub fn values<'v>(&'v self, document: &'v Value) -> Vec<&'v Value> {
        match &self.way {
            Way::Pointer(_) => self.find(document).into_iter().map(|it| it.value).collect(),
            Way::Path(path) => path.query(document).all(),
        }
    }

    /// Where it is missing from: the pointer itself, or the whole for a path.
    pub fn own_place(&self) -> &str {
        match &self.way {
            Way::Pointer(_) => &self.text,
            Way::Path(_) => "",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.text {
            "" => f.write_str("the whole"),
            text => f.write_str(text),
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({:?})", self.text)
    }
}

/// RFC 6901 4, one reference token.
fn step<'v>(value: &'v Value, token: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(token),
        Value::Array(elements) => elements.get(index(token)?),
        _ => None,
    }
}

/// RFC 6901 4: `0`, or digits that begin with none.
pub(super) fn index(token: &str) -> Option<usize> {
    let is_digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits || (token.len() > 1 && token.starts_with('0')) {
        return None;
    }
    token.parse().ok()
}

/// RFC 6901 3 and 4.
fn tokens(text: &str) -> Result<Box<[Box<str>]>, FieldError> {
    let Some(rest) = text.strip_prefix('/') else {
        return Ok(Box::default());
    };
    let token = |raw: &str| {
        let mut parts = raw.split('~');
        // Every `~` has its digit; `~1` is undone before `~0`, so that `~01` is `~1`.
        parts.next();
        if !parts.all(|part| part.starts_with(['0', '1'])) {
            return Err(FieldError::Escape(text.to_owned()));
        }
        let is_digits = raw.len() > 1 && raw.bytes().all(|byte| byte.is_ascii_digit());
        if is_digits && raw.starts_with('0') {
            return Err(FieldError::LeadingZero(text.to_owned()));
        }
        if raw == "-" {
            return Err(FieldError::BehindTheLast(text.to_owned()));
        }
        Ok(raw.replace("~1", "/").replace("~0", "~").into())
    };
    rest.split('/').map(token).collect()
}

/// What makes a path find more than a document has, or look through it once per value.
fn cost(text: &str) -> Option<&'static str> {
    let bare = without_quotes(text);
    if bare.matches("..").count() > 1 {
        return Some("descends twice");
    }
    // Of each open bracket: how many of its selectors name several children, and whether the one being read does.
    let mut brackets: Vec<(usize, bool)> = Vec::new();
    for c in bare.chars() {
        match (c, brackets.last_mut()) {
            ('[', _) => brackets.push((0, false)),
            (']', _) => {
                brackets.pop();
            }
            (',', Some((_, is_several))) => *is_several = false,
            ('*' | '?' | ':', Some((count, is_several))) if !*is_several => {
                (*count, *is_several) = (*count + 1, true);
                if *count > 1 {
                    return Some("takes the same children twice");
                }
            }
            _ => {}
        }
    }
    let filter = &bare[bare.find('?')?..];
    let looks_through = filter.split('$').skip(1).any(|path| {
        let end = path.find([' ', ')', '&', '|', '=', '<', '>', '!']);
        path[..end.unwrap_or(path.len())].contains(['*', ':', '?'])
    });
    if looks_through || filter.contains("..") {
        return Some("looks through the document once per value");
    }
    None
}

/// A path with what stands in quotes taken out.
fn without_quotes(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(_) if c == '\\' => {
                chars.next();
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => bare.push(c),
        }
    }
    bare
}

// --- Found ---

impl Found<'_> {
    /// Where it stands, as a JSON Pointer.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Pointer(text) => (*text).to_owned(),
            Place::Path(path) => path.to_json_pointer(),
        }
    }

    /// The indices of the lists on the way: what two fields of one record have in common.
    pub(super) fn indices(&self) -> Vec<usize> {
        match &self.place {
            Place::Pointer(_) => Vec::new(),
            Place::Path(path) => path.iter().filter_map(PathElement::as_index).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::testing::any_json;

    #[test]
    fn a_field_finds_its_values_with_their_places() {
        let document = json!({
            "price": 1, "": 2, "a/b": 3, "a~b": 4, "~1": 5, "7": 6,
            "items": [{"sku": "a", "tags": ["x"]}, {"sku": "b/c"}, 7],
        });
        for (text, want) in [
            ("/price", vec![("/price", json!(1))]),
            ("/", vec![("/", json!(2))]),
            ("/a~1b", vec![("/a~1b", json!(3))]),
            ("/a~0b", vec![("/a~0b", json!(4))]),
            ("/~01", vec![("/~01", json!(5))]),
            ("/7", vec![("/7", json!(6))]),
            ("/items/1/sku", vec![("/items/1/sku", json!("b/c"))]),
            ("/items/3", vec![]),
            ("/items/sku", vec![]),
            ("/price/0", vec![]),
            ("/none/none", vec![]),
            (
                "$.items[*].sku",
                vec![("/items/0/sku", json!("a")), ("/items/1/sku", json!("b/c"))],
            ),
            ("$['a/b']", vec![("/a~1b", json!(3))]),
            ("$.items[-1]", vec![("/items/2", json!(7))]),
            ("$..tags[0]", vec![("/items/0/tags/0", json!("x"))]),
            (
                "$.items[?@.sku == 'a'].tags",
                vec![("/items/0/tags", json!(["x"]))],
            ),
            ("$.none", vec![]),
        ] {
            let field = Field::parse(text).unwrap();
            let found = field.find(&document);
            let got: Vec<_> = found
                .iter()
                .map(|it| (it.place(), it.value.clone()))
                .collect();
            let want: Vec<_> = want
                .into_iter()
                .map(|(place, value)| (place.to_owned(), value))
                .collect();
            assert_eq!(got, want, "{text}");
            let values: Vec<_> = want.iter().map(|(_, value)| value).collect();
            assert_eq!(field.values(&document), values, "{text}");
            for (place, value) in &want {
                assert_eq!(document.pointer(place), Some(value), "{text}");
            }
        }
        let whole = Field::parse("").unwrap();
        assert_eq!(whole.find(&document)[0].value, &document);
        assert_eq!(whole.to_string(), "the whole");
    }

    #[test]
    fn what_is_no_field_is_told_what_to_write() {
        for (text, want, hint) in [
            (
                "price",
                "neither a JSON Pointer nor a JSONPath",
                "\"/price\"",
            ),
            ("item.price", "neither", "\"/item/price\""),
            (".price", "neither", "\"$.price\""),
            ("/a~b", "`~0`", "\"/a~0b\""),
            ("/a~2", "`~0`", "\"/a~0b\""),
            ("/a~", "`~0`", "\"/a~0b\""),
            ("/items/00", "no leading zero", "\"/items/0\""),
            ("/items/007/sku", "no leading zero", "\"/items/0\""),
            ("/items/-", "behind the last", "\"$.items[-1]\""),
            ("$.items[", "is not a JSONPath", "\"$.items[*].sku\""),
            ("$.", "is not a JSONPath", "\"$.items[*].sku\""),
            ("$..a..b", "descends twice", "\"$.items[*].sku\""),
            ("$..*..*", "descends twice", "\"$.items[*].sku\""),
            ("$[*,*][*,*]", "twice", "\"$.items[*].sku\""),
            (
                "$.items[?count($.items[*]) > 1]",
                "once per value",
                "\"$.items[*].sku\"",
            ),
            ("$.items[?@..a]", "once per value", "\"$.items[*].sku\""),
        ] {
            let error = Field::parse(text).expect_err(text);
            assert!(error.to_string().contains(want), "{text}: {error}");
            assert!(error.hint().contains(hint), "{text}: {}", error.hint());
        }
        for text in [
            "$.items[?@.currency != $.currency]",
            "$['..','..']..a",
            "$.items[?@.a == '*' && @.b == \"..\"]",
            "$.items[0:5]",
            "$.items[::2]",
            "$['a','b']",
            "$.items[?count(@.*) > 1]",
        ] {
            assert!(Field::parse(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pointer_names_what_serde_json_says_it_names(document in any_json(), text in "(/(a|b|0|1|~0|~1|c d|)){0,4}") {
            let Ok(field) = Field::parse(&text) else { return Ok(()) };
            let found = field.find(&document);
            prop_assert_eq!(found.first().map(|it| it.value), document.pointer(&text));
        }

        #[test]
        fn no_text_makes_it_panic(text in r#"[$/]?[\[\].*?@$a0~'"\\:,()=! -]{0,20}"#, document in any_json()) {
            if let Ok(field) = Field::parse(&text) {
                for found in field.find(&document) {
                    prop_assert_eq!(document.pointer(&found.place()), Some(found.value));
                }
            }
        }
    }
}
