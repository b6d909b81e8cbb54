//! How much waits in our topics, as the consumer's statistics tell it once a second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use rdkafka::Statistics;
use serde::Serialize;
use wire::message::Priority;

use super::config::Topics;

/// One partition of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LaneLag {
    pub priority: Priority,
    pub partition: u32,
    /// The first offset that is not committed; 0 when nothing was yet.
    pub committed: u64,
    /// The offset that the next record gets.
    pub end: u64,
}

impl LaneLag {
    pub fn lag(&self) -> u64 {
        self.end.saturating_sub(self.committed)
    }
}

#[derive(Debug, Default)]
pub(super) struct LagTable {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<(Priority, u32), LaneLag>,
    /// Committed by transactions, of which the consumer knows nothing.
    committed: BTreeMap<(Priority, u32), u64>,
}

impl LagTable {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding the table")
    }

    pub(super) fn rows(&self) -> Vec<LaneLag> {
        let Table { rows, committed } = &*self.table();
        let row = |(lane, row): (&(Priority, u32), &LaneLag)| {
            let ours = committed.get(lane).copied().unwrap_or(0);
            LaneLag { committed: row.committed.max(ours), ..*row }
        };
        rows.iter().map(row).collect()
    }

    pub(super) fn total(&self) -> u64 {
        self.rows().iter().map(LaneLag::lag).sum()
    }

    /// Partitions are no longer ours; another router counts them.
    pub(super) fn clear(&self) {
        *self.table() = Table::default();
    }

    /// Next offsets that a transaction brought.
    pub(super) fn committed(&self, offsets: &BTreeMap<(Priority, u32), u64>) {
        self.table().committed.extend(offsets);
    }

    pub(super) fn note(&self, statistics: &Statistics, topics: &Topics) {
        let rows = &mut self.table().rows;
        for (name, topic) in &statistics.topics {
            let Some(priority) = topics.priority_of(name) else { continue };
            for (partition, numbers) in &topic.partitions {
                // -1 is librdkafka's own partition for what has none; -1001 stands for "not known yet".
                let Ok(partition) = u32::try_from(*partition) else { continue };
                let Ok(end) = u64::try_from(numbers.hi_offset) else { continue };
                if numbers.fetch_state != "active" {
                    rows.remove(&(priority, partition));
                    continue;
                }
                let first = u64::try_from(numbers.lo_offset).unwrap_or(0);
                let committed = u64::try_from(numbers.committed_offset).unwrap_or(first);
                rows.insert((priority, partition), LaneLag { priority, partition, committed, end });
            }
        }
    }
}
