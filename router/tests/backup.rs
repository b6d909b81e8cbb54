//! Promise: a backup has everything that was accepted before it and says what it is; what was not finished or has
//! changed is not restored; and nothing is ever written over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use router::backup::{BackupError, Backups, restore, write_offline};
use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits, EmbeddedReader};
use router::journal::{Draft, Entry, Journal, JournalReader};
use router::store::{Batch, DiskStore, Order, Range, Row, Space, Store};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

const PARTITIONS: u32 = 2;
const NOW: Wall = Wall(1_767_225_600_000_000);

fn draft(n: u128) -> Draft {
    let priority = Priority::ALL[n as usize % Priority::ALL.len()];
    let request = json!({ "to": { "user": "ada" }, "priority": priority, "title": "Title" });
    let request = serde_json::from_value(request).expect("a request");
    Draft { id: Uuid::from_u128(n), service: "test".to_owned(), accepted_at: NOW, request }
}

/// A data folder without a router.
struct Node {
    dir: TempDir,
    store: DiskStore,
    journal: Arc<EmbeddedJournal>,
    reader: EmbeddedReader,
}

fn open(data: &Path, limits: EmbeddedLimits) -> (DiskStore, EmbeddedJournal, EmbeddedReader) {
    fs::create_dir_all(data.join("store")).expect("a folder");
    let store = DiskStore::open(&data.join("store")).expect("a store");
    let (journal, reader, report) =
        EmbeddedJournal::open(&data.join("journal"), PARTITIONS, limits).expect("a journal");
    assert!(report.is_clean(), "{report:?}");
    (store, journal, reader)
}

impl Node {
    fn new(segment_bytes: u64) -> Node {
        let dir = tempfile::tempdir().expect("a folder");
        let limits = EmbeddedLimits { segment_bytes, ..EmbeddedLimits::default() };
        let (store, journal, reader) = open(&dir.path().join("data"), limits);
        Node { dir, store, journal: Arc::new(journal), reader }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn append(&self, range: std::ops::Range<u128>) {
        for n in range {
            self.journal.append(draft(n)).await.expect("it is durable");
        }
    }

    async fn commit(&mut self, count: usize) {
        let read = read(&mut self.reader, count).await;
        let positions: Vec<_> = read.iter().map(|entry| entry.position).collect();
        self.reader.commit(&positions).await.expect("it commits");
    }

    fn back_up(&self) -> PathBuf {
        let backups = Backups::new(self.path("backups"));
        let written = backups.write(&self.store, &*self.journal, NOW).expect("a backup");
        written.expect("it is alone").0
    }

    fn segments(&self) -> usize {
        let lanes = Priority::ALL.map(|lane| self.path("data/journal").join(lane.name()));
        lanes.iter().map(|lane| fs::read_dir(lane).expect("a lane").count()).sum()
    }
}

async fn read(reader: &mut EmbeddedReader, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.extend(reader.read(count - entries.len()).await.expect("it reads"));
    }
    entries
}

fn ids(entries: &[Entry]) -> BTreeSet<u128> {
    entries.iter().map(|entry| entry.record.as_ref().expect("a record").id.as_u128()).collect()
}

fn rows(store: &DiskStore) -> Vec<(Space, Vec<Row>)> {
    let all = |space| store.scan(space, &Range::all(), Order::Forward, 1_000_000).expect("readable");
    Space::ALL.into_iter().map(|space| (space, all(space))).collect()
}

/// Something in every space that a node without Kafka writes; more than one batch of it.
fn fill(store: &DiskStore) {
    for round in 0..10_u32 {
        let mut batch = Batch::default();
        for space in Space::ALL.into_iter().filter(|space| *space != Space::Buffered) {
            for i in 0..50_u32 {
                let key = [round.to_be_bytes(), i.to_be_bytes()].concat();
                batch.put(space, key, vec![round as u8; (i as usize * 97) % 3_000]);
            }
        }
        store.commit(&batch).expect("it takes them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_not_taken_yet_is_read_after_a_restore() {
    let mut node = Node::new(4_096);
    fill(&node.store);
    node.append(0..300).await;
    node.commit(100).await;
    let taken = {
        let waiting = read(&mut node.reader, 200).await;
        (rows(&node.store), ids(&waiting))
    };
    let backup = node.back_up();
    node.append(300..350).await;
    fs::rename(&backup, node.path("moved")).expect("it can be moved");
    let manifest = restore(&node.path("moved"), &node.path("new")).expect("it restores");
    assert_eq!((manifest.at, manifest.waiting.values().sum::<u64>()), (NOW, 200));
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    let (store, journal, mut reader) = open(&node.path("new"), EmbeddedLimits::default());
    assert_eq!(rows(&store), taken.0);
    for (space, rows) in &taken.0 {
        assert_eq!(manifest.rows[space.name()], rows.len() as u64);
    }
    assert_eq!(journal.status().lag, 200);
    assert_eq!(ids(&read(&mut reader, 200).await), taken.1);
    journal.append(draft(1_000)).await.expect("it goes on");
    assert_eq!(ids(&read(&mut reader, 1).await), [1_000].into());
}

/// Sequence numbers run over all lanes: one lane further than another would show as a lost record.
#[tokio::test(flavor = "multi_thread")]
async fn all_lanes_end_at_one_moment() {
    let node = Node::new(1 << 20);
    let done = Arc::new(AtomicBool::new(false));
    let appenders: Vec<_> = (0..16)
        .map(|appender: u128| {
            let (journal, done) = (Arc::clone(&node.journal), Arc::clone(&done));
            tokio::spawn(async move {
                for n in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    journal.append(draft(appender * 1_000_000 + n)).await.expect("it is durable");
                }
            })
        })
        .collect();
    for round in 0..10 {
        let lag = node.journal.status().lag;
        let backups = Backups::new(node.path(&format!("backups-{round}")));
        let (backup, _) = backups.write(&node.store, &*node.journal, NOW).expect("it writes").expect("alone");
        restore(&backup, &node.path(&format!("new-{round}"))).expect("it restores");
        let (_store, journal, mut reader) =
            open(&node.path(&format!("new-{round}")), EmbeddedLimits::default());
        let found = journal.status().lag;
        assert!(found >= lag, "{found} of {lag}");
        let mut sequences: BTreeMap<(u64, u32), BTreeSet<u64>> = BTreeMap::new();
        for entry in read(&mut reader, found as usize).await {
            let sequence = entry.record.expect("a record").sequence;
            sequences.entry((sequence.boot, sequence.partition)).or_default().insert(sequence.seq);
        }
        for (producer, numbers) in sequences {
            assert_eq!(numbers.last().copied(), Some(numbers.len() as u64), "{producer:?} has gaps");
        }
    }
    done.store(true, Ordering::Relaxed);
    for appender in appenders {
        appender.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_trimmed_while_a_backup_needs_it() {
    let mut node = Node::new(4_096);
    node.append(0..400).await;
    let held = node.journal.hold().expect("its own journal");
    let (parts, files) = (held.parts(), node.segments());
    node.commit(400).await;
    let commits = || fs::read_to_string(node.path("data/journal/commit")).unwrap_or_default();
    while !commits().contains("critical 100") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The next commits: those before were written down and nothing of them trimmed.
    node.append(400..404).await;
    node.commit(4).await;
    let commits = || fs::read_to_string(node.path("data/journal/commit")).unwrap_or_default();
    while !commits().contains("critical 101") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(node.segments() >= files);
    for part in &parts {
        assert_eq!(held.read(part, 0, &mut [0]).expect("it is there"), 1);
    }
    drop(held);
    node.append(404..408).await;
    node.commit(4).await;
    while node.segments() >= files {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn what_has_changed_or_was_not_finished_is_not_restored() {
    let node = Node::new(4_096);
    fill(&node.store);
    node.append(0..40).await;
    let backup = node.back_up();
    let refused = |what: &str| {
        let error = restore(&backup, &node.path("new")).expect_err(what);
        assert!(!error.to_string().contains('\n'), "{error}");
        assert!(!node.path("new").exists() && !node.path("new.restoring").exists(), "{what}");
        error
    };
    let all = files(&backup);
    assert!(all.len() >= 7, "{all:?}");
    for path in all {
        let whole = fs::read(&path).expect("readable");
        let name = path.display().to_string();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut hurt = whole.clone();
            hurt[at] ^= 1;
            fs::write(&path, &hurt).expect("writable");
            assert!(matches!(refused(&name), BackupError::Damaged(_)), "{name} at {at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).expect("writable");
        refused(&name);
        fs::remove_file(&path).expect("it goes");
        let error = refused(&name);
        let unfinished = matches!(error, BackupError::Unfinished { .. });
        assert_eq!(unfinished, name.ends_with("SHA256SUMS"), "{name}: {error}");
        fs::write(&path, &whole).expect("writable");
    }
    fs::write(backup.join("journal/high/more.log"), "more").expect("writable");
    assert!(refused("one more").to_string().contains("more.log"));
    fs::remove_file(backup.join("journal/high/more.log")).expect("it goes");
    let sums = fs::read_to_string(backup.join("SHA256SUMS")).expect("readable");
    let (first, rest) = sums.split_once('\n').expect("a line");
    let gone = first.split_once("  ").expect("a path").1;
    fs::rename(backup.join(gone), node.path("gone")).expect("it moves");
    fs::write(backup.join("SHA256SUMS"), rest).expect("writable");
    refused("a file less, and its sum");
    fs::rename(node.path("gone"), backup.join(gone)).expect("it moves");
    fs::write(backup.join("SHA256SUMS"), sums).expect("writable");
    restore(&backup, &node.path("new")).expect("it is whole again");
}

#[tokio::test]
async fn nothing_is_written_over() {
    let node = Node::new(4_096);
    let backup = node.back_up();
    let full = node.path("full");
    fs::create_dir_all(&full).expect("a folder");
    fs::write(full.join("mine"), "mine").expect("writable");
    let untouched = || {
        assert_eq!(files(&full), [full.join("mine")]);
        assert_eq!(fs::read_to_string(full.join("mine")).expect("readable"), "mine");
    };
    assert!(matches!(restore(&backup, &full), Err(BackupError::NotEmpty { .. })));
    untouched();
    let data = node.path("data");
    assert!(matches!(write_offline(&data, &full, NOW), Err(BackupError::InUse { .. })));
    let Node { dir, store, journal, reader } = node;
    drop((store, journal, reader));
    assert!(matches!(write_offline(&data, &full, NOW), Err(BackupError::NotEmpty { .. })));
    untouched();
    let none = dir.path().join("none");
    assert!(matches!(write_offline(&none, &full.join("new"), NOW), Err(BackupError::NoData { .. })));
    assert!(!none.exists());
    untouched();
    // A restore that was cut off left this.
    fs::rename(&full, dir.path().join("new.restoring")).expect("it moves");
    assert!(matches!(restore(&backup, &dir.path().join("new")), Err(BackupError::NotEmpty { .. })));
    assert!(!dir.path().join("new").exists());
}

/// Their records stand in the outage's own log, not in the journal: a backup without them would keep silent about it.
#[tokio::test]
async fn promises_of_an_outage_are_not_left_out_in_silence() {
    let node = Node::new(4_096);
    let mut batch = Batch::default();
    batch.put(Space::Buffered, vec![7; 16], vec![1]);
    node.store.commit(&batch).expect("it takes it");
    let backups = Backups::new(node.path("backups"));
    let refused = backups.write(&node.store, &*node.journal, NOW).expect_err("a promise is open");
    assert!(matches!(refused, BackupError::Buffered), "{refused}");
    assert!(refused.to_string().contains("`outage` in /v1/status is `normal`"), "{refused}");
    assert!(files(&node.path("backups")).is_empty());
    let mut batch = Batch::default();
    batch.delete(Space::Buffered, vec![7; 16]);
    node.store.commit(&batch).expect("it takes it");
    node.back_up();
}
