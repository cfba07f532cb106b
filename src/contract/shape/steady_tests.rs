//! A vendor that does not change reports nothing: 10,000 answers, several ways to ask.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::*;

const ANSWERS: u64 = 10_000;
const PRODUCTS: u64 = 50;

/// A product as this vendor always describes it: its fields depend on which it is, its values on chance.
fn product(number: u64, chance: &mut SmallRng, answer: u64) -> Value {
    let log_normal = |chance: &mut SmallRng| {
        let sum: f64 = (0..12).map(|_| chance.random::<f64>()).sum();
        (sum - 6.0).exp()
    };
    let price = (log_normal(chance) * 2_000.0).round() / 100.0;
    let state = chance.random_range(0..5_usize);
    let state = ["in_stock", "in_stock", "in_stock", "low", "sold_out"][state];
    let offers = chance.random_range(0..8);
    let offers: Vec<_> = (0..offers).map(|_| offer(chance)).collect();
    let mut product = json!({
        "sku": format!("sku-{number}"),
        "name": format!("Product {number}"),
        "id": format!("{:032x}", chance.random::<u128>()),
        "request": chance.random::<u32>(),
        "price": price,
        "rounded": (price * 4.0).round() / 4.0,
        "cost": format!("{price:.2}"),
        "stock": chance.random_range(0..40),
        "rating": chance.random_range(1..=5),
        "currency": "EUR",
        "state": state,
        "rare_state": if chance.random_bool(0.01) { "recalled" } else { "normal" },
        "updated_at": format!("2026-11-{:02}T{:02}:00:00Z", 1 + answer / 400 % 28, answer / 17 % 24),
        "counter": answer * 13,
        "tags": vec!["tag"; chance.random_range(0..12)],
        "offers": offers,
    });
    // Whole numbers look whole, as many vendors write them.
    if price.fract() == 0.0 {
        product["price"] = json!(price as i64);
    }
    for (name, share) in [
        ("promo", 0.5),
        ("gift", 0.1),
        ("note", 0.02),
        ("oddity", 0.003),
    ] {
        if chance.random_bool(share) {
            product[name] = json!({ "text": "so", "percent": chance.random_range(1..50) });
        }
    }
    for (name, share) in [("mostly", 0.05), ("nearly", 0.01)] {
        if !chance.random_bool(share) {
            product[name] = json!(true);
        }
    }
    for (name, share) in [("maybe", 0.3), ("seldom", 0.03)] {
        product[name] = match chance.random_bool(share) {
            true => Value::Null,
            false => json!("text"),
        };
    }
    // What only some products have.
    if number.is_multiple_of(3) {
        product["size"] = json!(["s", "m", "l"][(number / 3 % 3) as usize]);
    }
    if number % 10 == 7 {
        product["weight"] = json!({ "value": 1.5, "unit": "kg" });
    }
    if number >= 45 {
        product["bundle"] = json!([{ "sku": "sku-1" }]);
        product.as_object_mut().unwrap().remove("rating");
    }
    product
}

fn offer(chance: &mut SmallRng) -> Value {
    let seller = format!("s{}", chance.random_range(0..200));
    let mut offer = json!({ "seller": seller, "net": chance.random_range(1.0..90.0) });
    if chance.random_bool(0.1) {
        offer["note"] = json!("as new");
    }
    offer
}

/// Which product the answer is about.
type Asked = fn(u64, &mut SmallRng) -> u64;

#[test]
fn ten_thousand_unchanged_answers_report_nothing() {
    let ways: [(&str, Asked); 4] = [
        ("by chance", |_, chance| chance.random_range(0..PRODUCTS)),
        ("in turn", |answer, _| answer % PRODUCTS),
        ("some far more often", |_, chance| {
            (PRODUCTS as f64 * chance.random::<f64>().powi(3)) as u64
        }),
        ("always the same", |_, _| 3),
    ];
    for (seed, (name, asked)) in ways.into_iter().enumerate() {
        // One way in full, the others long enough for each product to come often.
        let answers = if seed == 0 { ANSWERS } else { ANSWERS / 5 };
        let mut chance = SmallRng::seed_from_u64(seed as u64);
        let mut shape = Shape::default();
        let bounds = Bounds::default();
        for answer in 0..answers {
            let number = asked(answer, &mut chance);
            let body = product(number, &mut chance, answer).to_string();
            let at = Timestamp::from_secs(answer);
            let reported = shape.learn(body.as_bytes(), number, at, &bounds).unwrap();
            assert_eq!(reported, [], "{name}, answer {answer}");
        }
    }
}

#[test]
fn a_list_of_products_that_does_not_change_reports_nothing() {
    for seed in 0..2 {
        let mut chance = SmallRng::seed_from_u64(seed);
        let mut shape = Shape::default();
        let bounds = Bounds::default();
        for answer in 0..500 {
            let size = chance.random_range(0..20);
            let items: Vec<_> = (0..size)
                .map(|_| {
                    let number = chance.random_range(0..PRODUCTS);
                    product(number, &mut chance, answer)
                })
                .collect();
            let body = json!({ "count": size, "items": items }).to_string();
            let at = Timestamp::from_secs(answer);
            let reported = shape.learn(body.as_bytes(), 1, at, &bounds).unwrap();
            assert_eq!(reported, [], "seed {seed}, answer {answer}");
        }
    }
}
