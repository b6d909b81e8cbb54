//! The server of this process, and systems on it, each with a keyspace of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tests::cassandra::{Cassandra, Cql, LOGIN};
use tests::deadline::PATIENCE;
use tests::{Setup, Tocsin, paths, until_within};

/// How long what waited may take to be in Cassandra once it is back.
pub(crate) const CAUGHT_UP: Duration = Duration::from_secs(60);

struct Shared {
    cassandra: Cassandra,
    password: tempfile::TempDir,
}

static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(|| {
    let password = paths::scratch("password-");
    std::fs::write(password.path().join("password"), LOGIN.1).expect("a file");
    let cassandra = Cassandra::start();
    drop(cassandra.cql());
    Mutex::new(Shared { cassandra, password })
});

/// The server, for one test.
pub(crate) struct Held(MutexGuard<'static, Shared>);

pub(crate) fn server() -> Held {
    Held(SHARED.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Held {
    pub(crate) fn cassandra(&mut self) -> &mut Cassandra {
        &mut self.0.cassandra
    }

    pub(crate) fn cql(&self) -> Cql {
        self.0.cassandra.cql()
    }

    /// Settings on a keyspace that nobody used before, and its name.
    pub(crate) fn setup(&self) -> (Setup, String) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let keyspace = format!("tocsin{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        (self.on(&keyspace), keyspace)
    }

    /// Settings on this keyspace, in a folder that knows nothing of it.
    pub(crate) fn on(&self, keyspace: &str) -> Setup {
        let password = self.0.password.path().join("password").display().to_string();
        Setup::standalone()
            .set("cassandra.nodes", self.0.cassandra.contacts())
            .set("cassandra.keyspace", keyspace)
            .set("cassandra.user", LOGIN.0)
            .set("cassandra.password_file", password)
    }
}

impl Drop for Held {
    /// Whoever comes next finds it running.
    fn drop(&mut self) {
        let node = &mut self.0.cassandra.nodes[0];
        if node.process.ended().is_some() {
            node.start_again();
        }
        node.process.thaw();
    }
}

pub(crate) fn to_user(user: &str, title: &str) -> Value {
    json!({ "to": { "user": user }, "title": title })
}

/// `projection` of `/v1/status`.
pub(crate) fn projection(tocsin: &Tocsin) -> Value {
    tocsin.api().get("/v1/status").expect(200).json()["projection"].clone()
}

/// Waits until everything handed in is decided, and everything decided is in Cassandra.
#[track_caller]
pub(crate) fn wait_until_carried(tocsin: &Tocsin) {
    until_within(CAUGHT_UP, "the journal is read", || {
        (tocsin.api().reconcile()["journal_lag"] == 0).then_some(())
    });
    until_within(CAUGHT_UP, "Cassandra has it all", || {
        let shown = projection(tocsin);
        (shown["waiting_bytes"] == 0 && shown["incomplete_since"].is_null()).then_some(())
    });
}

/// The state of Cassandra on the board.
pub(crate) fn state(tocsin: &Tocsin) -> Value {
    let status = tocsin.api().get("/v1/status").expect(200).json();
    let all = status["dependencies"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["name"] == "cassandra").expect("it is on the board")
}

#[track_caller]
pub(crate) fn wait_for_state(tocsin: &Tocsin, wanted: &str) -> Value {
    until_within(2 * PATIENCE, &format!("Cassandra is {wanted}"), || {
        Some(state(tocsin)).filter(|state| state["state"] == wanted)
    })
}

/// Names of the alerts that stand.
pub(crate) fn standing(tocsin: &Tocsin) -> Vec<String> {
    let alerts = tocsin.api().get("/v1/alerts").expect(200).json();
    let items = alerts["items"].as_array().expect("a list");
    let standing = items.iter().filter(|alert| alert["until"].is_null());
    standing.filter_map(|alert| alert["name"].as_str().map(str::to_owned)).collect()
}

/// What Cassandra has of a user, oldest first, by title.
pub(crate) fn titles(cql: &Cql, keyspace: &str, user: &str) -> Vec<String> {
    let rows = cql.texts(&format!(
        "SELECT notification FROM {keyspace}.notifications_by_user WHERE user_id = '{user}' ORDER BY created_at ASC"
    ));
    let mut rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    // Of one millisecond Cassandra orders by id; the stamps in the text are exact.
    rows.sort_by_key(|row| {
        wire::time::Wall::parse(row["created_at"].as_str().expect("a stamp")).expect("a date")
    });
    rows.iter().map(|row| row["title"].as_str().expect("a title").to_owned()).collect()
}
