//! A router on Kafka: its journal, the import of foreign topics, and which partitions are its own.

use std::sync::Arc;

use ops::clock::Clock;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::StartError;
use super::board::Watch;
use super::inputs::Input;
use super::journal::JournalParts;
use super::letters::OwnerBook;
use crate::config::{KafkaSection, SourceSection};
use crate::journal::Journal;
use crate::journal::import::{Import, ImportStatus, Source};
use crate::journal::kafka::{
    Group, GroupEvent, KafkaConfig, KafkaJournal, KafkaOpenError, LaneLag, Outcomes, Ownership as Assigned,
};
use crate::limits::BROKERS_ASKED_EVERY;
use crate::owner::Ownership;

/// Events of the group that wait to be heard.
const GROUP_EVENTS_MAX: usize = 8;
/// The alert of topics that cannot be used.
const TOPICS_UNFIT: &str = "kafka_topics_unfit";

/// What comes with a journal in Kafka.
pub struct KafkaParts {
    pub(super) import: Option<Import>,
    /// Of a start during an outage: the topics have not been looked at.
    pub(super) unchecked: Option<KafkaConfig>,
    pub(super) assigned: watch::Receiver<Assigned>,
    pub(super) figures: KafkaFigures,
    /// Where outcomes go, if they do.
    pub(super) outcomes: Option<Outcomes>,
    pub(super) several: Option<SeveralParts>,
}

/// What comes with it where several routers share the work.
pub(super) struct SeveralParts {
    pub(super) config: KafkaConfig,
    pub(super) group: Group,
    pub(super) events: mpsc::Receiver<GroupEvent>,
    /// What was restored is told like what the group says, and never in its way.
    pub(super) told: mpsc::Sender<GroupEvent>,
    pub(super) news: mpsc::Receiver<GroupEvent>,
}

/// Reads Kafka's figures at any time.
#[derive(Clone)]
pub struct KafkaFigures {
    journal: Arc<KafkaJournal>,
    import: Option<Arc<dyn Fn() -> ImportStatus + Send + Sync>>,
}

impl std::fmt::Debug for KafkaParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaParts").field("figures", &self.figures).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for KafkaFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaFigures").field("journal", &self.journal).finish_non_exhaustive()
    }
}

/// What is shown of Kafka.
#[derive(Debug, Clone, Serialize)]
pub struct KafkaShown {
    pub lag: Vec<LaneLag>,
    pub import: Option<ImportStatus>,
}

impl KafkaFigures {
    pub fn read(&self) -> KafkaShown {
        KafkaShown { lag: self.journal.lag(), import: self.import.as_ref().map(|read| read()) }
    }
}

/// Connects, makes and checks topics, joins the group. `is_new`: this router has never been on this Kafka, so a broker that
/// is not there is a mistake; else it is an outage, and the disk stands in.
pub(super) fn open(
    section: &KafkaSection,
    sources: &[SourceSection],
    runtime: &Runtime,
    (is_new, is_one_of_several): (bool, bool),
) -> Result<JournalParts, StartError> {
    let fault = |why: &dyn std::fmt::Display| StartError::Kafka(why.to_string());
    let config = section.checked().map_err(|error| fault(&error))?;
    let mut unchecked = None;
    match runtime.block_on(KafkaJournal::ensure_topics(&config, is_one_of_several)) {
        Err(error @ KafkaOpenError::Unreachable { .. }) if !is_new => {
            tracing::warn!(%error, "starting without Kafka: the disk takes what comes");
            unchecked = Some(config.clone());
        }
        ensured => ensured.map_err(|error| fault(&error))?,
    }
    let _consumers_need_it = runtime.enter();
    let (told, events) = mpsc::channel(GROUP_EVENTS_MAX);
    let opened = KafkaJournal::open_on_topics(config.clone(), is_one_of_several.then_some(told));
    let (journal, reader) = opened.map_err(|error| fault(&error))?;
    let assigned = reader.ownership();
    let group = reader.group();
    let several = is_one_of_several.then(|| {
        let (told, news) = mpsc::channel(GROUP_EVENTS_MAX);
        SeveralParts { config: config.clone(), group, events, told, news }
    });
    let journal = Arc::new(journal);
    let import = match sources {
        [] => None,
        sources => Some(import(sources, &config, &journal)?),
    };
    let outcomes = section.outcomes.then(|| journal.outcomes()).transpose();
    let outcomes = outcomes.map_err(|error| fault(&error))?;
    let figures = KafkaFigures {
        journal: Arc::clone(&journal),
        import: import.as_ref().map(|import| Arc::new(import.watch()) as _),
    };
    let kafka = Some(KafkaParts { import, unchecked, assigned, figures, outcomes, several });
    Ok(JournalParts { journal, reader: Box::new(reader), buffer: None, kafka })
}

fn import(
    sources: &[SourceSection],
    config: &KafkaConfig,
    journal: &Arc<KafkaJournal>,
) -> Result<Import, StartError> {
    let sources = sources
        .iter()
        .map(Source::new)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| StartError::Kafka(error.to_string()))?;
    let letters = journal.dead_letters();
    let clock = || Clock::start().wall();
    Import::new(sources, config, Arc::clone(journal) as Arc<dyn Journal>, letters, clock)
        .map_err(|error| StartError::Kafka(error.to_string()))
}

impl KafkaParts {
    /// Starts the import and tells the owner of every new assignment. Called inside the runtime.
    pub(super) fn start(
        self,
        count: u32,
        epoch: u64,
        inputs: mpsc::Sender<Input>,
        down: watch::Receiver<bool>,
        board: Watch,
    ) {
        if let Some(import) = self.import {
            let board = board.clone();
            let book = Arc::new(OwnerBook::new(inputs.clone()));
            tokio::spawn(async move {
                if let Err(error) = import.run(down, book).await {
                    board.alert("import_ended", true, &error.to_string());
                }
            });
        }
        if let Some(config) = self.unchecked {
            tokio::spawn(check_topics(config, self.several.is_some(), board.clone()));
        }
        tokio::spawn(self.figures.journal.look_after());
        match self.several {
            Some(several) => {
                tokio::spawn(tell_group(several.news, inputs.clone()));
                tokio::spawn(tell_group(several.events, inputs))
            }
            None => tokio::spawn(tell(self.assigned, count, epoch, inputs, board)),
        };
    }
}

/// What the group says, in its order, to the owners.
async fn tell_group(mut events: mpsc::Receiver<GroupEvent>, inputs: mpsc::Sender<Input>) {
    while let Some(event) = events.recv().await {
        if inputs.send(Input::Group(event)).await.is_err() {
            return;
        }
    }
}

/// Makes and checks the topics once the brokers are there.
async fn check_topics(config: KafkaConfig, is_one_of_several: bool, board: Watch) {
    loop {
        match KafkaJournal::ensure_topics(&config, is_one_of_several).await {
            Ok(()) => return board.over(TOPICS_UNFIT),
            Err(KafkaOpenError::Unreachable { .. }) => {}
            Err(error) => board.alert(TOPICS_UNFIT, true, &error.to_string()),
        }
        tokio::time::sleep(BROKERS_ASKED_EVERY).await;
    }
}

/// A router without a coordinator keeps what it had: an empty assignment is the last known one, frozen.
async fn tell(
    mut assigned: watch::Receiver<Assigned>,
    count: u32,
    epoch: u64,
    inputs: mpsc::Sender<Input>,
    board: Watch,
) {
    while assigned.changed().await.is_ok() {
        let Assigned { generation, partitions } = assigned.borrow_and_update().clone();
        if partitions.is_empty() {
            tracing::warn!("no partition is assigned; going on with those that were");
            continue;
        }
        if partitions.len() < count as usize {
            let detail = format!("this router has {} of {count} partitions", partitions.len());
            board.alert(
                "another_router_in_the_group",
                true,
                &format!("{detail}; several routers are not built yet"),
            );
        }
        let partitions = partitions.into_iter().collect();
        let ownership = Ownership { epoch, generation, count, partitions };
        if inputs.send(Input::Ownership(ownership)).await.is_err() {
            return;
        }
    }
}
