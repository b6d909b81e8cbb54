//! A system with a Kafka and a Redis.

use std::time::Duration;

use serde_json::{Value, json};
use tests::kafka::Kafka;
use tests::redis::Redis;
use tests::{Equation, Setup, Tocsin, until_within};

/// The promises of the outage's list.
pub(crate) const LIST: &str = "buffer:notifications:critical";
pub(crate) const PROCESSING: &str = "tocsin:processing:notifications:critical";
pub(crate) const ASIDE: &str = "tocsin:aside:notifications:critical";

/// An outage of Kafka is found in less.
const DETECTED_WITHIN: Duration = Duration::from_secs(30);
/// librdkafka tries a lost broker again after up to ten seconds, and the consumer group settles after that.
pub(crate) const RECOVERED_WITHIN: Duration = Duration::from_secs(90);
/// The promise for Redis: its end is found in less, and so is its return.
pub(crate) const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// The promise for what a Redis holds that comes back.
pub(crate) const REBUILT_WITHIN: Duration = Duration::from_secs(30);

/// The system goes first, then its servers.
pub(crate) struct OnBoth {
    pub(crate) tocsin: Tocsin,
    pub(crate) kafka: Kafka,
    pub(crate) redis: Redis,
}

impl OnBoth {
    pub(crate) fn start() -> OnBoth {
        OnBoth::with(|setup| setup)
    }

    pub(crate) fn with(more: impl FnOnce(Setup) -> Setup) -> OnBoth {
        let redis = Redis::start();
        let (kafka, tocsin) = system(|setup| more(setup.set("redis.url", redis.url())));
        OnBoth { tocsin, kafka, redis }
    }

    pub(crate) fn kafka_dies(&mut self) {
        self.kafka.process.kill_9();
        phase(&self.tocsin, "buffering", DETECTED_WITHIN);
    }

    /// Kafka is back: nothing waits anywhere, nothing is missing, every delivery has a state.
    pub(crate) fn kafka_returns(&mut self) {
        self.kafka.start_again();
        over(&self.tocsin);
    }

    pub(crate) fn wait_for_list(&self, length: usize) {
        until_within(REBUILT_WITHIN, &format!("{length} in the list"), || {
            (self.redis.length(LIST) == length).then_some(())
        });
    }

    pub(crate) fn wait_for_at_least(&self, length: usize) {
        until_within(REBUILT_WITHIN, &format!("{length} in the list, or more"), || {
            (self.redis.length(LIST) >= length).then_some(())
        });
    }

    pub(crate) fn wait_for_empty(&self) {
        wait_for_empty(&self.redis);
    }
}

pub(crate) fn wait_for_empty(redis: &Redis) {
    until_within(REBUILT_WITHIN, "the list is drained", || {
        let left = (redis.length(LIST), redis.length(PROCESSING));
        (left == (0, 0)).then_some(())
    });
}

pub(crate) fn system(more: impl FnOnce(Setup) -> Setup) -> (Kafka, Tocsin) {
    let kafka = Kafka::start();
    let setup = Setup::standalone();
    let setup = setup.set("kafka.brokers", vec![kafka.broker.to_string()]).set("kafka.partitions", 3);
    let tocsin = more(setup).start();
    (kafka, tocsin)
}

pub(crate) fn phase(tocsin: &Tocsin, phase: &str, wait: Duration) {
    until_within(wait, &format!("the outage is {phase}"), || {
        (outage(tocsin)["phase"] == phase).then_some(())
    });
}

pub(crate) fn over(tocsin: &Tocsin) {
    phase(tocsin, "normal", RECOVERED_WITHIN);
    let outage = outage(tocsin);
    assert_eq!((&outage["waiting"], &outage["missing"]), (&0.into(), &0.into()), "{outage}");
    Equation::settled(&tocsin.api()).check();
    assert!(!is_standing(tocsin, "buffered_missing"));
}

pub(crate) fn outage(tocsin: &Tocsin) -> Value {
    tocsin.api().get("/v1/status").expect(200).json()["outage"].clone()
}

/// How Redis does, as `/v1/status` has it.
pub(crate) fn redis(tocsin: &Tocsin) -> Value {
    let status = tocsin.api().get("/v1/status").expect(200).json();
    let dependencies = status["dependencies"].as_array().expect("a list").clone();
    dependencies.into_iter().find(|one| one["name"] == "redis").expect("it is on the board")
}

pub(crate) fn wait_for_redis(tocsin: &Tocsin, state: &str) {
    until_within(NOTICED_WITHIN, &format!("redis is {state}"), || {
        (redis(tocsin)["state"] == state).then_some(())
    });
    assert_eq!(is_standing(tocsin, "redis_down"), state == "down");
}

pub(crate) fn is_standing(tocsin: &Tocsin, name: &str) -> bool {
    let alerts = tocsin.api().get("/v1/alerts").expect(200).json();
    let items = alerts["items"].as_array().expect("a list");
    items.iter().any(|alert| alert["name"] == name && alert["until"].is_null())
}

/// Accepts `count` critical notifications for `ada`, all of them on the disk; their ids.
#[track_caller]
pub(crate) fn criticals(tocsin: &Tocsin, count: usize) -> Vec<String> {
    let one = |i: usize| json!({ "to": { "user": "ada" }, "title": i.to_string(), "priority": "critical" });
    let accept = |i| {
        let answer = tocsin.api().post(&one(i)).expect(202).json();
        assert_eq!(answer["durable_in"], "disk");
        answer["id"].as_str().expect("an id").to_owned()
    };
    (0..count).map(accept).collect()
}

/// The ids in ada's inbox, sorted; whatever comes twice is there twice.
pub(crate) fn inbox(tocsin: &Tocsin) -> Vec<String> {
    let (found, _) = tocsin.connect("ada").sync_all(&json!({}));
    let mut ids: Vec<String> =
        found.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
    ids.sort();
    ids
}

pub(crate) fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// The ids of a list's values.
pub(crate) fn ids(values: &[String]) -> Vec<String> {
    let id = |value: &String| {
        let value: Value = serde_json::from_str(value).unwrap_or_default();
        value["id"].as_str().unwrap_or_default().to_owned()
    };
    values.iter().map(id).collect()
}
