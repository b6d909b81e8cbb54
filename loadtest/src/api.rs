//! The threads that post notifications, each over a connection of its own that stays open. A porch. Called by `run`.
//!
//! Each takes the next message of the schedule, waits for its time and posts it. When all threads wait for answers, messages
//! become late; nothing is skipped, and lateness counts in every latency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ops::clock::Clock;
use serde::Deserialize;
use wire::message::Priority;

use crate::counts::Errors;
use crate::engine::Shared;
use crate::fleet::mix;
use crate::marker::{Mark, Marker, Recipient};
use crate::percentiles::Latencies;
use crate::posts::Posts;
use crate::users::Users;

/// How long one request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// A thread looks this often whether the run is over.
const NAP_MAX: Duration = Duration::from_millis(20);
/// How often a recipient is drawn before the message is given up: nearly nobody is in then.
const DRAWS_MAX: u64 = 64;
/// Bytes of an answer that are read, a line of a batch at most.
const ANSWER_LINE_MAX: u64 = 4_096;

/// Bytes of the ledger's answer that are read.
const LEDGER_BYTES_MAX: u64 = 1024 * 1024;

/// Whom messages go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    All,
    Topic(String),
    /// One client that is in, drawn anew for each message.
    User,
    /// One client, in or not, drawn anew for each message.
    Anyone,
    /// Message n to client n.
    Each,
}

impl To {
    /// Does each message have one recipient?
    pub fn is_one(&self) -> bool {
        matches!(self, To::User | To::Anyone | To::Each)
    }
}

/// What every posting thread needs.
#[derive(Debug, Clone)]
pub struct PostConfig {
    pub api: String,
    pub key: String,
    pub to: To,
    pub clients: u32,
    pub users: Users,
    pub marker: Marker,
    pub priority: Priority,
    /// Bytes of the body text.
    pub size: usize,
    /// Messages in one request at most.
    pub batch: u16,
    pub seed: u64,
    pub clock: Clock,
}

/// What a posting thread measured.
#[derive(Debug, Default)]
pub struct PostResult {
    /// Intended → 202.
    pub post: Latencies,
    /// Intended → begun.
    pub late: Latencies,
    pub errors: Errors,
}

impl PostResult {
    pub fn merge(&mut self, other: &PostResult) {
        self.post.merge(&other.post);
        self.late.merge(&other.late);
        self.errors.merge(&other.errors);
    }
}

/// The posting threads.
#[derive(Debug)]
pub struct Posters {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<PostResult>>,
}

impl Posters {
    pub fn start(
        count: u16,
        config: &PostConfig,
        posts: &Arc<Posts>,
        shared: &Arc<Shared>,
    ) -> std::io::Result<Posters> {
        let mut posters = Posters { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for number in 0..count {
            let (config, posts, shared) = (config.clone(), Arc::clone(posts), Arc::clone(shared));
            let stop = Arc::clone(&posters.stop);
            let name = format!("poster-{number}");
            let thread = std::thread::Builder::new().name(name).stack_size(256 * 1024);
            let body = move || Poster::new(config, posts, shared, stop).run();
            match thread.spawn(body) {
                Ok(thread) => posters.threads.push(thread),
                Err(error) => {
                    posters.stop();
                    return Err(error);
                }
            }
        }
        Ok(posters)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Has every message been posted (or the run been stopped)?
    pub fn are_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    pub fn join(self) -> PostResult {
        let mut sum = PostResult::default();
        for thread in self.threads {
            match thread.join() {
                Ok(result) => sum.merge(&result),
                Err(_) => sum.errors.add("a posting thread panicked"),
            }
        }
        sum
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(REQUEST_WITHIN))
        .proxy(None)
        .build()
        .new_agent()
}

/// In-app deliveries that the router's ledger calls delivered: their acknowledgement was read. `None` when it does not say.
pub fn delivered(api: &str, key: &str) -> Option<u64> {
    let request =
        agent().get(&format!("{api}/v1/reconcile")).header("Authorization", &format!("Bearer {key}"));
    let mut answer = request.call().ok().filter(|answer| answer.status() == 200)?;
    let text = answer.body_mut().with_config().limit(LEDGER_BYTES_MAX).read_to_string().ok()?;
    let ledger: serde_json::Value = serde_json::from_str(&text).ok()?;
    ledger["channels"].as_array()?.iter().find(|tally| tally["channel"] == "inapp")?["delivered"].as_u64()
}

struct Poster {
    config: PostConfig,
    posts: Arc<Posts>,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    agent: ureq::Agent,
    authorization: String,
    body: String,
    result: PostResult,
}

impl Poster {
    fn new(config: PostConfig, posts: Arc<Posts>, shared: Arc<Shared>, stop: Arc<AtomicBool>) -> Poster {
        Poster {
            authorization: format!("Bearer {}", config.key),
            body: "x".repeat(config.size),
            config,
            posts,
            shared,
            stop,
            agent: agent(),
            result: PostResult::default(),
        }
    }

    fn run(mut self) -> PostResult {
        while !self.stop.load(Ordering::Acquire) {
            let Some(numbers) = self.posts.take(u64::from(self.config.batch), self.config.clock.mono())
            else {
                break;
            };
            if !self.wait_for(numbers.start) {
                break;
            }
            let now = self.config.clock.mono();
            let mut known = Vec::new();
            let mut requests = Vec::new();
            for number in numbers {
                self.result.late.record(now.since(self.posts.pace().intended(number)));
                match self.request(number) {
                    Some(request) => {
                        known.push(number);
                        requests.push(request);
                    }
                    None => self.result.errors.add("post: nobody was in to send to"),
                }
            }
            match known.as_slice() {
                [] => {}
                [number] => self.post_one(*number, &requests[0]),
                numbers => self.post_batch(numbers, &requests.join("\n")),
            }
        }
        self.result
    }

    /// Sleeps until a message's time; false when the run was stopped meanwhile.
    fn wait_for(&self, number: u64) -> bool {
        let intended = self.posts.pace().intended(number);
        loop {
            let left = intended.since(self.config.clock.mono());
            if left.is_zero() {
                return true;
            }
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            std::thread::sleep(left.min(NAP_MAX));
        }
    }

    /// The JSON of a message; `None` when nobody is in that it could go to.
    fn request(&self, number: u64) -> Option<String> {
        let (to, recipient) = match &self.config.to {
            To::All => (serde_json::json!({ "all": true }), Recipient::All),
            To::Topic(topic) => (serde_json::json!({ "topic": topic }), Recipient::All),
            To::User | To::Anyone | To::Each => {
                let client =
                    if self.config.to == To::Each { u32::try_from(number).ok()? } else { self.draw(number)? };
                (serde_json::json!({ "user": self.config.users.name(client) }), Recipient::User(client))
            }
        };
        let data = self.config.marker.data(Mark { number, recipient });
        let (body, priority) = (&self.body, self.config.priority.name());
        Some(format!(
            r#"{{"to":{to},"priority":"{priority}","category":"loadtest","title":"loadtest","body":"{body}","data":{data}}}"#
        ))
    }

    /// A client (one that is in, unless anybody will do), uniformly among all; the same one for the same seed and number while
    /// all are in.
    fn draw(&self, number: u64) -> Option<u32> {
        let anyone = self.config.to == To::Anyone;
        let drawn = (0..DRAWS_MAX).map(|n| {
            let random = mix(self.config.seed, number * DRAWS_MAX + n);
            ((u128::from(random) * u128::from(self.config.clients)) >> 64) as u32
        });
        drawn.into_iter().find(|client| anyone || self.shared.is_inside(*client))
    }

    fn post_one(&mut self, number: u64, json: &str) {
        let url = format!("{}/v1/notifications", self.config.api);
        match self.send(&url, "application/json", json) {
            Ok((202, _)) => self.accept(number),
            Ok((status, _)) => self.refuse(number, status),
            Err(error) => self.lose(&[number], &error),
        }
    }

    fn post_batch(&mut self, numbers: &[u64], ndjson: &str) {
        let url = format!("{}/v1/notifications/batch", self.config.api);
        match self.send(&url, "application/x-ndjson", ndjson) {
            Ok((200 | 202, lines)) => {
                let mut lines = lines.lines();
                for number in numbers {
                    match lines.next().map(read_line) {
                        Some(Ok(())) => self.accept(*number),
                        Some(Err(status)) => self.refuse(*number, status),
                        None => self.lose(&[*number], "batch: a line has no answer"),
                    }
                }
            }
            Ok((status, _)) => numbers.iter().for_each(|number| self.refuse(*number, status)),
            Err(error) => self.lose(numbers, &error),
        }
    }

    fn send(&self, url: &str, kind: &str, body: &str) -> Result<(u16, String), String> {
        let request =
            self.agent.post(url).header("Authorization", &self.authorization).header("Content-Type", kind);
        let mut answer = request.send(body).map_err(|error| kind_of(&error))?;
        let limit = ANSWER_LINE_MAX * u64::from(self.config.batch);
        // Read to the end also when nobody looks at it: else the connection is not used again.
        let text =
            answer.body_mut().with_config().limit(limit).read_to_string().map_err(|error| kind_of(&error))?;
        Ok((answer.status().as_u16(), text))
    }

    fn accept(&mut self, number: u64) {
        let now = self.config.clock.mono();
        self.posts.record_accepted(number, now);
        self.result.post.record(now.since(self.posts.pace().intended(number)));
    }

    fn refuse(&mut self, number: u64, status: u16) {
        self.posts.record_refused(number);
        self.result.errors.add(&format!("post: status {status}"));
    }

    fn lose(&mut self, numbers: &[u64], why: &str) {
        for number in numbers {
            self.posts.record_unknown(*number);
            self.result.errors.add(&format!("post: {why}"));
        }
    }
}

/// One line of a batch's answer: an id, or a problem with its status.
fn read_line(line: &str) -> Result<(), u16> {
    #[derive(Deserialize)]
    struct Line {
        id: Option<String>,
        status: Option<u16>,
    }
    match serde_json::from_str(line) {
        Ok(Line { id: Some(_), status: None | Some(202) }) => Ok(()),
        Ok(Line { status: Some(status), .. }) => Err(status),
        _ => Err(0),
    }
}

/// A short name: the texts of errors hold addresses and would be too many kinds.
fn kind_of(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.kind().to_string(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        ureq::Error::BodyExceedsLimit(_) => "the answer is too long".to_owned(),
        _ => "not HTTP".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_batch_is_an_id_or_a_status() {
        assert_eq!(read_line(r#"{"id":"x","seq":1,"durable_in":"journal"}"#), Ok(()));
        assert_eq!(read_line(r#"{"id":"x","status":202}"#), Ok(()));
        assert_eq!(read_line(r#"{"type":"about:blank","status":429}"#), Err(429));
        assert_eq!(read_line(r#"{"id":"x","status":409}"#), Err(409));
        assert_eq!(read_line("junk"), Err(0));
    }
}
