//! Promise: a critical record that the disk promised and lost is had from its copy in the list, before anybody is told of a loss;
//! and what the disk still has, the list does not bring a second time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ops::clock::Clock;
use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use router::journal::import::{ForeignLetter, LetterBook};
use router::journal::{AppendError, Appended, Draft, DurableIn, Fault, Journal, JournalStatus, Positions};
use router::node::board::Watch;
use router::outage::mirror::{Aside, Away, List, Pushed, Taken};
use router::outage::phase::Phase;
use router::outage::{Buffered, Disk, Parts, start};
use router::record::{RECORD_VERSION, Record, Request, Sequence};
use router::store::{Batch, DiskStore, Space, Store};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use wire::time::Wall;

const NOW: Wall = Wall(1_767_225_600_000_000);
const LIST_MAX: u64 = 1_000;
/// So slow that the list is looked through while most of it stands on the disk.
const DRAIN_PER_S: u32 = 40;
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longer than any of it is old.
const ALWAYS: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

fn request() -> Request {
    serde_json::from_str(r#"{"to":{"user":"ada"},"priority":"critical"}"#).expect("a request")
}

fn draft(n: u128) -> Draft {
    Draft { id: Uuid::from_u128(n), service: "shop".to_owned(), accepted_at: NOW, request: request() }
}

fn value(n: u128) -> Bytes {
    let Draft { id, service, accepted_at, request } = draft(n);
    let sequence = Sequence { boot: 1, partition: 0, seq: 1 };
    let record =
        Record { v: RECORD_VERSION, id, service, accepted_at, sequence, skipped: Vec::new(), request };
    serde_json::to_vec(&record).expect("JSON").into()
}

/// Takes records while it is up; what it took is in the ledger at once.
struct Kafka {
    is_up: AtomicBool,
    taken: Mutex<Vec<u128>>,
    store: DiskStore,
}

#[async_trait]
impl Journal for Kafka {
    async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        if !self.is_up.load(Ordering::SeqCst) {
            return Err(AppendError::Unavailable("away".to_owned()));
        }
        self.taken.lock().expect("no panic").push(draft.id.as_u128());
        let mut batch = Batch::default();
        batch.put(Space::Notifications, draft.id.as_bytes().to_vec(), vec![1]);
        self.store.commit(&batch).expect("it takes it");
        Ok(Appended { partition: 0, seq: 1, durable_in: DurableIn::Kafka, offset: None })
    }

    fn status(&self) -> JournalStatus {
        JournalStatus::default()
    }

    fn fault(&self) -> Option<Fault> {
        (!self.is_up.load(Ordering::SeqCst)).then(|| Fault::Unwritable("away".to_owned()))
    }

    fn name(&self) -> &'static str {
        "kafka"
    }
}

#[derive(Default)]
struct Lists {
    list: VecDeque<Bytes>,
    processing: Vec<Bytes>,
    /// Pushes that are carried out and not answered.
    unanswered: u32,
    aside: Vec<Bytes>,
}

#[derive(Clone, Default)]
struct InMemory(Arc<Mutex<Lists>>);

impl InMemory {
    fn lists(&self) -> std::sync::MutexGuard<'_, Lists> {
        self.0.lock().expect("no panic")
    }

    fn ids(&self) -> Vec<u128> {
        let id = |value: &Bytes| serde_json::from_slice::<Record>(value).expect("a record").id.as_u128();
        self.lists().list.iter().map(id).collect()
    }
}

#[async_trait]
impl List for InMemory {
    async fn length(&self) -> Result<u64, Away> {
        let lists = self.lists();
        Ok((lists.list.len() + lists.processing.len()) as u64)
    }

    async fn push(&self, values: &[Bytes]) -> Result<Pushed, Away> {
        let mut lists = self.lists();
        let room = LIST_MAX as usize - lists.list.len();
        let count = values.len().min(room);
        lists.list.extend(values[..count].iter().cloned());
        if lists.unanswered > 0 {
            lists.unanswered -= 1;
            return Err(Away("no answer".to_owned()));
        }
        Ok(Pushed { count: count as u64, length: lists.list.len() as u64 })
    }

    async fn take(&self, max: usize) -> Result<Taken, Away> {
        let mut lists = self.lists();
        while lists.processing.len() < max
            && let Some(value) = lists.list.pop_front()
        {
            lists.processing.push(value);
        }
        let values = lists.processing.clone();
        Ok(Taken { length: (lists.list.len() + values.len()) as u64, values, aside: Aside::default() })
    }

    async fn finish(&self, values: &[Bytes]) -> Result<(), Away> {
        let mut lists = self.lists();
        for value in values {
            let at = lists.processing.iter().position(|one| one == value).expect("it is being processed");
            lists.processing.remove(at);
        }
        Ok(())
    }

    async fn set_aside(&self, values: &[Bytes]) -> Result<Aside, Away> {
        self.finish(values).await?;
        let mut lists = self.lists();
        lists.aside.extend_from_slice(values);
        Ok(Aside { kept: values.len() as u64, dropped: 0 })
    }
}

struct NoLetters;

#[async_trait]
impl LetterBook for NoLetters {
    async fn enter(&self, letter: ForeignLetter) -> Result<(), String> {
        panic!("all of it can be read: {letter:?}");
    }
}

/// A router's outage without a router.
struct Node {
    _dir: TempDir,
    store: DiskStore,
    kafka: Arc<Kafka>,
    list: InMemory,
    buffered: Arc<Buffered>,
}

impl Node {
    /// `before`: what an earlier run left behind.
    fn start(before: impl FnOnce(&DiskStore, &InMemory)) -> Node {
        Node::remembering(ALWAYS, before)
    }

    fn remembering(ledger_kept: Duration, before: impl FnOnce(&DiskStore, &InMemory)) -> Node {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("store")).expect("a folder");
        let store = DiskStore::open(&dir.path().join("store")).expect("a store");
        let (journal, reader, _) =
            EmbeddedJournal::open(&dir.path().join("buffer"), 1, EmbeddedLimits::default()).expect("a log");
        let kafka =
            Arc::new(Kafka { is_up: AtomicBool::new(true), taken: Mutex::default(), store: store.clone() });
        let list = InMemory::default();
        before(&store, &list);
        let (inputs, mut owner) = mpsc::channel(1_000);
        tokio::spawn(async move { while owner.recv().await.is_some() {} });
        let clock = Clock::start();
        let buffered = start(Parts {
            is_one_of_several: false,
            kafka: Arc::clone(&kafka) as Arc<dyn Journal>,
            disk: Disk { journal, reader },
            store: store.clone(),
            inputs,
            letters: Arc::new(NoLetters),
            mirror: Some(Arc::new(list.clone())),
            drain_per_s: DRAIN_PER_S,
            ledger_kept,
            taken: watch::channel(Positions::new()).1,
            clock,
            watch: Watch::new(clock),
        });
        Node { _dir: dir, store, kafka, list, buffered: buffered.expect("it starts") }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Node) -> bool) {
        let patience = Duration::from_secs(20);
        let waited = tokio::time::timeout(patience, async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.buffered.shown());
    }

    async fn over(&self) {
        self.until("the outage is over and the list empty", |node| {
            let lists = node.list.lists();
            let is_empty = lists.list.is_empty() && lists.processing.is_empty();
            is_empty && node.buffered.shown().phase == Phase::Normal
        })
        .await;
    }

    fn mirrored(&self) -> u64 {
        self.buffered.shown().mirror.expect("it is there").mirrored
    }

    fn taken(&self) -> Vec<u128> {
        self.kafka.taken.lock().expect("no panic").clone()
    }
}

fn promise(store: &DiskStore, n: u128) {
    let book = router::outage::book::Book::new(store.clone());
    book.enter(Uuid::from_u128(n), NOW).expect("it takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_promised_and_lost_is_had_from_the_list() {
    let node = Node::start(|store, list| {
        promise(store, 1);
        // An earlier process was about to look at the first, and there are two of it.
        list.lists().processing.push(value(1));
        list.lists().list.extend([value(1), value(2)]);
    });
    node.over().await;
    let mut taken = node.taken();
    taken.sort_unstable();
    assert_eq!(taken, [1, 2], "each once");
    let shown = node.buffered.shown();
    assert_eq!((shown.missing, shown.mirror.expect("it is there").rescued), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_has_is_copied_again_when_it_is_gone_and_not_drained_twice() {
    let node = Node::start(|_, list| list.lists().unanswered = 1);
    node.kafka.is_up.store(false, Ordering::SeqCst);
    for n in 0..100 {
        let appended = node.buffered.append(draft(n)).await.expect("the disk takes it");
        assert_eq!(appended.durable_in, DurableIn::Disk);
    }
    // One push went unanswered and was made again: the list's length does not tell when the last was made.
    node.until("all are copied", |node| node.mirrored() >= 100).await;
    node.list.lists().list.clear();
    node.until("all are copied again", |node| node.list.lists().list.len() == 100).await;
    assert_eq!(node.list.ids(), (0..100).collect::<Vec<u128>>(), "in their order");
    node.kafka.is_up.store(true, Ordering::SeqCst);
    node.over().await;
    assert_eq!(node.taken(), (0..100).collect::<Vec<u128>>(), "by the disk alone");
    let shown = node.buffered.shown();
    assert_eq!((shown.missing, shown.mirror.expect("it is there").rescued), (0, 0));
    assert!(
        node.store
            .scan(Space::Buffered, &router::store::Range::all(), router::store::Order::Forward, 1)
            .expect("readable")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_may_have_forgotten_is_set_aside_and_not_sent_again() {
    let node = Node::remembering(DAY, |_, list| list.lists().list.push_back(value(1)));
    node.until("it stands aside", |node| node.list.lists().aside == [value(1)]).await;
    node.over().await;
    assert!(node.taken().is_empty());
    let mirror = node.buffered.shown().mirror.expect("it is there");
    assert_eq!((mirror.foreign, mirror.rescued), (1, 0));
}
