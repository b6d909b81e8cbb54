//! The links against a router that believes every frame.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::shard::registry::UserId;

const START: Mono = Mono(1_000_000);

fn hello() -> Frame {
    Frame::Hello { major: MAJOR, minor: MINOR, node: "r".to_owned(), shard: 0, boot: 1 }
}

fn frames(links: &mut Links) -> Vec<Frame> {
    std::iter::from_fn(|| links.poll_output())
        .map(|output| match output {
            LinkOutput::Frame { frame, .. } => frame,
            LinkOutput::Cut { why, .. } => panic!("cut: {why}"),
        })
        .collect()
}

fn up(links: &mut Links, router: RouterIndex) {
    links.handle_up(router, START);
    assert_eq!(links.handle_frame(router, hello(), START), None);
}

fn owns(links: &mut Links, router: RouterIndex, generation: u64, partitions: Vec<u32>) {
    let claim = Frame::Owns { epoch: 1, generation, count: 4, partitions };
    assert_eq!(links.handle_frame(router, claim, START), None);
}

/// What a router knows of a shard from the frames it got.
#[derive(Default)]
struct Believer {
    users: BTreeSet<String>,
    topics: BTreeSet<String>,
    ended: BTreeSet<u32>,
}

impl Believer {
    fn hear(&mut self, links: &mut Links) {
        for frame in frames(links) {
            match frame {
                Frame::Announce { user } => _ = self.users.insert(user),
                Frame::Withdraw { user } => _ = self.users.remove(&user),
                Frame::Subscribe { topic } => _ = self.topics.insert(topic),
                Frame::Unsubscribe { topic } => _ = self.topics.remove(&topic),
                Frame::Snapshot { users, topics, .. } => {
                    self.users.extend(users);
                    self.topics.extend(topics);
                }
                Frame::SnapshotEnd { partition } => _ = self.ended.insert(partition),
                Frame::Hello { .. } | Frame::Credit { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    /// Users come and go while a snapshot is under way, and routers take partitions over: in the end each
    /// router believes exactly those of its own partitions that are here.
    #[test]
    fn presence_is_told_exactly(
        before in proptest::collection::btree_set(0u32..30, 0..30),
        steps in proptest::collection::vec((0u32..30, 0u8..4, 0u8..3), 0..80),
    ) {
        let mut registry = Registry::new(3);
        let mut links = Links::new("n", 0, 1, 1);
        let mut here = std::collections::BTreeMap::<u32, UserId>::new();
        for user in before {
            here.insert(user, registry.join(&format!("u{user}"), user).0);
        }
        let mut believer = Believer::default();
        up(&mut links, 0);
        owns(&mut links, 0, 1, vec![0, 1, 2, 3]);
        for (user, what, drain) in steps {
            let name = format!("u{user}");
            match (what, here.get(&user).copied()) {
                (0, None) => {
                    here.insert(user, registry.join(&name, user).0);
                    links.announce(&name);
                }
                (1, Some(id)) => {
                    here.remove(&user);
                    let (gone, lasts) = registry.leave(id, user).expect("its only connection");
                    for last in lasts {
                        let crate::shard::registry::TopicChange::Last(topic) = last else { panic!() };
                        links.unsubscribe(&topic);
                    }
                    links.withdraw(&gone);
                }
                (2, Some(id)) => {
                    for change in registry.set_topics(id, &[format!("t{}", user % 5)]) {
                        match change {
                            crate::shard::registry::TopicChange::First(topic) => links.subscribe(&topic),
                            crate::shard::registry::TopicChange::Last(topic) => links.unsubscribe(&topic),
                        }
                    }
                }
                _ => _ = links.continue_snapshots(&registry),
            }
            if drain == 0 { believer.hear(&mut links); }
        }
        while links.has_snapshots() { links.continue_snapshots(&registry); }
        believer.hear(&mut links);
        let users: BTreeSet<String> = here.keys().map(|user| format!("u{user}")).collect();
        prop_assert_eq!(believer.users, users);
        prop_assert_eq!(believer.topics.len(), registry.topic_count());
        prop_assert_eq!(believer.ended, BTreeSet::from([0, 1, 2, 3]));
    }
}

#[test]
fn a_large_shard_is_told_in_bounded_frames_over_several_turns() {
    let mut registry = Registry::new(3);
    for user in 0..20_000 {
        registry.join(&format!("user-{user}"), user);
    }
    let mut links = Links::new("n", 0, 1, 1);
    up(&mut links, 0);
    owns(&mut links, 0, 1, vec![0, 1, 2, 3]);
    let mut turns = 0;
    while links.continue_snapshots(&registry) {
        turns += 1;
    }
    assert!(turns >= 4, "{turns}");
    let mut told = 0;
    for frame in frames(&mut links) {
        if let Frame::Snapshot { users, .. } = frame {
            assert!(users.len() <= wire::limits::SNAPSHOT_USERS_MAX);
            told += users.len();
        }
    }
    assert_eq!(told, 20_000);
}

#[test]
fn only_gained_partitions_are_told_again() {
    let mut registry = Registry::new(3);
    for user in 0..100 {
        registry.join(&format!("u{user}"), user);
    }
    let mut links = Links::new("n", 0, 1, 2);
    up(&mut links, 0);
    up(&mut links, 1);
    owns(&mut links, 0, 1, vec![0, 1]);
    owns(&mut links, 1, 1, vec![2, 3]);
    while links.continue_snapshots(&registry) {}
    frames(&mut links);
    owns(&mut links, 0, 2, vec![0, 1, 2]);
    owns(&mut links, 1, 2, vec![3]);
    while links.continue_snapshots(&registry) {}
    let ends: Vec<u32> = frames(&mut links)
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::SnapshotEnd { partition } => Some(partition),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [2]);
}

#[test]
fn client_messages_go_to_the_owner_in_order_and_within_credit() {
    let mut links = Links::new("n", 0, 1, 2);
    let send = |links: &mut Links, n: u64| {
        links.send_client_message("ada", SessionKey(n), Bytes::from_static(b"{}"), START)
    };
    send(&mut links, 1).unwrap();
    up(&mut links, 0);
    send(&mut links, 2).unwrap();
    owns(&mut links, 0, 1, vec![0, 1, 2, 3]);
    send(&mut links, 3).unwrap();
    let sessions = |links: &mut Links| -> Vec<u64> {
        frames(links)
            .into_iter()
            .filter_map(|frame| match frame {
                Frame::ClientMessage { session, .. } => Some(session.0),
                _ => None,
            })
            .collect()
    };
    assert!(sessions(&mut links).is_empty(), "no credit was given yet");
    links.handle_frame(0, Frame::Credit { frames: 2 }, START);
    assert_eq!(sessions(&mut links), [1, 2]);
    send(&mut links, 4).unwrap();
    assert!(sessions(&mut links).is_empty());
    links.handle_frame(0, Frame::Credit { frames: 9 }, START);
    assert_eq!(sessions(&mut links), [3, 4]);
    send(&mut links, 5).unwrap();
    assert_eq!(sessions(&mut links), [5]);
}

#[test]
fn waiting_messages_are_bounded_and_their_senders_told() {
    let mut links = Links::new("n", 0, 1, 1);
    let text = Bytes::from_static(b"{}");
    for n in 0..limits::LINK_PENDING_MESSAGES_MAX as u64 {
        links.send_client_message("ada", SessionKey(n), text.clone(), START).unwrap();
    }
    assert_eq!(links.send_client_message("ada", SessionKey(9), text, START), Err(Busy));
    assert_eq!(links.poll_overdue(START), None);
    assert_eq!(links.poll_timeout(), Some(START + limits::LINK_PENDING_WAIT));
    let later = START + limits::LINK_PENDING_WAIT;
    assert_eq!(links.poll_overdue(later), Some(SessionKey(0)));
    assert_eq!(links.poll_overdue(later), Some(SessionKey(1)));
}

#[test]
fn a_silent_router_is_cut_in_time_and_a_talking_one_is_not() {
    let mut links = Links::new("n", 0, 1, 1);
    up(&mut links, 0);
    let mut now = START;
    for _ in 0..50 {
        now = now + Duration::from_secs(1);
        links.handle_timeout(now);
        links.handle_frame(0, Frame::Pong { t: 0 }, now);
    }
    assert!(frames(&mut links).iter().any(|frame| matches!(frame, Frame::Ping { .. })));
    let silent_from = now;
    let cut = loop {
        now = now + Duration::from_millis(100);
        links.handle_timeout(now);
        let outputs: Vec<_> = std::iter::from_fn(|| links.poll_output()).collect();
        if outputs.iter().any(|output| matches!(output, LinkOutput::Cut { .. })) {
            break now;
        }
    };
    assert!(cut.since(silent_from) < Duration::from_secs(10));
    assert!(!links.is_any_ready());
}

#[test]
fn another_version_and_an_early_word_are_cut() {
    for first in [
        Frame::Hello { major: MAJOR + 1, minor: 0, node: String::new(), shard: 0, boot: 0 },
        Frame::Credit { frames: 1 },
    ] {
        let mut links = Links::new("n", 0, 1, 1);
        links.handle_up(0, START);
        assert_eq!(links.handle_frame(0, first, START), None);
        let outputs: Vec<_> = std::iter::from_fn(|| links.poll_output()).collect();
        assert!(matches!(outputs.as_slice(), [LinkOutput::Cut { .. }]), "{outputs:?}");
    }
}

#[test]
fn credit_is_given_back_in_batches() {
    let mut links = Links::new("n", 0, 1, 1);
    up(&mut links, 0);
    frames(&mut links);
    for _ in 0..limits::LINK_CREDIT_BATCH * 2 + 5 {
        links.worked_off(0);
    }
    let batch = Frame::Credit { frames: limits::LINK_CREDIT_BATCH };
    assert_eq!(frames(&mut links), [batch.clone(), batch]);
}

#[test]
fn a_ticket_is_shown_to_each_router_once() {
    let mut links = Links::new("n", 0, 1, 3);
    up(&mut links, 0);
    up(&mut links, 2);
    frames(&mut links);
    let mut seen = 0;
    assert!(links.redeem(SessionKey(7), "T", &mut seen));
    assert!(links.redeem(SessionKey(7), "T", &mut seen));
    assert!(!links.redeem(SessionKey(7), "T", &mut seen));
    let mut asked: Vec<RouterIndex> = std::iter::from_fn(|| links.poll_output())
        .map(|output| match output {
            LinkOutput::Frame { router, frame: Frame::Redeem { request: 7, .. } } => router,
            other => panic!("{other:?}"),
        })
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, [0, 2]);
    let mut seen = 0;
    assert!(!Links::new("n", 0, 1, 0).redeem(SessionKey(1), "T", &mut seen));
}
