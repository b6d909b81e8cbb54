//! Several routers share one consumer group: each notification arrives once and in its order, whatever happens to a router.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::deadline::PATIENCE;
use tests::several::HAND_OVER;
use tests::{Client, Deadline, Event, Several, until_within};
use wire::time::Wall;

/// Users over all partitions.
fn users() -> Vec<String> {
    (0..12).map(|i| format!("user-{i}")).collect()
}

fn note(user: &str, number: usize) -> Value {
    json!({ "to": { "user": user }, "title": number.to_string() })
}

/// What came on a user's socket. What a sync brings after a gap is older than what came live meanwhile: `created_at` orders
/// both, and each has an order of its own.
#[derive(Default)]
struct Came {
    live: Vec<Value>,
    synced: Vec<Value>,
}

impl Came {
    fn ids(&self) -> BTreeSet<String> {
        self.live.iter().chain(&self.synced).map(id_of).collect()
    }

    /// All of it as a client shows it.
    fn shown(&self) -> Vec<String> {
        let mut all: Vec<&Value> = self.live.iter().chain(&self.synced).collect();
        all.sort_by_key(|one| Wall::parse(one["created_at"].as_str().expect("a date")).expect("a date"));
        all.into_iter().map(id_of).collect()
    }
}

/// What users were promised, and what came on their sockets: kept outside of the system.
struct Outside {
    clients: BTreeMap<String, Client>,
    promised: BTreeMap<String, Vec<String>>,
    came: BTreeMap<String, Came>,
}

impl Outside {
    fn new(several: &Several) -> Outside {
        let clients = users().into_iter().map(|user| (user.clone(), several.connect(&user))).collect();
        Outside { clients, promised: BTreeMap::new(), came: BTreeMap::new() }
    }

    /// Hands `count` notifications in for each user, by the routers in turn.
    fn hand_in(&mut self, several: &Several, routers: &[usize], count: usize) {
        for _ in 0..count {
            for user in users() {
                let ids = self.promised.entry(user.clone()).or_default();
                let router = routers[ids.len() % routers.len()];
                ids.push(several.api(router).accepted(&note(&user, ids.len())));
            }
        }
    }

    /// Reads every socket until it has what its user was promised. A socket that is told of a gap asks for what it lacks, as
    /// clients do.
    fn read(&mut self, wait: Duration) {
        let deadline = Deadline::after(wait);
        for (user, client) in &mut self.clients {
            let wanted: BTreeSet<&String> = self.promised[user].iter().collect();
            let came = self.came.entry(user.clone()).or_default();
            loop {
                let have = came.ids();
                if wanted.iter().all(|id| have.contains(*id)) {
                    break;
                }
                let left = deadline.left().unwrap_or_else(|| {
                    panic!("{user} has {} of {}", have.len(), wanted.len());
                });
                match client.event(left.min(Duration::from_secs(1))) {
                    Event::Message(message) => match message["type"].as_str().unwrap_or_default() {
                        "notification" => came.live.push(message),
                        "sync_batch" => {
                            let found = message["notifications"].as_array().expect("a list").iter();
                            came.synced.extend(found.filter(|one| !have.contains(&id_of(one))).cloned());
                        }
                        "gap" => client.say(&json!({ "type": "sync", "last_seen_at": message["since"] })),
                        // Nobody could take it: it is said again when that may be otherwise.
                        "error" => {
                            let wait = message["retry_after_ms"].as_u64().unwrap_or(1_000);
                            std::thread::sleep(Duration::from_millis(wait));
                            client.say(&json!({ "type": "sync", "last_seen_at": null }));
                        }
                        _ => {}
                    },
                    Event::Nothing => {}
                    other => panic!("{user} lost its socket: {other:?}"),
                }
            }
        }
    }

    /// None is missing, none came twice on a socket, and each user's came in the order in which they were handed in.
    fn check(&self) {
        for (user, promised) in &self.promised {
            let came = &self.came[user];
            assert_eq!(&came.shown(), promised, "{user}: the order of all, and each once");
            let place = |one: &Value| promised.iter().position(|id| *id == id_of(one));
            assert!(came.live.iter().map(place).is_sorted(), "{user}: the order of what came live");
        }
    }

    /// The inboxes say the same.
    fn check_inboxes(&self, several: &Several) {
        for (user, promised) in &self.promised {
            let (found, _) = several.connect(user).sync_all(&json!({}));
            let found: Vec<String> = found.iter().map(id_of).collect();
            assert_eq!(&found, promised, "the inbox of {user}");
        }
    }
}

#[test]
fn two_routers_share_the_partitions_and_each_answers_for_its_own() {
    let several = Several::start(2, 2, 6);
    let mut outside = Outside::new(&several);
    outside.hand_in(&several, &[0, 1], 20);
    outside.read(HAND_OVER);
    outside.check();
    outside.check_inboxes(&several);
    // Who does not have a user says so, and does nothing.
    let owner = several.owner_of("user-1");
    let id = &outside.promised["user-1"][0];
    let other = several.api(1 - owner);
    let read = json!({ "ids": [id] });
    for answer in [
        other.get("/v1/users/user-1/inbox"),
        other.send("POST", "/v1/users/user-1/inbox/read", &read),
        other.get(&format!("/v1/notifications/{id}")),
        other.send("DELETE", &format!("/v1/notifications/{id}"), &json!({})),
        other.send("POST", "/v1/tickets", &json!({ "user": "user-1" })),
    ] {
        answer.problem(421);
    }
    assert_eq!(several.api(owner).send("POST", "/v1/users/user-1/inbox/read", &read).status, 204);
    assert_eq!(
        several.api(owner).get(&format!("/v1/notifications/{id}")).expect(200).json()["state"],
        "final"
    );
    // A list goes to all of them, each once.
    let list: Vec<String> = users();
    let id = several.api(0).accepted(&json!({ "to": { "users": list }, "title": "to all of you" }));
    for (user, client) in &mut outside.clients {
        assert_eq!(client.recv_within("notification", PATIENCE)["id"], id.as_str(), "{user}");
    }
}

#[test]
fn a_router_that_is_killed_is_succeeded_and_nothing_is_lost_or_doubled() {
    let mut several = Several::start(2, 2, 6);
    let mut outside = Outside::new(&several);
    outside.hand_in(&several, &[0, 1], 10);
    several.routers[0].router.as_mut().expect("it runs").kill_9();
    outside.hand_in(&several, &[1], 10);
    outside.read(2 * HAND_OVER);
    several.wait_until_shared(&[1]);
    outside.check();
    outside.check_inboxes(&several);
    // It comes back over what it had, and takes its part again.
    several.routers[0].start_router();
    several.wait_until_shared(&[0, 1]);
    outside.hand_in(&several, &[0, 1], 10);
    outside.read(HAND_OVER);
    outside.check();
    outside.check_inboxes(&several);
}

#[test]
fn a_router_that_was_stopped_for_too_long_does_nothing_with_what_it_lost() {
    let mut several = Several::start(2, 2, 6);
    let mut outside = Outside::new(&several);
    outside.hand_in(&several, &[0, 1], 5);
    outside.read(HAND_OVER);
    several.routers[0].router.as_mut().expect("it runs").freeze();
    outside.hand_in(&several, &[1], 5);
    several.wait_until_owned_by(1);
    outside.hand_in(&several, &[1], 5);
    outside.read(HAND_OVER);
    several.routers[0].router.as_mut().expect("it runs").thaw();
    several.wait_until_shared(&[0, 1]);
    outside.hand_in(&several, &[0, 1], 5);
    outside.read(HAND_OVER);
    outside.check();
    outside.check_inboxes(&several);
}

#[test]
fn a_third_router_joins_while_notifications_come() {
    let mut several = Several::start(3, 2, 6);
    let mut outside = Outside::new(&several);
    outside.hand_in(&several, &[0, 1], 5);
    several.routers[2].start_router();
    outside.hand_in(&several, &[0, 1], 10);
    several.wait_until_shared(&[0, 1, 2]);
    outside.hand_in(&several, &[0, 1, 2], 5);
    outside.read(HAND_OVER);
    outside.check();
    outside.check_inboxes(&several);
}

/// A notification that goes by push when nobody acknowledges it in time.
fn urgent(user: &str, title: &str) -> Value {
    json!({ "to": { "user": user }, "title": title, "fallback": ["push"], "ack_within_s": 8 })
}

/// Whether the router that has it says that nothing more happens to it.
fn is_final(several: &Several, id: &str) -> Option<()> {
    let path = format!("/v1/notifications/{id}");
    let mut answers = (0..several.routers.len()).map(|router| several.api(router).get(&path));
    answers.find(|answer| answer.status == 200 && answer.json()["state"] == "final").map(|_| ())
}

/// Pushes to a user by any router, by title.
fn pushes(several: &Several, user: &str) -> Vec<String> {
    let of = |router: usize| {
        let path = format!("/v1/outbox?channel=push&user={user}");
        let answer = several.api(router).get(&path).expect(200).json();
        let items = answer["items"].as_array().expect("a list").clone();
        items.iter().map(|sent| sent["title"].as_str().expect("a title").to_owned()).collect::<Vec<_>>()
    };
    (0..several.routers.len()).flat_map(of).collect()
}

#[test]
fn what_was_acknowledged_falls_back_on_nobody_and_the_rest_once_when_its_router_dies() {
    let mut several = Several::start(2, 2, 6);
    let mut clients: BTreeMap<String, Client> =
        users().into_iter().map(|user| (user.clone(), several.connect(&user))).collect();
    for (user, client) in &mut clients {
        for title in ["acknowledged", "ignored"] {
            several.api(0).accepted(&urgent(user, title));
        }
        for _ in 0..2 {
            let came = client.recv_within("notification", PATIENCE);
            if came["title"] == "acknowledged" {
                let id = id_of(&came);
                client.ack(&[&id]);
                // What was only said may be lost with the router that heard it.
                until_within(PATIENCE, "the acknowledgement is in the ledger", || is_final(&several, &id));
            }
        }
    }
    several.routers[0].router.as_mut().expect("it runs").kill_9();
    several.wait_until_shared(&[1]);
    several.routers[0].start_router();
    several.wait_until_shared(&[0, 1]);
    for user in users() {
        until_within(HAND_OVER, &format!("what {user} ignored is pushed"), || {
            (!pushes(&several, &user).is_empty()).then_some(())
        });
    }
    // One that is doubled or false would come with the others: all had the same eight seconds.
    let all: Vec<Vec<String>> = users().iter().map(|user| pushes(&several, user)).collect();
    assert!(all.iter().all(|pushed| pushed == &["ignored"]), "{all:?}");
}

#[test]
fn kafka_goes_away_and_comes_back_and_everything_arrives_in_its_order() {
    let mut several = Several::start(2, 2, 6);
    let mut outside = Outside::new(&several);
    outside.hand_in(&several, &[0, 1], 5);
    outside.read(HAND_OVER);
    several.kafka.process.kill_9();
    // One router for each user: what waits on two disks has no order between them.
    outside.hand_in(&several, &[1], 5);
    several.kafka.start_again();
    outside.read(2 * HAND_OVER);
    several.wait_until_shared(&[0, 1]);
    outside.check();
    outside.check_inboxes(&several);
    for router in 0..2 {
        until_within(HAND_OVER, "its outage is over", || {
            let status = several.api(router).get("/v1/status").expect(200).json();
            (status["outage"]["phase"] == "normal" && status["outage"]["missing"] == 0).then_some(())
        });
    }
}
