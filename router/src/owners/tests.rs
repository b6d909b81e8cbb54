use super::*;
use crate::contacts::asked::Asked;
use crate::journal::Poison;
use crate::otp::Guess;
use crate::owner::{OtpOpened, Receipt, View};
use crate::provider::letter::Address;
use crate::record::Channel;
use crate::store::MemoryStore;
use bytes::Bytes;
use wire::time::Wall;

const COUNT: u32 = 4;
const LINK: LinkId = LinkId(1);

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000), wall: Wall(1_700_000_000_000_000 + ms as i64 * 1_000) }
}

/// A user of this partition.
fn user(partition: u32) -> String {
    (0..1_000).map(|i| format!("u{i}")).find(|user| partition_of(user, COUNT) == partition).expect("some")
}

fn record(id: u128, to: &str, more: &str) -> Record {
    let text = format!(
        r#"{{"v":1,"id":"{}","service":"s","accepted_at":"2023-11-14T22:13:20Z",
        "sequence":{{"boot":1,"partition":0,"seq":1}},"request":{{"to":{to}{more}}}}}"#,
        Uuid::from_u128(id)
    );
    serde_json::from_str(&text).expect("a record")
}

fn entry(id: u128, partition: u32, offset: u64, more: &str) -> Entry {
    let to = format!(r#"{{"user":"{}"}}"#, user(partition));
    let position = Position { priority: Priority::Normal, partition, offset };
    Entry { position, record: Ok(record(id, &to, more)) }
}

fn owners(store: &MemoryStore) -> Owners<MemoryStore> {
    let config = OwnerConfig { partitions: COUNT, ..OwnerConfig::default() };
    Owners::new(store.clone(), config, 0x1234_5678_9abc_def0)
}

/// What the brokers and the disk do with a commit.
fn write(store: &MemoryStore, owners: &mut Owners<MemoryStore>) -> Wanted {
    let wanted = owners.commit().expect("memory");
    for (partition, rows) in wanted.rows.clone() {
        store.commit(&Part::<MemoryStore>::written(partition, rows)).expect("memory");
    }
    owners.release();
    wanted
}

fn outputs(owners: &mut Owners<MemoryStore>) -> Vec<Output> {
    std::iter::from_fn(|| owners.poll_output()).collect()
}

/// With these partitions open and claimed, and a link that has told who is there.
fn opened(store: &MemoryStore, partitions: &[u32]) -> Owners<MemoryStore> {
    let mut owners = owners(store);
    owners.handle_link_up(LINK, "n", 0, now(0));
    for partition in partitions {
        owners.open(*partition, now(0)).expect("memory");
        owners.handle_link_frame(LINK, Frame::SnapshotEnd { partition: *partition }, now(0));
    }
    owners.claim(Stamp { epoch: 7, generation: 1 });
    owners.announce(&BTreeSet::new());
    write(store, &mut owners);
    outputs(&mut owners);
    owners
}

fn provided(outputs: &[Output]) -> Vec<(Option<Claim>, bool)> {
    let call = |output: &Output| match output {
        Output::Provide(call) => Some((call.claim, call.again)),
        _ => None,
    };
    outputs.iter().filter_map(call).collect()
}

#[test]
fn nothing_leaves_before_the_ledger_has_its_rows_and_each_row_has_its_partition() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 2]);
    owners.handle_entry(entry(1, 0, 5, ""), now(1));
    owners.handle_entry(entry(2, 2, 9, r#","channels":["push"]"#), now(1));
    let wanted = owners.commit().expect("memory");
    assert!(outputs(&mut owners).is_empty(), "it is not in Kafka");
    assert_eq!(wanted.rows.keys().copied().collect::<Vec<_>>(), [0, 2]);
    let offsets: Vec<_> = wanted.offsets.into_iter().collect();
    assert_eq!(offsets, [((Priority::Normal, 0), 6), ((Priority::Normal, 2), 10)]);
    let of_zero = wanted.rows[&0].keys().filter(|(space, _)| *space == Space::Ledger).count();
    assert_eq!(of_zero, 1);
    owners.release();
    let calls = provided(&outputs(&mut owners));
    assert_eq!(calls, [(Some(Claim { partition: 2, term: owners.terms()[&2].number }), false)]);
}

#[test]
fn what_was_not_released_is_forgotten_with_its_owner() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0]);
    owners.handle_entry(entry(1, 0, 5, r#","channels":["push"]"#), now(1));
    owners.commit().expect("memory");
    owners.close(0);
    owners.forget_outputs();
    owners.release();
    assert!(outputs(&mut owners).is_empty());
    owners.open(0, now(2)).expect("memory");
    write(&store, &mut owners);
    owners.handle_entry(entry(1, 0, 5, r#","channels":["push"]"#), now(2));
    write(&store, &mut owners);
    assert_eq!(provided(&outputs(&mut owners)).len(), 1, "it is read again, and made once");
}

#[test]
fn an_heir_knows_what_was_decided_and_makes_the_calls_that_were_out_again() {
    let (one, two) = (MemoryStore::new(), MemoryStore::new());
    let mut first = opened(&one, &[0, 1]);
    first.handle_entry(entry(1, 0, 5, r#","channels":["inapp","push"]"#), now(1));
    write(&one, &mut first);
    assert_eq!(provided(&outputs(&mut first)).len(), 1);
    // The ledger of partition 0, as another router reads it.
    for space in Space::ALL {
        for (key, value) in
            Part::new(one.clone(), 0).scan(space, &Range::all(), Order::Forward, 99).expect("memory")
        {
            let rows = [((space, key), Some(value))].into();
            two.commit(&Part::<MemoryStore>::written(0, rows)).expect("memory");
        }
    }
    let mut heir = owners(&two);
    assert_eq!(heir.found(0), Ok(Some(Stamp { epoch: 7, generation: 1 })));
    assert_eq!(heir.found(1), Ok(None));
    heir.open(0, now(10)).expect("memory");
    write(&two, &mut heir);
    heir.handle_timeout(now(11));
    heir.handle_entry(entry(1, 0, 5, r#","channels":["inapp","push"]"#), now(11));
    write(&two, &mut heir);
    let calls = provided(&outputs(&mut heir));
    assert_eq!(calls, [(Some(Claim { partition: 0, term: 1 }), true)], "once, and marked");
}

#[test]
fn a_deadline_of_a_partition_that_moved_waits_until_its_users_may_have_spoken() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0]);
    owners.handle_entry(entry(1, 0, 5, r#","fallback":["push"],"ack_within_s":1"#), now(1));
    write(&store, &mut owners);
    let mut heir = opened(&store, &[0]);
    let later = 20_000;
    heir.close(0);
    heir.open(0, now(later)).expect("memory");
    write(&store, &mut heir);
    heir.handle_timeout(now(later + 1));
    write(&store, &mut heir);
    assert_eq!(provided(&outputs(&mut heir)).len(), 0, "nobody was heard yet");
    let quiet = later + START_GRACE.as_millis() as u64;
    assert!(heir.poll_timeout().is_some_and(|at| at <= now(quiet).mono));
    let ack = format!(r#"{{"type":"ack","ids":["{}"]}}"#, Uuid::from_u128(1));
    let said = Frame::ClientMessage { user: user(0), session: SessionKey(3), text: Bytes::from(ack) };
    heir.handle_link_frame(LINK, said, now(quiet - 1));
    heir.handle_timeout(now(quiet + 1));
    write(&store, &mut heir);
    assert_eq!(provided(&outputs(&mut heir)).len(), 0, "it was acknowledged");
}

#[test]
fn between_two_assignments_what_is_said_waits_and_then_goes_on_or_is_refused() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 1]);
    let say = |partition| Frame::ClientMessage {
        user: user(partition),
        session: SessionKey(u64::from(partition)),
        text: Bytes::from_static(br#"{"type":"sync"}"#),
    };
    owners.suspend();
    owners.handle_link_frame(LINK, say(0), now(1));
    owners.handle_link_frame(LINK, say(1), now(1));
    owners.handle_command(9, Command::MarkRead { user: user(1), ids: vec![Uuid::nil()] }, now(1));
    owners.handle_entry(entry(1, 0, 5, ""), now(1));
    let wanted = write(&store, &mut owners);
    assert!(outputs(&mut owners).is_empty() && wanted.offsets.is_empty());
    owners.resume(0, now(2));
    owners.close(1);
    write(&store, &mut owners);
    let replies: Vec<String> = outputs(&mut owners)
        .into_iter()
        .map(|output| match output {
            Output::Link { frame: Frame::Reply { session, text }, .. } => {
                format!("{} {}", session.0, String::from_utf8_lossy(&text))
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert!(
        replies.iter().any(|reply| reply.starts_with("0 ") && reply.contains("sync_batch")),
        "{replies:?}"
    );
    assert!(replies.iter().any(|reply| reply.starts_with("1 ") && reply.contains("busy")), "{replies:?}");
    assert!(replies.iter().any(|reply| reply.contains("Elsewhere")), "{replies:?}");
}

#[test]
fn shards_are_told_once_what_is_ours_and_to_tell_again_who_is_there() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 1, 3]);
    owners.claim(Stamp { epoch: 7, generation: 2 });
    owners.announce(&[1].into());
    let wanted = write(&store, &mut owners);
    assert_eq!(wanted.rows.len(), 3, "every ledger knows the claim");
    assert_eq!(owners.found(3), Ok(Some(Stamp { epoch: 7, generation: 2 })));
    let told: Vec<(u64, Vec<u32>)> = outputs(&mut owners)
        .into_iter()
        .filter_map(|output| match output {
            Output::Link { frame: Frame::Owns { generation, partitions, .. }, .. } => {
                Some((generation, partitions))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [(2, vec![0, 3]), (2, vec![0, 1, 3])]);
}

#[test]
fn results_tickets_and_numbers_find_their_partition() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[2]);
    owners.handle_link_frame(LINK, Frame::Announce { user: user(2) }, now(1));
    owners.handle_entry(entry(1, 2, 5, ""), now(1));
    write(&store, &mut owners);
    let tags: Vec<u64> = outputs(&mut owners)
        .iter()
        .filter_map(|output| match output {
            Output::Link { frame: Frame::Deliver { tag, .. }, .. } => Some(*tag),
            _ => None,
        })
        .collect();
    let result =
        Frame::Result { tag: tags[0], id: Uuid::from_u128(1), result: wire::link::DeliveryResult::None };
    assert_eq!(owners.partition_of_frame(&result), Some(2));
    let poison = Poison { reason: "no JSON".to_owned(), bytes: Bytes::from_static(b"x") };
    let position = Position { priority: Priority::Low, partition: 2, offset: 0 };
    owners.handle_entry(Entry { position, record: Err(poison) }, now(2));
    let wanted = write(&store, &mut owners);
    let numbers = wanted.rows[&2].keys().filter(|(space, _)| *space == Space::DeadLetters);
    let numbers: Vec<u64> =
        numbers.filter_map(|(_, key)| Some(u64::from_be_bytes(key[..].try_into().ok()?))).collect();
    assert_eq!(numbers.iter().map(|number| partition_of_log(*number)).collect::<Vec<_>>(), [2]);
    let ticket = tickets::draw_for(2);
    assert_eq!(owners.partition_of_frame(&Frame::Redeem { request: 1, ticket }), Some(2));
}

#[test]
fn commands_go_to_whoever_has_it_and_are_never_done_by_halves() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 1]);
    owners.handle_entry(entry(1, 0, 5, r#","send":1"#), now(1));
    let lists = [0, 1].map(|partition| {
        let to = format!(r#"{{"users":["{}"]}}"#, user(partition));
        Entry {
            position: Position { priority: Priority::Normal, partition, offset: 7 },
            record: Ok(record(2, &to, "")),
        }
    });
    for entry in lists {
        owners.handle_entry(entry, now(1));
    }
    write(&store, &mut owners);
    outputs(&mut owners);
    let mut ask = |command| {
        owners.handle_command(1, command, now(2));
        write(&store, &mut owners);
        outputs(&mut owners).into_iter().find_map(|output| match output {
            Output::Answer { answer, .. } => Some(answer),
            _ => None,
        })
    };
    let cancel = |id, promised, of| Command::Cancel { id: Uuid::from_u128(id), by: None, promised, of };
    assert!(matches!(ask(cancel(1, None, None)), Some(Answer::Cancelled { .. })));
    assert!(matches!(ask(cancel(2, None, None)), Some(Answer::Refused(_))), "a list in two partitions");
    assert_eq!(ask(cancel(3, None, None)), Some(Answer::Elsewhere));
    assert_eq!(ask(cancel(3, Some(1), Some(3))), Some(Answer::Elsewhere));
    assert!(matches!(ask(cancel(3, Some(1), Some(1))), Some(Answer::Cancelled { cancelled: 1, .. })));
    let read = Command::MarkRead { user: user(3), ids: vec![Uuid::nil()] };
    assert_eq!(ask(read), Some(Answer::Elsewhere));
    assert!(matches!(ask(Command::Erase { user: user(0) }), Some(Answer::Refused(_))));
}

#[test]
fn what_is_known_of_a_person_stands_in_its_part_and_a_stop_is_heard_by_all() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 1]);
    let mut ask = |command| {
        owners.handle_command(1, command, now(2));
        write(&store, &mut owners);
        outputs(&mut owners).into_iter().find_map(|output| match output {
            Output::Answer { answer, .. } => Some(answer),
            _ => None,
        })
    };
    let guess = |id| Command::GuessOtp { id: Uuid::from_u128(id), by: "s".to_owned(), seal: [7; 32] };
    let phone = Address::Phone("+4930123456".to_owned());
    let contacts = |user| Command::PutContacts {
        user,
        asked: Asked::read(br#"{"phone":"+4930123456"}"#).expect("contacts"),
    };
    assert!(matches!(ask(contacts(user(0))), Some(Answer::Contacts(_))));
    assert!(matches!(ask(contacts(user(1))), Some(Answer::Contacts(_))));
    assert_eq!(ask(contacts(user(2))), Some(Answer::Elsewhere));
    let stop = Told { delivery: None, channel: Channel::Sms, to: Some(phone), receipt: Receipt::OptedOut };
    assert_eq!(ask(Command::Receipt(stop)), Some(Answer::Done));
    for partition in [0, 1] {
        let view = View::new(Part::new(store.clone(), partition));
        assert_eq!(view.contacts(&user(partition)).map(|contacts| contacts.phone.is_some()), Ok(true));
        let suppressed = view.suppressions(&user(partition)).expect("memory");
        assert_eq!(suppressed.len(), 1, "of partition {partition}");
    }
    assert_eq!(ask(guess(5)), Some(Answer::Elsewhere), "nobody has it, and others may");
    let opened = |user| OtpOpened {
        id: Uuid::from_u128(5),
        service: "s".to_owned(),
        user,
        seal: [7; 32],
        expires_at: now(300_000).wall,
        contacts: None,
    };
    assert_eq!(ask(Command::OpenOtp(Box::new(opened(user(3))))), Some(Answer::Elsewhere));
    assert_eq!(ask(Command::OpenOtp(Box::new(opened(user(1))))), Some(Answer::Done));
    assert_eq!(ask(guess(6)), Some(Answer::Elsewhere));
    assert_eq!(ask(guess(5)), Some(Answer::Guessed(Guess::Right)));
}

#[test]
fn between_two_assignments_nobody_says_that_there_is_no_such_code_and_a_stop_is_told_again() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 1, 2, 3]);
    let guess = || Command::GuessOtp { id: Uuid::from_u128(5), by: "s".to_owned(), seal: [7; 32] };
    let stop = || {
        let to = Some(Address::Phone("+4930123456".to_owned()));
        Command::Receipt(Told { delivery: None, channel: Channel::Sms, to, receipt: Receipt::OptedOut })
    };
    let ask = |owners: &mut Owners<MemoryStore>, command| {
        owners.handle_command(1, command, now(2));
        write(&store, owners);
        outputs(owners).into_iter().find_map(|output| match output {
            Output::Answer { answer, .. } => Some(answer),
            _ => None,
        })
    };
    assert_eq!(ask(&mut owners, guess()), Some(Answer::NotFound), "everything is here");
    assert_eq!(ask(&mut owners, stop()), Some(Answer::Done));
    owners.suspend();
    owners.resume(0, now(1));
    assert_eq!(ask(&mut owners, guess()), Some(Answer::Elsewhere));
    assert_eq!(ask(&mut owners, stop()), Some(Answer::Elsewhere));
}

#[test]
fn what_waits_between_two_assignments_is_bounded_by_bytes() {
    let store = MemoryStore::new();
    let mut owners = opened(&store, &[0, 1]);
    owners.suspend();
    let text = Bytes::from(vec![b' '; PARKED_BYTES_MAX / 4]);
    let say = || Frame::ClientMessage { user: user(0), session: SessionKey(1), text: text.clone() };
    for _ in 0..4 {
        owners.handle_link_frame(LINK, say(), now(1));
        assert!(!owners.take_overrun());
    }
    owners.handle_link_frame(LINK, say(), now(1));
    assert!(owners.take_overrun(), "there is no room for a fifth");
    owners.close(0);
    assert_eq!((owners.waiting.number, owners.waiting.bytes), (0, 0), "what was refused waits no more");
}

#[test]
fn a_record_of_other_partitions_is_misplaced() {
    let here = |to: &str| misplaced(&record(1, to, ""), 2, COUNT);
    let (own, other) = (user(2), user(1));
    assert_eq!(here(&format!(r#"{{"user":"{own}"}}"#)), None);
    assert_eq!(here(&format!(r#"{{"users":["{own}"]}}"#)), None);
    assert!(here(&format!(r#"{{"users":["{own}","{other}"]}}"#)).is_some());
    assert!(here(r#"{"topic":"t"}"#).is_some() && here(r#"{"all":true}"#).is_some());
}
