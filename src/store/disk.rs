//! The index: sled, and the only file that names it.
//!
//! Two trees: `meta` (key -> envelope) and `bodies` (key and stamp -> body of at most 4 KiB). Every call blocks, may
//! fail, and may panic where the files are damaged: callers stand behind the guard. Flushing is the writer's business,
//! so that its errors and its duration are seen.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{codec::Stamp, key::Key, tier::DiskError};

/// Sled's page cache. It does not bound sled's memory, only steers it.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// A handle that was just dropped in this process may hold sled's lock a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Metadata and small bodies, on disk.
pub(crate) struct Index {
    db: sled::Db,
    meta: sled::Tree,
    bodies: sled::Tree,
}

impl Index {
    /// Opens or creates the index in `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, DiskError> {
        let db = open_db(path)?;
        let meta = db.open_tree("meta")?;
        let bodies = db.open_tree("bodies")?;
        Ok(Self { db, meta, bodies })
    }

    pub(crate) fn envelope(&self, key: &Key) -> Result<Option<Bytes>, DiskError> {
        let found = self.meta.get(key.as_bytes())?;
        Ok(found.map(|bytes| Bytes::copy_from_slice(&bytes)))
    }

    pub(crate) fn insert_envelope(&self, key: &Key, envelope: &[u8]) -> Result<(), DiskError> {
        self.meta.insert(key.as_bytes(), envelope)?;
        Ok(())
    }

    pub(crate) fn remove_envelope(&self, key: &Key) -> Result<(), DiskError> {
        self.meta.remove(key.as_bytes())?;
        Ok(())
    }

    pub(crate) fn body(&self, key: &Key, stamp: Stamp) -> Result<Option<Bytes>, DiskError> {
        let found = self.bodies.get(body_name(key, stamp))?;
        Ok(found.map(|bytes| Bytes::copy_from_slice(&bytes)))
    }

    pub(crate) fn has_body(&self, key: &Key, stamp: Stamp) -> Result<bool, DiskError> {
        Ok(self.bodies.contains_key(body_name(key, stamp))?)
    }

    pub(crate) fn insert_body(
        &self,
        key: &Key,
        stamp: Stamp,
        body: &[u8],
    ) -> Result<(), DiskError> {
        self.bodies.insert(body_name(key, stamp), body)?;
        Ok(())
    }

    pub(crate) fn remove_body(&self, key: &Key, stamp: Stamp) -> Result<(), DiskError> {
        self.bodies.remove(body_name(key, stamp))?;
        Ok(())
    }

    /// Up to `max` envelopes from `from` on, in key order.
    pub(crate) fn envelopes(&self, from: &Key, max: usize) -> Result<Vec<(Key, Bytes)>, DiskError> {
        let mut found = Vec::with_capacity(max.min(1024));
        for item in self.meta.range(from.as_bytes().as_slice()..).take(max) {
            let (key, envelope) = item?;
            let key = <[u8; 32]>::try_from(key.as_ref())
                .map_err(|_| DiskError::Index("key of a wrong length".to_owned()))?;
            found.push((Key::from_bytes(key), Bytes::copy_from_slice(&envelope)));
        }
        Ok(found)
    }

    /// Up to `max` names of bodies from `(from, stamp)` on.
    pub(crate) fn body_names(
        &self,
        from: &Key,
        stamp: Stamp,
        max: usize,
    ) -> Result<Vec<(Key, Stamp)>, DiskError> {
        let mut found = Vec::with_capacity(max.min(1024));
        for item in self.bodies.range(body_name(from, stamp)..).take(max) {
            let (name, _) = item?;
            found.push(
                named(&name).ok_or_else(|| {
                    DiskError::Index("name of a body has a wrong length".to_owned())
                })?,
            );
        }
        Ok(found)
    }

    /// Blocks until everything inserted is on disk.
    pub(crate) fn flush(&self) -> Result<(), DiskError> {
        self.db.flush()?;
        Ok(())
    }

    /// Bytes its files take.
    pub(crate) fn used(&self) -> Result<u64, DiskError> {
        Ok(self.db.size_on_disk()?)
    }
}

fn open_db(path: &Path) -> Result<sled::Db, DiskError> {
    let started = Instant::now();
    loop {
        let opened = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None)
            .open();
        match opened {
            Err(sled::Error::Io(error)) if is_lock(&error) && started.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return Ok(opened?),
        }
    }
}

/// Sled wraps the lock's error into one of kind `Other`; its text is all there is to tell it by.
fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.to_string().contains("could not acquire lock")
}

fn body_name(key: &Key, stamp: Stamp) -> [u8; 40] {
    let mut name = [0; 40];
    name[..32].copy_from_slice(key.as_bytes());
    name[32..].copy_from_slice(&stamp.to_be_bytes());
    name
}

fn named(name: &[u8]) -> Option<(Key, Stamp)> {
    let (key, stamp) = name.split_first_chunk::<32>()?;
    let stamp = <[u8; 8]>::try_from(stamp).ok()?;
    Some((Key::from_bytes(*key), u64::from_be_bytes(stamp)))
}

impl From<sled::Error> for DiskError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(error),
            other => Self::Index(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::key;

    #[test]
    fn what_was_flushed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        index.insert_envelope(&key(1), b"one").unwrap();
        index.insert_body(&key(1), 5, b"body").unwrap();
        index.flush().unwrap();
        drop(index);
        let index = Index::open(dir.path()).unwrap();
        assert_eq!(index.envelope(&key(1)).unwrap().unwrap(), "one");
        assert_eq!(index.body(&key(1), 5).unwrap().unwrap(), "body");
        assert_eq!(index.body(&key(1), 6).unwrap(), None);
        assert_eq!(
            index.body_names(&Key::from_bytes([0; 32]), 0, 9).unwrap(),
            [(key(1), 5)]
        );
    }

    #[test]
    fn a_walk_goes_on_where_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        for n in 0..10 {
            index.insert_envelope(&key(n), b"x").unwrap();
        }
        let first = index.envelopes(&Key::from_bytes([0; 32]), 4).unwrap();
        let rest = index.envelopes(&first[3].0, 100).unwrap();
        assert_eq!(
            (first.len(), rest.len()),
            (4, 7),
            "`from` itself is met again"
        );
    }
}
