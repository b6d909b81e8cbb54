//! Two routers, and partitions that go from one to the other: clients stay, and are sent everything once.

use wire::link::DeliveryResult;

use super::*;

/// Two routers: the first owns everything, the second nothing.
fn two_routers() -> House {
    let mut house = House::with(|plan| plan.routers = 2);
    house.shard.handle_link_up(1, house.now);
    house.router_at(1, Frame::Hello { major: MAJOR, minor: 0, node: "r2".to_owned(), shard: 0, boot: 2 });
    house.router_at(1, Frame::Credit { frames: 100_000 });
    house.router_at(1, Frame::Owns { epoch: 1, generation: 1, count: 4, partitions: vec![] });
    house.settle();
    house.frames.clear();
    house
}

fn take_over(house: &mut House, generation: u64, partitions: Vec<u32>) {
    house.router_at(1, Frame::Owns { epoch: 1, generation, count: 4, partitions });
}

fn delivered_by(house: &mut House, router: RouterIndex, n: u128) -> DeliveryResult {
    house.frames.clear();
    let frame = Frame::Deliver {
        tag: 1,
        id: Uuid::from_u128(n),
        created_at: Wall(i64::try_from(n).unwrap()),
        user: "ada".to_owned(),
        text: notification(n).into(),
    };
    house.router_at(router, frame);
    house.results().pop().expect("every delivery is answered").1
}

#[test]
fn what_an_heir_repeats_reaches_each_socket_once_and_those_that_came_since() {
    let mut house = two_routers();
    let phone = house.user("ada");
    assert_eq!(delivered_by(&mut house, 0, 7), DeliveryResult::Sent { sockets: 1 });
    assert_eq!(house.texts(phone), [notification(7)]);
    take_over(&mut house, 2, vec![0, 1, 2, 3]);
    assert_eq!(delivered_by(&mut house, 1, 7), DeliveryResult::Sent { sockets: 1 });
    assert!(house.texts(phone).is_empty(), "it has it");
    let laptop = house.user("ada");
    assert_eq!(delivered_by(&mut house, 0, 7), DeliveryResult::Sent { sockets: 1 });
    assert_eq!((house.texts(phone), house.texts(laptop)), (vec![], vec![notification(7)]));
    assert_eq!(delivered_by(&mut house, 1, 8), DeliveryResult::Sent { sockets: 2 });
    assert_eq!(house.texts(phone), [notification(8)], "another notification");
}

#[test]
fn when_a_router_is_gone_sockets_are_told_to_sync_once_all_its_heirs_know_them() {
    let mut house = two_routers();
    let ada = house.user("ada");
    house.shard.handle_link_down(0, house.now);
    house.settle();
    take_over(&mut house, 2, vec![0, 1, 2]);
    assert!(house.texts(ada).is_empty(), "one partition has no owner yet");
    house.frames.clear();
    take_over(&mut house, 3, vec![0, 1, 2, 3]);
    let ended = house.frames.iter().filter(|frame| matches!(frame, Frame::SnapshotEnd { .. })).count();
    assert_eq!(ended, 1, "the heir was told of the last partition");
    let texts = house.texts(ada);
    assert!(texts.len() == 1 && texts[0].contains("\"gap\""), "{texts:?}");
    house.pass(Duration::from_millis(500));
    assert!(house.texts(ada).is_empty(), "once");
    house.say(ada, r#"{"type":"sync","last_seen_at":null,"cursor":null,"limit":1}"#);
    let asked = |frame: &Frame| matches!(frame, Frame::ClientMessage { .. });
    assert!(house.frames.iter().any(asked), "the heir takes what its clients say");
}

#[test]
fn a_partition_that_moves_in_order_costs_its_clients_nothing() {
    let mut house = two_routers();
    let ada = house.user("ada");
    take_over(&mut house, 2, vec![0, 1, 2, 3]);
    house.router(Frame::Owns { epoch: 1, generation: 2, count: 4, partitions: vec![] });
    let told = |frame: &Frame| matches!(frame, Frame::Snapshot { users, .. } if users == &["ada"]);
    assert!(house.frames.iter().any(told), "the heir knows that ada is here");
    assert!(house.texts(ada).is_empty() && house.closed.is_empty());
    assert_eq!(delivered_by(&mut house, 1, 9), DeliveryResult::Sent { sockets: 1 });
    assert_eq!(house.texts(ada), [notification(9)]);
}
