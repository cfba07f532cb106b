//! The writer: the one thread that changes the disk tier.
//!
//! It takes batches from the queue, flushes on its own beat, and between batches does housekeeping in small steps: learn
//! what is on disk after a start, make room, give space back. Any error or panic ends it and fails the mount.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Record, Shared,
    codec::Stamp,
    guard::Pulse,
    key::Key,
    mount::Mount,
    queue::{Op, Turn},
    space::{Catalogue, charged_max},
    tier::{DiskError, NewEntry, Which},
};

/// A batch ends at this many operations or bytes, so that a flush or a step of housekeeping never waits long.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Records per step of a walk or of an eviction; more than a batch brings, so that evictions keep up.
const STEP: usize = 512;

/// Metadata larger than this is not written: sled is slow and fragile with large values.
const META_MAX: usize = 256 * 1024;

/// The sleep between two looks where nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// The writer's life: until the queue is closed and empty, or the tier fails.
pub(crate) fn run<R: Record>(shared: &Shared<R>, mount: &Mount<R>) {
    let mut writer = Writer {
        shared,
        mount,
        pulse: &mount.pulses[0],
        catalogue: Catalogue::default(),
        scan_from: Some(Key::from_bytes([0; 32])),
        victims: VecDeque::new(),
        index_used: 0,
        looked_at: Instant::now(),
        is_tidying: true,
        flushed_at: Instant::now(),
        is_dirty: false,
    };
    if let Err(fault) = writer.run() {
        mount.fail(fault);
    }
}

struct Writer<'a, R> {
    shared: &'a Shared<R>,
    mount: &'a Mount<R>,
    pulse: &'a Pulse,
    catalogue: Catalogue,
    /// Where the walk after a start goes on; `None` once everything was met.
    scan_from: Option<Key>,
    /// Chosen to make room, not yet gone.
    victims: VecDeque<u64>,
    index_used: u64,
    looked_at: Instant,
    /// Whether the last step of giving space back left work behind.
    is_tidying: bool,
    flushed_at: Instant,
    is_dirty: bool,
}

impl<R: Record> Writer<'_, R> {
    fn run(&mut self) -> Result<(), DiskError> {
        let mut has_work = true;
        loop {
            let until = if has_work {
                Instant::now()
            } else {
                self.wakes_at()
            };
            let turn = self.mount.writes.next_turn(until, BATCH, BATCH_BYTES);
            if self.mount.is_gone() {
                return Ok(());
            }
            let closed = turn.closed;
            self.apply(turn)?;
            if closed {
                return self.flush();
            }
            has_work = self.keep_house()?;
        }
    }

    fn wakes_at(&self) -> Instant {
        if self.is_dirty {
            self.flushed_at + self.shared.config.flush_every
        } else {
            Instant::now() + IDLE
        }
    }

    fn apply(&mut self, turn: Turn<R>) -> Result<(), DiskError> {
        let removals: Vec<(Key, Stamp)> = turn
            .batch
            .iter()
            .filter_map(|(key, op)| Some((*key, op.removal()?)))
            .collect();
        // Logged before anything else: from here on the index may say what it likes.
        if !removals.is_empty() {
            self.pulse
                .during(|| self.mount.tier.log_removals(&removals))?;
        }
        for (key, op) in &turn.batch {
            match op {
                Op::Write { stamp, record, .. } => self.write(key, *stamp, record)?,
                Op::Remove { .. } | Op::Outdated => self.remove(key, Which::Any)?,
                Op::Corrupt { stamp } => self.remove(key, Which::Stamped(*stamp))?,
            }
        }
        self.mount.writes.applied();
        self.is_dirty |= !turn.batch.is_empty();
        let is_due = self.flushed_at.elapsed() >= self.shared.config.flush_every;
        if !turn.flushes.is_empty() || (self.is_dirty && is_due) {
            self.flush()?;
        }
        for done in turn.flushes {
            // Nobody may wait any more.
            let _ = done.send(());
        }
        Ok(())
    }

    fn write(&mut self, key: &Key, stamp: Stamp, record: &R) -> Result<(), DiskError> {
        let (meta, dead_at) = (record.encode_meta(), record.dead_at());
        if meta.len() > META_MAX {
            self.shared.counters.drops.add(1);
            return self.remove(key, Which::Any);
        }
        let entry = NewEntry {
            stamp,
            dead_at,
            meta: &meta,
            body: record.body(),
        };
        // Before it is there: nobody may be told that it surely is not.
        self.mount.presence.note(key.prefix());
        let written = self.pulse.during(|| self.mount.tier.write(key, &entry))?;
        let now = self.shared.clock.now();
        self.catalogue
            .insert(key.prefix(), written.size, now, dead_at);
        self.shared.counters.writes.add(1);
        if written.meta_only {
            self.shared.counters.writes_meta_only.add(1);
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key, which: Which) -> Result<(), DiskError> {
        let tier = &self.mount.tier;
        if self.pulse.during(|| tier.remove(key, which))? || which == Which::Any {
            self.catalogue.remove(key.prefix());
            self.is_dirty = true;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let started = Instant::now();
        self.pulse.during(|| self.mount.tier.flush())?;
        let took = started.elapsed();
        self.shared.counters.flushed_in(took);
        if took > self.shared.config.stall_after {
            return Err(DiskError::Stalled(took));
        }
        (self.flushed_at, self.is_dirty) = (Instant::now(), false);
        Ok(())
    }

    /// One step of each kind of work that nobody waits for. `true`: there is more.
    fn keep_house(&mut self) -> Result<bool, DiskError> {
        let now = self.shared.clock.now();
        for prefix in self.mount.take_touched() {
            self.catalogue.touch(prefix, now);
        }
        let scanning = self.scan()?;
        // Who is least recently used is known only once everything was met.
        let evicting = !scanning && self.evict()?;
        if !scanning && (self.is_tidying || self.looked_at.elapsed() >= IDLE) {
            self.tidy()?;
        }
        self.publish();
        Ok(scanning || evicting || self.is_tidying)
    }

    /// One step of giving space back, and a look at what the tier really takes.
    fn tidy(&mut self) -> Result<(), DiskError> {
        let live = self.catalogue.index_live();
        let used = self.index_used + self.catalogue.file_bytes();
        let pressed = used > self.shared.config.disk_bytes;
        let tier = &self.mount.tier;
        self.is_tidying = self.pulse.during(|| tier.tidy(live, pressed))?;
        if !self.is_tidying {
            self.index_used = self.pulse.during(|| tier.index_used())?;
            self.looked_at = Instant::now();
        }
        Ok(())
    }

    fn publish(&self) {
        let counters = &self.shared.counters;
        counters.disk_entries.set(self.catalogue.len() as u64);
        counters.disk_live_bytes.set(self.catalogue.charged());
        counters
            .disk_used_bytes
            .set(self.index_used + self.catalogue.file_bytes());
    }

    fn scan(&mut self) -> Result<bool, DiskError> {
        let Some(from) = self.scan_from else {
            return Ok(false);
        };
        let found = self.pulse.during(|| self.mount.tier.scan(&from, STEP))?;
        for scanned in &found {
            self.mount.presence.note(scanned.key.prefix());
            match scanned.entry {
                // What was written since the start is known better.
                Some(entry) if !self.catalogue.contains(scanned.key.prefix()) => {
                    self.catalogue.insert(
                        scanned.key.prefix(),
                        entry.size,
                        entry.written_at,
                        entry.dead_at,
                    );
                }
                Some(_) => {}
                None => {
                    self.shared.counters.corrupt.add(1);
                    self.remove(&scanned.key, Which::Stamped(None))?;
                }
            }
        }
        // The last one is met twice; that is cheaper than a successor for every kind of key.
        self.scan_from = match found.last() {
            Some(last) if found.len() == STEP => Some(last.key),
            _ => {
                self.mount.presence.complete();
                None
            }
        };
        Ok(self.scan_from.is_some())
    }

    fn evict(&mut self) -> Result<bool, DiskError> {
        let bound = charged_max(self.shared.config.disk_bytes);
        if self.victims.is_empty() && self.catalogue.charged() > bound {
            // A little more than needed, so that the choice over everything is not made for each write.
            let goal = bound - bound / 20;
            self.victims = self.catalogue.victims(goal, self.shared.clock.now()).into();
        }
        for _ in 0..STEP {
            let Some(prefix) = self.victims.pop_front() else {
                return Ok(false);
            };
            self.evict_one(prefix)?;
        }
        Ok(!self.victims.is_empty())
    }

    fn evict_one(&mut self, prefix: u64) -> Result<(), DiskError> {
        let from = Key::first_with_prefix(prefix);
        let found = self.pulse.during(|| self.mount.tier.scan(&from, 1))?;
        match found.first() {
            Some(found) if found.key.prefix() == prefix => {
                let now = self.shared.clock.now();
                let dead = found.entry.is_none_or(|entry| entry.dead_at < now);
                // Reads from memory do not reach the catalogue. What memory holds is in use: it goes in the next round,
                // if the bound cannot be met otherwise.
                if !dead
                    && self.shared.memory.contains(&found.key)
                    && self.catalogue.touch(prefix, now)
                {
                    return Ok(());
                }
                self.shared.counters.disk_evictions.add(1);
                self.remove(&found.key, Which::Any)
            }
            _ => {
                self.catalogue.remove(prefix);
                Ok(())
            }
        }
    }
}
