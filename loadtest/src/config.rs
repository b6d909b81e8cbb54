//! One run, settled: what the command line and its files come to. Values only.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::api::To;
use crate::expect::Expectation;
use crate::sources::Sources;
use crate::target::Target;
use crate::users::Users;

/// What a run does once its clients are in.
#[derive(Debug, Clone, PartialEq)]
pub enum Scenario {
    /// Nothing but stay, and answer pings.
    Hold,
    /// Each message goes to every client.
    Fanout(Posting),
    /// Each message goes to one client.
    Latency(Posting),
}

/// How messages are posted.
#[derive(Debug, Clone, PartialEq)]
pub struct Posting {
    pub api: String,
    pub key: String,
    pub to: To,
    /// Messages a second.
    pub rate: f64,
    pub messages: u64,
    pub size: usize,
    pub posters: u16,
    pub batch: u16,
    /// How long copies may still come after the last post.
    pub settle: Duration,
}

impl Scenario {
    pub fn name(&self) -> &'static str {
        match self {
            Scenario::Hold => "hold",
            Scenario::Fanout(_) => "fanout",
            Scenario::Latency(_) => "latency",
        }
    }

    pub fn posting(&self) -> Option<&Posting> {
        match self {
            Scenario::Hold => None,
            Scenario::Fanout(posting) | Scenario::Latency(posting) => Some(posting),
        }
    }
}

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct RunConfig {
    pub scenario: Scenario,
    pub targets: Vec<Target>,
    pub connections: u32,
    /// Connects a second.
    pub connect_rate: f64,
    pub lasts: Duration,
    pub users: Users,
    pub sources: Option<Sources>,
    pub threads: Option<u16>,
    pub rings: Option<u16>,
    pub attempts: u32,
    pub server_pid: Option<u32>,
    pub expectations: Vec<Expectation>,
    pub best_effort: bool,
    pub json: Option<PathBuf>,
    pub seed: u64,
    /// The command line, for the report; without secrets.
    pub command: String,
}

impl RunConfig {
    /// What the report says of it. No keys, no tokens.
    pub fn to_json(&self) -> serde_json::Value {
        let urls: Vec<String> =
            self.targets.iter().map(|target| format!("ws://{}{}", target.authority(), target.path)).collect();
        let mut config = json!({
            "urls": urls,
            "connections": self.connections,
            "connect_rate": self.connect_rate,
            "for_s": self.lasts.as_secs_f64(),
            "attempts": self.attempts,
            "auth": format!("{:?}", self.users.proof).trim_end_matches("(…)").to_lowercase(),
            "seed": self.seed,
        });
        if let Some(posting) = self.scenario.posting() {
            config["api"] = json!(posting.api);
            config["rate"] = json!(posting.rate);
            config["messages"] = json!(posting.messages);
            config["size"] = json!(posting.size);
            config["posters"] = json!(posting.posters);
            config["batch"] = json!(posting.batch);
            config["to"] = match &posting.to {
                To::All => json!("all"),
                To::Topic(topic) => json!({ "topic": topic }),
                To::User => json!("user"),
            };
        }
        config
    }
}
