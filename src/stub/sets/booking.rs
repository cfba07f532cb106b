//! Bookings: free rooms that change, and writes that must not happen twice.
//!
//! A `POST` makes a booking each time it arrives: the vendor played here knows no idempotency keys, so a
//! write that was sent twice is counted twice ([`Bookings::made`]).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{bad_request, iso_time, not_found};
use crate::stub::answer::{Answer, Question};

/// Bookings remembered; the oldest is forgotten first, and stays counted.
const BOOKINGS_MAX: usize = 10_000;

/// The bookings made so far.
#[derive(Debug, Default)]
pub(super) struct Bookings {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    made: u64,
    by_number: BTreeMap<u64, Value>,
}

// --- Bookings ---

impl Bookings {
    /// Answers `/availability/{hotel}`, `/bookings` and `/bookings/{id}`.
    pub(super) fn answer(&self, question: &Question) -> Option<Answer> {
        let segments = question.segments();
        let read_only = |answer: &dyn Fn() -> Answer| {
            question
                .refused_method(&["GET", "HEAD"])
                .unwrap_or_else(answer)
        };
        Some(match segments[..] {
            ["availability", hotel] if !hotel.is_empty() => {
                read_only(&|| availability(question, hotel))
            }
            ["bookings"] => self.collection(question),
            ["bookings", id] => read_only(&|| self.one(id)),
            _ => return None,
        })
    }

    pub(super) fn made(&self) -> u64 {
        self.book().made
    }

    fn collection(&self, question: &Question) -> Answer {
        if let Some(refusal) = question.refused_method(&["GET", "HEAD", "POST"]) {
            return refusal;
        }
        if question.method == Method::POST {
            return self.create(question);
        }
        private(Answer::json(
            StatusCode::OK,
            &json!({ "created": self.made() }),
        ))
    }

    fn create(&self, question: &Question) -> Answer {
        let Ok(Value::Object(wanted)) = serde_json::from_slice(&question.body) else {
            return private(bad_request("the body must be a JSON object"));
        };
        if !wanted.get("hotel").is_some_and(Value::is_string) {
            return private(bad_request("hotel is missing or no text"));
        }
        let mut booking = wanted;
        let mut book = self.book();
        book.made += 1;
        let number = book.made;
        let id = format!("b-{number}");
        booking.insert("id".into(), json!(id));
        booking.insert("status".into(), json!("confirmed"));
        booking.insert("created_at".into(), json!(iso_time(question.now)));
        let booking = Value::Object(booking);
        book.by_number.insert(number, booking.clone());
        if book.by_number.len() > BOOKINGS_MAX {
            book.by_number.pop_first();
        }
        let created = Answer::json(StatusCode::CREATED, &booking);
        private(created.with(header::LOCATION, &format!("/bookings/{id}")))
    }

    fn one(&self, id: &str) -> Answer {
        let number = id.strip_prefix("b-").and_then(|number| number.parse().ok());
        let book = self.book();
        let booking = number.and_then(|number: u64| book.by_number.get(&number));
        private(booking.map_or_else(
            || not_found("no such booking"),
            |booking| Answer::json(StatusCode::OK, booking),
        ))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn private(answer: Answer) -> Answer {
    answer.with(header::CACHE_CONTROL, "no-store")
}

fn availability(question: &Question, hotel: &str) -> Answer {
    let date = question.parameter("date").unwrap_or("2026-12-24");
    if date.parse::<jiff::civil::Date>().is_err() {
        return bad_request("date must be a day, like 2026-12-24");
    }
    let (version, began) = (question.version(1), question.version_began(1));
    let rooms: Vec<_> = ["single", "double", "suite"]
        .iter()
        .zip([60, 90, 180])
        .map(|(kind, from)| {
            let rate = from + question.draw(&["rate", hotel, date, kind], version) % from;
            let free = question.draw(&["free", hotel, date, kind], version) % 12;
            json!({ "kind": kind, "free": free, "rate": rate, "currency": "EUR" })
        })
        .collect();
    let body = json!({
        "hotel": hotel,
        "date": date,
        "rooms": rooms,
        "updated_at": iso_time(began),
        "version": version,
    });
    Answer::cacheable(&body, "max-age=5", began)
}

#[cfg(test)]
mod tests {
    use super::super::json_of;
    use super::*;
    use crate::stub::answer::question;

    fn post(bookings: &Bookings, body: &'static str) -> Answer {
        let mut asked = question("POST", "/bookings");
        asked.body = body.into();
        bookings.answer(&asked).unwrap()
    }

    #[test]
    fn each_post_makes_one_booking_that_can_be_read() {
        let bookings = Bookings::default();
        let first = post(&bookings, r#"{"hotel":"grand"}"#);
        assert_eq!(first.status, 201);
        assert_eq!(first.headers["location"], "/bookings/b-1");
        assert_eq!(first.headers["cache-control"], "no-store");
        post(&bookings, r#"{"hotel":"grand"}"#);
        assert_eq!(bookings.made(), 2, "sent twice, made twice");

        let read = bookings.answer(&question("GET", "/bookings/b-1")).unwrap();
        assert_eq!(json_of(&read), json_of(&first));
        let none = bookings.answer(&question("GET", "/bookings/b-9")).unwrap();
        assert_eq!(none.status, 404);
        let count = bookings.answer(&question("GET", "/bookings")).unwrap();
        assert_eq!(json_of(&count)["created"], 2);
    }

    #[test]
    fn unusable_booking_is_refused_and_not_counted() {
        let bookings = Bookings::default();
        for body in ["", "{", "[]", r#"{"hotel":1}"#] {
            assert_eq!(post(&bookings, body).status, 400, "{body}");
        }
        assert_eq!(bookings.made(), 0);
    }

    #[test]
    fn availability_lists_rooms_with_counts_and_rates() {
        let bookings = Bookings::default();
        let asked = question("GET", "/availability/grand?date=2026-12-31");
        let answer = bookings.answer(&asked).unwrap();
        assert_eq!(answer.headers["cache-control"], "max-age=5");
        let body = json_of(&answer);
        assert_eq!(body["date"], "2026-12-31");
        for room in body["rooms"].as_array().unwrap() {
            assert!(
                room["rate"].as_u64().unwrap() > 0 && room["free"].is_u64(),
                "{room}"
            );
        }
        let bad = bookings.answer(&question("GET", "/availability/grand?date=soon"));
        assert_eq!(bad.unwrap().status, 400);
    }
}
