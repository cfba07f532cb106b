//! Printing: one line per request, written by a thread of its own.
//!
//! A terminal that does not take the lines must not slow the vendor down: the queue is bounded, and
//! lines that do not fit are dropped and counted.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::asked::Asked;

/// Lines that may wait for the terminal.
const LINES_MAX: usize = 1024;

/// Writes lines to standard output; its thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Printer {
    lines: SyncSender<String>,
    dropped: AtomicU64,
}

// --- Printer ---

impl Printer {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (lines, waiting) = sync_channel::<String>(LINES_MAX);
        thread::Builder::new()
            .name("stub-print".into())
            .spawn(move || {
                for line in waiting {
                    // A closed pipe is no reason to stop being a vendor.
                    let _ = writeln!(std::io::stdout(), "{line}");
                }
            })?;
        let dropped = AtomicU64::new(0);
        Ok(Self { lines, dropped })
    }

    pub(crate) fn print(&self, asked: &Asked) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let line = line(asked, dropped);
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

/// Time, method, target, status, then what is remarkable.
fn line(asked: &Asked, dropped: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(asked.at.as_millis() as i64).unwrap_or_default();
    let status = asked
        .status
        .map_or("---".to_owned(), |status| status.to_string());
    let mut line = format!(
        "{at:.3} {:<4} {} {status}",
        asked.method.as_str(),
        asked.target
    );
    if asked.is_conditional() {
        line.push_str(" conditional");
    }
    if let Some(fault) = &asked.fault {
        line.push_str(" fault: ");
        line.push_str(fault);
    }
    if dropped > 0 {
        line.push_str(&format!(" ({dropped} lines before this one were dropped)"));
    }
    line
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn line_tells_what_was_asked_and_what_came_of_it() {
        let mut asked = Asked {
            number: 1,
            at: Timestamp::from_millis(1_800_000_000_123),
            method: Method::GET,
            target: "/prices/A?currency=EUR".into(),
            headers: HeaderMap::new(),
            body_bytes: 0,
            fault: None,
            status: Some(200),
        };
        let plain = "2027-01-15T08:00:00.123Z GET  /prices/A?currency=EUR 200";
        assert_eq!(line(&asked, 0), plain);
        asked
            .headers
            .insert("if-none-match", HeaderValue::from_static("\"a\""));
        asked.fault = Some("kind=hang".into());
        asked.status = None;
        let want =
            "2027-01-15T08:00:00.123Z GET  /prices/A?currency=EUR --- conditional fault: kind=hang";
        assert_eq!(line(&asked, 0), want);
    }
}
