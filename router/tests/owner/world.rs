//! A router's owner in a hand-made world: a memory store, two clocks that are turned by hand, and shards that keep what
//! they are sent. Nothing here decides anything.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use router::contacts::Contacts;
use router::contacts::asked::Asked;
use router::journal::{Entry, Poison, Position};
use router::ledger::Counters;
use router::ledger::state::Kind;
use router::owner::view::{DeliveryView, InboxPage, InboxQuery, Timeline};
use router::owner::{
    ActElsewhere, Answer, Command, DeliveryKey, HistoryAsked, LinkId, Now, Outcome, Output, Owner,
    OwnerConfig, ProviderCall, View,
};
use router::record::{Channel, Record, Request, Sequence};
use router::store::{MemoryStore, Store};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::link::{DeliveryResult, Frame, SessionKey};
use wire::message::Priority;
use wire::partition::partition_of;
use wire::time::{Mono, Wall};

pub const PARTITIONS: u32 = 4;
/// 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600_000_000;

/// What the owner wanted done, sorted by where it goes.
#[derive(Debug, Default)]
pub struct Seen {
    pub frames: Vec<(LinkId, Frame)>,
    pub calls: Vec<ProviderCall>,
    /// Calls that nobody needs any more.
    pub withdrawn: Vec<DeliveryKey>,
    pub committed: Vec<Position>,
    pub answers: BTreeMap<u64, Answer>,
    pub shown: Vec<Wall>,
    pub forgotten: Vec<Uuid>,
    /// The newest commit that Cassandra has to be told of.
    pub queued: u64,
    /// What Cassandra has to be asked.
    pub asked: Vec<HistoryAsked>,
    /// Acts on what only Cassandra may have.
    pub acted: Vec<ActElsewhere>,
    pub alerts: Vec<(&'static str, String)>,
}

pub struct World<S: Store = MemoryStore> {
    pub store: S,
    pub owner: Owner<S>,
    pub config: OwnerConfig,
    pub mono: u64,
    pub wall: i64,
    pub seen: Seen,
    pub offsets: BTreeMap<Priority, u64>,
    pub sequences: BTreeMap<u32, u64>,
    pub starts: u64,
    next_id: u128,
}

impl World {
    pub fn new() -> World {
        World::with(OwnerConfig { partitions: PARTITIONS, ..OwnerConfig::default() })
    }

    pub fn with(config: OwnerConfig) -> World {
        World::on(MemoryStore::new(), config)
    }
}

impl<S: Store> World<S> {
    pub fn on(store: S, config: OwnerConfig) -> World<S> {
        let now = Now { mono: Mono(0), wall: Wall(START) };
        let owner = Owner::open(store.clone(), config.clone(), 7, now).expect("it opens");
        let mut world = World {
            store,
            owner,
            config,
            mono: 0,
            wall: START,
            seen: Seen::default(),
            offsets: BTreeMap::new(),
            sequences: BTreeMap::new(),
            starts: 1,
            next_id: 0,
        };
        // Beyond the grace of a start, in which nobody is absent.
        world.pass(Duration::from_secs(3));
        world
    }

    pub fn now(&self) -> Now {
        Now { mono: Mono(self.mono), wall: Wall(self.wall) }
    }

    pub fn view(&self) -> View<S> {
        View::new(self.store.clone())
    }

    /// The process is killed and started again; what was not committed is gone.
    pub fn crash(&mut self) {
        self.starts += 1;
        self.owner = Owner::open(self.store.clone(), self.config.clone(), 7 + self.starts, self.now())
            .expect("it opens");
        self.seen.frames.clear();
    }

    pub fn step(&mut self, by: Duration) {
        let by = by.as_micros() as u64;
        self.mono += by;
        self.wall += by as i64;
    }

    /// Time goes by, and everything that comes due on the way happens when it is due.
    pub fn pass(&mut self, by: Duration) {
        let end = self.mono + by.as_micros() as u64;
        for _ in 0..100_000 {
            let Some(due) = self.owner.poll_timeout().filter(|due| due.0 <= end) else { break };
            self.step(Duration::from_micros(due.0.saturating_sub(self.mono)));
            self.owner.handle_timeout(self.now());
            self.turn();
        }
        self.step(Duration::from_micros(end - self.mono));
    }

    pub fn turn(&mut self) {
        self.owner.commit().expect("the store takes it");
        self.drain();
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.owner.poll_output() {
            match output {
                Output::Link { link, frame } => self.seen.frames.push((link, frame)),
                Output::Provide(call) => self.seen.calls.push(call),
                Output::Committed(position) => self.seen.committed.push(position),
                Output::Answer { token, answer } => {
                    assert!(self.seen.answers.insert(token, answer).is_none(), "answered twice");
                }
                Output::Recall { user } => self.seen.calls.retain(|call| call.delivery.user != user),
                Output::Withdraw(delivery) => self.seen.withdrawn.push(delivery),
                Output::Forgotten { id } => self.seen.forgotten.push(id),
                Output::Queued { number } => self.seen.queued = number,
                Output::CutLinks => {}
                Output::ActElsewhere(acted) => self.seen.acted.push(acted),
                Output::History(asked) => self.seen.asked.push(asked),
                Output::Shown { accepted_at } => self.seen.shown.push(accepted_at),
                Output::Alert { name, detail, .. } => self.seen.alerts.push((name, detail)),
            }
        }
    }

    /// A record as the journal would give it.
    pub fn record(&mut self, request: Value) -> Entry {
        self.next_id += 1;
        let request: Request = serde_json::from_value(request).expect("a request");
        let partition = Record::partition(&request.to, PARTITIONS);
        let seq = self.sequences.entry(partition).or_insert(0);
        *seq += 1;
        let sequence = Sequence { boot: 1, partition, seq: *seq };
        let priority = request.priority;
        let record = Record {
            v: request.version(),
            id: Uuid::from_u128(self.next_id),
            service: "svc".to_owned(),
            accepted_at: Wall(self.wall),
            sequence,
            skipped: Vec::new(),
            request,
        };
        Entry { position: self.position(priority, partition), record: Ok(record) }
    }

    pub fn poison(&mut self, bytes: &'static [u8]) -> Entry {
        let position = self.position(Priority::Normal, 0);
        let record = Err(Poison { reason: "no JSON".to_owned(), bytes: Bytes::from_static(bytes) });
        Entry { position, record }
    }

    fn position(&mut self, priority: Priority, partition: u32) -> Position {
        let offset = self.offsets.entry(priority).or_insert(0);
        *offset += 1;
        Position { priority, partition, offset: *offset }
    }

    /// One record, handled and committed.
    pub fn send(&mut self, request: Value) -> Uuid {
        let entry = self.record(request);
        let id = entry.record.as_ref().expect("a record").id;
        self.owner.handle_entry(entry, self.now());
        self.turn();
        id
    }

    pub fn to(&mut self, user: &str) -> Uuid {
        self.send(json!({"to": {"user": user}, "title": "hello"}))
    }

    pub fn outcome(&mut self, id: Uuid, channel: Channel, user: &str, outcome: Outcome) {
        let delivery = DeliveryKey { id, channel, user: user.to_owned() };
        self.owner.handle_outcome(delivery, outcome, self.now());
        self.turn();
    }

    pub fn command(&mut self, command: Command) -> Answer {
        let token = self.seen.answers.len() as u64 + 1;
        self.owner.handle_command(token, command, self.now());
        self.turn();
        self.seen.answers.get(&token).expect("answered").clone()
    }

    /// Says where a user is reached.
    pub fn contacts(&mut self, user: &str, body: &Value) -> Contacts {
        let asked = Asked::read(body.to_string().as_bytes()).expect("contacts");
        match self.command(Command::PutContacts { user: user.to_owned(), asked }) {
            Answer::Contacts(contacts) => contacts,
            other => panic!("{other:?}"),
        }
    }

    /// A link whose snapshots have ended.
    pub fn link(&mut self, link: u64, users: &[&str]) -> LinkId {
        let link = LinkId(link);
        self.owner.handle_link_up(link, "node", link.0 as u16, self.now());
        for partition in 0..PARTITIONS {
            let users: Vec<String> = users
                .iter()
                .filter(|user| partition_of(user, PARTITIONS) == partition)
                .map(|user| (*user).to_owned())
                .collect();
            self.frame(link, Frame::Snapshot { partition, users, topics: Vec::new() });
            self.frame(link, Frame::SnapshotEnd { partition });
        }
        link
    }

    pub fn frame(&mut self, link: LinkId, frame: Frame) {
        self.owner.handle_link_frame(link, frame, self.now());
        self.turn();
    }

    pub fn says(&mut self, link: LinkId, session: u64, user: &str, message: &Value) {
        let text = Bytes::from(message.to_string());
        self.frame(link, Frame::ClientMessage { user: user.to_owned(), session: SessionKey(session), text });
    }

    /// The replies to a session since the last call, as JSON.
    pub fn replies(&mut self, link: LinkId, session: u64) -> Vec<Value> {
        let mut replies = Vec::new();
        self.seen.frames.retain(|(to, frame)| match frame {
            Frame::Reply { session: of, text } if *to == link && of.0 == session => {
                replies.push(serde_json::from_slice(text).expect("a message"));
                false
            }
            _ => true,
        });
        replies
    }

    /// Asks and takes the one reply.
    pub fn ask(&mut self, link: LinkId, session: u64, user: &str, message: &Value) -> Value {
        self.replies(link, session);
        self.says(link, session, user, message);
        let mut replies = self.replies(link, session);
        assert_eq!(replies.len(), 1, "one reply");
        replies.remove(0)
    }

    /// All pages of a sync, as ids.
    pub fn sync_all(&mut self, link: LinkId, user: &str, first: Value, limit: usize) -> Vec<Uuid> {
        let mut ids = Vec::new();
        let mut ask = first;
        for _ in 0..10_000 {
            ask["type"] = json!("sync");
            ask["limit"] = json!(limit);
            let page = self.ask(link, 1, user, &ask);
            assert_eq!(page["type"], "sync_batch", "{page}");
            let shown = page["notifications"].as_array().expect("a list");
            assert!(shown.len() <= limit);
            ids.extend(shown.iter().map(id_of));
            if page["has_more"] == false {
                return ids;
            }
            assert!(!shown.is_empty(), "has_more with nothing");
            ask = json!({"cursor": page["cursor"]});
        }
        panic!("it never ends")
    }

    /// Delivered frames of a notification: link and text.
    pub fn delivered(&self, id: Uuid) -> Vec<LinkId> {
        let of = |frame: &Frame| match frame {
            Frame::Deliver { id, .. } | Frame::Broadcast { id, .. } => Some(*id),
            _ => None,
        };
        self.seen.frames.iter().filter(|(_, frame)| of(frame) == Some(id)).map(|(link, _)| *link).collect()
    }

    /// The shard answers the delivery of `id` on `link`.
    pub fn result(&mut self, link: LinkId, of: Uuid, result: DeliveryResult) {
        let tag = self.seen.frames.iter().find_map(|(to, frame)| match frame {
            Frame::Deliver { tag, id, .. } | Frame::Broadcast { tag, id, .. } if *to == link && *id == of => {
                Some(*tag)
            }
            _ => None,
        });
        self.frame(link, Frame::Result { tag: tag.expect("it was delivered"), id: of, result });
    }

    pub fn tells(&self, link: LinkId) -> Vec<Value> {
        let tells = self.seen.frames.iter().filter_map(|(to, frame)| match frame {
            Frame::Tell { text, .. } if *to == link => Some(text),
            _ => None,
        });
        tells.map(|text| serde_json::from_slice(text).expect("a message")).collect()
    }

    pub fn timeline(&self, id: Uuid) -> Timeline {
        self.view().timeline(id).expect("readable").expect("it is known")
    }

    pub fn delivery(&self, id: Uuid, channel: Channel) -> DeliveryView {
        let timeline = self.timeline(id);
        timeline.deliveries.into_iter().find(|delivery| delivery.channel == channel).expect("such a delivery")
    }

    pub fn state(&self, id: Uuid, channel: Channel) -> &'static str {
        let state = self.delivery(id, channel).state;
        let mut names = Kind::ALL.iter().map(|kind| kind.name());
        names.find(|name| *name == state).expect("a state of the ledger")
    }

    pub fn inbox(&self, user: &str) -> InboxPage {
        self.view().inbox(user, &InboxQuery::default()).expect("readable")
    }

    pub fn inbox_ids(&self, user: &str) -> Vec<Uuid> {
        let page = self.inbox(user);
        page.notifications
            .iter()
            .map(|item| id_of(&serde_json::from_str(item.notification.get()).expect("JSON")))
            .collect()
    }

    /// The equation holds, and a recount of every row says the same.
    pub fn balanced(&self) -> Counters {
        let counters = self.view().counters().expect("readable");
        assert!(counters.balanced(), "{counters:?}");
        assert_eq!(self.view().recount().expect("readable"), counters.deliveries());
        counters
    }
}

pub fn id_of(notification: &Value) -> Uuid {
    notification["id"].as_str().expect("an id").parse().expect("an id")
}

pub fn whats(delivery: &DeliveryView) -> Vec<&str> {
    delivery.timeline.iter().map(|moment| &*moment.what).collect()
}
