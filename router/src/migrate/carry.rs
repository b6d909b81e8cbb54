//! The steps of a migration, in their order.

use std::path::PathBuf;
use std::thread;

use ops::clock::Clock;
use tokio::runtime::Runtime;
use wire::message::Priority;
use wire::time::Wall;

use super::offsets::Offsets;
use super::state::{Done, Migration};
use crate::config::{BufferConfig, Config, EMBEDDED_PARTITIONS, JournalConfig, KafkaSection};
use crate::journal::embedded::{EmbeddedJournal, EmbeddedLimits, LANES, OpenError};
use crate::journal::kafka::{
    CarryError, CarryReader, CarryWriter, KafkaConfig, KafkaConfigError, KafkaJournal, KafkaOpenError, Met,
};
use crate::journal::segment::LogRecord;
use crate::journal::{Journal, ReadError};
use crate::limits::{MIGRATED_AT_ONCE_BYTES_MAX, MIGRATED_AT_ONCE_MAX, MIGRATION_SETTLES_WITHIN};
use crate::node::StartError;
use crate::store::{DiskStore, Space, StoreError};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Carry,
    /// What would be carried, or what is left of it. Nothing is changed, here or there.
    Count,
    /// The journal stays the folder's own.
    Abandon,
    /// The journal is let go of as it is: a folder that has long been on Kafka, from before there was a migration.
    Leave,
}

/// What there was and what came of it, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    how: How,
    /// When the migration began, if it has.
    began_at: Option<Wall>,
    /// By lane: records that wait in the journal, and those of them that are in Kafka.
    lanes: [(u64, u64); LANES],
    /// Records of the journal that nobody can read any more.
    damaged: u64,
    /// Stand in Kafka twice: a broker took one from a process that was dead already. The router knows them by their ids.
    twice: u64,
    /// Stand behind one that came after them.
    late: u64,
}

/// Why there is no migration. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the settings have no [kafka] brokers: they say where the journal goes")]
    NoKafka,
    #[error(
        "[router] routers is above 1: several routers begin with empty folders, and one folder goes to one router"
    )]
    Several,
    #[error("{} is not the data folder of a router with a journal of its own", dir.display())]
    NoData { dir: PathBuf },
    #[error("{} is in use: stop the router that runs on it first", dir.display())]
    InUse { dir: PathBuf },
    #[error("the journal of {} is in Kafka since {at}: there is nothing to migrate", dir.display())]
    Done { dir: PathBuf, at: Wall },
    #[error("a migration of {} has begun: its journal is carried or taken back, not left", dir.display())]
    Begun { dir: PathBuf },
    #[error("no migration of {} has begun, or it is done: there is nothing to abandon", dir.display())]
    NotBegun { dir: PathBuf },
    #[error(
        "an outage of Kafka left promises in {} that the ledger does not know yet: run the router on that Kafka until \
         `outage` in /v1/status is `normal`",
        dir.display()
    )]
    Outage { dir: PathBuf },
    #[error("something is not what it was when the migration began: {0}")]
    Changed(&'static str),
    #[error("{0} records in the topics are of nobody's migration: somebody else writes there")]
    Foreign(u64),
    #[error(
        "{0} records of the journal are not in Kafka: nothing was given up; the same command goes on from there"
    )]
    Missing(u64),
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    #[error(transparent)]
    Kind(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Settings(#[from] KafkaConfigError),
    #[error("Kafka: {0}")]
    Topics(#[from] KafkaOpenError),
    #[error(transparent)]
    Kafka(#[from] CarryError),
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.how == How::Leave {
            return write!(
                f,
                "left: {} records of the journal are let go of, none was carried",
                self.sums().0
            );
        }
        if self.how == How::Abandon {
            return f.write_str(
                "abandoned: the journal is the folder's own; delete the topics before another try",
            );
        }
        if let (How::Count, Some(at)) = (self.how, self.began_at) {
            writeln!(f, "the migration began at {at} and is not done")?;
        }
        for (priority, (here, there)) in Priority::ALL.into_iter().zip(self.lanes) {
            writeln!(f, "{:<8}  {here} in the journal, {there} of them in Kafka", priority.name())?;
        }
        if self.damaged > 0 {
            writeln!(
                f,
                "{} more were in the journal and cannot be read any more; what is left of them is in its quarantine",
                self.damaged
            )?;
        }
        if self.late > 0 {
            writeln!(f, "{} stand behind one that came after them", self.late)?;
        }
        if self.twice > 0 {
            writeln!(f, "{} stand in Kafka twice; the router takes each once, by its id", self.twice)?;
        }
        let (here, there) = self.sums();
        match self.how {
            How::Count => write!(f, "{} to carry; nothing was changed", here.saturating_sub(there)),
            _ => write!(
                f,
                "done: {here} in the journal, {there} in Kafka; start the router with these settings"
            ),
        }
    }
}

impl Told {
    fn sums(&self) -> (u64, u64) {
        self.lanes.iter().fold((0, 0), |(here, there), lane| (here + lane.0, there + lane.1))
    }
}

/// Does what is asked for. The folder is locked as a running router's is.
pub fn run(config: &Config, how: How, clock: Clock) -> Result<Told, MigrateError> {
    let JournalConfig::Kafka { kafka, buffer, .. } = &config.journal else {
        return Err(MigrateError::NoKafka);
    };
    if config.routers > 1 {
        return Err(MigrateError::Several);
    }
    let folder = Folder::open(config)?;
    folder.check_outage(buffer)?;
    let standing = Migration::load(&folder.store)?.filter(|migration| !migration.is_abandoned);
    match standing {
        Some(migration @ Migration { done: None, .. }) if how == How::Abandon => folder.abandon(migration),
        None if how == How::Leave => folder.leave(clock.wall()),
        _ if how == How::Leave => Err(MigrateError::Begun { dir: folder.dir }),
        _ if how == How::Abandon => Err(MigrateError::NotBegun { dir: folder.dir }),
        Some(done @ Migration { done: Some(_), .. }) => folder.end(&done, how),
        standing => Work::new(folder, kafka, clock)?.go(standing, how),
    }
}

/// A data folder on which nothing runs.
struct Folder {
    dir: PathBuf,
    store: DiskStore,
    journal: EmbeddedJournal,
}

impl Folder {
    fn open(config: &Config) -> Result<Folder, MigrateError> {
        let dir = config.data.clone();
        if !config.store_dir().is_dir() || !config.journal_dir().is_dir() {
            return Err(MigrateError::NoData { dir });
        }
        let store = DiskStore::open(&config.store_dir()).map_err(|error| match error {
            StoreError::Locked { .. } => MigrateError::InUse { dir: dir.clone() },
            error => error.into(),
        })?;
        crate::node::check_kind(&store)?;
        let journal = open_log(&config.journal_dir(), &dir)?;
        Ok(Folder { dir, store, journal })
    }

    fn check_outage(&self, buffer: &BufferConfig) -> Result<(), MigrateError> {
        let outage = || MigrateError::Outage { dir: buffer.dir.clone() };
        if self.store.freeze().rows(Space::Buffered).next().is_some() {
            return Err(outage());
        }
        if buffer.dir.is_dir() && open_log(&buffer.dir, &self.dir)?.status().lag > 0 {
            return Err(outage());
        }
        Ok(())
    }

    /// Of an earlier time on Kafka: what waits is not carried, which is said.
    fn leave(self, now: Wall) -> Result<Told, MigrateError> {
        let journal = self.journal.spans();
        let mut left = Migration::begin(journal, (None, Default::default()), Default::default(), now);
        left.done = Some(Done { at: now, carried: [0; LANES] });
        left.save(&self.store)?;
        self.journal.give_up(journal.map(|(_, end)| end));
        let lanes = journal.map(|(first, end)| (end - first, 0));
        Ok(Told { how: How::Leave, began_at: None, lanes, damaged: 0, twice: 0, late: 0 })
    }

    fn abandon(self, mut migration: Migration) -> Result<Told, MigrateError> {
        migration.is_abandoned = true;
        migration.save(&self.store)?;
        Ok(Told {
            how: How::Abandon,
            began_at: None,
            lanes: Default::default(),
            damaged: 0,
            twice: 0,
            late: 0,
        })
    }

    /// The row says that Kafka has all: what is left is to let go of the journal, which a kill may have kept from being done.
    fn end(self, migration: &Migration, how: How) -> Result<Told, MigrateError> {
        let (Some(done), true) = (&migration.done, how == How::Carry && self.journal.status().lag > 0) else {
            let at = migration.done.as_ref().map_or(migration.begun_at, |done| done.at);
            return Err(MigrateError::Done { dir: self.dir, at });
        };
        self.journal.give_up(migration.journal.map(|(_, end)| end));
        let lanes = done.carried.map(|carried| (carried, carried));
        Ok(Told { how, began_at: Some(migration.begun_at), lanes, damaged: 0, twice: 0, late: 0 })
    }
}

fn open_log(log: &std::path::Path, dir: &std::path::Path) -> Result<EmbeddedJournal, MigrateError> {
    let opened = EmbeddedJournal::open(log, EMBEDDED_PARTITIONS, EmbeddedLimits::default());
    let (journal, _reader, report) = opened.map_err(|error| match error {
        OpenError::Locked { .. } => MigrateError::InUse { dir: dir.to_owned() },
        error => error.into(),
    })?;
    if !report.is_clean() {
        tracing::warn!(?report, dir = %log.display(), "the log was damaged; what could be read is read");
    }
    Ok(journal)
}

/// What was read back from the topics.
struct Found {
    lanes: [Offsets; LANES],
    twice: u64,
    late: u64,
}

/// A folder and its Kafka.
struct Work {
    folder: Folder,
    config: KafkaConfig,
    reader: CarryReader,
    runtime: Runtime,
    clock: Clock,
}

impl Work {
    fn new(folder: Folder, kafka: &KafkaSection, clock: Clock) -> Result<Work, MigrateError> {
        let config = kafka.checked()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(MigrateError::Threads)?;
        let reader = CarryReader::new(&config, clock).map_err(CarryError::from)?;
        Ok(Work { folder, config, reader, runtime, clock })
    }

    fn go(self, standing: Option<Migration>, how: How) -> Result<Told, MigrateError> {
        if how == How::Count {
            return self.count(standing.as_ref());
        }
        self.runtime.block_on(KafkaJournal::ensure_topics(&self.config, false))?;
        self.reader.check_group()?;
        let migration = match standing {
            Some(standing) => self.resume(standing)?,
            None => self.begin()?,
        };
        let before = self.read_back(&migration)?;
        let here = self.runtime.block_on(self.carry(&migration, &before))?;
        let found = self.read_back(&migration)?;
        let missing = here.iter().zip(&found.lanes).map(|(here, there)| here.lacking_in(there)).sum();
        if missing > 0 {
            return Err(MigrateError::Missing(missing));
        }
        // A router that came and went meanwhile has read what is ours to decide.
        self.check_unread(&migration)?;
        self.end(migration, &here, &found)
    }

    /// Nobody is in the group, and nobody has read what was carried.
    fn check_unread(&self, migration: &Migration) -> Result<(), MigrateError> {
        self.reader.check_group()?;
        for (lane, priority) in Priority::ALL.into_iter().enumerate() {
            self.reader.check_unread(priority, &migration.topics[lane])?;
        }
        Ok(())
    }

    fn kafka(&self) -> (Option<String>, [String; LANES]) {
        (self.reader.cluster(), self.config.topics().lanes().map(str::to_owned))
    }

    /// Without Kafka being changed.
    fn count(&self, standing: Option<&Migration>) -> Result<Told, MigrateError> {
        let there = self.runtime.block_on(KafkaJournal::look_at_topics(&self.config))?;
        let spans = self.folder.journal.spans();
        let found = if let Some(migration) = standing {
            self.check_same(migration)?;
            self.read_back(migration)?.lanes
        } else {
            self.reader.check_group()?;
            for priority in Priority::ALL {
                if there.iter().any(|topic| topic == self.config.topics().lane(priority)) {
                    self.reader.end_of_empty(priority)?;
                }
            }
            spans.map(Offsets::of)
        };
        let mut here = spans.map(Offsets::of);
        self.runtime.block_on(self.each_batch(async |priority, records: &[LogRecord]| {
            note(&mut here[priority as usize], records);
            Ok(())
        }))?;
        let began_at = standing.map(|migration| migration.begun_at);
        Ok(Told { began_at, ..self.told(How::Count, &here, &found, (0, 0)) })
    }

    fn ends(&self) -> Result<[Vec<u64>; LANES], MigrateError> {
        let mut ends: [Vec<u64>; LANES] = Default::default();
        for (lane, priority) in Priority::ALL.into_iter().enumerate() {
            ends[lane] = self.reader.end_of_empty(priority)?;
        }
        Ok(ends)
    }

    fn begin(&self) -> Result<Migration, MigrateError> {
        let (spans, kafka) = (self.folder.journal.spans(), self.kafka());
        let migration = Migration::begin(spans, kafka, self.ends()?, self.clock.wall());
        migration.save(&self.folder.store)?;
        Ok(migration)
    }

    /// What a process that was killed had sent may still be with a broker, which takes it or not within this time.
    fn resume(&self, migration: Migration) -> Result<Migration, MigrateError> {
        self.check_same(&migration)?;
        self.check_unread(&migration)?;
        thread::sleep(MIGRATION_SETTLES_WITHIN);
        Ok(migration)
    }

    fn check_same(&self, migration: &Migration) -> Result<(), MigrateError> {
        if self.folder.journal.spans() != migration.journal {
            return Err(MigrateError::Changed("it has other records"));
        }
        let partitions = self.config.partitions() as usize;
        if migration.topics.iter().any(|ends| ends.len() != partitions) {
            return Err(MigrateError::Changed("[kafka] partitions was another number"));
        }
        let (cluster, names) = self.kafka();
        if migration.names != names {
            return Err(MigrateError::Changed("[kafka.topics] named other lanes"));
        }
        if migration.cluster.is_some() && migration.cluster != cluster {
            return Err(MigrateError::Changed("it was on its way to another Kafka"));
        }
        Ok(())
    }

    fn read_back(&self, migration: &Migration) -> Result<Found, MigrateError> {
        let mut found = Found { lanes: migration.journal.map(Offsets::of), twice: 0, late: 0 };
        let mut foreign = 0;
        for (lane, priority) in Priority::ALL.into_iter().enumerate() {
            let mut newest = vec![None; migration.topics[lane].len()];
            self.reader.read_back(priority, &migration.topics[lane], migration.id, |met| match met {
                Met::Carried { partition, offset } => match found.lanes[lane].add(offset) {
                    None => foreign += 1,
                    Some(false) => found.twice += 1,
                    Some(true) => {
                        let newest = &mut newest[partition as usize];
                        found.late += u64::from(*newest > Some(offset));
                        *newest = Some(offset).max(*newest);
                    }
                },
                Met::Foreign => foreign += 1,
            })?;
        }
        if foreign > 0 { Err(MigrateError::Foreign(foreign)) } else { Ok(found) }
    }

    /// Appends what is not there. Gives back all that could be read in the journal.
    async fn carry(&self, migration: &Migration, before: &Found) -> Result<[Offsets; LANES], MigrateError> {
        let writer = CarryWriter::new(&self.config, migration.id).map_err(CarryError::from)?;
        let mut here = migration.journal.map(Offsets::of);
        self.each_batch(async |priority, records: &[LogRecord]| {
            let lane = priority as usize;
            note(&mut here[lane], records);
            let missing: Vec<LogRecord> =
                records.iter().filter(|record| !before.lanes[lane].has(record.offset)).cloned().collect();
            Ok(writer.append(priority, &missing).await?)
        })
        .await?;
        Ok(here)
    }

    /// The whole journal, the most urgent lane first.
    async fn each_batch(
        &self,
        mut each: impl AsyncFnMut(Priority, &[LogRecord]) -> Result<(), MigrateError>,
    ) -> Result<(), MigrateError> {
        let spans = self.folder.journal.spans();
        for priority in Priority::ALL {
            let mut lane = self.folder.journal.follow(priority);
            while lane.next_offset() < spans[priority as usize].1 {
                let before = lane.next_offset();
                let records = lane.read(MIGRATED_AT_ONCE_MAX, MIGRATED_AT_ONCE_BYTES_MAX).await?;
                each(priority, &records).await?;
                if records.is_empty() && lane.next_offset() == before {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The row first: from then on the journal is no longer needed, and a start on Kafka is right.
    fn end(
        &self,
        migration: Migration,
        here: &[Offsets; LANES],
        found: &Found,
    ) -> Result<Told, MigrateError> {
        let told = self.told(How::Carry, here, &found.lanes, (found.twice, found.late));
        let carried = std::array::from_fn(|lane| found.lanes[lane].count());
        let mut done = migration;
        done.done = Some(Done { at: self.clock.wall(), carried });
        done.save(&self.folder.store)?;
        self.folder.journal.give_up(done.journal.map(|(_, end)| end));
        Ok(told)
    }

    fn told(&self, how: How, here: &[Offsets; LANES], found: &[Offsets; LANES], odd: (u64, u64)) -> Told {
        let lanes = std::array::from_fn(|lane| (here[lane].count(), found[lane].count()));
        let spans = self.folder.journal.spans();
        let lost = |(lane, (first, end)): (usize, (u64, u64))| end - first - here[lane].count();
        let damaged = spans.into_iter().enumerate().map(lost).sum();
        Told { how, began_at: None, lanes, damaged, twice: odd.0, late: odd.1 }
    }
}

fn note(lane: &mut Offsets, records: &[LogRecord]) {
    for record in records {
        lane.add(record.offset);
    }
}
