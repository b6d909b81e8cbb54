//! The threads that hold the clients: one glommio executor each, rings joined to it, a fleet on top. A porch: it carries bytes
//! and wishes between `fleet` and `gateway-ring`, reads the clock, and measures whether it kept up. Called by `run`.

mod parts;
mod secure;
mod sockets;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use gateway_ring::{Notifier, RingConfig, Rings};
use glommio::ExecutorJoinHandle;
use ops::clock::Clock;
use wire::time::Mono;

use crate::counts::{Counts, Journal};
use crate::fleet::{Audience, End, Fleet, FleetConfig, Output};
use crate::limits::{CPU_SHARE_MAX, LOOP_LAG_MS_MAX};
use crate::machine::{self, Of};
use crate::percentiles::Latencies;
use crate::posts::Posts;
use crate::sources::Sources;
use crate::tally::Tally;
use crate::tls::{Clients, TlsPlan};
use parts::{Parts, Seen};
use secure::Secure;
use sockets::Sockets;

pub use parts::{Part, PartResult};

/// A loop never sleeps longer, so that it sees what the run wants and how late its timer is.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// Nor shorter: between two connects of a fast schedule a nap costs more than it gives.
const SLEEP_MIN: Duration = Duration::from_micros(200);
/// How often the figures for the progress line are copied out.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// How often the thread's own CPU time is read.
const CPU_EVERY: Duration = Duration::from_secs(1);
/// Slots beyond the clients, for sockets that are closing while their clients come back.
const SLOTS_SPARE: u32 = 256;

/// What one thread needs to know.
#[derive(Debug)]
pub struct EngineConfig {
    pub fleet: FleetConfig,
    /// One for each target of the fleet.
    pub addresses: Vec<SocketAddr>,
    pub sources: Option<Sources>,
    /// For the targets that speak it.
    pub tls: Option<TlsPlan>,
    pub rings: Option<u16>,
    pub clock: Clock,
}

/// What the run and its threads tell each other.
#[derive(Debug)]
pub struct Shared {
    stage: AtomicU8,
    run: OnceLock<(Arc<Posts>, Audience)>,
    /// Are losses and returns remembered one by one?
    watches_returns: AtomicBool,
    /// Whoever is asked to leave stays away.
    leaving: AtomicBool,
    /// Every thread cuts its connections once this is set.
    cut: OnceLock<End>,
    /// Threads that count copies since `run` was set.
    armed: AtomicU32,
    /// Which clients are in, by number.
    inside: Box<[AtomicBool]>,
    status: Box<[Mutex<Status>]>,
    parts: Parts,
}

/// A thread's figures for the progress line.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub counts: Counts,
    /// Every client is in or gone for good.
    pub settled: bool,
    pub closed: bool,
    /// The longest turn since the figures were last copied out.
    pub lag: Duration,
}

const HOLDING: u8 = 0;
const CLOSING: u8 = 1;

impl Shared {
    pub fn new(clients: u32, threads: u16) -> Shared {
        Shared {
            stage: AtomicU8::new(HOLDING),
            run: OnceLock::new(),
            watches_returns: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            cut: OnceLock::new(),
            armed: AtomicU32::new(0),
            inside: (0..clients).map(|_| AtomicBool::new(false)).collect(),
            status: (0..threads).map(|_| Mutex::default()).collect(),
            parts: Parts::default(),
        }
    }

    pub fn is_inside(&self, client: u32) -> bool {
        self.inside[client as usize].load(Ordering::Relaxed)
    }

    /// All threads' figures in one.
    pub fn status(&self) -> Status {
        let mut sum = Status { settled: true, closed: true, ..Status::default() };
        for place in &self.status {
            let status = place.lock().unwrap_or_else(PoisonError::into_inner);
            sum.counts.merge(&status.counts);
            sum.settled &= status.settled;
            sum.closed &= status.closed;
            sum.lag = sum.lag.max(status.lag);
        }
        sum
    }
}

/// What one thread brings home.
#[derive(Debug)]
pub struct EngineResult {
    pub journal: Journal,
    pub tally: Tally,
    pub last_in: Option<Mono>,
    pub load: Load,
}

/// Whether the thread kept up.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Length of the loop's turns, and how late its timer was.
    pub lag: Latencies,
    /// Time in turns that were longer than [`LOOP_LAG_MS_MAX`], and all time. A share of time, not of turns: one long turn among
    /// ten thousand short ones is in the latency of everything that was due in it.
    pub slow: Duration,
    pub all: Duration,
    /// The busiest second, share of a core.
    pub cpu_max: f64,
    /// Seconds in which it was as good as always busy, and all seconds.
    pub seconds_full: u32,
    pub seconds: u32,
}

impl Load {
    /// One turn: how long it kept clients waiting, and how long it was with its sleep.
    pub fn record(&mut self, lag: Duration, turn: Duration) {
        self.lag.record(lag);
        self.all += turn;
        if lag.as_secs_f64() * 1e3 > LOOP_LAG_MS_MAX {
            self.slow += lag;
        }
    }

    pub fn merge(&mut self, other: &Load) {
        self.lag.merge(&other.lag);
        self.slow += other.slow;
        self.all += other.all;
        self.cpu_max = self.cpu_max.max(other.cpu_max);
        self.seconds += other.seconds;
        self.seconds_full += other.seconds_full;
    }
}

/// The threads.
#[derive(Debug)]
pub struct Engines {
    pub shared: Arc<Shared>,
    notifiers: Vec<Notifier>,
    threads: Vec<ExecutorJoinHandle<Result<EngineResult, String>>>,
    /// Each thread's table, for the report.
    pub tables: Vec<String>,
}

/// Why a thread could not start: the line says which limit and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl From<gateway_ring::OpenError> for StartError {
    fn from(why: gateway_ring::OpenError) -> StartError {
        let remedy = if why.is_a_limit() { " (tuning apply --profile loadtest sets it)" } else { "" };
        StartError(format!("{why}{remedy}"))
    }
}

impl Engines {
    /// Starts one thread for each config; returns when all have their rings, or the first error.
    pub fn start(configs: Vec<EngineConfig>, shared: Arc<Shared>) -> Result<Engines, StartError> {
        let mut engines = Engines { shared, notifiers: Vec::new(), threads: Vec::new(), tables: Vec::new() };
        for (number, config) in configs.into_iter().enumerate() {
            if let Err(error) = engines.start_one(number, config) {
                engines.stop();
                return Err(error);
            }
        }
        Ok(engines)
    }

    fn start_one(&mut self, number: usize, config: EngineConfig) -> Result<(), StartError> {
        let (opened, opening) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let thread = gateway_ring::executor(None, &format!("loadtest-{number}"))
            .spawn(move || async move { run(number, config, &shared, &opened).await })
            .map_err(|error| {
                StartError(format!("cannot start a glommio executor: {error} (RLIMIT_MEMLOCK? ulimit -l; tuning apply --profile loadtest)"))
            })?;
        self.threads.push(thread);
        let opened =
            opening.recv().unwrap_or_else(|_| Err("a thread ended before its rings were open".to_owned()));
        let (notifier, table) = opened.map_err(StartError)?;
        self.notifiers.push(notifier);
        self.tables.push(table);
        Ok(())
    }

    fn wake(&self) {
        for notifier in &self.notifiers {
            notifier.wake();
        }
    }

    /// Copies of these messages count from now on.
    pub fn begin_run(&self, posts: Arc<Posts>, audience: Audience) {
        assert!(self.shared.run.set((posts, audience)).is_ok(), "a run begins once");
        self.wake();
    }

    /// Does every thread count already?
    pub fn is_armed(&self) -> bool {
        self.shared.armed.load(Ordering::Acquire) as usize == self.notifiers.len()
    }

    /// From here on losses and returns are remembered.
    pub fn watch_returns(&self) {
        self.shared.watches_returns.store(true, Ordering::Release);
        self.wake();
    }

    /// From here on whoever a server asks to leave, or closes, stays away.
    pub fn begin_leaving(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends every connection; the clients come back by the policy.
    pub fn cut(&self, how: End) {
        assert!(self.shared.cut.set(how).is_ok(), "a run cuts once");
        self.wake();
    }

    /// Says goodbye everywhere. [`Shared::status`] tells when that is done.
    pub fn stop(&self) {
        self.shared.stage.store(CLOSING, Ordering::Release);
        self.wake();
    }

    /// Waits for all threads; they end when every connection is closed, so ask [`Shared::status`] first.
    pub fn join(self) -> Result<Vec<EngineResult>, StartError> {
        let results = self.threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result.map_err(StartError),
            Err(error) => Err(StartError(format!("a thread failed: {error}"))),
        });
        results.collect()
    }
}

type Opened = mpsc::Sender<Result<(Notifier, String), String>>;

async fn run(
    number: usize,
    config: EngineConfig,
    shared: &Shared,
    opened: &Opened,
) -> Result<EngineResult, String> {
    let clients = config.fleet.lane.share(config.fleet.clients);
    let places = clients + config.fleet.errand_places();
    let ring_config = RingConfig {
        connections: places + SLOTS_SPARE,
        rings: config.rings,
        sharers: config.fleet.lane.lanes,
        ..RingConfig::default()
    };
    let rings = match Rings::open(&ring_config) {
        Ok(rings) if rings.table().capacity >= places => rings,
        Ok(rings) => {
            let line =
                format!("{} for {clients} clients: raise RLIMIT_NOFILE or give more --rings", rings.table());
            let _listening = opened.send(Err(line.clone()));
            return Err(line);
        }
        Err(error) => {
            let line = StartError::from(error).to_string();
            let _listening = opened.send(Err(line.clone()));
            return Err(line);
        }
    };
    let secure = match secure(&config, places) {
        Ok(secure) => secure,
        Err(line) => {
            let _listening = opened.send(Err(line.clone()));
            return Err(line);
        }
    };
    // Nobody listens when the run gave up meanwhile; `stop` then ends this thread too.
    let _listening = opened.send(Ok((rings.notifier(), rings.table().to_string())));
    let sockets = Sockets::new(rings, places, config.addresses, config.sources, config.fleet.lane, secure);
    let clock = config.clock;
    let fleet = Fleet::new(config.fleet);
    let engine = Engine {
        fleet,
        sockets,
        clock,
        load: Load::default(),
        armed: false,
        has_cut: false,
        told: Mono::ZERO,
        lag: Duration::ZERO,
        cpu: None,
        part: Seen::default(),
    };
    Ok(engine.run(number, shared).await)
}

/// The TLS side of a thread's sockets; `None` where every target speaks plaintext.
fn secure(config: &EngineConfig, places: u32) -> Result<Option<Secure>, String> {
    let Some(plan) = &config.tls else { return Ok(None) };
    let hosts = config.fleet.targets.iter().map(|target| target.is_tls.then(|| target.host.clone()));
    let sessions = Clients::new(plan).map_err(|why| format!("TLS cannot be set up: {why}"))?;
    Ok(Some(Secure::new(sessions, hosts.collect(), places)))
}

struct Engine {
    fleet: Fleet,
    sockets: Sockets,
    clock: Clock,
    load: Load,
    armed: bool,
    has_cut: bool,
    told: Mono,
    /// The longest turn since `told`.
    lag: Duration,
    /// When the thread's CPU time was last read, and what it was.
    cpu: Option<(Mono, Duration)>,
    part: Seen,
}

impl Engine {
    async fn run(mut self, number: usize, shared: &Shared) -> EngineResult {
        while !self.fleet.is_closed() {
            let start = self.clock.mono();
            self.obey(shared, start);
            self.fleet.handle_timeout(start);
            self.carry_out(shared, start);
            let events = self.sockets.turn(&mut self.fleet, &self.clock);
            let now = self.clock.mono();
            self.carry_out(shared, now);
            self.tell_parts(&shared.parts);
            self.tell(number, shared, now);
            let mut lag = now.since(start);
            if events == 0 {
                let until = self.fleet.poll_timeout().map_or(SLEEP_MAX, |at| at.since(now));
                let at_most = until.clamp(SLEEP_MIN, SLEEP_MAX);
                self.sockets.rings.wait(at_most).await;
                lag += self.clock.mono().since(now + at_most);
            }
            self.load.record(lag, self.clock.mono().since(start));
            self.lag = self.lag.max(lag);
            self.sockets.rings.give_way().await;
        }
        self.carry_out(shared, self.clock.mono());
        self.told = Mono::ZERO;
        self.tell(number, shared, self.clock.mono());
        let (journal, tally, last_in) = self.fleet.into_results();
        EngineResult { journal, tally, last_in, load: self.load }
    }

    fn obey(&mut self, shared: &Shared, now: Mono) {
        if !self.armed
            && let Some((posts, audience)) = shared.run.get()
        {
            self.armed = true;
            self.fleet.begin_run(Arc::clone(posts), audience);
            shared.armed.fetch_add(1, Ordering::Release);
        }
        if shared.watches_returns.load(Ordering::Acquire) {
            self.fleet.watch_returns();
        }
        if shared.leaving.load(Ordering::Acquire) {
            self.fleet.begin_leaving();
        }
        if !self.has_cut
            && let Some(how) = shared.cut.get()
        {
            self.has_cut = true;
            self.fleet.begin_cut(*how);
        }
        self.obey_parts(&shared.parts);
        if shared.stage.load(Ordering::Acquire) == CLOSING {
            self.fleet.begin_close(now);
        }
    }

    /// Every wish of the fleet. A socket that fails at once makes new ones, so this goes on until there are none.
    fn carry_out(&mut self, shared: &Shared, now: Mono) {
        while let Some(output) = self.fleet.poll_output() {
            match output {
                Output::Connect { place, target } => {
                    self.sockets.connect(place, target, &mut self.fleet, now);
                }
                Output::Send { place, frame } => self.sockets.send(place, frame, &mut self.fleet, now),
                Output::Close { place, how } => self.sockets.close(place, how),
                Output::Presence { client, inside } => {
                    shared.inside[client as usize].store(inside, Ordering::Relaxed);
                }
            }
        }
    }

    fn tell(&mut self, number: usize, shared: &Shared, now: Mono) {
        if now.since(self.told) < TELL_EVERY {
            return;
        }
        self.told = now;
        self.read_cpu(now);
        let status = Status {
            counts: self.fleet.journal().counts.clone(),
            settled: self.fleet.is_settled(),
            closed: self.fleet.is_closed(),
            lag: std::mem::take(&mut self.lag),
        };
        *shared.status[number].lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn read_cpu(&mut self, now: Mono) {
        if self.cpu.is_some_and(|(at, _)| now.since(at) < CPU_EVERY) {
            return;
        }
        let Some(used) = machine::cpu(Of::ThisThread) else { return };
        if let Some((at, before)) = self.cpu.replace((now, used)) {
            let share = used.saturating_sub(before).as_secs_f64() / now.since(at).as_secs_f64();
            self.load.cpu_max = self.load.cpu_max.max(share);
            self.load.seconds += 1;
            self.load.seconds_full += u32::from(share > CPU_SHARE_MAX);
        }
    }
}
