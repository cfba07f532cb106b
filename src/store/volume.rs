//! A volume: index, body files and removal log in one folder. The disk tier that is not scripted by a test.
//!
//! ```text
//! volume-<time>/  index-<n>/   the index; the highest n that has its `complete` mark is the one
//!                 bodies/      files of bodies above 4 KiB
//!                 removals.log
//! ```
//!
//! # Invariants
//!
//! - A body is in place before the record that names it, and goes only after the record that stopped naming it was
//!   flushed: a crash between two writes leaves the older answer whole.
//! - What is read is verified: envelope, body length, body checksum, removal log.
//! - One thread writes. So walks and copies, done in steps by that thread, meet no half-done write.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use bytes::Bytes;

use super::{
    bodies::{BodyFiles, FOLDERS},
    codec::{self, BodyRef, Envelope, Place, Stamp},
    disk::Index,
    key::Key,
    removals::{KEPT_MAX, Removals},
    space,
    tier::{DiskError, DiskTier, Lookup, NewEntry, Scanned, ScannedEntry, Size, Which, Written},
};
use crate::clock::Timestamp;

/// Bodies up to here lie in the index: most of what pricing and booking APIs answer. Larger values make sled slow, and
/// able to hang on a full disk.
const INDEX_BODY_MAX: usize = 4096;

/// Records per step of a copy or a walk.
const STEP: usize = 512;

/// Bytes of bookkeeping per value in the index, roughly.
const VALUE_OVERHEAD: u64 = 64;

const FIRST_KEY: Key = Key::from_bytes([0; 32]);
const COMPLETE: &str = "complete";

/// See the module's documentation.
pub(crate) struct Volume {
    root: PathBuf,
    index: RwLock<Arc<Index>>,
    bodies: BodyFiles,
    removals: Removals,
    upkeep: Mutex<Upkeep>,
}

/// State of the writer's work between its calls.
struct Upkeep {
    number: u64,
    /// Bodies that no record names any more; they go after the next flush.
    garbage: Vec<(Key, BodyRef)>,
    copy: Option<Copying>,
    /// Indexes that were copied and may still be read from.
    retired: Vec<(Arc<Index>, PathBuf)>,
    sweep: Sweep,
}

/// A new index on its way: everything before `next` is in it.
struct Copying {
    index: Arc<Index>,
    path: PathBuf,
    next: Key,
}

/// The slow pass after a start over bodies that no record names.
enum Sweep {
    Files { folder: u16 },
    IndexBodies { key: Key, stamp: Stamp },
    Done,
}

impl Volume {
    /// Opens the volume in `root`, or creates it. May panic where the index is damaged.
    pub(crate) fn open(root: &Path) -> Result<Self, DiskError> {
        fs::create_dir_all(root)?;
        let (number, stale) = index_numbers(root)?;
        for folder in stale {
            fs::remove_dir_all(folder)?;
        }
        let path = index_path(root, number);
        let index = Index::open(&path)?;
        mark_complete(&path)?;
        Ok(Self {
            index: RwLock::new(Arc::new(index)),
            bodies: BodyFiles::open(root.join("bodies"))?,
            removals: Removals::open(root.join("removals.log"), KEPT_MAX)?,
            upkeep: Mutex::new(Upkeep {
                number,
                garbage: Vec::new(),
                copy: None,
                retired: Vec::new(),
                sweep: Sweep::Files { folder: 0 },
            }),
            root: root.to_owned(),
        })
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body that `body` names, unverified; `None` where it is not there.
    fn body(&self, index: &Index, key: &Key, body: &BodyRef) -> Result<Option<Bytes>, DiskError> {
        match body.place {
            Place::Index if body.len == 0 => Ok(Some(Bytes::new())),
            Place::Index => index.body(key, body.stamp),
            Place::File => Ok(self.bodies.read(key, body.stamp, body.len)?),
        }
    }

    /// Whether the body of an older record can serve a new one.
    fn is_reusable(
        &self,
        index: &Index,
        key: &Key,
        old: &BodyRef,
        new: &[u8],
    ) -> Result<bool, DiskError> {
        Ok(old.matches(new)
            && match old.place {
                Place::Index if old.len == 0 => true,
                Place::Index => index.has_body(key, old.stamp)?,
                Place::File => self.bodies.has(key, old.stamp, old.len),
            })
    }

    /// Puts a new body in place, under a stamp that no older body of the key has.
    fn write_body(
        &self,
        indexes: &[Arc<Index>],
        key: &Key,
        stamp: Stamp,
        body: &[u8],
    ) -> Result<BodyRef, DiskError> {
        let place = if body.len() <= INDEX_BODY_MAX {
            Place::Index
        } else {
            Place::File
        };
        match place {
            Place::Index if body.is_empty() => {}
            Place::Index => {
                for index in indexes {
                    index.insert_body(key, stamp, body)?;
                }
            }
            Place::File => self.bodies.write(key, stamp, body)?,
        }
        Ok(BodyRef {
            place,
            stamp,
            len: body.len() as u64,
            sum: codec::body_sum(body),
        })
    }

    fn remove_body(
        &self,
        indexes: &[Arc<Index>],
        key: &Key,
        body: &BodyRef,
    ) -> Result<(), DiskError> {
        match body.place {
            Place::Index if body.len == 0 => {}
            Place::Index => {
                for index in indexes {
                    index.remove_body(key, body.stamp)?;
                }
            }
            Place::File => self.bodies.remove(key, body.stamp)?,
        }
        Ok(())
    }

    /// The indexes a write to `key` goes to: a copy on its way gets what lies behind it.
    fn targets(&self, upkeep: &Upkeep, key: &Key) -> Vec<Arc<Index>> {
        let mut targets = vec![self.index()];
        if let Some(copy) = &upkeep.copy
            && *key < copy.next
        {
            targets.push(Arc::clone(&copy.index));
        }
        targets
    }

    /// One look at a key. `None`: the record changed while it was read.
    fn look(&self, key: &Key) -> Result<Option<Lookup>, DiskError> {
        let index = self.index();
        let Some(bytes) = index.envelope(key)? else {
            return Ok(Some(Lookup::Absent));
        };
        let Ok(envelope) = codec::decode(key, &bytes) else {
            return Ok(Some(Lookup::Corrupt { stamp: None }));
        };
        if self.removals.covers(key, envelope.stamp) {
            return Ok(Some(Lookup::Absent));
        }
        match self.body(&index, key, &envelope.body)? {
            Some(body) if envelope.body.matches(&body) => Ok(Some(Lookup::Found {
                stamp: envelope.stamp,
                meta: bytes.slice_ref(envelope.meta),
                body,
            })),
            _ if self.index().envelope(key)?.as_ref() == Some(&bytes) => {
                Ok(Some(Lookup::Corrupt {
                    stamp: Some(envelope.stamp),
                }))
            }
            _ => Ok(None),
        }
    }

    fn start_copy(&self, upkeep: &mut Upkeep) -> Result<(), DiskError> {
        upkeep.number += 1;
        let path = index_path(&self.root, upkeep.number);
        upkeep.copy = Some(Copying {
            index: Arc::new(Index::open(&path)?),
            path,
            next: FIRST_KEY,
        });
        Ok(())
    }

    /// Copies the next records. `true`: the copy is whole.
    fn step_copy(&self, copy: &mut Copying) -> Result<bool, DiskError> {
        let index = self.index();
        let envelopes = index.envelopes(&copy.next, STEP)?;
        for (key, bytes) in &envelopes {
            // What cannot be read is left behind.
            let Ok(envelope) = codec::decode(key, bytes) else {
                continue;
            };
            if envelope.body.place == Place::Index
                && let Some(body) = index.body(key, envelope.body.stamp)?
            {
                copy.index.insert_body(key, envelope.body.stamp, &body)?;
            }
            copy.index.insert_envelope(key, bytes)?;
        }
        match envelopes.last() {
            Some((last, _)) if envelopes.len() == STEP => match successor(last) {
                Some(next) => copy.next = next,
                None => return Ok(true),
            },
            _ => return Ok(true),
        }
        Ok(false)
    }

    /// Puts a whole copy in the place of the index it was made from.
    fn finish_copy(&self, upkeep: &mut Upkeep, copy: Copying) -> Result<(), DiskError> {
        copy.index.flush()?;
        mark_complete(&copy.path)?;
        let old = std::mem::replace(
            &mut *self.index.write().unwrap_or_else(PoisonError::into_inner),
            copy.index,
        );
        let old_path = current_before(&self.root, upkeep.number);
        upkeep.retired.push((old, old_path));
        Ok(())
    }

    /// Closes and deletes indexes that nobody reads any more. `true`: some are still read.
    fn bury(upkeep: &mut Upkeep) -> Result<bool, DiskError> {
        let retired = std::mem::take(&mut upkeep.retired);
        for (index, path) in retired {
            match Arc::try_unwrap(index) {
                Ok(index) => {
                    // Closed before its folder goes: closing writes into it.
                    drop(index);
                    fs::remove_dir_all(path)?;
                }
                Err(index) => upkeep.retired.push((index, path)),
            }
        }
        Ok(!upkeep.retired.is_empty())
    }

    /// One step of the pass over orphaned bodies. `true`: there is more.
    fn step_sweep(&self, upkeep: &mut Upkeep) -> Result<bool, DiskError> {
        let index = self.index();
        let names = |key: &Key, stamp: Stamp, place: Place| -> Result<bool, DiskError> {
            let bytes = index.envelope(key)?;
            Ok(bytes
                .and_then(|bytes| codec::decode(key, &bytes).ok().map(|found| found.body))
                .is_some_and(|body| body.place == place && body.stamp == stamp))
        };
        upkeep.sweep = match upkeep.sweep {
            Sweep::Files { folder } if folder < FOLDERS => {
                self.bodies
                    .sweep(folder, |key, stamp| names(key, stamp, Place::File))?;
                Sweep::Files { folder: folder + 1 }
            }
            Sweep::Files { .. } => Sweep::IndexBodies {
                key: FIRST_KEY,
                stamp: 0,
            },
            Sweep::IndexBodies { key, stamp } => {
                let found = index.body_names(&key, stamp, STEP)?;
                for (key, stamp) in &found {
                    if !names(key, *stamp, Place::Index)? {
                        for target in self.targets(upkeep, key) {
                            target.remove_body(key, *stamp)?;
                        }
                    }
                }
                match found.last() {
                    Some(&(key, stamp)) if found.len() == STEP => Sweep::IndexBodies {
                        key,
                        stamp: stamp.saturating_add(1),
                    },
                    _ => Sweep::Done,
                }
            }
            Sweep::Done => Sweep::Done,
        };
        Ok(!matches!(upkeep.sweep, Sweep::Done))
    }
}

impl DiskTier for Volume {
    fn read(&self, key: &Key) -> Result<Lookup, DiskError> {
        // Replaced under our eyes: the new record is in place by now. Twice in a row is left for the next caller.
        for _ in 0..2 {
            if let Some(lookup) = self.look(key)? {
                return Ok(lookup);
            }
        }
        Ok(Lookup::Absent)
    }

    fn write(&self, key: &Key, entry: &NewEntry<'_>) -> Result<Written, DiskError> {
        let mut upkeep = self.upkeep();
        let targets = self.targets(&upkeep, key);
        let old_bytes = targets[0].envelope(key)?;
        let old = old_bytes
            .as_ref()
            .and_then(|bytes| codec::decode(key, bytes).ok());
        let kept = match &old {
            Some(old) if self.is_reusable(&targets[0], key, &old.body, entry.body)? => {
                Some(old.body)
            }
            _ => None,
        };
        let body = match kept {
            Some(body) => body,
            None => {
                let older = old.as_ref().map_or(0, |old| old.body.stamp);
                let stamp = entry.stamp.max(older.saturating_add(1));
                self.write_body(&targets, key, stamp, entry.body)?
            }
        };
        let envelope = codec::encode(
            key,
            &Envelope {
                stamp: entry.stamp,
                dead_at: entry.dead_at,
                body,
                meta: entry.meta,
            },
        );
        for target in &targets {
            target.insert_envelope(key, &envelope)?;
        }
        if let Some(old) = old
            && kept.is_none()
        {
            upkeep.garbage.push((*key, old.body));
        }
        Ok(Written {
            size: size(envelope.len(), &body),
            meta_only: kept.is_some(),
        })
    }

    fn remove(&self, key: &Key, which: Which) -> Result<bool, DiskError> {
        let mut upkeep = self.upkeep();
        let targets = self.targets(&upkeep, key);
        let Some(bytes) = targets[0].envelope(key)? else {
            return Ok(false);
        };
        let envelope = codec::decode(key, &bytes).ok();
        if let (Which::Stamped(wanted), Some(found)) = (which, &envelope)
            && wanted != Some(found.stamp)
            // Only the file of a record met on a walk is missing: then its stamp was not known either.
            && !(wanted.is_none() && self.body(&targets[0], key, &found.body)?.is_none())
        {
            return Ok(false);
        }
        for target in &targets {
            target.remove_envelope(key)?;
        }
        if let Some(found) = envelope {
            upkeep.garbage.push((*key, found.body));
        }
        Ok(true)
    }

    fn log_removals(&self, removals: &[(Key, Stamp)]) -> Result<(), DiskError> {
        Ok(self.removals.append(removals)?)
    }

    fn flush(&self) -> Result<(), DiskError> {
        let mut upkeep = self.upkeep();
        self.bodies.sync()?;
        // A copy is flushed when it is whole: until then nothing rests on it.
        self.index().flush()?;
        for (key, body) in std::mem::take(&mut upkeep.garbage) {
            let targets = self.targets(&upkeep, &key);
            self.remove_body(&targets, &key, &body)?;
        }
        Ok(())
    }

    fn scan(&self, from: &Key, max: usize) -> Result<Vec<Scanned>, DiskError> {
        let index = self.index();
        let found = index.envelopes(from, max)?;
        Ok(found
            .into_iter()
            .map(|(key, bytes)| Scanned {
                entry: codec::decode(&key, &bytes).ok().and_then(|envelope| {
                    let body = envelope.body;
                    let lost =
                        body.place == Place::File && !self.bodies.has(&key, body.stamp, body.len);
                    (!lost).then(|| ScannedEntry {
                        written_at: Timestamp::from_millis(envelope.stamp / 1000),
                        dead_at: envelope.dead_at,
                        size: size(bytes.len(), &body),
                    })
                }),
                key,
            })
            .collect())
    }

    fn tidy(&self, index_live: u64, pressed: bool) -> Result<bool, DiskError> {
        let mut upkeep = self.upkeep();
        let buried = !Self::bury(&mut upkeep)?;
        if let Some(mut copy) = upkeep.copy.take() {
            if self.step_copy(&mut copy)? {
                self.finish_copy(&mut upkeep, copy)?;
            } else {
                upkeep.copy = Some(copy);
            }
            return Ok(true);
        }
        if self.step_sweep(&mut upkeep)? {
            return Ok(true);
        }
        if buried && space::wants_copy(self.index().used()?, index_live, pressed) {
            self.start_copy(&mut upkeep)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn index_used(&self) -> Result<u64, DiskError> {
        self.index().used()
    }

    fn last_stamp(&self) -> Stamp {
        self.removals.last_stamp()
    }
}

fn size(envelope: usize, body: &BodyRef) -> Size {
    let record = 32 + envelope as u64 + VALUE_OVERHEAD;
    match body.place {
        Place::Index if body.len == 0 => Size {
            index: record,
            file: 0,
        },
        Place::Index => Size {
            index: record + 40 + body.len + VALUE_OVERHEAD,
            file: 0,
        },
        Place::File => Size {
            index: record,
            file: body.len,
        },
    }
}

/// The key after this one, if there is one.
fn successor(key: &Key) -> Option<Key> {
    let mut bytes = *key.as_bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Key::from_bytes(bytes));
        }
    }
    None
}

fn index_path(root: &Path, number: u64) -> PathBuf {
    root.join(format!("index-{number}"))
}

/// The index that was in use before `number`: copies that were given up leave no folder behind.
fn current_before(root: &Path, number: u64) -> PathBuf {
    index_path(root, number - 1)
}

/// The number of the index to open, and the folders of those that were given up: half-made or already replaced.
fn index_numbers(root: &Path) -> io::Result<(u64, Vec<PathBuf>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("index-"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((entry.path().join(COMPLETE).exists(), number, entry.path()));
        }
    }
    found.sort();
    let current = match found.pop() {
        Some((true, number, _)) => number,
        // None is complete: the process died while it made its first one.
        Some((_, number, path)) => {
            found.push((false, number, path));
            number + 1
        }
        None => 1,
    };
    Ok((
        current,
        found.into_iter().map(|(_, _, path)| path).collect(),
    ))
}

fn mark_complete(index: &Path) -> io::Result<()> {
    let mark = index.join(COMPLETE);
    if !mark.exists() {
        File::create(mark)?.sync_all()?;
        File::open(index)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{body, key};

    fn write(volume: &Volume, n: u64, stamp: Stamp, body: Vec<u8>) {
        let entry = NewEntry {
            stamp,
            dead_at: Timestamp::NEVER,
            meta: &stamp.to_le_bytes(),
            body: &Bytes::from(body),
        };
        volume.write(&key(n), &entry).unwrap();
    }

    fn found(volume: &Volume, n: u64) -> Option<(Stamp, Bytes)> {
        match volume.read(&key(n)).unwrap() {
            Lookup::Found { stamp, body, .. } => Some((stamp, body)),
            Lookup::Absent => None,
            Lookup::Corrupt { stamp } => panic!("{n} is corrupt at {stamp:?}"),
        }
    }

    fn rest(volume: &Volume) {
        while volume.tidy(u64::MAX, false).unwrap() {}
    }

    /// A volume whose next call of `tidy` copies the first records to a new index.
    fn copying(root: &Path) -> Volume {
        let volume = Volume::open(root).unwrap();
        for n in 0..2000 {
            write(&volume, n, n + 1, vec![n as u8; 4000]);
        }
        volume.flush().unwrap();
        rest(&volume);
        assert!(volume.tidy(0, true).unwrap(), "a copy is started");
        volume
    }

    #[test]
    fn a_copy_takes_along_what_changes_while_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let volume = copying(dir.path());
        let before = volume.index_used().unwrap();
        let mut stamp = 10_000;
        loop {
            stamp += 1;
            let n = stamp % 100;
            write(&volume, n, stamp, body(stamp));
            volume.remove(&key(n + 100), Which::Any).unwrap();
            // Most of it goes, so that the copy is smaller.
            for n in 500..2000 {
                volume.remove(&key(n), Which::Any).unwrap();
            }
            volume.flush().unwrap();
            let is_done = {
                volume.tidy(u64::MAX, false).unwrap();
                volume.upkeep().copy.is_none()
            };
            if is_done {
                break;
            }
        }
        rest(&volume);
        let changed = 10_001..=stamp;
        let check = |volume: &Volume| {
            for n in changed.clone() {
                assert_eq!(found(volume, n % 100), Some((n, Bytes::from(body(n)))));
                assert_eq!(found(volume, n % 100 + 100), None);
            }
            for n in 200..500 {
                assert_eq!(found(volume, n).unwrap().1, vec![n as u8; 4000]);
            }
            assert_eq!(found(volume, 1000), None);
        };
        check(&volume);
        assert!(volume.index_used().unwrap() < before);
        assert!(
            !index_path(dir.path(), 1).exists(),
            "the old index is deleted"
        );
        drop(volume);
        check(&Volume::open(dir.path()).unwrap());
    }

    #[test]
    fn a_copy_cut_short_by_a_crash_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let volume = copying(dir.path());
        volume.tidy(u64::MAX, false).unwrap();
        assert!(index_path(dir.path(), 2).exists());
        drop(volume);
        let volume = Volume::open(dir.path()).unwrap();
        assert!(!index_path(dir.path(), 2).exists());
        for n in 0..2000 {
            assert!(found(&volume, n).is_some(), "{n}");
        }
    }

    #[test]
    fn an_older_body_stays_until_the_record_over_it_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        write(&volume, 1, 1, vec![1; 9000]);
        volume.flush().unwrap();
        write(&volume, 1, 2, vec![2; 9000]);
        assert!(volume.bodies.has(&key(1), 1, 9000), "a crash now needs it");
        volume.flush().unwrap();
        assert!(!volume.bodies.has(&key(1), 1, 9000));
        assert!(volume.bodies.has(&key(1), 2, 9000));
    }

    #[test]
    fn a_walk_reports_records_that_lost_their_file_and_a_sweep_removes_bodies_without_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        write(&volume, 1, 1, vec![1; 9000]);
        write(&volume, 2, 2, vec![2; 100]);
        volume.bodies.remove(&key(1), 1).unwrap();
        volume.bodies.write(&key(3), 3, b"stray").unwrap();
        volume.index().insert_body(&key(4), 4, b"stray").unwrap();
        for scanned in volume.scan(&FIRST_KEY, 10).unwrap() {
            assert_eq!(scanned.entry.is_some(), scanned.key == key(2));
        }
        assert!(volume.remove(&key(1), Which::Stamped(None)).unwrap());
        assert!(!volume.remove(&key(2), Which::Stamped(None)).unwrap());
        rest(&volume);
        assert!(!volume.bodies.has(&key(3), 3, 5));
        assert!(!volume.index().has_body(&key(4), 4).unwrap());
        assert!(found(&volume, 2).is_some());
    }

    #[test]
    fn only_the_record_meant_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        write(&volume, 1, 5, vec![1; 10]);
        assert!(!volume.remove(&key(1), Which::Stamped(Some(4))).unwrap());
        assert!(volume.remove(&key(1), Which::Stamped(Some(5))).unwrap());
        assert_eq!(found(&volume, 1), None);
    }
}
