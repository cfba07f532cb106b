//! What happened, in order: enough of it to read what went wrong, and a digest of all of it, to tell whether two runs were
//! the same.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
};

/// The last events that are kept to be read.
const KEPT: usize = 160;

/// See the module's documentation.
#[derive(Default)]
pub struct Diary {
    last: VecDeque<String>,
    spare: String,
    events: u64,
    digest: u64,
    prints: bool,
}

impl Diary {
    /// `prints`: every event is printed as it happens.
    pub fn new(prints: bool) -> Self {
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            prints,
            ..Self::default()
        }
    }

    /// One more event, `at` so many virtual milliseconds after the start.
    pub fn note(&mut self, at: u64, event: fmt::Arguments<'_>) {
        let mut line = std::mem::take(&mut self.spare);
        line.clear();
        let _ = write!(line, "{:>9}.{:03} {event}", at / 1000, at % 1000);
        if self.prints {
            println!("{line}");
        }
        // FNV-1a.
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events += 1;
        self.last.push_back(line);
        if self.last.len() > KEPT {
            self.spare = self.last.pop_front().unwrap_or_default();
        }
    }

    /// How many events, and what is the same only where all of them were.
    pub fn digest(&self) -> (u64, u64) {
        (self.events, self.digest)
    }

    /// The last of them, to be read.
    pub fn tail(&self) -> String {
        self.last.iter().fold(String::new(), |mut text, line| {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
            text
        })
    }
}
