//! Promise: a crash between any two operations on the disk loses nothing that was acknowledged, and a power cut
//! neither. Checked against a model, with seeded histories, at every point of each of them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use router::journal::segment::{Budget, LogConfig, LogRecord, SegmentLog};
use router::journal::storage::Storage;
use router::journal::storage::memory::{Failure, MemoryStorage, Operation};

const HISTORIES: u64 = 16;
const STEPS: usize = 40;

/// What the world was told, and what may be there besides.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<u64, Vec<u8>>,
    /// By offset, every body that was ever tried there.
    tried: BTreeMap<u64, Vec<Vec<u8>>>,
    committed: u64,
    commit_tried: u64,
}

fn config(salt: u32) -> LogConfig {
    LogConfig { segment_bytes: 700, urgent: false, salt }
}

fn store_commit(storage: &dyn Storage, committed: u64) -> io::Result<()> {
    match storage.remove("position.new") {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = storage.create("position.new")?;
    file.append(committed.to_string().as_bytes())?;
    file.sync()?;
    storage.rename("position.new", "position")?;
    storage.sync_folder()
}

fn load_commit(disk: &MemoryStorage) -> u64 {
    let Some(bytes) = disk.contents("position") else { return 0 };
    String::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).expect("replaced atomically")
}

fn open(disk: &MemoryStorage, salt: u32) -> io::Result<SegmentLog> {
    // A commit that trims must be durable itself: a killed process may have left it in the cache only.
    disk.sync_folder()?;
    let folder = disk.folder("log")?;
    let (log, _) = SegmentLog::open(folder, config(salt), Budget::new(1 << 30, 0), load_commit(disk))?;
    Ok(log)
}

fn append_batch(log: &mut SegmentLog, rng: &mut SmallRng, model: &mut Model) {
    let batch: Vec<(u64, Vec<u8>)> = (0..rng.random_range(1..5))
        .map_while(|_| {
            let length = rng.random_range(0..300);
            let body: Vec<u8> = (0..length).map(|_| rng.random()).collect();
            let offset = log.stage(&body).ok()?;
            Some((offset, body))
        })
        .collect();
    for (offset, body) in &batch {
        model.tried.entry(*offset).or_default().push(body.clone());
    }
    if log.commit().is_ok() {
        model.acknowledged.extend(batch);
    }
}

/// Plays the history of `seed` until it ends or the machine stops.
fn play(disk: &MemoryStorage, seed: u64, faults: bool) -> Model {
    let mut model = Model::default();
    let mut rng = SmallRng::seed_from_u64(seed);
    let Ok(mut log) = open(disk, 1) else { return model };
    for step in 0..STEPS {
        if faults && rng.random_bool(0.15) {
            let operations = [
                Operation::Append,
                Operation::Sync,
                Operation::Create,
                Operation::SyncFolder,
                Operation::Truncate,
            ];
            let operation = operations[rng.random_range(0..operations.len())];
            let partial_bytes = rng.random_range(0..200);
            disk.fail(Failure { partial_bytes, ..Failure::once(operation, ErrorKind::Other) });
        }
        match rng.random_range(0..10) {
            0..7 => append_batch(&mut log, &mut rng, &mut model),
            7..9 => {
                let end = model.acknowledged.keys().last().map_or(0, |last| last + 1);
                let committed = rng.random_range(model.commit_tried..=end.max(model.commit_tried));
                model.commit_tried = committed;
                if store_commit(disk, committed).is_ok() {
                    model.committed = committed;
                    let _ = log.trim(committed);
                }
            }
            _ => {
                // An orderly restart in between.
                drop(log);
                let Ok(reopened) = open(disk, step as u32 + 2) else { return model };
                log = reopened;
            }
        }
        if log.poisoned().is_some() {
            let _ = log.revive();
        }
    }
    model
}

/// Everything acknowledged and not committed is there; nothing is there that was never written.
fn check(disk: &MemoryStorage, model: &Model, faults: bool, context: &str) {
    disk.sync_folder().expect("the disk is well");
    let committed = load_commit(disk);
    assert!((model.committed..=model.commit_tried).contains(&committed), "{context}: commit {committed}");
    let storage = disk.folder("log").expect("a folder");
    let (log, recovery) =
        SegmentLog::open(storage, config(0xffff), Budget::new(1 << 30, 0), committed).expect("it opens");
    // Bytes whose sync failed may show after a restart and be gone after a power cut: an alarm, but nobody's loss.
    for missing in &recovery.missing {
        assert!(faults, "{context}: {recovery:?}");
        let lost = model.acknowledged.range(missing.clone()).next();
        assert!(lost.is_none(), "{context}: {recovery:?}");
    }
    let mut found: Vec<LogRecord> = Vec::new();
    log.reader(committed).read(usize::MAX, usize::MAX, &mut found).expect("it reads");
    assert!(found.is_sorted_by_key(|record| record.offset), "{context}");
    let by_offset: BTreeMap<u64, &[u8]> =
        found.iter().map(|record| (record.offset, &record.body[..])).collect();
    assert_eq!(by_offset.len(), found.len(), "{context}: an offset twice");
    for (offset, body) in model.acknowledged.range(committed..) {
        assert_eq!(by_offset.get(offset), Some(&&body[..]), "{context}: offset {offset}; {recovery:?}");
    }
    for (offset, body) in by_offset {
        let tried = model.tried.get(&offset).is_some_and(|tried| tried.iter().any(|one| one == body));
        assert!(tried, "{context}: offset {offset} was never written");
    }
}

/// After the crash the log must take records, and keep them with the old ones.
fn goes_on(disk: &MemoryStorage, model: &mut Model, seed: u64) {
    let mut log = open(disk, 77).expect("it opens");
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..3 {
        let before = model.acknowledged.len();
        append_batch(&mut log, &mut rng, model);
        assert!(model.acknowledged.len() > before, "it takes records");
    }
    assert!(model.acknowledged.keys().last().is_some_and(|last| *last >= model.committed));
}

fn crash_everywhere(faults: bool) -> u64 {
    let mut states = 0;
    for seed in 0..HISTORIES {
        let whole = MemoryStorage::new();
        play(&whole, seed, faults);
        for point in 0..=whole.changes() {
            for power in [false, true] {
                let disk = MemoryStorage::new();
                disk.halt_at(point);
                let mut model = play(&disk, seed, faults);
                if power {
                    disk.power_cut(seed ^ point << 8);
                } else {
                    disk.restart();
                }
                let context = format!("seed {seed}, point {point}, power cut {power}, faults {faults}");
                check(&disk, &model, faults, &context);
                goes_on(&disk, &mut model, seed);
                disk.power_cut(point);
                check(&disk, &model, faults, &format!("{context}, second crash"));
                states += 2;
            }
        }
    }
    states
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_machine_stops() {
    let states = crash_everywhere(false);
    assert!(states > 1_000, "only {states} states");
    println!("{states} recovered states");
}

#[test]
fn nothing_acknowledged_is_lost_when_the_disk_fails_before_the_machine_stops() {
    let states = crash_everywhere(true);
    assert!(states > 1_000, "only {states} states");
    println!("{states} recovered states");
}
