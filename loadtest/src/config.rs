//! One run, settled: what the command line and its files come to. Values only.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use wire::message::Priority;
use wire::time::Wall;

use crate::api::To;
use crate::compare::config::CompareConfig;
use crate::expect::Expectation;
use crate::offer::OfferConfig;
use crate::providers::ProvidersConfig;
use crate::sources::Sources;
use crate::target::Target;
use crate::tls::TlsPlan;
use crate::users::Users;

/// What the program was asked to do.
#[derive(Debug)]
pub enum Job {
    Run(Box<RunConfig>),
    /// The same against several servers in turns.
    Compare(Box<CompareConfig>),
    /// Adds up the reports of load testers that ran together.
    Merge(MergeConfig),
    /// Shows a kept report again.
    Draw(DrawConfig),
    /// Hands in more than may be.
    Offer(Box<OfferConfig>),
    /// Simulates the providers.
    Providers(ProvidersConfig),
}

#[derive(Debug)]
pub struct MergeConfig {
    pub files: Vec<PathBuf>,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
    pub expectations: Vec<Expectation>,
}

#[derive(Debug)]
pub struct DrawConfig {
    pub file: PathBuf,
    /// `None`: the page for the terminal.
    pub html: Option<PathBuf>,
}

/// What a run does once its clients are in.
#[derive(Debug, Clone, PartialEq)]
pub enum Scenario {
    /// Nothing but stay, and answer pings.
    Hold(HoldPlan),
    /// Each message goes to every client.
    Fanout(Posting),
    /// Each message goes to one client.
    Latency(Posting),
    /// All lose their connections and come back.
    Storm(StormPlan),
    /// The same while messages go on.
    Chaos(Posting, StormPlan),
}

/// What happens while clients are held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HoldPlan {
    /// One notification for each client.
    pub notify: Option<Posting>,
    /// How it ends.
    pub drain: Option<DrainPlan>,
}

/// A gateway that is asked to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    pub pid: u32,
    pub within: Duration,
}

/// A loss of connections on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct StormPlan {
    pub cut: Cut,
    pub at: Moment,
    /// How long clients have to come back.
    pub within: Duration,
}

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// We reset them.
    Reset,
    /// We close them in order.
    Fin,
    /// With the process that holds them.
    Kill { pid: u32, signal: Signal },
    /// By something outside.
    Wait,
}

impl Cut {
    pub fn name(self) -> &'static str {
        match self {
            Cut::Reset => "rst",
            Cut::Fin => "fin",
            Cut::Kill { signal: Signal::Kill, .. } => "kill",
            Cut::Kill { signal: Signal::Terminate, .. } => "term",
            Cut::Wait => "wait",
        }
    }
}

/// What a server process is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Terminate,
}

/// When something begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long after what comes before it.
    After(Duration),
    At(Wall),
}

/// How messages are posted.
#[derive(Debug, Clone, PartialEq)]
pub struct Posting {
    pub api: String,
    pub key: String,
    /// Do clients acknowledge?
    pub acks: bool,
    pub to: To,
    /// Messages a second.
    pub rate: f64,
    pub messages: u64,
    pub priority: Priority,
    pub size: usize,
    pub posters: u16,
    pub batch: u16,
    /// How long copies may still come after the last post.
    pub settle: Duration,
}

impl Scenario {
    pub fn name(&self) -> &'static str {
        match self {
            Scenario::Hold(_) => "hold",
            Scenario::Fanout(_) => "fanout",
            Scenario::Latency(_) => "latency",
            Scenario::Storm(_) => "storm",
            Scenario::Chaos(..) => "chaos",
        }
    }

    pub fn posting(&self) -> Option<&Posting> {
        match self {
            Scenario::Hold(plan) => plan.notify.as_ref(),
            Scenario::Storm(_) => None,
            Scenario::Fanout(posting) | Scenario::Latency(posting) | Scenario::Chaos(posting, _) => {
                Some(posting)
            }
        }
    }

    pub fn storm(&self) -> Option<&StormPlan> {
        match self {
            Scenario::Hold(_) | Scenario::Fanout(_) | Scenario::Latency(_) => None,
            Scenario::Storm(plan) | Scenario::Chaos(_, plan) => Some(plan),
        }
    }

    /// Is sending messages what it is about?
    pub fn posts(&self) -> bool {
        matches!(self, Scenario::Fanout(_) | Scenario::Latency(_) | Scenario::Chaos(..))
    }
}

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct RunConfig {
    pub scenario: Scenario,
    pub targets: Vec<Target>,
    /// How clients are shared out among the targets at first: a weight each.
    pub shares: Vec<u32>,
    pub connections: u32,
    /// Connects a second.
    pub connect_rate: f64,
    pub lasts: Duration,
    /// When the first client connects; `None`: at once.
    pub start_at: Option<Moment>,
    pub users: Users,
    pub sources: Option<Sources>,
    /// For the targets that speak it.
    pub tls: Option<TlsPlan>,
    pub threads: Option<u16>,
    pub rings: Option<u16>,
    pub attempts: u32,
    pub server_pid: Option<u32>,
    pub expectations: Vec<Expectation>,
    pub best_effort: bool,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
    pub seed: u64,
    /// The command line, for the report; without secrets.
    pub command: String,
}

impl RunConfig {
    /// What the report says of it. No keys, no tokens.
    pub fn to_json(&self) -> serde_json::Value {
        let urls: Vec<String> = self.targets.iter().map(Target::url).collect();
        let mut config = json!({
            "urls": urls,
            "connections": self.connections,
            "connect_rate": self.connect_rate,
            "for_s": self.lasts.as_secs_f64(),
            "shares": self.shares,
            "user_prefix": self.users.prefix,
            "attempts": self.attempts,
            "auth": format!("{:?}", self.users.proof).trim_end_matches("(…)").to_lowercase(),
            "seed": self.seed,
        });
        if let Some(posting) = self.scenario.posting() {
            config["api"] = json!(posting.api);
            config["rate"] = json!(posting.rate);
            config["messages"] = json!(posting.messages);
            config["priority"] = json!(posting.priority.name());
            config["size"] = json!(posting.size);
            config["posters"] = json!(posting.posters);
            config["batch"] = json!(posting.batch);
            config["to"] = match &posting.to {
                To::All => json!("all"),
                To::Topic(topic) => json!({ "topic": topic }),
                To::User => json!("user"),
                To::Anyone => json!("anyone"),
                To::Each => json!("each"),
            };
            config["acks"] = json!(posting.acks);
        }
        if let Some(storm) = self.scenario.storm() {
            config["cut"] = json!(storm.cut.name());
            config["cut_at"] = match storm.at {
                Moment::After(after) => json!(after.as_secs_f64()),
                Moment::At(date) => json!(date.to_string()),
            };
        }
        config
    }
}
