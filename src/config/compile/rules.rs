//! What `[route.contract]` asks of the values of an answer: `rules`, `records` and what belongs to them, `reconcile`.

use serde_json::Value;
use toml::de::DeValue;

use crate::{
    config::{
        RouteConfig,
        reader::Table,
        values::{self, Complaint, Parsed, kind},
    },
    contract::{
        Check, Field, Figure, Measure, OneOf, Percent, Records, Remedy, Rule, Terms, Type,
        check::contradiction,
        excluded::{Step, ruled_out},
        values::Num,
    },
};

/// A list may grow many times over and still be within.
const COUNT_WITHIN_PERCENT_MAX: u32 = 10_000;

/// The terms of a route. `schema`: its own, where it has one, so that a field which that rules out is an error here.
pub(super) fn terms(table: &Table<'_>, schema: Option<&Value>) -> Terms {
    let whole = About::default();
    let rules = table.tables("rules");
    let rules: Vec<_> = rules
        .iter()
        .filter_map(|it| rule(it, schema, &whole))
        .collect();
    let figures = table.tables("reconcile");
    Terms {
        rules,
        records: records(table, schema),
        figures: figures.iter().filter_map(|it| figure(it, schema)).collect(),
    }
}

// --- fields ---

/// What the fields of a rule are relative to.
#[derive(Default)]
struct About<'a> {
    /// Of the records of this list; of the whole answer where it is none.
    records: Option<&'a Field>,
}

impl About<'_> {
    /// From the whole answer to the field.
    fn steps<'f>(&'f self, field: &'f Field) -> Option<Vec<Step<'f>>> {
        let mut steps = Vec::new();
        if let Some(records) = self.records {
            steps.extend(records.tokens()?.iter().map(|it| Step::Token(it)));
            steps.push(Step::Element);
        }
        steps.extend(field.tokens()?.iter().map(|it| Step::Token(it)));
        Some(steps)
    }
}

/// The field of this key, if it can be there at all.
fn field(table: &Table<'_>, key: &str, schema: Option<&Value>, about: &About<'_>) -> Option<Field> {
    let field = table.read(key, |value| {
        let text = values::text(value)?;
        if text.len() > 1024 {
            return Err(Complaint::new("is longer than 1024 bytes"));
        }
        Field::parse(&text).map_err(|error| Complaint::new(error.to_string()).hint(error.hint()))
    })?;
    if let Some(hint) = written_from_the_root(&field, about) {
        let message =
            format!("`{field}` is relative to each record, and written as if from the whole");
        table.error(key, message).hint(hint);
        return Some(field);
    }
    if field
        .tokens()
        .is_some_and(|tokens| tokens.iter().any(|it| &**it == "*"))
    {
        let path = field.as_str().replace("/*", "[*]").replace('/', ".");
        table
            .warning(key, "`*` in a JSON Pointer is a member of that name")
            .hint(format!("for all of them write \"${path}\""));
    }
    if let (Some(schema), Some(steps)) = (schema, about.steps(&field))
        && let Some(why) = ruled_out(schema, &steps)
    {
        let error = table.error(key, format!("`{field}` cannot exist: {why}"));
        error.hint("write it as the answer has it, or mend the schema");
    }
    Some(field)
}

/// What to write instead, where a field of a record begins with where the records are.
fn written_from_the_root(field: &Field, about: &About<'_>) -> Option<String> {
    let records = about.records?;
    let rest = match (records.tokens()?, field.tokens()) {
        ([], _) => return None,
        (list, Some(tokens)) => {
            let (element, rest) = tokens.strip_prefix(list)?.split_first()?;
            let is_element = &**element == "*" || element.bytes().all(|byte| byte.is_ascii_digit());
            if !is_element || element.is_empty() {
                return None;
            }
            let escaped = rest
                .iter()
                .map(|it| format!("/{}", it.replace('~', "~0").replace('/', "~1")));
            escaped.collect::<String>()
        }
        (list, None) => {
            let names = list.iter().map(|name| format!(".{name}"));
            let start = format!("${}[", names.collect::<String>());
            let rest = field.as_str().strip_prefix(&start)?;
            let (_, rest) = rest.split_once(']')?;
            rest.replace('.', "/")
        }
    };
    Some(format!("write \"{rest}\""))
}

// --- rules ---

fn rule(table: &Table<'_>, schema: Option<&Value>, about: &About<'_>) -> Option<Rule> {
    let field = self::field(table, "field", schema, about);
    let required = table.optional_flag("required");
    let mut checks = Vec::new();
    let types = table.list("type", |value| values::word(value, &Type::WORDS));
    let types: Vec<_> = types.into_iter().filter_map(Type::of_word).collect();
    if !types.is_empty() {
        checks.push(Check::Type(types));
    }
    checks.extend(table.read("min", number).map(Check::Min));
    checks.extend(table.read("max", number).map(Check::Max));
    checks.extend(table.read("above", number).map(Check::Above));
    checks.extend(table.read("below", number).map(Check::Below));
    checks.extend(table.read("equals", json).map(Check::Equals));
    if table.is_written("one_of") {
        let values = table.list("one_of", json);
        if matches!(table.item("one_of")?.value, DeValue::Array(list) if list.is_empty()) {
            table
                .error("one_of", "is empty, so that no value would fit")
                .hint("list the values that are good");
        }
        checks.push(Check::OneOf(OneOf::new(values)));
    }
    if table.flag("non_empty") {
        checks.push(Check::NonEmpty);
    }
    if table.flag("unique") {
        checks.push(Check::Unique);
    }
    if table.is_written("at_most") {
        checks.extend(self::field(table, "at_most", schema, about).map(Check::AtMost));
    }
    checks.extend(table.optional_count("count_min").map(Check::CountMin));
    checks.extend(table.optional_count("count_max").map(Check::CountMax));
    let within = table.read("count_within", |value| {
        share(value, COUNT_WITHIN_PERCENT_MAX)
    });
    if within.is_some() && about.records.is_some() {
        table
            .error(
                "count_within",
                "compares with the last good answer, in which a record has no counterpart",
            )
            .hint("put it into `rules`, or use `reconcile`");
    }
    checks.extend(within.map(Check::CountWithin));
    if checks.is_empty() && required != Some(true) && field.is_some() && says_nothing(table) {
        table.error("field", "has no check").hint(
            "say what has to hold of it: `required = true`, `type`, `min`, `above`, `equals`, `one_of`, `non_empty`, …",
        );
    }
    if let Some(why) = contradiction(&checks) {
        let key = ["min", "above", "count_min"]
            .into_iter()
            .find(|key| table.is_written(key));
        table
            .error(key.unwrap_or("field"), why)
            .hint("every answer would be a breach: set the lower bound below the upper one");
    }
    Some(Rule::new(field?, required, table.flag("nullable"), checks))
}

/// Whether no check is written at all: one that could not be read is complained about already.
fn says_nothing(table: &Table<'_>) -> bool {
    let words = [
        "type",
        "min",
        "max",
        "above",
        "below",
        "equals",
        "one_of",
        "at_most",
        "count_min",
        "count_max",
        "count_within",
    ];
    !words.iter().any(|word| table.is_written(word))
}

fn number(value: &DeValue<'_>) -> Parsed<Num> {
    match value {
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(Num::Int)
            .map_err(|_| Complaint::new("is too large a number")),
        DeValue::Float(number) => finite(number.as_str()).and_then(|number| {
            Num::from_f64(number)
                .ok_or_else(|| Complaint::new("is no number that others compare to"))
        }),
        DeValue::String(text) if Num::of(&Value::from(&**text)).is_some() => {
            let complaint = Complaint::new("expected a number, found text");
            Err(complaint.hint(format!("write {text} without quotes")))
        }
        other => Err(Complaint::new(format!(
            "expected a number, found {}",
            kind(other)
        ))),
    }
}

/// TOML has numbers that JSON has not, and that are equal to nothing.
fn finite(text: &str) -> Parsed<f64> {
    let number: f64 = text
        .parse()
        .map_err(|_| Complaint::new(format!("`{text}` is no number")))?;
    if !number.is_finite() {
        let complaint = Complaint::new(format!("no value in JSON is `{text}`"));
        return Err(complaint.hint("write a finite number"));
    }
    Ok(number)
}

/// A value of TOML as the one of JSON that it looks like.
fn json(value: &DeValue<'_>) -> Parsed<Value> {
    Ok(match value {
        DeValue::String(text) => Value::from(&**text),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
            let int = number
                .and_then(|number| i64::try_from(number).ok())
                .map(Value::from);
            let int = int.or_else(|| {
                number
                    .and_then(|number| u64::try_from(number).ok())
                    .map(Value::from)
            });
            int.ok_or_else(|| Complaint::new("is too large a number"))?
        }
        DeValue::Float(number) => Value::from(finite(number.as_str())?),
        DeValue::Datetime(date) => {
            let complaint = Complaint::new("JSON has no dates, only text");
            return Err(complaint.hint(format!("write \"{date}\"")));
        }
        DeValue::Array(list) => list
            .iter()
            .map(|it| json(it.get_ref()))
            .collect::<Parsed<Vec<_>>>()?
            .into(),
        DeValue::Table(entries) => {
            let member =
                |(name, value): (
                    &toml::Spanned<toml::de::DeString<'_>>,
                    &toml::Spanned<DeValue<'_>>,
                )| { Ok((name.get_ref().to_string(), json(value.get_ref())?)) };
            Value::Object(entries.iter().map(member).collect::<Parsed<_>>()?)
        }
    })
}

fn share(value: &DeValue<'_>, percent_max: u32) -> Parsed<Percent> {
    let hint = "write \"5%\" or \"0.5%\"";
    match value {
        DeValue::String(text) => Percent::parse(text, percent_max)
            .map_err(|error| Complaint::new(error.to_string()).hint(hint)),
        DeValue::Integer(number) => {
            let complaint = Complaint::new("a share needs its percent sign");
            Err(complaint.hint(format!("write \"{number}%\"")))
        }
        other => Err(Complaint::new(format!(
            "expected a share such as \"5%\", found {}",
            kind(other)
        ))
        .hint(hint)),
    }
}

// --- records ---

fn records(table: &Table<'_>, schema: Option<&Value>) -> Option<Records> {
    if !table.is_written("records") {
        for key in ["record_rules", "bad_records_max", "bad_records", "mark"] {
            if table.is_written(key) {
                table
                    .error(
                        key,
                        "is about records, and `records` does not say where they are",
                    )
                    .hint("add `records = \"/items\"`, or \"\" where the whole answer is the list");
            }
        }
        return None;
    }
    let field = field(table, "records", schema, &About::default());
    let about = About {
        records: field.as_ref(),
    };
    let rules = table.tables("record_rules");
    let rules: Vec<_> = rules
        .iter()
        .filter_map(|it| rule(it, schema, &about))
        .collect();
    let bad_max = table.read("bad_records_max", |value| share(value, 100));
    let bad = match table.word("bad_records") {
        "drop" => Remedy::Drop,
        "mark" => Remedy::Mark,
        _ => Remedy::Keep,
    };
    if bad != Remedy::Mark && table.is_written("mark") {
        table
            .error("mark", "marks nothing: `bad_records` is not \"mark\"")
            .hint("set `bad_records = \"mark\"`");
    }
    let mark = table.text("mark").unwrap_or_default();
    Some(Records {
        field: field?,
        rules,
        bad_max: bad_max.unwrap_or_default(),
        bad,
        mark: mark.into(),
    })
}

// --- figures ---

fn figure(table: &Table<'_>, schema: Option<&Value>) -> Option<Figure> {
    let field = field(table, "field", schema, &About::default());
    let drop_max = table.read("drop_max", |value| share(value, 100));
    let dataset = table.text("dataset");
    if dataset.is_none() {
        for key in ["window", "keys_max"] {
            if table.is_written(key) {
                table.warning(key, "has no effect without `dataset`");
            }
        }
    }
    Some(Figure {
        field: field?,
        measure: match table.word("measure") {
            "sum" => Measure::Sum,
            _ => Measure::Count,
        },
        drop_max: drop_max?,
        dataset: dataset.map(Into::into),
        window: table.duration("window"),
        keys_max: table.count("keys_max"),
    })
}

/// Whether figures of one dataset can be added up: they measure the same over the same time.
pub(super) fn check_datasets(routes: &[RouteConfig], tables: &[Table<'_>]) {
    let mut first: Vec<(&str, &Figure)> = Vec::new();
    for (route, table) in routes.iter().zip(tables) {
        let terms = route.contract.as_ref().map(|contract| &contract.terms);
        for (figure, name) in terms.into_iter().flat_map(Terms::of_datasets) {
            let Some((_, other)) = first.iter().find(|(known, _)| *known == name) else {
                first.push((name, figure));
                continue;
            };
            let differing = [
                ("measure", figure.measure != other.measure),
                ("window", figure.window != other.window),
                ("keys_max", figure.keys_max != other.keys_max),
            ];
            if let Some((key, _)) = differing.iter().find(|(_, differs)| *differs) {
                let message = format!(
                    "has a figure of dataset `{name}` whose `{key}` is not that of an earlier one"
                );
                table.table("contract").error("reconcile", message).hint(
                    "figures of one dataset are added up: give them the same `measure`, `window` and `keys_max`",
                );
            }
        }
    }
}
