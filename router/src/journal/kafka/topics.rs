//! Our topics at start: missing ones are made, all must have the same number of partitions, and the ledger must keep what is
//! written there.
//!
//! Never changes a topic that exists: another number of partitions would send a user's records to another owner.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use super::KafkaOpenError;
use super::config::KafkaConfig;
use crate::limits::{LEDGER_DELETIONS_KEPT, LEDGER_ROW_BYTES_MAX};

/// How long the brokers may take to tell what they have.
const METADATA_PATIENCE: Duration = Duration::from_secs(10);
/// How often, and after which pauses, new topics are looked for.
const LOOKS_MAX: usize = 40;
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// The replication factor of new topics: the brokers' own `default.replication.factor`.
const BROKERS_DEFAULT: i32 = -1;

/// The longest row of the ledger as the brokers count it, with the batch around it.
const LEDGER_MESSAGE_BYTES: usize = 2 * LEDGER_ROW_BYTES_MAX;

/// What the brokers have: topic and number of partitions.
type Found = Vec<(String, usize)>;

pub(super) async fn ensure(config: &KafkaConfig, uses_ledger: bool) -> Result<(), KafkaOpenError> {
    let admin: AdminClient<DefaultClientContext> = config.admin().create()?;
    let (mut admin, mut found) = look(admin, config).await?;
    let missing: Vec<&str> = missing(config, &found).collect();
    if !missing.is_empty() {
        create(&admin, config, &missing).await?;
        for _ in 0..LOOKS_MAX {
            (admin, found) = look(admin, config).await?;
            if self::missing(config, &found).next().is_none() {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
    check(config, config.topics().all(), &found)?;
    if uses_ledger { check_ledger(&admin, config).await } else { Ok(()) }
}

/// A topic that was made by an earlier build, or by hand, may be too narrow, or forget.
async fn check_ledger(
    admin: &AdminClient<DefaultClientContext>,
    config: &KafkaConfig,
) -> Result<(), KafkaOpenError> {
    let topic = config.topics().ledger();
    let options = AdminOptions::new().request_timeout(Some(METADATA_PATIENCE));
    let asked = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
    let asked = asked.map_err(|error| unreachable(config, &error))?;
    let Some(Ok(settings)) = asked.into_iter().next() else {
        tracing::warn!(topic, "its settings may not be read: whether it keeps every row is not known");
        return Ok(());
    };
    let found = |key: &str| settings.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let wrong = |key: &'static str, wanted: String| {
        Err(KafkaOpenError::Ledger { topic: topic.to_owned(), key, found: found(key), wanted })
    };
    if found("cleanup.policy") != "compact" {
        return wrong("cleanup.policy", "compact".to_owned());
    }
    for (key, least) in [
        ("max.message.bytes", LEDGER_MESSAGE_BYTES as u128),
        ("delete.retention.ms", LEDGER_DELETIONS_KEPT.as_millis()),
    ] {
        if found(key).parse::<u128>().unwrap_or(0) < least {
            return wrong(key, format!("{least} or more"));
        }
    }
    Ok(())
}

/// Those of ours that are there. They have to fit.
pub(super) async fn look_only(config: &KafkaConfig) -> Result<Vec<String>, KafkaOpenError> {
    let (_, found) = look(config.admin().create()?, config).await?;
    check(config, config.topics().all().filter(|name| found.iter().any(|(other, _)| other == name)), &found)?;
    Ok(found
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| config.topics().all().any(|ours| ours == name))
        .collect())
}

/// Asks for all topics, because to ask for one by name may make it.
async fn look(
    admin: AdminClient<DefaultClientContext>,
    config: &KafkaConfig,
) -> Result<(AdminClient<DefaultClientContext>, Found), KafkaOpenError> {
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, METADATA_PATIENCE);
        let found = metadata.map(|metadata| {
            let known = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty());
            known.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
        });
        (admin, found)
    });
    let (admin, found) = asked.await.map_err(|error| unreachable(config, &error))?;
    Ok((admin, found.map_err(|error| unreachable(config, &error))?))
}

fn unreachable(config: &KafkaConfig, why: &dyn std::fmt::Display) -> KafkaOpenError {
    KafkaOpenError::Unreachable { brokers: config.brokers().to_owned(), why: why.to_string() }
}

fn missing<'a>(config: &'a KafkaConfig, found: &'a Found) -> impl Iterator<Item = &'a str> {
    config.topics().all().filter(|name| found.iter().all(|(other, _)| other != name))
}

async fn create(
    admin: &AdminClient<DefaultClientContext>,
    config: &KafkaConfig,
    names: &[&str],
) -> Result<(), KafkaOpenError> {
    let partitions = config.partitions().cast_signed();
    let (row_bytes, kept_ms) =
        (LEDGER_MESSAGE_BYTES.to_string(), LEDGER_DELETIONS_KEPT.as_millis().to_string());
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(BROKERS_DEFAULT));
            if *name == config.topics().ledger() { ledger(topic, &row_bytes, &kept_ms) } else { topic }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(METADATA_PATIENCE));
    for result in admin.create_topics(&topics, &options).await? {
        match result {
            Ok(name) => tracing::info!(topic = name, partitions, "made a topic"),
            // Another router was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, why)) => return Err(KafkaOpenError::Create { topic, why: why.to_string() }),
        }
    }
    Ok(())
}

/// Compacted, with room for the longest row; deletions stay for as long as a router's copy may be brought up to date.
fn ledger<'a>(topic: NewTopic<'a>, row_bytes: &'a str, kept_ms: &'a str) -> NewTopic<'a> {
    topic
        .set("cleanup.policy", "compact")
        .set("max.message.bytes", row_bytes)
        .set("delete.retention.ms", kept_ms)
}

fn check<'a>(
    config: &KafkaConfig,
    names: impl Iterator<Item = &'a str>,
    found: &Found,
) -> Result<(), KafkaOpenError> {
    let wanted = config.partitions() as usize;
    for name in names {
        let found = found.iter().find(|(other, _)| other == name).map_or(0, |(_, partitions)| *partitions);
        if found != wanted {
            return Err(KafkaOpenError::Partitions { topic: name.to_owned(), found, wanted });
        }
    }
    Ok(())
}
