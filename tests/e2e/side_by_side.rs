//! `loadtest compare` plays the same to every server, in turns, delivers all of it, and writes it down: JSON, tables, README.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{paths, ports};

const PEERS: [&str; 3] = ["tocsin", "raw", "tungstenite"];
const SOCKETS: u64 = 500;
/// Of one message a socket, and of bursts. One burst of a millisecond is not enough: what the host took from the machine before is
/// subtracted from the next time that a thread runs (paravirtual time), which can leave nothing of it.
const COPIES: u64 = 50_000;
/// What every turn must have measured. Whole-core time is not among them: where there is one core, it is not the server's.
const FIGURES: [&str; 8] = [
    "idle_bytes",
    "handshake_cpu_ns",
    "handshakes_per_s",
    "single_cpu_ns",
    "single_p99_ms",
    "burst_cpu_ns",
    "burst_p99_ms",
    "message_bytes",
];
/// `loadtest/peers/run` gives each of its servers ten ports, one behind the other.
const PORTS: u16 = 70;
const TRIES_MAX: u32 = 100;
const README: &str = "# A page\n<!-- compare:begin -->\nold\n<!-- compare:end -->\nend\n";

fn port_block() -> u16 {
    let is_free = |first: u16| {
        (first..first + PORTS).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    let mut firsts = (0..TRIES_MAX).map(|_| ports::free().port());
    firsts.find(|first| is_free(*first)).expect("a block of free ports")
}

fn compare(folder: &Path) -> (bool, String) {
    let programs = paths::program("loadtest");
    let mut command = Command::new(paths::root().join("loadtest/peers/run"));
    command
        .args([
            "compare",
            "--only",
            &PEERS.join(","),
            "--rounds",
            "2",
            "--copies",
            &COPIES.to_string(),
            "--for",
            "300ms",
        ])
        .args(["--rest", "100ms", "-n", &SOCKETS.to_string()])
        .arg("--json")
        .arg(folder.join("report.json"))
        .arg("--markdown")
        .arg(folder.join("page.md"))
        .env("PEERS_DIR", folder)
        .env("PEERS_BIN", programs.parent().expect("it lies in a folder"))
        .env("PEER_PORTS", port_block().to_string());
    tests::process::run(&mut command, Duration::from_secs(120))
}

#[test]
fn servers_are_compared_in_turns_and_every_one_delivers_all_it_owes() {
    let folder = paths::scratch("compare-");
    std::fs::write(folder.path().join("page.md"), README).expect("the folder can be written");
    let (passed, page) = compare(folder.path());
    assert!(passed, "{page}");
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["schema"], "tocsin.compare/1");
    assert_eq!(report["ours"], "tocsin");

    let turns = report["turns"].as_array().expect("turns");
    let order: Vec<&str> = turns.iter().map(|turn| turn["peer"].as_str().expect("a name")).collect();
    assert_eq!(order, [PEERS, PEERS].concat(), "A B C A B C");
    for turn in turns {
        assert_eq!(turn["established"], SOCKETS, "{turn}");
        assert_eq!(
            (&turn["lost"], &turn["duplicated"], &turn["strays"]),
            (&0.into(), &0.into(), &0.into()),
            "{turn}"
        );
        assert!(turn["owed"].as_u64() > Some(2 * COPIES) && turn["owed"] == turn["received"], "{turn}");
        for figure in FIGURES {
            assert!(turn["figures"][figure].as_f64() > Some(0.0), "{figure}: {turn}");
        }
        let bytes = turn["figures"]["message_bytes"].as_f64().expect("bytes");
        assert!((bytes - 512.0).abs() < 5.0, "the same bytes from all: {bytes}");
    }
    for row in report["summary"].as_array().expect("rows") {
        let figure = &row["figures"]["single_cpu_ns"];
        assert_eq!((&row["whole"], &figure["value"]["rounds"]), (&2.into(), &2.into()), "{row}");
        assert_eq!(figure["ratio"].is_null(), row["peer"] == "tocsin", "{row}");
    }

    let page = std::fs::read_to_string(folder.path().join("page.md")).expect("a page");
    assert!(page.starts_with("# A page\n") && page.ends_with("<!-- compare:end -->\nend\n"), "{page}");
    assert!(
        !page.contains("\nold\n") && PEERS.iter().all(|peer| page.contains(&format!("| {peer} |"))),
        "{page}"
    );
    let left = PEERS.iter().filter(|peer| folder.path().join("run").join(peer).join("pid").exists());
    assert_eq!(left.count(), 0, "every server was stopped");
}
