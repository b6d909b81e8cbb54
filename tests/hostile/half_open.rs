//! A peer whose kernel is gone without a word is found by its pings, and nothing of it is kept.
//!
//! The test starts itself once more in a network namespace of its own, where a rule of the packet filter cuts one
//! client off while its socket believes to be connected.

use std::process::Command;
use std::time::Duration;

use tests::deadline::PATIENCE;
use tests::{Event, Setup, Tocsin, until};

const INSIDE: &str = "TOCSIN_TEST_NAMESPACE";

#[test]
fn a_peer_that_is_silently_gone_is_found_by_its_pings() {
    if std::env::var_os(INSIDE).is_some() {
        inside();
        return;
    }
    let itself = std::env::current_exe().expect("a test has a file");
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]).arg(itself);
    command.args(["--exact", "half_open::a_peer_that_is_silently_gone_is_found_by_its_pings", "--nocapture"]);
    let (ended_well, text) = tests::process::run(command.env(INSIDE, "1"), 3 * PATIENCE);
    assert!(ended_well && text.contains("1 passed"), "{text}");
}

fn inside() {
    let tocsin =
        Setup::standalone().set("gateway.ping_interval_ms", 500).set("gateway.limits.idle_s", 2).start();
    let (mut alive, gone) = (tocsin.connect("alive"), tocsin.connect("gone"));
    let port = gone.stream().local_addr().expect("connected").port();
    let rules = format!(
        "table inet cut {{ chain out {{ type filter hook output priority 0; \
         tcp sport {port} drop; tcp dport {port} drop; }}; }}"
    );
    let filter = Command::new("nft").arg(rules).status();
    assert!(filter.is_ok_and(|status| status.success()), "nft (nftables) takes the rules");
    until("the dead peer is closed", || {
        assert_eq!(alive.event(Duration::from_millis(100)), Event::Nothing, "who answers its pings stays");
        (Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_connections", "") < 1.5).then_some(())
    });
    let closes = Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_closes_total", "4408");
    assert!((closes - 1.0).abs() < f64::EPSILON, "{closes}");
    // Ours, which would retry for minutes what nobody acknowledges.
    let door = tocsin.clients().port();
    until("the kernel keeps nothing of it either", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel lists its sockets");
        let ends = (format!(":{door:04X}"), format!(":{port:04X}"));
        let is_ours = |line: &&str| {
            let mut fields = line.split_whitespace().skip(1);
            let mut ends_with = |end: &str| fields.next().is_some_and(|field| field.ends_with(end));
            ends_with(&ends.0) && ends_with(&ends.1)
        };
        (!sockets.lines().any(|line| is_ours(&line))).then_some(())
    });
}
