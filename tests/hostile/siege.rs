//! Thousands attack at once: each is closed in ten seconds, honest users hardly notice, memory stays flat.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::Stopwatch;
use tests::{Setup, Tocsin};

use crate::attack::{self, End, HOARD, Kind, Target};
use crate::honest::{self, Felt};
use crate::scale;

/// What is promised to honest users.
const CLOSED_IN: Duration = Duration::from_secs(10);
/// What a busy machine may add before the test fails: the attackers are on the same cores as the server.
const CLOSED_SLACK: Duration = Duration::from_secs(4);
const LATENCY_SLACK: Duration = Duration::from_millis(500);
/// Attackers come to full strength, and the allocator to its size, in this time.
const WARM_UP: Duration = Duration::from_secs(14);
const CALM: Duration = Duration::from_secs(6);
const GROWTH_MAX: u64 = 48 << 20;

/// What was seen of one siege.
struct Siege {
    ends: Vec<End>,
    /// Resident bytes of the server, once a second.
    resident: Vec<u64>,
    /// Most connections at once.
    peak: u64,
}

fn besiege(tocsin: &Tocsin, pid_status: &dyn Fn() -> u64, attackers: u32, time: Duration) -> Siege {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let target = Target { server: tocsin.clients(), token: tocsin.setup.token(HOARD).into() };
    runtime.block_on(async {
        let (say, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let careers: Vec<_> = (0..attackers)
            .map(|number| tokio::spawn(attack::career(number, target.clone(), say.clone())))
            .collect();
        let began = Stopwatch::start();
        let mut siege = Siege { ends: Vec::new(), resident: Vec::new(), peak: 0 };
        while began.elapsed() < time {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if began.elapsed() > WARM_UP {
                siege.resident.push(pid_status());
            }
            let admin = tocsin.gateway_admin();
            let open =
                tokio::task::spawn_blocking(move || Tocsin::metric(&admin, "tocsin_gateway_connections", ""));
            siege.peak = siege.peak.max(open.await.expect("no panic") as u64);
            while let Ok(end) = ends.try_recv() {
                siege.ends.push(end);
            }
        }
        careers.iter().for_each(tokio::task::JoinHandle::abort);
        siege
    })
}

fn say(line: &str) {
    println!("REPORT: {line}");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Each kind's attacks and the longest of them; what was never closed is a fault.
fn judge(ends: &[End]) {
    let mut kinds: BTreeMap<Kind, (usize, Duration)> = BTreeMap::new();
    let mut let_be = Vec::new();
    for end in ends {
        let (count, longest) = kinds.entry(end.kind).or_default();
        *count += 1;
        match end.lasted {
            Some(lasted) => *longest = (*longest).max(lasted),
            None => let_be.push(end.kind),
        }
    }
    for (kind, (count, longest)) in &kinds {
        say(&format!("{kind:?}: {count} attacks, closed in {:.1} s at the latest", longest.as_secs_f64()));
    }
    assert!(let_be.is_empty(), "never closed: {let_be:?}");
    let late: Vec<_> = kinds.iter().filter(|(_, (_, longest))| *longest > CLOSED_IN + CLOSED_SLACK).collect();
    assert!(late.is_empty(), "closed too late: {late:?}");
    let missing: Vec<_> = Kind::ALL.iter().filter(|kind| !kinds.contains_key(kind)).collect();
    assert!(missing.is_empty(), "no attack of these kinds came to its end: {missing:?}");
}

fn median(sorted_part: &[u64]) -> u64 {
    let mut sorted = sorted_part.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[test]
fn thousands_of_attackers_are_closed_in_time_and_honest_users_hardly_notice() {
    let attackers = u32::try_from(scale("ATTACKERS", 2_000)).expect("a number of attackers");
    let time = Duration::from_secs(scale("SECONDS", 32));
    let mut tocsin = Setup::split()
        .set("gateway.soft_limit", 20_000)
        .set("gateway.hard_limit", 24_000)
        .set("gateway.limits.outbox_bytes", 70_000)
        .set("gateway.limits.connections_per_user", 60_000)
        .start();
    let note = json!({ "to": { "user": HOARD }, "body": "x".repeat(2_000) });
    tocsin.api().accepted_batch(&std::iter::repeat_n(note, 60).collect::<Vec<Value>>());
    let calm = honest::during(&tocsin, "calm", || std::thread::sleep(CALM));
    let pid = tocsin.gateway().pid();
    let resident = move || tests::process::resident_bytes_of(pid);
    let mut siege = None;
    let under_attack = honest::during(&tocsin, "siege", || {
        siege = Some(besiege(&tocsin, &resident, attackers, time));
    });
    let siege = siege.expect("it was held");
    let (first, last) = siege.resident.split_at(siege.resident.len() / 2);
    let (before, after) = (median(first), median(last));
    say(&format!("{attackers} attackers for {} s, {} connections at once", time.as_secs(), siege.peak));
    report("calm", &calm);
    report("under attack", &under_attack);
    say(&format!("resident: {} MiB in the first half, {} MiB in the second", before >> 20, after >> 20));
    judge(&siege.ends);
    assert_eq!((calm.lost, under_attack.lost), (0, 0), "nothing of honest users is lost");
    let (was, is) = (Felt::p99(&calm.latencies), Felt::p99(&under_attack.latencies));
    assert!(is < was + LATENCY_SLACK, "p99 went from {was:?} to {is:?}");
    assert!(Felt::p99(&under_attack.handshakes) < Duration::from_secs(2), "newcomers wait");
    assert!(after < before + GROWTH_MAX.max(before / 10), "memory grows: {before} to {after}");
    let half = u64::from(attackers) / 4;
    assert!(siege.peak > half, "no siege: {} connections at once", siege.peak);
}

fn report(phase: &str, felt: &Felt) {
    say(&format!(
        "{phase}: {} notifications, p99 {:.1} ms; {} handshakes, p99 {:.1} ms",
        felt.latencies.len(),
        millis(Felt::p99(&felt.latencies)),
        felt.handshakes.len(),
        millis(Felt::p99(&felt.handshakes)),
    ));
}
