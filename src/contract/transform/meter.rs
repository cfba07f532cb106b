//! What a program may spend, and how it is stopped: steps, time, memory, stack.
//!
//! A jq program can loop for ever, and a thread cannot be killed. So everything a running program does passes one of a few
//! places that it cannot avoid ([`super::data`]: each term it evaluates; [`super::value`]: each value it makes, reads or
//! compares), and each of them pays here. What cannot pay is unwound: a panic without a message, caught around the run
//! ([`run`]), that drops all it held on its way.
//!
//! # Invariants
//!
//! - Steps come first: the same program on the same body ends at the same step on any machine, unless time is up before.
//! - Nothing is left behind: what was counted as held is given back as it is dropped, and the thread ends.
//! - Dropping is free and never stops anything: it happens while unwinding.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

/// Steps between two looks at the clock; one is worth some 20 ns.
const SLICE: u64 = 4096;

/// What is granted to one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// Terms evaluated and values touched.
    pub(super) steps: u64,
    /// Bytes of values held at a time.
    pub(super) bytes: u64,
    /// Places where evaluation goes on later, at a time.
    pub(super) contexts: u64,
    /// Bytes of stack.
    pub(super) stack: usize,
}

/// Whether time is up. Asked now and then, while a program runs.
pub(super) type IsLate = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a program was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It did more than any mapping of a document of this size should.
    Steps,
    /// Time is up.
    Time,
    /// It held more than it may.
    Memory,
    /// It calls itself deeper than it may.
    Stack,
    /// It makes values inside values, deeper than it may.
    Depth,
    /// It panicked: a defect here or in the crates that run it.
    Panic,
}

impl Stop {
    /// For operators, after "the program ...".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Steps => "did not come to an end (out of steps)",
            Self::Time => "took longer than time_max",
            Self::Memory => "needed more memory than a mapping may",
            Self::Stack => "calls itself too deep",
            Self::Depth => "nests values too deep",
            Self::Panic => "failed in a way that it should not",
        }
    }
}

struct Meter {
    /// Steps until the next look at the clock.
    slice: Cell<u64>,
    /// Steps after those.
    steps: Cell<u64>,
    bytes: Cell<u64>,
    bytes_max: Cell<u64>,
    contexts: Cell<u64>,
    contexts_max: Cell<u64>,
    calls: Cell<u64>,
    /// The lowest address that the stack may reach; 0 where nobody is metered.
    stack_end: Cell<usize>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            slice: Cell::new(u64::MAX),
            steps: Cell::new(0),
            bytes: Cell::new(0),
            bytes_max: Cell::new(u64::MAX),
            contexts: Cell::new(0),
            contexts_max: Cell::new(u64::MAX),
            calls: Cell::new(0),
            stack_end: Cell::new(0),
        }
    };
    static IS_LATE: RefCell<Option<IsLate>> = const { RefCell::new(None) };
}

/// Runs `work` with `grant` on this thread, which must have more stack than that by a good factor.
pub(super) fn run<T>(grant: Grant, is_late: IsLate, work: impl FnOnce() -> T) -> Result<T, Stop> {
    METER.with(|meter| {
        let slice = grant.steps.min(SLICE);
        meter.slice.set(slice);
        meter.steps.set(grant.steps - slice);
        meter.bytes_max.set(grant.bytes);
        meter.contexts_max.set(grant.contexts);
        meter.calls.set(0);
        meter
            .stack_end
            .set(stack_here().saturating_sub(grant.stack));
    });
    IS_LATE.with(|late| *late.borrow_mut() = Some(is_late));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    IS_LATE.with(|late| *late.borrow_mut() = None);
    METER.with(|meter| {
        meter.slice.set(u64::MAX);
        meter.bytes_max.set(u64::MAX);
        meter.contexts_max.set(u64::MAX);
        meter.stack_end.set(0);
    });
    done.map_err(|payload| {
        payload
            .downcast_ref::<Stop>()
            .copied()
            .unwrap_or(Stop::Panic)
    })
}

/// Ends the run from anywhere inside it.
pub(super) fn stop(why: Stop) -> ! {
    // Without the panic hook: nothing is wrong with this program, so nothing is printed.
    panic::resume_unwind(Box::new(why))
}

/// Pays for work.
pub(super) fn spend(steps: u64) {
    METER.with(|meter| match meter.slice.get().checked_sub(steps) {
        Some(left) => meter.slice.set(left),
        None => meter.next_slice(steps),
    });
}

/// Pays for work on so many bytes.
pub(super) fn spend_bytes(bytes: usize) {
    spend(1 + bytes as u64 / 32);
}

/// Pays for one step that may be taken inside another, and looks how deep they are.
pub(super) fn step() {
    spend(1);
    let end = METER.with(|meter| meter.stack_end.get());
    if stack_here() < end {
        stop(Stop::Stack);
    }
}

/// Counts a call; how many there were.
pub(super) fn call() -> u64 {
    METER.with(|meter| {
        let calls = meter.calls.get() + 1;
        meter.calls.set(calls);
        calls
    })
}

impl Meter {
    #[cold]
    fn next_slice(&self, steps: u64) {
        let owed = steps - self.slice.get();
        let left = self.steps.get();
        if owed > left {
            stop(Stop::Steps);
        }
        let is_late = IS_LATE.with(|late| late.borrow().as_ref().is_some_and(|late| late()));
        if is_late {
            stop(Stop::Time);
        }
        let left = left - owed;
        let slice = left.min(SLICE);
        self.slice.set(slice);
        self.steps.set(left - slice);
    }
}

/// Where the stack is now. It grows towards lower addresses wherever this runs.
fn stack_here() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// Bytes held by a value, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Charge(u64);

impl Charge {
    pub(super) fn new(bytes: usize) -> Self {
        let mut charge = Self(0);
        charge.grow(bytes);
        charge
    }

    /// Takes more.
    pub(super) fn grow(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        METER.with(|meter| {
            let held = meter.bytes.get().saturating_add(bytes);
            if held > meter.bytes_max.get() {
                stop(Stop::Memory);
            }
            meter.bytes.set(held);
        });
        self.0 += bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        METER.with(|meter| meter.bytes.set(meter.bytes.get().saturating_sub(self.0)));
    }
}

/// Bytes that may be held beside those that are.
pub(super) fn room() -> usize {
    let room = METER.with(|meter| meter.bytes_max.get().saturating_sub(meter.bytes.get()));
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// One place where evaluation goes on later, until it is dropped. Each holds some hundred bytes that no value counts.
#[derive(Debug)]
pub(super) struct Context(());

impl Context {
    pub(super) fn new() -> Self {
        METER.with(|meter| {
            let held = meter.contexts.get() + 1;
            if held > meter.contexts_max.get() {
                stop(Stop::Memory);
            }
            meter.contexts.set(held);
        });
        Self(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        METER.with(|meter| meter.contexts.set(meter.contexts.get().saturating_sub(1)));
    }
}

/// Bytes that values hold on this thread.
#[cfg(test)]
pub(super) fn held() -> (u64, u64) {
    METER.with(|meter| (meter.bytes.get(), meter.contexts.get()))
}
