//! How far the journal of a data folder is on its way to Kafka: one row of the store, and what follows for a start.
//!
//! Owns the row. A start is refused where it would leave records behind: on Kafka while the folder's own journal has
//! some, on the own journal once they are in Kafka, on either in the middle. Called by `migrate` and at a router's start.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::Wall;

use crate::config::{Config, EMBEDDED_PARTITIONS, JournalConfig};
use crate::journal::embedded::{EmbeddedJournal, EmbeddedLimits, LANES, OpenError};
use crate::store::{Batch, DiskStore, Space, Store, StoreError};

/// Where the row stands.
const KEY: &[u8] = b"node/migration";
const VERSION: u8 = 1;

/// A migration that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Migration {
    v: u8,
    /// Stands in every record that was carried.
    pub(super) id: Uuid,
    pub(super) begun_at: Wall,
    /// By lane: what of the journal is carried, from the first offset to before the second.
    pub(super) journal: [(u64, u64); LANES],
    /// By lane and partition: where the topics ended before.
    pub(super) topics: [Vec<u64>; LANES],
    /// Which Kafka: the cluster's own id, if it tells one, and the lanes' names.
    #[serde(default)]
    pub(super) cluster: Option<String>,
    #[serde(default)]
    pub(super) names: [String; LANES],
    /// It was taken back: the journal is the folder's own, and the topics may have some of it.
    #[serde(default)]
    pub(super) is_abandoned: bool,
    /// Kafka has all of it, which was counted.
    pub(super) done: Option<Done>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) at: Wall,
    /// Records, by lane.
    pub(super) carried: [u64; LANES],
}

impl Migration {
    /// Not kept yet.
    pub(super) fn begin(
        journal: [(u64, u64); LANES],
        (cluster, names): (Option<String>, [String; LANES]),
        topics: [Vec<u64>; LANES],
        now: Wall,
    ) -> Migration {
        let id = Uuid::new_v4();
        Migration {
            v: VERSION,
            id,
            begun_at: now,
            journal,
            topics,
            cluster,
            names,
            is_abandoned: false,
            done: None,
        }
    }

    pub(super) fn load(store: &DiskStore) -> Result<Option<Migration>, StoreError> {
        let damaged = |what: String| StoreError::Damaged { space: Space::Documents, what };
        let Some(row) = store.get(Space::Documents, KEY)? else { return Ok(None) };
        let found: Migration =
            serde_json::from_slice(&row).map_err(|error| damaged(format!("the migration: {error}")))?;
        if found.v == VERSION {
            Ok(Some(found))
        } else {
            Err(damaged(format!("a migration of version {}", found.v)))
        }
    }

    /// On the disk when it returns, and with it all that the store took before.
    pub(super) fn save(&self, store: &DiskStore) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let row = serde_json::to_vec(self).expect("numbers and names");
        batch.put(Space::Documents, KEY, row);
        store.commit(&batch)?;
        store.persist()
    }
}

/// Why a router does not start on a folder. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    #[error(
        "{waiting} records wait in {} and would stay there: with [kafka] the journal is Kafka's. Carry them over first: \
         `router migrate --config FILE` (where this folder was on Kafka before and they are of a time before that: `--leave`)",
        dir.display()
    )]
    Waiting { waiting: u64, dir: PathBuf },
    #[error(
        "the journal of {} is on its way to Kafka since {since}: end that with `router migrate --config FILE`, or take it \
         back with `--abandon`",
        data.display()
    )]
    OnItsWay { data: PathBuf, since: Wall },
    #[error(
        "a migration of {} to Kafka was abandoned, and the topics may have some of its records: delete the topics, then carry the \
         journal over with `router migrate --config FILE`",
        data.display()
    )]
    Abandoned { data: PathBuf },
    #[error("the journal of {} went to the topics {names} at {at}, which [kafka.topics] does not name", data.display())]
    OtherTopics { data: PathBuf, names: String, at: Wall },
    #[error("the journal of {} went to Kafka at {at}: the settings need the [kafka] of then", data.display())]
    Gone { data: PathBuf, at: Wall },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] OpenError),
}

/// Whether Kafka has, or may have, what this folder accepted.
pub(crate) fn has_begun(store: &DiskStore) -> Result<bool, StoreError> {
    Ok(Migration::load(store)?.is_some_and(|migration| !migration.is_abandoned))
}

/// Refuses a start that would leave records behind. Before anything is written.
pub(crate) fn check(config: &Config, store: &DiskStore) -> Result<(), Unfinished> {
    let (data, is_kafka) = (config.data.clone(), matches!(config.journal, JournalConfig::Kafka { .. }));
    match Migration::load(store)? {
        Some(Migration { is_abandoned: true, .. }) if is_kafka => Err(Unfinished::Abandoned { data }),
        Some(Migration { is_abandoned: true, .. }) => Ok(()),
        Some(Migration { done: None, begun_at, .. }) => Err(Unfinished::OnItsWay { data, since: begun_at }),
        Some(Migration { done: Some(done), names, .. }) if is_kafka => same_topics(config, &names, done.at),
        Some(Migration { done: Some(done), .. }) => Err(Unfinished::Gone { data, at: done.at }),
        None if is_kafka => nothing_waits(config),
        None => Ok(()),
    }
}

/// Nothing was carried where no topics are named.
fn same_topics(config: &Config, names: &[String; LANES], at: Wall) -> Result<(), Unfinished> {
    #[cfg(feature = "kafka")]
    if let JournalConfig::Kafka { kafka, .. } = &config.journal
        && names.iter().any(|name| !name.is_empty())
        && kafka.checked().is_ok_and(|kafka| kafka.topics().lanes() != names.each_ref().map(String::as_str))
    {
        return Err(Unfinished::OtherTopics { data: config.data.clone(), names: names.join(", "), at });
    }
    #[cfg(not(feature = "kafka"))]
    let _without_kafka_no_topics = (config, names, at);
    Ok(())
}

/// In the journal that the folder had before it was on Kafka, if it had one.
fn nothing_waits(config: &Config) -> Result<(), Unfinished> {
    let dir = config.journal_dir();
    if !dir.is_dir() {
        return Ok(());
    }
    let (_journal, _reader, report) =
        EmbeddedJournal::open(&dir, EMBEDDED_PARTITIONS, EmbeddedLimits::default())?;
    match report.waiting {
        0 => Ok(()),
        waiting => Err(Unfinished::Waiting { waiting, dir }),
    }
}
