//! Several routers on one consumer group of a real Kafka, and one gateway that is linked to all of them.

use std::time::Duration;

use serde_json::Value;

use crate::api::Api;
use crate::client::Client;
use crate::deadline::until_within;
use crate::kafka::Kafka;
use crate::ports;
use crate::setup::{SPLIT_KEY, Setup};
use crate::tocsin::Tocsin;

/// How long a group may take to find together, and its routers to restore what they are given.
pub const HAND_OVER: Duration = Duration::from_secs(60);
/// The time after which the brokers do without a member that is silent.
pub const SESSION: Duration = Duration::from_secs(6);

/// Everything goes when this is dropped: the gateway, the routers, the broker.
#[derive(Debug)]
pub struct Several {
    pub gateway: Tocsin,
    pub routers: Vec<Tocsin>,
    pub kafka: Kafka,
    pub partitions: u32,
}

impl Several {
    /// `planned` routers, of which `started` run. Waits until all partitions are somebody's.
    pub fn start(planned: usize, started: usize, partitions: u32) -> Several {
        Several::start_with((planned, started), partitions, |setup| setup)
    }

    /// The same, with settings that all routers share.
    pub fn start_with(
        (planned, started): (usize, usize),
        partitions: u32,
        settings: impl FnOnce(Setup) -> Setup,
    ) -> Several {
        let kafka = Kafka::start();
        let links: Vec<String> = (0..planned).map(|_| ports::free().to_string()).collect();
        let base = Setup::split()
            .without("router.service")
            .service("tests", SPLIT_KEY, |_| {})
            .set("router.routers", planned as i64)
            .set("kafka.brokers", vec![kafka.broker.to_string()])
            .set("kafka.partitions", i64::from(partitions))
            .set("kafka.properties", properties())
            .set("gateway.links.routers", links.clone());
        let base = settings(base);
        let routers = links.iter().map(|links| {
            let setup = base.clone().set("router.links", links.as_str());
            let setup = ["router.api", "router.admin"]
                .into_iter()
                .fold(setup, |setup, key| setup.set(key, ports::free().to_string()));
            setup.prepare()
        });
        let mut several =
            Several { gateway: base.clone().prepare(), routers: routers.collect(), kafka, partitions };
        for router in several.routers.iter_mut().take(started) {
            router.start_router();
        }
        several.gateway.start_gateway_alone();
        several.wait_until_shared(&(0..started).collect::<Vec<_>>());
        several
    }

    pub fn api(&self, router: usize) -> Api {
        self.routers[router].api()
    }

    /// What a router says that it answers for.
    pub fn partitions_of(&self, router: usize) -> Vec<u32> {
        let Ok(answer) = self.api(router).request("GET", "/v1/status", &[], None) else { return Vec::new() };
        let status: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
        partitions.iter().filter_map(|one| u32::try_from(one.as_u64()?).ok()).collect()
    }

    /// Waits until these routers have everything between them, each something.
    pub fn wait_until_shared(&self, routers: &[usize]) {
        until_within(HAND_OVER, "the partitions are shared out", || {
            let each: Vec<Vec<u32>> = routers.iter().map(|router| self.partitions_of(*router)).collect();
            let mut all = each.concat();
            all.sort_unstable();
            let fair = each.iter().all(|own| !own.is_empty());
            (fair && all == (0..self.partitions).collect::<Vec<_>>()).then_some(())
        });
    }

    /// Waits until this router alone has everything, whatever the others think.
    pub fn wait_until_owned_by(&self, router: usize) {
        until_within(SESSION + HAND_OVER, "one has everything", || {
            (self.partitions_of(router).len() == self.partitions as usize).then_some(())
        });
    }

    /// The router that answers for a user.
    pub fn owner_of(&self, user: &str) -> usize {
        until_within(HAND_OVER, "somebody answers for the user", || {
            (0..self.routers.len()).find(|router| {
                let path = format!("/v1/users/{user}/inbox?limit=1");
                let answer = self.api(*router).request("GET", &path, &[], None);
                answer.is_ok_and(|answer| answer.status == 200)
            })
        })
    }

    pub fn connect(&self, user: &str) -> Client {
        self.gateway.connect(user)
    }
}

fn properties() -> toml::Table {
    let session = SESSION.as_millis().to_string();
    [("session.timeout.ms", session.as_str()), ("heartbeat.interval.ms", "1000")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}
