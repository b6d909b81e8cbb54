//! A journal in memory: lanes by priority and partition, sequences without gaps, offsets that rise, and what was
//! committed. It survives crashes; what was read and not committed comes again.

use std::collections::BTreeMap;

use router::journal::{Entry, Position};
use router::record::{RECORD_VERSION, Record, Request, Sequence};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

pub(crate) const PARTITIONS: u32 = 4;
/// Entries read at once.
const READ_MAX: usize = 16;

type Lane = (Priority, u32);

#[derive(Debug, Default)]
pub(crate) struct Journal {
    lanes: BTreeMap<Lane, Vec<Record>>,
    read: BTreeMap<Lane, usize>,
    committed: BTreeMap<Lane, usize>,
    boot: u64,
    sequences: BTreeMap<u32, u64>,
    /// One record vanishes, to see that the checks find it.
    pub(crate) planted_loss: bool,
}

impl Journal {
    /// A new start of the ingest process, and of the reader.
    pub(crate) fn start(&mut self, boot: u64) {
        self.boot = boot;
        self.sequences.clear();
        self.read = self.committed.clone();
    }

    pub(crate) fn append(&mut self, id: Uuid, accepted_at: Wall, request: Request) {
        let partition = Record::partition(&request.to, PARTITIONS);
        let seq = self.sequences.entry(partition).or_insert(0);
        *seq += 1;
        let sequence = Sequence { boot: self.boot, partition, seq: *seq };
        let priority = request.priority;
        let record =
            Record { v: RECORD_VERSION, id, service: "sim".to_owned(), accepted_at, sequence, request };
        if std::mem::take(&mut self.planted_loss) {
            return;
        }
        self.lanes.entry((priority, partition)).or_default().push(record);
    }

    /// The next entries, most urgent lanes first.
    pub(crate) fn read(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (lane, records) in &self.lanes {
            let from = self.read.entry(*lane).or_insert(0);
            while entries.len() < READ_MAX && *from < records.len() {
                let position = Position { priority: lane.0, partition: lane.1, offset: *from as u64 };
                entries.push(Entry { position, record: Ok(records[*from].clone()) });
                *from += 1;
            }
        }
        entries
    }

    pub(crate) fn commit(&mut self, position: Position) {
        let committed = self.committed.entry((position.priority, position.partition)).or_insert(0);
        *committed = (*committed).max(position.offset as usize + 1);
    }

    /// Records that are not committed.
    pub(crate) fn lag(&self) -> usize {
        let committed = |lane: &Lane| self.committed.get(lane).copied().unwrap_or(0);
        self.lanes.iter().map(|(lane, records)| records.len() - committed(lane)).sum()
    }

    pub(crate) fn has_more(&self) -> bool {
        self.lanes.iter().any(|(lane, records)| self.read.get(lane).copied().unwrap_or(0) < records.len())
    }
}
