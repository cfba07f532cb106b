//! The catalogue: answers of 20 to 100 KiB that change slowly.

use serde_json::{Value, json};

use super::{bad_request, iso_time, not_found};
use crate::stub::answer::{Answer, Question};

const PRODUCTS: u64 = 1000;
const PAGE_PRODUCTS: u64 = 200;
/// The catalogue changes at a tenth of the pace of prices.
const SLOWER: u32 = 10;
const CACHE_CONTROL: &str = "max-age=60, stale-while-revalidate=30";

/// Answers `/catalogue` and `/catalogue/{id}`.
pub(super) fn answer(question: &Question) -> Option<Answer> {
    let segments = question.segments();
    let found = match segments[..] {
        ["catalogue"] => page(question),
        ["catalogue", id] => one(question, id),
        _ => return None,
    };
    Some(question.refused_method(&["GET", "HEAD"]).unwrap_or(found))
}

fn page(question: &Question) -> Answer {
    let pages = PRODUCTS / PAGE_PRODUCTS;
    let page = question.parameter("page").unwrap_or("1").parse();
    let Some(page) = page.ok().filter(|page| (1..=pages).contains(page)) else {
        return bad_request(&format!("page must be a number from 1 to {pages}"));
    };
    let first = (page - 1) * PAGE_PRODUCTS + 1;
    let products: Vec<_> = (first..first + PAGE_PRODUCTS)
        .map(|number| product(question, number))
        .collect();
    let body = json!({
        "page": page,
        "pages": pages,
        "total": PRODUCTS,
        "products": products,
    });
    Answer::cacheable(&body, CACHE_CONTROL, question.version_began(SLOWER))
}

fn one(question: &Question, id: &str) -> Answer {
    let number = id.strip_prefix("p-").and_then(|number| number.parse().ok());
    match number.filter(|number| (1..=PRODUCTS).contains(number)) {
        Some(number) => Answer::cacheable(
            &product(question, number),
            CACHE_CONTROL,
            question.version_began(SLOWER),
        ),
        None => not_found("no such product; ids run from p-1 to p-1000"),
    }
}

fn product(question: &Question, number: u64) -> Value {
    let id = format!("p-{number}");
    let drawn = |what: &str, of: u64| question.draw(&[what, &id], 0) % of;
    let stock = question.draw(&["stock", &id], question.version(SLOWER)) % 500;
    let material = ["oak", "steel", "linen", "glass", "wool"][drawn("material", 5) as usize];
    let thing = ["lamp", "chair", "table", "shelf", "rug"][drawn("thing", 5) as usize];
    json!({
        "id": id,
        "name": format!("{material} {thing} no. {number}"),
        "description": format!("A {thing} made of {material}, one of a series of {}.", 10 + drawn("series", 90)),
        "price": (500 + drawn("price", 99_500)) as f64 / 100.0,
        "currency": "EUR",
        "stock": stock,
        "updated_at": iso_time(question.version_began(SLOWER)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::json_of;
    use super::*;
    use crate::stub::answer::question;
    use crate::stub::body::Content;

    #[test]
    fn page_is_a_larger_body_and_holds_the_products() {
        let answer = answer(&question("GET", "/catalogue?page=2")).unwrap();
        assert_eq!(answer.headers["cache-control"], CACHE_CONTROL);
        let Content::Whole(bytes) = &answer.content else {
            panic!("a catalogue in pieces");
        };
        assert!(
            (20 * 1024..100 * 1024).contains(&bytes.len()),
            "{} bytes",
            bytes.len()
        );
        let listed = json_of(&answer)["products"][0].clone();
        let one = super::answer(&question("GET", "/catalogue/p-201")).unwrap();
        assert_eq!(json_of(&one), listed);
    }

    #[test]
    fn page_and_id_outside_the_catalogue_are_refused() {
        for (target, want) in [
            ("/catalogue?page=0", 400),
            ("/catalogue?page=6", 400),
            ("/catalogue?page=x", 400),
            ("/catalogue/p-1001", 404),
            ("/catalogue/1", 404),
        ] {
            assert_eq!(
                answer(&question("GET", target)).unwrap().status,
                want,
                "{target}"
            );
        }
    }
}
