//! Promise: an append that returned is durable, sequences have no gaps, urgent records come first and none starves,
//! and a restart goes on where the owner had committed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits, EmbeddedReader, OpenError};
use router::journal::storage::memory::{Failure, MemoryStorage, Operation};
use router::journal::{AppendError, Draft, DurableIn, Entry, Journal, JournalReader, Position};
use router::record::{Channel, Request, Target};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

const PARTITIONS: u32 = 8;
const LIMITS: EmbeddedLimits =
    EmbeddedLimits { bytes_max: 1 << 30, critical_reserve_bytes: 1 << 20, segment_bytes: 1 << 20 };

fn draft(n: u128, user: &str, priority: Priority) -> Draft {
    let request = Request {
        to: Target::User(user.to_owned()),
        priority,
        category: None,
        title: Some("Title".to_owned()),
        body: None,
        data: Some(serde_json::value::to_raw_value(&serde_json::json!({"n": 1})).expect("it is JSON")),
        channels: vec![Channel::Inapp],
        fallback: Vec::new(),
        ack_within_s: None,
        channel_within_s: std::collections::BTreeMap::new(),
        ttl_s: None,
        collapse_key: None,
        send_at: None,
    };
    Draft { id: Uuid::from_u128(n), service: "test".to_owned(), accepted_at: Wall(1_000_000), request }
}

fn open_with(
    disk: &MemoryStorage,
    limits: EmbeddedLimits,
    seed: u64,
) -> (Arc<EmbeddedJournal>, EmbeddedReader) {
    let (journal, reader, report) =
        EmbeddedJournal::open_on(Arc::new(disk.clone()), PARTITIONS, limits, seed).expect("it opens");
    assert!(report.is_clean(), "{report:?}");
    (Arc::new(journal), reader)
}

fn open(disk: &MemoryStorage, seed: u64) -> (Arc<EmbeddedJournal>, EmbeddedReader) {
    open_with(disk, LIMITS, seed)
}

async fn append_many(journal: &Arc<EmbeddedJournal>, range: std::ops::Range<u128>, priority: Priority) {
    let tasks: Vec<_> = range
        .map(|n| {
            let journal = Arc::clone(journal);
            tokio::spawn(async move { journal.append(draft(n, &format!("user-{}", n % 50), priority)).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("it is durable");
    }
}

async fn read_exactly(reader: &mut EmbeddedReader, count: usize, max: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let some = reader.read(max).await.expect("it reads");
        assert!(!some.is_empty() && some.len() <= max);
        entries.extend(some);
    }
    assert_eq!(entries.len(), count);
    entries
}

fn ids(entries: &[Entry]) -> Vec<u128> {
    entries.iter().map(|entry| entry.record.as_ref().expect("a record").id.as_u128()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_read_whole_and_sequences_have_no_gaps() {
    let disk = MemoryStorage::new();
    let (journal, mut reader) = open(&disk, 42);
    append_many(&journal, 0..2_000, Priority::Normal).await;
    append_many(&journal, 2_000..3_000, Priority::Critical).await;
    let entries = read_exactly(&mut reader, 3_000, 300).await;
    let mut sequences: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for entry in &entries {
        let record = entry.record.as_ref().expect("a record");
        assert_eq!(record.service, "test");
        assert_eq!(record.accepted_at, Wall(1_000_000));
        assert_eq!(record.request.data.as_ref().map(|data| data.get()), Some(r#"{"n":1}"#));
        assert_eq!(record.sequence.boot, 42);
        assert_eq!(record.sequence.partition, entry.position.partition);
        sequences.entry(record.sequence.partition).or_default().push(record.sequence.seq);
    }
    for (partition, mut seqs) in sequences {
        seqs.sort_unstable();
        let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, expected, "partition {partition}");
    }
    assert_eq!(journal.status().lag, 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_share_a_sync_and_none_returns_before_it() {
    let disk = MemoryStorage::new();
    let (journal, _reader) = open(&disk, 1);
    journal.append(draft(0, "u", Priority::Normal)).await.expect("it is durable");
    disk.hold_syncs(true);
    let before = disk.syncs();
    let size = || disk.files().iter().map(|(_, bytes)| *bytes).sum::<u64>();
    let one = size();
    let tasks: Vec<_> = (1..=500)
        .map(|n| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { journal.append(draft(n, "u", Priority::Normal)).await })
        })
        .collect();
    // The first write is in the file, and its sync is held.
    while size() == one {
        tokio::task::yield_now().await;
    }
    assert!(tasks.iter().all(|task| !task.is_finished()), "acknowledged before the sync");
    disk.hold_syncs(false);
    for task in tasks {
        let appended = task.await.expect("no panic").expect("it is durable");
        assert_eq!(appended.durable_in, DurableIn::Journal);
    }
    let syncs = disk.syncs() - before;
    assert!(syncs < 100, "{syncs} syncs for 500 appends");
}

/// On one thread: the writer would have all the time in the world for the first one while the second gets ready.
#[tokio::test]
async fn what_is_appended_at_one_moment_shares_one_sync_also_when_nothing_was_under_way() {
    let disk = MemoryStorage::new();
    let (journal, _reader) = open(&disk, 1);
    let mut shared = 0;
    for round in 0..10 {
        journal.append(draft(round * 10, "u", Priority::Normal)).await.expect("it is durable");
        // The writer goes back to sleep.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let before = disk.syncs();
        let first = journal.append(draft(round * 10 + 1, "u", Priority::Normal));
        let second = async {
            std::thread::sleep(Duration::from_millis(3));
            journal.append(draft(round * 10 + 2, "u", Priority::Normal)).await
        };
        let (first, second) = tokio::join!(biased; first, second);
        assert!(first.is_ok() && second.is_ok());
        shared += usize::from(disk.syncs() - before == 1);
    }
    // Now and then the writer looks by itself just then.
    assert!(shared >= 8, "they shared a sync in {shared} of 10 rounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_everything_acknowledged_is_there() {
    let disk = MemoryStorage::new();
    for seed in 0..10 {
        let (journal, mut reader) = open(&disk, seed);
        let from = u128::from(seed) * 100;
        append_many(&journal, from..from + 100, Priority::High).await;
        drop(journal);
        disk.power_cut(seed);
        let waiting = (seed as usize + 1) * 100;
        // A dead process' reader still reads its cache; a new one reads the disk.
        let _ = reader.read(1).await;
        drop(reader);
        let (journal, mut reader) = open(&disk, seed + 1_000);
        let mut found = ids(&read_exactly(&mut reader, waiting, 64).await);
        found.sort_unstable();
        assert_eq!(found, (0..waiting as u128).collect::<Vec<_>>());
        drop((journal, reader));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_refuses_and_consumes_no_sequence_and_the_journal_comes_back() {
    let disk = MemoryStorage::new();
    let (journal, mut reader) = open(&disk, 7);
    let first = journal.append(draft(1, "u", Priority::Normal)).await.expect("it is durable");
    disk.fail(Failure::once(Operation::Sync, ErrorKind::Other));
    let refused = journal.append(draft(2, "u", Priority::Normal)).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    let other_lane = journal.append(draft(3, "u", Priority::High)).await.expect("another file is well");
    let mut retries = 0;
    let again = loop {
        match journal.append(draft(4, "u", Priority::Normal)).await {
            Ok(appended) => break appended,
            Err(AppendError::Unavailable(_)) => retries += 1,
            Err(other) => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(retries < 500, "it never came back");
    };
    assert!(retries > 0, "closed for a while, whatever the disk says");
    assert_eq!([first.seq, other_lane.seq, again.seq], [1, 2, 3]);
    let mut found = ids(&read_exactly(&mut reader, 3, 10).await);
    found.sort_unstable();
    assert_eq!(found, [1, 3, 4], "the refused record is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_all_but_critical_and_takes_again_after_commits() {
    let disk = MemoryStorage::new();
    let limits = EmbeddedLimits { bytes_max: 60_000, critical_reserve_bytes: 20_000, segment_bytes: 4_000 };
    let (journal, mut reader) = open_with(&disk, limits, 3);
    let mut taken = 0;
    let refused = loop {
        match journal.append(draft(taken, "u", Priority::Low)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { bytes } if bytes <= 40_000), "{refused:?}");
    journal.append(draft(9_999, "u", Priority::Critical)).await.expect("the reserve is for critical");
    let count = taken as usize + 1;
    let entries = read_exactly(&mut reader, count, 32).await;
    let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    reader.commit(&positions).await.expect("it commits");
    assert_eq!(journal.status().lag, 0);
    // The writer thread trims within its commit interval; it wakes for appends, too.
    let mut tries = 0;
    while journal.append(draft(10_000, "u", Priority::Low)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        tries += 1;
        assert!(tries < 500, "nothing was trimmed");
    }
    assert!(journal.status().bytes < 40_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_behind_what_was_committed() {
    let disk = MemoryStorage::new();
    let (journal, mut reader) = open(&disk, 1);
    append_many(&journal, 0..100, Priority::Normal).await;
    let entries = read_exactly(&mut reader, 60, 60).await;
    let committed: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    reader.commit(&committed).await.expect("it commits");
    let done = ids(&entries);
    drop((journal, reader));
    disk.restart();
    let (journal, mut reader) = open(&disk, 2);
    assert_eq!(journal.status().lag, 40);
    let mut all = ids(&read_exactly(&mut reader, 40, 100).await);
    all.extend(done);
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>(), "none lost, none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_comes_first_and_low_is_not_starved() {
    let disk = MemoryStorage::new();
    let (journal, mut reader) = open(&disk, 1);
    append_many(&journal, 0..400, Priority::Low).await;
    append_many(&journal, 1_000..1_400, Priority::Critical).await;
    let first = reader.read(160).await.expect("it reads");
    let critical = first.iter().filter(|entry| entry.position.priority == Priority::Critical).count();
    assert_eq!((critical, first.len()), (150, 160));
    assert!(first[..150].iter().all(|entry| entry.position.priority == Priority::Critical));
    let offsets: Vec<u64> = first[..150].iter().map(|entry| entry.position.offset).collect();
    assert!(offsets.is_sorted(), "order holds within a lane");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_wakes_and_a_read_that_was_given_up_loses_nothing() {
    let disk = MemoryStorage::new();
    let (journal, mut reader) = open(&disk, 1);
    let mut found = Vec::new();
    for n in 0..200 {
        let waiting = reader.read(10);
        let mut appending = journal.append(draft(n, "u", Priority::Normal));
        // Gives the read up as soon as the append is durable: often in the middle of it.
        tokio::select! {
            biased;
            appended = &mut appending => { appended.expect("it is durable"); }
            entries = waiting => {
                found.extend(ids(&entries.expect("it reads")));
                appending.await.expect("it is durable");
            }
        }
    }
    let rest = 200 - found.len();
    found.extend(ids(&read_exactly(&mut reader, rest, 10).await));
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    let (entries, _) = tokio::join!(reader.read(10), journal.append(draft(200, "u", Priority::Normal)));
    assert_eq!(ids(&entries.expect("it wakes")), [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_handed_out_as_poison_and_the_lane_moves_on() {
    let disk = MemoryStorage::new();
    {
        use router::journal::segment::{Budget, LogConfig, SegmentLog};
        use router::journal::storage::Storage;
        let config = LogConfig { segment_bytes: 1 << 20, urgent: false, salt: 1 };
        let folder = disk.folder("normal").expect("a folder");
        let (mut log, _) = SegmentLog::open(folder, config, Budget::new(1 << 20, 0), 0).expect("it opens");
        for body in [&b"\xff\xfe"[..], b"{}", br#"{"v":9,"id":"00000000-0000-0000-0000-000000000000"}"#] {
            log.stage(body).expect("it is staged");
        }
        log.commit().expect("it is durable");
    }
    let (journal, mut reader) = open(&disk, 1);
    journal.append(draft(5, "u", Priority::Normal)).await.expect("it is durable");
    let entries = read_exactly(&mut reader, 4, 10).await;
    for entry in &entries[..3] {
        let poison = entry.record.as_ref().expect_err("no record");
        assert!(!poison.reason.is_empty());
        reader.dead_letter(entry).await.expect("the owner's list takes it");
    }
    assert_eq!(ids(&entries[3..]), [5]);
    let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    reader.commit(&positions).await.expect("it commits");
    assert_eq!(journal.status().lag, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_commit_file_means_reading_everything_again() {
    let disk = MemoryStorage::new();
    let (journal, mut reader) = open(&disk, 1);
    append_many(&journal, 0..10, Priority::Normal).await;
    let positions: Vec<Position> =
        read_exactly(&mut reader, 10, 10).await.iter().map(|entry| entry.position).collect();
    reader.commit(&positions[..5]).await.expect("it commits");
    drop((journal, reader));
    disk.flip("commit", 100);
    let (_journal, mut reader, report) =
        EmbeddedJournal::open_on(Arc::new(disk.clone()), PARTITIONS, LIMITS, 2).expect("it opens");
    assert!(report.commits_lost && !report.is_clean());
    assert_eq!(read_exactly(&mut reader, 10, 10).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_real_disk_the_folder_is_locked_and_found_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal");
    let (journal, reader, _) = EmbeddedJournal::open(&path, PARTITIONS, LIMITS).expect("it opens");
    let journal = Arc::new(journal);
    append_many(&journal, 0..300, Priority::Critical).await;
    let second = EmbeddedJournal::open(&path, PARTITIONS, LIMITS).expect_err("it is locked");
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    assert_eq!(second.to_string().lines().count(), 1);
    let boot = journal.boot();
    drop((journal, reader));
    let (journal, mut reader, report) =
        EmbeddedJournal::open(&path, PARTITIONS, LIMITS).expect("it opens again");
    assert_ne!(journal.boot(), boot);
    assert_eq!(report.waiting, 300);
    let found = read_exactly(&mut reader, 300, 100).await;
    assert_eq!(found.len(), 300);
}

#[test]
fn a_folder_that_is_a_file_gets_one_clear_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal");
    std::fs::write(&path, "in the way").expect("it writes");
    let error = EmbeddedJournal::open(&path, PARTITIONS, LIMITS).expect_err("a file is no folder");
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("journal") && error.to_string().lines().count() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_file_died_refuses_instead_of_hanging() {
    let disk = MemoryStorage::new();
    let (journal, reader) = open(&disk, 1);
    journal.append(draft(0, "u", Priority::Normal)).await.expect("it is durable");
    disk.power_cut(1);
    let refused = journal.append(draft(1, "u", Priority::Normal)).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    drop((journal, reader));
}
