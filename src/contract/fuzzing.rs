//! The judge of values as a target of `crate::fuzzing`: a field in the first line, a JSON text behind it.

use serde_json::Value;

use super::{
    Check, Effort, Field, Figure, Limits, Measure, Percent, Records, Remedy, Rule, Terms,
    excluded::{Step, ruled_out},
    json,
    values::Num,
};

/// Whatever the text and whatever the field: nothing panics, what is read is what others read, and what is edited is JSON
/// with its good records in their order.
pub(crate) fn terms(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (field, text) = bytes.split_at(at.map_or(0, |at| at + 1));
    let field = Field::parse(String::from_utf8_lossy(field).trim_end_matches('\n'));
    let limits = Limits::default();
    let Ok(document) = json::read(text, &limits) else {
        return;
    };
    if let Ok(theirs) = serde_json::from_slice::<Value>(text) {
        assert!(is_close(&document, &theirs), "{document} and {theirs}");
    }
    let Ok(field) = field else { return };
    for found in field.find(&document) {
        assert_eq!(document.pointer(&found.place()), Some(found.value));
    }
    if let Some(tokens) = field.tokens() {
        let steps: Vec<_> = tokens.iter().map(|it| Step::Token(it)).collect();
        let _ = ruled_out(&document, &steps);
    }
    for bad in [Remedy::Keep, Remedy::Drop, Remedy::Mark] {
        settle(&field, bad, &document, text, &limits);
    }
}

/// The same but for the last digits of doubles, which `serde_json` rounds a little differently.
pub(super) fn is_close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (
                a.as_f64().unwrap_or(f64::NAN),
                b.as_f64().unwrap_or(f64::NAN),
            );
            (a - b).abs() <= f64::max(a.abs(), b.abs()) * 1e-14
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let close = |(name, a)| b.get(name).is_some_and(|b| is_close(a, b));
            a.len() == b.len() && a.iter().all(close)
        }
        (a, b) => a == b,
    }
}

fn settle(field: &Field, bad: Remedy, document: &Value, text: &[u8], limits: &Limits) {
    let checks = vec![
        Check::Above(Num::Int(0)),
        Check::Unique,
        Check::AtMost(field.clone()),
        Check::CountWithin(Percent::whole(10)),
    ];
    let rule = Rule::new(field.clone(), None, false, checks);
    let terms = Terms {
        rules: Vec::new(),
        records: Some(Records {
            field: field.clone(),
            rules: vec![Rule::new(
                Field::parse("/a").unwrap_or_else(|_| field.clone()),
                Some(true),
                false,
                Vec::new(),
            )],
            bad_max: Percent::whole(100),
            bad,
            mark: "a".into(),
        }),
        figures: vec![Figure {
            field: field.clone(),
            measure: Measure::Sum,
            drop_max: Percent::ZERO,
            dataset: None,
            window: std::time::Duration::ZERO,
            keys_max: 1,
        }],
    };
    let with_rule = Terms {
        rules: vec![rule],
        ..terms.clone()
    };
    let mut violations = with_rule.violations(document);
    let effort = Effort::new(limits, &|| false);
    let paid = with_rule.check(document, Some(document), &effort, &mut violations);
    assert!(paid.is_ok());
    assert!(with_rule.reconcile(document, Some(document)).is_ok());
    let mut violations = terms.violations(document);
    assert!(
        terms
            .check(document, None, &effort, &mut violations)
            .is_ok()
    );
    let Ok(settled) = terms.settle(&violations, document, text) else {
        return;
    };
    let Some(body) = settled.body else { return };
    let edited = json::read(&body, limits).expect("an edited answer is JSON");
    let records = terms.records.as_ref().and_then(|it| it.locate(&edited));
    // What a path finds may be another list afterwards.
    if let (Some((_, records)), false) = (records, field.is_path()) {
        let dropped = settled.records - records.len();
        assert!(dropped <= settled.bad_records);
    }
}
