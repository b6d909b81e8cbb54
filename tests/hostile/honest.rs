//! Those who do nothing wrong: users who are sent notifications at a steady rate, and newcomers. What they feel while
//! others attack is what the attack achieves.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::deadline::Stopwatch;
use tests::{Event, Tocsin};

const USERS: usize = 8;
/// One notification this often.
const BEAT: Duration = Duration::from_millis(5);
/// One newcomer this often.
const COME: Duration = Duration::from_millis(50);

/// What honest people felt in one phase.
#[derive(Debug, Default, Clone)]
pub struct Felt {
    pub latencies: Vec<Duration>,
    pub handshakes: Vec<Duration>,
    /// Notifications that were accepted and have not come.
    pub lost: usize,
}

impl Felt {
    pub fn p99(times: &[Duration]) -> Duration {
        let mut sorted = times.to_vec();
        sorted.sort();
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// Lets honest people be for as long as `phase` lasts.
pub fn during(tocsin: &Tocsin, name: &str, phase: impl FnOnce()) -> Felt {
    let clock = Stopwatch::start();
    let is_over = AtomicBool::new(false);
    let arrived = Mutex::new(HashMap::new());
    let users: Vec<String> = (0..USERS).map(|n| format!("{name}-{n}")).collect();
    let (accepted, handshakes) = std::thread::scope(|scope| {
        for user in &users {
            let (is_over, arrived) = (&is_over, &arrived);
            scope.spawn(move || listen(tocsin, user, clock, is_over, arrived));
        }
        let service = scope.spawn(|| hand_in(tocsin, &users, clock, &is_over));
        let newcomers = scope.spawn(|| come_and_go(tocsin, name, &is_over));
        let over = SetOnDrop(&is_over);
        phase();
        drop(over);
        (service.join().expect("no panic"), newcomers.join().expect("no panic"))
    });
    let arrived = arrived.into_inner().expect("no panic");
    let lost = accepted.keys().filter(|id| !arrived.contains_key(*id)).count();
    let latency =
        |(id, began): (&String, &Duration)| arrived.get(id).map(|at: &Duration| at.saturating_sub(*began));
    Felt { latencies: accepted.iter().filter_map(latency).collect(), handshakes, lost }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Notes when each notification came, until one says that it is the last.
fn listen(
    tocsin: &Tocsin,
    user: &str,
    clock: Stopwatch,
    is_over: &AtomicBool,
    arrived: &Mutex<HashMap<String, Duration>>,
) {
    let mut client = tocsin.connect(user);
    let mut quiet = 0;
    // What is under way when the phase ends has a second to come.
    while quiet < 10 {
        match client.event(Duration::from_millis(100)) {
            Event::Message(message) if message["type"] == "notification" => {
                arrived.lock().expect("no panic").insert(id_of(&message), clock.elapsed());
            }
            Event::Message(_) => {}
            Event::Nothing => quiet = if is_over.load(Ordering::Relaxed) { quiet + 1 } else { 0 },
            gone => panic!("an honest user was cut off: {gone:?}"),
        }
    }
}

/// Hands in on the beat; when each was handed in, by id.
fn hand_in(
    tocsin: &Tocsin,
    users: &[String],
    clock: Stopwatch,
    is_over: &AtomicBool,
) -> HashMap<String, Duration> {
    let api = tocsin.api();
    let mut accepted = HashMap::new();
    // Users need a moment to connect.
    std::thread::sleep(Duration::from_millis(500));
    let began = clock.elapsed();
    for (beat, user) in (0..).zip(users.iter().cycle()) {
        let due = began + BEAT * beat;
        std::thread::sleep(due.saturating_sub(clock.elapsed()));
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let note: Value = json!({ "to": { "user": user }, "title": "a beat" });
        let at = clock.elapsed();
        accepted.insert(api.accepted(&note), at);
    }
    accepted
}

fn come_and_go(tocsin: &Tocsin, name: &str, is_over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let began = Stopwatch::start();
        let newcomer = tocsin.connect(&format!("{name}-new"));
        times.push(began.elapsed());
        drop(newcomer);
        std::thread::sleep(COME);
    }
    times
}
