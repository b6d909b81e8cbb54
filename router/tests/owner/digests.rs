//! What waits for one user goes out together, as one letter, and each notification keeps its own story and its own end.

use std::time::Duration;

use router::owner::{
    Answer, Answered, Command, DeliveryKey, Outcome, OwnerConfig, ProviderCall, Receipt, Said, Told,
};
use router::preferences::Preferences;
use router::provider::letter::{self, Address, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::store::{Batch, Order, Range, Space, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{PARTITIONS, World, whats};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn wants(world: &mut World, body: &Value) {
    let preferences = Preferences::asked(body.to_string().as_bytes()).expect("preferences");
    let command = Command::PutPreferences { user: "ann".to_owned(), preferences };
    assert_eq!(world.command(command), Answer::Done);
}

/// The world begins at one o'clock at night in Berlin: these end six hours later.
fn quiet() -> Value {
    json!({"quiet_hours": {"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}})
}

/// Ann, with one phone and an e-mail address, at night.
fn night() -> World {
    let ways = Ways::of([Way::Fcm, Way::Email, Way::Sms]);
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() });
    let push = json!([{"kind": "fcm", "token": "phone"}]);
    world.contacts("ann", &json!({"email": "ann@example.org", "phone": "+4930123456", "push": push}));
    wants(&mut world, &quiet());
    world
}

fn push(world: &mut World, title: &str, more: &Value) -> Uuid {
    let mut request = json!({"to": {"user": "ann"}, "title": title, "channels": ["push"]});
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    world.pass(Duration::from_secs(1));
    world.send(request)
}

fn three(world: &mut World) -> [Uuid; 3] {
    ["one", "two", "three"].map(|title| push(world, title, &json!({})))
}

/// The one call there is, taken out.
#[track_caller]
fn call(world: &mut World) -> ProviderCall {
    let call = world.seen.calls.pop().expect("a call");
    assert!(world.seen.calls.is_empty(), "one call: {:?}", world.seen.calls);
    call
}

fn answer(world: &mut World, call: &ProviderCall, says: impl Fn(&Address) -> Said) {
    let answered = call.addresses.iter().map(|to| Answered { to: to.clone(), said: says(to) }).collect();
    let DeliveryKey { id, channel, user } = &call.delivery;
    world.outcome(*id, *channel, user, Outcome::Letters(answered));
}

fn taken(_: &Address) -> Said {
    Said::Answer(letter::Answer::Taken { reference: None })
}

fn fault(_: &Address) -> Said {
    let (code, detail) = ("503".to_owned(), String::new());
    Said::Answer(letter::Answer::Refused(Refusal { class: Class::Fault, code, detail, retry_after: None }))
}

fn text(call: &ProviderCall) -> (&str, &str) {
    (call.title.as_deref().unwrap_or_default(), call.body.as_deref().unwrap_or_default())
}

fn states(world: &World, ids: &[Uuid]) -> Vec<&'static str> {
    ids.iter().map(|id| world.state(*id, Channel::Push)).collect()
}

/// Nothing waits, nothing is out.
fn is_settled(world: &mut World) {
    world.pass(3 * 24 * HOUR);
    for space in [Space::Calls, Space::Letters] {
        let rows = world.store.scan(space, &Range::all(), Order::Forward, 10).expect("memory");
        assert!(rows.is_empty(), "{}", space.name());
    }
    for kind in [b"h", b"t"] {
        let rows =
            world.store.scan(Space::Digests, &Range::prefix(kind), Order::Forward, 10).expect("memory");
        assert!(rows.is_empty(), "something waits: {rows:?}");
    }
    world.balanced();
}

#[test]
fn what_quiet_hours_held_goes_out_as_one_letter_also_over_a_crash() {
    let mut world = night();
    let ids = three(&mut world);
    world.crash();
    world.pass(6 * HOUR);
    let call = call(&mut world);
    assert_eq!(text(&call), ("3 notifications", "three\ntwo\none"));
    assert_eq!((call.delivery.id, call.again, call.addresses.len()), (ids[2], false, 1));
    assert_eq!(states(&world, &ids), ["open"; 3]);
    answer(&mut world, &call, taken);
    assert_eq!(states(&world, &ids), ["handed_over"; 3]);
    for id in ids {
        let story = world.delivery(id, Channel::Push);
        assert_eq!(whats(&story), ["accepted", "held", "provided", "digest", "answered", "handed_over"]);
        assert_eq!(story.attempts, 1);
    }
    let with = world.delivery(ids[0], Channel::Push).timeline[3].detail.clone();
    assert_eq!(with, Some(format!("3 in one letter, with {}", ids[2])));
    is_settled(&mut world);
    assert!(world.seen.calls.is_empty());
}

#[test]
fn one_alone_goes_as_itself_and_each_channel_and_user_apart() {
    let mut world = night();
    let alone = push(&mut world, "alone", &json!({"channels": ["push", "sms"]}));
    push(&mut world, "text", &json!({"channels": ["sms"]}));
    world.send(json!({"to": {"user": "bob"}, "title": "bob's", "channels": ["push"]}));
    world.seen.calls.clear();
    world.pass(6 * HOUR);
    let mut calls = std::mem::take(&mut world.seen.calls);
    calls.sort_by_key(|call| call.delivery.channel);
    let said: Vec<_> = calls.iter().map(text).collect();
    assert_eq!(said, [("alone", ""), ("2 notifications", "text\nalone")]);
    for call in &calls {
        answer(&mut world, call, taken);
    }
    assert!(!whats(&world.delivery(alone, Channel::Push)).contains(&"digest"));
    assert_eq!(world.state(alone, Channel::Sms), "handed_over");
    is_settled(&mut world);
}

#[test]
fn who_ended_otherwise_before_is_not_in_it() {
    let mut world = night();
    let [read, cancelled, over] =
        ["read", "cancelled", "over"].map(|title| push(&mut world, title, &json!({"ttl_s": 3_600})));
    let unwanted = push(&mut world, "unwanted", &json!({"category": "offers"}));
    let ids = ["one", "two"].map(|title| push(&mut world, title, &json!({})));
    world.command(Command::MarkRead { user: "ann".to_owned(), ids: vec![read] });
    let cancel = Command::Cancel { id: cancelled, by: None, promised: None, of: None };
    assert_eq!(world.command(cancel), Answer::Cancelled { cancelled: 1, too_late: 0 });
    let mut wishes = quiet();
    wishes["unsubscribed"] = json!(["offers"]);
    wants(&mut world, &wishes);
    world.pass(6 * HOUR);
    let call = call(&mut world);
    assert_eq!(text(&call), ("2 notifications", "two\none"));
    answer(&mut world, &call, taken);
    let all = [read, cancelled, over, unwanted, ids[0], ids[1]];
    let ends = ["dropped", "dropped", "expired", "dropped", "handed_over", "handed_over"];
    assert_eq!(states(&world, &all), ends);
    let reason = |id| world.delivery(id, Channel::Push).reason;
    let reasons = [reason(read), reason(cancelled), reason(unwanted)].map(Option::unwrap_or_default);
    assert_eq!(reasons, ["acknowledged", "cancelled", "unsubscribed"]);
    is_settled(&mut world);
}

#[test]
fn a_digest_gathers_its_category_by_its_channels_and_mails_by_category() {
    let mut world = night();
    let daily = json!({"every": "day", "at": "08:00", "zone": "Europe/Berlin"});
    let hourly = json!({"every": "hour", "zone": "Europe/Berlin", "channels": ["email"]});
    wants(&mut world, &json!({"digest": {"news": daily, "offers": daily, "*": hourly}}));
    let mail = |category: &str, channels: &Value, priority: &str| json!({"category": category, "channels": channels, "priority": priority});
    for (title, category) in
        [("n1", "news"), ("n2", "news"), ("o1", "offers"), ("x1", "other"), ("x2", "other")]
    {
        push(&mut world, title, &mail(category, &json!(["email"]), "normal"));
    }
    assert!(world.seen.calls.is_empty());
    push(&mut world, "now", &mail("news", &json!(["email", "sms"]), "critical"));
    push(&mut world, "sms", &mail("news", &json!(["sms"]), "normal"));
    push(&mut world, "push", &mail("other", &json!(["push"]), "normal"));
    let said: Vec<_> = world.seen.calls.drain(..).map(|call| call.title.unwrap_or_default()).collect();
    assert_eq!(said, ["now", "now", "sms", "push"], "neither critical ones nor other channels wait");
    world.pass(HOUR);
    let other = call(&mut world);
    assert_eq!((text(&other), other.category.as_deref()), (("2 notifications", "x2\nx1"), Some("other")));
    world.pass(5 * HOUR + 58 * MINUTE);
    assert!(world.seen.calls.is_empty(), "it is 07:59 there");
    world.pass(2 * MINUTE);
    let mut said: Vec<_> =
        world.seen.calls.iter().map(|call| (text(call), call.category.as_deref())).collect();
    said.sort_unstable();
    assert_eq!(said, [(("2 notifications", "n2\nn1"), Some("news")), (("o1", ""), Some("offers"))]);
    world.balanced();
}

fn counts(calls: &[ProviderCall]) -> Vec<usize> {
    calls.iter().map(|call| call.digest.as_ref().map_or(1, |digest| digest.count)).collect()
}

#[test]
fn more_than_a_letter_carries_wait_all_the_same_and_go_in_further_ones() {
    let mut world = night();
    let ids: Vec<_> = (0..230).map(|i| push(&mut world, &format!("m{i}"), &json!({}))).collect();
    world.pass(5 * HOUR + 50 * MINUTE);
    assert!(world.seen.calls.is_empty(), "nobody is disturbed, however many there are");
    world.pass(10 * MINUTE);
    let calls = std::mem::take(&mut world.seen.calls);
    assert_eq!(counts(&calls), [100, 100, 30]);
    for call in &calls {
        answer(&mut world, call, taken);
    }
    assert!(states(&world, &ids).iter().all(|state| *state == "handed_over"));
    is_settled(&mut world);
}

#[test]
fn a_letter_is_one_push_of_its_hour_and_what_it_gathers_is_none() {
    let mut world = night();
    let ids: Vec<_> = (0..30).map(|i| push(&mut world, &format!("m{i}"), &json!({}))).collect();
    assert_eq!(states(&world, &ids), ["open"; 30], "more than twenty in an hour");
    world.pass(6 * HOUR);
    assert_eq!(counts(&std::mem::take(&mut world.seen.calls)), [30]);
    let later: Vec<_> = (0..20).map(|i| push(&mut world, &format!("n{i}"), &json!({}))).collect();
    assert_eq!((world.seen.calls.len(), world.state(later[19], Channel::Push)), (19, "dropped"));
}

#[test]
fn what_shows_nothing_goes_alone_with_its_data() {
    let mut world = night();
    let silent = json!({"to": {"user": "ann"}, "channels": ["push"], "data": {"k": 1}});
    world.send(silent);
    three(&mut world);
    world.pass(6 * HOUR);
    let mut calls = std::mem::take(&mut world.seen.calls);
    calls.sort_by_key(|call| call.digest.is_some());
    assert_eq!(counts(&calls), [1, 3]);
    assert_eq!(calls[0].data.as_ref().map(|data| data.get()), Some("{\"k\":1}"));
}

#[test]
fn a_channel_that_is_gathered_puts_off_no_escalation_of_those_that_went() {
    let mut world = night();
    wants(
        &mut world,
        &json!({"digest": {"*": {"every": "day", "at": "08:00", "zone": "UTC", "channels": ["email"]}}}),
    );
    push(
        &mut world,
        "t",
        &json!({"channels": ["inapp", "push", "email"], "fallback": ["sms"], "ack_within_s": 600}),
    );
    assert_eq!(call(&mut world).delivery.channel, Channel::Push);
    world.pass(10 * MINUTE);
    assert_eq!(call(&mut world).delivery.channel, Channel::Sms);
}

#[test]
fn a_letter_whose_head_has_ended_is_taken_up_again_for_the_others() {
    for read in [0, 2] {
        let mut world = night();
        let ids = three(&mut world);
        world.pass(6 * HOUR);
        call(&mut world);
        world.command(Command::MarkRead { user: "ann".to_owned(), ids: vec![ids[read]] });
        assert_eq!(world.state(ids[read], Channel::Push), "delivered", "it came by the push, they say");
        world.crash();
        world.pass(Duration::ZERO);
        let second = call(&mut world);
        assert_eq!((text(&second).0, second.again), ("2 notifications", true));
        answer(&mut world, &second, taken);
        let left: Vec<_> = ids.iter().filter(|id| **id != ids[read]).copied().collect();
        assert_eq!(states(&world, &left), ["handed_over"; 2]);
        is_settled(&mut world);
    }
}

#[test]
fn one_whose_own_row_is_damaged_does_not_stay_open() {
    let mut world = night();
    let alone = push(&mut world, "alone", &json!({}));
    let mut batch = Batch::default();
    batch.put(Space::Notifications, alone.as_bytes().to_vec(), vec![9, 9]);
    world.store.commit(&batch).expect("memory");
    world.pass(6 * HOUR);
    let rows = world.store.scan(Space::Ledger, &Range::prefix(alone.as_bytes()), Order::Forward, 2);
    let (_, row) = rows.expect("memory").remove(0);
    let row = router::ledger::LedgerRow::decode(row).expect("a row");
    assert!(row.deliveries.iter().all(|delivery| !delivery.state.is_open()), "{row:?}");
}

#[test]
fn what_its_provider_does_not_take_is_tried_again_together() {
    let mut world = night();
    let ids = three(&mut world);
    world.pass(6 * HOUR);
    let first = call(&mut world);
    answer(&mut world, &first, fault);
    assert_eq!(states(&world, &ids), ["open"; 3]);
    let late = push(&mut world, "late", &json!({}));
    let alone = call(&mut world);
    assert_eq!((text(&alone).0, alone.delivery.id), ("late", late), "it was not tried with them");
    let cancel = Command::Cancel { id: ids[2], by: None, promised: None, of: None };
    assert_eq!(world.command(cancel), Answer::Cancelled { cancelled: 1, too_late: 0 });
    world.pass(MINUTE);
    let second = call(&mut world);
    assert_eq!((text(&second), second.attempt), (("2 notifications", "two\none"), 2));
    for call in [&second, &alone] {
        answer(&mut world, call, taken);
    }
    assert_eq!(states(&world, &ids), ["handed_over", "handed_over", "dropped"]);
    is_settled(&mut world);
}

#[test]
fn one_that_is_taken_back_while_its_letter_waits_leaves_the_others_to_go_without_it() {
    for read in [0, 2] {
        let mut world = night();
        let shown = json!({"channels": ["inapp", "push"]});
        let ids = ["one", "two", "three"].map(|title| push(&mut world, title, &shown));
        world.pass(6 * HOUR);
        let first = call(&mut world);
        world.command(Command::MarkRead { user: "ann".to_owned(), ids: vec![ids[read]] });
        assert_eq!(
            world.seen.withdrawn,
            std::slice::from_ref(&first.delivery),
            "the letter, whoever it is in it"
        );
        answer(&mut world, &first, |_| Said::Withdrawn);
        world.pass(Duration::ZERO);
        let second = call(&mut world);
        assert_eq!(text(&second).0, "2 notifications");
        assert_eq!(second.attempt, 1, "nobody was asked");
        answer(&mut world, &second, taken);
        let left: Vec<_> = ids.iter().filter(|id| **id != ids[read]).copied().collect();
        assert_eq!(states(&world, &left), ["handed_over"; 2]);
        let gone = world.delivery(ids[read], Channel::Push);
        assert_eq!(gone.reason.as_deref(), Some("acknowledged"));
        is_settled(&mut world);
    }
}

#[test]
fn what_a_provider_has_already_goes_its_way_for_all_of_them() {
    let mut world = night();
    let ids = three(&mut world);
    world.pass(6 * HOUR);
    let first = call(&mut world);
    let cancel = Command::Cancel { id: ids[0], by: None, promised: None, of: None };
    assert_eq!(world.command(cancel), Answer::Cancelled { cancelled: 0, too_late: 1 });
    answer(&mut world, &first, taken);
    assert_eq!(states(&world, &ids), ["handed_over"; 3]);
    is_settled(&mut world);
}

#[test]
fn a_letter_that_a_kill_left_out_is_sent_again_with_all_that_it_carried() {
    let mut world = night();
    let ids = three(&mut world);
    world.pass(6 * HOUR);
    let first = call(&mut world);
    world.crash();
    world.pass(Duration::ZERO);
    let second = call(&mut world);
    assert_eq!((text(&second), &second.delivery, second.again), (text(&first), &first.delivery, true));
    answer(&mut world, &second, taken);
    assert_eq!(states(&world, &ids), ["handed_over"; 3]);
    for id in ids {
        let story = world.delivery(id, Channel::Push);
        assert!(whats(&story).contains(&"provided_again") && story.attempts == 1, "{story:?}");
    }
    is_settled(&mut world);
}

#[test]
fn a_receipt_is_about_all_that_the_letter_carried() {
    let mut world = night();
    let ids = ["one", "two"].map(|title| push(&mut world, title, &json!({"channels": ["sms"]})));
    world.pass(6 * HOUR);
    let sms = call(&mut world);
    answer(&mut world, &sms, taken);
    world.crash();
    let told = |receipt| {
        let delivery = Some(sms.delivery.clone());
        Command::Receipt(Told { delivery, channel: Channel::Sms, to: None, receipt })
    };
    assert_eq!(world.command(told(Receipt::Delivered)), Answer::Done);
    assert!(ids.iter().all(|id| world.state(*id, Channel::Sms) == "delivered"));
    is_settled(&mut world);
}

#[test]
fn a_device_that_has_to_wait_gets_the_same_letter_later() {
    let mut world = night();
    let two = json!([{"kind": "fcm", "token": "phone"}, {"kind": "fcm", "token": "tablet"}]);
    world.contacts("ann", &json!({"push": two}));
    let ids = three(&mut world);
    world.pass(6 * HOUR);
    let first = call(&mut world);
    let is_phone = |to: &Address| *to == Address::Fcm("phone".to_owned());
    answer(&mut world, &first, |to| if is_phone(to) { taken(to) } else { fault(to) });
    assert_eq!(states(&world, &ids), ["handed_over"; 3]);
    world.pass(MINUTE);
    let second = call(&mut world);
    assert_eq!((text(&second), second.addresses.len()), (text(&first), 1));
    assert!(!is_phone(&second.addresses[0]));
    answer(&mut world, &second, taken);
    is_settled(&mut world);
    assert!(world.seen.calls.is_empty());
}

#[test]
fn where_nobody_can_be_asked_all_end_and_the_next_channel_of_each_begins() {
    let mut world = night();
    let fallback = json!({"fallback": ["email"], "ack_within_s": 3_600});
    let ids = ["one", "two"].map(|title| push(&mut world, title, &fallback));
    world.contacts("ann", &json!({"email": "ann@example.org"}));
    world.pass(6 * HOUR + MINUTE);
    let mails: Vec<_> = world.seen.calls.iter().map(|call| (call.delivery.channel, text(call).0)).collect();
    assert_eq!(mails, [(Channel::Email, "one"), (Channel::Email, "two")], "mails are not held");
    for id in ids {
        assert_eq!(world.delivery(id, Channel::Push).reason.as_deref(), Some("no_address"));
    }
    world.balanced();
}

#[test]
fn a_damaged_row_holds_up_none_of_the_others() {
    let mut world = night();
    let ids = three(&mut world);
    let rows = world.store.scan(Space::Ledger, &Range::prefix(ids[1].as_bytes()), Order::Forward, 2);
    let (key, _) = rows.expect("memory").remove(0);
    let mut batch = Batch::default();
    batch.put(Space::Ledger, key, vec![9, 9]);
    world.store.commit(&batch).expect("memory");
    world.pass(6 * HOUR);
    let call = call(&mut world);
    assert_eq!(text(&call), ("2 notifications", "three\none"));
    assert!(world.seen.alerts.iter().any(|(name, _)| *name == "store_row_damaged"));
    answer(&mut world, &call, taken);
    assert_eq!(states(&world, &[ids[0], ids[2]]), ["handed_over"; 2]);
}

#[test]
fn who_is_erased_leaves_nothing_that_waits() {
    let mut world = night();
    three(&mut world);
    let token = 99;
    world.owner.handle_command(token, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(12 * HOUR);
    assert!(matches!(world.seen.answers.get(&token), Some(Answer::Erased(_))));
    assert!(world.seen.calls.is_empty());
    let left = world.store.scan(Space::Digests, &Range::all(), Order::Forward, 10).expect("memory");
    assert!(left.is_empty(), "{left:?}");
    world.balanced();
}
