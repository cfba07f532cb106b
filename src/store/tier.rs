//! `DiskTier`: what the threads of the store ask of a disk, as a synchronous trait.
//!
//! Every method may block, fail, or (the index being what it is) panic or hang; callers run them under
//! [`super::guard`]. One thread writes, several read. Tests put a scripted tier here that fails on purpose.

use std::{io, time::Duration};

use bytes::Bytes;

use super::{codec::Stamp, key::Key};
use crate::clock::Timestamp;

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) dead_at: Timestamp,
    pub(crate) meta: &'a [u8],
    pub(crate) body: &'a Bytes,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) size: Size,
    /// The same body was there already and was left alone.
    pub(crate) meta_only: bool,
}

/// What a record takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes in the index: key, envelope, small body.
    pub(crate) index: u64,
    /// Bytes in a file of its own.
    pub(crate) file: u64,
}

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Absent,
    Found {
        stamp: Stamp,
        meta: Bytes,
        body: Bytes,
    },
    /// There is a record, and it cannot be trusted.
    Corrupt {
        /// Its stamp, where that much could be read.
        stamp: Option<Stamp>,
    },
}

/// Which record of a key is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Whatever is there.
    Any,
    /// Only this one, or one that cannot be read: a newer one stays.
    Stamped(Option<Stamp>),
}

/// A record met on a walk over the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) key: Key,
    /// `None` where the record cannot be used: unreadable, or its body file is missing.
    pub(crate) entry: Option<ScannedEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScannedEntry {
    pub(crate) written_at: Timestamp,
    pub(crate) dead_at: Timestamp,
    pub(crate) size: Size,
}

/// A disk, as the store's threads see it.
pub(crate) trait DiskTier: Send + Sync + 'static {
    /// Reads and verifies one record.
    fn read(&self, key: &Key) -> Result<Lookup, DiskError>;
    /// Writes one record over whatever the key held.
    fn write(&self, key: &Key, entry: &NewEntry<'_>) -> Result<Written, DiskError>;
    /// Removes a record. Says whether one went.
    fn remove(&self, key: &Key, which: Which) -> Result<bool, DiskError>;
    /// Makes sure, durably, that no record of these keys up to these stamps is ever returned again.
    fn log_removals(&self, removals: &[(Key, Stamp)]) -> Result<(), DiskError>;
    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), DiskError>;
    /// Up to `max` records from `from` on, in key order. Fewer than `max` means the end.
    fn scan(&self, from: &Key, max: usize) -> Result<Vec<Scanned>, DiskError>;
    /// One bounded step of giving space back. `index_live` is what the index should hold; `pressed` asks for a smaller
    /// index even where its shape is still tolerable. `true`: there is more to do.
    fn tidy(&self, index_live: u64, pressed: bool) -> Result<bool, DiskError>;
    /// Bytes its index takes on disk.
    fn index_used(&self) -> Result<u64, DiskError>;
    /// The latest stamp it has on record; new ones must be later.
    fn last_stamp(&self) -> Stamp;
}

/// Why the disk tier cannot go on. Each of these sets it aside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("index: {0}")]
    Index(String),
    #[error("panic: {0}")]
    Panicked(String),
    #[error("no answer within {0:?}")]
    Stalled(Duration),
    #[error("{0} removals wait, more than can be kept")]
    Overrun(usize),
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
}

impl DiskError {
    /// Whether the file system is full: then a quarantine must not keep the space.
    pub(crate) fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }
}
