//! SIGHUP has both halves read their settings again, no connection is dropped, and a bad file changes nothing.

use serde_json::json;
use tests::{Client, Setup, Tocsin, until};
use toml::Table;

use crate::support::{expect_id, to_user};

fn plain(_: &mut Table) {}

fn shop(per_minute: i64) -> impl Fn(&mut Table) {
    move |service| {
        service.insert("per_minute".into(), per_minute.into());
    }
}

/// Sends SIGHUP to whoever holds the router and waits for the line that says what came of it.
pub(crate) fn reload(tocsin: &mut Tocsin, says: &str) -> String {
    let before = tocsin.keeper().log().len();
    tocsin.keeper().signal("HUP");
    until(says, || {
        let log = tocsin.keeper().log().split_off(before);
        log.lines().find(|line| line.contains(says)).map(str::to_owned)
    })
}

fn status_of(tocsin: &Tocsin, key: &str, user: &str) -> u16 {
    tocsin.api().with_key(key).post(&to_user(user, "x")).status
}

fn keys_quotas_and_limits_change(setup: Setup, user: &str) {
    let mut tocsin = setup.start();
    let mut client: Client = tocsin.connect(user);
    assert_eq!([status_of(&tocsin, "old-key", "u"), status_of(&tocsin, "new-key", "u")], [202, 401]);
    assert_eq!([status_of(&tocsin, "shop-key", "u"), status_of(&tocsin, "shop-key", "u")], [202, 429]);
    tocsin.rewrite(|setup| {
        let setup = setup.without("router.service").set("router.limits.push_per_user_hour", 2);
        setup.service("ops", "new-key", plain).service("shop", "shop-key", shop(3))
    });
    "new-key".clone_into(&mut tocsin.setup.service_key);
    reload(
        &mut tocsin,
        "service keys, rights, quotas, webhooks, limits, origins, providers' accounts and templates reloaded",
    );
    assert_eq!([status_of(&tocsin, "old-key", "u"), status_of(&tocsin, "new-key", "u")], [401, 202]);
    let answers = [(); 3].map(|()| status_of(&tocsin, "shop-key", "u"));
    assert_eq!(answers, [202, 202, 429], "what was taken before still counts");
    for _ in 0..3 {
        tocsin.api().accepted(&json!({ "to": { "user": "pushed" }, "channels": ["push"] }));
    }
    until("the third push is held back", || {
        let dropped = Tocsin::metric(&tocsin.router_admin(), "tocsin_router_limited_total", "user_push");
        (dropped >= 1.0).then_some(())
    });
    let ingest = |service: &str| {
        let labels = format!("service=\"{service}\",outcome=\"accepted\"");
        Tocsin::metric(&tocsin.router_admin(), "tocsin_router_ingest_total", &labels)
    };
    assert_eq!((ingest("ops"), ingest("shop")), (4.0 + 1.0, 3.0), "a new service is counted, an old one on");
    let id = tocsin.api().accepted(&to_user(user, "still connected"));
    expect_id(&mut client, &id);
}

fn with_services(setup: Setup) -> Setup {
    setup.service("ops", "old-key", plain).service("shop", "shop-key", shop(1))
}

#[test]
fn a_standalone_process_takes_other_keys_quotas_and_limits_over() {
    keys_quotas_and_limits_change(with_services(Setup::standalone()), "ada");
}

#[test]
fn a_router_of_its_own_takes_other_keys_quotas_and_limits_over() {
    keys_quotas_and_limits_change(with_services(Setup::split().without("router.service")), "ada");
}

#[test]
fn a_bad_file_changes_nothing_and_is_one_line() {
    let mut tocsin = with_services(Setup::standalone()).start();
    // Each is good for one half: neither may take anything over.
    for (key, value, names) in [
        ("router.limits.push_per_user_hour", 0, "push_per_user_hour"),
        ("gateway.accept_rate", 0, "accept_rate"),
    ] {
        tocsin.rewrite(|setup| {
            setup.without("router.service").service("ops", "new-key", plain).set(key, value)
        });
        let line = reload(&mut tocsin, "nothing was reloaded");
        assert!(line.contains(names), "{line}");
        assert_eq!([status_of(&tocsin, "old-key", "u"), status_of(&tocsin, "new-key", "u")], [202, 401]);
        tocsin.rewrite(|setup| setup.set("router.limits.push_per_user_hour", 20));
    }
    std::fs::write(tocsin.folder().join("gateway.toml"), "[router\n").expect("the folder can be written");
    reload(&mut tocsin, "nothing was reloaded");
    assert_eq!(status_of(&tocsin, "old-key", "u"), 202);
}

#[test]
fn what_is_read_at_a_start_only_is_named() {
    let mut tocsin = with_services(Setup::standalone()).start();
    let api = tocsin.api();
    tocsin.rewrite(|setup| setup.set("router.api", "127.0.0.1:1").set("retention.idempotency_h", 2));
    let line = reload(&mut tocsin, "at the next start only");
    assert!(line.contains("[router] api") && line.contains("[retention] idempotency_h"), "{line}");
    assert_eq!(api.post(&to_user("u", "where it was")).status, 202);
}
