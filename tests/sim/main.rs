//! Two gateways and a router in one thread, under a virtual clock, from a seed: the pure rooms themselves
//! (`gateway::shard`, `router::owner`, `router::links::queue`, the segment log), joined by simulated sockets, links, disks
//! and providers that delay, stall, partition, tear, crash and lose power. A reference model keeps what was promised.
//!
//! Checked after every step, incrementally: I1 each delivery in one state and the counters' equation, nothing before its
//! commit, nothing given up by the journal that the ledger has not (`audit`, `router`); I2 one first call a delivery and
//! none behind its outcome, live on one socket once (`ways`, `client`); I3 nothing for others (`audit`, `ways`, `client`);
//! I4 twenty pushes an hour, exactly (`ways`); I5 what is owed and kept stays in its bounds (`links`, `shards`, `router`);
//! I6 no panic. At the end of a story: everything promised is known to each client and is in its inbox, everything is final,
//! and when all have left nothing is left of them.
//!
//! A failure prints its seed; `SIM_SEED=n tests/run sim` runs that one alone, `SIM_TRACE=1` prints its events,
//! `SIM_SEEDS=n` runs more.
#![forbid(unsafe_code)]

mod audit;
mod client;
mod events;
mod faults;
mod journal;
mod links;
mod model;
mod router;
mod shards;
mod store;
mod ways;
mod world;

use faults::Mix;
use world::{Report, World};

/// Seeds of one run and mix, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 200;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

fn run(seed: u64, mix: Mix) -> Report {
    // A seed that panics inside a room is named too.
    let ran = std::panic::catch_unwind(|| World::new(seed, mix).run());
    match ran {
        Ok(report) if report.broken.is_empty() => report,
        Ok(report) => panic!("seed {seed} ({mix:?}): {report:#?}"),
        Err(panic) => {
            eprintln!("seed {seed} ({mix:?}): I6: a room panicked");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn in_calm_everything_is_delivered_live_and_once() {
    for seed in seeds() {
        let report = run(seed, Mix::Calm);
        assert!(report.live > 0 && report.handed_in > 100, "seed {seed}: {report:?}");
        assert_eq!((report.not_live, report.twice_on_a_socket), (0, 0), "seed {seed}: {report:?}");
    }
}

/// All seeds of a mix. Each of its faults must have happened, or they show nothing.
fn run_all(mix: Mix) -> Vec<Report> {
    let seeds = seeds();
    let reports: Vec<Report> = seeds.iter().map(|seed| run(*seed, mix)).collect();
    for kind in mix.kinds() {
        let happened: u32 = reports.iter().filter_map(|report| report.faults.get(kind)).sum();
        assert!(happened > 0 || seeds.len() < 20, "{kind:?} never happened");
    }
    reports
}

#[test]
fn links_that_stall_break_and_are_partitioned_lose_nothing() {
    run_all(Mix::Links);
}

#[test]
fn clients_that_do_not_read_and_gateways_that_die_lose_nothing() {
    let reports = run_all(Mix::Clients);
    let dropped: u64 = reports.iter().map(|report| report.dropped).sum();
    assert!(dropped > 0 || reports.len() < 20, "no outbox was ever full");
}

#[test]
fn a_router_that_crashes_loses_nothing() {
    let crashes: u32 = run_all(Mix::Crashes).iter().map(|report| report.crashes).sum();
    assert!(crashes > 0, "a story without a crash shows nothing");
}

#[test]
fn a_router_that_loses_power_loses_nothing() {
    run_all(Mix::Power);
}

#[test]
fn what_a_disk_loses_is_told() {
    let reports = run_all(Mix::Disk);
    let lost: usize = reports.iter().map(|report| report.lost).sum();
    assert!(lost > 0 || reports.len() < 20, "no bit ever hit a record");
}

#[test]
fn limits_lives_and_retention_hold_over_hours_and_set_clocks() {
    let reports = run_all(Mix::Hours);
    let held_back: u32 = reports.iter().map(|report| report.pushes_held_back).sum();
    assert!(held_back > 0 || reports.len() < 20, "no hour was ever full");
}

#[test]
fn everything_at_once_loses_nothing() {
    run_all(Mix::All);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [1, 7, 99] {
        let (one, two) = (run(seed, Mix::All), run(seed, Mix::All));
        assert_eq!(one.trace, two.trace, "seed {seed} told two stories");
        assert_eq!(one.events, two.events);
    }
    assert_ne!(run(1, Mix::All).trace, run(2, Mix::All).trace, "seeds differ");
}

#[test]
fn a_planted_loss_is_found() {
    let report = World::new(3, Mix::Calm).with_planted_loss().run();
    assert!(!report.broken.is_empty(), "one record was taken out of the journal: {report:?}");
}
