//! kill -9 at any moment: nothing that got a 202 is missing, and the equation is exact again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::client::id_of;
use tests::{Api, Equation, Setup, Tocsin};

/// Kills in a row, each under load.
const ROUNDS: u32 = 20;
/// Threads that hand in, each for a user of its own.
const SENDERS: usize = 4;

/// Who was promised what, kept outside of the system.
pub(crate) type Promised = Mutex<BTreeMap<String, HashSet<String>>>;

/// Hands in until told to stop or the system dies; remembers what got a 202.
pub(crate) fn hand_in(api: &Api, user: &str, round: u32, stop: &AtomicBool, promised: &Promised) {
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let note = json!({ "to": { "user": user }, "title": format!("{round}/{i}"),
            "channels": if i % 4 == 0 { json!(["inapp", "sms"]) } else { json!(["inapp"]) } });
        match api.post_once(&format!("{user}-{round}-{i}"), &note) {
            Ok(answer) if answer.status == 202 => {
                let id = answer.json()["id"].as_str().expect("an id").to_owned();
                promised.lock().expect("no panic").entry(user.to_owned()).or_default().insert(id);
            }
            _ => return,
        }
    }
}

fn crash_under_load(tocsin: &mut Tocsin, round: u32, promised: &Promised) {
    let stop = AtomicBool::new(false);
    // A different moment each round: while starting, warming up, busy.
    let moment = Duration::from_millis(u64::from(round * 37 % 450));
    let mut processes: Vec<_> = [tocsin.gateway.take(), tocsin.router.take()].into_iter().flatten().collect();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (api, stop) = (tocsin.api(), &stop);
            scope.spawn(move || hand_in(&api, &format!("crash-{sender}"), round, stop, promised));
        }
        std::thread::sleep(moment);
        processes.iter_mut().for_each(tests::Process::kill_9);
        stop.store(true, Ordering::Relaxed);
    });
    tocsin.start_router();
    tocsin.start_gateway();
}

pub(crate) fn nothing_is_missing(tocsin: &Tocsin, promised: &Promised) {
    let equation = Equation::settled(&tocsin.api());
    let promised = promised.lock().expect("no panic");
    let count: usize = promised.values().map(HashSet::len).sum();
    assert!(count > 100, "the load was real: {count}");
    assert!(equation.number("accepted") as usize >= count, "{:#}", equation.answer);
    for (user, ids) in promised.iter() {
        // Over HTTP: a socket may not ask for so many pages in a minute.
        let (mut found, mut cursor) = (HashSet::new(), String::new());
        loop {
            let page =
                tocsin.api().get(&format!("/v1/users/{user}/inbox?limit=50{cursor}")).expect(200).json();
            for item in page["notifications"].as_array().expect("a list") {
                let id = id_of(item.get("notification").unwrap_or(item));
                assert!(found.insert(id.clone()), "{user} has {id} twice");
            }
            if page["has_more"] == false {
                break;
            }
            cursor = format!("&cursor={}", page["cursor"].as_str().expect("a cursor"));
        }
        let lost: Vec<&String> = ids.difference(&found).collect();
        assert!(lost.is_empty(), "{user} lost {} of {}: {lost:?}", lost.len(), ids.len());
    }
}

#[test]
fn standalone_keeps_every_promise_over_twenty_kills() {
    let promised = Promised::default();
    let mut tocsin = Setup::standalone().start();
    for round in 0..ROUNDS {
        crash_under_load(&mut tocsin, round, &promised);
    }
    nothing_is_missing(&tocsin, &promised);
}

#[test]
fn two_processes_keep_every_promise_over_kills_of_both() {
    let promised = Promised::default();
    let mut tocsin = Setup::split().start();
    for round in 0..ROUNDS / 2 {
        crash_under_load(&mut tocsin, round, &promised);
    }
    nothing_is_missing(&tocsin, &promised);
}
