//! The keeper: the thread that looks after the others.
//!
//! Each second it lets moka settle, looks at the free space of the file system, and at how long each thread has been
//! inside the disk tier. When a mount has failed it sets the folder aside, raises one alert, and mounts a fresh one: at
//! once the first time, later after a growing rest, so that a broken disk is not asked without end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Record, Shared,
    guard::{self, open_within},
    mount::{Alive, HeldTier, Mount},
    queue::WriteQueue,
    reader::{self, ReadQueue},
    shared::new_life,
    space,
    stats::DiskState,
    tier::{DiskError, DiskTier},
    writer,
};
use crate::observe::alert::Alert;

/// Between two looks. A hang is also looked for at a quarter of `stall_after`, where that is sooner.
const BEAT: Duration = Duration::from_secs(1);

/// An opening that takes longer has failed. A million records open in less than half a second.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A mount that lived this long was sound: the next fault is a new one.
const SOUND_AFTER: Duration = Duration::from_secs(60);

/// Rest before another mount is tried: doubles from the first to the last.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

/// The pause while the queue is too full to take what memory holds.
const REFILL_PAUSE: Duration = Duration::from_millis(10);

/// What the keeper knows between two looks.
struct Rest {
    length: Duration,
    until: Instant,
}

/// The keeper's life: until the store is closed.
pub(crate) fn run<R: Record>(shared: &Arc<Shared<R>>, root: Option<&Path>) {
    shared.keeper.is(thread::current());
    let beat = BEAT.min(shared.config.stall_after / 4);
    let mut rest = Rest {
        length: Duration::ZERO,
        until: Instant::now(),
    };
    let mut is_littered = true;
    while !shared.is_closing() {
        shared.memory.settle();
        if let Some(root) = root {
            look_at_space(shared, root);
            replace_if_gone(shared, root, &mut rest, &mut is_littered);
            if is_littered && let Some(mount) = shared.mount() {
                // Leftovers of an earlier life. Whatever cannot be deleted now is tried again at the next start.
                let _ = guard::clear_out(root, 1, Some(&mount.folder));
                is_littered = false;
            }
        }
        thread::park_timeout(beat);
    }
}

fn look_at_space<R: Record>(shared: &Shared<R>, root: &Path) {
    if shared.mount().is_none() {
        return shared.counters.disk_is(DiskState::MemoryOnly);
    }
    // Where the file system does not say, the first failed write will.
    let Ok(found) = rustix::fs::statvfs(root) else {
        return;
    };
    let (free, total) = (
        found.f_bavail.saturating_mul(found.f_frsize),
        found.f_blocks.saturating_mul(found.f_frsize),
    );
    let was_full = shared.counters.disk() == DiskState::Full;
    if space::has_room(free, total, shared.config.free_bytes_min) {
        return shared.counters.disk_is(DiskState::Ok);
    }
    shared.counters.disk_is(DiskState::Full);
    if !was_full {
        shared.alerts.raise(Alert {
            kind: "store_disk_full",
            subject: root.display().to_string(),
            message: format!(
                "only {free} of {total} bytes are free: nothing is written to the store until there is room; answers \
                 already on disk stay, new ones are kept in memory only"
            ),
            owner: None,
            runbook: None,
        });
    }
}

fn replace_if_gone<R: Record>(
    shared: &Arc<Shared<R>>,
    root: &Path,
    rest: &mut Rest,
    is_littered: &mut bool,
) {
    if let Some(mount) = shared.mounted() {
        let stall_after = shared.config.stall_after;
        if mount.busy_for() > stall_after {
            mount.fail(DiskError::Stalled(stall_after));
        }
        if !mount.is_gone() {
            return;
        }
        shared.unmount();
        *rest = rest.after_life_of(mount.mounted_at.elapsed());
        let fault = mount.take_fault();
        let alert = quarantine(shared, root, &mount.folder, fault.as_ref());
        // One fault is one alert, however often the disk fails again while it lasts.
        if rest.is_first() {
            shared.alerts.raise(alert);
        } else {
            tracing::warn!("{}", alert.message);
        }
        *is_littered = true;
    }
    if shared.is_closing() || Instant::now() < rest.until {
        return;
    }
    match mount_fresh(shared, root) {
        Ok(mount) => refill(shared, &mount),
        Err(_) => *rest = rest.longer(),
    }
}

impl Rest {
    /// Whether the fault just met is the first after a sound life.
    fn is_first(&self) -> bool {
        self.length == REST_MIN
    }

    fn after_life_of(&self, life: Duration) -> Self {
        let length = if life > SOUND_AFTER {
            Duration::ZERO
        } else {
            self.length
        };
        let until = Instant::now() + length;
        Self {
            length: length.saturating_mul(2).clamp(REST_MIN, REST_MAX),
            until,
        }
    }

    fn longer(&self) -> Self {
        let length = self.length.saturating_mul(2).clamp(REST_MIN, REST_MAX);
        Self {
            length,
            until: Instant::now() + length,
        }
    }
}

/// Puts everything memory holds into a fresh mount, as far as the queue takes it: what memory can answer should survive
/// the next restart too.
fn refill<R: Record>(shared: &Shared<R>, mount: &Mount<R>) {
    for (key, record) in shared.memory.records() {
        while !mount.writes.is_idle() {
            if mount.is_gone() || shared.is_closing() {
                return;
            }
            thread::sleep(REFILL_PAUSE);
        }
        shared.rewrite(key, record);
    }
}

/// Opens the newest volume; one that does not open is set aside and a fresh one opened.
pub(crate) fn mount_first<R: Record>(shared: &Arc<Shared<R>>, root: &Path) {
    let now = shared.clock.now();
    let opened = guard::newest_volume(root, now)
        .map_err(|error| (None, DiskError::Io(error)))
        .and_then(
            |folder| match open_within(&shared.opener, &folder, OPEN_WITHIN) {
                Ok(tier) => Ok((tier, folder)),
                Err(fault) => Err((Some(folder), fault)),
            },
        );
    let mounted = match opened {
        Ok((tier, folder)) => start(shared, tier, folder).map(|_| ()),
        Err((folder, fault)) => {
            if let Some(folder) = folder {
                let alert = quarantine(shared, root, &folder, Some(&fault));
                shared.alerts.raise(alert);
            }
            mount_fresh(shared, root).map(|_| ())
        }
    };
    if let Err(fault) = mounted {
        shared.alerts.raise(Alert {
            kind: "store_memory_only",
            subject: root.display().to_string(),
            message: format!(
                "no store could be opened on disk ({fault}): answers are kept in memory only; tried again every minute"
            ),
            owner: None,
            runbook: None,
        });
    }
}

fn mount_fresh<R: Record>(
    shared: &Arc<Shared<R>>,
    root: &Path,
) -> Result<Arc<Mount<R>>, DiskError> {
    let folder = guard::fresh_volume(root, shared.clock.now())?;
    match open_within(&shared.opener, &folder, OPEN_WITHIN) {
        Ok(tier) => start(shared, tier, folder),
        Err(fault) => {
            // Nothing is in it yet. If it cannot be deleted either, the next one gets another name.
            let _ = std::fs::remove_dir_all(&folder);
            Err(fault)
        }
    }
}

/// Sets the folder of a failed mount aside, and says so.
fn quarantine<R: Record>(
    shared: &Shared<R>,
    root: &Path,
    folder: &Path,
    fault: Option<&DiskError>,
) -> Alert {
    shared.counters.quarantines.add(1);
    shared.counters.disk_is(DiskState::MemoryOnly);
    let aside = guard::set_aside(root, folder, shared.clock.now());
    // On a full disk the space is worth more than the evidence.
    let keep = usize::from(!fault.is_some_and(DiskError::is_out_of_space));
    let where_to = match &aside {
        Ok(aside) if keep == 1 => format!("set aside as {}", aside.display()),
        Ok(_) => "deleted to give its space back".to_owned(),
        Err(error) => format!("left where it is (it could not be renamed: {error})"),
    };
    let cause = fault.map_or_else(|| "no cause known".to_owned(), ToString::to_string);
    if keep == 0 {
        // What cannot be deleted now goes with the next clearing out.
        let _ = guard::clear_out(root, 0, None);
    }
    Alert {
        kind: "store_set_aside",
        subject: root.display().to_string(),
        message: format!(
            "the store on disk failed ({cause}) and was {where_to}; answers in memory are still served, others are \
             fetched anew"
        ),
        owner: None,
        runbook: None,
    }
}

/// Starts the threads of a mount and makes it the current one.
fn start<R: Record>(
    shared: &Arc<Shared<R>>,
    tier: Arc<dyn DiskTier>,
    folder: PathBuf,
) -> Result<Arc<Mount<R>>, DiskError> {
    let config = &shared.config;
    shared.stamps.raise(tier.last_stamp());
    let readers = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
    let (alive, life) = new_life();
    let mount = Arc::new(Mount::new(
        HeldTier::new(tier, alive.clone()),
        folder,
        WriteQueue::new(config.write_queue_max, config.write_queue_bytes_max),
        ReadQueue::new(config.reads_max),
        readers,
        shared.keeper.clone(),
    ));
    if let Err(error) = spawn_threads(shared, &mount, readers, &alive) {
        // Those that did start end at once.
        mount.reads.close();
        mount.writes.abandon();
        return Err(DiskError::Thread(error));
    }
    shared.mount_now(Arc::clone(&mount), life);
    Ok(mount)
}

fn spawn_threads<R: Record>(
    shared: &Arc<Shared<R>>,
    mount: &Arc<Mount<R>>,
    readers: usize,
    alive: &Alive,
) -> std::io::Result<()> {
    for number in 1..=readers {
        let (shared, mount) = (Arc::clone(shared), Arc::clone(mount));
        spawn(format!("larder-store-read-{number}"), alive, move || {
            reader::run(&shared, &mount, number);
        })?;
    }
    let (shared, mount) = (Arc::clone(shared), Arc::clone(mount));
    spawn("larder-store-write".to_owned(), alive, move || {
        writer::run(&shared, &mount);
    })
}

/// A named thread whose end shows in `alive`, after everything it held is dropped.
pub(crate) fn spawn(
    name: String,
    alive: &Alive,
    life: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let alive = alive.clone();
    thread::Builder::new().name(name).spawn(move || {
        life();
        drop(alive);
    })?;
    Ok(())
}
