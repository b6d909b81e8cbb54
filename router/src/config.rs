//! The router's settings: read once, checked once, and then real types.
//!
//! Owns every section that the contract gives the router, with units, bounds and defaults. Nothing is silently ignored. Keys
//! and secrets come in from files or the file itself and never appear in `Debug` or a log. Called by `main.rs` and, in standalone, by the gateway's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub mod alerts;
pub mod cassandra;
mod email;
pub mod file;
mod otp;
mod outbox;
pub mod provider;
pub mod service;
mod templates;

pub use alerts::Webhook;
pub use cassandra::{CassandraConfig, CassandraSection, Replication};
pub use email::UnsubscribeConfig;
pub use file::{KafkaSection, Limits, RedisSection, SECTIONS, Settings, SourceSection};
pub use otp::OtpConfig;
pub use outbox::Unkept;
pub use provider::{
    ApnsConfig, Endpoint, FcmConfig, Hidden, ProviderConfig, Sender, SesConfig, SmtpConfig, SmtpSecurity,
    TwilioConfig, WebPushConfig, topic_region,
};
pub use service::{Secret, Service};

use file::{Buffer, ServiceSection};

use crate::limits::REDIS_LIST_DEFAULT;
use crate::outcomes::Hearer;
use crate::templates::Templates;

/// Where a router listens when nothing else is said.
pub const API_DEFAULT: &str = "127.0.0.1:8090";
pub const ADMIN_DEFAULT: &str = "127.0.0.1:9102";
pub const LINKS_DEFAULT: &str = "127.0.0.1:9090";

/// Partitions of the embedded journal: enough to keep the arithmetic of partitions in use, with one owner for all.
pub const EMBEDDED_PARTITIONS: u32 = 16;
/// Folders of the data folder.
pub const JOURNAL_DIR: &str = "journal";
pub const STORE_DIR: &str = "store";

/// What a router runs by.
#[derive(Debug, Clone)]
pub struct Config {
    pub api: SocketAddr,
    pub admin: SocketAddr,
    pub links: SocketAddr,
    /// Where the embedded journal and store live.
    pub data: PathBuf,
    /// Origins whose pages may call the API.
    pub allowed_origins: Vec<String>,
    pub services: Vec<Arc<Service>>,
    /// How many routers share the work. What is limited for all of them is shared out evenly in `services` and `limits`.
    pub routers: u32,
    pub limits: Limits,
    pub journal: JournalConfig,
    /// Where everything is that any router may be asked for; `None`: this router's store alone.
    pub cassandra: Option<CassandraConfig>,
    pub redis: Option<RedisConfig>,
    pub idempotency: Duration,
    /// How long a notification without a life of its own stays in an inbox.
    pub inbox_kept: Duration,
    /// How long it can be looked up what became of a notification.
    pub ledger_kept: Duration,
    /// The accounts with those who carry letters out.
    pub providers: ProviderConfig,
    /// What becomes of channels that no account carries.
    pub unkept: Unkept,
    /// One-use codes, and when a provider is thought to be broken.
    pub otp: OtpConfig,
    /// Where mails say how to have no more of them.
    pub unsubscribe: Option<UnsubscribeConfig>,
    /// The operator's own words for what goes out.
    pub templates: Option<Arc<Templates>>,
    /// Who is told of alerts.
    pub webhook: Option<Webhook>,
    /// Whether this is the `dev` set-up: a known key, so loopback only.
    pub standalone: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalConfig {
    /// The segment log in `<data>/journal`.
    Embedded {
        bytes_max: u64,
        critical_reserve_bytes: u64,
    },
    Kafka {
        kafka: Box<KafkaSection>,
        sources: Vec<SourceSection>,
        buffer: BufferConfig,
    },
}

/// The segment log that takes what Kafka does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferConfig {
    pub dir: PathBuf,
    pub bytes_max: u64,
    pub critical_reserve_bytes: u64,
}

/// The Redis that critical records of an outage are copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub section: RedisSection,
    /// Records in its list.
    pub records_max: u64,
}

/// Settings that cannot be used; one line for a person. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Settings(#[from] ops::settings::SettingsError),
    #[error("[{section}] {key}: {why}")]
    Wrong { section: String, key: String, why: String },
    #[error("{0}")]
    Kafka(String),
    #[error("{0}")]
    Redis(String),
    #[error("{}: {why}", file.display())]
    Secret { file: PathBuf, why: String },
    #[error("[templates] {}: {why}", file.display())]
    Template { file: PathBuf, why: String },
}

impl ConfigError {
    pub(crate) fn wrong(section: &str, key: &str, why: impl Into<String>) -> ConfigError {
        ConfigError::Wrong { section: section.to_owned(), key: key.to_owned(), why: why.into() }
    }
}

impl Config {
    /// Reads `file` and the environment. `data` (from `--data`) wins over `[router] data`.
    ///
    /// `standalone`: gateway and router are one process; without `[[router.service]]` there is the service `dev`
    /// with the key `dev`. A separate router must name its services.
    pub fn read(file: Option<&Path>, data: Option<&Path>, standalone: bool) -> Result<Config, ConfigError> {
        Config::from_settings(&ops::settings::read(file, &SECTIONS)?, data, standalone)
    }

    /// Everything on free ports of loopback, with the service `dev`: for tests and for a second router on a machine.
    pub fn on_free_ports(data: &Path) -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config::from_settings(&Settings::default(), Some(data), true)
            .expect("the defaults are settings that can be used");
        Config { api: any, admin: any, links: any, ..config }
    }

    /// Checks every bound.
    pub fn from_settings(
        settings: &Settings,
        data: Option<&Path>,
        standalone: bool,
    ) -> Result<Config, ConfigError> {
        settings.check_bounds()?;
        settings.check_several(standalone)?;
        let router = &settings.router;
        let services = services(&router.service, standalone, router.routers)?;
        let data = data.map_or_else(|| PathBuf::from(&router.data), Path::to_path_buf);
        let providers = settings.provider.checked()?.of_one_of(router.routers);
        let unkept = Unkept::of(settings, &providers, standalone)?;
        let config = Config {
            api: address("api", &router.api)?,
            admin: address("admin", &router.admin)?,
            links: address("links", &router.links)?,
            allowed_origins: router.allowed_origins.clone(),
            standalone: services.iter().any(|service| service.is_dev()),
            services,
            routers: router.routers,
            limits: Limits {
                global_per_s: share(router.limits.global_per_s, router.routers),
                ..router.limits.clone()
            },
            journal: journal(settings, &data),
            cassandra: settings.cassandra.as_ref().map(CassandraSection::checked).transpose()?,
            redis: redis(settings),
            data,
            idempotency: Duration::from_secs(3_600 * u64::from(settings.retention.idempotency_h)),
            inbox_kept: days(settings.retention.inbox_days),
            ledger_kept: days(settings.retention.ledger_days),
            providers,
            unkept,
            otp: settings.otp.checked()?,
            unsubscribe: settings.email.checked()?,
            templates: settings.templates.checked()?,
            webhook: settings.alerts.checked()?,
        };
        config.check_exposure()?;
        Ok(config)
    }

    /// A key that everybody knows and links that prove nothing stay on this machine.
    fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.standalone && !self.api.ip().is_loopback() {
            let why =
                format!("{} is not loopback, and the service `dev` has a key that everybody knows", self.api);
            return Err(ConfigError::wrong("router", "api", why));
        }
        if !self.links.ip().is_loopback() {
            let why = format!(
                "{} is not loopback: links off this machine need a shared key, which is not built yet",
                self.links
            );
            return Err(ConfigError::wrong("router", "links", why));
        }
        Ok(())
    }

    /// What differs in `other` and is read at a start only. `[router]` and the like, by the names of the settings file.
    pub fn waiting_for_a_start(&self, other: &Config) -> Vec<&'static str> {
        let differing = [
            ("[router] api", self.api != other.api),
            ("[router] admin", self.admin != other.admin),
            ("[router] links", self.links != other.links),
            ("[router] data", self.data != other.data),
            ("[router] routers", self.routers != other.routers),
            ("[router] outbox", self.unkept != other.unkept),
            ("[router.buffer] or [kafka]", self.journal != other.journal),
            ("[cassandra]", self.cassandra != other.cassandra),
            ("[redis]", self.redis != other.redis),
            ("[retention] idempotency_h", self.idempotency != other.idempotency),
            ("[retention] inbox_days", self.inbox_kept != other.inbox_kept),
            ("[retention] ledger_days", self.ledger_kept != other.ledger_kept),
            ("[provider.*] accounts that came or went", self.providers.names() != other.providers.names()),
            ("whose callbacks are believed", !self.providers.believes_as(&other.providers)),
            ("[otp]", self.otp != other.otp),
            ("[email]", self.unsubscribe != other.unsubscribe),
            ("[alerts]", self.webhook != other.webhook),
            ("[[router.service]] webhooks that came or went", self.services_told() != other.services_told()),
            ("the console's key", self.standalone != other.standalone),
        ];
        differing.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Services that are told what became of their notifications, and where.
    pub fn told_of_outcomes(&self) -> Vec<(&str, &Webhook)> {
        let services = self.services.iter();
        services.filter_map(|service| Some((service.name.as_str(), service.webhook.as_ref()?))).collect()
    }

    fn services_told(&self) -> Vec<&str> {
        let mut services: Vec<_> = self.told_of_outcomes().into_iter().map(|(service, _)| service).collect();
        services.sort_unstable();
        services
    }

    /// Who is told of outcomes.
    pub fn hearers(&self) -> Vec<Hearer> {
        let services = self.told_of_outcomes().into_iter();
        let services = services.map(|(service, _)| Hearer::Service(service.to_owned()));
        let topic = match &self.journal {
            JournalConfig::Kafka { kafka, .. } if kafka.outcomes => Some(Hearer::Topic),
            _ => None,
        };
        services.chain(topic).collect()
    }

    pub fn journal_dir(&self) -> PathBuf {
        self.data.join(JOURNAL_DIR)
    }

    pub fn store_dir(&self) -> PathBuf {
        self.data.join(STORE_DIR)
    }

    /// The key that codes are sealed with, if the settings name none.
    pub fn otp_key(&self) -> PathBuf {
        self.data.join("otp.key")
    }

    /// The key that links in mails are sealed with, if the settings name none.
    pub fn unsubscribe_key(&self) -> PathBuf {
        self.data.join("unsubscribe.key")
    }

    pub fn backups_dir(&self) -> PathBuf {
        self.data.join("backups")
    }

    pub fn partitions(&self) -> u32 {
        match &self.journal {
            JournalConfig::Embedded { .. } => EMBEDDED_PARTITIONS,
            JournalConfig::Kafka { kafka, .. } => kafka.partitions,
        }
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(24 * 3_600 * u64::from(count))
}

fn address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        ConfigError::wrong("router", key, format!("{text:?} is not an address like 127.0.0.1:8090"))
    })
}

/// One router's part of what all have together.
fn share(whole: u32, routers: u32) -> u32 {
    (whole / routers).max(1)
}

fn services(
    sections: &[ServiceSection],
    standalone: bool,
    routers: u32,
) -> Result<Vec<Arc<Service>>, ConfigError> {
    if sections.is_empty() {
        return if standalone {
            Ok(vec![Arc::new(Service::dev())])
        } else {
            Err(ConfigError::wrong(
                "router",
                "service",
                "a separate router needs at least one [[router.service]] with a name and a key",
            ))
        };
    }
    let mut services: Vec<Arc<Service>> = Vec::with_capacity(sections.len());
    for section in sections {
        let mut service = Service::from_section(section)?;
        service.per_minute = service.per_minute.map(|whole| share(whole, routers));
        if services.iter().any(|other| other.name == service.name) {
            return Err(ConfigError::wrong(
                "router.service",
                "name",
                format!("{:?} stands twice", service.name),
            ));
        }
        if services.iter().any(|other| other.secret.same_as(&service.secret)) {
            let why = format!("the key of {:?} is another service's too", service.name);
            return Err(ConfigError::wrong("router.service", "key", why));
        }
        services.push(Arc::new(service));
    }
    Ok(services)
}

fn redis(settings: &Settings) -> Option<RedisConfig> {
    let records_max = settings.router.buffer.redis_max.unwrap_or(REDIS_LIST_DEFAULT);
    settings.redis.clone().map(|section| RedisConfig { section, records_max })
}

fn journal(settings: &Settings, data: &Path) -> JournalConfig {
    let Buffer { dir, bytes_max, critical_reserve_bytes, .. } = &settings.router.buffer;
    let (bytes_max, critical_reserve_bytes) = (*bytes_max, *critical_reserve_bytes);
    match &settings.kafka {
        Some(kafka) if !kafka.brokers.is_empty() => {
            let dir = dir.as_ref().map_or_else(|| data.join("buffer"), PathBuf::from);
            let buffer = BufferConfig { dir, bytes_max, critical_reserve_bytes };
            JournalConfig::Kafka { kafka: Box::new(kafka.clone()), sources: kafka.source.clone(), buffer }
        }
        _ => JournalConfig::Embedded { bytes_max, critical_reserve_bytes },
    }
}
