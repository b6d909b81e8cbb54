//! Which journal a router has: the embedded one in its folder, or Kafka; and, with Kafka, what else comes from there.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::StartError;
use crate::config::{Config, JournalConfig};
use crate::journal::embedded::{EmbeddedJournal, EmbeddedLimits, EmbeddedReader};
use crate::journal::{Journal, JournalReader};
use crate::outage;

/// The journal's two halves, and what came with them.
pub struct JournalParts {
    pub journal: Arc<dyn Journal>,
    pub reader: Box<dyn JournalReader>,
    /// What stands in for the journal while it takes nothing.
    pub buffer: Option<outage::Disk>,
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
            buffer: None,
            #[cfg(feature = "kafka")]
            kafka: None,
        }
    }
}

/// Opens what the settings say.
pub(super) fn open(config: &Config, runtime: &Runtime) -> Result<JournalParts, StartError> {
    match &config.journal {
        JournalConfig::Embedded { bytes_max, critical_reserve_bytes } => {
            let (dir, limits) = (config.journal_dir(), limits(*bytes_max, *critical_reserve_bytes));
            let (journal, reader) = segment_log(&dir, config.partitions(), limits)?;
            Ok(JournalParts::new(Arc::new(journal), Box::new(reader)))
        }
        #[cfg(feature = "kafka")]
        JournalConfig::Kafka { kafka, sources, buffer } => {
            let is_new = !buffer.dir.exists();
            let limits = limits(buffer.bytes_max, buffer.critical_reserve_bytes);
            let mut parts = super::kafka::open(kafka, sources, runtime, (is_new, config.routers > 1))?;
            let (journal, reader) = segment_log(&buffer.dir, config.partitions(), limits)?;
            parts.buffer = Some(outage::Disk { journal, reader });
            Ok(parts)
        }
        #[cfg(not(feature = "kafka"))]
        JournalConfig::Kafka { .. } => {
            let _kafka_would_need_it = runtime;
            Err(StartError::Kafka("this build is without Kafka: leave [kafka] out".to_owned()))
        }
    }
}

fn limits(bytes_max: u64, critical_reserve_bytes: u64) -> EmbeddedLimits {
    EmbeddedLimits { bytes_max, critical_reserve_bytes, ..EmbeddedLimits::default() }
}

fn segment_log(
    dir: &Path,
    partitions: u32,
    limits: EmbeddedLimits,
) -> Result<(EmbeddedJournal, EmbeddedReader), StartError> {
    std::fs::create_dir_all(dir).map_err(|why| StartError::Data { dir: dir.to_owned(), why })?;
    let (journal, reader, report) = EmbeddedJournal::open(dir, partitions, limits)?;
    if report.is_clean() {
        tracing::info!(waiting = report.waiting, dir = %dir.display(), "journal open");
    } else {
        tracing::warn!(?report, dir = %dir.display(), "the journal was damaged; what could be read is read");
    }
    Ok((journal, reader))
}
