//! Promise: whatever happens to the bytes of a segment, the log returns whole records or none, never wrong ones,
//! and says what it lost.

use std::sync::Arc;

use router::journal::segment::{Budget, LogConfig, LogRecord, Recovery, SegmentLog};
use router::journal::storage::Storage;
use router::journal::storage::memory::MemoryStorage;

const CONFIG: LogConfig = LogConfig { segment_bytes: 1 << 20, urgent: false, salt: 0x1234_5678 };
const SEGMENT: &str = "00000000000000000000.log";

fn open(disk: &MemoryStorage, committed: u64) -> (SegmentLog, Recovery) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    SegmentLog::open(storage, CONFIG, Budget::new(1 << 30, 0), committed).expect("it opens")
}

fn append(log: &mut SegmentLog, body: &[u8]) -> u64 {
    let offset = log.stage(body).expect("it is staged");
    log.commit().expect("it is durable");
    offset
}

fn read_all(log: &SegmentLog, from: u64) -> Vec<LogRecord> {
    let mut records = Vec::new();
    log.reader(from).read(usize::MAX, usize::MAX, &mut records).expect("it reads");
    records
}

fn body(i: u64) -> Vec<u8> {
    let length = usize::try_from(i * 13 % 41).expect("small");
    (0..length).map(|byte| (byte as u64 * 31 + i) as u8).collect()
}

/// A log of `count` records, and where each ends in its file.
fn written(count: u64) -> (MemoryStorage, Vec<usize>) {
    let disk = MemoryStorage::new();
    let (mut log, _) = open(&disk, 0);
    let ends = (0..count)
        .map(|i| {
            append(&mut log, &body(i));
            disk.contents(SEGMENT).expect("the segment").len()
        })
        .collect();
    (disk, ends)
}

#[test]
fn a_file_cut_at_any_byte_keeps_exactly_the_whole_records_before_the_cut() {
    let (disk, ends) = written(24);
    let whole = disk.contents(SEGMENT).expect("the segment");
    for cut in 0..=whole.len() {
        let disk = MemoryStorage::new();
        disk.put(SEGMENT, &whole[..cut]);
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64;
        let (mut log, recovery) = open(&disk, 0);
        assert!(recovery.is_clean(), "cut at {cut}: {recovery:?}");
        let torn = cut != 0 && cut != 48 && !ends.contains(&cut);
        assert_eq!(!recovery.torn.is_empty(), torn, "cut at {cut}: {recovery:?}");
        assert_eq!(log.next_offset(), kept);
        assert_eq!(append(&mut log, b"goes on"), kept, "cut at {cut}");
        drop(log);
        let (log, recovery) = open(&disk, 0);
        assert!(recovery.is_clean() && recovery.torn.is_empty(), "cut at {cut}: {recovery:?}");
        let found = read_all(&log, 0);
        assert_eq!(found.len() as u64, kept + 1, "cut at {cut}");
        for record in &found[..found.len() - 1] {
            assert_eq!(record.body, body(record.offset), "cut at {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_at_most_the_record_it_hits_and_is_reported_once() {
    let (disk, ends) = written(16);
    let whole = disk.contents(SEGMENT).expect("the segment");
    for bit in 0..whole.len() * 8 {
        let mut hurt = whole.clone();
        hurt[bit / 8] ^= 1 << (bit % 8);
        let disk = MemoryStorage::new();
        disk.put(SEGMENT, &hurt);
        let hit = (bit / 8 >= 48).then(|| ends.iter().filter(|end| **end <= bit / 8).count() as u64);
        let (log, recovery) = open(&disk, 0);
        let found = read_all(&log, 0);
        for record in &found {
            assert_eq!(record.body, body(record.offset), "bit {bit}");
        }
        let expected: Vec<u64> = (0..16).filter(|offset| Some(*offset) != hit).collect();
        let offsets: Vec<u64> = found.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, expected, "bit {bit}");
        assert_eq!(recovery.damaged.len(), usize::from(hit.is_some()), "bit {bit}: {recovery:?}");
        assert!(recovery.torn.is_empty() && recovery.missing.is_empty(), "bit {bit}: {recovery:?}");
        if let Some(damaged) = recovery.damaged.first() {
            let kept = disk.contents(damaged.kept_as.as_deref().expect("kept aside")).expect("the copy");
            let region = damaged.bytes.start as usize..damaged.bytes.end as usize;
            assert_eq!(kept, hurt[region], "bit {bit}");
            assert!(!damaged.known);
        }
        drop(log);
        let (log, recovery) = open(&disk, 0);
        assert!(recovery.damaged.iter().all(|damaged| damaged.known), "bit {bit}");
        assert_eq!(log.damaged_since_open(), 0);
    }
}

#[test]
fn a_bit_that_flips_while_the_log_is_open_is_stepped_over_and_counted() {
    let (disk, ends) = written(8);
    let whole = disk.contents(SEGMENT).expect("the segment");
    for hit in 0..8_u64 {
        let disk = MemoryStorage::new();
        disk.put(SEGMENT, &whole);
        let (mut log, _) = open(&disk, 0);
        let mut hurt = whole.clone();
        let start = if hit == 0 { 48 } else { ends[hit as usize - 1] };
        hurt[start + 4] ^= 0x10;
        disk.put(SEGMENT, &hurt);
        let mut reader = log.reader(0);
        let mut found = Vec::new();
        reader.read(100, usize::MAX, &mut found).expect("it reads");
        assert_eq!(reader.waiting(), 0, "hit {hit}");
        append(&mut log, b"later");
        reader.read(100, usize::MAX, &mut found).expect("it reads");
        let offsets: Vec<u64> = found.iter().map(|record| record.offset).collect();
        let expected: Vec<u64> = (0..9).filter(|offset| *offset != hit).collect();
        assert_eq!(offsets, expected, "hit {hit}");
        assert_eq!(log.damaged_since_open(), 1, "hit {hit}");
    }
}

#[test]
fn a_bit_that_flips_behind_the_reader_in_the_active_segment_does_not_stop_later_records() {
    let disk = MemoryStorage::new();
    let (mut log, _) = open(&disk, 0);
    append(&mut log, b"first");
    append(&mut log, b"second");
    let mut reader = log.reader(0);
    disk.flip(SEGMENT, (48 + 24 + 5 + 2) * 8);
    let mut found = Vec::new();
    reader.read(100, usize::MAX, &mut found).expect("it reads");
    assert_eq!(found.len(), 1, "the second record's header is unreadable");
    assert_eq!(reader.waiting(), 0);
    append(&mut log, b"third");
    reader.read(100, usize::MAX, &mut found).expect("it reads");
    assert_eq!(found.last().map(|record| (record.offset, &record.body[..])), Some((2, &b"third"[..])));
}

#[test]
fn a_record_inside_a_damaged_record_is_not_taken_for_one() {
    // A body that holds a whole record as another log wrote it.
    let other = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(other.clone());
    let config = LogConfig { salt: 1, ..CONFIG };
    let (mut log, _) = SegmentLog::open(storage, config, Budget::new(1 << 20, 0), 1).expect("it opens");
    append(&mut log, b"forged");
    let forged = other.contents("00000000000000000001.log").expect("the segment")[48..].to_vec();

    let disk = MemoryStorage::new();
    let (mut log, _) = open(&disk, 0);
    append(&mut log, &forged);
    append(&mut log, b"true");
    drop(log);
    disk.flip(SEGMENT, 48 * 8);
    let (log, recovery) = open(&disk, 0);
    assert_eq!(recovery.damaged.len(), 1);
    assert_eq!(read_all(&log, 0), [LogRecord { offset: 1, body: "true".into() }]);
}

#[test]
fn a_missing_segment_is_reported_with_its_offsets() {
    let disk = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let config = LogConfig { segment_bytes: 64, ..CONFIG };
    let (mut log, _) =
        SegmentLog::open(Arc::clone(&storage), config, Budget::new(1 << 20, 0), 0).expect("it opens");
    for i in 0..5 {
        append(&mut log, &body(i + 3));
    }
    drop(log);
    storage.remove("00000000000000000002.log").expect("it is there");
    let (log, recovery) = open(&disk, 0);
    assert_eq!(recovery.missing, std::slice::from_ref(&(2..3)));
    assert!(!recovery.is_clean());
    let offsets: Vec<u64> = read_all(&log, 0).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 1, 3, 4]);
    drop(log);
    let (_, recovery) = open(&disk, 3);
    assert!(recovery.is_clean(), "what is committed is not missed: {recovery:?}");
}

#[test]
fn a_segment_without_any_readable_header_is_kept_aside_and_the_rest_flows() {
    let disk = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let config = LogConfig { segment_bytes: 64, ..CONFIG };
    let (mut log, _) = SegmentLog::open(storage, config, Budget::new(1 << 20, 0), 0).expect("it opens");
    for i in 0..5 {
        append(&mut log, &body(i + 3));
    }
    drop(log);
    disk.put("00000000000000000002.log", &[0xff; 300]);
    let (log, recovery) = open(&disk, 0);
    assert_eq!(recovery.damaged.len(), 1);
    assert_eq!(recovery.damaged[0].offsets, 2..3);
    assert!(recovery.missing.is_empty());
    assert_eq!(disk.contents("00000000000000000002.log.bad"), Some(vec![0xff; 300]));
    let offsets: Vec<u64> = read_all(&log, 0).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 1, 3, 4]);
}
