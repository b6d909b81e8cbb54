//! A newer notification with the same collapse key takes the older one's place.

use serde_json::json;
use tests::{Equation, Setup};

use crate::support::{expect_id, ids};

#[test]
fn the_newest_is_left_and_the_others_are_accounted_for() {
    let tocsin = Setup::standalone().start();
    let note =
        |i: u32, key: &str| json!({ "to": { "user": "ada" }, "title": i.to_string(), "collapse_key": key });
    let mut kept = Vec::new();
    for i in 0..4 {
        let id = tocsin.api().accepted(&note(i, "weather"));
        if i == 3 {
            kept.push(id);
        }
    }
    kept.push(tocsin.api().accepted(&note(9, "traffic")));
    let equation = Equation::settled(&tocsin.api());
    assert_eq!(equation.number("dropped"), 3, "{:#}", equation.answer);
    let mut client = tocsin.connect("ada");
    let (missed, _) = client.sync_all(&json!({}));
    assert_eq!(ids(&missed), kept);
    assert_eq!(missed[0]["collapse_key"], "weather");
}

#[test]
fn live_sockets_see_each_one() {
    let tocsin = Setup::standalone().start();
    let mut client = tocsin.connect("ada");
    for i in 0..3 {
        let id = tocsin
            .api()
            .accepted(&json!({ "to": { "user": "ada" }, "title": i.to_string(), "collapse_key": "k" }));
        assert_eq!(expect_id(&mut client, &id)["collapse_key"], "k");
    }
}

#[test]
fn keys_of_different_people_do_not_meet() {
    let tocsin = Setup::standalone().start();
    for user in ["ada", "ben"] {
        tocsin.api().accepted(&json!({ "to": { "user": user }, "title": user, "collapse_key": "k" }));
    }
    Equation::settled(&tocsin.api());
    for user in ["ada", "ben"] {
        let (missed, _) = tocsin.connect(user).sync_all(&json!({}));
        assert_eq!(missed.len(), 1, "{user}");
    }
}
