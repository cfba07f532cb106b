//! Prices: one number that changes, never 0, for any SKU in any currency.

use serde_json::json;

use super::{bad_request, iso_time};
use crate::stub::answer::{Answer, Question};

/// Answers `/prices/{sku}`.
pub(super) fn answer(question: &Question) -> Option<Answer> {
    let segments = question.segments();
    let ["prices", sku] = segments[..] else {
        return None;
    };
    if sku.is_empty() {
        return None;
    }
    let currency = question.parameter("currency").unwrap_or("EUR");
    let refused = question.refused_method(&["GET", "HEAD"]);
    Some(refused.unwrap_or_else(|| price(question, sku, currency)))
}

fn price(question: &Question, sku: &str, currency: &str) -> Answer {
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return bad_request("currency must be three capital letters, like EUR");
    }
    let began = question.version_began(1);
    let body = json!({
        "sku": sku,
        "currency": currency,
        "price": cents(question, sku, currency) as f64 / 100.0,
        "updated_at": iso_time(began),
        "version": question.version(1),
    });
    Answer::cacheable(&body, "max-age=1", began)
}

/// Around a base that belongs to the product, up or down by a tenth with each version.
fn cents(question: &Question, sku: &str, currency: &str) -> u64 {
    let base = 500 + question.draw(&["base", sku, currency], 0) % 49_500;
    let swing = base / 10;
    let version = question.version(1);
    let moved = question.draw(&["price", sku, currency], version) % (2 * swing);
    base - swing + moved
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::json_of;
    use super::*;
    use crate::stub::answer::question;

    #[test]
    fn price_is_a_function_of_seed_sku_currency_and_time() {
        let asked = question("GET", "/prices/A-1");
        let body = |question: &Question| json_of(&answer(question).unwrap());
        let first = body(&asked);
        assert_eq!(first["currency"], "EUR");
        assert!(first["price"].as_f64().unwrap() > 0.0);
        assert_eq!(first["updated_at"], "2027-01-15T08:00:00Z");
        assert_eq!(body(&asked), first);

        let mut later = asked.clone();
        later.now = asked.now.after(Duration::from_secs(9));
        assert_eq!(body(&later), first, "the same version");
        later.now = asked.now.after(Duration::from_secs(10));
        assert_ne!(body(&later)["price"], first["price"], "the next version");
        assert_eq!(
            body(&later)["version"].as_u64(),
            first["version"].as_u64().map(|version| version + 1)
        );

        let other_seed = Question { seed: 2, ..asked };
        assert_ne!(body(&other_seed)["price"], first["price"]);
        let dollars = question("GET", "/prices/A-1?currency=USD");
        assert_ne!(body(&dollars)["price"], first["price"]);
    }

    #[test]
    fn price_is_never_zero() {
        for n in 0..2000 {
            let mut asked = question("GET", &format!("/prices/sku-{n}"));
            asked.now = asked.now.after(Duration::from_secs(10 * n));
            let body = json_of(&answer(&asked).unwrap());
            assert!(body["price"].as_f64().unwrap() >= 1.0, "{body}");
        }
    }

    #[test]
    fn currency_is_checked() {
        let answer = answer(&question("GET", "/prices/A?currency=euro")).unwrap();
        assert_eq!(answer.status, 400);
    }
}
