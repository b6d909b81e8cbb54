//! Push is away: it is told of, mail and sockets do not wait for it, and what waited goes out by itself, once.

use std::time::Duration;

use serde_json::json;
use tests::deadline::Stopwatch;
use tests::sla::{Failure, Took, report};
use tests::{until, until_within};

use crate::house::House;

const USERS: u32 = 20;
/// A push that failed is tried again after waits that grow; this is longer than those of a short outage.
const TRIED_AGAIN: Duration = Duration::from_secs(90);

#[test]
fn push_is_away_and_comes_back() {
    let house = House::start(|setup| setup);
    let users: Vec<_> = (0..USERS).map(|number| house.knows(&format!("user-{number}"), number)).collect();
    let mut socket = house.tocsin.connect("user-0");
    house.simulators.faults(&json!({ "fcm": { "do": { "error": "UNAVAILABLE" } } }));
    let broken = Stopwatch::start();
    let mut mitigation = Duration::ZERO;
    for (number, user) in users.iter().enumerate() {
        let note = json!({ "to": { "user": format!("user-{number}") }, "title": "Disk almost full",
            "channels": ["inapp", "push", "email"] });
        let handed_in = Stopwatch::start();
        house.tocsin.api().accepted(&note);
        if number == 0 {
            socket.recv("notification");
        }
        until("the mail is there", || house.letters("smtp", &user.email).pop());
        mitigation = mitigation.max(handed_in.elapsed());
    }
    until("it is told of", || (house.account("fcm")["state"] != "ok").then_some(()));
    let detection = broken.elapsed();
    let taken = || house.simulators.received("fcm").iter().filter(|letter| letter["taken"] == true).count();
    assert_eq!(taken(), 0);
    house.simulators.faults(&json!({}));
    let well = Stopwatch::start();
    until_within(TRIED_AGAIN, "all of them went out", || (taken() >= USERS as usize).then_some(()));
    until("it is well", || (house.account("fcm")["state"] == "ok").then_some(()));
    report(Failure::Push, Took { detection, mitigation, recovery: well.elapsed() });
    assert_eq!(taken(), USERS as usize, "once each");
}
