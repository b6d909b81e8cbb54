//! `loadtest offer`: a service that hands in far more than it may, whether anybody listens and whatever it is told. A porch.
//!
//! Open loop: notification number n is due at n / rate; the threads send what is due in batches (NDJSON) and never wait because
//! of a refusal, so the `Retry-After` of a 429 is noted and not heeded. What was not sent when the time is over is told as
//! such: a load tester that cannot keep up shows as fewer offered, not as a longer run. Called by `main`.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ops::clock::Clock;
use serde::{Deserialize, Serialize};
use wire::message::Priority;
use wire::time::Mono;

use crate::counts::Errors;
use crate::fleet::mix;
use crate::interrupt::Interrupt;
use crate::limits::SEND_LAG_MS_MAX;
use crate::percentiles::{Latencies, Summary};
use crate::posts::Posts;
use crate::schedule::Pace;

pub mod args;

pub use args::OfferArgs;

/// How long one request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer's line that are read.
const ANSWER_LINE_MAX: u64 = 1_024;
/// A thread looks this often whether the run is over.
const NAP_MAX: Duration = Duration::from_millis(20);
/// How the report is read.
const SCHEMA: u32 = 1;

/// What is offered, and where.
#[derive(Debug, Clone)]
pub struct OfferConfig {
    pub api: String,
    pub key: String,
    pub rate: f64,
    pub lasts: Duration,
    pub batch: u16,
    pub posters: u16,
    pub users: u32,
    pub user_prefix: String,
    pub priority: Priority,
    /// As a request names them.
    pub channels: Vec<String>,
    pub size: usize,
    pub seed: u64,
    pub json: Option<std::path::PathBuf>,
    pub command: String,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct OfferReport {
    pub schema: u32,
    pub command: String,
    /// Due in the time.
    pub intended: u64,
    /// Sent in the time.
    pub offered: u64,
    pub accepted: u64,
    /// By status.
    pub refused: BTreeMap<u16, u64>,
    /// No answer that says whether it was taken.
    pub unknown: u64,
    /// Refusals with 429 that say when to come again.
    pub retry_after_told: u64,
    pub retry_after_s_max: u32,
    pub seconds: f64,
    pub offered_per_s: f64,
    /// From the intended time to the answer.
    pub answer_ms: Option<Summary>,
    /// From the intended time to the sending.
    pub late_ms: Option<Summary>,
    /// The load tester could not offer at this rate.
    pub saturated: bool,
    pub errors: BTreeMap<String, u64>,
}

/// What one thread saw.
#[derive(Debug, Default)]
struct Seen {
    offered: u64,
    accepted: u64,
    refused: BTreeMap<u16, u64>,
    unknown: u64,
    retry_after_told: u64,
    retry_after_s_max: u32,
    answer: Latencies,
    late: Latencies,
    errors: Errors,
}

impl Seen {
    fn merge(&mut self, other: &Seen) {
        self.offered += other.offered;
        self.accepted += other.accepted;
        self.unknown += other.unknown;
        self.retry_after_told += other.retry_after_told;
        self.retry_after_s_max = self.retry_after_s_max.max(other.retry_after_s_max);
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.answer.merge(&other.answer);
        self.late.merge(&other.late);
        self.errors.merge(&other.errors);
    }

    /// One line of a batch's answer.
    fn note(&mut self, line: &str) {
        #[derive(Deserialize)]
        struct Line {
            id: Option<String>,
            status: Option<u16>,
            retry_after_s: Option<u32>,
        }
        match serde_json::from_str(line) {
            Ok(Line { id: Some(_), status: None | Some(202), .. }) => self.accepted += 1,
            Ok(Line { status: Some(status), retry_after_s, .. }) => {
                *self.refused.entry(status).or_default() += 1;
                if let (429, Some(wait)) = (status, retry_after_s) {
                    self.retry_after_told += 1;
                    self.retry_after_s_max = self.retry_after_s_max.max(wait);
                }
            }
            _ => {
                self.unknown += 1;
                self.errors.add("a line is no answer");
            }
        }
    }
}

/// Offers until the time is over or somebody asks for the end. `Err`: threads cannot be started.
pub fn run(config: &OfferConfig, clock: Clock, interrupt: &Interrupt) -> std::io::Result<OfferReport> {
    let pace = Pace::new(clock.mono(), config.rate);
    let intended = pace.within(config.lasts);
    let posts = Arc::new(Posts::new(pace, intended));
    let mut threads: Vec<JoinHandle<Seen>> = Vec::new();
    for number in 0..config.posters {
        let (config, posts, interrupt) = (config.clone(), Arc::clone(&posts), interrupt.clone());
        let thread = std::thread::Builder::new().name(format!("poster-{number}")).stack_size(256 * 1024);
        threads.push(thread.spawn(move || Poster::new(config, posts, clock, interrupt).run())?);
    }
    let mut seen = Seen::default();
    for thread in threads {
        match thread.join() {
            Ok(one) => seen.merge(&one),
            Err(_) => seen.errors.add("a posting thread panicked"),
        }
    }
    let seconds = clock.mono().since(pace.start()).as_secs_f64();
    Ok(report(config, intended, seen, seconds))
}

fn report(config: &OfferConfig, intended: u64, seen: Seen, seconds: f64) -> OfferReport {
    let late_ms = seen.late.summary();
    OfferReport {
        schema: SCHEMA,
        command: config.command.clone(),
        intended,
        offered: seen.offered,
        accepted: seen.accepted,
        refused: seen.refused,
        unknown: seen.unknown,
        retry_after_told: seen.retry_after_told,
        retry_after_s_max: seen.retry_after_s_max,
        seconds,
        offered_per_s: seen.offered as f64 / config.lasts.as_secs_f64(),
        answer_ms: seen.answer.summary(),
        late_ms,
        saturated: seen.offered < intended || late_ms.is_some_and(|late| late.p99 > SEND_LAG_MS_MAX),
        errors: seen.errors.into_map(),
    }
}

impl OfferReport {
    /// Something was offered, and all of it was answered: a refusal is an answer.
    pub fn is_good(&self) -> bool {
        self.offered > 0 && self.unknown == 0 && self.errors.is_empty()
    }
}

impl std::fmt::Display for OfferReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let OfferReport { intended, offered, accepted, unknown, seconds, .. } = self;
        writeln!(
            f,
            "offered   {offered} of {intended} in {seconds:.1} s, {:.0} a second",
            self.offered_per_s
        )?;
        writeln!(f, "accepted  {accepted}")?;
        for (status, count) in &self.refused {
            writeln!(f, "refused   {count} with {status}")?;
        }
        if self.retry_after_told > 0 {
            let (told, max) = (self.retry_after_told, self.retry_after_s_max);
            writeln!(f, "          {told} of them told when to come again, in {max} s at most")?;
        }
        writeln!(f, "unknown   {unknown}")?;
        if let Some(answer) = &self.answer_ms {
            writeln!(f, "answered  p50 {:.1}, p99 {:.1} ms from the intended time", answer.p50, answer.p99)?;
        }
        for (kind, count) in &self.errors {
            writeln!(f, "error     {count} × {kind}")?;
        }
        if self.saturated {
            writeln!(f, "the load tester was the bottleneck, or the server made it one")?;
        }
        Ok(())
    }
}

struct Poster {
    config: OfferConfig,
    posts: Arc<Posts>,
    clock: Clock,
    interrupt: Interrupt,
    agent: ureq::Agent,
    authorization: String,
    /// What every line ends with, behind the user's name.
    rest: String,
    until: Mono,
    seen: Seen,
}

impl Poster {
    fn new(config: OfferConfig, posts: Arc<Posts>, clock: Clock, interrupt: Interrupt) -> Poster {
        let channels = serde_json::json!(config.channels);
        let (priority, body) = (config.priority.name(), "x".repeat(config.size));
        let rest = format!(
            r#""}},"priority":"{priority}","category":"loadtest","title":"loadtest","channels":{channels},"body":"{body}"}}"#
        );
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_WITHIN))
            .proxy(None)
            .build()
            .new_agent();
        let until = posts.pace().start() + config.lasts;
        let authorization = format!("Bearer {}", config.key);
        Poster { config, posts, clock, interrupt, agent, authorization, rest, until, seen: Seen::default() }
    }

    fn run(mut self) -> Seen {
        while let Some(numbers) = self.posts.take(u64::from(self.config.batch), self.clock.mono()) {
            if !self.wait_for(numbers.start) {
                break;
            }
            let now = self.clock.mono();
            let mut body = String::new();
            for number in numbers.clone() {
                self.seen.late.record(now.since(self.posts.pace().intended(number)));
                let user = mix(self.config.seed, number) % u64::from(self.config.users);
                let prefix = &self.config.user_prefix;
                body.extend([r#"{"to":{"user":""#, prefix, &user.to_string(), &self.rest, "\n"]);
            }
            self.offer(numbers, &body);
        }
        self.seen
    }

    /// False when the run is over.
    fn wait_for(&self, number: u64) -> bool {
        let intended = self.posts.pace().intended(number);
        loop {
            let now = self.clock.mono();
            if now >= self.until || self.interrupt.is_asked() {
                return false;
            }
            let left = intended.since(now);
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP_MAX));
        }
    }

    fn offer(&mut self, numbers: std::ops::Range<u64>, body: &str) {
        let count = numbers.end - numbers.start;
        self.seen.offered += count;
        match self.send(body, ANSWER_LINE_MAX * count) {
            Ok((200, text)) => {
                let now = self.clock.mono();
                let mut lines = text.lines();
                for number in numbers {
                    self.seen.answer.record(now.since(self.posts.pace().intended(number)));
                    self.seen.note(lines.next().unwrap_or_default());
                }
            }
            Ok((status, _)) => *self.seen.refused.entry(status).or_default() += count,
            Err(why) => {
                self.seen.unknown += count;
                self.seen.errors.add(&why);
            }
        }
    }

    fn send(&self, body: &str, bytes_max: u64) -> Result<(u16, String), String> {
        let url = format!("{}/v1/notifications/batch", self.config.api);
        let request = self
            .agent
            .post(url)
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/x-ndjson");
        let short = |error: &ureq::Error| match error {
            ureq::Error::Timeout(_) => "no answer in time".to_owned(),
            ureq::Error::Io(error) => error.kind().to_string(),
            _ => "not HTTP".to_owned(),
        };
        let mut answer = request.send(body).map_err(|error| short(&error))?;
        let mut text = String::new();
        let read = answer.body_mut().as_reader().take(bytes_max).read_to_string(&mut text);
        read.map_err(|error| error.kind().to_string())?;
        Ok((answer.status().as_u16(), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_an_answer_is_counted_as_what_it_says() {
        let mut seen = Seen::default();
        for line in [
            r#"{"status":202,"id":"x","seq":1}"#,
            r#"{"type":"urn:tocsin:problem:quota_spent","status":429,"retry_after_s":7}"#,
            r#"{"status":429,"retry_after_s":61}"#,
            r#"{"status":429}"#,
            r#"{"status":503,"retry_after_s":1}"#,
            "junk",
            "",
        ] {
            seen.note(line);
        }
        assert_eq!((seen.accepted, seen.unknown, seen.retry_after_told), (1, 2, 2));
        assert_eq!(seen.refused, BTreeMap::from([(429, 3), (503, 1)]));
        assert_eq!(seen.retry_after_s_max, 61);
    }
}
