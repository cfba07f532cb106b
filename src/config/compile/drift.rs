//! `[route.drift]`: how the shape of answers is learnt.

use std::sync::Arc;

use toml::de::DeValue;

use crate::{
    config::{
        reader::Table,
        values::{self, Complaint, Parsed},
    },
    contract::shape::{Bounds, DriftConfig, Pattern, PatternError},
};

/// How a route learns; `None` where it does not.
pub(super) fn drift(route: &Table<'_>) -> Option<Arc<DriftConfig>> {
    let table = route.table("drift");
    let bounds = Bounds {
        answers_min: table.count("answers_min"),
        answers_confirm: table.count("answers_confirm"),
        range_factor: f64::from(table.count::<u32>("range_factor")),
        enum_max: table.count("enum_max"),
        members_max: table.count("members_max"),
        nodes_max: table.count("nodes_max"),
        depth_max: table.count("depth_max"),
        ignore: table.list("ignore", pattern),
    };
    let drift = DriftConfig {
        bounds,
        answers_per_second: table.count("answers_per_second"),
        answers_burst: table.count("answers_burst"),
        body_bytes_max: table.size("body_max"),
        private: table.flag("private"),
    };
    (table.word("mode") != "off").then(|| Arc::new(drift))
}

fn pattern(value: &DeValue<'_>) -> Parsed<Pattern> {
    let text = values::line(value)?;
    Pattern::parse(&text).map_err(|error| {
        let complaint = Complaint::new(format!("`{text}` {error}"));
        complaint.hint(match error {
            PatternError::Whole => "to learn nothing of this route, set `mode = \"off\"`",
            _ => "write \"/updated_at\", \"$.items[*].id\", or a path as `larder drift` prints it",
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Pattern;
    use crate::config::{self, FixedEnv};

    fn parse(drift: &str) -> Result<config::Config, String> {
        let text = format!(
            "[upstream.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[route]]\npath = \"/\"\nupstream = \"a\"\n{drift}"
        );
        config::parse(&text, Path::new("t.toml"), &FixedEnv::default())
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn every_route_learns_unless_it_says_otherwise() {
        let drift = |text: &str| parse(text).unwrap().routes[0].drift.clone();
        assert_eq!(
            *drift("").unwrap(),
            Default::default(),
            "the defaults are the code's"
        );
        assert_eq!(drift("drift.mode = \"off\""), None);
        let written =
            drift("drift = { ignore = [\"/a\", \"$.b[*].c\"], range_factor = 100 }").unwrap();
        let ignored: Vec<_> = written.bounds.ignore.iter().map(Pattern::written).collect();
        assert_eq!(ignored, ["/a", "$.b[*].c"]);
        assert!((written.bounds.range_factor - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_a_hint() {
        for (written, line, wants) in [
            (
                "drift = { ignore = [\"updated_at\"] }",
                6,
                ["neither with `/`", "$.items[*].id"],
            ),
            (
                "drift = { ignore = [\"$\"] }",
                6,
                ["whole answer", "mode = \"off\""],
            ),
            (
                "drift = { ignore = [\"$.a[?@.b]\"] }",
                6,
                ["cannot be read from `[?@.b]`", "$.items[*].id"],
            ),
            ("drift = { mode = \"on\" }", 6, ["mode", "learn"]),
            (
                "drift = { answer_min = 5 }",
                6,
                ["answer_min", "answers_min"],
            ),
        ] {
            let errors = parse(written).unwrap_err();
            assert!(errors.contains(&format!("t.toml:{line}:")), "{errors}");
            for want in wants {
                assert!(errors.contains(want), "{want}: {errors}");
            }
        }
    }
}
