//! The sections of the settings file as they are written. Checked here, turned into real types by `config`.

use serde::Deserialize;
use std::collections::BTreeMap;
use wire::message::Priority;

use crate::journal::import::Source;
#[cfg(feature = "kafka")]
use crate::journal::kafka::{KafkaConfig, KafkaConfigError};

use crate::limits::DRAIN_PER_S_DEFAULT;
use crate::record::Channel;
#[cfg(feature = "redis")]
use crate::redis::Target;

use super::alerts::AlertsSection;
use super::cassandra::CassandraSection;
use super::email::EmailSection;
use super::otp::OtpSection;
use super::provider::ProviderSection;
use super::templates::TemplatesSection;
use super::{ADMIN_DEFAULT, API_DEFAULT, ConfigError, LINKS_DEFAULT};

/// Routers that a gateway's shard can be linked to.
const ROUTERS_MAX: u64 = 64;
/// The longest that `[retention]` keeps anything.
const RETENTION_DAYS_MAX: u64 = 3_650;

/// The tables that an environment variable may address.
pub const SECTIONS: [&str; 21] = [
    "gateway",
    "router",
    "router.limits",
    "router.buffer",
    "kafka",
    "kafka.topics",
    "kafka.properties",
    "cassandra",
    "retention",
    "alerts",
    "redis",
    "otp",
    "provider.fcm",
    "provider.apns",
    "provider.webpush",
    "provider.ses",
    "provider.smtp",
    "provider.twilio",
    "email",
    "templates",
    "console",
];

/// One settings file. `[gateway]` and `[console]` are the gateway's own and are checked there: one file may serve both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    gateway: toml::Table,
    console: toml::Table,
    pub router: RouterSection,
    pub kafka: Option<KafkaSection>,
    pub cassandra: Option<CassandraSection>,
    pub retention: Retention,
    pub redis: Option<RedisSection>,
    pub provider: ProviderSection,
    pub(super) alerts: AlertsSection,
    pub(super) otp: OtpSection,
    pub(super) email: EmailSection,
    pub(super) templates: TemplatesSection,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSection {
    pub api: String,
    pub admin: String,
    pub links: String,
    pub data: String,
    /// How many routers share the work.
    pub routers: u32,
    /// Channels that are kept to look at, as no account carries them.
    pub outbox: Option<Vec<Channel>>,
    /// Origins whose pages may call the API.
    pub allowed_origins: Vec<String>,
    pub service: Vec<ServiceSection>,
    pub limits: Limits,
    pub buffer: Buffer,
}

impl Default for RouterSection {
    fn default() -> RouterSection {
        RouterSection {
            api: API_DEFAULT.to_owned(),
            admin: ADMIN_DEFAULT.to_owned(),
            links: LINKS_DEFAULT.to_owned(),
            data: "tocsin-data".to_owned(),
            routers: 1,
            outbox: None,
            allowed_origins: Vec::new(),
            service: Vec::new(),
            limits: Limits::default(),
            buffer: Buffer::default(),
        }
    }
}

/// `[[router.service]]`. Its `Debug` hides the key.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSection {
    pub name: String,
    pub key: Option<String>,
    pub key_file: Option<String>,
    /// Recipients a minute; absent: no quota.
    pub per_minute: Option<u32>,
    /// Absent: all.
    pub priorities: Option<Vec<Priority>>,
    /// May send to `all`.
    pub broadcast: bool,
    /// May read and cancel every service's notifications.
    pub operator: bool,
    /// Topics it may send to; `*` at the end of one stands for anything.
    pub topics: Vec<String>,
    /// `http://` or `https://`: is told what became of its notifications.
    pub webhook: Option<String>,
    /// What these messages are signed with.
    pub webhook_key_file: Option<String>,
}

impl std::fmt::Debug for ServiceSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSection").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `[router.limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Pushes to one user in any hour. Critical ones count but always go.
    pub push_per_user_hour: u32,
    /// Deliveries a second over all services.
    pub global_per_s: u32,
    /// Percent of `global_per_s` above which LOW is dropped.
    pub shed_low_percent: u32,
    /// Records a second that follow from the disk after an outage of Kafka, at most.
    pub drain_per_s: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            push_per_user_hour: 20,
            global_per_s: 100_000,
            shed_low_percent: 150,
            drain_per_s: DRAIN_PER_S_DEFAULT,
        }
    }
}

/// `[router.buffer]`: the bounds of the segment log, which is the embedded journal or, with Kafka, the outage buffer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Buffer {
    /// Of the outage buffer; absent: in the data folder.
    pub dir: Option<String>,
    pub bytes_max: u64,
    /// The part of `bytes_max` that only critical may fill.
    pub critical_reserve_bytes: u64,
    /// Records in the list of critical records that Redis keeps; beyond, they stand on the disk alone.
    pub redis_max: Option<u64>,
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer {
            dir: None,
            bytes_max: 16 * 1024 * 1024 * 1024,
            critical_reserve_bytes: 512 * 1024 * 1024,
            redis_max: None,
        }
    }
}

/// `[kafka]`. Its `Debug` hides the properties: passwords are among them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSection {
    /// Empty: the embedded journal.
    pub brokers: Vec<String>,
    /// Of each of our topics.
    pub partitions: u32,
    /// Our topics' names, where they are not the default ones.
    pub topics: BTreeMap<String, String>,
    /// Whether each final outcome goes to the topic `status`. Not by itself: it costs the owner half as much CPU again (`tests/campaign outcomes`).
    pub outcomes: bool,
    /// Passed through to librdkafka.
    pub properties: BTreeMap<String, String>,
    pub source: Vec<SourceSection>,
}

impl std::fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSection")
            .field("brokers", &self.brokers)
            .field("partitions", &self.partitions)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl Default for KafkaSection {
    fn default() -> KafkaSection {
        KafkaSection {
            brokers: Vec::new(),
            partitions: 16,
            topics: BTreeMap::new(),
            outcomes: false,
            properties: BTreeMap::new(),
            source: Vec::new(),
        }
    }
}

/// `[redis]`. Its `Debug` hides the addresses: passwords may be in them.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSection {
    /// `redis://`, or `rediss://` for TLS.
    pub url: Option<String>,
    /// Instead of `url`: addresses of Sentinels, and the name of the master that they watch.
    pub sentinels: Vec<String>,
    pub master: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<String>,
}

impl std::fmt::Debug for RedisSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSection").field("master", &self.master).finish_non_exhaustive()
    }
}

impl RedisSection {
    #[cfg(feature = "redis")]
    fn check(&self) -> Result<(), ConfigError> {
        self.target().map(|_| ())
    }

    #[cfg(not(feature = "redis"))]
    fn check(&self) -> Result<(), ConfigError> {
        Err(ConfigError::Redis("this build is without Redis: leave [redis] out".to_owned()))
    }

    /// Address and password, as the connection takes them.
    #[cfg(feature = "redis")]
    pub fn target(&self) -> Result<Target, ConfigError> {
        Target::new(self).map_err(|error| ConfigError::Redis(error.to_string()))
    }
}

/// `[[kafka.source]]`: a topic (or pattern) of foreign records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSection {
    pub topic: Option<String>,
    pub pattern: Option<String>,
    pub service: String,
    pub priority: Option<Priority>,
    pub category: Option<String>,
    /// `tocsin`: the records are API requests.
    pub schema: Option<String>,
    /// Our field → a JSON pointer, or `=text`.
    pub fields: BTreeMap<String, String>,
    /// Our field → a header's name.
    pub headers: BTreeMap<String, String>,
}

/// `[retention]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Days that a notification without a life of its own stays in an inbox.
    pub inbox_days: u32,
    /// Days that it can be looked up what became of a notification.
    pub ledger_days: u32,
    /// Hours that the answer under an Idempotency-Key is remembered.
    pub idempotency_h: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { inbox_days: 90, ledger_days: 30, idempotency_h: 24 }
    }
}

impl Retention {
    fn check_bounds(&self) -> Result<(), ConfigError> {
        within("retention", "inbox_days", self.inbox_days.into(), 1, RETENTION_DAYS_MAX)?;
        within("retention", "ledger_days", self.ledger_days.into(), 1, RETENTION_DAYS_MAX)?;
        within("retention", "idempotency_h", self.idempotency_h.into(), 1, 24 * 90)?;
        // A key used again is known by the ledger's row when its own is gone.
        if self.idempotency_h > 24 * self.ledger_days {
            let why = format!(
                "{} h are longer than ledger_days: a retry would be taken for a new request",
                self.idempotency_h
            );
            return Err(ConfigError::wrong("retention", "idempotency_h", why));
        }
        Ok(())
    }
}

/// A value and its bounds.
pub(super) fn within(section: &str, key: &str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::wrong(section, key, format!("{value} is not in {low}..={high}")))
    }
}

#[cfg(feature = "kafka")]
impl KafkaSection {
    /// Brokers, topics and properties, as the journal takes them.
    pub fn checked(&self) -> Result<KafkaConfig, KafkaConfigError> {
        KafkaConfig::new(&self.brokers, self.partitions, &self.topics, &self.properties)
    }
}

impl KafkaSection {
    fn check_sense(&self) -> Result<(), ConfigError> {
        if self.brokers.is_empty() && !self.source.is_empty() {
            return Err(ConfigError::wrong("kafka", "brokers", "[[kafka.source]] needs brokers"));
        }
        if self.brokers.is_empty() {
            return Ok(());
        }
        for source in &self.source {
            Source::new(source).map_err(|error| ConfigError::Kafka(error.to_string()))?;
        }
        #[cfg(feature = "kafka")]
        self.checked().map_err(|error| ConfigError::Kafka(error.to_string()))?;
        #[cfg(not(feature = "kafka"))]
        return Err(ConfigError::Kafka("this build is without Kafka: leave [kafka] out".to_owned()));
        #[cfg(feature = "kafka")]
        Ok(())
    }
}

impl Settings {
    /// What several routers on one consumer group need, and what they cannot do yet.
    pub(super) fn check_several(&self, standalone: bool) -> Result<(), ConfigError> {
        let routers = self.router.routers;
        if routers == 1 {
            return Ok(());
        }
        let kafka = self.kafka.as_ref().filter(|kafka| !kafka.brokers.is_empty());
        let why = match kafka {
            None => "several routers share a Kafka, and there is no [kafka]".to_owned(),
            Some(_) if standalone => {
                "with several each router is a process of its own, and so is each gateway: not standalone"
                    .to_owned()
            }
            Some(kafka) if kafka.partitions < routers => {
                format!("{routers} routers share {} partitions: some would have none", kafka.partitions)
            }
            Some(kafka) if kafka.outcomes => {
                "several routers cannot tell outcomes yet: leave [kafka] outcomes out".to_owned()
            }
            Some(_) if self.cassandra.is_some() => "several routers cannot use [cassandra] yet".to_owned(),
            Some(_) if self.redis.is_some() => "several routers cannot use [redis] yet".to_owned(),
            Some(_) if self.email.is_any() => "several routers cannot use [email] yet".to_owned(),
            Some(_) => {
                if let Some(told) = self.router.service.iter().find(|service| service.webhook.is_some()) {
                    let why = format!(
                        "several routers cannot tell outcomes yet: service {:?} has a webhook",
                        told.name
                    );
                    return Err(ConfigError::wrong("router", "routers", why));
                }
                let broadcasts = |service: &ServiceSection| service.broadcast || !service.topics.is_empty();
                match self.router.service.iter().find(|service| broadcasts(service)) {
                    Some(service) => format!(
                        "several routers cannot send to topics or to all yet: service {:?} has that right",
                        service.name
                    ),
                    None => return Ok(()),
                }
            }
        };
        Err(ConfigError::wrong("router", "routers", why))
    }

    pub(super) fn check_bounds(&self) -> Result<(), ConfigError> {
        let router = &self.router;
        within("router", "routers", router.routers.into(), 1, ROUTERS_MAX)?;
        let limits = &router.limits;
        within("router.limits", "push_per_user_hour", limits.push_per_user_hour.into(), 1, 100_000)?;
        within("router.limits", "global_per_s", limits.global_per_s.into(), 1, 100_000_000)?;
        within("router.limits", "shed_low_percent", limits.shed_low_percent.into(), 100, 10_000)?;
        within("router.limits", "drain_per_s", limits.drain_per_s.into(), 1, 10_000_000)?;
        let buffer = &router.buffer;
        within("router.buffer", "bytes_max", buffer.bytes_max, 1 << 20, 1 << 50)?;
        let reserve = buffer.critical_reserve_bytes;
        within("router.buffer", "critical_reserve_bytes", reserve, 0, buffer.bytes_max / 2)?;
        let has_kafka = self.kafka.as_ref().is_some_and(|kafka| !kafka.brokers.is_empty());
        if buffer.dir.is_some() && !has_kafka {
            let why = "is where records wait while Kafka is away, and there is no [kafka]: leave it out";
            return Err(ConfigError::wrong("router.buffer", "dir", why));
        }
        self.check_redis(has_kafka)?;
        self.retention.check_bounds()?;
        if let Some(kafka) = &self.kafka {
            within("kafka", "partitions", kafka.partitions.into(), 1, 10_000)?;
            kafka.check_sense()?;
        }
        for origin in &router.allowed_origins {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '*', ' '])) {
                let why = format!("{origin:?} is not an origin like https://console.example");
                return Err(ConfigError::wrong("router", "allowed_origins", why));
            }
        }
        Ok(())
    }
}

impl Settings {
    fn check_redis(&self, has_kafka: bool) -> Result<(), ConfigError> {
        let wrong = |section, key, why: &str| Err(ConfigError::wrong(section, key, why));
        if let Some(max) = self.router.buffer.redis_max {
            if self.redis.is_none() {
                return wrong(
                    "router.buffer",
                    "redis_max",
                    "bounds a list in Redis, and there is no [redis]",
                );
            }
            within("router.buffer", "redis_max", max, 1, 100_000_000)?;
        }
        let Some(redis) = &self.redis else { return Ok(()) };
        if !has_kafka {
            let why = "critical records are copied there while Kafka is away, and there is no [kafka]: leave it out";
            return Err(ConfigError::Redis(format!("[redis] {why}")));
        }
        redis.check()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, JournalConfig};
    use super::*;
    use crate::provider::way::Way;

    fn config(text: &str, standalone: bool) -> Result<Config, String> {
        let settings = ops::settings::parse(text, "router.toml", &SECTIONS, std::iter::empty())
            .map_err(|error| error.to_string())?;
        Config::from_settings(&settings, None, standalone).map_err(|error| error.to_string())
    }

    #[test]
    fn no_file_is_the_contract_s_defaults() {
        let config = config("", true).unwrap();
        assert_eq!(config.api.to_string(), "127.0.0.1:8090");
        assert_eq!(config.admin.to_string(), "127.0.0.1:9102");
        assert_eq!(config.links.to_string(), "127.0.0.1:9090");
        assert_eq!(config.limits, Limits::default());
        assert_eq!((config.limits.push_per_user_hour, config.limits.global_per_s), (20, 100_000));
        assert!(matches!(config.journal, JournalConfig::Embedded { .. }));
        assert_eq!(config.services.len(), 1);
        let days = |count: u64| std::time::Duration::from_secs(count * 24 * 3_600);
        assert_eq!((config.inbox_kept, config.ledger_kept), (days(90), days(30)));
        assert_eq!(config.idempotency, days(1));
    }

    #[test]
    fn every_value_out_of_range_has_one_clear_line() {
        let service = "[[router.service]]\nname = \"a\"\nkey = \"k\"\n";
        let cases = [
            ("[router]\napi = \"8090\"\n", "[router] api:"),
            ("[router]\nlinks = \"0.0.0.0:9090\"\n", "not loopback"),
            ("[router]\nrouters = 0\n", "[router] routers: 0 is not in 1..=64"),
            ("[router]\nrouters = 2\n", "there is no [kafka]"),
            ("[router]\nrouters = 2\n[kafka]\nbrokers = [\"a:1\"]\n", "not standalone"),
            ("[router]\nallowed_origins = [\"*\"]\n", "allowed_origins"),
            ("[router.limits]\npush_per_user_hour = 0\n", "push_per_user_hour: 0 is not in 1..=100000"),
            ("[router.limits]\nshed_low_percent = 99\n", "shed_low_percent"),
            ("[router.buffer]\nbytes_max = 1\n", "bytes_max"),
            (
                "[router.buffer]\nbytes_max = 1048576\ncritical_reserve_bytes = 1048576\n",
                "critical_reserve_bytes",
            ),
            ("[retention]\nidempotency_h = 0\n", "idempotency_h"),
            ("[retention]\ninbox_days = 0\n", "inbox_days: 0 is not in 1..=3650"),
            ("[retention]\nledger_days = 3651\n", "ledger_days: 3651 is not in 1..=3650"),
            ("[retention]\nledger_days = 1\nidempotency_h = 25\n", "longer than ledger_days"),
            ("[kafka]\nbrokers = [\"a:1\"]\npartitions = 0\n", "partitions"),
            ("[[kafka.source]]\ntopic = \"x\"\n", "needs brokers"),
            ("[redis]\nurl = \"redis://h\"\n", "there is no [kafka]"),
            ("[router.buffer]\nredis_max = 5\n", "there is no [redis]"),
            ("[kafka]\nbrokers = [\"a:1\"]\n[redis]\n", "[redis] needs `url`, or `sentinels` and `master`"),
            ("[kafka]\nbrokers = [\"a:1\"]\n[redis]\nurl = \"h\"\n", "[redis] url"),
            (
                "[kafka]\nbrokers = [\"a:1\"]\n[redis]\nurl = \"redis://h\"\n[router.buffer]\nredis_max = 0\n",
                "redis_max: 0 is not in 1..=100000000",
            ),
            ("[[router.service]]\nname = \"a\"\n", "key"),
            ("[[router.service]]\nname = \"\"\nkey = \"k\"\n", "name"),
            ("[[router.service]]\nname = \"a\"\nkey = \"k\"\nkey_file = \"f\"\n", "both"),
            ("[[router.service]]\nname = \"a\"\nkey = \"k\"\nper_minute = 0\n", "per_minute"),
            ("[[router.service]]\nname = \"a\"\nkey_file = \"/nowhere/at/all\"\n", "/nowhere/at/all"),
        ];
        for (text, says) in cases {
            let error = config(text, true).unwrap_err();
            assert!(error.contains(says), "{text}\n{error}");
            assert!(!error.contains('\n'), "one line: {error}");
        }
        let twice = format!("{service}{service}");
        assert!(config(&twice, true).unwrap_err().contains("stands twice"));
        let shared = format!("{service}[[router.service]]\nname = \"b\"\nkey = \"k\"\n");
        assert!(config(&shared, true).unwrap_err().contains("another service's"));
    }

    #[test]
    fn a_variable_of_any_section_is_read() {
        let by_variable = |variable: &str| {
            let environment = [(variable.to_owned(), "x".to_owned())].into_iter();
            let settings = ops::settings::parse("", "router.toml", &SECTIONS, environment);
            let settings = settings.unwrap_or_else(|error| panic!("{variable}: {error}"));
            Config::from_settings(&settings, None, true).unwrap_err().to_string()
        };
        let error = by_variable("TOCSIN_TEMPLATES_DIR");
        assert!(error.starts_with("[templates] x: "), "{error}");
        let error = by_variable("TOCSIN_PROVIDER_TWILIO_ACCOUNT");
        assert!(error.starts_with("[provider.twilio] account:"), "{error}");
    }

    #[test]
    fn several_routers_refuse_what_they_cannot_do() {
        let base = "[router]\nrouters = 3\n[[router.service]]\nname = \"a\"\nkey = \"k\"\nper_minute = 100\n";
        let kafka = "[kafka]\nbrokers = [\"a:1\"]\n";
        let cases = [
            (format!("{base}{kafka}partitions = 2\n"), "some would have none"),
            (format!("{base}topics = [\"t\"]\n{kafka}"), "service \"a\" has that right"),
            (format!("{base}broadcast = true\n{kafka}"), "service \"a\" has that right"),
            (format!("{base}{kafka}[redis]\nurl = \"redis://h\"\n"), "[redis] yet"),
            (format!("{base}{kafka}[email]\nunsubscribe_url = \"https://h/bye\"\n"), "[email] yet"),
            (format!("{base}{kafka}[cassandra]\nnodes = [\"h:1\"]\n"), "[cassandra] yet"),
        ];
        for (text, says) in cases {
            let error = config(&text, false).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{text}\n{error}");
        }
        let several = config(&format!("{base}{kafka}"), false).unwrap();
        assert_eq!((several.routers, several.services[0].per_minute), (3, Some(33)), "each has its share");
        assert_eq!(several.limits.global_per_s, 33_333);
        assert_eq!(several.providers.budgets[&Way::Sms].per_s, 33, "an account is shared out, too");
    }

    #[test]
    fn what_is_the_gateway_s_is_left_to_the_gateway() {
        assert!(config("[gateway]\nshards = 2\n[console]\napi = \"http://127.0.0.1:8090\"\n", true).is_ok());
    }

    #[test]
    fn a_separate_router_names_its_services() {
        assert!(config("", false).unwrap_err().contains("[[router.service]]"));
        let config = config("[[router.service]]\nname = \"shop\"\nkey = \"hush-hush\"\n", false).unwrap();
        assert!(!config.standalone);
    }

    #[test]
    fn the_known_key_stays_on_loopback() {
        let error = config("[router]\napi = \"0.0.0.0:8090\"\n", true).unwrap_err();
        assert!(error.contains("everybody knows"), "{error}");
        let named = "[router]\napi = \"0.0.0.0:8090\"\n[[router.service]]\nname = \"a\"\nkey = \"long\"\n";
        assert!(config(named, true).is_ok());
    }

    #[test]
    fn keys_never_show() {
        let config = config("[[router.service]]\nname = \"shop\"\nkey = \"hush-hush\"\n", false).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        let section = ServiceSection { key: Some("hush".to_owned()), ..ServiceSection::default() };
        assert!(!format!("{section:?}").contains("hush"));
    }

    #[test]
    fn one_file_serves_gateway_and_router() {
        assert!(
            config("[gateway]\nlisten = \"127.0.0.1:8080\"\n[gateway.tls]\ncert = \"c\"\n", true).is_ok()
        );
    }
}
