//! Whether the brokers take anything: what the last append was told, and what they answer when they are asked.
//!
//! Never tries an append of its own. A fault that appends met is over with one that succeeds, or, when nobody tries
//! one, once the brokers have answered through a whole interval without a failure.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::producer::{FutureProducer, Producer};

use super::client::Logged;
use crate::journal::{AppendError, Appended, Fault};
use crate::limits::{BROKERS_ASKED_EVERY, BROKERS_ASKED_PATIENCE};

#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// What the last append was told.
    append: Option<String>,
    /// What the last question was told.
    question: Option<String>,
    /// Appends failed since the last question.
    failed_since: bool,
}

impl Health {
    pub(super) fn note_append(&self, result: &Result<Appended, AppendError>) {
        let mut seen = self.lock();
        match result {
            Ok(_) => seen.append = None,
            Err(AppendError::Unavailable(why)) => {
                seen.append = Some(why.clone());
                seen.failed_since = true;
            }
            // The record's fault, not the brokers'.
            Err(AppendError::TooLong { .. } | AppendError::Full { .. }) => {}
        }
    }

    fn note_answer(&self, answer: Result<(), String>) {
        let mut seen = self.lock();
        let failed = std::mem::take(&mut seen.failed_since);
        if answer.is_ok() && !failed {
            seen.append = None;
        }
        seen.question = answer.err();
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        let seen = self.lock();
        seen.question.as_ref().or(seen.append.as_ref()).cloned().map(Fault::Unwritable)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the brokers about `topic` every so often, until nobody holds the health any more.
pub(super) async fn look_after(producer: FutureProducer<Logged>, topic: String, health: Weak<Health>) {
    loop {
        let answer = ask(producer.clone(), topic.clone(), BROKERS_ASKED_PATIENCE).await;
        let Some(health) = health.upgrade() else { return };
        health.note_answer(answer);
        drop(health);
        tokio::time::sleep(BROKERS_ASKED_EVERY).await;
    }
}

async fn ask(producer: FutureProducer<Logged>, topic: String, patience: Duration) -> Result<(), String> {
    let asked = tokio::task::spawn_blocking(move || {
        producer.client().fetch_metadata(Some(&topic), patience).map(drop)
    });
    match asked.await {
        Ok(answer) => answer.map_err(|error| format!("the brokers do not answer: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::DurableIn;

    fn refused() -> Result<Appended, AppendError> {
        Err(AppendError::Unavailable("timed out".to_owned()))
    }

    #[test]
    fn a_failed_append_is_a_fault_until_one_succeeds_or_a_quiet_interval_is_over() {
        let health = Health::default();
        assert_eq!(health.fault(), None);
        health.note_append(&refused());
        assert_eq!(health.fault(), Some(Fault::Unwritable("timed out".to_owned())));
        health.note_answer(Ok(()));
        assert!(health.fault().is_some(), "it failed since the last question");
        health.note_answer(Ok(()));
        assert_eq!(health.fault(), None);
        health.note_append(&refused());
        health.note_append(&Ok(Appended {
            partition: 0,
            seq: 1,
            durable_in: DurableIn::Kafka,
            offset: Some(0),
        }));
        assert_eq!(health.fault(), None);
        health.note_append(&Err(AppendError::TooLong { found: 2, max: 1 }));
        assert_eq!(health.fault(), None, "that is the record's own");
    }

    #[test]
    fn brokers_that_do_not_answer_are_a_fault_without_any_append() {
        let health = Health::default();
        health.note_answer(Err("silence".to_owned()));
        assert_eq!(health.fault(), Some(Fault::Unwritable("silence".to_owned())));
        health.note_answer(Ok(()));
        assert_eq!(health.fault(), None);
    }
}
