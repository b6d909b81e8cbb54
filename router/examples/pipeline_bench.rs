//! How many notifications a second one core takes through the walk, and through the whole owner.
//!
//! `cargo run --release -p router --example pipeline_bench [-- NOTIFICATIONS]`. Three measures, medians of five
//! interleaved runs: `classify → limit → route` with the text that a client gets, nothing stored; every entry handled
//! and committed on the memory store; the same on the disk store, in the folder for temporary files. Users are 10,000,
//! all connected on two links; a tenth of the notifications goes by push too.

use std::collections::HashMap;
use std::time::Duration;

use ops::clock::Clock;
use router::classify::Recipient;
use router::inbox;
use router::journal::{Entry, Position};
use router::limit::{Limits, Meter, Window};
use router::owner::{LinkId, Now, Outcome, Output, Owner, OwnerConfig, Tick};
use router::pipeline::{self, Book, Plan, Rules};
use router::preferences::Preferences;
use router::presence::Presence;
use router::record::{Record, Sequence};
use router::route::Step;
use router::store::{DiskStore, MemoryStore, Store};
use uuid::Uuid;
use wire::link::{DeliveryResult, Frame};
use wire::message::Priority;
use wire::partition::partition_of;
use wire::time::{Mono, Wall};

const RUNS: usize = 5;
const USERS: usize = 10_000;
const PARTITIONS: u32 = 16;
/// Entries of one turn, as the run loop takes them.
const TURN: usize = 256;
const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(200_000);
    let clock = Clock::start();
    let records = records(count, clock.wall());
    let mut measured: [Vec<f64>; 4] = Default::default();
    for run in 0..RUNS {
        measured[0].push(rate(count, walk(&records, clock)));
        let (taken, answered) = whole(&records, MemoryStore::new(), clock);
        measured[1].push(rate(count, taken));
        measured[3].push(rate(count, answered));
        let dir = tempfile::tempdir().expect("a folder for temporary files");
        let store = DiskStore::open(dir.path()).expect("the disk store opens");
        measured[2].push(rate(count, whole(&records, store, clock).0));
        eprintln!("run {} of {RUNS} done", run + 1);
    }
    print_machine(count);
    let names = [
        "classify, limit, route",
        "handle_entry + commit, memory store",
        "handle_entry + commit, disk store",
        "results and outcomes + commit, memory store",
    ];
    for (name, mut rates) in names.into_iter().zip(measured) {
        rates.sort_by(f64::total_cmp);
        let (least, median, most) = (rates[0], rates[RUNS / 2], rates[RUNS - 1]);
        println!("{name:<45} {median:>9.0} a second ({least:.0} to {most:.0})");
    }
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn user(i: usize) -> String {
    format!("user-{:05}", i * 7_919 % USERS)
}

fn records(count: usize, now: Wall) -> Vec<Record> {
    let mut sequences = [0; PARTITIONS as usize];
    let record = |i: usize| {
        let user = user(i);
        let partition = partition_of(&user, PARTITIONS);
        let seq = &mut sequences[partition as usize];
        *seq += 1;
        let channels = if i.is_multiple_of(10) { r#"["inapp","push"]"# } else { r#"["inapp"]"# };
        let request = format!(
            r#"{{"to":{{"user":"{user}"}},"category":"order","title":"Your order is on its way","channels":{channels},
            "body":"It left the warehouse and should be with you tomorrow between nine and noon.","data":{{"order":{i}}}}}"#
        );
        Record {
            v: 1,
            id: Uuid::from_u128(i as u128 + 1),
            service: "shop".to_owned(),
            accepted_at: now,
            sequence: Sequence { boot: 1, partition, seq: *seq },
            skipped: Vec::new(),
            request: serde_json::from_str(&request).expect("a request"),
        }
    };
    (0..count).map(record).collect()
}

/// A book that remembers only what the limit needs.
#[derive(Default)]
struct Light {
    windows: HashMap<String, Window>,
    frames: u64,
    bytes: u64,
    calls: u64,
}

impl Book for Light {
    type Error = std::convert::Infallible;

    fn is_known(&mut self, _: &Record, _: &Recipient) -> Result<bool, Self::Error> {
        Ok(false)
    }

    fn erased(&mut self, _: &Record, _: &Recipient) -> Result<Option<Recipient>, Self::Error> {
        Ok(None)
    }

    fn preferences(&mut self, _to: &Recipient) -> Result<Preferences, Self::Error> {
        Ok(Preferences::default())
    }

    fn is_cancelled(&mut self, _: &Record) -> Result<bool, Self::Error> {
        Ok(false)
    }

    fn window(&mut self, to: &Recipient) -> Result<Window, Self::Error> {
        let Recipient::User(user) = to else { return Ok(Window::default()) };
        Ok(self.windows.get_mut(user).map(std::mem::take).unwrap_or_default())
    }

    fn take(&mut self, record: &Record, to: &Recipient, plan: Plan) -> Result<(), Self::Error> {
        for (_, step) in plan.steps {
            match step {
                Step::Show(at) => {
                    let text = inbox::message(&inbox::text(record, to, record.accepted_at));
                    self.frames += at.links.len() as u64;
                    self.bytes += text.len() as u64;
                }
                Step::Provide => self.calls += 1,
                Step::Hold(_) | Step::Schedule(_) | Step::Drop(_) | Step::Expire => {}
            }
        }
        if let Recipient::User(user) = to {
            match self.windows.get_mut(user) {
                Some(kept) => *kept = plan.window,
                None => drop(self.windows.insert(user.clone(), plan.window)),
            }
        }
        Ok(())
    }
}

fn walk(records: &[Record], clock: Clock) -> Duration {
    let mut presence = Presence::new(PARTITIONS, (0..PARTITIONS).collect(), Mono::ZERO);
    for link in LINKS {
        presence.link_up(link, Mono::ZERO);
        (0..PARTITIONS).for_each(|partition| presence.snapshot_ended(link, partition));
        (0..USERS).filter(|i| i % 2 == link.0 as usize % 2).for_each(|i| presence.announce(link, &user(i)));
    }
    let mut meter = Meter::new(u32::MAX, 150);
    let limits = Limits { push_per_user_hour: 20 };
    let mut rules = Rules { presence: &presence, meter: &mut meter, limits };
    let mut book = Light::default();
    let began = clock.mono();
    for record in records {
        let (wall, mono) = (clock.wall(), clock.mono());
        let Ok(walked) = pipeline::walk(record, &mut book, &mut rules, Tick { wall, steady: wall, mono })
        else {
            panic!("a record went no further")
        };
        assert_eq!(walked.fresh, 1);
    }
    let took = clock.mono().since(began);
    assert_eq!(book.frames, records.len() as u64);
    assert!(book.bytes > 0 && book.calls > 0);
    took
}

/// All entries; then all their results and outcomes.
fn whole<S: Store>(records: &[Record], store: S, clock: Clock) -> (Duration, Duration) {
    let now = || Now { mono: clock.mono(), wall: clock.wall() };
    let config = OwnerConfig { partitions: PARTITIONS, global_per_s: u32::MAX, ..OwnerConfig::default() };
    let mut owner = Owner::open(store, config, 1, now()).expect("it opens");
    for link in LINKS {
        owner.handle_link_up(link, "node", link.0 as u16, now());
        for partition in 0..PARTITIONS {
            owner.handle_link_frame(link, Frame::SnapshotEnd { partition }, now());
        }
        for i in (0..USERS).filter(|i| i % 2 == link.0 as usize % 2) {
            owner.handle_link_frame(link, Frame::Announce { user: user(i) }, now());
        }
    }
    owner.commit().expect("it commits");
    while owner.poll_output().is_some() {}
    let entries: Vec<Entry> = records
        .iter()
        .enumerate()
        .map(|(offset, record)| {
            let partition = record.sequence.partition;
            let position = Position { priority: Priority::Normal, partition, offset: offset as u64 };
            Entry { position, record: Ok(record.clone()) }
        })
        .collect();
    let mut entries = entries.into_iter();
    let (mut results, mut calls) = (Vec::new(), Vec::new());
    let began = clock.mono();
    loop {
        let before = entries.len();
        entries.by_ref().take(TURN).for_each(|entry| owner.handle_entry(entry, now()));
        if before == 0 {
            break;
        }
        owner.commit().expect("it commits");
        while let Some(output) = owner.poll_output() {
            match output {
                Output::Link { link, frame: Frame::Deliver { tag, id, .. } } => results.push((link, tag, id)),
                Output::Provide(call) => calls.push(call.delivery),
                _ => {}
            }
        }
    }
    let taken = clock.mono().since(began);
    assert_eq!(results.len(), records.len());
    let began = clock.mono();
    for turn in results.chunks(TURN) {
        for (link, tag, id) in turn {
            let result = DeliveryResult::Sent { sockets: 1 };
            owner.handle_link_frame(*link, Frame::Result { tag: *tag, id: *id, result }, now());
        }
        owner.commit().expect("it commits");
    }
    for turn in calls.chunks(TURN) {
        for call in turn {
            owner.handle_outcome(call.clone(), Outcome::HandedOver, now());
        }
        owner.commit().expect("it commits");
    }
    let counters = owner.view().counters().expect("readable");
    assert!(counters.balanced() && counters.total().accepted >= records.len() as u64);
    (taken, clock.mono().since(began))
}

fn print_machine(count: usize) {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    println!("{} · {cores} cores · kernel {}", model.unwrap_or("unknown processor"), kernel.trim());
    println!("{count} notifications, {USERS} users, {RUNS} interleaved runs: median (least to most)");
}
