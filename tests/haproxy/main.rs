//! Two gateways behind HAProxy with the settings that we ship: load is spread, refusals keep their Retry-After, a full or
//! leaving gateway is gone around, and limits count clients.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tests::deadline::PATIENCE;
use tests::process::Plan;
use tests::{Client, Process, Refused, Setup, Tocsin, paths, ports, until};

/// HAProxy's own end of its connections, so that it is not taken for a client of the same machine.
const PROXY: &str = "127.0.0.2";

struct House {
    one: Tocsin,
    two: Tocsin,
    proxy: SocketAddr,
    _haproxy: Process,
}

impl House {
    fn start(change: impl FnOnce(Setup) -> Setup) -> House {
        let one = change(Setup::split().set("gateway.trusted_proxies", vec![PROXY])).start();
        let two = one.another_gateway("n2");
        let proxy = ports::free();
        let haproxy = launch(&one, &two, proxy);
        let house = House { one, two, proxy, _haproxy: haproxy };
        until("HAProxy sees both gateways", || {
            let both: Vec<Client> = (0..2).filter_map(|_| house.try_connect("probe").ok()).collect();
            (both.len() == 2 && both[0].welcome["node"] != both[1].welcome["node"]).then_some(())
        });
        house
    }

    fn try_connect(&self, user: &str) -> Result<Client, Refused> {
        self.one.as_user(user).to(self.proxy)
    }

    #[track_caller]
    fn connect(&self, user: &str) -> Client {
        self.try_connect(user).unwrap_or_else(|refused| panic!("{user} was refused: {refused:?}"))
    }
}

/// The shipped settings with this test's addresses.
fn launch(one: &Tocsin, two: &Tocsin, proxy: SocketAddr) -> Process {
    let filled = Command::new(paths::root().join("tests/haproxy/settings"))
        .args([proxy.to_string(), PROXY.to_owned()])
        .args(
            [one, two]
                .map(|gateway| format!("{},{}", gateway.clients(), port_of(gateway.gateway_admin().base()))),
        )
        .output()
        .expect("the script can be run");
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let file = one.folder().join("haproxy.cfg");
    std::fs::write(&file, filled.stdout).expect("the folder can be written");
    let plan = Plan {
        program: program(),
        arguments: vec!["-db".into(), "-f".into(), file.into()],
        environment: Vec::new(),
        folder: one.folder().to_path_buf(),
        log: one.folder().join("haproxy.log"),
    };
    Process::start("haproxy", &plan)
}

/// Not on everybody's PATH.
fn program() -> PathBuf {
    let places = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];
    places.iter().map(PathBuf::from).find(|place| place.exists()).unwrap_or_else(|| "haproxy".into())
}

fn port_of(base: &str) -> &str {
    base.rsplit(':').next().expect("http://host:port")
}

fn node_of(client: &Client) -> &str {
    client.welcome["node"].as_str().expect("a name")
}

fn open(tocsin: &Tocsin) -> f64 {
    Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_open", "websocket")
}

#[test]
fn connections_go_to_the_gateway_with_the_fewest() {
    let house = House::start(|setup| setup);
    until("the probes are gone", || (open(&house.one) + open(&house.two) < 0.5).then_some(()));
    let mut clients: Vec<Client> = (0..20).map(|i| house.connect(&format!("u{i}"))).collect();
    let on_one = clients.iter().filter(|client| node_of(client) == "n1").count();
    assert_eq!(on_one, 10, "leastconn");
    clients.retain(|client| node_of(client) == "n2");
    until("one is empty", || (open(&house.one) < 0.5).then_some(()));
    clients.extend((0..10).map(|i| house.connect(&format!("late{i}"))));
    let on_one = clients.iter().filter(|client| node_of(client) == "n1").count();
    assert_eq!(on_one, 10, "all late ones went where there were fewest");
    for client in &mut clients {
        client.say(&json!({ "type": "ping", "t": 1 }));
        client.recv("pong");
    }
}

#[test]
fn a_refusal_of_both_keeps_its_retry_after() {
    let house = House::start(|setup| setup.set("gateway.soft_limit", 3).set("gateway.hard_limit", 60));
    // What one refuses, the other takes; when both are full, the client is told so in their words.
    let (mut held, mut waits) = (Vec::new(), Vec::new());
    for i in 0..40 {
        match house.try_connect(&format!("u{i}")) {
            Ok(client) => held.push(client),
            Err(refused) => {
                assert_eq!(refused.status(), 503, "{refused:?}");
                let wait = refused.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
                let wait = wait.unwrap_or_else(|| panic!("no Retry-After: {refused:?}"));
                let Refused::Http { body, .. } = &refused else { panic!("{refused:?}") };
                let body: Value = serde_json::from_str(body).expect("the gateway's own body");
                assert_eq!(
                    (&body["error"], &body["retry_after_ms"]),
                    (&"over_capacity".into(), &(wait * 1_000).into())
                );
                waits.push(wait);
            }
        }
    }
    assert!((4..=6).contains(&held.len()), "both are filled: {}", held.len());
    assert!(waits.len() >= 30 && waits.iter().all(|wait| (5..=30).contains(wait)), "{waits:?}");
    let ready = |tocsin: &Tocsin| tocsin.gateway_admin().get("/readyz").status;
    assert_eq!((ready(&house.one), ready(&house.two)), (200, 200));
}

#[test]
fn whom_one_gateway_refuses_the_other_takes() {
    let mut house = House::start(|setup| setup);
    house.one.reload(|setup| setup.set("gateway.soft_limit", 1).set("gateway.hard_limit", 60));
    until("the reload is done", || house.one.gateway().log().contains("limits reloaded").then_some(()));
    let held: Vec<Client> = (0..20).map(|i| house.connect(&format!("u{i}"))).collect();
    let on_one = held.iter().filter(|client| node_of(client) == "n1").count();
    assert!(on_one <= 2, "{on_one} on a gateway that takes one");
    let refused = Tocsin::metric(&house.one.gateway_admin(), "tocsin_gateway_admission_total", "soft");
    assert!(refused >= 1.0, "HAProxy asked the full one first, and went on: {refused}");
}

#[test]
fn a_gateway_that_leaves_is_gone_around_and_nobody_is_refused() {
    let mut house = House::start(|setup| setup.set("gateway.drain_s", 6));
    let mut clients: Vec<Client> = (0..20).map(|i| house.connect(&format!("u{i}"))).collect();
    house.one.gateway().terminate();
    for (i, client) in clients.iter_mut().enumerate() {
        if node_of(client) == "n1" {
            client.recv("reconnect");
            let user = format!("u{i}");
            *client = house.connect(&user);
            assert_eq!(node_of(client), "n2", "{user}");
        }
    }
    let ending = house.one.gateway().ending(PATIENCE);
    assert_eq!(ending.status.code(), Some(0), "{}", ending.log);
    let ids: Vec<String> = (0..20)
        .map(|i| house.one.api().accepted(&json!({ "to": { "user": format!("u{i}") }, "title": "x" })))
        .collect();
    for (client, id) in clients.iter_mut().zip(&ids) {
        assert_eq!(&client.recv_ids(1)[0], id);
    }
    house.one.start_gateway();
    until("the new process takes its share", || {
        let client = house.try_connect("again").ok()?;
        (node_of(&client) == "n1").then_some(())
    });
}

#[test]
fn limits_count_the_clients_behind_it() {
    let house = House::start(|setup| setup.set("gateway.limits.connections_per_ip", 6));
    // All of them come from one address, which each gateway counts for itself.
    let held: Vec<Client> = (0..60).filter_map(|i| house.try_connect(&format!("u{i}")).ok()).collect();
    assert_eq!(held.len(), 12, "six on each");
    let refused = house.try_connect("late").expect_err("one too many");
    assert_eq!(refused.status(), 429, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    for tocsin in [&house.one, &house.two] {
        let said = |how| Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_proxied_total", how);
        assert!(said("\"proxy\"") >= 6.0 && said("malformed") < 0.5 && said("silent") < 0.5);
    }
}
