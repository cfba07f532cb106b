//! The removal log: which keys were removed, and when, outside the index.
//!
//! A damaged index can hand back records it had deleted. A record is served only if no removal of its key is later than
//! its stamp, so the log decides, not the index. Append-only, synced per batch, read whole at start.
//!
//! Bounded by count: past [`KEPT_MAX`] the older half is forgotten and the file rewritten. What is forgotten rests on the
//! index alone from then on, which deleted those records many flushes ago.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{codec::Stamp, key::Key};

/// Removals kept: 3 MiB on disk, about 5 MiB in memory.
pub(crate) const KEPT_MAX: usize = 65_536;

const ENTRY: usize = 32 + 8 + 8;

/// The log and what it says.
pub(crate) struct Removals {
    path: PathBuf,
    removed: RwLock<HashMap<Key, Stamp>>,
    file: Mutex<Log>,
    kept_max: usize,
}

struct Log {
    file: File,
    entries: usize,
}

impl Removals {
    /// Reads the log at `path`, or starts one. Entries that fail their checksum (a torn tail) are passed over.
    pub(crate) fn open(path: PathBuf, kept_max: usize) -> io::Result<Self> {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut removed = HashMap::new();
        for (key, stamp) in bytes.chunks_exact(ENTRY).filter_map(decode) {
            keep_latest(&mut removed, key, stamp);
        }
        // Rewritten rather than appended to where its end is torn: entries are found by their position.
        let file = if bytes.len() % ENTRY == 0 {
            OpenOptions::new().create(true).append(true).open(&path)?
        } else {
            rewrite(&path, &removed)?
        };
        Ok(Self {
            path,
            file: Mutex::new(Log {
                file,
                entries: bytes.len() / ENTRY,
            }),
            removed: RwLock::new(removed),
            kept_max,
        })
    }

    /// Whether a record of this key and stamp was removed after it was written.
    pub(crate) fn covers(&self, key: &Key, stamp: Stamp) -> bool {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        removed.get(key).is_some_and(|removed| *removed >= stamp)
    }

    /// The latest stamp in the log, 0 if it is empty.
    pub(crate) fn last_stamp(&self) -> Stamp {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        removed.values().copied().max().unwrap_or(0)
    }

    /// Logs these removals; durable when it returns.
    pub(crate) fn append(&self, removals: &[(Key, Stamp)]) -> io::Result<()> {
        if removals.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = removals.iter().flat_map(encode).collect();
        let mut log = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        log.file.write_all(&bytes)?;
        log.file.sync_data()?;
        log.entries += removals.len();
        let mut removed = self.removed.write().unwrap_or_else(PoisonError::into_inner);
        for (key, stamp) in removals {
            keep_latest(&mut removed, *key, *stamp);
        }
        // Twice the bound, because keys removed again and again have several entries for one in the map.
        if removed.len() > self.kept_max || log.entries > 2 * self.kept_max {
            forget_older_half(&mut removed, self.kept_max);
            log.file = rewrite(&self.path, &removed)?;
            log.entries = removed.len();
        }
        Ok(())
    }
}

fn keep_latest(removed: &mut HashMap<Key, Stamp>, key: Key, stamp: Stamp) {
    let latest = removed.entry(key).or_insert(stamp);
    *latest = (*latest).max(stamp);
}

fn forget_older_half(removed: &mut HashMap<Key, Stamp>, kept_max: usize) {
    let mut stamps: Vec<Stamp> = removed.values().copied().collect();
    let surplus = stamps.len().saturating_sub(kept_max / 2);
    if stamps.len() > kept_max && surplus < stamps.len() {
        let (_, oldest_kept, _) = stamps.select_nth_unstable(surplus);
        let oldest_kept = *oldest_kept;
        removed.retain(|_, stamp| *stamp >= oldest_kept);
    }
}

fn rewrite(path: &Path, removed: &HashMap<Key, Stamp>) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let bytes: Vec<u8> = removed
        .iter()
        .flat_map(|(key, stamp)| encode(&(*key, *stamp)))
        .collect();
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

fn encode((key, stamp): &(Key, Stamp)) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..32].copy_from_slice(key.as_bytes());
    entry[32..40].copy_from_slice(&stamp.to_le_bytes());
    let sum = xxh3_64(&entry[..40]);
    entry[40..].copy_from_slice(&sum.to_le_bytes());
    entry
}

fn decode(entry: &[u8]) -> Option<(Key, Stamp)> {
    let (content, sum) = entry.split_last_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != xxh3_64(content) {
        return None;
    }
    let (key, stamp) = content.split_first_chunk::<32>()?;
    Some((
        Key::from_bytes(*key),
        u64::from_le_bytes(stamp.try_into().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::key;

    #[test]
    fn a_removal_covers_what_was_written_before_it_and_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removals.log");
        let removals = Removals::open(path.clone(), KEPT_MAX).unwrap();
        removals.append(&[(key(1), 50), (key(1), 40)]).unwrap();
        drop(removals);
        let removals = Removals::open(path, KEPT_MAX).unwrap();
        assert!(removals.covers(&key(1), 50));
        assert!(!removals.covers(&key(1), 51));
        assert!(!removals.covers(&key(2), 1));
        assert_eq!(removals.last_stamp(), 50);
    }

    #[test]
    fn a_torn_or_flipped_entry_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removals.log");
        let mut bytes: Vec<u8> = (1..=3).flat_map(|n| encode(&(key(n), n))).collect();
        bytes[ENTRY + 3] ^= 1;
        bytes.truncate(3 * ENTRY + 10);
        bytes.extend_from_slice(b"torn");
        fs::write(&path, &bytes).unwrap();
        let removals = Removals::open(path.clone(), KEPT_MAX).unwrap();
        assert!(removals.covers(&key(1), 1) && removals.covers(&key(3), 3));
        assert!(!removals.covers(&key(2), 2));
        removals.append(&[(key(4), 4)]).unwrap();
        let removals = Removals::open(path, KEPT_MAX).unwrap();
        assert!(removals.covers(&key(4), 4), "appended after a torn tail");
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_latest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removals.log");
        let removals = Removals::open(path.clone(), 100).unwrap();
        for n in 1..=1000 {
            removals.append(&[(key(n), n), (key(0), n)]).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() <= (ENTRY * 202) as u64);
        assert!(removals.covers(&key(1000), 1000) && removals.covers(&key(0), 1000));
        assert!(!removals.covers(&key(1), 1));
    }

    proptest::proptest! {
        #[test]
        fn an_entry_round_trips_and_every_flipped_byte_is_seen(bytes: [u8; 32], stamp: u64, at in 0..ENTRY, flip in 1u8..) {
            let removal = (Key::from_bytes(bytes), stamp);
            let mut entry = encode(&removal);
            proptest::prop_assert_eq!(decode(&entry), Some(removal));
            entry[at] ^= flip;
            proptest::prop_assert_eq!(decode(&entry), None);
        }

        #[test]
        fn decoding_any_bytes_never_panics(bytes: Vec<u8>) {
            let _removal = decode(&bytes);
        }
    }
}
