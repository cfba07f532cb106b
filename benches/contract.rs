//! What judging an answer costs: reading it, the schema, and all of a contract. `cargo bench --bench contract`
//!
//! Lists of 1, 16, 256 and 4096 KiB. Rows are bytes a second: 1 GB/s is about 1000 ns for each KiB, 100 MB/s about 10 us.
//! An answer is judged once, when it is fetched; a hit never is.

use std::{fmt::Write as _, path::Path};

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use http::{HeaderMap, HeaderValue, header};
use larder::{
    config::{self, FixedEnv},
    contract::{Behind, Contract, Effort, Limits, Program, Schema, decode, json},
};
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KIB: [usize; 4] = [1, 16, 256, 4096];

const SCHEMA: &str = r#"{
  "type": "object",
  "required": ["items"],
  "properties": {"items": {"type": "array", "items": {
    "type": "object",
    "required": ["sku", "price", "currency"],
    "properties": {
      "sku": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"},
      "name": {"type": "string", "minLength": 1},
      "price": {"type": "number", "exclusiveMinimum": 0},
      "currency": {"enum": ["EUR", "USD"]},
      "stock": {"type": "integer", "minimum": 0},
      "updated_at": {"type": "string", "format": "date-time"}
    }
  }}}
}"#;

const RULES: &str = r#"rules = [
  { field = "/items", non_empty = true },
  { field = "$.items[*].sku", unique = true },
  { field = "$.items[*].price", above = 0, max = 10000 },
  { field = "$.items[*].currency", one_of = ["EUR", "USD"] },
]"#;

fn main() {
    divan::main();
}

/// A catalogue of about so many bytes.
fn catalogue(kib: usize) -> Bytes {
    let mut text = "{\"items\":[".to_owned();
    let mut number = 0;
    while text.len() < kib << 10 {
        let separator = if number == 0 { "" } else { "," };
        write!(
            text,
            "{separator}{{\"sku\":\"AB{number}\",\"name\":\"Espresso cup number {number}\",\"price\":{}.99,\"currency\":\"EUR\",\
             \"stock\":{},\"updated_at\":\"2026-11-26T20:15:00Z\"}}",
            number % 90 + 1,
            number % 7
        )
        .expect("text takes any text");
        number += 1;
    }
    text.push_str("]}");
    text.into()
}

/// The contract of a route with these keys.
fn contract(keys: &str) -> std::sync::Arc<Contract> {
    let text = format!(
        "upstream.a.endpoints = [\"http://127.0.0.1:1\"]\n[[route]]\npath = \"/\"\nupstream = \"a\"\n[route.contract]\n{keys}"
    );
    let config = config::parse(&text, Path::new("bench.toml"), &FixedEnv::default());
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    config.routes[0]
        .contract
        .clone()
        .expect("there is a contract")
}

#[divan::bench(args = KIB)]
fn reading(bencher: Bencher<'_, '_>, kib: usize) {
    let body = catalogue(kib);
    bencher
        .counter(BytesCount::of_slice(&*body))
        .bench(|| json::read(black_box(&body), &Limits::default()).expect("it is JSON"));
}

#[divan::bench(args = KIB)]
fn schema(bencher: Bencher<'_, '_>, kib: usize) {
    let schema = Schema::compile(SCHEMA, "", &|_| Err(String::new())).expect("it is a schema");
    let body = catalogue(kib);
    let value: Value = serde_json::from_slice(&body).expect("it is JSON");
    bencher.counter(BytesCount::of_slice(&*body)).bench(|| {
        let mut violations = Vec::new();
        let effort = Effort::new(&Limits::default(), &|| false);
        let checked = schema.check(black_box(&value), &effort, 10, &mut violations);
        assert!(checked.is_ok() && violations.is_empty());
    });
}

#[divan::bench(args = KIB)]
fn unzipping(bencher: Bencher<'_, '_>, kib: usize) {
    let body = catalogue(kib);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &body).expect("memory takes it");
    let zipped = Bytes::from(encoder.finish().expect("memory takes it"));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    bencher
        .counter(BytesCount::of_slice(&*body))
        .bench(|| decode(&headers, black_box(&zipped), 8 << 20).expect("it is gzip"));
}

/// A field of each record renamed; a thread of its own included.
#[divan::bench(args = KIB)]
fn mapping(bencher: Bencher<'_, '_>, kib: usize) {
    let rename = ".items |= map(.cost = .price | del(.price))";
    let program = Program::compile(rename).expect("it is a program");
    let body = catalogue(kib);
    bencher.counter(BytesCount::of_slice(&*body)).bench(|| {
        let mapped = program.run(black_box(&body), &Limits::default());
        mapped.expect("it maps")
    });
}

fn judged(bencher: Bencher<'_, '_>, kib: usize, keys: &str) {
    let contract = contract(keys);
    let body = catalogue(kib);
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    bencher.counter(BytesCount::of_slice(&*body)).bench(|| {
        let judged = contract.judge(&headers, black_box(&body), Behind::default());
        assert!(judged.is_ok());
    });
}

#[divan::bench(args = KIB)]
fn all_with_a_schema(bencher: Bencher<'_, '_>, kib: usize) {
    judged(bencher, kib, &format!("schema = '''{SCHEMA}'''"));
}

#[divan::bench(args = KIB)]
fn all_with_rules(bencher: Bencher<'_, '_>, kib: usize) {
    judged(bencher, kib, RULES);
}

#[divan::bench(args = KIB)]
fn all_with_both(bencher: Bencher<'_, '_>, kib: usize) {
    judged(bencher, kib, &format!("schema = '''{SCHEMA}'''\n{RULES}"));
}
