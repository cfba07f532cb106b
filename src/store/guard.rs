//! The guard: the disk tier may fail, panic or hang, and nothing above may notice more than a miss.
//!
//! Calls are wrapped so that a panic is an error; each thread shows since when it has been inside the tier, so that the
//! keeper sees a hang; opening happens on a thread of its own with a deadline. What failed is let go without waiting: a
//! hung thread keeps the lock of its folder, so the folder is renamed and a fresh one opened under a new path.

use std::{
    any::Any,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::tier::{DiskError, DiskTier};
use crate::clock::Timestamp;

const VOLUME: &str = "volume-";
const QUARANTINE: &str = "quarantine-";

/// Makes a disk tier in a folder. Tests put a scripted one here.
pub(crate) type Opener =
    Arc<dyn Fn(&Path) -> Result<Arc<dyn DiskTier>, DiskError> + Send + Sync + 'static>;

/// Calls into the disk tier; a panic in there is an error out here.
pub(crate) fn caught<T>(call: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
    // Whatever the panic left half-done is never used again: an error of this kind sets the tier aside.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(DiskError::Panicked(message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

// --- Pulse ---

/// Since when a thread has been inside the disk tier.
#[derive(Debug)]
pub(crate) struct Pulse {
    epoch: Instant,
    /// Milliseconds after `epoch`, plus one; 0 while outside.
    since: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    /// A guarded call, seen by the keeper while it lasts.
    pub(crate) fn during<T>(
        &self,
        call: impl FnOnce() -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let now = self.millis() + 1;
        self.since.store(now, Ordering::Release);
        let result = caught(call);
        self.since.store(0, Ordering::Release);
        result
    }

    /// How long the call under way has lasted; zero where there is none.
    pub(crate) fn busy_for(&self) -> Duration {
        match self.since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.millis() + 1).saturating_sub(since)),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

// --- folders ---

/// The folder of the volume in use: the newest one, or the name of the first.
pub(crate) fn newest_volume(root: &Path, now: Timestamp) -> io::Result<PathBuf> {
    Ok(match numbered(root, VOLUME)?.pop() {
        Some((_, path)) => path,
        None => root.join(format!("{VOLUME}{}", now.as_millis())),
    })
}

/// A name no volume has had: later than all others, whatever the clock says.
pub(crate) fn fresh_volume(root: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let newest = [VOLUME, QUARANTINE]
        .into_iter()
        .map(|prefix| numbered(root, prefix))
        .collect::<io::Result<Vec<_>>>()?;
    let newest = newest.into_iter().flatten().map(|(number, _)| number).max();
    let number = newest.map_or(0, |newest| newest.saturating_add(1));
    Ok(root.join(format!("{VOLUME}{}", number.max(now.as_millis()))))
}

/// Renames the folder of a failed volume. Returns its new name.
pub(crate) fn set_aside(root: &Path, volume: &Path, now: Timestamp) -> io::Result<PathBuf> {
    // Later than those before it whatever the clock says: the newest is the one that is kept.
    let newest = numbered(root, QUARANTINE)?.pop();
    let number = newest.map_or(0, |(number, _)| number.saturating_add(1));
    let aside = root.join(format!("{QUARANTINE}{}", number.max(now.as_millis())));
    fs::rename(volume, &aside)?;
    Ok(aside)
}

/// Deletes what was set aside but the newest `keep`, and volumes that are not `current`.
pub(crate) fn clear_out(root: &Path, keep: usize, current: Option<&Path>) -> io::Result<()> {
    let mut aside = numbered(root, QUARANTINE)?;
    aside.truncate(aside.len().saturating_sub(keep));
    let old = numbered(root, VOLUME)?
        .into_iter()
        .filter(|(_, path)| Some(path.as_path()) != current);
    for (_, path) in aside.into_iter().chain(old) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Folders named `prefix` and a number, the newest last.
fn numbered(root: &Path, prefix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Opens a tier on a thread of its own; one that does not come back in time is left behind.
pub(crate) fn open_within(
    opener: &Opener,
    volume: &Path,
    within: Duration,
) -> Result<Arc<dyn DiskTier>, DiskError> {
    let (done, opened) = mpsc::sync_channel(1);
    let (opener, volume) = (Arc::clone(opener), volume.to_owned());
    thread::Builder::new()
        .name("larder-store-open".to_owned())
        .spawn(move || {
            let _ = done.send(caught(|| opener(&volume)));
        })
        .map_err(DiskError::Thread)?;
    opened
        .recv_timeout(within)
        .unwrap_or(Err(DiskError::Stalled(within)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_the_tier_is_an_error_outside() {
        let result = caught::<()>(|| panic!("torn page {}", 7));
        assert!(matches!(result, Err(DiskError::Panicked(text)) if text == "torn page 7"));
    }

    #[test]
    fn a_pulse_shows_only_a_call_under_way() {
        let pulse = Pulse::new();
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        pulse
            .during(|| {
                assert!(pulse.busy_for() < Duration::from_secs(5));
                assert_ne!(pulse.since.load(Ordering::Acquire), 0);
                Ok(())
            })
            .unwrap();
        assert_eq!(pulse.since.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_volume_set_aside_is_kept_once_and_never_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let now = Timestamp::from_millis(100);
        for round in 0..3 {
            let volume = newest_volume(root, now).unwrap();
            fs::create_dir(&volume).unwrap();
            let aside = set_aside(root, &volume, now).unwrap();
            assert!(aside.exists() && !volume.exists(), "round {round}");
            let fresh = fresh_volume(root, now).unwrap();
            assert_ne!(fresh, volume);
            clear_out(root, 1, Some(&fresh)).unwrap();
            assert_eq!(
                numbered(root, QUARANTINE).unwrap(),
                [(aside_number(&aside), aside)]
            );
        }
    }

    fn aside_number(path: &Path) -> u64 {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.strip_prefix(QUARANTINE).unwrap().parse().unwrap()
    }
}
