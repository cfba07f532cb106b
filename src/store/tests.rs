//! The whole store: over a real folder, and over a disk that fails on purpose.

use std::{fs, time::Instant as Started};

use super::{
    testing::{Script, ScriptedTier, TestRecord, body, config, key},
    *,
};

type TestStore = Store<TestRecord>;

const SOON: Duration = Duration::from_secs(30);

fn open(config: &StoreConfig) -> TestStore {
    Store::open(config, Clock::System, Alerts::new(Clock::System)).unwrap()
}

fn record(n: u64) -> Arc<TestRecord> {
    Arc::new(TestRecord::new(&format!("meta {n}"), &body(n)))
}

/// A config whose memory tier holds nothing, so that every load goes below it.
fn without_memory(path: &Path) -> StoreConfig {
    StoreConfig {
        memory_bytes: 0,
        ..config(path)
    }
}

/// Copies a store as a power cut would leave it: whatever is in the files now.
fn snapshot(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            snapshot(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn folder_bytes(root: &Path) -> u64 {
    let sizes = files(root)
        .into_iter()
        .filter_map(|path| fs::metadata(path).ok());
    sizes.map(|found| found.len()).sum()
}

/// Polls until the store says so; the only way to await a thread that nobody is told about.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Started::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// --- over a real folder ---

#[tokio::test]
async fn what_was_put_is_there_after_closing_and_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path()));
    for n in 0..100 {
        store.put(key(n), record(n));
        assert_eq!(store.cached(&key(n)), Some(record(n)));
    }
    store.close(SOON).await;
    store.close(SOON).await;
    let store = open(&config(dir.path()));
    for n in 0..100 {
        assert_eq!(store.cached(&key(n)), None, "loaded lazily");
        assert_eq!(store.load(&key(n)).await, Some(record(n)));
        assert_eq!(store.cached(&key(n)), Some(record(n)), "promoted");
    }
    assert_eq!(store.load(&key(100)).await, None);
    let stats = store.stats();
    assert_eq!((stats.disk_hits, stats.disk_misses), (100, 1));
    assert_eq!(stats.disk, DiskState::Ok);
}

#[tokio::test]
async fn a_look_says_what_each_tier_holds_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path()));
    store.put(key(1), record(1));
    let look = store.look(&key(1)).await;
    assert_eq!(look.memory, Some(record(1)));
    store.flush().await.unwrap();
    let look = store.look(&key(1)).await;
    assert_eq!((look.memory, look.waiting), (Some(record(1)), None));
    assert!(matches!(look.disk, DiskLook::Record(found) if found == record(1)));
    store.close(SOON).await;
    let store = open(&config(dir.path()));
    let before = store.stats();
    let look = store.look(&key(1)).await;
    assert_eq!(look.record(), Some(&record(1)));
    assert_eq!(look.memory, None, "it was not moved up");
    assert_eq!(store.look(&key(2)).await.record(), None);
    let after = store.stats();
    assert_eq!(
        (after.disk_hits, after.disk_misses, after.memory_entries),
        (before.disk_hits, before.disk_misses, 0)
    );
    store.remove(&key(1));
    assert_eq!(
        store.look(&key(1)).await.record(),
        None,
        "it is on its way out"
    );
}

#[tokio::test]
async fn what_was_flushed_survives_a_kill() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&config(dir.path()));
    for n in 0..50 {
        store.put(key(n), record(n));
    }
    store.put(key(3), record(1003));
    store.remove(&key(4));
    store.flush().await.unwrap();
    snapshot(dir.path(), copy.path());
    let store = open(&config(copy.path()));
    for n in (0..50).filter(|n| ![3, 4].contains(n)) {
        assert_eq!(store.load(&key(n)).await, Some(record(n)), "{n}");
    }
    assert_eq!(store.load(&key(3)).await, Some(record(1003)));
    assert_eq!(store.load(&key(4)).await, None);
}

#[tokio::test]
async fn damage_of_any_file_is_a_miss_or_a_cold_start_never_a_wrong_answer() {
    let origin = tempfile::tempdir().unwrap();
    let store = open(&config(origin.path()));
    for n in 0..40 {
        store.put(key(n), record(n));
    }
    store.remove(&key(40));
    store.close(SOON).await;
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes());
        (seed % below.max(1) as u64) as usize
    };
    let mut intact = 0;
    for case in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        snapshot(origin.path(), dir.path());
        let files = files(dir.path());
        // The index is one file among many: hit it more often than its share.
        let path = match case % 3 {
            0 => files.iter().find(|path| path.ends_with("db")).unwrap(),
            _ => &files[random(files.len())],
        };
        let mut bytes = fs::read(path).unwrap();
        let kind = random(4);
        match kind {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::write(path, &bytes[..random(bytes.len())]).unwrap(),
            _ if bytes.is_empty() => {}
            _ => {
                // Most of a fresh index is empty: aim at what is in use.
                let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                let at = random(used + 1);
                bytes[at] ^= 1 << random(8);
                fs::write(path, bytes).unwrap();
            }
        }
        let what = format!("case {case}: kind {kind} of {}", path.display());
        let store = open(&config(dir.path()));
        for n in 0..40 {
            if let Some(found) = store.load(&key(n)).await {
                assert_eq!(found, record(n), "{what}");
                intact += 1;
            }
        }
        assert_eq!(store.load(&key(40)).await, None, "{what}");
        // And it goes on as a store.
        store.put(key(50), record(50));
        assert_eq!(store.load(&key(50)).await, Some(record(50)), "{what}");
        store.close(SOON).await;
    }
    assert!(intact > 60 * 40 / 4, "most damage costs little: {intact}");
}

#[tokio::test]
async fn a_store_that_does_not_open_is_set_aside_with_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path()));
    store.put(key(1), record(1));
    store.close(SOON).await;
    for path in files(dir.path()).iter().filter(|path| path.ends_with("db")) {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }
    let alerts = Alerts::new(Clock::System);
    let store = TestStore::open(&config(dir.path()), Clock::System, alerts.clone()).unwrap();
    assert_eq!(store.load(&key(1)).await, None);
    assert_eq!(store.stats().quarantines, 1);
    assert_eq!(alerts.recent().len(), 1);
    store.put(key(2), record(2));
    store.close(SOON).await;
    let store = open(&config(dir.path()));
    assert_eq!(store.load(&key(2)).await, Some(record(2)));
}

#[tokio::test]
async fn a_full_file_system_is_read_but_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path()));
    store.put(key(1), record(1));
    store.close(SOON).await;
    let alerts = Alerts::new(Clock::System);
    let full = StoreConfig {
        free_bytes_min: u64::MAX,
        ..config(dir.path())
    };
    let store = TestStore::open(&full, Clock::System, alerts.clone()).unwrap();
    until("seen", || store.stats().disk == DiskState::Full).await;
    store.put(key(2), record(2));
    assert_eq!(store.load(&key(2)).await, Some(record(2)), "in memory");
    assert_eq!(store.load(&key(1)).await, Some(record(1)), "on disk");
    store.flush().await.unwrap();
    assert_eq!((store.stats().writes, store.stats().drops), (0, 1));
    assert_eq!(alerts.recent().len(), 1);
    store.close(SOON).await;
}

#[tokio::test]
async fn a_damaged_body_is_counted_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&without_memory(dir.path()));
    store.put(key(1), record(1));
    store.flush().await.unwrap();
    let body = files(dir.path())
        .into_iter()
        .find(|path| path.to_string_lossy().contains("bodies"))
        .unwrap();
    let mut bytes = fs::read(&body).unwrap();
    bytes[100] ^= 1;
    fs::write(&body, bytes).unwrap();
    assert_eq!(store.load(&key(1)).await, None);
    assert_eq!(store.stats().corrupt, 1);
    store.flush().await.unwrap();
    assert!(!body.exists());
    assert_eq!(store.load(&key(1)).await, None);
    assert_eq!(store.stats().corrupt, 1, "met once");
}

#[tokio::test]
async fn the_same_body_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&without_memory(dir.path()));
    for n in [1, 2] {
        store.put(key(n), record(n));
    }
    store.flush().await.unwrap();
    let before = files(&dir.path().join("."));
    for n in [1, 2] {
        store.put(key(n), Arc::new(TestRecord::new("revalidated", &body(n))));
    }
    store.flush().await.unwrap();
    assert_eq!(store.stats().writes_meta_only, 2);
    assert_eq!(files(&dir.path().join(".")), before);
    for n in [1, 2] {
        let found = store.load(&key(n)).await.unwrap();
        assert_eq!(found.text, "revalidated");
        assert_eq!(found.body, body(n));
    }
}

#[tokio::test]
async fn the_disk_bound_holds_and_space_is_given_back() {
    const BOUND: u64 = 16 << 20;
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        disk_bytes: BOUND,
        // What memory holds would count as used, and stay.
        memory_bytes: 0,
        ..config(dir.path())
    };
    let clock = Clock::manual(Timestamp::from_secs(1_000_000));
    let store = Store::open(&config, clock.clone(), Alerts::default()).unwrap();
    let mut written = 0;
    let mut n = 0;
    while written < 10 * BOUND {
        for _ in 0..100 {
            // Half in the index, half in files.
            let len = if n % 2 == 0 { 3000 } else { 40_000 };
            let body = vec![n as u8; len];
            store.put(key(n), Arc::new(TestRecord::new("m", &body)));
            written += len as u64;
            n += 1;
        }
        store.flush().await.unwrap();
        clock.advance(Duration::from_secs(1));
        let live = store.stats().disk_live_bytes;
        assert!(live <= BOUND + (8 << 20), "{live} live after {n}");
    }
    until("the folder is below its bound", || {
        folder_bytes(dir.path()) <= BOUND
    })
    .await;
    let stats = store.stats();
    assert!(stats.disk_evictions > 1000, "{stats:?}");
    assert!(stats.disk_entries > 100, "the bound is used: {stats:?}");
    assert!(store.load(&key(n - 1)).await.is_some(), "the latest stays");
    assert_eq!(store.load(&key(0)).await, None, "the oldest went");
    store.close(SOON).await;
}

#[tokio::test]
async fn the_dead_leave_the_disk_before_the_living() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_secs(1_000_000));
    let config = StoreConfig {
        disk_bytes: 1_400_000,
        memory_bytes: 0,
        ..config(dir.path())
    };
    let store = Store::open(&config, clock.clone(), Alerts::new(clock.clone())).unwrap();
    let put = |n: u64, dead_at: u64| {
        let mut record = TestRecord::new("m", &vec![n as u8; 50_000]);
        record.dead_at = Timestamp::from_secs(dead_at);
        store.put(key(n), Arc::new(record));
    };
    for n in 0..8 {
        put(n, 9_000_000);
        clock.advance(Duration::from_secs(1));
        store.flush().await.unwrap();
    }
    for n in 8..12 {
        put(n, 1_000_100);
        clock.advance(Duration::from_secs(1));
        store.flush().await.unwrap();
    }
    clock.advance(Duration::from_secs(1000));
    for n in 12..22 {
        put(n, 9_000_000);
        store.flush().await.unwrap();
    }
    until("evicted", || store.stats().disk_evictions == 4).await;
    for n in 0..22 {
        let is_dead = (8..12).contains(&n);
        let is_there = store.load(&key(n)).await.is_some();
        assert_eq!(is_there, !is_dead, "{n}");
    }
}

#[tokio::test]
async fn a_removed_key_stays_away_even_if_the_index_hands_it_back() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&config(dir.path()));
    store.put(key(1), record(1));
    store.put(key(2), record(2));
    store.close(SOON).await;
    snapshot(dir.path(), copy.path());
    let store = open(&config(dir.path()));
    store.remove(&key(1));
    assert_eq!(store.load(&key(1)).await, None);
    store.close(SOON).await;
    // The index as it was before the removal, the log as it is now.
    for path in files(dir.path()) {
        if path.ends_with("removals.log") {
            let inside = path.strip_prefix(dir.path()).unwrap();
            fs::copy(&path, copy.path().join(inside)).unwrap();
        }
    }
    let store = open(&config(copy.path()));
    assert_eq!(store.load(&key(1)).await, None);
    assert_eq!(store.load(&key(2)).await, Some(record(2)));
    store.put(key(1), record(11));
    store.close(SOON).await;
    let store = open(&config(copy.path()));
    assert_eq!(
        store.load(&key(1)).await,
        Some(record(11)),
        "a later one counts"
    );
}

#[tokio::test]
async fn opening_does_not_take_longer_for_a_large_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path()));
    for n in 0..20_000 {
        let record = TestRecord::new("a little metadata", &[n as u8; 100]);
        store.put(key(n), Arc::new(record));
        if n % 4000 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.close(SOON).await;
    let started = Started::now();
    let store = open(&config(dir.path()));
    assert!(store.load(&key(19_999)).await.is_some());
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    until("everything is counted behind", || {
        store.stats().disk_entries == 20_000
    })
    .await;
}

#[tokio::test]
async fn two_stores_cannot_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path()));
    let second = TestStore::open(&config(dir.path()), Clock::System, Alerts::default());
    let message = second.err().unwrap().to_string();
    assert!(message.contains("in use by another larder"), "{message}");
    store.close(SOON).await;
    open(&config(dir.path())).close(SOON).await;
}

#[test]
fn a_folder_that_cannot_be_made_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let opened = TestStore::open(
        &config(&file.join("data")),
        Clock::System,
        Alerts::default(),
    );
    let message = opened.err().unwrap().to_string();
    assert!(message.contains("store.path"), "{message}");
}

#[tokio::test]
async fn without_a_disk_tier_memory_alone_answers() {
    let config = StoreConfig {
        path: None,
        ..config(Path::new("unused"))
    };
    let store = open(&config);
    store.put(key(1), record(1));
    assert_eq!(store.load(&key(1)).await, Some(record(1)));
    store.remove(&key(1));
    assert_eq!(store.load(&key(1)).await, None);
    store.flush().await.unwrap();
    assert_eq!(store.stats().disk, DiskState::MemoryOnly);
    store.close(SOON).await;
}

// --- over a disk that fails on purpose ---

fn open_scripted(config: &StoreConfig, alerts: &Alerts) -> (TestStore, Arc<ScriptedTier>) {
    let tier = Arc::new(ScriptedTier::default());
    let store = Store::open_with(config, Clock::System, alerts.clone(), tier.opener()).unwrap();
    (store, tier)
}

#[tokio::test]
async fn a_failing_disk_costs_a_miss_and_one_alert() {
    for script in [Script::Fail, Script::Panic, Script::Hang] {
        let dir = tempfile::tempdir().unwrap();
        let alerts = Alerts::new(Clock::System);
        let config = StoreConfig {
            read_timeout: Duration::from_millis(100),
            stall_after: Duration::from_millis(400),
            ..config(dir.path())
        };
        let (store, tier) = open_scripted(&config, &alerts);
        store.put(key(1), record(1));
        store.put(key(2), record(2));
        store.flush().await.unwrap();
        // On disk only, so that it has to be read.
        store.owner.shared.memory.remove(&key(2));
        tier.play(script);
        let started = Started::now();
        assert_eq!(store.load(&key(2)).await, None, "{script:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{script:?}");
        assert_eq!(store.cached(&key(1)), Some(record(1)), "{script:?}");
        until("set aside", || store.stats().quarantines > 0).await;
        // Counted first, told right after.
        until("its owner told", || !alerts.recent().is_empty()).await;
        // Nothing above notices.
        store.put(key(3), record(3));
        assert_eq!(store.load(&key(3)).await, Some(record(3)), "{script:?}");
        let raised = alerts.recent();
        assert_eq!(raised.len(), 1, "{script:?}: {raised:?}");
        tier.play(Script::Work);
        until("mounted again", || store.stats().disk == DiskState::Ok).await;
        store.close(SOON).await;
    }
}

#[tokio::test]
async fn what_is_surely_not_on_disk_costs_no_look_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = open_scripted(&config(dir.path()), &Alerts::default());
    store.put(key(1), record(1));
    store.flush().await.unwrap();
    until("every record met", || store.stats().disk_entries == 1).await;
    tier.play(Script::Fail);
    assert_eq!(store.load(&key(2)).await, None);
    assert_eq!(
        store.stats().quarantines,
        0,
        "the failing disk was not asked"
    );
    store.close(SOON).await;
}

#[tokio::test]
async fn a_hung_disk_does_not_hold_up_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = open_scripted(&config(dir.path()), &Alerts::default());
    tier.play(Script::Hang);
    store.put(key(1), record(1));
    let started = Started::now();
    store.close(Duration::from_millis(100)).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(store.cached(&key(1)), Some(record(1)));
    tier.play(Script::Work);
}

#[tokio::test]
async fn a_short_body_is_a_miss_and_the_record_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = open_scripted(&without_memory(dir.path()), &Alerts::default());
    store.put(key(1), record(1));
    store.flush().await.unwrap();
    tier.play(Script::ShortBody);
    assert_eq!(store.load(&key(1)).await, None);
    tier.play(Script::Work);
    store.flush().await.unwrap();
    assert_eq!(store.load(&key(1)).await, None);
    assert_eq!(store.stats().corrupt, 1);
}

#[tokio::test]
async fn what_memory_holds_goes_to_a_fresh_disk_after_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = open_scripted(&config(dir.path()), &Alerts::default());
    tier.play(Script::NoSpace);
    store.put(key(1), record(1));
    until("set aside", || store.stats().quarantines > 0).await;
    tier.play(Script::Work);
    until("written after all", || store.stats().writes > 0).await;
    let kept = fs::read_dir(dir.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("quarantine-")
    });
    assert_eq!(kept.count(), 0, "a full disk keeps no evidence");
    store.close(SOON).await;
}

#[tokio::test]
async fn a_full_queue_drops_counts_and_hides_the_older_copy() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        write_queue_max: 4,
        ..without_memory(dir.path())
    };
    let (store, tier) = open_scripted(&config, &Alerts::default());
    store.put(key(99), record(99));
    store.flush().await.unwrap();
    tier.play(Script::Hang);
    let asked = tier.asked.load(std::sync::atomic::Ordering::Relaxed);
    store.put(key(0), record(0));
    until("the writer hangs", || {
        tier.asked.load(std::sync::atomic::Ordering::Relaxed) > asked
    })
    .await;
    for n in 1..8 {
        store.put(key(n), record(n));
    }
    store.put(key(99), record(1099));
    assert_eq!(store.stats().drops, 4);
    assert_eq!(store.load(&key(99)).await, None);
    assert_eq!(store.load(&key(1)).await, Some(record(1)), "from the queue");
    tier.play(Script::Work);
    store.flush().await.unwrap();
    assert_eq!(store.load(&key(99)).await, None, "the older copy is gone");
    store.close(SOON).await;
}

#[tokio::test]
async fn a_slow_read_never_brings_back_what_was_removed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = open_scripted(&config(dir.path()), &Alerts::default());
    store.put(key(1), record(1));
    store.flush().await.unwrap();
    store.owner.shared.memory.remove(&key(1));
    tier.play(Script::Hang);
    let asked = tier.asked.load(std::sync::atomic::Ordering::Relaxed);
    let loading = tokio::spawn({
        let store = store.clone();
        async move { store.load(&key(1)).await }
    });
    until("the read is under way", || {
        tier.asked.load(std::sync::atomic::Ordering::Relaxed) > asked
    })
    .await;
    store.remove(&key(1));
    tier.play(Script::Work);
    assert_eq!(loading.await.unwrap(), None);
    assert_eq!(store.cached(&key(1)), None);
    store.flush().await.unwrap();
    assert_eq!(store.load(&key(1)).await, None);
}

/// A store that gives a read up at once, and one record that only its disk has.
async fn impatient(dir: &Path) -> (TestStore, Arc<ScriptedTier>) {
    let config = StoreConfig {
        read_timeout: Duration::from_millis(20),
        ..config(dir)
    };
    let (store, tier) = open_scripted(&config, &Alerts::default());
    store.put(key(1), record(1));
    store.flush().await.unwrap();
    store.owner.shared.memory.remove(&key(1));
    (store, tier)
}

/// A load that is late, its read under way.
async fn late_load(store: &TestStore, tier: &ScriptedTier) {
    tier.play(Script::Hang);
    let asked = tier.asked.load(std::sync::atomic::Ordering::Relaxed);
    let is_read = || tier.asked.load(std::sync::atomic::Ordering::Relaxed) > asked;
    // On a busy machine a load may be late before a reader has come to it.
    while !is_read() {
        assert_eq!(store.load(&key(1)).await, None);
    }
    assert!(store.stats().disk_late > 0);
}

#[tokio::test]
async fn a_late_read_warms_memory_though_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = impatient(dir.path()).await;
    late_load(&store, &tier).await;
    tier.play(Script::Work);
    until("in memory after all", || store.cached(&key(1)).is_some()).await;
    assert_eq!(store.load(&key(1)).await, Some(record(1)));
    store.close(SOON).await;
}

#[tokio::test]
async fn a_late_read_never_brings_back_what_was_removed_or_rewritten_meanwhile() {
    for rewritten in [None, Some(record(1001))] {
        let dir = tempfile::tempdir().unwrap();
        let (store, tier) = impatient(dir.path()).await;
        late_load(&store, &tier).await;
        match &rewritten {
            Some(record) => store.put(key(1), Arc::clone(record)),
            None => store.remove(&key(1)),
        }
        tier.play(Script::Work);
        // When the threads have ended, the late read has.
        let shared = Arc::clone(&store.owner.shared);
        store.close(SOON).await;
        assert_eq!(shared.memory.record(&key(1)), rewritten);
    }
}

#[tokio::test]
async fn who_waits_longer_gets_what_a_slow_disk_has() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tier) = impatient(dir.path()).await;
    late_load(&store, &tier).await;
    let patient = tokio::spawn({
        let store = store.clone();
        async move { store.load_within(&key(1), SOON).await }
    });
    // Later than `read_timeout`, so that only the longer bound can help.
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(!patient.is_finished());
    tier.play(Script::Work);
    assert_eq!(patient.await.unwrap(), Some(record(1)));
    store.close(SOON).await;
}
