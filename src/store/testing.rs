//! Records, keys, a config and a disk that fails on purpose, for the tests of this folder.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    DecodeError, Key, Record,
    codec::Stamp,
    guard::Opener,
    tier::{DiskError, DiskTier, Lookup, NewEntry, Scanned, Size, Which, Written},
};
use crate::{clock::Timestamp, config::model::StoreConfig};

/// A record whose metadata is a text and a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestRecord {
    pub(crate) dead_at: Timestamp,
    pub(crate) text: String,
    pub(crate) body: Bytes,
}

impl TestRecord {
    pub(crate) fn new(text: &str, body: &[u8]) -> Self {
        Self {
            dead_at: Timestamp::NEVER,
            text: text.to_owned(),
            body: Bytes::copy_from_slice(body),
        }
    }
}

impl Record for TestRecord {
    fn weight(&self) -> u64 {
        (self.text.len() + self.body.len()) as u64
    }

    fn dead_at(&self) -> Timestamp {
        self.dead_at
    }

    fn encode_meta(&self) -> Vec<u8> {
        let mut meta = self.dead_at.as_millis().to_le_bytes().to_vec();
        meta.extend_from_slice(self.text.as_bytes());
        meta
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn decode(meta: &[u8], body: Bytes) -> Result<Self, DecodeError> {
        let (dead_at, text) = meta
            .split_first_chunk::<8>()
            .ok_or(DecodeError::new("too short"))?;
        Ok(Self {
            dead_at: Timestamp::from_millis(u64::from_le_bytes(*dead_at)),
            text: String::from_utf8(text.to_vec()).map_err(|_| DecodeError::new("not text"))?,
            body,
        })
    }
}

/// The `n`th of many keys, spread like digests.
pub(crate) fn key(n: u64) -> Key {
    let mut bytes = [0; 32];
    for (i, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&n.to_le_bytes(), i as u64);
        chunk.copy_from_slice(&hash.to_le_bytes());
    }
    Key::from_bytes(bytes)
}

/// Defaults with short waits, on disk in `path`.
pub(crate) fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: Some(path.to_owned()),
        memory_bytes: 64 << 20,
        disk_bytes: 1 << 30,
        body_bytes_max: 16 << 20,
        flush_every: Duration::from_millis(50),
        write_queue_max: 8192,
        write_queue_bytes_max: 64 << 20,
        // Longer than the default: a test on a busy machine waits rather than misses.
        read_timeout: Duration::from_secs(20),
        reads_max: 1024,
        stall_after: Duration::from_secs(30),
        free_bytes_min: 0,
        marks_max: 1_000,
        purges_max: 1_000,
        tags_max: 64,
        tag_body_bytes_max: 1 << 20,
        kept_bytes_max: 4 << 20,
        variants_max: 64,
    }
}

/// A small body (in the index) for even numbers, a large one (in a file) for odd ones; different for each number.
pub(crate) fn body(n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(2) { 300 } else { 6000 };
    let mut body = format!("body {n} ").into_bytes();
    body.resize(len, b'a' + (n % 26) as u8);
    body
}

/// What a scripted tier does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Works, in memory.
    Work,
    /// Every call is an I/O error.
    Fail,
    /// Every call panics.
    Panic,
    /// Every call waits until the script changes.
    Hang,
    /// Reads find a record whose body is cut short: corrupt.
    ShortBody,
    /// Writing fails for want of space.
    NoSpace,
}

/// Stamp, metadata, body.
type Entry = (Stamp, Vec<u8>, Bytes);

/// A disk tier in memory that fails as it is told.
#[derive(Default)]
pub(crate) struct ScriptedTier {
    entries: Mutex<BTreeMap<Key, Entry>>,
    script: Mutex<Option<Script>>,
    changed: Condvar,
    pub(crate) asked: AtomicU64,
}

impl ScriptedTier {
    pub(crate) fn play(&self, script: Script) {
        *self.script.lock().unwrap() = Some(script);
        self.changed.notify_all();
    }

    pub(crate) fn opener(self: &Arc<Self>) -> Opener {
        let tier = Arc::clone(self);
        Arc::new(move |folder| {
            std::fs::create_dir_all(folder)?;
            Ok(Arc::clone(&tier) as Arc<dyn DiskTier>)
        })
    }

    fn act(&self) -> Result<Script, DiskError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut script = self.script.lock().unwrap();
        while *script == Some(Script::Hang) {
            script = self.changed.wait(script).unwrap();
        }
        let now = script.unwrap_or(Script::Work);
        drop(script);
        match now {
            Script::Fail => Err(DiskError::Io(io::Error::other("scripted"))),
            Script::Panic => panic!("scripted"),
            script => Ok(script),
        }
    }
}

impl DiskTier for ScriptedTier {
    fn read(&self, key: &Key) -> Result<Lookup, DiskError> {
        let script = self.act()?;
        let entries = self.entries.lock().unwrap();
        Ok(match entries.get(key) {
            None => Lookup::Absent,
            Some((stamp, ..)) if script == Script::ShortBody => Lookup::Corrupt {
                stamp: Some(*stamp),
            },
            Some((stamp, meta, body)) => Lookup::Found {
                stamp: *stamp,
                meta: Bytes::copy_from_slice(meta),
                body: body.clone(),
            },
        })
    }

    fn write(&self, key: &Key, entry: &NewEntry<'_>) -> Result<Written, DiskError> {
        if self.act()? == Script::NoSpace {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        let stored = (entry.stamp, entry.meta.to_vec(), entry.body.clone());
        self.entries.lock().unwrap().insert(*key, stored);
        Ok(Written {
            size: Size::default(),
            meta_only: false,
        })
    }

    fn remove(&self, key: &Key, _which: Which) -> Result<bool, DiskError> {
        self.act()?;
        Ok(self.entries.lock().unwrap().remove(key).is_some())
    }

    fn log_removals(&self, _removals: &[(Key, Stamp)]) -> Result<(), DiskError> {
        self.act().map(|_| ())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.act().map(|_| ())
    }

    fn scan(&self, _from: &Key, _max: usize) -> Result<Vec<Scanned>, DiskError> {
        Ok(Vec::new())
    }

    fn tidy(&self, _index_live: u64, _pressed: bool) -> Result<bool, DiskError> {
        Ok(false)
    }

    fn index_used(&self) -> Result<u64, DiskError> {
        Ok(0)
    }

    fn last_stamp(&self) -> Stamp {
        0
    }
}
