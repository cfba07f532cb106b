//! `transform`: a jq program that makes what the site expects of what the vendor answers.
//!
//! A program is a pure function of the answer: it has no way to files, the environment, the clock or other inputs. It is
//! compiled once, and gives exactly one value.
//!
//! # Invariants
//!
//! - A run ends, whatever the program: it is bounded in steps first, so that the verdict is the same on any machine, then in
//!   time, memory, stack and nesting ([`meter`]). It leaves nothing behind, and no thread.
//! - Numbers that a program only passes on stay as the vendor wrote them, digit by digit; members stay in order.
//! - What it gives is JSON: a number that JSON cannot say is a failure, not `null`.
//!
//! What this does not do: judge what comes out; that is the contract's.

mod arithmetic;
mod compile;
mod core;
mod data;
mod functions;
mod meter;
mod number;
mod read;
mod regex;
mod value;
mod write;

use std::{fmt, sync::Arc, thread, time::Instant};

use bytes::Bytes;
use jaq_core::{Ctx, Filter, Vars};

pub use self::compile::ProgramError;
use self::{
    data::{Jq, Scope},
    meter::{Grant, IsLate, Stop},
    read::NotRead,
    value::Value,
    write::NotWritten,
};
use super::{Breach, Kind, Limits};

/// Stack of the thread that compiles a program: it goes into each token, at worst. What it does not use it does not cost.
const COMPILE_STACK: usize = 256 << 20;
/// Stack of the thread that a program runs on; what it does not use it does not cost.
const STACK: usize = 64 << 20;
/// How much of that a program may use: what it holds needs stack, too, while it is dropped.
const STACK_MAX: usize = 16 << 20;
/// Steps granted per millisecond of `time_max`: more than any machine does, less than would go on for long.
const STEPS_PER_MS: u64 = 50_000;
/// Places where evaluation goes on later, at a time.
const CONTEXTS_MAX: u64 = 200_000;
/// The term of what a program does wrong.
const TERM: &str = "transform";

/// A jq program, compiled.
#[derive(Clone)]
pub struct Program(Arc<Compiled>);

struct Compiled {
    text: String,
    fingerprint: u64,
    filter: Filter<Jq>,
}

impl Program {
    /// Compiles the text of a program. Blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, and where.
    pub fn compile(text: &str) -> Result<Self, ProgramError> {
        let filter =
            on_own_stack(COMPILE_STACK, || compile::compile(text)).unwrap_or_else(|why| {
                Err(ProgramError {
                    offset: 0,
                    message: format!("the program cannot be compiled: {why}"),
                    hint: None,
                })
            })?;
        Ok(Self(Arc::new(Compiled {
            text: text.to_owned(),
            fingerprint: xxhash_rust::xxh3::xxh3_64(text.as_bytes()),
            filter,
        })))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The same for the same text, on any machine.
    pub fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    /// What the program makes of a body.
    ///
    /// Takes up to `time_max`, whatever the size of the body, and does not yield: not for async threads.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, or what the program does wrong with it.
    pub fn run(&self, body: &[u8], limits: &Limits) -> Result<Bytes, Breach> {
        let steps = u64::try_from(limits.time_max.as_millis()).unwrap_or(u64::MAX);
        // Some copies of what there is, and something to begin with.
        let bytes = (64 * body.len() as u64).min(limits.body_bytes_max.saturating_mul(16));
        let grant = Grant {
            steps: STEPS_PER_MS.saturating_mul(steps),
            bytes: bytes.saturating_add(32 << 20),
            contexts: CONTEXTS_MAX,
            stack: STACK_MAX,
        };
        // None: later than there are times.
        let end = Instant::now().checked_add(limits.time_max);
        let is_late = move || end.is_some_and(|end| Instant::now() >= end);
        self.run_with(body, limits, grant, Arc::new(is_late))
    }

    fn run_with(
        &self,
        body: &[u8],
        limits: &Limits,
        grant: Grant,
        is_late: IsLate,
    ) -> Result<Bytes, Breach> {
        let bytes_max = usize::try_from(limits.body_bytes_max).unwrap_or(usize::MAX);
        if body.len() > bytes_max {
            return Err(Breach::new(
                Kind::TooComplex,
                "body_max",
                format!("the answer has more than {bytes_max} bytes"),
            ));
        }
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Breach::new(Kind::Malformed, "json", format!("byte {at} is not UTF-8"))
        })?;
        let evaluate = || meter::run(grant, is_late, || self.evaluate(text, limits, bytes_max));
        match on_own_stack(STACK, evaluate) {
            Ok(Ok(done)) => done.map(Bytes::from),
            Ok(Err(stop)) => Err(failed(format!("the program {}", stop.words()))),
            Err(why) => Err(failed(why)),
        }
    }

    fn evaluate(&self, text: &str, limits: &Limits, bytes_max: usize) -> Result<String, Breach> {
        let bounds = read::Bounds {
            depth_max: limits.depth_max,
            values_max: limits.values_max,
        };
        let input = read::read(text, bounds).map_err(|why| not_read(&why))?;
        let filter = &self.0.filter;
        let context = Ctx::<Jq>::new(Scope::new(&filter.lut), Vars::new([]));
        let mut outputs = filter.id.run((context, input));
        let output = match outputs.next() {
            Some(Ok(output)) => output,
            Some(Err(exception)) => return Err(failed(words_of(exception))),
            None => {
                return Err(failed(
                    "the program gave nothing, and it must give one value",
                ));
            }
        };
        match outputs.next() {
            None => {}
            Some(Ok(_)) => {
                return Err(failed(
                    "the program gave several values, and it must give one",
                ));
            }
            Some(Err(exception)) => return Err(failed(words_of(exception))),
        }
        drop(outputs);
        if output.depth() as usize > limits.depth_max {
            return Err(failed("what the program gave is deeper than depth_max"));
        }
        write::compact(&output, bytes_max).map_err(|why| {
            failed(match why {
                NotWritten::TooLong => {
                    format!("what the program gave has more than {bytes_max} bytes")
                }
                NotWritten::NotANumber => {
                    "what the program gave has a number that JSON cannot say (a division by zero?)"
                        .to_owned()
                }
            })
        })
    }
}

fn failed(message: impl Into<String>) -> Breach {
    Breach::new(Kind::Transform, TERM, message)
}

fn not_read(why: &NotRead) -> Breach {
    match *why {
        NotRead::Malformed(expected, at) => Breach::new(
            Kind::Malformed,
            "json",
            format!("not JSON: expected {expected} at byte {at}"),
        ),
        NotRead::TooComplex(term) => Breach::new(
            Kind::TooComplex,
            term,
            format!("the answer goes beyond {term}"),
        ),
    }
}

/// What a program says that fails, in words.
fn words_of(exception: jaq_core::Exn<'_, Value>) -> String {
    const SHOWN_MAX: usize = 300;
    let Ok(error) = exception.get_err() else {
        return "the program left a label that does not exist".to_owned();
    };
    let words = match error.into_val() {
        Value::Str(text) => text.as_str().to_owned(),
        other => other.to_string(),
    };
    let shown = &words[..words.floor_char_boundary(SHOWN_MAX)];
    format!("the program failed: {shown}")
}

/// Runs `work` on a thread of its own, whose stack is known, and waits for it.
fn on_own_stack<T: Send>(stack: usize, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("larder-transform".to_owned())
            .stack_size(stack)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread for the program: {error}"))?;
        thread
            .join()
            .map_err(|_| format!("the program {}", Stop::Panic.words()))
    })
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.text()).finish()
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Program {}

#[cfg(test)]
mod tests;
