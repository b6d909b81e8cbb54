//! Gateways are replaced one after the other under a fleet that reconnects: nothing that was accepted is lost.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::client::{Connect, id_of};
use tests::{Api, Equation, Event, Setup, Tocsin};

use crate::support::to_user;

const USERS: usize = 24;
/// The drain's, in the settings below.
const WINDOW: Duration = Duration::from_secs(4);
/// For the process itself to end.
const SLACK: Duration = Duration::from_secs(2);
/// A client looks this often whether the test is over.
const LOOK: Duration = Duration::from_millis(100);

/// What one client of the fleet saw.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    advised: usize,
    closes: Vec<u16>,
}

/// A client that goes to the next gateway when it is advised to, is closed or is lost, and syncs there. It comes to
/// rest when it is told so and has synced once more.
fn wander(user: &Connect, gateways: &[SocketAddr], first: usize, is_over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut at = first;
    loop {
        at = (at + 1) % gateways.len();
        let Ok(mut client) = user.to(gateways[at]) else {
            std::thread::sleep(LOOK);
            continue;
        };
        let was_over = is_over.load(Ordering::Relaxed);
        seen.ids.extend(client.sync_all(&json!({})).0.iter().map(id_of));
        seen.ids.extend(client.kept().filter(|kept| kept["type"] == "notification").map(id_of));
        if was_over {
            return seen;
        }
        loop {
            match client.event(LOOK) {
                Event::Message(message) if message["type"] == "notification" => {
                    seen.ids.insert(id_of(&message));
                }
                Event::Message(message) if message["type"] == "reconnect" => {
                    seen.advised += 1;
                    break;
                }
                Event::Closed { code, .. } => {
                    seen.closes.push(code);
                    break;
                }
                Event::Lost(_) => break,
                _ if is_over.load(Ordering::Relaxed) => break,
                _ => {}
            }
        }
    }
}

fn user(n: usize) -> String {
    format!("u{n}")
}

/// Hands in for everybody until the time is over: what was accepted, by user.
fn hand_in(api: &Api, is_over: &AtomicBool) -> BTreeMap<usize, HashSet<String>> {
    let mut accepted: BTreeMap<usize, HashSet<String>> = BTreeMap::new();
    for n in (0..USERS).cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        accepted.entry(n).or_default().insert(api.accepted(&to_user(&user(n), "on the way")));
        std::thread::sleep(Duration::from_millis(5));
    }
    accepted
}

/// Sets its flag when it goes, so that nobody is left waiting by a test that fails half-way.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// SIGTERM, the end inside the window, and a new process in its place.
fn replace(gateway: &mut Tocsin, window: Duration) {
    gateway.gateway().terminate();
    let ending = gateway.gateway().ending(window);
    assert_eq!(ending.status.code(), Some(0), "{}", ending.log);
    gateway.start_gateway();
}

#[test]
fn a_rolling_upgrade_of_two_gateways_loses_nothing() {
    let mut one = Setup::split().set("gateway.drain_s", 4_i64).start();
    let mut two = one.another_gateway("n2");
    let gateways = [one.clients(), two.clients()];
    let (service_is_over, fleet_is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let connects: Vec<Connect> = (0..USERS).map(|n| one.as_user(&user(n))).collect();
    let api = one.api();
    let (accepted, seen) = std::thread::scope(|scope| {
        let fleet_ends = OnDrop(&fleet_is_over);
        let (gateways, fleet_is_over, service_is_over) = (&gateways, &fleet_is_over, &service_is_over);
        let start = |(n, user)| scope.spawn(move || wander(user, gateways, n, fleet_is_over));
        let fleet: Vec<_> = connects.iter().enumerate().map(start).collect();
        let service_ends = OnDrop(service_is_over);
        let service = scope.spawn(|| hand_in(&api, service_is_over));
        replace(&mut one, WINDOW + SLACK);
        replace(&mut two, WINDOW + SLACK);
        drop(service_ends);
        let accepted = service.join().expect("no panic");
        Equation::settled(&api);
        drop(fleet_ends);
        (accepted, fleet.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<_>>())
    });
    let handed_in: usize = accepted.values().map(HashSet::len).sum();
    assert!(handed_in > 200, "{handed_in} were handed in during both drains");
    for (n, ids) in &accepted {
        let lost: Vec<&String> = ids.difference(&seen[*n].ids).collect();
        assert!(lost.is_empty(), "{} of {} are lost to {}: {lost:?}", lost.len(), ids.len(), user(*n));
    }
    let advised: usize = seen.iter().map(|seen| seen.advised).sum();
    assert!(advised >= USERS, "those on each gateway were advised: {advised}");
    assert!(seen.iter().flat_map(|seen| &seen.closes).all(|code| *code == 1012));
}
