//! What happened, in order: to read what went wrong, and to tell whether two runs were the same.

use std::fmt;

/// The last events that are shown where something went wrong.
const SHOWN: usize = 160;

/// See the module's documentation.
#[derive(Default)]
pub struct Diary {
    events: Vec<String>,
    prints: bool,
}

impl Diary {
    /// `prints`: every event is printed as it happens.
    pub fn new(prints: bool) -> Self {
        Self {
            prints,
            ..Self::default()
        }
    }

    /// One more event, `at` so many virtual milliseconds after the start.
    pub fn note(&mut self, at: u64, event: fmt::Arguments<'_>) {
        let event = format!("{:>9}.{:03} {event}", at / 1000, at % 1000);
        if self.prints {
            println!("{event}");
        }
        self.events.push(event);
    }

    /// All of them.
    pub fn take_all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// The last of them, to be read.
    pub fn tail(&self) -> String {
        let first = self.events.len().saturating_sub(SHOWN);
        self.events[first..]
            .iter()
            .map(|event| format!("  {event}\n"))
            .collect()
    }
}
