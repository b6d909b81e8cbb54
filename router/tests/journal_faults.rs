//! Promise: what the log could not write and sync is refused, and nothing that was acknowledged suffers for it.

use std::io::ErrorKind;
use std::sync::Arc;

use router::journal::segment::{Budget, LogConfig, LogError, LogRecord, RECORD_BYTES_MAX, SegmentLog};
use router::journal::storage::Storage;
use router::journal::storage::memory::{Failure, MemoryStorage, Operation};

const CONFIG: LogConfig = LogConfig { segment_bytes: 1 << 20, urgent: false, salt: 5 };

fn open_with(disk: &MemoryStorage, config: LogConfig, budget: &Arc<Budget>, committed: u64) -> SegmentLog {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (log, recovery) = SegmentLog::open(storage, config, Arc::clone(budget), committed).expect("it opens");
    assert!(recovery.is_clean(), "{recovery:?}");
    log
}

fn open(disk: &MemoryStorage) -> SegmentLog {
    open_with(disk, CONFIG, &Budget::new(1 << 30, 0), 0)
}

fn append(log: &mut SegmentLog, body: &str) -> Result<u64, LogError> {
    let offset = log.stage(body.as_bytes())?;
    log.commit()?;
    Ok(offset)
}

fn bodies(log: &SegmentLog) -> Vec<String> {
    let mut records: Vec<LogRecord> = Vec::new();
    log.reader(0).read(usize::MAX, usize::MAX, &mut records).expect("it reads");
    records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
}

/// Each way in which the second append can fail.
fn failures() -> Vec<Failure> {
    let partly =
        |partial_bytes| Failure { partial_bytes, ..Failure::once(Operation::Append, ErrorKind::StorageFull) };
    vec![
        Failure::once(Operation::Sync, ErrorKind::Other),
        Failure::once(Operation::Append, ErrorKind::Other),
        partly(1),
        partly(30),
        partly(10_000),
    ]
}

#[test]
fn a_failed_write_or_sync_closes_the_log_until_it_is_revived() {
    for failure in failures() {
        let disk = MemoryStorage::new();
        let mut log = open(&disk);
        append(&mut log, "acknowledged").expect("nothing fails yet");
        disk.fail(failure);
        assert!(matches!(append(&mut log, "refused"), Err(LogError::Poisoned(_))), "{failure:?}");
        // The disk is well again, but nobody knows what it holds.
        assert!(matches!(append(&mut log, "too soon"), Err(LogError::Poisoned(_))), "{failure:?}");
        assert_eq!(bodies(&log), ["acknowledged"], "{failure:?}");
        log.revive().expect("the disk is well");
        assert_eq!(append(&mut log, "goes on"), Ok(1), "{failure:?}");
        assert_eq!(bodies(&log), ["acknowledged", "goes on"], "{failure:?}");
        for seed in 0..8 {
            let disk = disk.fork();
            disk.power_cut(seed);
            assert_eq!(bodies(&open(&disk)), ["acknowledged", "goes on"], "{failure:?}, seed {seed}");
        }
    }
}

#[test]
fn a_sync_that_failed_is_not_believed_when_the_next_one_succeeds() {
    let disk = MemoryStorage::new();
    let mut log = open(&disk);
    append(&mut log, "one").expect("durable");
    disk.fail(Failure::once(Operation::Sync, ErrorKind::Other));
    append(&mut log, "lost").expect_err("its sync failed");
    log.revive().expect("the disk is well");
    append(&mut log, "two").expect("durable");
    disk.power_cut(3);
    assert_eq!(bodies(&open(&disk)), ["one", "two"]);
}

#[test]
fn a_first_segment_that_cannot_be_made_is_made_later() {
    for operation in [Operation::Create, Operation::Append, Operation::Sync, Operation::SyncFolder] {
        let disk = MemoryStorage::new();
        let mut log = open(&disk);
        disk.fail(Failure::once(operation, ErrorKind::Other));
        append(&mut log, "refused").expect_err("it fails");
        log.revive().expect("the disk is well");
        assert_eq!(append(&mut log, "taken"), Ok(0), "{operation:?}");
        disk.power_cut(1);
        assert_eq!(bodies(&open(&disk)), ["taken"], "{operation:?}");
    }
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = MemoryStorage::new();
    let mut log = open(&disk);
    disk.set_capacity(Some(400));
    let mut taken = Vec::new();
    let refused = (0..100).find(|i| {
        let body = format!("record {i}");
        append(&mut log, &body).map(|_| taken.push(body)).is_err()
    });
    assert!(refused.is_some());
    log.revive().expect("cutting needs no room");
    disk.set_capacity(None);
    append(&mut log, "room").expect("there is room");
    taken.push("room".to_owned());
    assert_eq!(bodies(&log), taken);
    disk.power_cut(9);
    assert_eq!(bodies(&open(&disk)), taken);
}

#[test]
fn the_reserve_is_for_urgent_logs_only() {
    let (normal_disk, urgent_disk) = (MemoryStorage::new(), MemoryStorage::new());
    let budget = Budget::new(10_000, 4_000);
    let mut normal = open_with(&normal_disk, CONFIG, &budget, 0);
    let mut urgent = open_with(&urgent_disk, LogConfig { urgent: true, ..CONFIG }, &budget, 0);
    let body = "x".repeat(500);
    let refused = (0..100).find_map(|_| append(&mut normal, &body).err()).expect("it fills up");
    assert!(matches!(refused, LogError::Full { bytes } if bytes <= 6_000), "{refused:?}");
    assert!(normal.poisoned().is_none(), "full is not broken");
    let before = budget.used();
    let refused = (0..100).find_map(|_| append(&mut urgent, &body).err()).expect("it fills up, too");
    assert!(matches!(refused, LogError::Full { .. }), "{refused:?}");
    assert!(budget.used() > before + 3_000 && budget.used() <= 10_000);

    let on_disk: u64 = normal_disk.files().iter().chain(&urgent_disk.files()).map(|(_, bytes)| *bytes).sum();
    assert_eq!(budget.used(), on_disk, "the budget counts what is on disk");
    let end = urgent.next_offset();
    urgent.trim(end).expect("it is removed");
    append(&mut urgent, &body).expect("there is room again");
}

#[test]
fn committed_segments_go_and_the_rest_stays() {
    let disk = MemoryStorage::new();
    let budget = Budget::new(1 << 20, 0);
    let config = LogConfig { segment_bytes: 100, ..CONFIG };
    let mut log = open_with(&disk, config, &budget, 0);
    for i in 0..20 {
        append(&mut log, &format!("record {i}")).expect("durable");
    }
    let files = disk.files().len();
    log.trim(10).expect("it trims");
    assert!(disk.files().len() < files);
    let mut records = Vec::new();
    log.reader(10).read(usize::MAX, usize::MAX, &mut records).expect("it reads");
    assert_eq!(records.len(), 10);
    log.trim(20).expect("it trims");
    assert_eq!(budget.used(), disk.files().iter().map(|(_, bytes)| *bytes).sum::<u64>());
    drop(log);
    let mut log = open_with(&disk, config, &Budget::new(1 << 20, 0), 20);
    assert_eq!(append(&mut log, "next"), Ok(20), "offsets never start again");
}

#[test]
fn a_record_too_long_is_refused_alone() {
    let disk = MemoryStorage::new();
    let mut log = open(&disk);
    let long = "x".repeat(RECORD_BYTES_MAX + 1);
    assert!(matches!(append(&mut log, &long), Err(LogError::TooLong { .. })));
    assert_eq!(append(&mut log, &long[1..]), Ok(0));
}

#[test]
fn a_reader_follows_the_writer_across_segments() {
    let disk = MemoryStorage::new();
    let config = LogConfig { segment_bytes: 200, ..CONFIG };
    let mut log = open_with(&disk, config, &Budget::new(1 << 20, 0), 0);
    let mut reader = log.reader(0);
    let mut records = Vec::new();
    for i in 0..200 {
        append(&mut log, &format!("record {i}")).expect("durable");
        if i % 3 == 0 {
            reader.read(2, usize::MAX, &mut records).expect("it reads");
        }
        if i % 7 == 0 {
            log.trim(reader.next_offset()).expect("it trims");
        }
    }
    reader.read(usize::MAX, usize::MAX, &mut records).expect("it reads");
    let expected: Vec<u64> = (0..200).collect();
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), expected);
    assert_eq!(reader.waiting(), 0);
}
