//! Random days in the life of an owner, against a model that only knows what must hold.
//!
//! Entries, some for a later moment, acts, syncs with paging, link flaps, providers' answers, failed commits, crashes with replay of the journal,
//! clocks that go back. Checked throughout: the equation by recount (I1), nothing shown twice (I2), nothing crosses users
//! (I3), the push limit (I4), nothing before its moment (I5), stamps that only rise; and at the end of the day, that every client has all of its inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use router::journal::{Entry, Position};
use router::ledger::Counters;
use router::owner::{DeliveryKey, LinkId, Now, Outcome, Output, Owner, OwnerConfig, ProviderCall, View};
use router::record::{Channel, Record, Request, Sequence};
use router::store::MemoryStore;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::link::{DeliveryResult, Frame, SessionKey};
use wire::message::Priority;
use wire::time::{Mono, Wall};

const USERS: usize = 4;
const TOPICS: usize = 2;
const SHARDS: usize = 2;
const PARTITIONS: u32 = 3;
const PUSH_LIMIT: u32 = 3;
const HOUR_US: u64 = 3_600_000_000;

#[derive(Debug, Clone)]
enum Step {
    Send { to: u8, channels: u8, priority: u8, ttl: u8, collapse: u8, fallback: u8, later: u8 },
    Act { user: usize, which: u16, read: bool },
    Sync { user: usize, limit: usize },
    Subscribe { user: usize, topic: usize, on: bool },
    Outcome { which: u16, how: u8 },
    Result { which: u16, how: u8 },
    Flap { shard: usize },
    Move { user: usize, shard: usize, here: bool },
    Commit,
    FailCommits(u8),
    FailReads(u8, u8),
    Crash { back: u8 },
    Pass(u32),
    ClockBack(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any_u8 = any::<u8>;
    let step = prop_oneof![
        8 => (any_u8(), any_u8(), any_u8(), any_u8(), any_u8(), any_u8(), any_u8()).prop_map(
            |(to, channels, priority, ttl, collapse, fallback, later)| Step::Send { to, channels, priority, ttl, collapse, fallback, later }
        ),
        3 => (0..USERS, any::<u16>(), any::<bool>()).prop_map(|(user, which, read)| Step::Act { user, which, read }),
        4 => (0..USERS, 1usize..5).prop_map(|(user, limit)| Step::Sync { user, limit }),
        1 => (0..USERS, 0..TOPICS, any::<bool>()).prop_map(|(user, topic, on)| Step::Subscribe { user, topic, on }),
        3 => (any::<u16>(), any_u8()).prop_map(|(which, how)| Step::Outcome { which, how }),
        2 => (any::<u16>(), any_u8()).prop_map(|(which, how)| Step::Result { which, how }),
        1 => (0..SHARDS).prop_map(|shard| Step::Flap { shard }),
        1 => (0..USERS, 0..SHARDS, any::<bool>()).prop_map(|(user, shard, here)| Step::Move { user, shard, here }),
        5 => Just(Step::Commit),
        1 => (1u8..3).prop_map(Step::FailCommits),
        1 => (0u8..12, 1u8..3).prop_map(|(good, count)| Step::FailReads(good, count)),
        1 => (0u8..12).prop_map(|back| Step::Crash { back }),
        3 => (0u32..40_000_000).prop_map(Step::Pass),
        1 => (0u32..1_000_000_000).prop_map(Step::ClockBack),
    ];
    prop::collection::vec(step, 1..150)
}

/// A client that follows its cursor for ever.
#[derive(Debug, Default)]
struct Client {
    cursor: Option<String>,
    has_more: bool,
    seen: Vec<(Wall, Uuid)>,
    topics: BTreeSet<usize>,
}

struct World {
    store: MemoryStore,
    owner: Owner<MemoryStore>,
    starts: u64,
    mono: u64,
    wall: i64,
    /// The latest date since the last commit.
    latest: i64,
    set_back: i64,
    /// When the first input since the last commit came, on the monotonic clock: what the next one lets out was decided about no earlier.
    first_input: Option<u64>,
    journal: Vec<(Position, Record)>,
    /// Those that the owner first saw less than a second before their moment: they go at once.
    prompt: BTreeSet<Uuid>,
    /// Entries before this were committed to the journal.
    committed: usize,
    sequences: BTreeMap<u32, u64>,
    links: [Option<LinkId>; SHARDS],
    next_link: u64,
    here: [BTreeSet<usize>; SHARDS],
    clients: Vec<Client>,
    calls: Vec<ProviderCall>,
    sent: Vec<(LinkId, u64, Uuid)>,
    delivered: BTreeSet<(LinkId, Uuid, String)>,
    /// By user: when pushes went out, on the monotonic clock, and whether they were exempt.
    pushes: BTreeMap<String, Vec<u64>>,
}

fn name(user: usize) -> String {
    format!("u{user}")
}

impl World {
    fn new() -> World {
        let store = MemoryStore::new();
        let now = Now { mono: Mono(0), wall: Wall(1_767_225_600_000_000) };
        let mut world = World {
            owner: Owner::open(store.clone(), World::config(), 1, now).expect("it opens"),
            store,
            starts: 1,
            mono: 0,
            wall: now.wall.0,
            latest: now.wall.0,
            set_back: 0,
            first_input: None,
            journal: Vec::new(),
            prompt: BTreeSet::new(),
            committed: 0,
            sequences: BTreeMap::new(),
            links: [None; SHARDS],
            next_link: 0,
            here: [BTreeSet::from([0, 1]), BTreeSet::from([1, 2])],
            clients: (0..USERS).map(|_| Client::default()).collect(),
            calls: Vec::new(),
            sent: Vec::new(),
            delivered: BTreeSet::new(),
            pushes: BTreeMap::new(),
        };
        (0..SHARDS).for_each(|shard| world.link_up(shard));
        world
    }

    fn config() -> OwnerConfig {
        OwnerConfig {
            partitions: PARTITIONS,
            push_per_user_hour: PUSH_LIMIT,
            provider_tries_max: 3,
            ..OwnerConfig::default()
        }
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.mono), wall: Wall(self.wall) }
    }

    fn step(&mut self, step: &Step) {
        if !matches!(step, Step::Commit | Step::Pass(_)) {
            self.first_input.get_or_insert(self.mono);
        }
        match *step {
            Step::Send { to, channels, priority, ttl, collapse, fallback, later } => {
                let mut request = request(to, channels, priority, ttl, collapse, fallback);
                if later.is_multiple_of(3) {
                    request["send_at"] = json!(Wall(self.wall) + Duration::from_secs(u64::from(later) * 5));
                }
                self.append(request);
                self.read(self.journal.len() - 1);
            }
            Step::Act { user, which, read } => self.act(user, which, read),
            Step::Sync { user, limit } => self.sync(user, limit),
            Step::Subscribe { user, topic, on } => self.subscribe(user, topic, on),
            Step::Outcome { which, how } => self.outcome(which, how),
            Step::Result { which, how } => self.result(which, how),
            Step::Flap { shard } => {
                self.link_down(shard);
                self.link_up(shard);
            }
            Step::Move { user, shard, here } => self.announce(user, shard, here),
            Step::Commit => self.commit(),
            Step::FailCommits(count) => self.store.fail_commits(count.into()),
            Step::FailReads(good, count) => self.store.fail_reads_after(good.into(), count.into()),
            Step::Crash { back } => self.crash(back.into()),
            Step::Pass(micros) => self.pass(micros.into()),
            Step::ClockBack(micros) => {
                self.latest = self.latest.max(self.wall);
                self.wall -= i64::from(micros);
                self.set_back += i64::from(micros);
            }
        }
    }

    fn append(&mut self, request: Value) {
        let request: Request = serde_json::from_value(request).expect("a request");
        let partition = Record::partition(&request.to, PARTITIONS);
        let seq = self.sequences.entry(partition).or_insert(0);
        *seq += 1;
        let sequence = Sequence { boot: 1, partition, seq: *seq };
        let position = Position { priority: request.priority, partition, offset: self.journal.len() as u64 };
        let id = Uuid::from_u128(self.journal.len() as u128 + 1);
        let accepted_at = Wall(self.wall);
        let record = Record {
            v: request.version(),
            id,
            service: "s".into(),
            accepted_at,
            sequence,
            skipped: Vec::new(),
            request,
        };
        self.journal.push((position, record));
    }

    fn read(&mut self, at: usize) {
        let (position, record) = self.journal[at].clone();
        let soon = Wall(self.wall) + Duration::from_secs(1);
        if at >= self.committed && record.request.send_at.is_some_and(|at| at <= soon) {
            self.prompt.insert(record.id);
        }
        self.owner.handle_entry(Entry { position, record: Ok(record) }, self.now());
    }

    /// Until the store takes it.
    fn commit(&mut self) {
        let mut tries = 0;
        while self.owner.commit().is_err() {
            tries += 1;
            assert!(tries < 50, "it never commits");
        }
        while let Some(output) = self.owner.poll_output() {
            self.carry_out(output);
        }
        (self.latest, self.first_input) = (self.wall, None);
        self.committed = self.journal.len();
        self.store.fail_reads(0);
        let counters = self.view().counters().expect("readable");
        assert!(counters.balanced(), "{counters:?}");
        assert_eq!(self.view().recount().expect("readable"), counters.deliveries(), "I1");
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Link { link, frame } => self.carry(link, frame),
            Output::Provide(call) => {
                self.check_push(&call);
                self.calls.push(call);
            }
            Output::Committed(_)
            | Output::Answer { .. }
            | Output::Shown { .. }
            | Output::Forgotten { .. }
            | Output::Queued { .. }
            | Output::History(_)
            | Output::ActElsewhere(_)
            | Output::Recall { .. }
            | Output::CutLinks
            | Output::Withdraw(_) => {}
            Output::Alert { name, detail, .. } => {
                assert!(name == "delivery_dead_lettered" || name == "outcome_of_nothing", "{name}: {detail}");
            }
        }
    }

    fn carry(&mut self, link: LinkId, frame: Frame) {
        match frame {
            Frame::Deliver { tag, id, user, text, .. } => {
                self.check_moment(id);
                assert!(self.is_for(id, &user), "I3: {id} to {user}");
                assert!(text.windows(36).any(|part| part == id.to_string().as_bytes()));
                assert!(self.delivered.insert((link, id, user)), "I2: {id} twice on {link:?}");
                self.sent.push((link, tag, id));
            }
            Frame::Broadcast { tag, id, topic, .. } => {
                self.check_moment(id);
                let to = serde_json::to_value(&self.record(id).request.to).expect("JSON");
                assert_eq!(to, topic.map_or(json!({"all": true}), |topic| json!({"topic": topic})), "I3");
                assert!(self.delivered.insert((link, id, String::new())), "I2: {id} twice on {link:?}");
                self.sent.push((link, tag, id));
            }
            Frame::Reply { session, text } => self.replied(session.0 as usize, &text),
            _ => {}
        }
    }

    fn record(&self, id: Uuid) -> &Record {
        &self.journal[id.as_u128() as usize - 1].1
    }

    fn is_for(&self, id: Uuid, user: &str) -> bool {
        let to = serde_json::to_value(&self.record(id).request.to).expect("JSON");
        to["user"] == user || to["users"].as_array().is_some_and(|users| users.contains(&json!(user)))
    }

    /// Sessions are numbered by user.
    fn replied(&mut self, user: usize, text: &[u8]) {
        let message: Value = serde_json::from_slice(text).expect("a message");
        if message["type"] != "sync_batch" {
            assert_eq!(message["type"], "subscribed", "{message}");
            return;
        }
        for shown in message["notifications"].as_array().expect("a list") {
            let id: Uuid = shown["id"].as_str().expect("an id").parse().expect("an id");
            let at = Wall::parse(shown["created_at"].as_str().expect("a date")).expect("a date");
            let to = serde_json::to_value(&self.record(id).request.to).expect("JSON");
            let mine = self.is_for(id, &name(user)) || to["all"] == true || to["topic"].is_string();
            assert!(mine, "I3: {id} to {user}");
            let client = &mut self.clients[user];
            assert!(!client.seen.iter().any(|(_, seen)| *seen == id), "{id} twice to {user}");
            assert!(client.seen.last().is_none_or(|(last, _)| *last < at), "stamps rise");
            client.seen.push((at, id));
        }
        let client = &mut self.clients[user];
        client.has_more = message["has_more"] == true;
        client.cursor = Some(message["cursor"].as_str().expect("a cursor").to_owned());
    }

    fn check_moment(&self, id: Uuid) {
        let Some(at) = self.record(id).request.send_at else { return };
        let now = Wall(self.latest.max(self.wall));
        assert!(at <= now + self.early(id), "I5: {id} at {now}, and not before {at}");
    }

    /// How long before its moment it may go out.
    fn early(&self, id: Uuid) -> Duration {
        Duration::from_secs(self.prompt.contains(&id).into())
    }

    fn check_push(&mut self, call: &ProviderCall) {
        if call.delivery.channel != Channel::Push || call.again || call.attempt > 1 {
            return;
        }
        let before = self.pushes.entry(call.delivery.user.clone()).or_default();
        // Every restart may put the steady clock a little ahead.
        let hour = HOUR_US - self.starts * 100_000;
        let in_hour = before.iter().filter(|at| **at + hour > self.mono).count();
        let exempt = call.priority == Priority::Critical;
        assert!(exempt || in_hour < PUSH_LIMIT as usize, "I4: {before:?} and now {}", self.mono);
        // An input is decided about when it comes, also one that the store failed; what is due, when it is due.
        before.push(self.first_input.unwrap_or(self.mono));
    }

    fn says(&mut self, user: usize, message: &Value) -> bool {
        let Some(shard) = (0..SHARDS).find(|shard| self.here[*shard].contains(&user)) else { return false };
        let Some(link) = self.links[shard] else { return false };
        let text = message.to_string().into();
        let frame = Frame::ClientMessage { user: name(user), session: SessionKey(user as u64), text };
        self.owner.handle_link_frame(link, frame, self.now());
        true
    }

    /// One page at a time: a client asks again when it was answered.
    fn sync(&mut self, user: usize, limit: usize) {
        let cursor = self.clients[user].cursor.clone();
        self.says(user, &json!({"type": "sync", "cursor": cursor, "limit": limit}));
        self.commit();
    }

    fn act(&mut self, user: usize, which: u16, read: bool) {
        if self.journal.is_empty() {
            return;
        }
        let id = self.journal[usize::from(which) % self.journal.len()].1.id;
        self.says(user, &json!({"type": if read { "read" } else { "ack" }, "ids": [id]}));
    }

    fn subscribe(&mut self, user: usize, topic: usize, on: bool) {
        let kind = if on { "subscribe" } else { "unsubscribe" };
        if self.says(user, &json!({"type": kind, "topics": [format!("t{topic}")]})) {
            let topics = &mut self.clients[user].topics;
            let _ = if on { topics.insert(topic) } else { topics.remove(&topic) };
        }
        self.commit();
    }

    fn outcome(&mut self, which: u16, how: u8) {
        if self.calls.is_empty() {
            return;
        }
        let at = usize::from(which) % self.calls.len();
        // Now and then the same call is answered twice.
        let DeliveryKey { id, channel, user } = self.calls[at].delivery.clone();
        if how < 220 {
            self.calls.swap_remove(at);
        }
        let outcome = match how % 5 {
            0 => Outcome::Delivered,
            1 => Outcome::HandedOver,
            2 => Outcome::Retry { after: Duration::from_secs(5) },
            3 => Outcome::Unknown,
            _ => Outcome::Drop { reason: "no".into() },
        };
        self.owner.handle_outcome(DeliveryKey { id, channel, user }, outcome, self.now());
    }

    fn result(&mut self, which: u16, how: u8) {
        if self.sent.is_empty() {
            return;
        }
        let (link, tag, id) = self.sent.swap_remove(usize::from(which) % self.sent.len());
        let result = match how % 3 {
            0 => DeliveryResult::Sent { sockets: 1 },
            1 => DeliveryResult::None,
            _ => DeliveryResult::Slow,
        };
        self.owner.handle_link_frame(link, Frame::Result { tag, id, result }, self.now());
    }

    fn link_up(&mut self, shard: usize) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links[shard] = Some(link);
        self.owner.handle_link_up(link, "node", shard as u16, self.now());
        for partition in 0..PARTITIONS {
            let users = self.here[shard]
                .iter()
                .map(|user| name(*user))
                .filter(|user| wire::partition::partition_of(user, PARTITIONS) == partition)
                .collect();
            let topics = vec!["t0".to_owned()];
            self.owner.handle_link_frame(link, Frame::Snapshot { partition, users, topics }, self.now());
            self.owner.handle_link_frame(link, Frame::SnapshotEnd { partition }, self.now());
        }
    }

    fn link_down(&mut self, shard: usize) {
        if let Some(link) = self.links[shard].take() {
            self.owner.handle_link_down(link, self.now());
        }
    }

    fn announce(&mut self, user: usize, shard: usize, here: bool) {
        let Some(link) = self.links[shard] else { return };
        let frame = if here {
            self.here[shard].insert(user);
            Frame::Announce { user: name(user) }
        } else {
            self.here[shard].remove(&user);
            Frame::Withdraw { user: name(user) }
        };
        self.owner.handle_link_frame(link, frame, self.now());
    }

    /// What was not committed is gone; the journal gives everything since its last commit again, and some before it.
    fn crash(&mut self, back: usize) {
        self.starts += 1;
        let now = self.now();
        self.store.fail_reads(0);
        self.store.fail_commits(0);
        self.owner =
            Owner::open(self.store.clone(), World::config(), self.starts << 40, now).expect("it opens");
        self.links = [None; SHARDS];
        (0..SHARDS).for_each(|shard| self.link_up(shard));
        for at in self.committed.saturating_sub(back)..self.journal.len() {
            self.read(at);
        }
        // Calls whose outcome the owner never heard are provided again.
        self.calls.clear();
        self.pass(1);
    }

    fn pass(&mut self, micros: u64) {
        let end = self.mono + micros;
        for _ in 0..10_000 {
            let Some(due) = self.owner.poll_timeout().filter(|due| due.0 <= end) else { break };
            let by = due.0.saturating_sub(self.mono);
            self.mono += by;
            self.wall += by as i64;
            self.owner.handle_timeout(self.now());
            self.commit();
        }
        self.wall += (end - self.mono) as i64;
        self.mono = end;
    }

    fn view(&self) -> View<MemoryStore> {
        View::new(self.store.clone())
    }

    /// Everybody comes home and catches up; nothing is missing.
    fn end_of_day(&mut self) {
        self.commit();
        // What is over is swept.
        self.pass(0);
        for user in 0..USERS {
            self.announce(user, 0, true);
        }
        self.commit();
        for user in 0..USERS {
            self.clients[user].has_more = true;
            for _ in 0..1_000 {
                if !self.clients[user].has_more {
                    break;
                }
                self.sync(user, 50);
            }
            let turn = self.view().inbox(&name(user), &router::owner::view::InboxQuery::default());
            for item in turn.expect("readable").notifications {
                let shown: Value = serde_json::from_str(item.notification.get()).expect("JSON");
                let id: Uuid = shown["id"].as_str().expect("an id").parse().expect("an id");
                let seen = self.clients[user].seen.iter().any(|(_, seen)| *seen == id);
                assert!(seen, "{id} was never shown to {user}");
            }
        }
        self.every_record_is_accounted_for();
        self.every_moment_comes();
    }

    fn every_moment_comes(&mut self) {
        // Over a restart the steady clock may lose what the wall clock was set back by, and how far ahead it was noted. The
        // least urgent go a few microseconds behind the others.
        let late = self.set_back + self.starts as i64 * 100_000 + 10;
        while let Some(last) = self.journal.iter().filter_map(|(_, record)| record.request.send_at).max()
            && self.wall < last.0 + late
        {
            self.pass((last.0 + late - self.wall) as u64);
        }
        for (_, record) in &self.journal {
            let timeline = self.view().timeline(record.id).expect("readable").expect("it is known");
            for delivery in timeline.deliveries {
                let last = delivery.timeline.last().expect("it was accepted");
                assert!(last.what != "scheduled" || delivery.state != "open", "{delivery:?}");
                let is_first = record.request.channels.contains(&delivery.channel);
                let begun = delivery.timeline.iter().find(|moment| {
                    // A turn that a fallback had while the clock was set back says nothing.
                    is_first && !matches!(&*moment.what, "accepted" | "scheduled")
                });
                if let (Some(at), Some(begun)) = (record.request.send_at, begun) {
                    assert!(at <= begun.at + self.early(record.id), "I5: {delivery:?}");
                }
            }
        }
    }

    fn every_record_is_accounted_for(&self) {
        let counters: Counters = self.view().counters().expect("readable");
        let lanes = self.view().reconcile(Wall(i64::MAX), 0).expect("readable");
        assert_eq!(lanes.missing, 0, "{:?}", lanes.gaps);
        let read: u64 = Priority::ALL.iter().map(|priority| counters.lane_of(*priority).read).sum();
        assert_eq!(read, self.journal.len() as u64);
        for (_, record) in &self.journal {
            let timeline = self.view().timeline(record.id).expect("readable").expect("it is known");
            let request = serde_json::to_value(&record.request).expect("JSON");
            let recipients = request["to"]["users"].as_array().map_or(1, Vec::len);
            let asked = recipients * record.request.channels.len();
            let most = recipients * (record.request.channels.len() + record.request.fallback.len());
            assert!((asked..=most).contains(&timeline.deliveries.len()), "{timeline:?}");
        }
    }
}

fn request(to: u8, channels: u8, priority: u8, ttl: u8, collapse: u8, fallback: u8) -> Value {
    let user = usize::from(to / 8) % USERS;
    let mut request = match to % 8 {
        0 => json!({"to": {"topic": format!("t{}", user % TOPICS)}}),
        1 => json!({"to": {"all": true}}),
        2 => json!({"to": {"users": [name(user), name((user + 1) % USERS)]}}),
        _ => json!({"to": {"user": name(user)}}),
    };
    request["priority"] = json!(Priority::ALL[usize::from(priority % 4)]);
    request["channels"] =
        [json!(["inapp"]), json!(["inapp", "push"]), json!(["push"]), json!(["email", "inapp"])]
            [usize::from(channels % 4)]
        .clone();
    if to % 8 < 2 {
        request["channels"] = json!(["inapp"]);
    } else if fallback.is_multiple_of(3) {
        request["fallback"] = json!([["push", "sms"], ["sms", "email"]][usize::from(fallback % 2)]);
        request["ack_within_s"] = json!(10);
    }
    if ttl.is_multiple_of(4) {
        request["ttl_s"] = json!(u32::from(ttl / 4) + 1);
    }
    if collapse.is_multiple_of(4) {
        request["collapse_key"] = json!(format!("k{}", collapse % 8));
    }
    request
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_day_brings_nothing_is_lost_doubled_or_miscounted(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.end_of_day();
    }
}
