//! A start on a Cassandra that cannot be used: one line and exit code 2. On one that is not there: without it.

use std::time::Duration;

use tests::{Setup, paths};

use crate::support::{server, wait_for_state};

#[track_caller]
fn refused(setup: Setup, says: &[&str]) {
    let tocsin = setup.prepare();
    let ending = tocsin.launch_gateway().ending(Duration::from_secs(60));
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    let line = ending
        .log
        .lines()
        .find(|line| line.contains("Cassandra: "))
        .unwrap_or_else(|| panic!("{}", ending.log));
    for word in says {
        assert!(line.contains(word), "{word:?} is not named: {line}");
    }
    assert!(!ending.log.contains("panicked"), "{}", ending.log);
}

#[test]
fn a_wrong_password_is_said_and_never_shown() {
    let held = server();
    let (setup, _) = held.setup();
    let folder = paths::scratch("password-");
    let file = folder.path().join("password");
    std::fs::write(&file, "a-wrong-one").expect("a file");
    let wrong = setup.clone().set("cassandra.password_file", file.display().to_string());
    let tocsin = wrong.clone().prepare();
    let ending = tocsin.launch_gateway().ending(Duration::from_secs(60));
    assert!(!ending.log.contains("a-wrong-one"), "{}", ending.log);
    refused(wrong, &["user and password are refused"]);
    refused(setup.without("cassandra.user").without("cassandra.password_file"), &["asks for a user"]);
}

#[test]
fn tables_that_differ_are_named() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let cql = held.cql();
    let one_copy = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    cql.run(&format!("CREATE KEYSPACE {keyspace} WITH replication = {one_copy}"));
    cql.run(&format!(
        "CREATE TABLE {keyspace}.notifications_by_user (user_id text, created_at text, notification_id uuid, \
         PRIMARY KEY ((user_id), created_at, notification_id))"
    ));
    refused(setup, &[&keyspace, "notifications_by_user", "created_at as text"]);
}

#[test]
fn one_that_is_not_there_is_waited_for() {
    let mut held = server();
    let (setup, _) = held.setup();
    held.cassandra().nodes[0].process.kill_9();
    let tocsin = setup.start();
    wait_for_state(&tocsin, "down");
    tocsin.api().accepted(&crate::support::to_user("hal", "x"));
    held.cassandra().nodes[0].start_again();
    wait_for_state(&tocsin, "up");
    crate::support::wait_until_carried(&tocsin);
}
