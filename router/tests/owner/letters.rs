//! Deliveries go to people's addresses, one letter each; what each address said is told, and the delivery is their sum.

use std::time::Duration;

use router::contacts::Contacts;
use router::owner::{Answered, Command, DeliveryKey, Held, Outcome, OwnerConfig, ProviderCall, Said};
use router::preferences::Preferences;
use router::provider::letter::{Address, Answer, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::store::{Batch, Order, Range, Space, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{PARTITIONS, World, whats};

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let ways = Ways::of([Way::Fcm, Way::Apns, Way::Email, Way::Sms]);
    World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() })
}

fn tokens(tokens: &[&str]) -> Value {
    json!({"push": tokens.iter().map(|token| json!({"kind": "fcm", "token": token})).collect::<Vec<_>>()})
}

fn taken() -> Said {
    Said::Answer(Answer::Taken { reference: Some("m-1".to_owned()) })
}

fn unknown() -> Said {
    Said::Answer(Answer::Unknown { why: "no answer".to_owned() })
}

fn refused(class: Class, code: &str) -> Said {
    let refusal = Refusal { class, code: code.to_owned(), detail: String::new(), retry_after: None };
    Said::Answer(Answer::Refused(refusal))
}

fn broken() -> Said {
    Said::Held { after: 60 * SECOND, why: Held::Broken }
}

/// The newest call, taken out.
fn call(world: &mut World) -> ProviderCall {
    let call = world.seen.calls.pop().expect("a call");
    assert!(world.seen.calls.is_empty(), "one call");
    call
}

fn tokens_of(call: &ProviderCall) -> Vec<String> {
    let token = |address: &Address| match address {
        Address::Fcm(token) | Address::Apns { token, .. } => token.clone(),
        other => format!("{other:?}"),
    };
    let mut tokens: Vec<_> = call.addresses.iter().map(token).collect();
    tokens.sort();
    tokens
}

/// Every address of the newest call says what `says` does.
fn answer(world: &mut World, says: impl Fn(&Address) -> Said) -> ProviderCall {
    let call = call(world);
    let answered = call.addresses.iter().map(|to| Answered { to: to.clone(), said: says(to) }).collect();
    let DeliveryKey { id, channel, user } = call.delivery.clone();
    world.outcome(id, channel, &user, Outcome::Letters(answered));
    call
}

/// Passes until the next call.
fn next_call(world: &mut World, within: Duration) -> Duration {
    let began = world.mono;
    for _ in 0..within.as_secs() {
        if !world.seen.calls.is_empty() {
            break;
        }
        world.pass(SECOND);
    }
    assert!(!world.seen.calls.is_empty(), "no call within {within:?}");
    Duration::from_micros(world.mono - began)
}

fn push(world: &mut World) -> Uuid {
    world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": ["push"]}))
}

/// Nothing of its letters is left.
fn is_settled(world: &mut World) {
    world.pass(2 * 24 * 3_600 * SECOND);
    assert!(world.seen.calls.is_empty(), "{:?}", world.seen.calls);
    for space in [Space::Letters, Space::Calls] {
        let rows = world.store.scan(space, &Range::all(), Order::Forward, 10).expect("memory");
        assert!(rows.is_empty(), "{}", space.name());
    }
    world.balanced();
}

fn is_fcm(to: &Address, token: &str) -> bool {
    *to == Address::Fcm(token.to_owned())
}

#[test]
fn a_call_carries_the_addresses_of_its_channel_that_an_account_reaches() {
    let mut world = world();
    let keys = json!({"p256dh": data_encoding::BASE64URL_NOPAD.encode(&[4; 65]),
        "auth": data_encoding::BASE64URL_NOPAD.encode(&[1; 16])});
    let browser = json!({"kind": "webpush", "endpoint": "https://push.example/", "keys": keys});
    let push = json!([{"kind": "fcm", "token": "f"}, {"kind": "apns", "token": "ab"}, browser]);
    world.contacts("ann", &json!({"email": "a@example.org", "phone": "+4930123456", "push": push}));
    world.send(json!({"to": {"user": "ann"}, "channels": ["push", "email", "sms", "voice"]}));
    let mut kinds: Vec<_> = world
        .seen
        .calls
        .iter()
        .map(|call| (call.delivery.channel, call.addresses.iter().map(Address::kind).collect::<Vec<_>>()))
        .collect();
    kinds.sort();
    let expected = [
        (Channel::Push, vec!["fcm", "apns"]),
        (Channel::Email, vec!["email"]),
        (Channel::Sms, vec!["phone"]),
        // No account: the outbox keeps it, whoever it is for.
        (Channel::Voice, vec![]),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn without_an_address_it_is_dropped_and_the_next_channel_starts_at_once() {
    let mut world = world();
    world.contacts("ann", &json!({"email": "a@example.org"}));
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push"], "fallback": ["sms", "email"],
        "ack_within_s": 3_600}));
    world.pass(Duration::ZERO);
    for channel in [Channel::Push, Channel::Sms] {
        let delivery = world.delivery(id, channel);
        assert_eq!((&*delivery.state, delivery.reason.as_deref()), ("dropped", Some("no_address")));
    }
    assert_eq!(call(&mut world).delivery.channel, Channel::Email);
    world.balanced();
}

#[test]
fn a_push_is_handed_over_once_one_device_has_it_and_the_others_are_tried_on() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a", "b", "c"]));
    let id = push(&mut world);
    let first = answer(&mut world, |to| match to {
        to if is_fcm(to, "a") => taken(),
        to if is_fcm(to, "b") => refused(Class::Fault, "UNAVAILABLE"),
        _ => refused(Class::Gone, "UNREGISTERED"),
    });
    assert_eq!(tokens_of(&first), ["a", "b", "c"]);
    assert_eq!(world.state(id, Channel::Push), "handed_over");
    let left: Vec<_> = world.view().contacts("ann").expect("readable").push;
    assert_eq!(left.len(), 2, "the token that is gone is given up");
    // A device that comes meanwhile waits for nothing that somebody has.
    world.contacts("ann", &tokens(&["a", "b", "new"]));
    world.crash();
    let after = next_call(&mut world, 60 * SECOND);
    assert!(after >= 10 * SECOND, "{after:?}");
    let second = answer(&mut world, |_| taken());
    assert_eq!((tokens_of(&second), second.attempt), (vec!["b".to_owned()], 2));
    assert_eq!(world.state(id, Channel::Push), "handed_over");
    let told: Vec<_> = world.delivery(id, Channel::Push).timeline;
    let told: Vec<_> = told.iter().filter(|moment| &*moment.what == "answered").collect();
    assert_eq!(told.len(), 4, "what each address said: {told:?}");
    assert!(
        told.iter().any(|moment| moment.detail.as_deref().is_some_and(|said| said.ends_with("UNREGISTERED")))
    );
    is_settled(&mut world);
}

/// Name, what two addresses say, the state and its reason, whether there is another call.
type Sum = (&'static str, [Said; 2], &'static str, Option<&'static str>, bool);

#[test]
fn the_sum_of_letters() {
    let gone = || refused(Class::Gone, "UNREGISTERED");
    let content = || refused(Class::Content, "INVALID_ARGUMENT");
    let fault = || refused(Class::Fault, "INTERNAL");
    let table: [Sum; 9] = [
        ("both have it", [taken(), taken()], "handed_over", None, false),
        ("one has it, one is gone", [taken(), gone()], "handed_over", None, false),
        ("one has it, nobody knows of the other", [unknown(), taken()], "handed_over", None, false),
        ("one has it, one is tried again", [fault(), taken()], "handed_over", None, true),
        ("nobody knows", [unknown(), unknown()], "unknown", None, false),
        ("nobody knows of one, one is gone", [gone(), unknown()], "unknown", None, false),
        ("none can have it", [gone(), content()], "dropped", Some("INVALID_ARGUMENT"), false),
        ("one is gone, one is tried again", [gone(), fault()], "open", None, true),
        ("both are tried again", [fault(), broken()], "open", None, true),
    ];
    for (name, [a, b], state, reason, again) in table {
        let mut world = world();
        world.contacts("ann", &tokens(&["a", "b"]));
        let id = push(&mut world);
        answer(&mut world, |to| if is_fcm(to, "a") { a.clone() } else { b.clone() });
        let delivery = world.delivery(id, Channel::Push);
        assert_eq!((&*delivery.state, delivery.reason.as_deref()), (state, reason), "{name}");
        world.pass(90 * SECOND);
        assert_eq!(!world.seen.calls.is_empty(), again, "{name}");
        world.balanced();
        if again {
            answer(&mut world, |_| taken());
            assert_eq!(world.state(id, Channel::Push), "handed_over", "{name}");
        }
        is_settled(&mut world);
    }
}

#[test]
fn what_nobody_knows_of_is_never_sent_again() {
    let mut world = world();
    world.contacts("ann", &json!({"phone": "+4930123456"}));
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["sms"]}));
    answer(&mut world, |_| unknown());
    assert_eq!(world.state(id, Channel::Sms), "unknown");
    is_settled(&mut world);
}

#[test]
fn faults_are_tried_until_an_hour_is_over_and_then_somebody_is_told() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a"]));
    let id = push(&mut world);
    let mut calls = 0;
    while !world.seen.calls.is_empty() {
        answer(&mut world, |_| refused(Class::Fault, "UNAVAILABLE"));
        calls += 1;
        if world.state(id, Channel::Push) == "open" {
            next_call(&mut world, 3_600 * SECOND);
        }
    }
    let delivery = world.delivery(id, Channel::Push);
    assert_eq!(&*delivery.state, "dead_lettered");
    assert_eq!(delivery.reason.as_deref(), Some("tried for 60 minutes, at last UNAVAILABLE"));
    assert!((5..=12).contains(&calls), "{calls} calls in an hour");
    assert!(world.mono < 3_610 * 1_000_000, "{}", world.mono);
    is_settled(&mut world);
}

#[test]
fn what_we_are_to_blame_for_is_no_try_and_is_never_dropped_silently() {
    for class in [Class::Auth, Class::Spent] {
        let mut world = world();
        world.contacts("ann", &json!({"email": "a@example.org"}));
        let id = world.send(json!({"to": {"user": "ann"}, "channels": ["email"]}));
        for _ in 0..22 {
            let call = answer(&mut world, |_| refused(class, "AccountSuspended"));
            assert_eq!(call.attempt, 1, "{class:?}");
            if world.state(id, Channel::Email) != "open" {
                break;
            }
            let after = next_call(&mut world, 2 * 3_600 * SECOND);
            assert!(after >= 300 * SECOND, "slowly: {after:?}");
        }
        let state = world.state(id, Channel::Email);
        assert!(["open", "dead_lettered"].contains(&state), "{class:?}: {state}");
        world.balanced();
    }
}

#[test]
fn a_life_that_ends_before_the_next_try_ends_it() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a"]));
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push"], "ttl_s": 8}));
    answer(&mut world, |_| refused(Class::Quota, "QUOTA_EXCEEDED"));
    assert_eq!(world.state(id, Channel::Push), "expired");
    is_settled(&mut world);
}

#[test]
fn a_broken_provider_is_not_waited_for_if_there_is_another_way() {
    let mut world = world();
    world.contacts("ann", &json!({"phone": "+4930123456", "email": "a@example.org"}));
    let request =
        json!({"to": {"user": "ann"}, "channels": ["sms"], "fallback": ["email"], "ack_within_s": 3_600});
    let id = world.send(request);
    answer(&mut world, |_| broken());
    world.pass(Duration::ZERO);
    assert_eq!(world.state(id, Channel::Sms), "fell_back");
    assert_eq!(answer(&mut world, |_| taken()).delivery.channel, Channel::Email, "at once");
    // Alone it waits.
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["sms"]}));
    answer(&mut world, |_| broken());
    assert_eq!(world.state(id, Channel::Sms), "open");
    let after = next_call(&mut world, 120 * SECOND);
    assert!((60 * SECOND..=71 * SECOND).contains(&after), "{after:?}");
    assert_eq!(answer(&mut world, |_| taken()).attempt, 1, "nobody was asked before");
    is_settled(&mut world);
}

#[test]
fn want_of_room_starts_no_other_channel() {
    let mut world = world();
    world.contacts("ann", &json!({"phone": "+4930123456", "email": "a@example.org"}));
    let request =
        json!({"to": {"user": "ann"}, "channels": ["sms"], "fallback": ["email"], "ack_within_s": 3_600});
    let id = world.send(request);
    answer(&mut world, |_| Said::Held { after: 2 * SECOND, why: Held::Full });
    world.pass(SECOND);
    assert_eq!((world.state(id, Channel::Sms), world.seen.calls.len()), ("open", 0));
    world.pass(2 * SECOND);
    assert_eq!(call(&mut world).delivery.channel, Channel::Sms);
}

#[test]
fn a_crash_between_two_tries_sends_again_only_what_is_open() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a", "b"]));
    let id = push(&mut world);
    // Killed with the call out: nobody knows, so all are asked once more, and it is told.
    world.seen.calls.clear();
    world.crash();
    world.pass(Duration::ZERO);
    assert!(whats(&world.delivery(id, Channel::Push)).contains(&"provided_again"));
    answer(&mut world, |to| if is_fcm(to, "a") { taken() } else { refused(Class::Fault, "X") });
    next_call(&mut world, 60 * SECOND);
    // Killed with the second try out.
    world.seen.calls.clear();
    world.crash();
    world.pass(Duration::ZERO);
    assert_eq!(tokens_of(&answer(&mut world, |_| taken())), ["b"]);
    assert_eq!(world.state(id, Channel::Push), "handed_over");
    is_settled(&mut world);
}

type End<'a> = &'a dyn Fn(&mut World, Uuid);

#[test]
fn whoever_ends_a_delivery_ends_its_letters() {
    let ends: [(&str, End<'_>); 3] = [
        ("cancelled", &|world, id| {
            drop(world.command(Command::Cancel { id, by: None, promised: None, of: None }));
        }),
        ("erased", &|world, _| {
            world.owner.handle_command(99, Command::Erase { user: "ann".to_owned() }, world.now());
            world.turn();
            world.pass(Duration::ZERO);
        }),
        ("expired", &|world, _| world.pass(9 * SECOND)),
    ];
    for (name, end) in ends {
        let mut world = world();
        world.contacts("ann", &tokens(&["a", "b"]));
        let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push"], "ttl_s": 600}));
        answer(&mut world, |to| if is_fcm(to, "a") { taken() } else { refused(Class::Fault, "X") });
        if name == "expired" {
            world.pass(600 * SECOND);
            world.seen.calls.clear();
            world.crash();
            world.pass(Duration::ZERO);
        }
        end(&mut world, id);
        is_settled(&mut world);
    }
}

#[test]
fn nothing_told_of_a_delivery_holds_an_address() {
    let mut world = world();
    world.contacts(
        "ann",
        &json!({"phone": "+4930123456", "email": "secret@example.org",
        "push": [{"kind": "fcm", "token": "secret-token"}]}),
    );
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push", "email", "sms"]}));
    for call in std::mem::take(&mut world.seen.calls) {
        assert!(!format!("{call:?}").contains("secret"), "{call:?}");
        let answered = call.addresses.iter().map(|to| Answered { to: to.clone(), said: taken() }).collect();
        world.outcome(id, call.delivery.channel, "ann", Outcome::Letters(answered));
    }
    let story = serde_json::to_string(&world.timeline(id)).expect("JSON");
    assert!(!story.contains("secret") && !story.contains("30123"), "{story}");
    assert!(story.contains("phone …56"), "{story}");
    assert_ne!(world.view().contacts("ann"), Ok(Contacts::default()));
}

fn full() -> Said {
    Said::Held { after: 2 * SECOND, why: Held::Full }
}

fn quiet(world: &mut World) {
    let body = br#"{"quiet_hours":{"from":"22:00","to":"07:00","zone":"UTC"}}"#;
    let preferences = Preferences::asked(body).expect("preferences");
    world.command(Command::PutPreferences { user: "ann".to_owned(), preferences });
}

#[test]
fn what_waits_for_the_morning_or_for_room_is_not_tried_yet() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a"]));
    quiet(&mut world);
    let id = push(&mut world);
    next_call(&mut world, 8 * 3_600 * SECOND);
    // Two more hours without room, and only then somebody is asked.
    for _ in 0..2_000 {
        answer(&mut world, |_| full());
        assert_eq!(world.state(id, Channel::Push), "open");
        next_call(&mut world, 60 * SECOND);
    }
    answer(&mut world, |_| refused(Class::Fault, "UNAVAILABLE"));
    assert_eq!(world.state(id, Channel::Push), "open", "its hour begins now");
    next_call(&mut world, 60 * SECOND);
    answer(&mut world, |_| taken());
    is_settled(&mut world);
}

#[test]
fn an_answer_that_asks_to_come_back_at_once_is_not_obeyed() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a"]));
    push(&mut world);
    answer(&mut world, |_| Said::Held { after: Duration::ZERO, why: Held::Full });
    world.pass(SECOND / 2);
    assert!(world.seen.calls.is_empty());
}

#[test]
fn what_is_cancelled_while_its_call_is_out_is_asked_back_and_never_tried_again() {
    let fault = || refused(Class::Fault, "UNAVAILABLE");
    let table: [(&str, Said, &str); 4] = [
        ("taken back", Said::Withdrawn, "dropped"),
        ("refused for now", fault(), "dropped"),
        ("not asked", broken(), "dropped"),
        ("it has it", taken(), "handed_over"),
    ];
    for (name, said, state) in table {
        for collapses in [false, true] {
            let mut world = world();
            world.contacts("ann", &tokens(&["a"]));
            let request = json!({"to": {"user": "ann"}, "channels": ["inapp", "push"], "collapse_key": "k"});
            let id = world.send(request.clone());
            let out = call(&mut world);
            let reason = if collapses {
                world.send(json!({"to": {"user": "ann"}, "channels": ["inapp"], "collapse_key": "k"}));
                "collapsed"
            } else {
                world.command(Command::Cancel { id, by: None, promised: None, of: None });
                "cancelled"
            };
            assert_eq!(world.seen.withdrawn, std::slice::from_ref(&out.delivery), "{name}");
            let answered = out.addresses.iter().map(|to| Answered { to: to.clone(), said: said.clone() });
            world.outcome(id, Channel::Push, "ann", Outcome::Letters(answered.collect()));
            let delivery = world.delivery(id, Channel::Push);
            assert_eq!(&*delivery.state, state, "{name}");
            assert!(state != "dropped" || delivery.reason.as_deref() == Some(reason), "{name}: {delivery:?}");
            is_settled(&mut world);
        }
    }
}

#[test]
fn a_kill_sends_nothing_again_that_was_taken_back() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a", "b"]));
    let alone = push(&mut world);
    world.command(Command::Cancel { id: alone, by: None, promised: None, of: None });
    world.seen.calls.clear();
    // One device has it, and the call to the other is out.
    let half = push(&mut world);
    answer(&mut world, |to| if is_fcm(to, "a") { taken() } else { refused(Class::Fault, "X") });
    next_call(&mut world, 60 * SECOND);
    world.command(Command::Cancel { id: half, by: None, promised: None, of: None });
    world.seen.calls.clear();
    world.crash();
    world.pass(Duration::ZERO);
    assert!(world.seen.calls.is_empty());
    assert_eq!(
        (world.state(alone, Channel::Push), world.state(half, Channel::Push)),
        ("unknown", "handed_over")
    );
    is_settled(&mut world);
}

#[test]
fn other_devices_are_not_disturbed_in_quiet_hours_either() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a", "b"]));
    let id = push(&mut world);
    answer(&mut world, |to| if is_fcm(to, "a") { taken() } else { refused(Class::Quota, "X") });
    quiet(&mut world);
    world.pass(6 * 3_600 * SECOND);
    assert!(world.seen.calls.is_empty(), "it is night");
    next_call(&mut world, 2 * 3_600 * SECOND);
    // Killed with that call out, and it is night again.
    world.seen.calls.clear();
    let body = br#"{"quiet_hours":{"from":"06:00","to":"20:00","zone":"UTC"}}"#;
    let preferences = Preferences::asked(body).expect("preferences");
    world.command(Command::PutPreferences { user: "ann".to_owned(), preferences });
    world.crash();
    world.pass(6 * 3_600 * SECOND);
    assert!(world.seen.calls.is_empty());
    next_call(&mut world, 10 * 3_600 * SECOND);
    assert_eq!(tokens_of(&answer(&mut world, |_| taken())), ["b"]);
    assert_eq!(world.state(id, Channel::Push), "handed_over");
    is_settled(&mut world);
}

#[test]
fn an_act_is_credited_to_a_channel_that_went_out() {
    let read = |world: &mut World, id: Uuid| {
        world.command(Command::MarkRead { user: "ann".to_owned(), ids: vec![id] });
    };
    let mut world = world();
    world.contacts("ann", &json!({"phone": "+4930123456", "email": "a@example.org"}));
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["email", "sms"]}));
    for call in std::mem::take(&mut world.seen.calls) {
        let said = if call.delivery.channel == Channel::Email { taken() } else { full() };
        let answered = call.addresses.iter().map(|to| Answered { to: to.clone(), said: said.clone() });
        world.outcome(id, call.delivery.channel, "ann", Outcome::Letters(answered.collect()));
    }
    read(&mut world, id);
    assert_eq!((world.state(id, Channel::Email), world.state(id, Channel::Sms)), ("delivered", "dropped"));
    let waits = world.send(json!({"to": {"user": "ann"}, "channels": ["sms"]}));
    answer(&mut world, |_| full());
    read(&mut world, waits);
    let delivery = world.delivery(waits, Channel::Sms);
    assert_eq!((&*delivery.state, delivery.reason.as_deref()), ("dropped", Some("acknowledged")));
    is_settled(&mut world);
}

#[test]
fn a_damaged_row_of_one_person_holds_up_nobody_else() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a"]));
    world.contacts("bob", &tokens(&["b"]));
    let rows = world.store.scan(Space::People, &Range::all(), Order::Forward, 9).expect("memory");
    let mut batch = Batch::default();
    batch.put(Space::People, rows[0].0.clone(), vec![1, b'{']);
    world.store.commit(&batch).expect("memory");
    let id = world.send(json!({"to": {"users": ["ann", "bob"]}, "channels": ["push"]}));
    assert_eq!(call(&mut world).delivery.user, "bob");
    assert!(
        world.seen.alerts.iter().any(|(name, _)| *name == "store_row_damaged"),
        "{:?}",
        world.seen.alerts
    );
    let states: Vec<_> = world.timeline(id).deliveries.iter().map(|one| one.state.to_string()).collect();
    assert_eq!(states, ["dropped", "open"]);
}

#[test]
fn a_try_that_a_damaged_row_prevents_ends_its_delivery_for_people_to_see() {
    let mut world = world();
    world.contacts("ann", &tokens(&["a"]));
    let id = push(&mut world);
    answer(&mut world, |_| refused(Class::Quota, "X"));
    let kept = world.store.get(Space::Notifications, id.as_bytes()).expect("memory").expect("it is kept");
    let mut batch = Batch::default();
    batch.put(Space::Notifications, id.as_bytes().to_vec(), vec![1, b'{']);
    world.store.commit(&batch).expect("memory");
    world.pass(120 * SECOND);
    batch.put(Space::Notifications, id.as_bytes().to_vec(), kept);
    world.store.commit(&batch).expect("memory");
    assert_eq!(world.state(id, Channel::Push), "dead_lettered");
    is_settled(&mut world);
}
