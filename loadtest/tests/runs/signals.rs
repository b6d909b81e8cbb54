//! Ctrl-C: the first ends in order and reports, a second ends at once.

use std::process::{Child, Command, Stdio};

use loadtest::report::Report;

use super::eventually;
use super::server::{Manners, Server};

fn start(server: &Server, json: &std::path::Path) -> Child {
    let url = server.url();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["hold", "--url", &url, "-n", "10", "--for", "10m", "--json"]).arg(json);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

#[test]
fn the_first_ends_in_order_and_still_reports() {
    for name in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().expect("a folder");
        let json = folder.path().join("report.json");
        let server = Server::start(Manners::default());
        let child = start(&server, &json);
        eventually("all are in", || server.connected() == 10);
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        let report: Report = serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON");
        assert!(report.head.interrupted && report.connections.established == 10, "{report:#?}");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("ended early"));
        eventually("everybody said goodbye", || server.goodbyes() == 10);
    }
}
