//! Which journal a router has: the embedded one in its folder, or Kafka; and, with Kafka, what else comes from there.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::StartError;
use crate::config::{Config, JournalConfig};
use crate::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use crate::journal::{Journal, JournalReader};

/// The journal's two halves, and what came with them.
pub struct JournalParts {
    pub journal: Arc<dyn Journal>,
    pub reader: Box<dyn JournalReader>,
    #[cfg(feature = "kafka")]
    pub kafka: Option<super::kafka::KafkaParts>,
}

impl std::fmt::Debug for JournalParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalParts").field("journal", &self.journal.name()).finish_non_exhaustive()
    }
}

impl JournalParts {
    /// A journal that stands alone.
    pub fn new(journal: Arc<dyn Journal>, reader: Box<dyn JournalReader>) -> JournalParts {
        JournalParts {
            journal,
            reader,
            #[cfg(feature = "kafka")]
            kafka: None,
        }
    }
}

/// Opens what the settings say.
pub(super) fn open(config: &Config, runtime: &Runtime) -> Result<JournalParts, StartError> {
    match &config.journal {
        JournalConfig::Embedded { bytes_max, critical_reserve_bytes } => {
            let limits = EmbeddedLimits {
                bytes_max: *bytes_max,
                critical_reserve_bytes: *critical_reserve_bytes,
                ..EmbeddedLimits::default()
            };
            embedded(config, limits)
        }
        #[cfg(feature = "kafka")]
        JournalConfig::Kafka { kafka, sources } => super::kafka::open(kafka, sources, runtime),
        #[cfg(not(feature = "kafka"))]
        JournalConfig::Kafka { .. } => {
            let _kafka_would_need_it = runtime;
            Err(StartError::Kafka("this build is without Kafka: leave [kafka] out".to_owned()))
        }
    }
}

fn embedded(config: &Config, limits: EmbeddedLimits) -> Result<JournalParts, StartError> {
    let dir = config.journal_dir();
    std::fs::create_dir_all(&dir).map_err(|why| StartError::Data { dir: dir.clone(), why })?;
    let (journal, reader, report) = EmbeddedJournal::open(&dir, config.partitions(), limits)?;
    if report.is_clean() {
        tracing::info!(waiting = report.waiting, "journal open");
    } else {
        tracing::warn!(?report, "the journal was damaged; what could be read is read");
    }
    Ok(JournalParts::new(Arc::new(journal), Box::new(reader)))
}
