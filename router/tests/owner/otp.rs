//! One-use codes: one channel after the other until it is verified, each with its own time; guesses that a crash gives back
//! to nobody; backup codes that are good once.

use std::time::Duration;

use router::otp::backup::TRIES_MAX;
use router::otp::{Guess, Seal, SealKey};
use router::owner::{Answer, Answered, Command, DeliveryKey, OtpOpened, Outcome, OwnerConfig, Said};
use router::provider::letter::{self, Address, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::store::{Order, Range, Space, Store};
use serde_json::json;
use uuid::Uuid;
use wire::time::Wall;

use crate::world::{PARTITIONS, World};

const SECOND: Duration = Duration::from_secs(1);
const LIFE: Duration = Duration::from_secs(300);

fn world() -> World {
    let ways = Ways::of([Way::Sms, Way::Email, Way::Voice]);
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() });
    world.contacts("ann", &json!({"phone": "+4930123456", "email": "ann@example.org"}));
    world
}

fn seal(id: Uuid, code: &str) -> Seal {
    SealKey::new(b"a key of tests").seal(id, code)
}

/// Opens a code and sends it, as the API does: SMS 20 s, e-mail 60 s, voice 45 s.
fn send(world: &mut World, contacts: Option<router::contacts::Contacts>) -> Uuid {
    let mut entry = world.record(json!({
        "to": {"user": "ann"}, "priority": "critical", "category": "otp", "body": "314159 is your code.",
        "channels": ["sms"], "fallback": ["email", "voice"], "ack_within_s": 20,
        "channel_within_s": {"sms": 20, "email": 60, "voice": 45}, "ttl_s": LIFE.as_secs(),
    }));
    let id = entry.record.as_ref().expect("a record").id;
    let opened = OtpOpened {
        id,
        service: "svc".to_owned(),
        user: "ann".to_owned(),
        seal: seal(id, "314159"),
        expires_at: Wall(world.wall) + LIFE,
        contacts,
    };
    assert_eq!(world.command(Command::OpenOtp(Box::new(opened))), Answer::Done);
    if let Ok(record) = &mut entry.record {
        record.accepted_at = Wall(world.wall);
    }
    world.owner.handle_entry(entry, world.now());
    world.turn();
    id
}

fn guess(world: &mut World, id: Uuid, code: &str) -> Answer {
    world.command(Command::GuessOtp { id, by: "svc".to_owned(), seal: seal(id, code) })
}

/// The newest call's channel and address; its provider says so.
fn answer(world: &mut World, says: &letter::Answer) -> (Channel, Vec<Address>) {
    let call = world.seen.calls.pop().expect("a call");
    assert!(world.seen.calls.is_empty(), "one call");
    let said = |to: &Address| Answered { to: to.clone(), said: Said::Answer(says.clone()) };
    let letters = call.addresses.iter().map(said).collect();
    let DeliveryKey { id, channel, user } = call.delivery;
    world.outcome(id, channel, &user, Outcome::Letters(letters));
    (channel, call.addresses)
}

fn taken() -> letter::Answer {
    letter::Answer::Taken { reference: None }
}

fn refused() -> letter::Answer {
    let refusal =
        Refusal { class: Class::Recipient, code: "21612".into(), detail: String::new(), retry_after: None };
    letter::Answer::Refused(refusal)
}

fn exhausted(world: &World) -> usize {
    world.seen.alerts.iter().filter(|(name, _)| *name == "otp_exhausted").count()
}

#[test]
fn each_channel_has_its_own_time_and_the_last_one_too() {
    let mut world = world();
    let id = send(&mut world, None);
    assert_eq!(answer(&mut world, &taken()).0, Channel::Sms);
    world.pass(19 * SECOND);
    assert!(world.seen.calls.is_empty(), "SMS has twenty seconds");
    world.pass(SECOND);
    assert_eq!(answer(&mut world, &taken()).0, Channel::Email);
    world.pass(59 * SECOND);
    assert!(world.seen.calls.is_empty(), "e-mail has sixty");
    world.pass(SECOND);
    assert_eq!(answer(&mut world, &taken()).0, Channel::Voice);
    world.pass(44 * SECOND);
    assert_eq!(exhausted(&world), 0, "voice has forty-five");
    world.pass(SECOND);
    assert_eq!(exhausted(&world), 1, "{:?}", world.seen.alerts);
    world.pass(LIFE);
    assert_eq!((exhausted(&world), world.seen.calls.len()), (1, 0), "once, and nothing goes out again");
    assert_eq!(world.state(id, Channel::Sms), "handed_over");
    world.balanced();
}

#[test]
fn what_is_refused_is_not_waited_for() {
    let mut world = world();
    send(&mut world, None);
    for channel in [Channel::Sms, Channel::Email, Channel::Voice] {
        assert_eq!(answer(&mut world, &refused()).0, channel);
        world.pass(Duration::ZERO);
    }
    assert_eq!(exhausted(&world), 1, "at once");
    let mut nobody = World::with(OwnerConfig {
        partitions: PARTITIONS,
        ways: Ways::of([Way::Sms, Way::Email, Way::Voice]),
        ..OwnerConfig::default()
    });
    send(&mut nobody, None);
    nobody.pass(Duration::ZERO);
    assert_eq!((nobody.seen.calls.len(), exhausted(&nobody)), (0, 1), "nobody knows where ann is reached");
}

#[test]
fn a_verified_code_ends_the_ladder_and_is_good_once() {
    let mut world = world();
    let id = send(&mut world, None);
    answer(&mut world, &taken());
    assert_eq!(guess(&mut world, id, "271828"), Answer::Guessed(Guess::Wrong { left: 4 }));
    let another = Command::GuessOtp { id, by: "other".to_owned(), seal: seal(id, "314159") };
    assert_eq!(world.command(another), Answer::NotFound, "another service knows nothing of it");
    assert_eq!(guess(&mut world, id, "314159"), Answer::Guessed(Guess::Right));
    assert_eq!(guess(&mut world, id, "314159"), Answer::Guessed(Guess::Used));
    world.pass(LIFE);
    assert_eq!((world.seen.calls.len(), exhausted(&world)), (0, 0));
    assert_eq!(world.state(id, Channel::Sms), "delivered");
    assert_eq!(world.timeline(id).deliveries.len(), 1);
    world.balanced();
}

#[test]
fn a_crash_gives_no_guess_back_and_another_code_under_the_same_key_is_refused() {
    let mut world = world();
    let id = send(&mut world, None);
    for left in (0..5).rev() {
        assert_eq!(guess(&mut world, id, "000000"), Answer::Guessed(Guess::Wrong { left }));
        world.crash();
        world.seen.answers.clear();
    }
    let again = |code: &str| {
        Command::OpenOtp(Box::new(OtpOpened {
            id,
            service: "svc".to_owned(),
            user: "ann".to_owned(),
            seal: seal(id, code),
            expires_at: Wall(i64::MAX / 2),
            contacts: None,
        }))
    };
    assert_eq!(world.command(again("314159")), Answer::Done);
    assert!(matches!(world.command(again("000000")), Answer::Refused(_)));
    assert_eq!(guess(&mut world, id, "314159"), Answer::Guessed(Guess::Spent));
}

#[test]
fn until_its_notification_is_there_what_was_promised_last_counts() {
    let mut world = world();
    let id = Uuid::from_u128(4_711);
    for code in ["111111", "222222"] {
        let opened = OtpOpened {
            id,
            service: "svc".to_owned(),
            user: "ann".to_owned(),
            seal: seal(id, code),
            expires_at: Wall(world.wall) + LIFE,
            contacts: None,
        };
        assert_eq!(world.command(Command::OpenOtp(Box::new(opened))), Answer::Done);
        world.pass(SECOND);
    }
    assert_eq!(guess(&mut world, id, "111111"), Answer::Guessed(Guess::Wrong { left: 4 }));
    assert_eq!(guess(&mut world, id, "222222"), Answer::Guessed(Guess::Right));
}

#[test]
fn a_newer_code_takes_the_place_of_the_older_one_and_stops_its_ladder() {
    let mut world = world();
    let first = send(&mut world, None);
    answer(&mut world, &taken());
    world.pass(SECOND);
    let second = send(&mut world, None);
    answer(&mut world, &taken());
    assert_eq!(guess(&mut world, first, "314159"), Answer::Guessed(Guess::Over));
    world.pass(20 * SECOND);
    let call = world.seen.calls.pop().expect("e-mail");
    assert_eq!((call.delivery.id, call.delivery.channel), (second, Channel::Email));
    assert!(world.seen.calls.is_empty(), "the older one goes no further");
    assert_eq!(guess(&mut world, second, "314159"), Answer::Guessed(Guess::Right));
    world.balanced();
}

#[test]
fn who_has_many_codes_sent_has_no_more_guesses_for_it() {
    let mut world = world();
    let mut wrong = 0;
    for _ in 0..10 {
        let id = send(&mut world, None);
        world.seen.calls.clear();
        for _ in 0..4 {
            match guess(&mut world, id, "000000") {
                Answer::Guessed(Guess::Wrong { .. }) => wrong += 1,
                Answer::Guessed(Guess::Spent) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(wrong, 20);
    let id = send(&mut world, None);
    assert_eq!(guess(&mut world, id, "314159"), Answer::Guessed(Guess::Spent));
    world.pass(Duration::from_secs(3_600));
    let id = send(&mut world, None);
    assert_eq!(guess(&mut world, id, "314159"), Answer::Guessed(Guess::Right));
}

#[test]
fn a_code_is_over_with_its_time_told_of_for_a_day_and_gone_with_its_person() {
    let mut world = world();
    let first = send(&mut world, None);
    world.seen.calls.clear();
    world.pass(LIFE);
    assert_eq!(guess(&mut world, first, "314159"), Answer::Guessed(Guess::Over));
    assert!(world.view().otp(first).expect("memory").is_some());
    world.pass(Duration::from_secs(24 * 3_600));
    assert_eq!(guess(&mut world, first, "314159"), Answer::NotFound);
    let second = send(&mut world, None);
    world.command(Command::PutBackupCodes { user: "ann".to_owned(), hashes: vec!["h".to_owned()] });
    world.owner.handle_command(900, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(SECOND);
    assert_eq!(world.view().otp(second).expect("memory"), None);
    assert_eq!(world.view().backup_codes("ann").expect("memory"), None);
    let people = world.store.scan(Space::People, &Range::all(), Order::Forward, 10).expect("memory");
    assert!(people.is_empty(), "{people:?}");
}

#[test]
fn a_channel_without_an_account_is_no_way_for_a_code() {
    let ways = Ways::of([Way::Sms]);
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() });
    world.contacts("ann", &json!({"phone": "+4930123456", "email": "ann@example.org"}));
    let id = send(&mut world, None);
    answer(&mut world, &refused());
    world.pass(Duration::ZERO);
    assert_eq!((world.seen.calls.len(), exhausted(&world)), (0, 1), "e-mail and voice are not the outbox's");
    assert_eq!(world.state(id, Channel::Email), "dropped");
}

#[test]
fn contacts_that_come_with_a_code_take_the_place_of_what_is_known_for_it_alone() {
    let mut world = world();
    let contacts = world.contacts("stranger", &json!({"phone": "+491701234567"}));
    send(&mut world, Some(contacts));
    assert_eq!(answer(&mut world, &taken()).1, [Address::Phone("+491701234567".to_owned())]);
    world.pass(20 * SECOND);
    assert_eq!(answer(&mut world, &taken()).0, Channel::Voice, "no e-mail address came with it");
    send(&mut world, None);
    assert_eq!(answer(&mut world, &taken()).1, [Address::Phone("+4930123456".to_owned())]);
}

#[test]
fn backup_codes_are_good_once_and_tries_are_bounded_by_the_hour() {
    let mut world = world();
    let user = || "ann".to_owned();
    assert_eq!(world.command(Command::TryBackupCode { user: user() }), Answer::NotFound);
    let hashes = vec!["a".to_owned(), "b".to_owned()];
    world.command(Command::PutBackupCodes { user: user(), hashes: hashes.clone() });
    for _ in 0..TRIES_MAX {
        assert_eq!(
            world.command(Command::TryBackupCode { user: user() }),
            Answer::BackupCodes(hashes.clone())
        );
    }
    let spent = Answer::Guessed(Guess::Spent);
    assert_eq!(world.command(Command::TryBackupCode { user: user() }), spent);
    // New ones are no way round the bound.
    world.command(Command::PutBackupCodes { user: user(), hashes });
    assert_eq!(world.command(Command::TryBackupCode { user: user() }), spent);
    world.pass(Duration::from_secs(3_600));
    assert!(matches!(world.command(Command::TryBackupCode { user: user() }), Answer::BackupCodes(_)));
    let take = || Command::TakeBackupCode { user: user(), hash: "a".to_owned() };
    assert_eq!(world.command(take()), Answer::BackupCodeTaken { left: 1 });
    assert_eq!(world.command(take()), Answer::Guessed(Guess::Used));
    let left = world.view().backup_codes("ann").expect("memory").expect("one is left");
    assert_eq!((left.hashes, left.tries.is_empty()), (vec!["b".to_owned()], true));
}
