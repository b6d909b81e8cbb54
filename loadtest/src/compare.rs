//! `loadtest compare`: the same scenario against several servers in turns, A B C A B C, with the same sockets, bytes and cores;
//! medians, ranges and ratios to ours. This is the walk: who comes when. A porch; called by `main` and by tests.
//!
//! Pure rooms: `config`, `figures`, `report`, `table`, `html`. Porches: `args`, `turn`, `publisher`, `meter`, `starter`.

pub mod args;
pub mod config;
pub mod figures;
pub mod html;
mod meter;
mod publisher;
pub mod report;
mod starter;
pub mod table;
mod turn;

use std::time::Duration;

use ops::clock::Clock;

use crate::fleet::mix;
use crate::interrupt::Interrupt;
use crate::machine;
use crate::plan::{self, Plan, Wanted};
use crate::progress::Progress;
use crate::report::head::Head;
use crate::run::RunError;
use config::{CompareConfig, Peer};
use meter::Meter;
use report::{CompareReport, PeerSeen, SCHEMA, Turn, summarise, warn};

/// How long a server may take to listen, where nobody but us waits for it.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);
const LISTEN_LOOK_EVERY: Duration = Duration::from_millis(20);

struct Walk<'a> {
    config: &'a CompareConfig,
    clock: Clock,
    interrupt: &'a Interrupt,
    peers: Vec<PeerSeen>,
    progress: Progress,
}

/// Runs every turn and reports. A peer that fails is a turn without figures, not the end.
pub fn run(config: &CompareConfig, clock: Clock, interrupt: &Interrupt) -> Result<CompareReport, RunError> {
    let (started_at, begun) = (clock.wall(), clock.mono());
    let plans = config.sockets.iter().map(|sockets| Ok((*sockets, lay_out(*sockets)?)));
    let plans: Vec<(u32, Plan)> = plans.collect::<Result<_, RunError>>()?;
    let seen = |peer: &Peer| PeerSeen { name: peer.name.clone(), url: peer.url(), ..PeerSeen::default() };
    let peers = config.peers.iter().map(seen).collect();
    let mut walk = Walk { config, clock, interrupt, peers, progress: Progress::new() };
    let turns = walk.turns(&plans);
    walk.progress.end();
    let ours = config.ours().to_owned();
    let summary = summarise(&turns, &config.sockets, &walk.peers, &ours);
    let mut warnings = warn(&summary, &turns);
    let our_cores = meter::cores_allowed(std::process::id()).unwrap_or_default();
    let together = |peer: &&PeerSeen| !peer.cores.is_empty() && !apart(&peer.cores, &our_cores);
    for peer in walk.peers.iter().filter(together) {
        warnings.push(format!(
            "{} may run on core {}, the load tester on {our_cores}: they take each other's time (taskset -c)",
            peer.name, peer.cores
        ));
    }
    Ok(CompareReport {
        head: Head {
            seconds: clock.mono().since(begun).as_secs_f64(),
            interrupted: interrupt.is_asked(),
            config: config.to_json(),
            ..Head::new(SCHEMA, &config.command, started_at, machine::machine())
        },
        ours,
        our_cores,
        peers: walk.peers,
        passed: !turns.is_empty() && turns.iter().all(Turn::is_whole) && !interrupt.is_asked(),
        turns,
        summary,
        warnings,
    })
}

fn apart(server_cores: &str, our_cores: &str) -> bool {
    Meter { pid: 0, server_cores: server_cores.to_owned(), our_cores: our_cores.to_owned() }.is_apart()
}

/// One thread holds them all: it has one core.
fn lay_out(sockets: u32) -> Result<Plan, RunError> {
    let host =
        machine::host().map_err(|error| RunError::Failed(format!("cannot read the limits: {error}")))?;
    let wanted = Wanted {
        connections: sockets,
        threads: Some(1),
        sources: None,
        targets: 1,
        loopback: true,
        tls: false,
    };
    Ok(plan::plan(&wanted, &host)?)
}

impl Walk<'_> {
    fn turns(&mut self, plans: &[(u32, Plan)]) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        let all = plans.len() * self.config.rounds as usize * self.config.peers.len();
        self.progress.begin("turns", all as u64);
        for (sockets, plan) in plans {
            for round in 0..self.config.rounds {
                for at in 0..self.config.peers.len() {
                    if self.interrupt.is_asked() {
                        return turns;
                    }
                    let name = &self.config.peers[at].name;
                    let more = format!("{name}, {sockets} sockets, round {}", round + 1);
                    self.progress.show(turns.len() as u64, &more, self.clock.mono());
                    let turn = self.turn(at, *plan, round, turns.len() as u64);
                    turns.push(turn);
                }
            }
        }
        turns
    }

    /// Starts the peer, plays, stops it.
    fn turn(&mut self, at: usize, plan: Plan, round: u32, number: u64) -> Turn {
        let name = self.config.peers[at].name.clone();
        let failed = |error: String| Turn {
            round,
            peer: name.clone(),
            sockets: plan.connections,
            error: Some(error),
            ..Turn::default()
        };
        let Some(starter) = &self.config.starter else {
            return self.play(at, plan, round, number).unwrap_or_else(failed);
        };
        let mut turn = match starter::start(starter, &name) {
            Ok(about) => {
                self.peers[at].about = about;
                self.play(at, plan, round, number).unwrap_or_else(failed)
            }
            Err(error) => failed(error),
        };
        if let Err(error) = starter::stop(starter, &name) {
            turn.error.get_or_insert(error);
        }
        turn
    }

    fn play(&mut self, at: usize, plan: Plan, round: u32, number: u64) -> Result<Turn, String> {
        let peer = &self.config.peers[at];
        let address = machine::resolve(&peer.target)?;
        self.wait_for(address)?;
        let port = peer.target.port;
        let pid =
            machine::listener_of(port).ok_or_else(|| format!("no process of ours listens on port {port}"))?;
        let meter = Meter::of(pid).ok_or("the server's process cannot be looked at")?;
        self.peers[at].cores.clone_from(&meter.server_cores);
        let stage = turn::Stage {
            config: self.config,
            peer,
            plan,
            address,
            meter,
            clock: self.clock,
            interrupt: self.interrupt,
            seed: mix(self.config.seed, number),
        };
        Ok(turn::run(&stage, round))
    }

    fn wait_for(&self, address: std::net::SocketAddr) -> Result<(), String> {
        let by = self.clock.mono() + LISTEN_WITHIN;
        loop {
            match machine::look(address) {
                Ok(()) => return Ok(()),
                Err(error) if self.clock.mono() >= by || self.interrupt.is_asked() => return Err(error),
                Err(_) => std::thread::sleep(LISTEN_LOOK_EVERY),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;
    use wire::time::Wall;

    use crate::cli::{Cli, Command};

    pub(crate) fn settled(words: &[&str]) -> Result<CompareConfig, String> {
        let cli = Cli::try_parse_from([&["loadtest", "compare"], words].concat())
            .map_err(|error| error.to_string())?;
        let Command::Compare(args) = cli.command else { panic!("it is a comparison") };
        args.settle(Wall(0), 7, String::new()).map_err(|error| error.to_string())
    }

    pub(crate) fn config(peers: &[&str]) -> CompareConfig {
        let words: Vec<&str> = peers.iter().flat_map(|peer| ["--peer", peer]).collect();
        settled(&words).expect("good flags")
    }

    #[test]
    fn flags_out_of_range_are_one_line_that_names_them() {
        let raw = "raw=ws://h:1";
        for (words, flag) in [
            (vec!["--peer", "raw"], "--peer"),
            (vec!["--peer", raw, "--peer", raw], "--peer raw"),
            (vec!["--peer", raw, "--rounds", "0"], "--rounds"),
            (vec!["--peer", raw, "-n", "10,0"], "--sockets"),
            (vec!["--peer", raw, "--burst", "100000"], "--burst"),
            (vec!["--peer", raw, "--rate", "0"], "--rate"),
            (vec!["--peer", raw, "--for", "5"], "--for"),
            (vec!["--peer", raw, "--at-once", "0"], "--at-once"),
            (vec!["--peer", raw, "--size", "0"], "--size"),
            (vec!["--peer", raw, "--api", "https://h"], "--api"),
            (vec!["--peer", raw, "--key", ""], "--key"),
        ] {
            let error = settled(&words).expect_err(flag);
            assert!(error.contains(flag) && error.trim_end().lines().count() == 1, "{flag}: {error}");
        }
        assert!(settled(&[]).is_err(), "a comparison needs a peer");
    }

    #[test]
    fn a_config_for_the_report_holds_no_secret() {
        let config = settled(&["--peer", "raw=ws://h:1", "--key", "canary"]).expect("good flags");
        assert_eq!(config.key, "canary");
        assert!(!config.to_json().to_string().contains("canary"));
    }
}
