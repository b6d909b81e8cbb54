//! A whole gateway and a whole router in one thread, under a virtual clock, from a seed: the pure rooms themselves
//! (`gateway::shard`, `router::owner`, `router::links::queue`), joined by simulated sockets, links, journal and providers
//! that delay, stall, cut, crash and lose power. A reference model keeps what was promised.
//!
//! A failure prints its seed; `SIM_SEED=n tests/run sim` runs that one alone, `SIM_TRACE=1` prints its events,
//! `SIM_SEEDS=n` runs more.
#![forbid(unsafe_code)]

mod client;
mod events;
mod journal;
mod links;
mod model;
mod router;
mod shards;
mod world;

use world::{Faults, Report, World};

/// Seeds of one run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 60;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

fn run(seed: u64, faults: Faults) -> Report {
    // A seed that panics inside a room is named too.
    let ran = std::panic::catch_unwind(|| World::new(seed, faults).run());
    match ran {
        Ok(report) if report.faults.is_empty() => report,
        Ok(report) => panic!("seed {seed} ({faults:?}): {:#?}\n{report:#?}", report.faults),
        Err(panic) => {
            eprintln!("seed {seed} ({faults:?}) panicked");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn in_calm_everything_is_delivered_live_and_once() {
    for seed in seeds() {
        let report = run(seed, Faults::None);
        assert!(report.live > 0 && report.handed_in > 100, "seed {seed}: {report:?}");
        assert_eq!((report.not_live, report.twice_on_a_socket), (0, 0), "seed {seed}: {report:?}");
    }
}

#[test]
fn links_that_stall_and_break_lose_nothing() {
    for seed in seeds() {
        run(seed, Faults::Links);
    }
}

#[test]
fn a_router_that_crashes_loses_nothing() {
    let crashes: u32 = seeds().into_iter().map(|seed| run(seed, Faults::Crashes).crashes).sum();
    assert!(crashes > 0, "a story without a crash shows nothing");
}

#[test]
fn a_router_that_loses_power_loses_nothing() {
    for seed in seeds() {
        run(seed, Faults::Power);
    }
}

#[test]
fn everything_at_once_loses_nothing() {
    for seed in seeds() {
        run(seed, Faults::All);
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [1, 7, 99] {
        let (one, two) = (run(seed, Faults::All), run(seed, Faults::All));
        assert_eq!(one.trace, two.trace, "seed {seed} told two stories");
        assert_eq!(one.events, two.events);
    }
    assert_ne!(run(1, Faults::All).trace, run(2, Faults::All).trace, "seeds differ");
}

#[test]
fn a_planted_loss_is_found() {
    let report = World::new(3, Faults::None).with_planted_loss().run();
    assert!(!report.faults.is_empty(), "one record was taken out of the journal: {report:?}");
}
