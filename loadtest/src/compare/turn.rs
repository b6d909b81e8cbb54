//! One server's turn: get everybody in, leave them in peace, tell them things one at a time, in bursts, and both at the equal load;
//! say goodbye. A porch over the engine, the publisher and the meter; what the figures mean is `figures`'. Called by `compare`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ops::clock::Clock;
use wire::time::Mono;

use super::config::{CompareConfig, Peer};
use super::figures::Metric;
use super::meter::{Look, Meter};
use super::publisher::Publisher;
use super::report::Turn;
use crate::engine::{EngineConfig, Engines, Part, Shared};
use crate::fleet::{FleetConfig, mix};
use crate::interrupt::Interrupt;
use crate::limits::{CLOSE_WITHIN, CPU_SHARE_MAX, HANDSHAKE_WITHIN, SEND_LAG_MS_MAX};
use crate::marker::{Mark, Marker, Recipient};
use crate::percentiles::Latencies;
use crate::plan::Plan;
use crate::posts::Posts;
use crate::schedule::{Lane, Pace};
use crate::tally;

/// How often the run looks at its thread.
const LOOK_EVERY: Duration = Duration::from_micros(300);
const ARM_WITHIN: Duration = Duration::from_secs(10);
const RINGS_WITHIN: Duration = Duration::from_millis(200);
const HEAD_START: Duration = Duration::from_millis(50);
/// Connects a second that a storm means: as many as go, with so many under way at one time.
const STORM_PER_S: f64 = 1_000_000.0;
/// Messages that are sent first, to learn what a server adds to a payload, and to warm it.
const PROBES: u64 = 4;
/// Bytes that a probe is padded with.
const PROBE_PAD: usize = 16;

/// A turn under way.
pub struct Stage<'a> {
    pub config: &'a CompareConfig,
    pub peer: &'a Peer,
    pub plan: Plan,
    pub address: SocketAddr,
    pub meter: Meter,
    pub clock: Clock,
    pub interrupt: &'a Interrupt,
    /// Draws marks: another number for every turn.
    pub seed: u64,
}

/// What one part came to.
struct PartOutcome {
    before: Look,
    after: Look,
    wall: Duration,
    latency: Latencies,
    copies: crate::counts::Copies,
    balance: tally::Balance,
    late: Duration,
}

/// How messages of a part follow each other.
#[derive(Clone, Copy)]
enum Follow {
    /// The next burst goes out when everybody has the last one.
    Closed,
    /// At their times, whatever became of those before.
    Paced { per_s: f64 },
}

struct Script {
    messages: u64,
    burst: u64,
    follow: Follow,
    pad: usize,
}

/// A turn, measured as far as it came. An error is in it.
pub fn run(stage: &Stage<'_>, round: u32) -> Turn {
    let mut turn =
        Turn { round, peer: stage.peer.name.clone(), sockets: stage.plan.connections, ..Turn::default() };
    if let Err(error) = stage.go(&mut turn) {
        turn.error = Some(error);
    }
    turn
}

impl Stage<'_> {
    fn go(&self, turn: &mut Turn) -> Result<(), String> {
        let before = self.meter.look();
        // The rings are open by then.
        let begun = self.clock.mono() + RINGS_WITHIN;
        let shared = Arc::new(Shared::new(self.plan.connections, 1));
        let engines = Engines::start(vec![self.engine(begun)], Arc::clone(&shared))
            .map_err(|error| error.to_string())?;
        let told = self.with_engines(&engines, &shared, begun, &before, turn);
        let closed = self.say_goodbye(&engines, &shared);
        if !closed {
            return Err("a thread of the load tester hangs".to_owned());
        }
        for result in engines.join().map_err(|error| error.to_string())? {
            let wall = result.last_in.map_or(0.0, |last| last.since(begun).as_secs_f64());
            if wall > 0.0 && turn.established == self.plan.connections {
                turn.figures.insert(Metric::HandshakesPerS, f64::from(turn.established) / wall);
            }
            turn.notes.extend(
                result.journal.errors.into_map().iter().map(|(kind, times)| format!("{times} × {kind}")),
            );
        }
        told
    }

    fn engine(&self, begun: Mono) -> EngineConfig {
        EngineConfig {
            fleet: FleetConfig {
                lane: Lane { lane: 0, lanes: 1 },
                clients: self.plan.connections,
                pace: Pace::new(begun, STORM_PER_S),
                users: self.config.users.clone(),
                targets: vec![self.peer.target.clone()],
                shares: vec![1],
                attempts_max: 1,
                topic: None,
                acks: false,
                syncs: false,
                marker: self.marker(0),
                seed: self.seed,
                dialect: self.peer.dialect,
                handshakes_at_once: self.config.at_once,
            },
            addresses: vec![self.address],
            sources: self.plan.sources,
            tls: None,
            rings: None,
            clock: self.clock,
        }
    }

    fn marker(&self, part: u64) -> Marker {
        Marker::new(mix(self.seed, part) as u32)
    }

    fn with_engines(
        &self,
        engines: &Engines,
        shared: &Shared,
        begun: Mono,
        before: &Look,
        turn: &mut Turn,
    ) -> Result<(), String> {
        self.storm(shared, begun, before, turn)?;
        self.rest(before, turn)?;
        let mut publisher = Publisher::open(self.peer, self.address, self.config)?;
        let mut play = Play { stage: self, engines, publisher: &mut publisher, part: 0 };
        let pad = play.probe(turn)?;
        let (size, burst) = (self.plan.connections, self.config.burst);
        for (burst, closed, paced) in [(1, &SINGLE, Metric::SingleP99Ms), (burst, &BURST, Metric::BurstP99Ms)]
        {
            let messages = self.config.closed_messages(size, burst);
            let script = Script { messages, burst: u64::from(burst), follow: Follow::Closed, pad };
            play.closed(&script, closed, turn)?;
            let (per_s, messages) = self.config.paced(size, burst);
            let script = Script { messages, burst: u64::from(burst), follow: Follow::Paced { per_s }, pad };
            play.paced(&script, paced, turn)?;
        }
        Ok(())
    }

    /// Everybody comes at once, a bounded number at a time.
    fn storm(&self, shared: &Shared, begun: Mono, before: &Look, turn: &mut Turn) -> Result<(), String> {
        let by = begun + HANDSHAKE_WITHIN * 2;
        self.wait(by, "the clients did not get in", || shared.status().settled)?;
        let wall = self.clock.mono().since(begun);
        let after = self.meter.look_at_rest();
        let counts = shared.status().counts;
        turn.established = counts.established;
        if counts.established < self.plan.connections {
            let (refused, all) = (counts.refused, self.plan.connections);
            return Err(format!(
                "{} of {all} clients got in, {refused} attempts refused",
                counts.established
            ));
        }
        let clients = f64::from(counts.established);
        turn.figures.insert(Metric::HandshakeCpuNs, (after.server_ns - before.server_ns) as f64 / clients);
        note_share("handshakes/s", before, &after, wall, turn);
        Ok(())
    }

    /// Nobody says anything; then memory is read.
    fn rest(&self, before: &Look, turn: &mut Turn) -> Result<(), String> {
        let (begin, from) = (self.meter.look(), self.clock.mono());
        let until = from + self.config.rest;
        while self.clock.mono() < until {
            self.check()?;
            std::thread::sleep(LOOK_EVERY * 10);
        }
        let (after, wall) = (self.meter.look(), self.clock.mono().since(from));
        let growth = after.rss_bytes as f64 - before.rss_bytes as f64;
        turn.figures.insert(Metric::IdleBytes, growth / f64::from(self.plan.connections));
        let share = (after.server_ns - begin.server_ns) as f64 / wall.as_nanos() as f64;
        turn.figures.insert(Metric::IdleCpuShare, share);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.interrupt.is_asked() { Err("ended early".to_owned()) } else { Ok(()) }
    }

    fn wait(&self, by: Mono, else_say: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
        while !done() {
            self.check()?;
            if self.clock.mono() >= by {
                return Err(else_say.to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn say_goodbye(&self, engines: &Engines, shared: &Shared) -> bool {
        let by = self.clock.mono() + CLOSE_WITHIN * 2;
        engines.stop();
        while !shared.status().closed {
            if self.clock.mono() >= by {
                return false;
            }
            std::thread::sleep(LOOK_EVERY * 10);
        }
        true
    }
}

/// Says so where the load tester itself had no CPU left.
fn note_share(what: &str, before: &Look, after: &Look, wall: Duration, turn: &mut Turn) {
    let share = (after.ours_ns - before.ours_ns) as f64 / wall.as_nanos() as f64;
    if share > CPU_SHARE_MAX {
        turn.notes.push(format!("{what}: the load tester was the bottleneck, the server waited for it"));
    }
}

/// The figures of a closed part.
struct Costs {
    what: &'static str,
    cpu: Metric,
    busy: Metric,
}

const SINGLE: Costs = Costs { what: "one a socket", cpu: Metric::SingleCpuNs, busy: Metric::SingleBusyNs };
const BURST: Costs = Costs { what: "bursts", cpu: Metric::BurstCpuNs, busy: Metric::BurstBusyNs };

/// The clients are in; the parts follow.
struct Play<'a> {
    stage: &'a Stage<'a>,
    engines: &'a Engines,
    publisher: &'a mut Publisher,
    part: u64,
}

impl Play<'_> {
    /// Learns how many bytes the server adds; gives back the pad that makes a message as long as the others'.
    fn probe(&mut self, turn: &mut Turn) -> Result<usize, String> {
        let script = Script { messages: PROBES, burst: 1, follow: Follow::Closed, pad: PROBE_PAD };
        let outcome = self.play(&script, turn)?;
        let each = outcome.copies.payload_bytes.checked_div(outcome.copies.received);
        let each = each.ok_or("no copy of the first messages came")? as usize;
        Ok((self.stage.config.size + PROBE_PAD).saturating_sub(each))
    }

    fn closed(&mut self, script: &Script, costs: &Costs, turn: &mut Turn) -> Result<(), String> {
        let outcome = self.play(script, turn)?;
        let PartOutcome { before, after, copies, wall, .. } = &outcome;
        let received = copies.received.max(1) as f64;
        turn.figures.insert(costs.cpu, (after.server_ns - before.server_ns) as f64 / received);
        if let Some((after, before)) = after.core_busy_ns.zip(before.core_busy_ns) {
            turn.figures.insert(costs.busy, (after - before) as f64 / received);
        }
        if script.burst == 1 {
            turn.figures.insert(Metric::MessageBytes, copies.payload_bytes as f64 / received);
        } else {
            turn.figures.insert(Metric::BurstPerFrame, received / copies.frames.max(1) as f64);
        }
        note_share(&format!("{}, one behind the other", costs.what), before, after, *wall, turn);
        Ok(())
    }

    fn paced(&mut self, script: &Script, p99: Metric, turn: &mut Turn) -> Result<(), String> {
        let outcome = self.play(script, turn)?;
        if let Some(summary) = outcome.latency.summary() {
            turn.figures.insert(p99, summary.p99);
        }
        let what = if script.burst == 1 { "p99, one a socket" } else { "p99, bursts" };
        note_share(what, &outcome.before, &outcome.after, outcome.wall, turn);
        if outcome.late.as_secs_f64() * 1e3 > SEND_LAG_MS_MAX {
            turn.notes
                .push(format!("{what}: a publication began over {SEND_LAG_MS_MAX} ms late, which is in it"));
        }
        Ok(())
    }

    /// Plays one part to its end and keeps its books.
    fn play(&mut self, script: &Script, turn: &mut Turn) -> Result<PartOutcome, String> {
        self.part += 1;
        let Stage { clock, meter, config, .. } = self.stage;
        let start = clock.mono() + HEAD_START;
        let pace = match script.follow {
            Follow::Closed => Pace::in_bursts(start, STORM_PER_S, script.burst),
            Follow::Paced { per_s } => Pace::in_bursts(start, per_s, script.burst),
        };
        let posts = Arc::new(Posts::new(pace, script.messages));
        let marker = self.stage.marker(self.part);
        self.engines.begin_part(Part { posts: Arc::clone(&posts), marker: marker.clone() });
        self.armed()?;
        let heard = self.engines.copies_heard();
        let (before, began) = (meter.look_at_rest(), clock.mono());
        let late = self.publish_all(script, &posts, &marker, heard)?;
        let last = clock.mono();
        let owed = heard + script.messages * u64::from(self.stage.plan.connections);
        // What is missing after this is lost, and the books say so.
        let _missing = self.stage.wait(last + config.settle, "", || self.engines.copies_heard() >= owed);
        let wall = clock.mono().since(began);
        let after = meter.look_at_rest();
        self.engines.end_part();
        self.armed()?;
        Ok(self.sum(
            &posts,
            turn,
            PartOutcome {
                before,
                after,
                wall,
                late,
                latency: Latencies::default(),
                copies: crate::counts::Copies::default(),
                balance: tally::Balance::default(),
            },
        ))
    }

    fn sum(&self, posts: &Posts, turn: &mut Turn, mut outcome: PartOutcome) -> PartOutcome {
        let mut tallies = Vec::new();
        for result in self.engines.take_parts() {
            outcome.latency.merge(&result.latency);
            outcome.copies.merge(result.copies);
            tallies.push(result.tally);
        }
        outcome.balance = tally::balance(&tallies, posts.messages(), &|number| posts.is_accepted(number));
        turn.owed += outcome.balance.owed;
        turn.received += outcome.balance.received;
        turn.lost += outcome.balance.lost;
        turn.duplicated += outcome.copies.duplicated;
        turn.strays += outcome.copies.strays;
        outcome
    }

    fn armed(&self) -> Result<(), String> {
        let by = self.stage.clock.mono() + ARM_WITHIN;
        self.stage.wait(by, "a thread of the load tester hangs", || self.engines.is_part_armed())
    }

    /// Publishes every burst at its time; gives back how late the latest began.
    fn publish_all(
        &mut self,
        script: &Script,
        posts: &Posts,
        marker: &Marker,
        heard: u64,
    ) -> Result<Duration, String> {
        let clock = self.stage.clock;
        let mut late = Duration::ZERO;
        let mut number = 0;
        while number < script.messages {
            let numbers = number..(number + script.burst).min(script.messages);
            let publications: Vec<String> = numbers
                .clone()
                .map(|number| {
                    let data = marker.data(Mark { number, recipient: Recipient::All });
                    self.stage.peer.dialect.publication(&data, script.pad)
                })
                .collect();
            if let Follow::Paced { .. } = script.follow {
                let due = posts.pace().intended(number);
                self.stage.wait(due + ARM_WITHIN, "", || clock.mono() >= due)?;
                late = late.max(clock.mono().since(due));
            }
            let taken = self.publisher.publish(&publications)?;
            if taken != publications.len() {
                return Err(format!("the server took {taken} of {} publications", publications.len()));
            }
            numbers.clone().for_each(|number| posts.record_accepted(number, clock.mono()));
            number = numbers.end;
            if let Follow::Closed = script.follow {
                let owed = heard + number * u64::from(self.stage.plan.connections);
                let by = clock.mono() + self.stage.config.settle;
                self.stage.wait(by, "copies are missing: the server lost messages", || {
                    self.engines.copies_heard() >= owed
                })?;
            }
        }
        Ok(late)
    }
}
