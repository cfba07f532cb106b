//! How a route's answers get their tags: from the route itself, from response fields, from the body.
//!
//! Pure. A template may have parameters anywhere (`sku:{sku}`), unlike a path's. Values are put in as the path has them,
//! percent-encoding and all.

use std::{fmt, sync::Arc};

use http::HeaderName;
use serde_json_path::JsonPath;

use super::template::{Params, PathTemplate};

/// Where the tags of a route's answers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTags {
    /// `tags`: what every answer gets.
    pub templates: Vec<TagTemplate>,
    /// `tag_fields`: response fields that list tags. Default: Surrogate-Key, Cache-Tag.
    pub fields: Vec<HeaderName>,
    /// `tag_paths`: prefix, and where the values are in a JSON body.
    pub paths: Arc<[(Box<str>, JsonPath)]>,
}

/// `sku:{sku}`: text with parameters of the route's path.
#[derive(Clone, PartialEq, Eq)]
pub struct TagTemplate {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Param(Box<str>),
}

/// Why a text is no template of a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// A brace without its other one.
    #[error("`{{` and `}}` come in pairs, around the name of a parameter")]
    Brace,
    /// The route's path has no such parameter.
    #[error("the path has no parameter `{0}`")]
    UnknownParameter(String),
}

impl TagTemplate {
    /// Reads a template whose parameters are those of `path`.
    ///
    /// # Errors
    ///
    /// Where braces do not pair, or enclose what `path` does not have.
    pub fn parse(text: &str, path: &PathTemplate) -> Result<Self, TagError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(TagError::Brace)?;
            if before.contains('}') {
                return Err(TagError::Brace);
            }
            // A rest is named without its star, as in `rewrite`, or with it.
            let name = name.strip_prefix('*').unwrap_or(name);
            if !path.parameter_names().any(|known| known == name) {
                return Err(TagError::UnknownParameter(name.to_owned()));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Param(name.into()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(TagError::Brace);
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    /// The tag of a request with these parameters.
    pub fn render(&self, params: Params<'_>) -> String {
        let mut tag = String::with_capacity(self.text.len());
        for part in &self.parts {
            tag.push_str(match part {
                Part::Text(text) => text,
                Part::Param(name) => params.get(name).unwrap_or_default(),
            });
        }
        tag
    }

    /// As the config wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagTemplate({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_text_with_parameters_of_the_path() {
        let path = PathTemplate::parse("/shops/{shop}/items/{*rest}").unwrap();
        let tag = |text: &str| {
            let template = TagTemplate::parse(text, &path)?;
            Ok(template.render(path.params("/shops/7/items/a/b")))
        };
        for (text, want) in [
            ("price", Ok("price")),
            ("shop:{shop}", Ok("shop:7")),
            ("{shop}-{shop}!", Ok("7-7!")),
            ("item:{*rest}", Ok("item:a/b")),
            ("item:{rest}", Ok("item:a/b")),
            ("{sku}", Err(TagError::UnknownParameter("sku".into()))),
            ("{shop", Err(TagError::Brace)),
            ("shop}", Err(TagError::Brace)),
            ("}{shop}", Err(TagError::Brace)),
        ] {
            assert_eq!(tag(text), want.map(str::to_owned), "{text}");
        }
    }
}
