//! A node that had a journal of its own goes over to Kafka: what waited is there once, in its order, wherever the migration
//! is killed; a start that would leave it behind is refused.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use router::journal::{Draft, Journal};
use router::store::DiskStore;
use serde_json::{Value, json};
use tests::client::id_of;
use tests::deadline::Stopwatch;
use tests::kafka::Kafka;
use tests::process::{Plan, Process, run};
use tests::{Api, Equation, Setup, Tocsin, paths, until_within};
use uuid::Uuid;
use wire::time::Wall;

use crate::support::on;

/// A migration of thirty thousand records on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
const REFUSAL: Duration = Duration::from_secs(60);
const LANES: [&str; 4] = ["critical", "high", "normal", "low"];
const PARTITIONS: u32 = 16;

/// The journal's settings and then Kafka's, in one folder.
struct Node {
    tocsin: Tocsin,
    kafka: Kafka,
}

impl Node {
    fn new(kafka: Kafka) -> Node {
        Node { tocsin: Setup::standalone().prepare(), kafka }
    }

    fn go_to_kafka(&mut self) {
        let brokers = vec![self.kafka.broker.to_string()];
        self.tocsin.rewrite(|setup| setup.set("kafka.brokers", brokers).set("kafka.partitions", 3));
    }

    /// `router migrate` with these words: its exit code, and what it said.
    fn migrate(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\"; echo \"exit $?\"", "sh"]).arg(paths::program("router"));
        command.args(self.arguments()).args(words).env("RUST_LOG", "off");
        let (_, said) = run(&mut command, WITHIN);
        let (said, code) = said.trim_end().rsplit_once("exit ").expect("an exit code");
        (code.parse().expect("a number"), said.trim_end().to_owned())
    }

    fn arguments(&self) -> [std::ffi::OsString; 5] {
        let folder = self.tocsin.folder();
        let config = folder.join("gateway.toml");
        ["migrate".into(), "--config".into(), config.into(), "--data".into(), folder.join("data").into()]
    }

    #[track_caller]
    fn refused(&self, words: &[&str], says: &str) {
        let (code, said) = self.migrate(words);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "not one line with {says:?}: {said}");
    }

    /// Ends with exit code 2 and says why.
    #[track_caller]
    fn start_is_refused(&self, says: &str) {
        let mut process = self.tocsin.launch_gateway();
        let ending = process.ending(REFUSAL);
        assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
        assert!(ending.log.lines().last().is_some_and(|line| line.contains(says)), "{}", ending.log);
    }

    /// All records of the four lanes, in the order of each partition.
    fn records(&self) -> BTreeMap<&'static str, Vec<Value>> {
        let parse = |line: &String| serde_json::from_str(line).expect("a record is JSON");
        let of = |lane: &str| {
            let lines = self.kafka.consume(&format!("notifications.{lane}"), "%s\n");
            lines.iter().map(parse).collect()
        };
        LANES.into_iter().map(|lane| (lane, of(lane))).collect()
    }
}

/// What a table of `router migrate` says of a lane: in the journal, and of them in Kafka.
fn row(said: &str, lane: &str) -> (u64, u64) {
    let line =
        said.lines().find(|line| line.starts_with(lane)).unwrap_or_else(|| panic!("no {lane}: {said}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

fn sums(said: &str) -> (u64, u64) {
    let rows = LANES.map(|lane| row(said, lane));
    rows.iter().fold((0, 0), |(here, there), row| (here + row.0, there + row.1))
}

/// Every record once, and those of each user and priority in the order in which they were handed in.
fn once_and_in_order(records: &BTreeMap<&'static str, Vec<Value>>) -> HashSet<String> {
    let mut ids = HashSet::new();
    for (lane, records) in records {
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for record in records {
            let id = record["id"].as_str().expect("an id").to_owned();
            assert!(ids.insert(id), "twice: {record}");
            let request = &record["request"];
            let user = request["to"]["user"].as_str().expect("a user").to_owned();
            let number: u64 = request["title"].as_str().expect("a title").parse().expect("a number");
            assert!(newest.insert(user, number) < Some(number), "{lane}: behind a later one: {record}");
        }
    }
    ids
}

/// By user: ids, and by priority the numbers that were promised.
type Promised = Mutex<BTreeMap<String, HashSet<String>>>;

/// Hands in for one user until the system dies, in all priorities by turns.
fn hand_in(api: &Api, user: &str, promised: &Promised) {
    for number in 0..u64::MAX {
        let priority = LANES[number as usize % LANES.len()];
        let note = json!({ "to": { "user": user }, "title": number.to_string(), "priority": priority });
        let Ok(answer) = api.post_once(&format!("{user}-{number}"), &note) else { return };
        if answer.status != 202 {
            return;
        }
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        promised.lock().expect("no panic").entry(user.to_owned()).or_default().insert(id);
    }
}

/// Over HTTP, as a socket may not ask for so many pages in a minute: oldest first.
fn inbox(api: &Api, user: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/users/{user}/inbox?limit=50{cursor}")).expect(200).json();
        let items = page["notifications"].as_array().expect("a list").iter();
        found.extend(items.map(|item| item.get("notification").unwrap_or(item).clone()));
        if page["has_more"] == false {
            found.sort_by_key(|one| one["created_at"].as_str().expect("a stamp").to_owned());
            return found;
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().expect("a cursor"));
    }
}

#[test]
fn what_waited_is_delivered_once_after_the_migration() {
    let mut node = Node::new(Kafka::start());
    node.tocsin.start_gateway();
    let api = node.tocsin.api();
    let contacts = json!({ "email": "user-0@example.org" });
    api.send("PUT", "/v1/users/user-0/contacts", &contacts).expect(200);
    let promised = Promised::default();
    std::thread::scope(|scope| {
        for user in 0..8 {
            let (api, promised) = (node.tocsin.api(), &promised);
            scope.spawn(move || hand_in(&api, &format!("user-{user}"), promised));
        }
        until_within(WITHIN, "some is promised", || {
            let count: usize = promised.lock().expect("no panic").values().map(HashSet::len).sum();
            (count >= 2_000).then_some(())
        });
        node.tocsin.gateway.as_mut().expect("it runs").kill_9();
    });
    node.tocsin.kill_9();
    node.refused(&[], "no [kafka] brokers");
    node.go_to_kafka();
    node.start_is_refused("router migrate");
    let (code, counted) = node.migrate(&["--dry-run"]);
    assert!(code == 0 && counted.ends_with("nothing was changed"), "{counted}");
    assert!(!node.kafka.kcat(&["-L"], None).contains("notifications."), "a dry run makes no topic");
    let (code, said) = node.migrate(&[]);
    assert!(code == 0 && said.contains("done: "), "{said}");
    let (here, there) = sums(&said);
    assert!(here > 0 && here == there && sums(&counted) == (here, 0), "{counted}\n{said}");
    let ids = once_and_in_order(&node.records());
    assert_eq!(ids.len() as u64, there, "as counted");
    node.refused(&[], "there is nothing to migrate");
    node.refused(&["--abandon"], "nothing to abandon");
    let (data, to) = (node.tocsin.folder().join("data"), node.tocsin.folder().join("backup"));
    let mut backup = Command::new(paths::program("router"));
    let (good, said) = run(backup.arg("backup").arg("--data").arg(data).arg("--to").arg(&to), WITHIN);
    assert!(!good && said.contains("the journal is Kafka's") && !to.exists(), "{said}");
    delivered_once(&mut node, &promised.into_inner().expect("no panic"));
    let kept = node.tocsin.api().get("/v1/users/user-0/contacts").expect(200).text;
    assert!(kept.contains("user-0@example.org"), "{kept}");
    assert_eq!(
        node.tocsin.api().post(&json!({ "to": { "user": "ada" } })).expect(202).json()["durable_in"],
        "kafka"
    );
    node.refused(&[], "is in use");
    node.tocsin.kill_9();
    node.tocsin.rewrite(|setup| setup.without("kafka"));
    node.start_is_refused("went to Kafka");
}

/// Starts on Kafka and holds every inbox against what was promised.
fn delivered_once(node: &mut Node, promised: &BTreeMap<String, HashSet<String>>) {
    node.tocsin.start_gateway();
    let api = node.tocsin.api();
    until_within(WITHIN, "everything is processed", || {
        let status = api.get("/v1/reconcile").expect(200).json();
        let accepted = status["deliveries"]["accepted"].as_u64().or(status["accepted"].as_u64())?;
        let wanted: usize = promised.values().map(HashSet::len).sum();
        (accepted >= wanted as u64).then_some(())
    });
    Equation::settled(&api);
    for (user, wanted) in promised {
        let found = inbox(&api, user);
        let ids: HashSet<String> = found.iter().map(id_of).collect();
        assert_eq!(ids.len(), found.len(), "{user} has one twice");
        let lost: Vec<&String> = wanted.difference(&ids).collect();
        assert!(lost.is_empty(), "{user} lost {} of {}: {lost:?}", lost.len(), wanted.len());
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for one in &found {
            let number: u64 = one["title"].as_str().expect("a title").parse().expect("a number");
            let priority = one["priority"].as_str().expect("a priority");
            assert!(newest.insert(priority, number) < Some(number), "{user}: out of order: {one}");
        }
    }
}

/// A journal that nobody has read: `each` records of each user, by turns in all priorities.
fn journal_of(data: &Path, users: u32, each: u32) {
    DiskStore::open(&data.join("store")).expect("a store");
    let dir = data.join("journal");
    std::fs::create_dir_all(&dir).expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let (journal, _reader, _) =
        EmbeddedJournal::open(&dir, PARTITIONS, EmbeddedLimits::default()).expect("a journal");
    let journal = Arc::new(journal);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for user in 0..users {
            let journal = Arc::clone(&journal);
            tasks.spawn(async move {
                for number in 0..each {
                    journal.append(draft(user, number)).await.expect("it is taken");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no panic");
        }
    });
}

fn draft(user: u32, number: u32) -> Draft {
    let priority = LANES[number as usize % LANES.len()];
    let request = json!({ "to": { "user": format!("user-{user}") }, "title": number.to_string(), "priority": priority,
        "body": "x".repeat(200) });
    Draft {
        id: Uuid::from_u128(u128::from(user) << 32 | u128::from(number)),
        service: "dev".to_owned(),
        accepted_at: Wall(1_700_000_000_000_000),
        request: serde_json::from_value(request).expect("a request"),
    }
}

#[test]
fn a_migration_that_is_killed_at_any_moment_goes_on_and_doubles_nothing() {
    const USERS: u32 = 60;
    const EACH: u32 = 500;
    let mut node = Node::new(Kafka::start());
    let data = node.tocsin.folder().join("data");
    journal_of(&data, USERS, EACH);
    let whole = node.tocsin.folder().join("journal-before");
    copy(&data.join("journal"), &whole);
    node.go_to_kafka();
    let all = u64::from(USERS * EACH);
    let (mut in_the_middle, mut most, mut is_begun) = (0, 0, false);
    for moment in MOMENTS {
        let mut process = Process::start("router", &plan(&node));
        moment.wait_for(&mut process, &node.kafka);
        process.kill_9();
        let (code, said) = node.migrate(&["--dry-run"]);
        assert_eq!(code, 0, "{said}");
        let (here, there) = sums(&said);
        println!("killed at {moment:?}: {there} of {here} are in Kafka");
        assert_eq!(here, all, "the journal gave nothing up: {said}");
        assert!(there >= most, "Kafka forgets nothing: {said}");
        if said.contains("the migration began") && !is_begun {
            is_begun = true;
            node.start_is_refused("is on its way to Kafka");
        }
        in_the_middle += u32::from(there > most && there < all);
        most = there;
    }
    assert!(in_the_middle >= 2, "{in_the_middle} of the kills were in the middle");
    let (code, said) = node.migrate(&[]);
    assert!(code == 0 && sums(&said) == (all, all), "{said}");
    assert!(!said.contains("twice") && !said.contains("stand behind"), "{said}");
    let ids = once_and_in_order(&node.records());
    assert_eq!(ids.len() as u64, all);
    // Killed behind its last word and before the journal was let go of.
    std::fs::remove_dir_all(data.join("journal")).expect("it goes");
    std::fs::rename(&whole, data.join("journal")).expect("it moves");
    let (code, said) = node.migrate(&[]);
    assert!(code == 0 && sums(&said) == (all, all), "{said}");
    node.refused(&[], "there is nothing to migrate");
    assert_eq!(once_and_in_order(&node.records()).len() as u64, all, "nothing was carried again");
    node.tocsin.start_gateway();
    let api = node.tocsin.api();
    until_within(WITHIN, "all of it is in the ledger", || {
        let lanes = api.get("/v1/reconcile").expect(200).json()["accepted"].as_u64()?;
        (lanes == all).then_some(())
    });
    assert_eq!(inbox(&api, "user-7").len() as u32, EACH);
}

#[test]
fn who_came_between_two_runs_is_found_and_a_leftover_of_long_ago_is_let_go_of() {
    let mut node = Node::new(Kafka::start());
    let data = node.tocsin.folder().join("data");
    journal_of(&data, 20, 400);
    node.go_to_kafka();
    let mut process = Process::start("router", &plan(&node));
    Moment::Grown(1).wait_for(&mut process, &node.kafka);
    process.kill_9();
    // A router on another folder takes what was carried, and goes.
    let mut other = on(&node.kafka).start();
    until_within(WITHIN, "it has read some", || {
        (Equation::read(&other.api()).number("accepted") > 0).then_some(())
    });
    node.refused(&[], "a router is on this Kafka");
    // Not all of its producer's numbers are there, which it says; it has read what there is.
    until_within(WITHIN, "it has read all", || {
        (Equation::read(&other.api()).number("journal_lag") == 0).then_some(())
    });
    other.gateway().terminate();
    other.gateway().ending(WITHIN);
    drop(other);
    node.refused(&[], "would never be read here");
    node.tocsin.rewrite(|setup| setup.set("kafka.partitions", 4));
    node.refused(&[], "has 3 partitions");
    node.tocsin.rewrite(|setup| setup.set("kafka.partitions", 3).set("kafka.topics.low", "elsewhere.low"));
    node.refused(&[], "named other lanes");
    // Of the time before there was a migration: a journal beside a store that has been on Kafka.
    let mut node = Node::new(Kafka::start());
    journal_of(&node.tocsin.folder().join("data"), 2, 5);
    node.go_to_kafka();
    node.start_is_refused("--leave");
    let (code, said) = node.migrate(&["--leave"]);
    assert!(code == 0 && said.contains("left: 10 records"), "{said}");
    node.refused(&[], "there is nothing to migrate");
    node.tocsin.start_gateway();
    assert_eq!(Equation::settled(&node.tocsin.api()).number("accepted"), 0);
}

/// When a migration is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    After(Duration),
    /// So many bytes came to the broker's disk since its start.
    Grown(u64),
    /// All of them are there, and it reads them back.
    Still,
}

const MOMENTS: [Moment; 8] = [
    Moment::After(Duration::from_millis(100)),
    Moment::After(Duration::from_millis(700)),
    Moment::After(Duration::from_millis(1_500)),
    Moment::Grown(1),
    Moment::Grown(400_000),
    Moment::Grown(2_000_000),
    Moment::Grown(4_000_000),
    Moment::Still,
];

impl Moment {
    fn wait_for(self, process: &mut Process, kafka: &Kafka) {
        let before = log_bytes(kafka);
        let mut last = (before, Stopwatch::start());
        let look = || {
            let now = log_bytes(kafka);
            if now != last.0 {
                last = (now, Stopwatch::start());
            }
            let is_it = match self {
                Moment::After(wait) => last.1.elapsed() >= wait || now > before,
                Moment::Grown(bytes) => now >= before + bytes,
                Moment::Still => now > before && last.1.elapsed() > Duration::from_millis(100),
            };
            (is_it || process.ended().is_some()).then_some(())
        };
        until_within(WITHIN, "the moment has come", look);
    }
}

/// What the broker has of our lanes on its disk.
fn log_bytes(kafka: &Kafka) -> u64 {
    let folders = std::fs::read_dir(kafka.folder().join("logs")).into_iter().flatten().flatten();
    let of_ours = folders.filter(|folder| {
        LANES
            .iter()
            .any(|lane| folder.file_name().to_string_lossy().starts_with(&format!("notifications.{lane}-")))
    });
    let logs = of_ours.map(|folder| folder.path().join("00000000000000000000.log"));
    logs.filter_map(|log| std::fs::metadata(log).ok()).map(|log| log.len()).sum()
}

fn plan(node: &Node) -> Plan {
    Plan {
        program: paths::program("router"),
        arguments: node.arguments().to_vec(),
        environment: Vec::new(),
        folder: node.tocsin.folder().to_path_buf(),
        log: node.tocsin.folder().join("migrate.log"),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("it is copied");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let mut node = Node::new(Kafka::start());
    node.go_to_kafka();
    node.refused(&[], "is not the data folder");
    let data = node.tocsin.folder().join("data");
    journal_of(&data, 3, 4);
    node.refused(&["--abandon"], "nothing to abandon");
    // Topics of another width.
    node.kafka.create_topic("notifications.low", 5);
    node.refused(&[], "notifications.low has 5 partitions, wanted are 3");
    node.refused(&["--dry-run"], "notifications.low has 5 partitions, wanted are 3");
    // Topics with somebody else's records.
    let mut node = Node::new(Kafka::start());
    node.go_to_kafka();
    let data = node.tocsin.folder().join("data");
    journal_of(&data, 3, 4);
    node.kafka.create_topic("notifications.high", 3);
    node.kafka.produce("notifications.high", Some("k"), "{}\n");
    node.refused(&[], "has 1 records already");
    // A router on it, from another folder.
    let other = on(&node.kafka).start();
    node.refused(&[], "a router is on this Kafka");
    drop(other);
    // The outage of an earlier time on Kafka.
    journal_of(&data.join("buffer-of-then"), 1, 1);
    std::fs::rename(data.join("buffer-of-then/journal"), data.join("buffer")).expect("it moves");
    node.refused(&[], "an outage of Kafka left promises");
    node.tocsin.rewrite(|setup| setup.set("router.routers", 2));
    node.refused(&[], "several");
}

#[test]
fn a_record_that_the_brokers_refuse_is_named_and_the_migration_can_be_abandoned() {
    let mut node = Node::new(Kafka::start_with(&[("message.max.bytes", "300")]));
    journal_of(&node.tocsin.folder().join("data"), 5, 20);
    node.go_to_kafka();
    node.refused(&[], "Kafka does not take the record at critical/0");
    node.start_is_refused("is on its way to Kafka");
    node.tocsin.rewrite(|setup| setup.without("kafka"));
    node.start_is_refused("is on its way to Kafka");
    node.go_to_kafka();
    let (code, said) = node.migrate(&["--abandon"]);
    assert!(code == 0 && said.contains("the journal is the folder's own"), "{said}");
    node.start_is_refused("was abandoned");
    node.tocsin.rewrite(|setup| setup.without("kafka"));
    node.tocsin.start_gateway();
    let equation = Equation::settled(&node.tocsin.api());
    assert_eq!(equation.number("accepted"), 100, "nothing had been given up: {:#}", equation.answer);
}
