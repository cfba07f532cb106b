//! Kept: small states that outlive a restart: what was learnt of answers, and what operators were told already.
//!
//! A name and its bytes, one file per name under the store's folder. Blocking: [`super::Saver`] calls it from a thread of its
//! own, and whoever starts or reloads calls [`Kept::load`] off the async threads.
//!
//! # Invariants
//!
//! - What is loaded is what was saved under this name, whole, or nothing: length and checksum are verified, and the name is
//!   part of what is summed.
//! - A file is replaced by a rename after its content was synced: a crash leaves the old state or the new one.
//! - A damaged or foreign file is set aside, never read again, never fatal; one is kept per name.
//! - A disk that fails is told once per episode.
//!
//! What this does not do: remember for those who have no disk. Without a folder everything starts anew.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::observe::{Alert, Alerts};

/// What a file begins with: what it is, and in which format.
const MAGIC: &[u8; 8] = b"larderK1";
/// [`MAGIC`], the length, the checksum.
const HEAD_BYTES: usize = 24;
/// Bytes of a file's name before its ending; a longer one ends in a digest.
const STEM_BYTES_MAX: usize = 160;

/// The states that are kept. Clones share them.
#[derive(Clone, Debug)]
pub struct Kept(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
    bytes_max: u64,
    alerts: Alerts,
    /// Names that could not be written the last time.
    failing: Mutex<BTreeSet<String>>,
    errors: AtomicU64,
    damaged: AtomicU64,
}

/// Why a state was not saved.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("it has {bytes} bytes, more than the {bytes_max} of `store.kept_bytes_max`")]
    TooLarge { bytes: u64, bytes_max: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Kept {
    /// Keeps states of at most `bytes_max` bytes each in this folder, which is made when the first one is saved.
    pub fn open(folder: Option<PathBuf>, bytes_max: u64, alerts: Alerts) -> Self {
        Self(Arc::new(Inner {
            folder,
            bytes_max,
            alerts,
            failing: Mutex::default(),
            errors: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        }))
    }

    /// Whether there is a folder to keep them in.
    pub fn is_on_disk(&self) -> bool {
        self.0.folder.is_some()
    }

    /// What was saved last under this name; `None` where nothing was, or where it cannot be read any more. Blocks.
    pub fn load(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path(name)?;
        let why = match read(&path, self.0.bytes_max) {
            Ok(None) => return None,
            Ok(Some(file)) => match decode(name, &file) {
                Some(bytes) => return Some(bytes.to_vec()),
                None => "is not what was written there".to_owned(),
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        self.set_aside(&path, &why);
        None
    }

    /// Saves this state under this name; durable where it returns true. Blocks.
    pub fn save(&self, name: &str, bytes: &[u8]) -> bool {
        let Some(path) = self.path(name) else {
            return false;
        };
        match self.write(&path, name, bytes) {
            Ok(()) => {
                self.failing().remove(name);
                true
            }
            Err(error) => {
                self.could_not_write(&path, name, &error);
                false
            }
        }
    }

    /// States that could not be saved, and files that were set aside, since the start.
    pub fn errors(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.0.errors), count(&self.0.damaged))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let folder = self.0.folder.as_ref()?;
        Some(folder.join(format!("{}.kept", stem(name))))
    }

    fn write(&self, path: &Path, name: &str, bytes: &[u8]) -> Result<(), SaveError> {
        let (length, bytes_max) = (bytes.len() as u64, self.0.bytes_max);
        if length > bytes_max {
            return Err(SaveError::TooLarge {
                bytes: length,
                bytes_max,
            });
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&head(name, bytes))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()?;
        Ok(())
    }

    fn could_not_write(&self, path: &Path, name: &str, error: &SaveError) {
        self.0.errors.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing();
        let is_first = failing.is_empty();
        if !failing.insert(name.to_owned()) || !is_first {
            return;
        }
        drop(failing);
        self.0.alerts.raise(Alert {
            kind: "kept_write_failed",
            subject: path.display().to_string(),
            message: format!(
                "what is known about the answers of routes cannot be saved ({error}); it holds until a restart and is tried again"
            ),
            owner: None,
            runbook: None,
        });
    }

    fn set_aside(&self, path: &Path, why: &str) {
        self.0.damaged.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension("damaged");
        let moved = match fs::rename(path, &aside) {
            Ok(()) => format!("it was renamed to {}", aside.display()),
            Err(error) => {
                format!("it could not be set aside ({error}) and is replaced with what comes next")
            }
        };
        self.0.alerts.raise(Alert {
            kind: "kept_damaged",
            subject: path.display().to_string(),
            message: format!("the file {why}; {moved}, and what it held is learnt anew"),
            owner: None,
            runbook: None,
        });
    }

    fn failing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` where there is no such file. Reads no more than could have been written.
fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    // One byte more: what is longer than it may be is no longer what its head says.
    let limit = bytes_max.saturating_add(HEAD_BYTES as u64 + 1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

// --- Format ---

fn head(name: &str, bytes: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    head[16..].copy_from_slice(&checksum(name, bytes).to_le_bytes());
    head
}

/// The state in this file, if it is one that was saved under this name.
fn decode<'f>(name: &str, file: &'f [u8]) -> Option<&'f [u8]> {
    let (head_read, bytes) = file.split_at_checked(HEAD_BYTES)?;
    (head_read == head(name, bytes)).then_some(bytes)
}

fn checksum(name: &str, bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(bytes);
    hasher.digest()
}

/// The name as a file's: what could mean something to a file system is written as `%` and two hexadecimal digits.
fn stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let is_plain =
            byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0);
        match is_plain {
            true => stem.push(char::from(byte)),
            // Writing to a String has no way to fail.
            false => drop(write!(stem, "%{byte:02X}")),
        }
    }
    if stem.len() > STEM_BYTES_MAX {
        stem.truncate(STEM_BYTES_MAX - 33);
        // `~` is never plain, so that no short name is spelled like this.
        let _ = write!(stem, "~{:032x}", xxh3_128(name.as_bytes()));
    }
    stem
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(folder: &Path) -> (Kept, Alerts) {
        let alerts = Alerts::default();
        let kept = Kept::open(Some(folder.join("contracts")), 100, alerts.clone());
        (kept, alerts)
    }

    #[test]
    fn what_is_saved_is_loaded_after_a_restart_and_the_last_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = kept(dir.path());
        assert_eq!(first.load("a/{b}"), None);
        assert!(first.save("a/{b}", b"one") && first.save("a/{b}", b"two"));
        assert!(first.save("a/{c}", b""));
        let (second, alerts) = kept(dir.path());
        assert_eq!(second.load("a/{b}").as_deref(), Some(&b"two"[..]));
        assert_eq!(second.load("a/{c}").as_deref(), Some(&b""[..]));
        assert!(alerts.recent().is_empty());
    }

    #[test]
    fn without_a_folder_nothing_is_kept_and_nothing_is_wrong() {
        let alerts = Alerts::default();
        let kept = Kept::open(None, 100, alerts.clone());
        assert!(!kept.save("a", b"one") && kept.load("a").is_none());
        assert!(alerts.recent().is_empty());
    }

    #[test]
    fn a_damaged_or_foreign_file_is_set_aside_and_told_once() {
        let whole = [&head("a", b"state")[..], b"state"].concat();
        let foreign = [&head("b", b"state")[..], b"state"].concat();
        let mut flipped = whole.clone();
        flipped[HEAD_BYTES] ^= 1;
        let long = [&whole[..], &[0; 200]].concat();
        for (name, file) in [
            ("cut short", &whole[..whole.len() - 1]),
            ("cut in its head", &whole[..HEAD_BYTES - 1]),
            ("a flipped bit", &flipped),
            ("longer than it says", &long),
            ("of another name", &foreign),
            ("empty", b""),
            ("something else", b"{\"json\": true}"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (kept, alerts) = kept(dir.path());
            let path = kept.path("a").unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
            assert_eq!(kept.load("a"), None, "{name}");
            assert_eq!(kept.load("a"), None, "{name}");
            assert!(!path.exists(), "{name}");
            assert!(path.with_extension("damaged").exists(), "{name}");
            assert_eq!(alerts.recent().len(), 1, "{name}");
            assert!(kept.save("a", b"anew"), "{name}");
            assert_eq!(kept.load("a").as_deref(), Some(&b"anew"[..]), "{name}");
        }
    }

    #[test]
    fn a_disk_that_fails_is_told_once_per_episode_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, alerts) = kept(dir.path());
        // A file where the folder should be.
        fs::write(dir.path().join("contracts"), "").unwrap();
        for name in ["a", "b", "a"] {
            assert!(!kept.save(name, b"state"));
        }
        assert_eq!(kept.errors(), (3, 0));
        assert_eq!(alerts.recent().len(), 1);
        fs::remove_file(dir.path().join("contracts")).unwrap();
        assert!(kept.save("a", b"state") && kept.save("b", b"state"));
        assert!(kept.failing().is_empty());
    }

    #[test]
    fn what_is_larger_than_it_may_be_is_not_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, alerts) = kept(dir.path());
        assert!(kept.save("a", &[7; 100]) && !kept.save("a", &[8; 101]));
        assert_eq!(kept.load("a"), Some(vec![7; 100]), "the older one stays");
        assert!(alerts.recent()[0].message.contains("store.kept_bytes_max"));
    }

    proptest! {
        #[test]
        fn names_are_safe_and_each_its_own(one in ".{0,80}", other in ".{0,80}") {
            let (a, b) = (stem(&one), stem(&other));
            prop_assert!(a.len() <= STEM_BYTES_MAX);
            prop_assert!(!a.starts_with('.') && !a.contains(['/', '\\', '\0']));
            prop_assert_eq!(one == other, a == b);
        }

        #[test]
        fn what_is_no_state_of_this_name_is_none(file: Vec<u8>, name: String, bytes: Vec<u8>) {
            prop_assert_eq!(decode(&name, &file), None);
            let written = [&head(&name, &bytes)[..], &bytes].concat();
            prop_assert_eq!(decode(&name, &written), Some(&bytes[..]));
        }
    }
}
