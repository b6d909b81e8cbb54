//! What providers tell later moves deliveries on, in any order and however often; who said no is not written to.

use std::time::Duration;

use router::owner::{Answer, Answered, Command, DeliveryKey, Outcome, OwnerConfig, Receipt, Said, Told};
use router::provider::letter::{self, Address, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::suppression::Why;
use serde_json::json;
use uuid::Uuid;

use crate::world::{PARTITIONS, World, whats};

const PHONE: &str = "+4930123456";

fn world() -> World {
    let ways = Ways::of([Way::Email, Way::Sms]);
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() });
    world.contacts("ann", &json!({"phone": PHONE, "email": "ann@example.org"}));
    world
}

fn send(world: &mut World, channel: Channel) -> Uuid {
    world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": [channel.name()]}))
}

/// The provider answers the newest call.
fn answers(world: &mut World, answer: &letter::Answer) {
    let call = world.seen.calls.pop().expect("a call");
    let said = |to: &Address| Answered { to: to.clone(), said: Said::Answer(answer.clone()) };
    let answered = call.addresses.iter().map(said).collect();
    world.outcome(call.delivery.id, call.delivery.channel, "ann", Outcome::Letters(answered));
}

fn taken() -> letter::Answer {
    letter::Answer::Taken { reference: None }
}

fn unknown() -> letter::Answer {
    letter::Answer::Unknown { why: "no answer".to_owned() }
}

fn tell(world: &mut World, id: Uuid, channel: Channel, receipt: &Receipt) -> Answer {
    let delivery = Some(DeliveryKey { id, channel, user: "ann".to_owned() });
    world.command(Command::Receipt(Told { delivery, channel, to: None, receipt: receipt.clone() }))
}

fn failed(class: Class) -> Receipt {
    Receipt::Failed { class, code: "30003".to_owned() }
}

#[test]
fn receipts_in_any_order_come_to_the_same() {
    // What came, in this order, before or behind the provider's own answer; how it ends.
    let table: [(&[Receipt], &str, Option<&str>); 8] = [
        (&[Receipt::Delivered], "delivered", None),
        (&[failed(Class::Recipient)], "dropped", Some("30003")),
        (&[Receipt::Delivered, failed(Class::Recipient)], "delivered", None),
        (&[failed(Class::Recipient), Receipt::Delivered], "delivered", None),
        (&[Receipt::Bounced { permanent: true }], "dropped", Some("bounced")),
        (&[Receipt::Bounced { permanent: false }], "dropped", Some("bounced_for_now")),
        (&[Receipt::Delivered, Receipt::Complained], "delivered", None),
        (&[Receipt::OptedOut], "dropped", Some("opted_out")),
    ];
    for (receipts, state, reason) in table {
        for first in [taken(), unknown()] {
            for early in [false, true] {
                let mut world = world();
                let id = send(&mut world, Channel::Email);
                if !early {
                    answers(&mut world, &first);
                }
                for receipt in receipts.iter().chain(receipts) {
                    assert_eq!(tell(&mut world, id, Channel::Email, receipt), Answer::Done);
                }
                if early {
                    answers(&mut world, &first);
                }
                let delivery = world.delivery(id, Channel::Email);
                let found = (&*delivery.state, delivery.reason.as_deref());
                assert_eq!(found, (state, reason), "{receipts:?} early: {early}");
                let told = whats(&delivery).iter().filter(|what| **what == "receipt").count();
                assert_eq!(told, receipts.len(), "each is told once: {:?}", whats(&delivery));
                world.crash();
                world.balanced();
            }
        }
    }
}

#[test]
fn a_receipt_of_nothing_changes_nothing() {
    let mut world = world();
    let id = send(&mut world, Channel::Email);
    assert_eq!(tell(&mut world, id, Channel::Sms, &Receipt::Delivered), Answer::NotFound);
    assert_eq!(tell(&mut world, Uuid::from_u128(99), Channel::Email, &Receipt::Delivered), Answer::NotFound);
    assert_eq!(world.state(id, Channel::Email), "open");
}

#[test]
fn a_delivery_that_failed_later_lets_the_next_channel_go_at_once_and_one_that_arrived_ends_the_ladder() {
    let request =
        json!({"to": {"user": "ann"}, "channels": ["sms"], "fallback": ["email"], "ack_within_s": 3_600});
    let mut world = world();
    let id = world.send(request.clone());
    answers(&mut world, &taken());
    tell(&mut world, id, Channel::Sms, &failed(Class::Recipient));
    world.pass(Duration::ZERO);
    assert_eq!(world.seen.calls.pop().map(|call| call.delivery.channel), Some(Channel::Email));
    let id = world.send(request);
    answers(&mut world, &taken());
    tell(&mut world, id, Channel::Sms, &Receipt::Delivered);
    world.pass(Duration::from_secs(7_200));
    assert!(world.seen.calls.is_empty(), "{:?}", world.seen.calls);
    world.balanced();
}

#[test]
fn who_said_no_is_not_written_to_until_that_is_lifted() {
    let table = [
        (Receipt::Bounced { permanent: true }, Some(Why::Bounce)),
        (Receipt::Bounced { permanent: false }, None),
        (Receipt::Complained, Some(Why::Complaint)),
        (Receipt::OptedOut, Some(Why::Stop)),
        (failed(Class::Gone), Some(Why::Gone)),
        (failed(Class::Recipient), None),
        (Receipt::Delivered, None),
    ];
    for (receipt, why) in table {
        let mut world = world();
        let id = send(&mut world, Channel::Email);
        answers(&mut world, &taken());
        tell(&mut world, id, Channel::Email, &receipt);
        world.crash();
        let shown = world.view().suppressions("ann").expect("readable");
        assert_eq!(shown.iter().map(|one| one.suppression.reason).collect::<Vec<_>>(), Vec::from_iter(why));
        let id = send(&mut world, Channel::Email);
        let delivery = world.delivery(id, Channel::Email);
        let reason = why.map(|_| "suppressed");
        assert_eq!(delivery.reason.as_deref(), reason, "{receipt:?}");
        world.seen.calls.clear();
        let lift = Command::LiftSuppressions { user: "ann".to_owned(), channel: None };
        assert_eq!(world.command(lift), Answer::Lifted(u32::from(why.is_some())));
        send(&mut world, Channel::Email);
        assert_eq!(world.seen.calls.len(), 1, "{receipt:?}");
    }
}

#[test]
fn an_answer_stop_names_a_number_and_holds_for_whoever_has_it() {
    let mut world = world();
    world.contacts("bob", &json!({"phone": PHONE}));
    let to = Some(Address::Phone(PHONE.to_owned()));
    let stop = Told { delivery: None, channel: Channel::Sms, to, receipt: Receipt::OptedOut };
    assert_eq!(world.command(Command::Receipt(stop)), Answer::Done);
    for user in ["ann", "bob"] {
        let id = world.send(json!({"to": {"user": user}, "channels": ["sms"], "priority": "critical"}));
        assert_eq!(world.delivery(id, Channel::Sms).reason.as_deref(), Some("suppressed"), "{user}");
    }
    // Put again it is the same number.
    world.contacts("ann", &json!({"phone": PHONE}));
    let id = send(&mut world, Channel::Sms);
    assert_eq!(world.delivery(id, Channel::Sms).reason.as_deref(), Some("suppressed"));
    world.contacts("ann", &json!({"phone": "+4930123457"}));
    send(&mut world, Channel::Sms);
    assert_eq!(world.seen.calls.len(), 1, "another number");
}

#[test]
fn a_number_that_a_provider_calls_gone_is_kept_to_look_at_and_not_written_to() {
    let mut world = world();
    send(&mut world, Channel::Sms);
    let (code, detail) = ("21614".to_owned(), String::new());
    let gone = Refusal { class: Class::Gone, code, detail, retry_after: None };
    answers(&mut world, &letter::Answer::Refused(gone));
    assert!(world.view().contacts("ann").expect("readable").phone.is_some());
    let shown = world.view().suppressions("ann").expect("readable");
    assert_eq!((shown.len(), shown[0].suppression.reason), (1, Why::Gone));
    assert!(!format!("{shown:?}").contains("30123"), "{shown:?}");
}
