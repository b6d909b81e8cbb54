//! Tells somebody outside of every alert: one message when it begins, one when it is over, in the format of Prometheus's
//! Alertmanager, which pagers and chats understand.
//!
//! Owns what was told, in memory: a restart tells what stands then. What was not taken is tried again, ever more slowly, in its
//! order, until it is, or until the alert itself is no longer kept; only what the receiver calls wrong is left out. A receiver that
//! takes nothing is an alert of its own, which is not sent. Started by the router's start.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use ops::clock::Clock;
use ring::digest;
use serde_json::{Value, json};
use tokio::time::sleep;
use wire::time::Wall;

use super::{Alert, Alerts};
use crate::config::Webhook;
use crate::limits::{WEBHOOK_ALERTS_MAX, WEBHOOK_LOOKED_EVERY, WEBHOOK_RETRY_MAX, WEBHOOK_RETRY_MIN};
use crate::node::board::{WEBHOOK_FAILS, Watch};
use crate::webhook::{self, Refusal};

/// Alertmanager's word for "not yet".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Told alerts by name and beginning, and whether their end was told.
#[derive(Debug, Default)]
struct Told(BTreeMap<(String, Wall), bool>);

/// An alert begins, or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    alert: Alert,
    is_over: bool,
}

impl Told {
    /// What nobody was told yet, oldest first. The end of an alert comes after its beginning was told.
    fn news(&mut self, alerts: &Alerts, max: usize) -> Vec<News> {
        let told_of: Vec<&Alert> = alerts.all().filter(|alert| alert.name != WEBHOOK_FAILS).collect();
        let kept: BTreeSet<(&str, Wall)> =
            told_of.iter().map(|alert| (alert.name.as_str(), alert.since)).collect();
        self.0.retain(|(name, since), _| kept.contains(&(name.as_str(), *since)));
        let news = told_of.into_iter().rev().filter_map(|alert| {
            let is_over = match self.0.get(&(alert.name.clone(), alert.since)) {
                None => Some(false),
                Some(false) => alert.until.map(|_| true),
                Some(true) => None,
            };
            is_over.map(|is_over| News { alert: alert.clone(), is_over })
        });
        news.take(max).collect()
    }

    fn note(&mut self, news: &[News]) {
        self.0
            .extend(news.iter().map(|News { alert, is_over }| ((alert.name.clone(), alert.since), *is_over)));
    }
}

/// Sends until the runtime ends.
///
/// `instance`: which router says so.
pub async fn run(to: Webhook, instance: String, watch: Watch, clock: Clock) {
    let agent = webhook::agent();
    let mut told = Told::default();
    let (mut wait, mut alerts_max) = (WEBHOOK_RETRY_MIN, WEBHOOK_ALERTS_MAX);
    watch.add_webhook();
    loop {
        let news = told.news(&watch.lock().alerts, alerts_max);
        if news.is_empty() {
            sleep(WEBHOOK_LOOKED_EVERY).await;
            continue;
        }
        let body = message(&news, &instance).to_string();
        match webhook::post(&agent, &to, body, clock.wall()).await {
            Ok(()) => {
                told.note(&news);
                (wait, alerts_max) = (WEBHOOK_RETRY_MIN, WEBHOOK_ALERTS_MAX);
                watch.webhook(None);
                continue;
            }
            // One of them is to blame: they go one by one, and it does not hold up the others.
            Err(Refusal::Wrong(why)) if news.len() == 1 => {
                tracing::warn!(
                    alert = news[0].alert.name,
                    why,
                    "the webhook calls this alert wrong: it is not sent again"
                );
                told.note(&news);
                watch.webhook(Some(&why));
            }
            Err(Refusal::Wrong(why)) => {
                alerts_max = 1;
                watch.webhook(Some(&why));
                continue;
            }
            Err(Refusal::Failed(why)) => watch.webhook(Some(&why)),
        }
        sleep(wait).await;
        wait = (wait * 2).min(WEBHOOK_RETRY_MAX);
    }
}

/// Version 4 of Alertmanager's webhook.
fn message(news: &[News], instance: &str) -> Value {
    let is_firing = news.iter().any(|one| !one.is_over);
    json!({
        "version": "4",
        "groupKey": "tocsin",
        "truncatedAlerts": 0,
        "status": word(!is_firing),
        "receiver": "webhook",
        "groupLabels": {},
        "commonLabels": { "instance": instance },
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": news.iter().map(|one| item(one, instance)).collect::<Vec<_>>(),
    })
}

fn item(News { alert, is_over }: &News, instance: &str) -> Value {
    let ends = alert.until.filter(|_| *is_over).map_or(json!(NEVER), |until| json!(until));
    json!({
        "status": word(*is_over),
        "labels": { "alertname": alert.name, "severity": alert.severity.name(), "instance": instance },
        "annotations": { "description": alert.detail },
        "startsAt": alert.since,
        "endsAt": ends,
        "generatorURL": "",
        "fingerprint": fingerprint(alert, instance),
    })
}

fn word(is_over: bool) -> &'static str {
    if is_over { "resolved" } else { "firing" }
}

/// The same for the beginning and the end of one alert.
fn fingerprint(alert: &Alert, instance: &str) -> String {
    let text = format!("{instance}\n{}", alert.name);
    HEXLOWER.encode(&digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Severity;

    fn raise(alerts: &mut Alerts, name: &str, at: i64) {
        alerts.raise(name, Severity::Critical, "why".to_owned(), Wall(at));
    }

    fn names(news: &[News]) -> Vec<(&str, bool)> {
        news.iter().map(|one| (one.alert.name.as_str(), one.is_over)).collect()
    }

    #[test]
    fn each_beginning_and_each_end_is_told_once_and_in_that_order() {
        let (mut alerts, mut told) = (Alerts::default(), Told::default());
        raise(&mut alerts, "a", 1);
        raise(&mut alerts, "b", 2);
        alerts.clear("a", Wall(3));
        let first = told.news(&alerts, 9);
        assert_eq!(names(&first), [("a", false), ("b", false)], "short as it was, it began");
        assert_eq!(told.news(&alerts, 9), first, "until somebody took it");
        told.note(&first);
        let second = told.news(&alerts, 9);
        assert_eq!(names(&second), [("a", true)]);
        told.note(&second);
        assert!(told.news(&alerts, 9).is_empty());
        raise(&mut alerts, "a", 9);
        assert_eq!(names(&told.news(&alerts, 9)), [("a", false)], "it began again");
    }

    #[test]
    fn a_message_has_what_alertmanager_s_receivers_read() {
        let (mut alerts, mut told) = (Alerts::default(), Told::default());
        raise(&mut alerts, "kafka_down", 1_000_000);
        let begun = told.news(&alerts, 9);
        told.note(&begun);
        let begins = message(&begun, "r1");
        let item = &begins["alerts"][0];
        assert_eq!(
            (&begins["version"], &begins["status"], &item["status"]),
            (&"4".into(), &"firing".into(), &"firing".into())
        );
        assert_eq!(
            item["labels"],
            json!({"alertname": "kafka_down", "severity": "critical", "instance": "r1"})
        );
        assert_eq!((&item["annotations"]["description"], &item["endsAt"]), (&"why".into(), &NEVER.into()));
        alerts.clear("kafka_down", Wall(2_000_000));
        let ends = message(&told.news(&alerts, 9), "r1");
        assert_eq!(ends["status"], "resolved");
        assert_eq!(ends["alerts"][0]["fingerprint"], item["fingerprint"]);
        assert_eq!(ends["alerts"][0]["endsAt"], json!(Wall(2_000_000)));
    }
}
