//! A backup of a node that works, restored elsewhere: everything that was promised before it is there, once.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::process::run;
use tests::{Api, Equation, Setup, Tocsin, paths};

use crate::crash::{Promised, hand_in, nothing_is_missing};
use crate::support::to_user;

const PATIENCE: Duration = Duration::from_secs(60);
const SENDERS: usize = 4;

fn back_up(api: &Api) -> Value {
    api.send("POST", "/v1/backups", &json!({})).expect(201).json()
}

/// `router ORDER`, its exit code being 0 or not; one line for a person.
#[track_caller]
fn order(words: &[&str], folders: &[&Path]) -> (bool, String) {
    let mut command = Command::new(paths::program("router"));
    command.arg(words[0]);
    for (word, folder) in words[1..].iter().zip(folders) {
        command.arg(word).arg(folder);
    }
    let (good, said) = run(&mut command, PATIENCE);
    assert_eq!(said.lines().count(), 1, "{said}");
    (good, said)
}

/// Puts what was backed up in the place of the data folder, and starts on it.
fn start_on(tocsin: &mut Tocsin, backup: &Path) -> PathBuf {
    let (data, old) = (tocsin.folder().join("data"), tocsin.folder().join("old"));
    std::fs::rename(&data, &old).expect("it moves");
    let backup = backup.strip_prefix(&data).map_or(backup.to_owned(), |below| old.join(below));
    let (good, said) = order(&["restore", "--from", "--data"], &[&backup, &data]);
    assert!(good, "{said}");
    tocsin.start_router();
    tocsin.start_gateway();
    backup
}

fn outbox(api: &Api) -> Vec<String> {
    let items = api.get("/v1/outbox?limit=200").expect(200).json()["items"].as_array().cloned();
    items.expect("a list").iter().map(|sent| format!("{}/{}", sent["id"], sent["channel"])).collect()
}

#[test]
fn what_was_promised_before_a_backup_under_load_is_there_once() {
    let mut tocsin = Setup::standalone().start();
    let (promised, stop) = (Promised::default(), AtomicBool::new(false));
    let mut backup = Value::Null;
    let mut before = Promised::default();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (api, stop, promised) = (tocsin.api(), &stop, &promised);
            scope.spawn(move || hand_in(&api, &format!("kept-{sender}"), 0, stop, promised));
        }
        tests::until("there is something", || {
            let count: usize = promised.lock().expect("no panic").values().map(HashSet::len).sum();
            (count > 400).then_some(())
        });
        before = Promised::new(promised.lock().expect("no panic").clone());
        backup = back_up(&tocsin.api());
        stop.store(true, Ordering::Relaxed);
    });
    let later = tocsin.api().accepted(&to_user("ada", "not in it"));
    tocsin.kill_9();
    start_on(&mut tocsin, Path::new(backup["dir"].as_str().expect("a folder")));
    nothing_is_missing(&tocsin, &before);
    let sent = outbox(&tocsin.api());
    let once: BTreeSet<&String> = sent.iter().collect();
    assert!(sent.len() > 20 && once.len() == sent.len(), "{} of {}", once.len(), sent.len());
    tocsin.api().get(&format!("/v1/notifications/{later}")).problem(404);
    let next = tocsin.api().accepted(&to_user("ada", "it goes on"));
    Equation::settled(&tocsin.api());
    assert!(tocsin.api().get("/v1/users/ada/inbox").text.contains(&next));
}

#[test]
fn a_stopped_node_is_backed_up_and_restored_by_hand() {
    let mut tocsin = Setup::standalone().start();
    let id = tocsin.api().accepted(&to_user("ada", "kept"));
    Equation::settled(&tocsin.api());
    let (data, to) = (tocsin.folder().join("data"), tocsin.folder().join("backup"));
    let (good, said) = order(&["backup", "--data", "--to"], &[&data, &to]);
    assert!(!good && said.contains("POST /v1/backups"), "{said}");
    assert!(!to.exists());
    tocsin.kill_9();
    let (good, said) = order(&["backup", "--data", "--to"], &[&data, &to]);
    assert!(good, "{said}");
    let (good, said) = order(&["restore", "--from", "--data"], &[&to, &data]);
    assert!(!good && said.contains("not empty"), "{said}");
    start_on(&mut tocsin, &to);
    assert!(tocsin.api().get("/v1/users/ada/inbox").text.contains(&id));
    Equation::settled(&tocsin.api());
    std::fs::write(to.join("store.rows"), "hurt").expect("writable");
    let (good, said) = order(&["restore", "--from", "--data"], &[&to, &tocsin.folder().join("other")]);
    assert!(!good && said.contains("store.rows") && said.contains("damaged"), "{said}");
}

#[test]
fn only_an_operator_s_key_writes_one() {
    let setup = Setup::standalone().service("shop", "the-key-of-shop", |_| {});
    let tocsin = setup.start();
    let refused = tocsin.api().send("POST", "/v1/backups", &json!({}));
    assert!(refused.problem(403).contains("operator"));
    assert!(!tocsin.folder().join("data/backups").exists());
}
