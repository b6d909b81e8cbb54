//! The store on disk: what was committed is there after the process is gone, all of a batch or none of it, and a folder
//! of somebody else's is left alone.

#[path = "owner/world.rs"]
#[expect(dead_code, reason = "the promises use the rest of it")]
mod world;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use router::owner::{Outcome, OwnerConfig};
use router::record::Channel;
use router::store::{Batch, DiskStore, MemoryStore, Order, Range, Space, Store, StoreError};
use serde_json::json;
use world::{PARTITIONS, World};

fn open(dir: &Path) -> DiskStore {
    DiskStore::open(dir).expect("it opens")
}

#[test]
fn an_owner_finds_everything_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = OwnerConfig { partitions: PARTITIONS, ..OwnerConfig::default() };
    let (ids, unfinished, before) = {
        let mut world = World::on(open(dir.path()), config.clone());
        let link = world.link(1, &["ann"]);
        let ids: Vec<_> = (0..120).map(|_| world.to("ann")).collect();
        world.says(link, 1, "ann", &json!({"type": "ack", "ids": [ids[3]]}));
        let unfinished = world.send(json!({"to": {"user": "bob"}, "channels": ["sms"]}));
        world.store.persist().expect("it can be synced");
        (ids, unfinished, world.balanced())
    };
    let mut world = World::on(open(dir.path()), config);
    assert_eq!(world.balanced(), before);
    let link = world.link(1, &["ann"]);
    assert_eq!(world.sync_all(link, "ann", json!({}), 50), ids);
    assert_eq!(world.state(ids[3], Channel::Inapp), "delivered");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.seen.calls.iter().map(|call| call.delivery.id).collect::<Vec<_>>(), [unfinished]);
    world.outcome(unfinished, Channel::Sms, "bob", Outcome::Delivered);
    world.balanced();
}

#[test]
fn another_format_is_refused_by_name_and_left_as_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let store = open(dir.path());
        let mut batch = Batch::default();
        batch.put(Space::Meta, b"format".to_vec(), vec![9]);
        batch.put(Space::Inbox, b"k".to_vec(), vec![1]);
        store.commit(&batch).expect("it is taken");
        store.persist().expect("it can be synced");
    }
    for _ in 0..2 {
        let error = DiskStore::open(dir.path()).expect_err("another format");
        assert_eq!(error.to_string(), "the store has format [9], this build reads 1");
    }
}

#[test]
fn two_processes_never_share_a_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let _held = open(dir.path());
    let error = DiskStore::open(dir.path()).expect_err("it is held");
    assert_eq!(error, StoreError::Locked { dir: dir.path().to_owned() });
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u8, u8, Option<u8>)>),
    Reopen,
    Scan { space: u8, from: u8, to: u8, reverse: bool, limit: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0u8..3, 0u8..24, prop::option::of(any::<u8>()));
    prop::collection::vec(
        prop_oneof![
            6 => prop::collection::vec(write, 0..8).prop_map(Step::Commit),
            1 => Just(Step::Reopen),
            6 => (0u8..3, 0u8..26, 0u8..26, any::<bool>(), 1usize..9)
                .prop_map(|(space, from, to, reverse, limit)| Step::Scan { space, from, to, reverse, limit }),
        ],
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// The disk answers like the memory, also after it was closed and opened.
    #[test]
    fn the_disk_is_as_the_memory(steps in steps()) {
        let dir = tempfile::tempdir().expect("a folder");
        let memory = MemoryStore::new();
        let mut disk = Some(open(dir.path()));
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    let mut batch = Batch::default();
                    let writes: std::collections::BTreeMap<_, _> =
                        writes.into_iter().map(|(space, key, value)| ((space, key), value)).collect();
                    for ((space, key), value) in writes {
                        let space = [Space::Inbox, Space::Ledger, Space::Due][usize::from(space)];
                        batch.writes.push((space, vec![key], value.map(|value| vec![value].into())));
                    }
                    memory.commit(&batch).expect("memory");
                    disk.as_ref().expect("open").commit(&batch).expect("disk");
                }
                Step::Reopen => {
                    drop(disk.take());
                    disk = Some(open(dir.path()));
                }
                Step::Scan { space, from, to, reverse, limit } => {
                    let space = [Space::Inbox, Space::Ledger, Space::Due][usize::from(space)];
                    let range = Range::all().starting(&[from]).before(&[to]);
                    let order = if reverse { Order::Reverse } else { Order::Forward };
                    let disk = disk.as_ref().expect("open");
                    prop_assert_eq!(disk.scan(space, &range, order, limit), memory.scan(space, &range, order, limit));
                    prop_assert_eq!(disk.get(space, &[from]), memory.get(space, &[from]));
                }
            }
        }
    }
}
