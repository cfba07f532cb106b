//! Saver: the thread that saves what has changed, so that nobody who answers requests waits for a disk.
//!
//! Whoever holds a state names it and says how to write it down; when it changes, it says so ([`Saved::mark`]). The thread
//! sleeps until somebody does, then gathers for `every` and saves what has changed, so that a state that changes with each
//! answer is written once in that time.
//!
//! # Invariants
//!
//! - What was marked before [`Saver::close`] is saved by it, unless the disk hangs for longer than it waits.
//! - A mark never waits: an atomic, and a short lock where it is the first since the last time.
//! - One state that cannot be written down, even by a panic, keeps no other from being saved.

use std::{
    collections::BTreeMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::kept::Kept;
use crate::observe::Alerts;

/// How long changes are gathered before they are saved: what a crash can cost.
pub const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Writes a state down. Called by the saver's thread: it may hold up whoever changes the state only for a moment.
pub type WriteDown = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// Saves states when they have changed. Clones share one thread.
#[derive(Clone)]
pub struct Saver(Arc<Shared>);

struct Shared {
    kept: Kept,
    every: Duration,
    state: Mutex<State>,
    /// Told when something is marked, and when it ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    sources: BTreeMap<Arc<str>, Source>,
    is_marked: bool,
    /// Gathers no longer.
    is_urgent: bool,
    is_closing: bool,
    /// Set with the first source; ends when the thread does.
    ended: Option<oneshot::Receiver<()>>,
    has_started: bool,
}

#[derive(Clone)]
struct Source {
    is_dirty: Arc<AtomicBool>,
    write_down: WriteDown,
}

/// One state that is saved when it has changed. Clones are of the same one.
#[derive(Clone)]
pub struct Saved(Option<(Arc<AtomicBool>, Arc<Shared>)>);

// --- Saver ---

impl Saver {
    /// Saves into `kept`, gathering changes for `every`.
    pub fn start(kept: Kept, every: Duration) -> Self {
        Self(Arc::new(Shared {
            kept,
            every,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Keeps nothing.
    pub fn nowhere() -> Self {
        Self::start(Kept::open(None, 0, Alerts::default()), SAVE_EVERY)
    }

    /// Where it saves.
    pub fn kept(&self) -> &Kept {
        &self.0.kept
    }

    /// What was saved last under this name. Blocks: for starts and reloads, off the async threads.
    pub fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.kept.load(name)
    }

    /// From now on the state of this name is what `write_down` says; whoever had the name before has lost it.
    pub fn source(&self, name: impl Into<Arc<str>>, write_down: WriteDown) -> Saved {
        if !self.0.kept.is_on_disk() {
            return Saved(None);
        }
        let is_dirty = Arc::new(AtomicBool::new(false));
        let source = Source {
            is_dirty: Arc::clone(&is_dirty),
            write_down,
        };
        let mut state = self.0.state();
        state.sources.insert(name.into(), source);
        if !state.has_started {
            self.begin(&mut state);
        }
        drop(state);
        Saved(Some((is_dirty, Arc::clone(&self.0))))
    }

    fn begin(&self, state: &mut State) {
        state.has_started = true;
        let (alive, ended) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new()
            .name("larder-kept".to_owned())
            .spawn(move || {
                shared.run();
                drop(alive);
            });
        match started {
            Ok(_) => state.ended = Some(ended),
            Err(error) => could_not_start(&error),
        }
    }

    /// Saves what is marked and ends the thread; one that hangs is left behind after `within`.
    pub async fn close(&self, within: Duration) {
        let ended = {
            let mut state = self.0.state();
            state.is_closing = true;
            state.ended.take()
        };
        self.0.changed.notify_all();
        if let Some(ended) = ended
            && tokio::time::timeout(within, ended).await.is_err()
        {
            tracing::warn!(
                "the thread that saves what is known about answers does not end and is left behind"
            );
        }
        // They know the saver, as it knows them.
        self.0.state().sources.clear();
    }
}

impl fmt::Debug for Saver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saver").finish_non_exhaustive()
    }
}

fn could_not_start(error: &io::Error) {
    tracing::error!(
        %error,
        "the thread that saves what is known about answers could not be started; it holds until a restart"
    );
}

// --- Saved ---

impl Saved {
    /// Says that the state has changed.
    pub fn mark(&self) {
        let Some((is_dirty, shared)) = &self.0 else {
            return;
        };
        if !is_dirty.swap(true, Ordering::AcqRel) {
            shared.state().is_marked = true;
            shared.changed.notify_all();
        }
    }
}

impl Saved {
    /// Says that the state has changed in a way that is not to be lost: it is saved at once.
    pub fn mark_urgent(&self) {
        let Some((is_dirty, shared)) = &self.0 else {
            return;
        };
        is_dirty.store(true, Ordering::Release);
        let mut state = shared.state();
        state.is_marked = true;
        state.is_urgent = true;
        shared.changed.notify_all();
    }
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saved").finish_non_exhaustive()
    }
}

// --- The thread ---

impl Shared {
    fn run(&self) {
        loop {
            let is_closing = self.wait();
            let has_failed = !self.save_marked();
            if is_closing {
                return;
            }
            if has_failed {
                // Tried again with the next round.
                self.state().is_marked = true;
            }
        }
    }

    /// Until something was marked and changes were gathered, or until the end. Whether it is the end.
    fn wait(&self) -> bool {
        let mut state = self.state();
        while !state.is_marked && !state.is_closing {
            state = unpoisoned(self.changed.wait(state));
        }
        let until = Instant::now() + self.every;
        while !state.is_closing && !state.is_urgent {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = unpoisoned(waited).0;
        }
        state.is_marked = false;
        state.is_urgent = false;
        state.is_closing
    }

    /// Whether all that was marked could be saved.
    fn save_marked(&self) -> bool {
        let sources: Vec<_> = {
            let state = self.state();
            let mut sources = Vec::new();
            for (name, source) in &state.sources {
                sources.push((Arc::clone(name), source.clone()));
            }
            sources
        };
        let mut is_saved = true;
        for (name, source) in sources {
            // Before it is written down: what changes meanwhile is marked again.
            if source.is_dirty.swap(false, Ordering::AcqRel) && !self.save(&name, &source) {
                source.is_dirty.store(true, Ordering::Release);
                is_saved = false;
            }
        }
        is_saved
    }

    fn save(&self, name: &str, source: &Source) -> bool {
        match catch_unwind(AssertUnwindSafe(|| (source.write_down)())) {
            Ok(bytes) => self.kept.save(name, &bytes),
            Err(_) => {
                tracing::error!(
                    name,
                    "a state could not be written down: a defect of larder"
                );
                // Not tried again before it changes.
                true
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }
}

/// Nothing under this lock is half done when a panic passes.
fn unpoisoned<T>(locked: Result<T, PoisonError<T>>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn saver(folder: &std::path::Path, every: Duration) -> Saver {
        let kept = Kept::open(Some(folder.to_owned()), 1_000, Alerts::default());
        Saver::start(kept, every)
    }

    /// A state that counts how often it was written down.
    fn counted() -> (Arc<AtomicUsize>, WriteDown) {
        let count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&count);
        let write_down = Arc::new(move || {
            let before = counting.fetch_add(1, Ordering::SeqCst);
            vec![u8::try_from(before + 1).unwrap_or(u8::MAX)]
        });
        (count, write_down)
    }

    #[tokio::test]
    async fn what_was_marked_is_saved_at_the_end_however_long_it_gathers() {
        let dir = tempfile::tempdir().unwrap();
        let saver = saver(dir.path(), LONG);
        let (marked_count, write_down) = counted();
        let marked = saver.source("marked", write_down);
        let (other_count, write_down) = counted();
        let _other = saver.source("other", write_down);
        for _ in 0..100 {
            marked.mark();
        }
        saver.close(LONG).await;
        assert_eq!(marked_count.load(Ordering::SeqCst), 1);
        assert_eq!(other_count.load(Ordering::SeqCst), 0);
        assert_eq!(saver.load("marked"), Some(vec![1]));
        assert_eq!(saver.load("other"), None);
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_keeps_nothing_else_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let saver = saver(dir.path(), LONG);
        let broken = saver.source("a", Arc::new(|| panic!("on purpose")));
        let (_, write_down) = counted();
        let well = saver.source("b", write_down);
        broken.mark();
        well.mark();
        saver.close(LONG).await;
        assert_eq!(saver.load("b"), Some(vec![1]));
    }

    #[tokio::test]
    async fn what_could_not_be_saved_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("contracts");
        // A file where the folder should be.
        std::fs::write(&folder, "").unwrap();
        let saver = saver(&folder, Duration::from_millis(1));
        let (count, write_down) = counted();
        let marked = saver.source("a", write_down);
        marked.mark();
        let until = Instant::now() + LONG;
        while count.load(Ordering::SeqCst) < 2 && Instant::now() < until {
            tokio::task::yield_now().await;
        }
        assert!(count.load(Ordering::SeqCst) >= 2, "tried again");
        std::fs::remove_file(&folder).unwrap();
        marked.mark();
        saver.close(LONG).await;
        assert!(saver.load("a").is_some());
    }

    #[tokio::test]
    async fn what_is_urgent_does_not_wait_for_what_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let saver = saver(dir.path(), LONG);
        let (_, write_down) = counted();
        let marked = saver.source("a", write_down);
        let until = Instant::now() + LONG / 2;
        marked.mark_urgent();
        while saver.load("a").is_none() {
            assert!(Instant::now() < until, "it waits");
            tokio::task::yield_now().await;
        }
        saver.close(LONG).await;
    }

    #[tokio::test]
    async fn the_later_of_two_under_a_name_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let saver = saver(dir.path(), LONG);
        let earlier = saver.source("a", Arc::new(|| b"earlier".to_vec()));
        let later = saver.source("a", Arc::new(|| b"later".to_vec()));
        earlier.mark();
        later.mark();
        saver.close(LONG).await;
        assert_eq!(saver.load("a").as_deref(), Some(&b"later"[..]));
    }

    #[tokio::test]
    async fn nowhere_needs_no_thread() {
        let saver = Saver::nowhere();
        saver.source("a", Arc::new(Vec::new)).mark();
        saver.close(LONG).await;
        assert_eq!(saver.load("a"), None);
    }
}
