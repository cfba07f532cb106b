//! The log of purges: what keeps a purge in force over a restart.
//!
//! A file of lines beside the store's volumes, so that it outlives a volume that is set aside. Each line is one purge and
//! a checksum. Lines are appended and synced by a thread of its own before a purge is acknowledged; several that wait are
//! synced together. A log that has outgrown what the table says is written anew, under another name, and renamed.
//!
//! # Invariants
//!
//! - An acknowledged purge is read back. A torn tail was never acknowledged and is passed over.
//! - Damage before the tail may have been any purge: everything stored so far is then asked about before it is used.
//! - After a failed write the next one writes the whole log anew: what is in the table is not lost by it.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Remembered,
    what::{Mode, Purge},
};

/// The first line: what the file is, and in which format.
const HEADING: &str = "larder purges 1\n";

/// Batches that wait to be written.
const WAITING_MAX: usize = 1024;
/// Batches that are synced together.
const TOGETHER_MAX: usize = 256;
/// Lines beyond twice the rows of the table before the log is written anew.
const SLACK_LINES: usize = 1024;

/// Purges on their way to the log, and who waits for them.
pub(super) struct Batch {
    pub(super) purges: Vec<Purge>,
    /// Told once they are durable.
    pub(super) durable: oneshot::Sender<Result<(), Undurable>>,
}

/// Why a purge is in force only until the next restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undurable {
    /// The file could not be written.
    #[error("{0}")]
    Write(Arc<str>),
    /// More wait to be written than the log takes.
    #[error("too many purges wait to be written")]
    Full,
    /// The log was closed, or its thread has ended.
    #[error("the log of purges is closed")]
    Closed,
    /// The disk did not confirm in time; it may still do so.
    #[error("the disk did not confirm within {0:?}")]
    Late(Duration),
}

/// Hands purges to the thread that writes them.
#[derive(Debug)]
pub(super) struct PurgeLog {
    batches: Mutex<Option<mpsc::SyncSender<Batch>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What a log says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) purges: Vec<Purge>,
    /// Lines that were whole but not understood.
    pub(super) damaged: usize,
    /// It ends in the middle of a line, or has no heading.
    torn: bool,
}

impl PurgeLog {
    /// Starts the thread that writes to `path`. Where `read` says that the file is not as it should be, or where
    /// `remembered` has more than it, it is written anew with the first batch at the latest.
    pub(super) fn start(
        path: PathBuf,
        read: &Read,
        remembered: Arc<Remembered>,
    ) -> io::Result<Self> {
        let (batches, incoming) = mpsc::sync_channel(WAITING_MAX);
        let (alive, ended) = oneshot::channel();
        let mut writer = Writer {
            file: None,
            lines: read.purges.len(),
            path,
            remembered,
        };
        if !read.torn && read.damaged == 0 {
            // Where it cannot be appended to, the first batch finds out.
            writer.file = OpenOptions::new().append(true).open(&writer.path).ok();
        }
        thread::Builder::new()
            .name("larder-purge-log".to_owned())
            .spawn(move || {
                writer.run(&incoming);
                drop(alive);
            })?;
        Ok(Self {
            batches: Mutex::new(Some(batches)),
            ended: Mutex::new(Some(ended)),
        })
    }

    /// Never blocks: a log that is full or closed says so at once.
    pub(super) fn write(&self, batch: Batch) {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*batches else {
            return tell(batch, Undurable::Closed);
        };
        match sender.try_send(batch) {
            Ok(()) => {}
            Err(mpsc::TrySendError::Full(batch)) => tell(batch, Undurable::Full),
            Err(mpsc::TrySendError::Disconnected(batch)) => tell(batch, Undurable::Closed),
        }
    }

    /// Writes what waits and ends the thread; one that hangs is left behind after `within`.
    pub(super) async fn close(&self, within: Duration) {
        drop(take(&self.batches));
        if let Some(ended) = take(&self.ended)
            && tokio::time::timeout(within, ended).await.is_err()
        {
            tracing::warn!(
                "the thread that writes the log of purges does not end and is left behind"
            );
        }
    }
}

fn take<T>(held: &Mutex<Option<T>>) -> Option<T> {
    held.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn tell(batch: Batch, why: Undurable) {
    // Whoever issued it may not want to know.
    let _ = batch.durable.send(Err(why));
}

// --- Writer ---

struct Writer {
    path: PathBuf,
    /// `None`: the whole log has to be written anew.
    file: Option<File>,
    lines: usize,
    remembered: Arc<Remembered>,
}

impl Writer {
    fn run(&mut self, incoming: &mpsc::Receiver<Batch>) {
        while let Ok(first) = incoming.recv() {
            let more = incoming.try_iter().take(TOGETHER_MAX - 1);
            let batches: Vec<Batch> = std::iter::once(first).chain(more).collect();
            let outcome = self.write(&batches);
            if let Err(error) = &outcome {
                self.file = None;
                self.remembered.could_not_write(&self.path, error);
            }
            let outcome = outcome.map_err(|error| Undurable::Write(error.to_string().into()));
            for batch in batches {
                let _ = batch.durable.send(outcome.clone());
            }
        }
        if self.file.is_none() && self.remembered.rows() > 0 {
            // Nobody waits any more; what cannot be written now was told to be undurable before.
            let _ = self.rewrite();
        }
    }

    /// Durable when it returns.
    fn write(&mut self, batches: &[Batch]) -> io::Result<()> {
        let purges = batches.iter().flat_map(|batch| &batch.purges);
        let Some(file) = &mut self.file else {
            // They are in the table already.
            return self.rewrite();
        };
        let mut text = String::new();
        let mut lines = 0;
        for purge in purges {
            write_line(&mut text, purge);
            lines += 1;
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.lines += lines;
        if self.lines > 2 * self.remembered.rows() + SLACK_LINES {
            self.rewrite()?;
        }
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut purges = self.remembered.purges();
        purges.sort_unstable_by_key(|purge| purge.number);
        self.file = Some(rewrite(&self.path, &purges)?);
        self.lines = purges.len();
        Ok(())
    }
}

fn rewrite(path: &Path, purges: &[Purge]) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut text = HEADING.to_owned();
    for purge in purges {
        write_line(&mut text, purge);
    }
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

// --- Lines ---

fn write_line(out: &mut String, purge: &Purge) {
    let start = out.len();
    // Neither serialising owned text nor writing to a String has a way to fail; a line without its purge would be
    // damage when read.
    out.push_str(&serde_json::to_string(purge).unwrap_or_default());
    let sum = xxh3_64(&out.as_bytes()[start..]);
    let _ = writeln!(out, " {sum:016x}");
}

fn read_line(line: &[u8]) -> Option<Purge> {
    let (content, sum) = std::str::from_utf8(line).ok()?.rsplit_once(' ')?;
    let sum = u64::from_str_radix(sum, 16).ok()?;
    (sum == xxh3_64(content.as_bytes())).then_some(())?;
    serde_json::from_str(content).ok()
}

/// Reads a log; one that does not exist says nothing.
///
/// # Errors
///
/// As the file system says.
pub(super) fn read(path: &Path) -> io::Result<Read> {
    match fs::read(path) {
        Ok(bytes) => Ok(read_bytes(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(read_bytes(b"")),
        Err(error) => Err(error),
    }
}

fn read_bytes(bytes: &[u8]) -> Read {
    let Some(lines) = bytes.strip_prefix(HEADING.as_bytes()) else {
        // Nothing yet, or the torn beginning of one. Anything else is a log of another format.
        let damaged = usize::from(!HEADING.as_bytes().starts_with(bytes));
        return Read {
            damaged,
            torn: true,
            ..Read::default()
        };
    };
    let mut read = Read::default();
    let mut lines = lines.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        if lines.peek().is_none() {
            // What follows the last line's end.
            read.torn = !line.is_empty();
            break;
        }
        match read_line(line) {
            Some(purge) => read.purges.push(purge),
            None => read.damaged += 1,
        }
    }
    read
}

/// What stands in for purges that cannot be read any more.
pub(super) const INSTEAD_OF_LOST: Mode = Mode::Invalid;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::purge::what::What;

    fn purge(number: u64) -> Purge {
        Purge {
            number,
            mode: Mode::Hard,
            what: What::Tag("a b\n\u{e9}".into()),
        }
    }

    fn log(numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut text = HEADING.to_owned();
        for number in numbers {
            write_line(&mut text, &purge(number));
        }
        text.into_bytes()
    }

    #[test]
    fn a_torn_tail_costs_only_itself_and_damage_is_counted() {
        let whole = log(1..=3);
        let read = read_bytes(&whole);
        assert_eq!(read.purges, [purge(1), purge(2), purge(3)]);
        assert!(!read.torn && read.damaged == 0);

        for cut in 1..whole.len() - log(1..=2).len() {
            let read = read_bytes(&whole[..whole.len() - cut]);
            assert_eq!(read.purges, [purge(1), purge(2)], "cut by {cut}");
            assert_eq!((read.torn, read.damaged), (true, 0), "cut by {cut}");
        }
        for at in log(1..=1).len()..log(1..=2).len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x04;
            let read = read_bytes(&flipped);
            assert!(read.damaged > 0, "byte {at}");
            assert!(read.purges.contains(&purge(1)), "byte {at}");
        }
    }

    #[test]
    fn another_format_is_damage_and_an_empty_file_is_not() {
        assert_eq!(read_bytes(b"").damaged, 0);
        assert_eq!(read_bytes(&HEADING.as_bytes()[..5]).damaged, 0);
        assert_eq!(read_bytes(b"larder purges 2\n").damaged, 1);
        assert_eq!(read_bytes(&[0; 64]).damaged, 1);
    }

    fn any_what() -> impl Strategy<Value = What> {
        let text = || any::<String>().prop_map(Box::<str>::from);
        let host = || prop::option::of(any::<String>().prop_map(Box::<str>::from));
        prop_oneof![
            Just(What::All),
            text().prop_map(What::Upstream),
            text().prop_map(What::Route),
            text().prop_map(What::Tag),
            (text(), text()).prop_map(|(upstream, group)| What::Group { upstream, group }),
            (text(), host(), text()).prop_map(|(upstream, host, target)| What::Url {
                upstream,
                host,
                target
            }),
            (host(), text()).prop_map(|(host, path)| What::Prefix { host, path }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_logged_is_read_again(
            whats in prop::collection::vec((any_what(), any::<u64>(), prop::sample::select(&Mode::ALL[..])), 0..4),
        ) {
            let purges: Vec<_> = whats
                .into_iter()
                .map(|(what, number, mode)| Purge { number, mode, what })
                .collect();
            let mut text = HEADING.to_owned();
            for purge in &purges {
                write_line(&mut text, purge);
            }
            let read = read_bytes(text.as_bytes());
            prop_assert_eq!((read.purges, read.damaged, read.torn), (purges, 0, false));
        }

        #[test]
        fn reading_any_bytes_never_panics(bytes: Vec<u8>) {
            let _ = read_bytes(&bytes);
            let _ = read_bytes(&[HEADING.as_bytes(), &bytes].concat());
        }
    }
}
